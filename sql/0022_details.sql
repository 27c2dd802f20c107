-- Details that are due, inconsistent answers, and what a scan misses.

-- A detail that is due has the time of its next try. If that is NULL, the detail has arrived: the writer's role may not
-- delete rows.
ALTER TABLE ebay_pending_detail ADD COLUMN since timestamptz NOT NULL DEFAULT clock_timestamp();
UPDATE ebay_pending_detail SET next_at = clock_timestamp() WHERE next_at IS NULL AND attempts > 0;
CREATE INDEX ON ebay_pending_detail (ebay_account_id, api_family, next_at) WHERE next_at IS NOT NULL;
COMMENT ON TABLE ebay_pending_detail IS 'Details that are due, of records that are stored as listed; for offers, the SKUs whose call failed';
COMMENT ON COLUMN ebay_pending_detail.entity_key IS 'the key of the record; for offers, the SKU';
COMMENT ON COLUMN ebay_pending_detail.attempts IS '0: not asked for yet';
COMMENT ON COLUMN ebay_pending_detail.next_at IS 'when it is due; after a failure the wait doubles, up to a day. NULL: the detail has arrived';
COMMENT ON COLUMN ebay_pending_detail.reason IS 'why the last attempt failed';

-- Slices of a window whose answer contradicts itself.
CREATE TABLE ebay_inconsistent_read (
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    api_family       text NOT NULL,
    slice_from       timestamptz NOT NULL,
    slice_to         timestamptz NOT NULL,
    reason           text NOT NULL,
    digest           bytea NOT NULL,
    reads            integer NOT NULL,
    excess           integer NOT NULL,
    since            timestamptz NOT NULL DEFAULT clock_timestamp(),
    read_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ebay_account_id, api_family, slice_from, slice_to)
);
COMMENT ON TABLE ebay_inconsistent_read IS 'Slices whose count and records disagree. After three runs that read the same records, the slice is taken for complete';
COMMENT ON COLUMN ebay_inconsistent_read.digest IS 'of the keys that the last read brought';
COMMENT ON COLUMN ebay_inconsistent_read.excess IS 'records that were counted and not sent';
COMMENT ON COLUMN ebay_inconsistent_read.reads IS 'runs in a row that read these keys; 0: consistent again';
CREATE INDEX ON ebay_inconsistent_read (ebay_account_id, api_family) WHERE reads > 0;

ALTER TABLE ebay_sync_state
    ADD COLUMN incomplete_since timestamptz,
    ADD COLUMN incomplete_reason text;
COMMENT ON COLUMN ebay_sync_state.incomplete_since IS 'since when eBay''s answers contradict themselves, so that a record may be missing';

-- Each key now has its own number of scans, so counting begins anew.
UPDATE ebay_doubted_scan SET scans = 0, missing = '';
ALTER TABLE ebay_doubted_scan ADD COLUMN seen bytea NOT NULL DEFAULT '';
COMMENT ON TABLE ebay_doubted_scan IS 'Scans in a row that are not believed at once: the list contradicts itself, or too many records are missing';
COMMENT ON COLUMN ebay_doubted_scan.scans IS 'scans in a row that saw the same records';
COMMENT ON COLUMN ebay_doubted_scan.seen IS 'digest of the keys of these records';
COMMENT ON COLUMN ebay_doubted_scan.missing IS 'for each missing key eight bytes of its digest and one for the number of scans in a row that missed it';
