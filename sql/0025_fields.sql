-- Odd fields are counted, records that share a key are told apart, and the views have one row of one thing, with the
-- account's name.

CREATE TABLE ebay_field_notes (
    ebay_account_id  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    api_family       text NOT NULL,
    field            text NOT NULL,
    reason           text NOT NULL,
    count            bigint NOT NULL,
    first_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ebay_account_id, api_family, field, reason)
);
COMMENT ON TABLE ebay_field_notes IS 'Columns that are NULL because eBay''s value is impossible, and parts of records that were left out. The value is in raw_payload';
COMMENT ON COLUMN ebay_field_notes.field IS 'the column, with its table if that is one of parts; or eBay''s field that is not the object or list it should be';
COMMENT ON COLUMN ebay_field_notes.count IS 'records, counted when they are stored as new or changed';

-- Only the key and the times that the cursor or the version needs are required.
ALTER TABLE ebay_orders ALTER COLUMN creation_date DROP NOT NULL;
COMMENT ON COLUMN ebay_orders.creation_date IS 'NULL if eBay''s is impossible; addresses then age from first_seen_at';
COMMENT ON COLUMN ebay_finances_transactions.transaction_id IS 'eBay''s; if a second transaction has the same id and type (a label bought and voided), its own date and booking follow: `ID#2026-11-20T10:00:00.000Z CREDIT`';
COMMENT ON COLUMN ebay_transactions.transaction_id IS 'as in ebay_finances_transactions';
COMMENT ON COLUMN ebay_refunds.refund_id IS 'eBay''s transactionId; if a second refund has the same, its own date and booking follow: `ID#2026-11-20T10:00:00.000Z CREDIT`';
COMMENT ON COLUMN ebay_buyer.transaction_id IS 'TransactionID, or the end of the OrderLineItemID; 0: an auction, or not yet known. If several offers or won lines have no id, one has 0, and the others what tells them apart: `0#12 USD`';
COMMENT ON COLUMN ebay_active_inventory_variations.variation_key IS 'the SKU if it is unique in its listing, else what varies: Color=Red;Size=M; if that is not unique either, with a number: Color=Red/2';
COMMENT ON COLUMN ebay_active_inventory.gallery_url IS 'the last one seen: eBay leaves PictureDetails out now and then';

-- The views have the account's name, and say what one row is.

CREATE OR REPLACE VIEW ebay_order_profit AS
SELECT o.ebay_account_id, o.order_id, o.creation_date, o.buyer_username, o.order_payment_status,
    o.order_fulfillment_status, o.total, o.total_currency,
    t.currency, t.sales, t.refunds, t.labels, t.charges, t.other,
    f.fees, f.currency AS fees_currency, t.profit, a.name AS account
FROM ebay_orders o
JOIN ebay_accounts a ON a.id = o.ebay_account_id
LEFT JOIN LATERAL (
    SELECT amount_currency AS currency,
        sum(amount) FILTER (WHERE transaction_type = 'SALE') AS sales,
        sum(amount) FILTER (WHERE transaction_type = 'REFUND') AS refunds,
        sum(amount) FILTER (WHERE transaction_type = 'SHIPPING_LABEL') AS labels,
        sum(amount) FILTER (WHERE transaction_type = 'NON_SALE_CHARGE') AS charges,
        sum(amount) FILTER (
            WHERE transaction_type NOT IN ('SALE', 'REFUND', 'SHIPPING_LABEL', 'NON_SALE_CHARGE')) AS other,
        sum(amount) AS profit
    FROM ebay_finances_transactions
    WHERE ebay_account_id = o.ebay_account_id AND order_id = o.order_id
    GROUP BY amount_currency) t ON true
LEFT JOIN LATERAL (
    SELECT sum(amount) AS fees, amount_currency AS currency
    FROM ebay_finances_fees
    WHERE ebay_account_id = o.ebay_account_id AND order_id = o.order_id AND removed_at IS NULL
    GROUP BY amount_currency
    ORDER BY (amount_currency = t.currency) DESC, (amount_currency = o.total_currency) DESC LIMIT 1) f ON true;
COMMENT ON VIEW ebay_order_profit IS 'One row per order and currency of its transactions: sales (net of fees), refunds, labels, charges, other, and their sum';

