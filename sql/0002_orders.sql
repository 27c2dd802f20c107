-- The family orders: Fulfillment getOrders, and getOrder for what was cancelled.

CREATE TABLE ebay_orders (
    ebay_account_id                  uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    order_id                         text NOT NULL,
    creation_date                    timestamptz NOT NULL,
    last_modified_date               timestamptz NOT NULL,
    order_fulfillment_status         text,
    order_payment_status             text,
    seller_id                        text,
    buyer_username                   text,
    buyer_checkout_notes             text,
    cancel_state                     text,
    cancelled_date                   timestamptz,
    price_subtotal                   numeric,
    price_subtotal_currency          text,
    price_discount                   numeric,
    price_discount_currency          text,
    delivery_cost                    numeric,
    delivery_cost_currency           text,
    tax                              numeric,
    tax_currency                     text,
    total                            numeric,
    total_currency                   text,
    total_due_seller                 numeric,
    total_due_seller_currency        text,
    total_fee_basis_amount           numeric,
    total_fee_basis_amount_currency  text,
    total_marketplace_fee            numeric,
    total_marketplace_fee_currency   text,
    ebay_collect_and_remit_tax       boolean,
    payment_date                     timestamptz,
    sales_record_reference           text,
    ship_to_full_name                text,
    ship_to_company_name             text,
    ship_to_address_line1            text,
    ship_to_address_line2            text,
    ship_to_city                     text,
    ship_to_county                   text,
    ship_to_state_or_province        text,
    ship_to_postal_code              text,
    ship_to_country_code             text,
    ship_to_primary_phone            text,
    ship_to_email                    text,
    shipping_carrier_code            text,
    shipping_service_code            text,
    min_estimated_delivery_date      timestamptz,
    max_estimated_delivery_date      timestamptz,
    raw_payload                      jsonb NOT NULL,
    first_seen_at                    timestamptz NOT NULL DEFAULT now(),
    updated_at                       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, order_id)
);
CREATE INDEX ON ebay_orders (ebay_account_id, creation_date);
CREATE INDEX ON ebay_orders (ebay_account_id, last_modified_date);
COMMENT ON COLUMN ebay_orders.raw_payload IS 'The order as getOrders sent it, or getOrder where it was cancelled. Put together: 90 days after an order eBay leaves out name, street, phone and e-mail; those that were stored before are kept here and in the columns. U+0000 and lone surrogates, which PostgreSQL cannot hold, become U+FFFD';
COMMENT ON COLUMN ebay_orders.payment_date IS 'of the first payment';
COMMENT ON COLUMN ebay_orders.total_due_seller IS 'net of eBay''s fees';

CREATE TABLE order_line_items (
    ebay_account_id                    uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    line_item_id                       text NOT NULL,
    order_id                           text NOT NULL,
    legacy_item_id                     text,
    legacy_variation_id                text,
    sku                                text,
    title                              text,
    quantity                           bigint,
    line_item_cost                     numeric,
    line_item_cost_currency            text,
    discounted_line_item_cost          numeric,
    discounted_line_item_cost_currency text,
    shipping_cost                      numeric,
    shipping_cost_currency             text,
    total                              numeric,
    total_currency                     text,
    sold_format                        text,
    listing_marketplace_id             text,
    purchase_marketplace_id            text,
    line_item_fulfillment_status       text,
    ship_by_date                       timestamptz,
    raw_payload                        jsonb NOT NULL,
    first_seen_at                      timestamptz NOT NULL DEFAULT now(),
    updated_at                         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, line_item_id)
);
CREATE INDEX ON order_line_items (ebay_account_id, order_id);
CREATE INDEX ON order_line_items (ebay_account_id, sku);
COMMENT ON COLUMN order_line_items.quantity IS 'units bought; line_item_cost is for all of them';
COMMENT ON COLUMN order_line_items.raw_payload IS 'The line item as it stands in its order''s raw_payload, cleaned and kept in the same way';
