-- Holes: slices of a window that eBay does not answer, or not completely, beside those whose answer contradicts itself.

ALTER TABLE ebay_inconsistent_read
    ADD COLUMN part text NOT NULL DEFAULT '',
    DROP CONSTRAINT ebay_inconsistent_read_pkey,
    ADD PRIMARY KEY (ebay_account_id, api_family, part, slice_from, slice_to),
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN next_at timestamptz;
COMMENT ON TABLE ebay_inconsistent_read IS 'Slices of which records may be missing: their count and records disagree, or eBay does not answer for them. After three runs that read the same records, the slice is taken for complete';
COMMENT ON COLUMN ebay_inconsistent_read.part IS 'the message folder that eBay does not answer; empty: the whole slice';
COMMENT ON COLUMN ebay_inconsistent_read.slice_to IS 'in the year 9999: the folder is not read with the others until it is answered up to now';
COMMENT ON COLUMN ebay_inconsistent_read.reads IS 'runs in a row that read these keys; 0: nothing is missing any more';
COMMENT ON COLUMN ebay_inconsistent_read.attempts IS 'how often eBay was asked in vain for a slice that it does not answer, or not completely; 0: it answers, but count and records disagree';
COMMENT ON COLUMN ebay_inconsistent_read.next_at IS 'when a slice that eBay does not answer is asked for again';
COMMENT ON COLUMN ebay_sync_state.incomplete_since IS 'since when a record may be missing, because eBay does not answer for a part, or contradicts itself';
