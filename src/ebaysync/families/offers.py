"""offers: where and for how much the Inventory API's items are offered (getOffers, one SKU per call).

A SKU can have an offer on each of several marketplaces, so the key is the offerId. An offer that is withdrawn and
published again gets another listingId.
"""

from __future__ import annotations

from ebaysync.families import inventory
from ebaysync.families.family import Family
from ebaysync.store.table import BOOL, INTEGER, TIME, Column, Table, money

OFFERS = Table(
    "ebay_offers",
    key=("offer_id",),
    removable=True,
    columns=(
        Column("offer_id", required=True),
        Column("sku"),
        Column("marketplace_id"),
        Column("format"),
        Column("status"),
        Column("listing_id", path="listing.listingId"),
        Column("listing_status", path="listing.listingStatus"),
        Column("listing_on_hold", BOOL, "listing.listingOnHold"),
        Column("sold_quantity", INTEGER, "listing.soldQuantity"),
        # Missing in a real answer, although eBay documents it.
        Column("available_quantity", INTEGER),
        Column("quantity_limit_per_buyer", INTEGER),
        *money("price", "pricingSummary.price"),
        *money("minimum_advertised_price", "pricingSummary.minimumAdvertisedPrice"),
        *money("original_retail_price", "pricingSummary.originalRetailPrice"),
        *money("auction_start_price", "pricingSummary.auctionStartPrice"),
        *money("auction_reserve_price", "pricingSummary.auctionReservePrice"),
        Column("category_id"),
        Column("secondary_category_id"),
        Column("listing_duration"),
        Column("listing_start_date", TIME),
        Column("merchant_location_key"),
        Column("fulfillment_policy_id", path="listingPolicies.fulfillmentPolicyId"),
        Column("payment_policy_id", path="listingPolicies.paymentPolicyId"),
        Column("return_policy_id", path="listingPolicies.returnPolicyId"),
        Column("lot_size", INTEGER),
    ),
)

FAMILY = Family(
    name="offers",
    about="offers of those items",
    source="inventory",
    calls="Inventory getOffers for each SKU",
    every_minutes=60,
    quiet_minutes=720,
    # A call for each SKU. There is none for the offers of several.
    costs={"inventory": 30},
    cursor_type="snapshot",
    part_column="sku",
    scopes=inventory.SCOPES,
    tables=(OFFERS,),
)
