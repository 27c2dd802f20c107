"""active_inventory: every listing on sale, with its variations (Trading GetMyeBaySelling, ActiveList).

How eBay behaves, and this module copes:

- At 25,000 listings the list's count is capped. Then GetSellerList gives the listings by their end time instead.
- TimeLeft, WatchCount and converted prices differ in every answer, and PictureDetails come and go: alone they are no
  change.
- A variation's SKU is optional and not unique; without one it is named by what it varies in. If that is not unique
  either, a number follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from ebaysync.families.family import Family
from ebaysync.store.table import INTEGER, TIME, Column, Row, Table, xml_money


def available(row: Row) -> int | None:
    """QuantityAvailable. If eBay leaves it out for a fixed price, Quantity less the sold ones."""
    left: int | None = row["quantity_available"]
    # eBay's name of an auction, for which it sends no QuantityAvailable.
    if left is not None or row["quantity"] is None or row.get("listing_type") == "Chinese":
        return left
    # Quantity counts the sold ones as well.
    return int(row["quantity"]) - int(row["quantity_sold"] or 0)


LISTINGS = Table(
    "ebay_active_inventory",
    key=("item_id",),
    removable=True,
    volatile=(
        ("TimeLeft",),
        ("WatchCount",),
        ("HitCount",),
        ("PictureDetails",),
        ("Variations", "Variation", "*", "WatchCount"),
        ("ListingDetails", "ConvertedStartPrice"),
        ("ListingDetails", "ConvertedReservePrice"),
        ("ListingDetails", "ConvertedBuyItNowPrice"),
        ("SellingStatus", "ConvertedCurrentPrice"),
    ),
    in_own_table=("Variations",),
    columns=(
        Column("item_id", path="ItemID", required=True),
        Column("sku", path="SKU"),
        Column("title", path="Title"),
        Column("listing_type", path="ListingType"),
        Column("listing_duration", path="ListingDuration"),
        Column("quantity", INTEGER, "Quantity"),
        Column("quantity_sold", INTEGER, "SellingStatus.QuantitySold"),
        Column("quantity_available", INTEGER, "QuantityAvailable", derived=available),
        *xml_money("current_price", "SellingStatus.CurrentPrice"),
        *xml_money("start_price", "StartPrice"),
        *xml_money("buy_it_now_price", "BuyItNowPrice"),
        Column("bid_count", INTEGER, "SellingStatus.BidCount"),
        Column("question_count", INTEGER, "QuestionCount"),
        Column("start_time", TIME, "ListingDetails.StartTime"),
        Column("view_item_url", path="ListingDetails.ViewItemURL"),
        Column("gallery_url", path="PictureDetails.GalleryURL", kept=True),
    ),
)


class _Variations(msgspec.Struct):
    each: list[Any] | None = msgspec.field(name="Variation", default=None)


class _ItemVariations(msgspec.Struct):
    variations: _Variations | None = msgspec.field(name="Variations", default=None)


def variations(record: bytes) -> Sequence[bytes]:
    """A listing's variations, each with the VariationKey that names it: its SKU, or what it varies in. If several have
    the same name, they are numbered by their price, so that their order does not matter.

    Anything else in a variation's place is returned too: the decoder refuses it. Raises ValueError if they are no list.
    """
    found = msgspec.json.decode(record, type=_ItemVariations).variations
    each = (found.each if found else None) or []
    skus = Counter(_sku(variation) for variation in each)
    names = [_name(variation, skus) for variation in each]
    counted: Counter[str] = Counter()
    keys: dict[int, str] = {}
    for index in sorted(range(len(each)), key=lambda at: _price(each[at])):
        name = names[index]
        counted[name] += bool(name)
        keys[index] = name if counted[name] < 2 else f"{name}/{counted[name]}"
    return [
        msgspec.json.encode({**variation, "VariationKey": keys[at]} if isinstance(variation, dict) else variation)
        for at, variation in enumerate(each)
    ]


def _sku(variation: Any) -> str | None:
    sku = variation.get("SKU") if isinstance(variation, dict) else None
    return sku if isinstance(sku, str) else None


def _name(variation: Any, skus: Counter[str | None]) -> str:
    """Empty if nothing names it."""
    sku = _sku(variation)
    if sku and skus[sku] == 1:
        return sku
    return specifics(variation) or sku or ""


def _price(variation: Any) -> str:
    return str(variation.get("StartPrice")) if isinstance(variation, dict) else ""


def specifics(variation: Any) -> str:
    """`Color=Red;Size=M`, sorted by name."""
    container = variation.get("VariationSpecifics") if isinstance(variation, dict) else None
    pairs = container.get("NameValueList") if isinstance(container, dict) else None
    named = []
    for pair in [pairs] if isinstance(pairs, dict) else pairs if isinstance(pairs, list) else []:
        if isinstance(pair, dict):
            values = pair.get("Value")
            texts = values if isinstance(values, list) else [] if values is None else [values]
            named.append(f"{pair.get('Name')}={','.join(map(str, texts))}")
    return ";".join(sorted(named))


VARIATIONS = Table(
    "ebay_active_inventory_variations",
    key=("item_id", "variation_key"),
    each=variations,
    parent_key=("item_id",),
    removable=True,
    volatile=(("WatchCount",),),
    columns=(
        Column("item_id", path="^ItemID"),
        Column("variation_key", path="VariationKey", required=True),
        Column("sku", path="SKU"),
        *xml_money("start_price", "StartPrice"),
        Column("quantity", INTEGER, "Quantity"),
        Column("quantity_sold", INTEGER, "SellingStatus.QuantitySold"),
        Column("quantity_available", INTEGER, "QuantityAvailable", derived=available),
    ),
)

FAMILY = Family(
    name="active_inventory",
    about="listings on sale and their variations",
    source="active_inventory",
    calls="Trading GetMyeBaySelling ActiveList; GetSellerList from 25,000 listings on",
    # eBay advises not to ask for this list more often than every 30 minutes.
    every_minutes=60,
    quiet_minutes=1440,
    costs={"trading.GetMyeBaySelling": 2},
    cursor_type="snapshot",
    scopes=("https://api.ebay.com/oauth/api_scope",),
    tables=(LISTINGS, VARIATIONS),
)
