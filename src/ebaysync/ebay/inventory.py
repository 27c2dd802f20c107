"""Sell Inventory: getInventoryItems and getOffers. (api host.)

There is no filter and no time, so everything is read. `offset` is a page number in eBay's text, and a number of records
for some clients, so it is taken from eBay's own `next`. Accept-Language is not documented as required, but 25709 has
been seen without it.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Api, ListPage, RestApi
from ebaysync.errors import AnswerNotUnderstood, RecordNotFound

QUOTAS = (Quota("inventory", 2_000_000, r"^/sell/inventory/", r"^sell/inventory/"),)

PATH = "/sell/inventory/v1"
PAGE = 200
OFFERS_PAGE = 100
NO_OFFER = 25713
API = RestApi("api", headers=(("Accept-Language", "en-US"),))


class ItemsPage(ListPage, frozen=True):
    LISTS = ("inventoryItems",)

    inventory_items: tuple[msgspec.Raw, ...] | None = None


class OffersPage(ListPage, frozen=True):
    LISTS = ("offers",)

    offers: tuple[msgspec.Raw, ...] | None = None


async def items(api: Api, offset: str = "0") -> ItemsPage:
    """A page of the inventory items; `offset` comes from the page before. Raises EbayError."""
    params = (("limit", str(PAGE)), ("offset", offset))
    return await api.get(API, f"{PATH}/inventory_item", ItemsPage, params)


async def offers(api: Api, sku: str, offset: str = "0") -> OffersPage:
    """A page of the offers of a SKU. A SKU without offers (404, 25713) gives an empty page. Raises EbayError."""
    params = (("sku", sku), ("limit", str(OFFERS_PAGE)), ("offset", offset))
    try:
        return await api.get(API, f"{PATH}/offer", OffersPage, params)
    except RecordNotFound as error:
        if error.error_id != NO_OFFER:
            raise
        return OffersPage(total=0)


LONGEST_OFFSET = 100  # characters; it becomes a part of the next request


def next_offset(page: ItemsPage | OffersPage) -> str | None:
    """The offset of the next page; None if this is the last. Only the offset is taken from eBay's `next`, so that an
    answer cannot send us to another host. Raises AnswerNotUnderstood."""
    if not page.next:
        return None
    try:
        query = urlsplit(page.next).query
    except ValueError:
        raise AnswerNotUnderstood("`next` of a page of the inventory is no address") from None
    offset: str | None = parse_qs(query).get("offset", [None])[0]
    if offset is None or len(offset) > LONGEST_OFFSET:
        raise AnswerNotUnderstood("`next` of a page of the inventory has no offset")
    return offset
