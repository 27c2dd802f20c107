-- The family payouts: Finances getPayouts.

CREATE TABLE ebay_payouts (
    ebay_account_id                 uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    payout_id                       text NOT NULL,
    payout_status                   text,
    payout_status_description       text,
    payout_date                     timestamptz,
    last_attempted_payout_date      timestamptz,
    amount                          numeric,
    amount_currency                 text,
    amount_converted_from           numeric,
    amount_converted_from_currency  text,
    exchange_rate                   numeric,
    total_amount                    numeric,
    total_amount_currency           text,
    total_fee                       numeric,
    total_fee_currency              text,
    transaction_count               bigint,
    bank_reference                  text,
    payout_memo                     text,
    payout_reference                text,
    instrument_type                 text,
    instrument_nickname             text,
    account_last_four_digits        text,
    raw_payload                     jsonb NOT NULL,
    first_seen_at                   timestamptz NOT NULL DEFAULT now(),
    updated_at                      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, payout_id)
);
CREATE INDEX ON ebay_payouts (ebay_account_id, payout_date);
COMMENT ON COLUMN ebay_payouts.amount_converted_from IS 'the same in the currency it was converted from';

-- Whether all transactions of a payout are stored. Those before the first import's reach cannot be.
CREATE VIEW ebay_payout_check AS
SELECT p.ebay_account_id, p.payout_id, p.payout_date, p.payout_status, p.transaction_count,
    count(t.transaction_id) AS stored_count, count(t.transaction_id) = p.transaction_count AS is_complete
FROM ebay_payouts p
LEFT JOIN ebay_finances_transactions t ON t.ebay_account_id = p.ebay_account_id AND t.payout_id = p.payout_id
GROUP BY p.ebay_account_id, p.payout_id;

SELECT ebay_rebuild_history();
