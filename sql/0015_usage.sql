-- The call budget: calls by application, API and quota day; what is known of an application; each family's back-off.

CREATE TABLE ebay_api_usage (
    keyset          text NOT NULL,
    api             text NOT NULL,
    quota_day       date NOT NULL,
    calls           bigint NOT NULL DEFAULT 0,
    quota           bigint,
    resets_at       timestamptz NOT NULL,
    reported_calls  bigint,
    elsewhere       bigint NOT NULL DEFAULT 0,
    reported_at     timestamptz,
    resting_until   timestamptz,
    resting_reason  text,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (keyset, api, quota_day)
);
COMMENT ON TABLE ebay_api_usage IS 'Calls that were sent, retries and dry runs too. eBay counts them for an application, of all accounts together';
COMMENT ON COLUMN ebay_api_usage.keyset IS 'environment:client id';
COMMENT ON COLUMN ebay_api_usage.quota_day IS 'from midnight to midnight, America/Los_Angeles, by eBay''s clock';
COMMENT ON COLUMN ebay_api_usage.quota IS 'as eBay reported it, else as documented; NULL: neither is known';
COMMENT ON COLUMN ebay_api_usage.reported_calls IS 'eBay''s own count (Developer Analytics getRateLimits) at reported_at';
COMMENT ON COLUMN ebay_api_usage.elsewhere IS 'by how much eBay''s count was above ours then: calls that others make with this keyset';
COMMENT ON COLUMN ebay_api_usage.resting_until IS 'no call is made until then';

CREATE TABLE ebay_keysets (
    keyset             text PRIMARY KEY,
    application_token  bytea,
    token_expires_at   timestamptz,
    limits             jsonb NOT NULL DEFAULT '{}',
    limits_asked_at    timestamptz
);
COMMENT ON COLUMN ebay_keysets.application_token IS 'an AES-256-GCM blob, bound to environment, keyset and column';
COMMENT ON COLUMN ebay_keysets.limits IS 'the daily quotas that eBay last reported, by API';

ALTER TABLE ebay_sync_state
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    ADD COLUMN retry_at timestamptz,
    ADD COLUMN calls_per_run jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN ebay_sync_state.failures IS 'failed runs in a row';
COMMENT ON COLUMN ebay_sync_state.retry_at IS 'after a failure: run-all does not try again before';
COMMENT ON COLUMN ebay_sync_state.calls_per_run IS 'by API, a moving average over complete runs';

INSERT INTO ebay_private_columns (table_name, column_name) VALUES ('ebay_keysets', 'application_token');
