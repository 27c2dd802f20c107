-- Accounts, tokens, the state of each family, runs, leases, events, quarantine.
-- Files in this folder are applied once each, in the order of their numbers, and never edited after a release.

CREATE TABLE ebay_accounts (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name            text NOT NULL UNIQUE,
    environment     text NOT NULL CHECK (environment IN ('production', 'sandbox', 'simulator')),
    ebay_user_id    text NOT NULL,
    username        text,
    marketplace_id  text,
    is_active       boolean NOT NULL DEFAULT true,
    needs_consent   boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (environment, ebay_user_id)
);
COMMENT ON COLUMN ebay_accounts.ebay_user_id IS 'eBay''s immutable userId (Identity getUser); user names change';

CREATE TABLE ebay_tokens (
    ebay_account_id     uuid PRIMARY KEY REFERENCES ebay_accounts ON DELETE CASCADE,
    refresh_token       bytea NOT NULL,
    access_token        bytea,
    access_expires_at   timestamptz,
    refresh_expires_at  timestamptz,
    updated_at          timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE ebay_tokens IS 'Tokens are AES-256-GCM blobs, bound to environment, account and column';
COMMENT ON COLUMN ebay_tokens.refresh_expires_at IS 'NULL: eBay never told us when this consent ends';

CREATE TABLE ebay_authorizations (
    ebay_account_id  uuid PRIMARY KEY REFERENCES ebay_accounts ON DELETE CASCADE,
    scopes           text[],
    consented_at     timestamptz
);
COMMENT ON COLUMN ebay_authorizations.scopes IS 'NULL: unknown, the refresh token came without them';

CREATE TABLE ebay_token_refresh_log (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    attempted_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    success          boolean NOT NULL,
    triggered_by     text NOT NULL,
    error_code       text,
    error_message    text
);
CREATE INDEX ON ebay_token_refresh_log (ebay_account_id, attempted_at DESC);

CREATE TABLE ebay_sync_state (
    id                  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    ebay_account_id     uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    ebay_user_id        text NOT NULL,
    api_family          text NOT NULL,
    enabled             boolean NOT NULL DEFAULT true,
    every_minutes       integer CHECK (every_minutes > 0),
    cursor_type         text NOT NULL,
    cursor_value        text,
    sweep_cursor        text,
    last_run_at         timestamptz,
    last_status         text,
    last_error          text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (ebay_account_id, api_family),
    UNIQUE (ebay_account_id, ebay_user_id, api_family)
);
COMMENT ON COLUMN ebay_sync_state.cursor_value IS 'ISO 8601: the end of the last stored slice; the overlap is taken off when the next window begins';
COMMENT ON COLUMN ebay_sync_state.every_minutes IS 'NULL: the family''s own interval';

CREATE TABLE ebay_worker_run (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    ebay_user_id     text NOT NULL,
    api_family       text NOT NULL,
    status           text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'completed', 'error', 'interrupted')),
    trigger          text NOT NULL,
    started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at      timestamptz,
    heartbeat_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    summary_json     jsonb
);
CREATE INDEX ON ebay_worker_run (ebay_account_id, api_family, started_at DESC);
CREATE INDEX ON ebay_worker_run (started_at DESC);

-- One row per walk of an account's family: the live one, and a backfill beside it. Whoever holds the row's token
-- may write; a write under another token changes nothing (the fence). Times are the database's clock.
CREATE TABLE ebay_lease (
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    api_family       text NOT NULL,
    walk             text NOT NULL CHECK (walk IN ('live', 'backfill')),
    token            uuid,
    run_id           uuid,
    holder           text,
    lease_until      timestamptz,
    PRIMARY KEY (ebay_account_id, api_family, walk)
);
COMMENT ON COLUMN ebay_lease.holder IS 'host, boot id, pid namespace, pid and start time of the process, so that one on the same host can see that it is gone';

CREATE TABLE ebay_backfill (
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    api_family       text NOT NULL,
    days             integer NOT NULL,
    span_from        timestamptz NOT NULL,
    span_to          timestamptz NOT NULL,
    position         timestamptz NOT NULL,
    started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at      timestamptz,
    PRIMARY KEY (ebay_account_id, api_family)
);
COMMENT ON TABLE ebay_backfill IS 'Where the newest backfill of a family stands; an unfinished one is taken up again';

CREATE TABLE ebay_api_worker_log (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id   uuid NOT NULL REFERENCES ebay_worker_run ON DELETE CASCADE,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind     text NOT NULL CHECK (kind IN ('start', 'page', 'done', 'error')),
    details  jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON ebay_api_worker_log (run_id, id);

CREATE TABLE ebay_worker_global_config (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    workers_enabled  boolean NOT NULL DEFAULT true,
    reason           text,
    changed_by       text,
    changed_at       timestamptz,
    defaults         jsonb NOT NULL DEFAULT '{}'
);
INSERT INTO ebay_worker_global_config DEFAULT VALUES;

CREATE TABLE ebay_events (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    api_family       text NOT NULL,
    table_name       text NOT NULL,
    entity_key       text NOT NULL,
    event            text NOT NULL CHECK (event IN ('changed', 'removed', 'returned')),
    changes          jsonb NOT NULL DEFAULT '{}',
    run_id           uuid,
    observed_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON ebay_events (ebay_account_id, table_name, entity_key, observed_at);
CREATE INDEX ON ebay_events (observed_at);

CREATE TABLE ebay_quarantine (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    api_family       text NOT NULL,
    run_id           uuid,
    reason           text NOT NULL,
    payload          bytea NOT NULL,
    at               timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX ON ebay_quarantine (ebay_account_id, api_family, sha256(payload));
COMMENT ON TABLE ebay_quarantine IS 'Records that could not be stored, as eBay sent them; each payload once';
