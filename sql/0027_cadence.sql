-- Keeps the calls of a day apart from those of a run, and stores what saves calls.

ALTER TABLE ebay_sync_state
    ADD COLUMN trailing_seconds bigint,
    ADD COLUMN sweep_began_at timestamptz,
    ADD COLUMN calls_per_day jsonb,
    ADD COLUMN changed_at timestamptz,
    ADD COLUMN remembered jsonb;
COMMENT ON COLUMN ebay_sync_state.trailing_seconds IS 'how far before its end a live window begins at least, because one page holds so much';
COMMENT ON COLUMN ebay_sync_state.sweep_began_at IS 'when the current round of the sweep began';
COMMENT ON COLUMN ebay_sync_state.calls_per_day IS 'calls a day by API that no live run needs, unless a quota is short: {"sweep": …, "details": …}, for sweeps and for details that are read again because of their age';
COMMENT ON COLUMN ebay_sync_state.calls_per_run IS 'average calls of a run by API, without those of calls_per_day';
COMMENT ON COLUMN ebay_sync_state.changed_at IS 'when a run last found something new or changed';
COMMENT ON COLUMN ebay_sync_state.remembered IS 'what the source remembers from run to run; of messages, the counts of the folders';

ALTER TABLE ebay_pending_detail
    ADD COLUMN again_at timestamptz,
    ADD COLUMN again_every interval,
    ADD COLUMN read_at timestamptz;
CREATE INDEX ON ebay_pending_detail (ebay_account_id, api_family) WHERE again_at IS NOT NULL;
COMMENT ON COLUMN ebay_pending_detail.again_at IS 'when the detail of a record that is not final is read again, although nothing shows a change; NULL: no such record';
COMMENT ON COLUMN ebay_pending_detail.read_at IS 'when such a detail was read last, by eBay''s clock';
COMMENT ON COLUMN ebay_pending_detail.again_every IS 'how old such a detail may become, unless a quota is short';

-- Open records are looked for in every run, however many closed ones there are.
CREATE INDEX ON ebay_disputes (ebay_account_id) WHERE (payment_dispute_status IN ('CLOSED')) IS NOT TRUE;
CREATE INDEX ON ebay_cases (ebay_account_id) WHERE (case_status_enum IN ('CLOSED', 'CS_CLOSED')) IS NOT TRUE;
CREATE INDEX ON ebay_inquiries (ebay_account_id)
    WHERE (inquiry_status_enum IN ('CLOSED', 'CS_CLOSED', 'CLOSED_WITH_ESCALATION')) IS NOT TRUE;
CREATE INDEX ON ebay_returns (ebay_account_id) WHERE (state IN ('CLOSED')) IS NOT TRUE;
