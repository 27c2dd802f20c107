-- Refusals have an age and a next try: of one family of one account, and of one refresh token.

ALTER TABLE ebay_sync_state ADD COLUMN refused_since timestamptz;
COMMENT ON COLUMN ebay_sync_state.refused_since IS 'since when eBay refuses this family''s calls for this account (403); retry_at is the next try. NULL: it does not refuse them';
COMMENT ON COLUMN ebay_sync_state.retry_at IS 'after a failure or a refusal: run-all does not run the family before';

ALTER TABLE ebay_tokens ADD COLUMN client_id text, ADD COLUMN refused_since timestamptz, ADD COLUMN retry_at timestamptz;
COMMENT ON COLUMN ebay_tokens.client_id IS 'the application that the seller consented to; NULL: not known until the next refresh';
COMMENT ON COLUMN ebay_tokens.refused_since IS 'since when the account needs consent; NULL: it does not';
COMMENT ON COLUMN ebay_tokens.retry_at IS 'when the refresh token of an account that needs consent is tried again; NULL: at once';

UPDATE ebay_authorizations SET missing_scopes = '{}' WHERE missing_scopes <> '{}';
COMMENT ON COLUMN ebay_authorizations.missing_scopes IS 'no longer used: see ebay_sync_state.refused_since';
