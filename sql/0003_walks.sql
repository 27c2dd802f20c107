-- What the walks besides the live window need: the sweep, details that could not be had, complete scans.

ALTER TABLE ebay_sync_state
    ADD COLUMN sweep_done boolean NOT NULL DEFAULT false,
    ADD COLUMN sweep_width_seconds bigint;
COMMENT ON COLUMN ebay_sync_state.sweep_cursor IS 'ISO 8601: how far the sweep''s present round has come';
COMMENT ON COLUMN ebay_sync_state.sweep_done IS 'the round is complete: the next run begins another';
COMMENT ON COLUMN ebay_sync_state.sweep_width_seconds IS 'how wide a slice filled a page of the sweep at most';

-- Records whose second call failed; they are asked for again, ever more seldom.
CREATE TABLE ebay_pending_detail (
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    api_family       text NOT NULL,
    entity_key       text NOT NULL,
    attempts         integer NOT NULL,
    next_at          timestamptz,
    reason           text,
    PRIMARY KEY (ebay_account_id, api_family, entity_key)
);
COMMENT ON COLUMN ebay_pending_detail.next_at IS 'NULL: the detail came (attempts 0), or nobody asks any more';

-- Complete scans of a snapshot in a row that would remove more than half of what is known, and what they all miss.
CREATE TABLE ebay_doubted_scan (
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    api_family       text NOT NULL,
    scans            integer NOT NULL,
    missing          bytea NOT NULL,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ebay_account_id, api_family)
);
COMMENT ON COLUMN ebay_doubted_scan.missing IS 'eight-byte digests of the keys that every one of these scans missed';

ALTER TABLE order_line_items ADD COLUMN removed_at timestamptz;
COMMENT ON COLUMN order_line_items.removed_at IS 'when its order was first seen without it';
