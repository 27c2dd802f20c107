-- Odd fields are counted, records that share a key are told apart, and the views have one row of one thing, with the
-- account's name.

CREATE TABLE ebay_field_notes (
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    api_family       text NOT NULL,
    field            text NOT NULL,
    reason           text NOT NULL,
    count            bigint NOT NULL,
    first_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ebay_account_id, api_family, field, reason)
);
COMMENT ON TABLE ebay_field_notes IS 'Columns that are NULL because eBay''s value is impossible, and parts of records that were left out. The value is in raw_payload';
COMMENT ON COLUMN ebay_field_notes.field IS 'the column, with its table if that is one of parts; or eBay''s field that is not the object or list it should be';
COMMENT ON COLUMN ebay_field_notes.count IS 'records, counted when they are stored as new or changed';

-- Only the key and the times that the cursor or the version needs are required.
ALTER TABLE ebay_orders ALTER COLUMN creation_date DROP NOT NULL;
