-- Who was erased, so that the next read of an old order does not bring the person back. No name is kept: a digest of
-- the user name or id in lower case, salted with what this database alone has.

CREATE TABLE ebay_forgotten (
    digest        bytea PRIMARY KEY,
    forgotten_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE ebay_forgotten_salt (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    salt      bytea NOT NULL DEFAULT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'))
);
INSERT INTO ebay_forgotten_salt DEFAULT VALUES;
COMMENT ON TABLE ebay_forgotten IS 'People who were erased (ebaysync forget), as salted SHA-256 digests of user name or id';

INSERT INTO ebay_private_columns (table_name, column_name) VALUES ('ebay_forgotten', '*'), ('ebay_forgotten_salt', '*');

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['ebay_orders', 'order_line_items', 'ebay_finances_transactions', 'ebay_transactions',
        'ebay_refunds', 'ebay_disputes', 'ebay_messages', 'ebay_buyer', 'ebay_cases', 'ebay_inquiries', 'ebay_returns']
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.raw_payload IS %L', name,
            concat_ws('; ', col_description(name::regclass, (SELECT attnum FROM pg_attribute
                WHERE attrelid = name::regclass AND attname = 'raw_payload')),
                'of a person who was erased, "[erased]" stands here and in the columns'));
    END LOOP;
END
$$;
