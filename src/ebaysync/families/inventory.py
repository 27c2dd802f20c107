"""inventory: the items of the Inventory API (getInventoryItems), all of them in each run, because there is no filter.

Listings made on eBay's pages or by the Trading API are not among them.
"""

from __future__ import annotations

from ebaysync.families.family import Family
from ebaysync.store.table import INTEGER, NUMERIC, Column, Table

SCOPES = ("https://api.ebay.com/oauth/api_scope/sell.inventory.readonly",)

ITEMS = Table(
    "ebay_inventory_items",
    key=("sku",),
    removable=True,
    columns=(
        Column("sku", required=True),
        Column("locale"),
        Column("condition"),
        Column("condition_description"),
        Column("title", path="product.title"),
        Column("subtitle", path="product.subtitle"),
        Column("brand", path="product.brand"),
        Column("mpn", path="product.mpn"),
        Column("epid", path="product.epid"),
        Column("image_url", path="product.imageUrls[0]"),
        Column("quantity", INTEGER, "availability.shipToLocationAvailability.quantity"),
        Column("inventory_item_group_key", path="inventoryItemGroupKeys[0]"),
        Column("weight", NUMERIC, "packageWeightAndSize.weight.value"),
        Column("weight_unit", path="packageWeightAndSize.weight.unit"),
    ),
)

FAMILY = Family(
    name="inventory",
    about="items of the Inventory API",
    source="inventory",
    calls="Inventory getInventoryItems",
    every_minutes=60,
    quiet_minutes=720,
    costs={"inventory": 30},
    cursor_type="snapshot",
    scopes=SCOPES,
    tables=(ITEMS,),
)
