-- The family disputes: payment disputes.

CREATE TABLE ebay_disputes (
    ebay_account_id            uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    dispute_id                 text NOT NULL,
    payment_dispute_status     text,
    reason                     text,
    order_id                   text,
    open_date                  timestamptz,
    respond_by_date            timestamptz,
    closed_date                timestamptz,
    amount                     numeric,
    amount_currency            text,
    buyer_username             text,
    seller_response            text,
    revision                   bigint,
    item_id                    text,
    line_item_id               text,
    reason_for_closure         text,
    protection_status          text,
    recoup_amount              numeric,
    recoup_amount_currency     text,
    fees                       numeric,
    fees_currency              text,
    protected_amount           numeric,
    protected_amount_currency  text,
    total_fee_credit           numeric,
    total_fee_credit_currency  text,
    raw_payload                jsonb NOT NULL,
    first_seen_at              timestamptz NOT NULL DEFAULT now(),
    updated_at                 timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, dispute_id)
);
CREATE INDEX ON ebay_disputes (ebay_account_id, order_id);
CREATE INDEX ON ebay_disputes (ebay_account_id, open_date);
COMMENT ON COLUMN ebay_disputes.raw_payload IS 'Put together: the answer of payment_dispute over that of payment_dispute_summary';
COMMENT ON COLUMN ebay_disputes.item_id IS 'of the first of lineItems, as line_item_id';
