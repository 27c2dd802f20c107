"""Inventory items and offers of the Sell Inventory API. An item's id is its SKU, whatever characters it has; its
offers go when it goes. The shapes are the specification's, that of an offer was captured."""

from __future__ import annotations

import hashlib
from datetime import datetime
from random import Random

from ebaysync.sim.model import Body, Seller, Surroundings, Thing, Version
from ebaysync.sim.payload import decimal
from ebaysync.sim.people import COLOURS, GOODS, MARKETPLACES, SIZES
from ebaysync.sim.things import Kind

LOCALES = {"US": "en_US", "GB": "en_GB", "DE": "de_DE", "IT": "it_IT", "AU": "en_AU", "FR": "fr_FR"}
CONDITIONS = ("NEW", "NEW", "USED_EXCELLENT", "FOR_PARTS_OR_NOT_WORKING", "PRE_OWNED_FAIR")
# Forms of a SKU, around its number.
SKUS = ("SKU-{}", "36162 RDV/J{}", "Größe/№{}", "50%+{}", "a+b={}&c", "李 {}?x#y", "x..{}", "{:0>50}")
LISTED = ("ACTIVE", "ACTIVE", "ACTIVE", "OUT_OF_STOCK", "INACTIVE", "ENDED", "EBAY_ENDED")


def _item(world: Surroundings, seller: Seller, at: datetime, random: Random) -> tuple[str, Body]:
    there, sku = seller.things.get("inventory_item", {}), ""
    while not sku or sku in there:
        sku = random.choice(SKUS).format(random.randrange(10**7))
    title, _, _, varies = random.choice(GOODS)
    quantity = random.choice((0, 1, 7, random.randrange(2, 500)))
    ship: Body = {"quantity": quantity, "allocationByFormat": {"auction": 0, "fixedPrice": quantity}}
    body: Body = {
        "sku": sku,
        "locale": LOCALES[seller.market.country],
        "product": {
            "title": title,
            "description": f"<p>{title}</p>",
            "aspects": {"Brand": ["Acme & Söhne"], "Color": random.sample(COLOURS, 2)},
            "imageUrls": [f"https://i.ebayimg.com/images/g/{random.randrange(10**6)}/s-l1600.jpg"],
        },
        "condition": random.choice(CONDITIONS),
        "availability": {"shipToLocationAvailability": ship},
    }
    if varies:
        body["product"]["aspects"]["Size"] = [random.choice(SIZES)]
        body |= {"inventoryItemGroupKeys": [title[:20]], "groupIds": [title[:20]]}
    if random.random() < 0.3:
        body["packageWeightAndSize"] = {"weight": {"value": random.randrange(1, 50) / 10, "unit": "KILOGRAM"}}
    if random.random() < 0.2:
        store = {"merchantLocationKey": "MAIN", "quantity": 1, "availabilityType": "IN_STOCK"}
        body["availability"]["pickupAtLocationAvailability"] = [store]
    if body["condition"] != "NEW":
        body["conditionDescription"] = "light scratches"
    return sku, body


def _quantity(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    ship = body["availability"]["shipToLocationAvailability"]
    ship["quantity"] = (ship["quantity"] + random.randrange(1, 20)) % 500
    ship["allocationByFormat"] = {"auction": 0, "fixedPrice": ship["quantity"]}
    return body


def _title(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    body["product"]["title"] = f"{random.choice(GOODS)[0]} {random.randrange(1000)}"
    body["product"]["aspects"]["Color"] = random.sample(COLOURS, 2)
    return body


def _delete(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> None:
    """eBay deletes an item's offers with it."""
    for offer in _offers(thing.seller, thing.id):
        offer.become(max(at, offer.modified), None)


def _offers(seller: Seller, sku: str) -> list[Thing]:
    offers = seller.things.get("offer", {}).values()
    return [offer for offer in offers if offer.body is not None and offer.body["sku"] == sku]


def _offer(world: Surroundings, seller: Seller, at: datetime, random: Random) -> tuple[str, Body]:
    """Create an offer of an existing item: mostly of one without any, else at another marketplace."""
    items, offers = seller.things.setdefault("inventory_item", {}), seller.things.get("offer", {})
    there = list(items.values())
    some = [random.choice(there) for _ in range(10 if there else 0)]
    markets = [seller.market, *(market for market in MARKETPLACES if market is not seller.market)]
    for market in markets if random.random() < 0.75 else reversed(markets[:2]):
        for item in some:
            offer_id = _offer_id(seller, item.id, market.id)
            if item.body is not None and offer_id not in offers:
                return offer_id, _offered(offer_id, item.id, market.id, market.currency, random)
    sku, body = _item(world, seller, at, random)
    items[sku] = Thing("inventory_item", sku, seller, [Version(at, body)])
    offer_id = _offer_id(seller, sku, seller.market.id)
    return offer_id, _offered(offer_id, sku, seller.market.id, seller.market.currency, random)


def _offer_id(seller: Seller, sku: str, marketplace: str) -> str:
    digest = hashlib.blake2b(f"{seller.user_id}/{marketplace}/{sku}".encode(), digest_size=8).digest()
    return str(10**11 + int.from_bytes(digest, "big") % (9 * 10**11))


def _offered(offer_id: str, sku: str, marketplace: str, currency: str, random: Random) -> Body:
    body: Body = {
        "offerId": offer_id,
        "sku": sku,
        "marketplaceId": marketplace,
        "format": "FIXED_PRICE",
        "pricingSummary": {"price": {"value": decimal(random.randrange(100, 50_000)), "currency": currency}},
        "listingPolicies": {"eBayPlusIfEligible": False},
        "categoryId": str(random.randrange(1000, 99999)),
        "merchantLocationKey": "MAIN",
        "tax": {"applyTax": False},
        "status": "UNPUBLISHED",
        "listingDuration": "GTC",
        "includeCatalogProductDetails": True,
        "hideBuyerDetails": False,
    }
    if random.random() < 0.6:
        body["availableQuantity"] = random.randrange(20)
    if random.random() < 0.3:
        body["quantityLimitPerBuyer"] = 1
    if random.random() < 0.8:
        _publish(body, random)
    return body


def _publish(body: Body, random: Random) -> None:
    """Each time under another listing id."""
    listing_id = str(random.randrange(10**11, 10**12))
    body["listing"] = {"listingId": listing_id, "listingStatus": "ACTIVE", "soldQuantity": 0}
    body["status"] = "PUBLISHED"


def _price(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    body["pricingSummary"]["price"]["value"] = decimal(random.randrange(100, 50_000))
    return body


def _republish(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """Withdrawn if published, published anew if not."""
    if body["status"] == "UNPUBLISHED":
        _publish(body, random)
    else:
        del body["listing"]
        body["status"] = "UNPUBLISHED"
    return body


def _sell(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """Something is sold and the listing's status may change; what is not listed gets another price."""
    if "listing" not in body:
        return _price(world, thing, body, at, random)
    body["listing"]["soldQuantity"] += random.randrange(1, 5)
    body["listing"]["listingStatus"] = random.choice(LISTED)
    return body


def _vanish(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> None:
    return


def _has_item(thing: Thing) -> bool:
    last = next(version.body for version in reversed(thing.versions) if version.body)
    item = thing.seller.things.get("inventory_item", {}).get(last["sku"])
    return item is not None and item.body is not None


KINDS = (
    Kind("inventory_item", _item, {"delete": _delete, "quantity": _quantity, "title": _title}),
    Kind(
        "offer",
        _offer,
        {"price": _price, "republish": _republish, "sell": _sell, "vanish": _vanish},
        returns=_has_item,
    ),
)
