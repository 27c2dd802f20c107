-- What the reader role may not see (roles.sql asks this table): secrets, and what tells of a person. raw_payload of
-- every table is private without being named here. A `*` stands for the whole table.

CREATE TABLE ebay_private_columns (
    table_name   text NOT NULL,
    column_name  text NOT NULL,
    PRIMARY KEY (table_name, column_name)
);
COMMENT ON TABLE ebay_private_columns IS 'Columns, and with * whole tables and views, that the role ebaysync_reader may not read';

INSERT INTO ebay_private_columns (table_name, column_name) VALUES
    ('ebay_tokens', '*'),
    ('ebay_quarantine', 'payload'),
    ('ebay_events', 'changes'),
    ('ebay_history', 'changes'),
    ('ebay_orders', 'buyer_username'),
    ('ebay_orders', 'buyer_checkout_notes'),
    ('ebay_orders', 'ship_to_full_name'),
    ('ebay_orders', 'ship_to_company_name'),
    ('ebay_orders', 'ship_to_address_line1'),
    ('ebay_orders', 'ship_to_address_line2'),
    ('ebay_orders', 'ship_to_city'),
    ('ebay_orders', 'ship_to_county'),
    ('ebay_orders', 'ship_to_postal_code'),
    ('ebay_orders', 'ship_to_primary_phone'),
    ('ebay_orders', 'ship_to_email'),
    ('ebay_finances_transactions', 'buyer_username'),
    ('ebay_transactions', 'buyer_username'),
    ('ebay_refunds', 'buyer_username'),
    ('ebay_disputes', 'buyer_username'),
    ('ebay_messages', 'sender'),
    ('ebay_messages', 'recipient_user_id'),
    ('ebay_messages', 'send_to_name'),
    ('ebay_messages', 'subject'),
    ('ebay_messages', 'text'),
    ('ebay_messages', 'content'),
    ('ebay_buyer', 'seller_user_id'),
    ('ebay_cases', 'buyer'),
    ('ebay_cases', 'seller'),
    ('ebay_inquiries', 'buyer'),
    ('ebay_inquiries', 'seller'),
    ('ebay_returns', 'buyer_login_name'),
    ('ebay_returns', 'seller_login_name'),
    ('ebay_returns', 'comments'),
    ('ebay_payouts', 'bank_reference'),
    ('ebay_payouts', 'payout_memo'),
    ('ebay_payouts', 'instrument_nickname'),
    ('ebay_payouts', 'account_last_four_digits'),
    ('ebay_order_profit', 'buyer_username'),
    ('ebay_problem_orders', 'buyer');
