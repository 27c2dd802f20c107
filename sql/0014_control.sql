-- Who switched what off and on; what is erased of old orders; indexes for the questions that are asked of the history.

CREATE TABLE ebay_control_log (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    action           text NOT NULL,
    ebay_account_id  uuid,
    account_name     text,
    api_family       text,
    value            text,
    reason           text,
    changed_by       text NOT NULL,
    database_user    text NOT NULL DEFAULT session_user
);
CREATE INDEX ON ebay_control_log (ebay_account_id, at DESC);
COMMENT ON TABLE ebay_control_log IS 'pause, resume, families and accounts enable and disable, families every, accounts remove: each change, for good';
COMMENT ON COLUMN ebay_control_log.ebay_account_id IS 'NULL: for all accounts. No reference, because the line outlives the account';
COMMENT ON COLUMN ebay_control_log.value IS 'the minutes of `families every`; NULL there: back to the default';
COMMENT ON COLUMN ebay_control_log.changed_by IS 'login name and host of whoever gave the command';

COMMENT ON COLUMN ebay_worker_global_config.defaults IS '{"families": {"orders": {"enabled": false, "every_minutes": 10}}}: what `families` has set for all accounts; a family without an entry is enabled and has its own interval';
COMMENT ON COLUMN ebay_sync_state.enabled IS 'for this account; a family runs where it is enabled for all accounts (ebay_worker_global_config.defaults) as well';

-- A JSON document without what a path leads to; '*' stands for every element of a list.
CREATE FUNCTION ebay_without(document jsonb, path text[]) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF path[1] = '*' THEN
        IF jsonb_typeof(document) IS DISTINCT FROM 'array' OR document = '[]' THEN
            RETURN document;
        END IF;
        RETURN (SELECT jsonb_agg(ebay_without(element, path[2:]) ORDER BY number)
            FROM jsonb_array_elements(document) WITH ORDINALITY AS each (element, number));
    ELSIF jsonb_typeof(document) IS DISTINCT FROM 'object' OR NOT document ? path[1] THEN
        RETURN document;
    ELSIF cardinality(path) = 1 THEN
        RETURN document - path[1];
    END IF;
    RETURN jsonb_set(document, path[1:1], ebay_without(document -> path[1], path[2:]));
END
$$;

ALTER TABLE ebay_orders ADD COLUMN personal_erased_at timestamptz;
ALTER TABLE order_line_items ADD COLUMN personal_erased_at timestamptz;
COMMENT ON COLUMN ebay_orders.personal_erased_at IS 'when `prune` erased the buyer''s address, notes, e-mail and phone (EBAYSYNC_KEEP_ADDRESSES_DAYS), here, in raw_payload and in ebay_events; what is read later does not bring them back';
COMMENT ON COLUMN order_line_items.personal_erased_at IS 'when `prune` erased the gift details in raw_payload; what is read later does not bring them back';
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT c.relname, col_description(c.oid, a.attnum) AS said FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attname = 'raw_payload'
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.raw_payload IS %L', one.relname, concat_ws('; ', one.said,
            'JSON null: `prune` took it out (EBAYSYNC_KEEP_RAW_DAYS)'));
    END LOOP;
END
$$;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['buyer_checkout_notes', 'ship_to_full_name', 'ship_to_company_name',
            'ship_to_address_line1', 'ship_to_address_line2', 'ship_to_city', 'ship_to_county',
            'ship_to_state_or_province', 'ship_to_postal_code', 'ship_to_country_code', 'ship_to_primary_phone',
            'ship_to_email'] LOOP
        EXECUTE format('COMMENT ON COLUMN ebay_orders.%I IS %L', name,
            'personal: NULL from personal_erased_at on, whatever eBay sends');
    END LOOP;
END
$$;

-- `runs`: by account and family, what went wrong. The other questions have their indexes.
CREATE INDEX ebay_worker_run_unfinished ON ebay_worker_run (ebay_account_id, api_family, started_at DESC)
    WHERE status <> 'completed';
-- `events`: newest first by account and table, and of one record. The latter index makes the former one on account,
-- table and key superfluous: keys hardly ever repeat between accounts.
CREATE INDEX ebay_events_newest ON ebay_events (ebay_account_id, table_name, observed_at DESC);
CREATE INDEX ebay_events_key ON ebay_events (entity_key, observed_at DESC);
DROP INDEX ebay_events_ebay_account_id_table_name_entity_key_observed__idx;

-- What is pruned every night is a small part of these tables, and dead rows at the head of their indexes would be
-- walked over again and again: vacuum them at 2 % and not at PostgreSQL's 20 %.
ALTER TABLE ebay_worker_run SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE ebay_api_worker_log SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE ebay_events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
