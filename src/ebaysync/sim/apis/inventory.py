"""Sell Inventory API v1: getInventoryItems, getInventoryItem and getOffers, as strict as their documentation.

Nothing can be filtered by time and nothing has a time. `offset` counts pages, says the documentation; clients have
seen it taken for records (the world's `inventory_offset`). Links are relative, as in eBay's own examples.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from ebaysync.sim.apis.asking import number, served
from ebaysync.sim.apis.oauth import Route
from ebaysync.sim.calls import Answer, Call, Refusal, answer_json, no_such_resource
from ebaysync.sim.model import Body, Seller, Thing, position
from ebaysync.sim.scopes import INVENTORY
from ebaysync.sim.world import World

PATH = "/sell/inventory/v1"
# The specification's LocaleEnum, in the manner of the header.
LOCALES = frozenset(
    (
        *("en-US", "en-CA", "fr-CA", "en-GB", "en-AU", "en-IN", "de-AT", "fr-BE", "fr-FR", "de-DE", "it-IT", "nl-BE"),
        *("nl-NL", "es-ES", "de-CH", "fi-FI", "zh-HK", "hu-HU", "en-PH", "pl-PL", "pt-PT", "ru-RU", "en-SG", "en-IE"),
        "en-MY",
    )
)
NO_OFFER = "This Offer is not available."
NO_ITEM = "We didn't find the resource/entity you are requesting. Please verify the request"

Found = tuple[Thing, Body]


def _refuse(status: int, error_id: int, message: str) -> Refusal:
    head = {"errorId": error_id, "domain": "API_INVENTORY", "subdomain": "Selling", "category": "REQUEST"}
    return Refusal(answer_json({"errors": [{**head, "message": message}]}, status))


def get_items(world: World, seller: Seller, call: Call) -> Answer:
    _check_language(call)
    found = served(seller, "inventory_item", call.now)
    return _page(world, call, "inventoryItems", found, (25, 200), "inventory_item", {})


def get_item(world: World, seller: Seller, call: Call, rest: str) -> Answer:
    """A SKU is one part of the path: eBay does not guess what was not percent-encoded. Raises Refusal: a wrong SKU, or
    none of this seller's."""
    _check_language(call)
    raw = call.raw_path.removeprefix(f"{PATH}/inventory_item/")
    if "/" in raw:
        raise no_such_resource()
    thing = seller.things.get("inventory_item", {}).get(unquote(raw))
    if thing is None or thing.body is None or thing.created > call.now:
        raise _refuse(404, 25710, NO_ITEM)
    return answer_json(thing.body, rows=((thing.id, thing.version),))


def get_offers(world: World, seller: Seller, call: Call) -> Answer:
    """The specification's flag says that `sku` may be left out, its text says required; clients were refused. Raises
    Refusal: no SKU, or no offers of it."""
    _check_language(call)
    query = {name: call.query[name] for name in ("sku", "marketplace_id", "format") if name in call.query}
    if not 1 <= len(query.get("sku", "")) <= 50:
        raise _refuse(400, 25707, "This is an invalid value for a SKU: at most 50 characters are allowed.")
    if query.get("format") not in (None, "FIXED_PRICE", "AUCTION"):
        raise _refuse(400, 25709, "Invalid value for format.")
    names = {"sku": "sku", "marketplace_id": "marketplaceId", "format": "format"}
    found = [
        (thing, body)
        for thing, body in served(seller, "offer", call.now)
        if all(body[names[name]] == value for name, value in query.items())
    ]
    item = seller.things.get("inventory_item", {}).get(query["sku"])
    if not found or item is None or item.body is None:
        raise _refuse(404, 25713, NO_OFFER)
    return _page(world, call, "offers", found, (100, 10**9), "offer", query)


def _check_language(call: Call) -> None:
    """The specification asks for no header; clients without this one were refused."""
    if call.headers.get("accept-language") not in LOCALES:
        raise _refuse(400, 25709, "Invalid value for header Accept-Language.")


def _page(
    world: World, call: Call, rows: str, found: list[Found], limits: tuple[int, int], path: str, query: dict[str, str]
) -> Answer:
    invalid = _refuse(400, 25706, "You have provided invalid pagination values.")
    limit = number(call, "limit", limits[0], 1, limits[1], invalid)
    offset = number(call, "offset", 0, 0, 10**9, invalid)
    step, first = (1, offset * limit) if world.quirks.inventory_offset == "page" else (limit, offset)
    found.sort(key=lambda row: position(row[0].id))
    shown = found[first : first + limit]

    def href(offset: int) -> str:
        fields = [f"{name}={quote(value, safe='')}" for name, value in query.items()]
        return f"{PATH}/{path}?{'&'.join([*fields, f'limit={limit}', f'offset={offset}'])}"

    page: dict[str, Any] = {"href": href(offset), "total": len(found), "limit": limit}
    # As the specification says: for items the number of pages, for offers the number of rows on the page.
    page["size"] = -(-len(found) // limit) if rows == "inventoryItems" else len(shown)
    if first + limit < len(found):
        page["next"] = href(offset + step)
    if offset:
        page["prev"] = href(max(0, offset - step))
    page[rows] = [body for _, body in shown]
    return answer_json(page, rows=tuple((thing.id, thing.version) for thing, _ in shown))


ROUTES = (
    Route(f"{PATH}/inventory_item", INVENTORY, get_items),
    Route(PATH + "/inventory_item/(.+)", INVENTORY, get_item),
    Route(f"{PATH}/offer", INVENTORY, get_offers),
)
