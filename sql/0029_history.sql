-- A run that has ended stays as it is: only the owner of the table (prune, forget) may change it. A row that is still
-- running costs nothing more than the comparison in WHEN.

CREATE FUNCTION ebay_keep_finished_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_catalog.pg_has_role(current_user,
            (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) TG_RELID), 'USAGE') THEN
        RAISE EXCEPTION 'a finished run of ebay_worker_run cannot be changed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER ebay_keep_finished_run BEFORE UPDATE ON ebay_worker_run FOR EACH ROW
    WHEN (OLD.status <> 'running') EXECUTE FUNCTION ebay_keep_finished_run();
