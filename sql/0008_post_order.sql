-- The families cases, inquiries and returns: Post-Order searches by creation, and each record by its id.

CREATE TABLE ebay_cases (
    ebay_account_id         uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    case_id                 text NOT NULL,
    case_type               text,
    case_status_enum        text,
    item_id                 text,
    transaction_id          text,
    order_id                text,
    return_id               text,
    buyer                   text,
    seller                  text,
    case_quantity           bigint,
    claim_amount            numeric,
    claim_amount_currency   text,
    shipping_fee            numeric,
    shipping_fee_currency   text,
    refund_amount           numeric,
    refund_amount_currency  text,
    respond_by_date         timestamptz,
    creation_date           timestamptz NOT NULL,
    last_modified_date      timestamptz,
    escalation_date         timestamptz,
    expiration_date         timestamptz,
    refund_deadline_date    timestamptz,
    initiator               text,
    escalated_by            text,
    escalate_reason         text,
    appeal_status_enum      text,
    appeal_date             timestamptz,
    buyer_closure_reason    text,
    seller_closure_reason   text,
    raw_payload             jsonb NOT NULL,
    first_seen_at           timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, case_id)
);
CREATE INDEX ON ebay_cases (ebay_account_id, creation_date);
CREATE INDEX ON ebay_cases (ebay_account_id, order_id);
CREATE INDEX ON ebay_cases (ebay_account_id, item_id, transaction_id);
CREATE INDEX ON ebay_cases (ebay_account_id, return_id);
COMMENT ON COLUMN ebay_cases.case_status_enum IS 'as the call that was read last says it; CLOSED and CS_CLOSED are final, but for appeals';
COMMENT ON COLUMN ebay_cases.order_id IS 'eBay names no order of a case: join order_line_items by item_id = legacy_item_id and transaction_id = line_item_id';
COMMENT ON COLUMN ebay_cases.buyer IS 'user name, or where eBay withholds it the immutable user id';
COMMENT ON COLUMN ebay_cases.respond_by_date IS 'as the search shows it; where only the call by id is that new, the date on which the case expires without an answer';
COMMENT ON COLUMN ebay_cases.raw_payload IS 'Put together of two answers: `summary`, as casemanagement/search shows the case, and `detail`, as casemanagement/{id} answers. What did not come in a later run is kept; a part that is older than the one beside it stands in `earlier`. U+0000 and lone surrogates become U+FFFD';

CREATE TABLE ebay_inquiries (
    ebay_account_id                uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    inquiry_id                     text NOT NULL,
    inquiry_status_enum            text,
    state                          text,
    creation_reason                text,
    item_id                        text,
    transaction_id                 text,
    order_id                       text,
    buyer                          text,
    seller                         text,
    initiator                      text,
    item_title                     text,
    inquiry_quantity               bigint,
    claim_amount                   numeric,
    claim_amount_currency          text,
    shipping_cost                  numeric,
    shipping_cost_currency         text,
    total_amount                   numeric,
    total_amount_currency          text,
    refund_amount                  numeric,
    refund_amount_currency         text,
    refund_charge_amount           numeric,
    refund_charge_amount_currency  text,
    respond_by_date                timestamptz,
    seller_make_it_right_by_date   timestamptz,
    creation_date                  timestamptz NOT NULL,
    last_modified_date             timestamptz,
    escalation_date                timestamptz,
    expiration_date                timestamptz,
    refund_deadline_date           timestamptz,
    inquiry_closure_date           timestamptz,
    appeal_status_enum             text,
    appeal_date                    timestamptz,
    raw_payload                    jsonb NOT NULL,
    first_seen_at                  timestamptz NOT NULL DEFAULT now(),
    updated_at                     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, inquiry_id)
);
CREATE INDEX ON ebay_inquiries (ebay_account_id, creation_date);
CREATE INDEX ON ebay_inquiries (ebay_account_id, order_id);
CREATE INDEX ON ebay_inquiries (ebay_account_id, item_id, transaction_id);
COMMENT ON COLUMN ebay_inquiries.inquiry_status_enum IS 'as the call that was read last says it; CLOSED, CS_CLOSED and CLOSED_WITH_ESCALATION are final, but for appeals';
COMMENT ON COLUMN ebay_inquiries.order_id IS 'eBay names no order of an inquiry: join order_line_items by item_id = legacy_item_id and transaction_id = line_item_id';
COMMENT ON COLUMN ebay_inquiries.buyer IS 'user name, or where eBay withholds it the immutable user id';
COMMENT ON COLUMN ebay_inquiries.respond_by_date IS 'as the search shows it; where only the call by id is that new, its sellerMakeItRightByDate';
COMMENT ON COLUMN ebay_inquiries.last_modified_date IS 'as the search shows it; where only the call by id is that new, the date of the last entry of its history';
COMMENT ON COLUMN ebay_inquiries.raw_payload IS 'Put together of two answers: `summary`, as inquiry/search shows the inquiry, and `detail`, as inquiry/{id} answers. What did not come in a later run is kept; a part that is older than the one beside it stands in `earlier`. U+0000 and lone surrogates become U+FFFD';

