-- Who may do what. `ebaysync migrate --grants` runs this file after the schema; it may be run again at any time, also
-- with psql. Needs a login that owns the tables and may create roles.
--
--   ebaysync_owner   migrate, prune, forget, accounts remove:  EBAYSYNC_ADMIN_DATABASE_URL
--   ebaysync_writer  every other command:                      EBAYSYNC_DATABASE_URL
--                    reads, inserts, updates; deletes and defines nothing; changes no history: the control log, events,
--                    logs of refreshed tokens and of runs, runs that have ended (a trigger of 0029)
--   ebaysync_reader  people and reports: everything except tokens, keys and personal data. For each table with such
--                    columns there is a view without them, on which `SELECT *` works: ebay_orders_shared
--
-- The roles are groups without a login of their own: GRANT ebaysync_writer TO your_login.

DO $$
DECLARE
    place text := current_schema();
    name text;
    one record;
    history text[] := ARRAY['ebay_control_log', 'ebay_events', 'ebay_token_refresh_log', 'ebay_api_worker_log'];
BEGIN
    FOREACH name IN ARRAY ARRAY['ebaysync_owner', 'ebaysync_writer', 'ebaysync_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server is being set up at the same moment
            END;
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', place, name);
    END LOOP;
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM ebaysync_writer, ebaysync_reader', place);
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', place);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC', place);
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', place);
    EXECUTE format('GRANT ALL ON SCHEMA %I TO ebaysync_owner', place);

    -- Changing a table's definition is its owner's right and cannot be granted: so the group owns them. The login
    -- that runs this becomes a member, to be able to hand them over.
    IF NOT pg_has_role(current_user, 'ebaysync_owner', 'USAGE') THEN
        EXECUTE format('GRANT ebaysync_owner TO %I', current_user);
    END IF;
    -- The views of the shared columns. One whose columns are as before is left alone, because others may build on it.
    FOR one IN
        SELECT c.relname, c.relname || '_shared' AS shared,
            string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) AS columns,
            array_agg(a.attname::text ORDER BY a.attnum) AS names
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = place::regnamespace AND c.relkind IN ('r', 'p', 'v')
            AND (c.relname LIKE 'ebay%' OR c.relname LIKE 'order\_line\_items%') AND c.relname NOT LIKE '%\_shared'
            AND EXISTS (SELECT FROM pg_attribute h WHERE h.attrelid = c.oid AND h.attnum > 0 AND NOT h.attisdropped
                AND (h.attname = 'raw_payload' OR EXISTS (SELECT FROM ebay_private_columns p
                    WHERE p.table_name = c.relname AND p.column_name = h.attname)))
            AND a.attname <> 'raw_payload'
            AND NOT EXISTS (SELECT FROM ebay_private_columns p
                WHERE p.table_name = c.relname AND p.column_name IN ('*', a.attname))
        GROUP BY c.relname
    LOOP
        IF one.names IS DISTINCT FROM (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = to_regclass(format('%I', one.shared)) AND a.attnum > 0) THEN
            EXECUTE format('DROP VIEW IF EXISTS %I', one.shared);
            EXECUTE format('CREATE VIEW %I AS SELECT %s FROM %I', one.shared, one.columns, one.relname);
        END IF;
    END LOOP;

    FOR one IN
        SELECT c.relname, c.relkind FROM pg_class c
        WHERE c.relnamespace = place::regnamespace AND c.relkind IN ('r', 'p', 'v')
            AND (c.relname LIKE 'ebay%' OR c.relname LIKE 'order\_line\_items%')
        ORDER BY c.relkind, c.relname
    LOOP
        EXECUTE format('ALTER %s %I OWNER TO ebaysync_owner',
            CASE one.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, one.relname);
        IF one.relkind = 'v' OR one.relname IN ('ebaysync_schema', 'ebay_private_columns') THEN
            EXECUTE format('GRANT SELECT ON %I TO ebaysync_writer', one.relname);
        ELSIF one.relname = ANY (history) THEN
            EXECUTE format('GRANT SELECT, INSERT ON %I TO ebaysync_writer', one.relname);
        ELSE
            EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO ebaysync_writer', one.relname);
        END IF;
    END LOOP;
    FOR one IN
        SELECT p.oid::regprocedure AS signature FROM pg_proc p
        WHERE p.pronamespace = place::regnamespace AND p.proname LIKE 'ebay%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO ebaysync_owner', one.signature);
    END LOOP;
    GRANT EXECUTE ON FUNCTION ebay_without(jsonb, text[]) TO ebaysync_writer;  -- part of every upsert of orders

    FOR one IN
        SELECT c.relname, string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) AS readable
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = place::regnamespace AND c.relkind IN ('r', 'p', 'v')
            AND (c.relname LIKE 'ebay%' OR c.relname LIKE 'order\_line\_items%')
            AND a.attname <> 'raw_payload'
            AND NOT EXISTS (SELECT FROM ebay_private_columns p
                WHERE p.table_name = c.relname AND p.column_name IN ('*', a.attname))
        GROUP BY c.relname
    LOOP
        EXECUTE format('GRANT SELECT (%s) ON %I TO ebaysync_reader', one.readable, one.relname);
    END LOOP;
END
$$;