CREATE OR REPLACE VIEW ebay_problem_orders AS
WITH problems AS (
    SELECT ebay_account_id, 'case' AS kind, case_id AS problem_id, case_status_enum AS status, case_type AS reason,
        (case_status_enum IN ('CLOSED', 'CS_CLOSED')) IS NOT TRUE AS is_open, order_id, item_id, transaction_id,
        buyer, claim_amount AS amount, claim_amount_currency AS amount_currency, creation_date, respond_by_date
    FROM ebay_cases
    UNION ALL
    SELECT ebay_account_id, 'inquiry', inquiry_id, inquiry_status_enum, creation_reason,
        (inquiry_status_enum IN ('CLOSED', 'CS_CLOSED', 'CLOSED_WITH_ESCALATION')) IS NOT TRUE,
        order_id, item_id, transaction_id, buyer, claim_amount, claim_amount_currency, creation_date, respond_by_date
    FROM ebay_inquiries
    UNION ALL
    SELECT ebay_account_id, 'return', return_id, state, reason, state IS DISTINCT FROM 'CLOSED',
        order_id, item_id, transaction_id, buyer_login_name, claim_amount, claim_amount_currency, creation_date,
        respond_by_date
    FROM ebay_returns
    UNION ALL
    SELECT ebay_account_id, 'dispute', dispute_id, payment_dispute_status, reason,
        payment_dispute_status IS DISTINCT FROM 'CLOSED',
        order_id, item_id, line_item_id, buyer_username, amount, amount_currency, open_date, respond_by_date
    FROM ebay_disputes)
SELECT p.ebay_account_id, p.kind, p.problem_id, p.status, p.reason, p.is_open,
    coalesce(p.order_id, l.order_id) AS order_id,
    p.item_id, p.transaction_id, p.buyer, p.amount, p.amount_currency, p.creation_date, p.respond_by_date,
    o.creation_date AS order_creation_date, o.order_payment_status, o.order_fulfillment_status,
    o.total, o.total_currency, a.name AS account
FROM problems p
JOIN ebay_accounts a ON a.id = p.ebay_account_id
LEFT JOIN LATERAL (
    SELECT CASE WHEN bool_or(i.line_item_id = p.transaction_id)
            THEN min(i.order_id) FILTER (WHERE i.line_item_id = p.transaction_id)
            WHEN count(DISTINCT i.order_id) = 1 THEN min(i.order_id) END AS order_id
    FROM order_line_items i
    JOIN ebay_orders b ON b.ebay_account_id = i.ebay_account_id AND b.order_id = i.order_id
    WHERE p.order_id IS NULL AND i.ebay_account_id = p.ebay_account_id AND i.legacy_item_id = p.item_id
        AND (i.line_item_id = p.transaction_id OR b.buyer_username = p.buyer)) l ON true
LEFT JOIN ebay_orders o ON o.ebay_account_id = p.ebay_account_id AND o.order_id = coalesce(p.order_id, l.order_id);
COMMENT ON VIEW ebay_problem_orders IS 'One row per case, inquiry, return and payment dispute, with its order. If eBay does not name the order, it is the one whose line item is that transaction, or else the only one in which the buyer bought that item';

-- One row per offer had the item's quantity in each, so that its sum was too high.
DROP VIEW ebay_inventory_overview;
CREATE VIEW ebay_inventory_overview AS
SELECT i.ebay_account_id, a.name AS account, i.sku, i.title, i.condition, i.quantity,
    coalesce(o.offers, 0) AS offers, coalesce(o.published_offers, 0) AS published_offers,
    o.marketplace_ids, o.listing_ids,
    CASE WHEN o.min_price = o.max_price THEN o.min_price END AS price,
    o.min_price, o.max_price, o.price_currency, o.available_quantity, o.sold_quantity,
    o.listing_quantity_available, coalesce(o.is_on_sale, false) AS is_on_sale
