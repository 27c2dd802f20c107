-- Digital signatures: eBay's signing keys, one in use for each keyset.

CREATE TABLE ebay_signing_keys (
    environment     text NOT NULL,
    client_id       text NOT NULL,
    signing_key_id  text NOT NULL,
    cipher          text NOT NULL,
    jwe             text NOT NULL,
    public_key      text NOT NULL,
    private_key     bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (environment, client_id, signing_key_id)
);
COMMENT ON TABLE ebay_signing_keys IS 'Of a keyset the key that ends last is used; older ones are kept';
COMMENT ON COLUMN ebay_signing_keys.private_key IS 'An AES-256-GCM blob, bound to environment, client id, key id and column';

INSERT INTO ebay_private_columns (table_name, column_name) VALUES ('ebay_signing_keys', '*');
