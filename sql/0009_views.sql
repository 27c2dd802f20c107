-- Views for the people who query.

-- What an order brought: every movement of money that names it, by currency. Amounts are the seller's: what costs is
-- negative, but for `fees`, which are costs by themselves and are already contained in `sales` and `charges`.
CREATE VIEW ebay_order_profit AS
SELECT o.ebay_account_id, o.order_id, o.creation_date, o.buyer_username, o.order_payment_status,
    o.order_fulfillment_status, o.total, o.total_currency,
    t.currency, t.sales, t.refunds, t.labels, t.charges, t.other,
    f.fees, f.currency AS fees_currency, t.profit
FROM ebay_orders o
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
COMMENT ON VIEW ebay_order_profit IS 'One line per order and currency of its transactions: sales (net of fees), refunds, labels, charges, other, and their sum';

-- Inventory items that are there, with their offers and, where one is on sale, the listing.
CREATE VIEW ebay_inventory_overview AS
SELECT i.ebay_account_id, i.sku, i.title, i.condition, i.quantity,
    o.offer_id, o.marketplace_id, o.format, o.status, o.price, o.price_currency, o.available_quantity, o.sold_quantity,
    o.listing_id, o.listing_status,
    l.current_price, l.current_price_currency, l.quantity_available AS listing_quantity_available,
    (l.item_id IS NOT NULL) AS is_on_sale
FROM ebay_inventory_items i
LEFT JOIN ebay_offers o
    ON o.ebay_account_id = i.ebay_account_id AND o.sku = i.sku AND o.removed_at IS NULL
LEFT JOIN ebay_active_inventory l
    ON l.ebay_account_id = o.ebay_account_id AND l.item_id = o.listing_id AND l.removed_at IS NULL
WHERE i.removed_at IS NULL;

-- Cases, inquiries, returns and payment disputes in one grid, with the order. Where eBay does not name it, it is the one
-- whose line item is that transaction, or else the only one in which the buyer bought that item.
CREATE VIEW ebay_problem_orders AS
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
SELECT p.ebay_account_id, p.kind, p.problem_id, p.status, p.reason, p.is_open, coalesce(p.order_id, l.order_id) AS order_id,
    p.item_id, p.transaction_id, p.buyer, p.amount, p.amount_currency, p.creation_date, p.respond_by_date,
    o.creation_date AS order_creation_date, o.order_payment_status, o.order_fulfillment_status,
    o.total, o.total_currency
FROM problems p
LEFT JOIN LATERAL (
    SELECT CASE WHEN bool_or(i.line_item_id = p.transaction_id)
            THEN min(i.order_id) FILTER (WHERE i.line_item_id = p.transaction_id)
            WHEN count(DISTINCT i.order_id) = 1 THEN min(i.order_id) END AS order_id
    FROM order_line_items i
    JOIN ebay_orders b ON b.ebay_account_id = i.ebay_account_id AND b.order_id = i.order_id
    WHERE p.order_id IS NULL AND i.ebay_account_id = p.ebay_account_id AND i.legacy_item_id = p.item_id
        AND (i.line_item_id = p.transaction_id OR b.buyer_username = p.buyer)) l ON true
LEFT JOIN ebay_orders o ON o.ebay_account_id = p.ebay_account_id AND o.order_id = coalesce(p.order_id, l.order_id);
CREATE INDEX ON order_line_items (ebay_account_id, legacy_item_id);

-- Everything that was ever seen of a record, in one line of time: its first sight, and its events. Made anew by a
-- function, because each later family brings tables of its own.
CREATE FUNCTION ebay_rebuild_history() RETURNS void LANGUAGE plpgsql AS $$
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
        'CREATE OR REPLACE VIEW ebay_history AS %s UNION ALL SELECT ebay_account_id, observed_at, table_name,'
        ' entity_key, event, changes, run_id FROM ebay_events', sights);
END
$$;
SELECT ebay_rebuild_history();
