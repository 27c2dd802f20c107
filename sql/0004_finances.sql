-- The families finances, transactions and refunds: one reading of Finances getTransactions.

CREATE TABLE ebay_finances_transactions (
    ebay_account_id                     uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    transaction_id                      text NOT NULL,
    transaction_type                    text NOT NULL,
    transaction_date                    timestamptz NOT NULL,
    transaction_status                  text,
    booking_entry                       text,
    amount                              numeric,
    amount_currency                     text,
    amount_converted_from               numeric,
    amount_converted_from_currency      text,
    exchange_rate                       numeric,
    total_fee_amount                    numeric,
    total_fee_amount_currency           text,
    total_fee_basis_amount              numeric,
    total_fee_basis_amount_currency     text,
    ebay_collected_tax_amount           numeric,
    ebay_collected_tax_amount_currency  text,
    fee_type                            text,
    order_id                            text,
    item_id                             text,
    case_id                             text,
    payment_dispute_id                  text,
    cancellation_id                     text,
    return_id                           text,
    buyer_username                      text,
    payout_id                           text,
    transaction_memo                    text,
    payments_entity                     text,
    sales_record_reference              text,
    raw_payload                         jsonb NOT NULL,
    first_seen_at                       timestamptz NOT NULL DEFAULT now(),
    updated_at                          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, transaction_id, transaction_type)
);
CREATE TABLE ebay_finances_fees (
    ebay_account_id   uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    transaction_id    text NOT NULL,
    transaction_type  text NOT NULL,
    fee_line          text NOT NULL,
    fee_type          text,
    booking_entry     text,
    line_item_id      text,
    order_id          text,
    item_id           text,
    amount            numeric,
    amount_currency   text,
    fee_memo          text,
    transaction_date  timestamptz,
    raw_payload       jsonb NOT NULL,
    first_seen_at     timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    removed_at        timestamptz,
    PRIMARY KEY (ebay_account_id, transaction_id, transaction_type, fee_line)
);
CREATE INDEX ON ebay_finances_transactions (ebay_account_id, transaction_date);
CREATE INDEX ON ebay_finances_transactions (ebay_account_id, order_id);
CREATE INDEX ON ebay_finances_transactions (ebay_account_id, payout_id);
CREATE INDEX ON ebay_finances_fees (ebay_account_id, order_id);
COMMENT ON COLUMN ebay_finances_transactions.amount IS 'negative where bookingEntry is DEBIT; eBay''s own amount, in raw_payload, is always positive. Of a SALE net of fees';
COMMENT ON COLUMN ebay_finances_transactions.amount_converted_from IS 'the same in the currency it was converted from; total_fee_amount is in that one as well';
COMMENT ON COLUMN ebay_finances_transactions.order_id IS 'orderId, or the order that the references name';
COMMENT ON COLUMN ebay_finances_fees.amount IS 'what the fee costs the seller: negative where it is given back (in a REFUND, or a fee by itself that is booked as CREDIT)';
COMMENT ON COLUMN ebay_finances_fees.fee_line IS 'line item, kind of fee and, where that comes several times, its number; ''-'' where the fee is the transaction itself';
COMMENT ON COLUMN ebay_finances_fees.raw_payload IS 'The fee as it stands in its transaction, with feeLine and lineItemId added; of a fee by itself the transaction''s feeType, amount, feeJurisdiction, and its memo as feeMemo';
COMMENT ON COLUMN ebay_finances_fees.removed_at IS 'when its transaction was first seen without it';

CREATE TABLE ebay_transactions (
    ebay_account_id                 uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    transaction_id                  text NOT NULL,
    transaction_type                text NOT NULL,
    transaction_date                timestamptz NOT NULL,
    transaction_status              text,
    booking_entry                   text,
    amount                          numeric,
    amount_currency                 text,
    amount_converted_from           numeric,
    amount_converted_from_currency  text,
    exchange_rate                   numeric,
    order_id                        text,
    buyer_username                  text,
    payout_id                       text,
    transaction_memo                text,
    raw_payload                     jsonb NOT NULL,
    first_seen_at                   timestamptz NOT NULL DEFAULT now(),
    updated_at                      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, transaction_id, transaction_type)
);
CREATE INDEX ON ebay_transactions (ebay_account_id, transaction_date);
CREATE INDEX ON ebay_transactions (ebay_account_id, order_id);
COMMENT ON COLUMN ebay_transactions.amount IS 'negative where bookingEntry is DEBIT';

CREATE TABLE ebay_refunds (
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    refund_id        text NOT NULL,
    booking_entry    text,
    refund_amount    numeric,
    currency         text,
    refund_status    text,
    refund_reason    text,
    refund_date      timestamptz NOT NULL,
    order_id         text,
    return_id        text,
    case_id          text,
    dispute_id       text,
    cancellation_id  text,
    buyer_username   text,
    payout_id        text,
    raw_payload      jsonb NOT NULL,
    first_seen_at    timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, refund_id)
);
CREATE INDEX ON ebay_refunds (ebay_account_id, order_id);
CREATE INDEX ON ebay_refunds (ebay_account_id, refund_date);
COMMENT ON COLUMN ebay_refunds.refund_amount IS 'positive; a refund that came back to the seller (CREDIT) is negative';
COMMENT ON COLUMN ebay_refunds.refund_status IS 'the transaction''s status';
COMMENT ON COLUMN ebay_refunds.refund_reason IS 'the reason of the return or cancellation that it refers to, once that is stored';