FROM ebay_inventory_items i
JOIN ebay_accounts a ON a.id = i.ebay_account_id
LEFT JOIN LATERAL (
    SELECT count(*) AS offers, count(*) FILTER (WHERE f.status = 'PUBLISHED') AS published_offers,
        array_agg(DISTINCT f.marketplace_id) FILTER (WHERE f.marketplace_id IS NOT NULL) AS marketplace_ids,
        array_agg(DISTINCT f.listing_id) FILTER (WHERE f.listing_id IS NOT NULL) AS listing_ids,
        CASE WHEN count(DISTINCT f.price_currency) = 1 THEN min(f.price) END AS min_price,
        CASE WHEN count(DISTINCT f.price_currency) = 1 THEN max(f.price) END AS max_price,
        CASE WHEN count(DISTINCT f.price_currency) = 1 THEN min(f.price_currency) END AS price_currency,
        sum(f.available_quantity)::bigint AS available_quantity, sum(f.sold_quantity)::bigint AS sold_quantity,
        (SELECT sum(n.quantity_available)::bigint FROM ebay_active_inventory n
            WHERE n.ebay_account_id = i.ebay_account_id AND n.removed_at IS NULL
                AND n.item_id = ANY(array_agg(f.listing_id))) AS listing_quantity_available,
        EXISTS (SELECT FROM ebay_active_inventory n
            WHERE n.ebay_account_id = i.ebay_account_id AND n.removed_at IS NULL
                AND n.item_id = ANY(array_agg(f.listing_id))) AS is_on_sale
    FROM ebay_offers f
    WHERE f.ebay_account_id = i.ebay_account_id AND f.sku = i.sku AND f.removed_at IS NULL) o ON true
WHERE i.removed_at IS NULL;
COMMENT ON VIEW ebay_inventory_overview IS 'One row per SKU of the Inventory API that is there, with its offers added up. Prices are there if all offers have one currency';
COMMENT ON COLUMN ebay_inventory_overview.quantity IS 'the item''s own, from which all of its offers are sold';
COMMENT ON COLUMN ebay_inventory_overview.price IS 'NULL if the offers have several';
COMMENT ON COLUMN ebay_inventory_overview.available_quantity IS 'the sum over the offers, each of which may offer the same pieces';
COMMENT ON COLUMN ebay_inventory_overview.listing_ids IS 'of the offers; NULL if none was ever published';
COMMENT ON COLUMN ebay_inventory_overview.listing_quantity_available IS 'the sum over those of the listings that are on sale';

CREATE OR REPLACE VIEW ebay_payout_check AS
SELECT p.ebay_account_id, p.payout_id, p.payout_date, p.payout_status, p.transaction_count,
    count(t.transaction_id) AS stored_count, count(t.transaction_id) = p.transaction_count AS is_complete,
    min(a.name) AS account
FROM ebay_payouts p
JOIN ebay_accounts a ON a.id = p.ebay_account_id
LEFT JOIN ebay_finances_transactions t ON t.ebay_account_id = p.ebay_account_id AND t.payout_id = p.payout_id
GROUP BY p.ebay_account_id, p.payout_id;
COMMENT ON VIEW ebay_payout_check IS 'One row per payout, with the number of its transactions that are stored. Those before the first import''s reach cannot be';

CREATE OR REPLACE FUNCTION ebay_rebuild_history() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    sights text;
BEGIN
    SELECT string_agg(format(
            'SELECT ebay_account_id, first_seen_at AS at, %L::text AS table_name, %s AS entity_key,'
            ' ''first_seen''::text AS event, NULL::jsonb AS changes, NULL::uuid AS run_id FROM %I',
            relname, entity_key, relname), ' UNION ALL ' ORDER BY relname)
    INTO sights
    FROM (
        SELECT c.relname,
            string_agg(format('%I::text', a.attname), ' || ''/'' || ' ORDER BY k.position)
                FILTER (WHERE a.attname <> 'ebay_account_id') AS entity_key
        FROM pg_class c
        JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
            AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'first_seen_at')
            AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'raw_payload')
        GROUP BY c.relname) tables;
    EXECUTE format(
        'CREATE OR REPLACE VIEW ebay_history AS SELECT h.*, a.name AS account FROM (%s UNION ALL'
        ' SELECT ebay_account_id, observed_at, table_name, entity_key, event, changes, run_id FROM ebay_events) h'
        ' JOIN ebay_accounts a ON a.id = h.ebay_account_id', sights);
    COMMENT ON VIEW ebay_history IS 'One row per first sight of a record, and per change, removal and return of one';
END
$$;
SELECT ebay_rebuild_history();
