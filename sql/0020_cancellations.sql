-- The family cancellations: the Post-Order search of requests to cancel an order.

CREATE TABLE ebay_cancellations (
    ebay_account_id                uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    cancel_id                      text NOT NULL,
    legacy_order_id                text,
    marketplace_id                 text,
    requestor_type                 text,
    cancel_reason                  text,
    cancel_state                   text,
    cancel_status                  text,
    cancel_close_reason            text,
    payment_status                 text,
    partial_order_type             text,
    request_refund_amount          numeric,
    request_refund_amount_currency text,
    payout_id                      text,
    amount_to_recoup               numeric,
    amount_to_recoup_currency      text,
    item_id                        text,
    transaction_id                 text,
    item_title                     text,
    cancel_quantity                bigint,
    buyer_login_name               text,
    seller_login_name              text,
    cancel_request_date            timestamptz,
    cancel_close_date              timestamptz,
    seller_response_due_date       timestamptz,
    buyer_response_due_date        timestamptz,
    shipment_date                  timestamptz,
    last_modified_date             timestamptz,
    raw_payload                    jsonb NOT NULL,
    first_seen_at                  timestamptz NOT NULL DEFAULT now(),
    updated_at                     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, cancel_id)
);
CREATE INDEX ON ebay_cancellations (ebay_account_id, cancel_request_date);
CREATE INDEX ON ebay_cancellations (ebay_account_id, legacy_order_id);
CREATE INDEX ON ebay_cancellations (ebay_account_id, item_id, transaction_id);
COMMENT ON TABLE ebay_cancellations IS 'Requests to cancel an order, by the buyer or the seller; one row a request';
COMMENT ON COLUMN ebay_cancellations.legacy_order_id IS 'the order, as eBay names it here: its order_id, or the older form itemId-transactionId. If it is missing, join order_line_items by item_id = legacy_item_id and transaction_id = line_item_id';
COMMENT ON COLUMN ebay_cancellations.cancel_state IS 'CLOSED is final';
COMMENT ON COLUMN ebay_cancellations.item_id IS 'of the first line item; the others are in raw_payload';
COMMENT ON COLUMN ebay_cancellations.cancel_request_date IS 'eBay leaves it out of some records';
COMMENT ON COLUMN ebay_cancellations.payout_id IS 'of ebay_payouts: where eBay takes the money back from';
COMMENT ON COLUMN ebay_cancellations.raw_payload IS 'as eBay sent it; of a person who was erased, "[erased]" stands here and in the columns; U+0000 and lone surrogates become U+FFFD';

INSERT INTO ebay_private_columns (table_name, column_name) VALUES
    ('ebay_cancellations', 'buyer_login_name'),
    ('ebay_cancellations', 'seller_login_name');

SELECT ebay_rebuild_history();