CREATE TABLE ebay_returns (
    ebay_account_id                          uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    return_id                                text NOT NULL,
    order_id                                 text,
    item_id                                  text,
    transaction_id                           text,
    item_title                               text,
    return_quantity                          bigint,
    buyer_login_name                         text,
    seller_login_name                        text,
    marketplace_id                           text,
    current_type                             text,
    state                                    text,
    status                                   text,
    reason                                   text,
    reason_type                              text,
    comments                                 text,
    case_id                                  text,
    claim_amount                             numeric,
    claim_amount_currency                    text,
    buyer_actual_refund_amount               numeric,
    buyer_actual_refund_amount_currency      text,
    seller_estimated_refund_amount           numeric,
    seller_estimated_refund_amount_currency  text,
    seller_actual_refund_amount              numeric,
    seller_actual_refund_amount_currency     text,
    refund_status                            text,
    refund_issued_date                       timestamptz,
    activity_due                             text,
    respond_by_date                          timestamptz,
    buyer_activity_due                       text,
    buyer_respond_by_date                    timestamptz,
    creation_date                            timestamptz NOT NULL,
    last_modified_date                       timestamptz,
    timeout_date                             timestamptz,
    return_close_date                        timestamptz,
    return_close_reason                      text,
    raw_payload                              jsonb NOT NULL,
    first_seen_at                            timestamptz NOT NULL DEFAULT now(),
    updated_at                               timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, return_id)
);
CREATE INDEX ON ebay_returns (ebay_account_id, creation_date);
CREATE INDEX ON ebay_returns (ebay_account_id, order_id);
CREATE INDEX ON ebay_returns (ebay_account_id, item_id, transaction_id);
COMMENT ON COLUMN ebay_returns.state IS 'CLOSED is final, unless the return is opened again';
COMMENT ON COLUMN ebay_returns.case_id IS 'of ebay_cases, where the return was escalated';
COMMENT ON COLUMN ebay_returns.claim_amount IS 'what the buyer is to get back: buyerTotalRefund.estimatedRefundAmount';
COMMENT ON COLUMN ebay_returns.activity_due IS 'of the seller, until respond_by_date';
COMMENT ON COLUMN ebay_returns.last_modified_date IS 'eBay has none: the date of the last entry of responseHistory';
COMMENT ON COLUMN ebay_returns.return_close_reason IS 'comes for open returns, too; return_close_date does not';
COMMENT ON COLUMN ebay_returns.raw_payload IS 'Put together of two answers: `listed`, as return/search shows the return, and `summary` and `detail`, the parts of return/{id}. What did not come in a later run is kept; a part that is older than those beside it stands in `earlier`. U+0000 and lone surrogates become U+FFFD';
