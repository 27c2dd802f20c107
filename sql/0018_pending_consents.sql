-- A seller's consent between the exchange of its code, which works once, and the answer of Identity whose it is.

CREATE TABLE ebay_pending_consents (
    environment         text NOT NULL,
    client_id           text NOT NULL,
    name                text NOT NULL,
    scopes              text[] NOT NULL,
    consented_at        timestamptz NOT NULL,
    refresh_expires_at  timestamptz NOT NULL,
    refresh_token       bytea,
    PRIMARY KEY (environment, client_id, name)
);
COMMENT ON TABLE ebay_pending_consents IS 'What `accounts connect NAME` goes on with when it was cut short; done with when refresh_token is null';
COMMENT ON COLUMN ebay_pending_consents.refresh_token IS 'An AES-256-GCM blob, bound to environment, client id, name and column';

INSERT INTO ebay_private_columns (table_name, column_name) VALUES ('ebay_pending_consents', '*');
