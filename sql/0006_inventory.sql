-- The families inventory and offers: the Inventory API's items and what they are offered for.

CREATE TABLE ebay_inventory_items (
    ebay_account_id           uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    sku                       text NOT NULL,
    locale                    text,
    condition                 text,
    condition_description     text,
    title                     text,
    subtitle                  text,
    brand                     text,
    mpn                       text,
    epid                      text,
    image_url                 text,
    quantity                  bigint,
    inventory_item_group_key  text,
    weight                    numeric,
    weight_unit               text,
    raw_payload               jsonb NOT NULL,
    first_seen_at             timestamptz NOT NULL DEFAULT now(),
    updated_at                timestamptz NOT NULL DEFAULT now(),
    removed_at                timestamptz,
    PRIMARY KEY (ebay_account_id, sku)
);
COMMENT ON COLUMN ebay_inventory_items.removed_at IS 'when a complete scan was the first without it; NULL again when it comes back';

CREATE TABLE ebay_offers (
    ebay_account_id                    uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    offer_id                           text NOT NULL,
    sku                                text,
    marketplace_id                     text,
    format                             text,
    status                             text,
    listing_id                         text,
    listing_status                     text,
    listing_on_hold                    boolean,
    sold_quantity                      bigint,
    available_quantity                 bigint,
    quantity_limit_per_buyer           bigint,
    price                              numeric,
    price_currency                     text,
    minimum_advertised_price           numeric,
    minimum_advertised_price_currency  text,
    original_retail_price              numeric,
    original_retail_price_currency     text,
    auction_start_price                numeric,
    auction_start_price_currency       text,
    auction_reserve_price              numeric,
    auction_reserve_price_currency     text,
    category_id                        text,
    secondary_category_id              text,
    listing_duration                   text,
    listing_start_date                 timestamptz,
    merchant_location_key              text,
    fulfillment_policy_id              text,
    payment_policy_id                  text,
    return_policy_id                   text,
    lot_size                           bigint,
    raw_payload                        jsonb NOT NULL,
    first_seen_at                      timestamptz NOT NULL DEFAULT now(),
    updated_at                         timestamptz NOT NULL DEFAULT now(),
    removed_at                         timestamptz,
    PRIMARY KEY (ebay_account_id, offer_id)
);
CREATE INDEX ON ebay_offers (ebay_account_id, sku);
CREATE INDEX ON ebay_offers (ebay_account_id, listing_id);
COMMENT ON COLUMN ebay_offers.removed_at IS 'when a complete scan was the first without it; NULL again when it comes back';
