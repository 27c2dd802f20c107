-- The families messages, active_inventory and buyer: the Trading API. XML is kept as JSON: an element with attributes or
-- children is an object ("@name" an attribute, "#text" its text), what may repeat is a list, an empty element is null.

CREATE TABLE ebay_messages (
    ebay_account_id      uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    message_id           text NOT NULL,
    external_message_id  text,
    folder_id            text,
    sender               text,
    recipient_user_id    text,
    send_to_name         text,
    subject              text,
    receive_date         timestamptz,
    expiration_date      timestamptz,
    read                 boolean,
    flagged              boolean,
    replied              boolean,
    high_priority        boolean,
    response_enabled     boolean,
    message_type         text,
    question_type        text,
    item_id              text,
    item_title           text,
    item_end_time        timestamptz,
    listing_status       text,
    text                 text,
    content              text,
    raw_payload          jsonb NOT NULL,
    first_seen_at        timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, message_id)
);
CREATE INDEX ON ebay_messages (ebay_account_id, receive_date);
CREATE INDEX ON ebay_messages (ebay_account_id, item_id);
COMMENT ON COLUMN ebay_messages.raw_payload IS 'The message as ReturnHeaders gave it, as JSON; its body is in text and content alone. Characters that XML forbids are left out';
COMMENT ON COLUMN ebay_messages.text IS 'Text of ReturnMessages, HTML or plain; NULL: the body has not come (yet)';
COMMENT ON COLUMN ebay_messages.content IS 'Content of ReturnMessages, plain';

CREATE TABLE ebay_active_inventory (
    ebay_account_id            uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    item_id                    text NOT NULL,
    sku                        text,
    title                      text,
    listing_type               text,
    listing_duration           text,
    quantity                   bigint,
    quantity_sold              bigint,
    quantity_available         bigint,
    current_price              numeric,
    current_price_currency     text,
    start_price                numeric,
    start_price_currency       text,
    buy_it_now_price           numeric,
    buy_it_now_price_currency  text,
    bid_count                  bigint,
    question_count             bigint,
    start_time                 timestamptz,
    view_item_url              text,
    gallery_url                text,
    raw_payload                jsonb NOT NULL,
    first_seen_at              timestamptz NOT NULL DEFAULT now(),
    updated_at                 timestamptz NOT NULL DEFAULT now(),
    removed_at                 timestamptz,
    PRIMARY KEY (ebay_account_id, item_id)
);
CREATE TABLE ebay_active_inventory_variations (
    ebay_account_id       uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    item_id               text NOT NULL,
    variation_key         text NOT NULL,
    sku                   text,
    start_price           numeric,
    start_price_currency  text,
    quantity              bigint,
    quantity_sold         bigint,
    quantity_available    bigint,
    raw_payload           jsonb NOT NULL,
    first_seen_at         timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    removed_at            timestamptz,
    PRIMARY KEY (ebay_account_id, item_id, variation_key)
);
CREATE INDEX ON ebay_active_inventory (ebay_account_id, sku);
CREATE INDEX ON ebay_active_inventory_variations (ebay_account_id, sku);
COMMENT ON COLUMN ebay_active_inventory.quantity IS 'over the listing''s life, what is sold included';
COMMENT ON COLUMN ebay_active_inventory.raw_payload IS 'As JSON. TimeLeft, WatchCount and converted prices are of the last change of something else';
COMMENT ON COLUMN ebay_active_inventory.quantity_available IS 'QuantityAvailable, or what is not sold of Quantity';
COMMENT ON COLUMN ebay_active_inventory.removed_at IS 'when a complete scan was the first without it: ended or sold out; NULL again when it comes back';
COMMENT ON COLUMN ebay_active_inventory_variations.variation_key IS 'the SKU where it is the only one of its listing, else what varies: Color=Red;Size=M';
COMMENT ON COLUMN ebay_active_inventory_variations.raw_payload IS 'As JSON, with VariationKey added';
COMMENT ON COLUMN ebay_active_inventory_variations.removed_at IS 'when its listing was first seen without it, or ended';

CREATE TABLE ebay_buyer (
    ebay_account_id             uuid NOT NULL REFERENCES ebay_accounts ON DELETE CASCADE,
    item_id                     text NOT NULL,
    transaction_id              text NOT NULL,
    list                        text NOT NULL,
    order_id                    text,
    order_line_item_id          text,
    title                       text,
    seller_user_id              text,
    listing_type                text,
    current_price               numeric,
    current_price_currency      text,
    max_bid                     numeric,
    max_bid_currency            text,
    best_offer                  numeric,
    best_offer_currency         text,
    best_offer_status           text,
    transaction_price           numeric,
    transaction_price_currency  text,
    total_price                 numeric,
    total_price_currency        text,
    quantity_purchased          bigint,
    buyer_paid_status           text,
    paid_time                   timestamptz,
    shipped_time                timestamptz,
    created_date                timestamptz,
    end_time                    timestamptz,
    raw_payload                 jsonb NOT NULL,
    first_seen_at               timestamptz NOT NULL DEFAULT now(),
    updated_at                  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ebay_account_id, item_id, transaction_id)
);
CREATE INDEX ON ebay_buyer (ebay_account_id, list);
COMMENT ON COLUMN ebay_buyer.list IS 'BidList, BestOfferList, WonList or LostList: the last one it was seen on';
COMMENT ON COLUMN ebay_buyer.transaction_id IS '0: an auction, or not yet known';
COMMENT ON COLUMN ebay_buyer.raw_payload IS 'Put together: List, and Item; or Transaction with the Order that it stood in';
