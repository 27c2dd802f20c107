"""Sell Inventory: getInventoryItems and getOffers. (api host.)

There is no filter and no time, so everything is read. `offset` is a page number in eBay's text, and a number of records
for some clients, so it is taken from eBay's own `next`. Accept-Language is not documented as required, but 25709 has
been seen without it.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Answered, Api
from ebaysync.errors import RecordNotFound

QUOTAS = (Quota("inventory", 2_000_000, r"^/sell/inventory/", r"^sell/inventory/"),)

PATH = "/sell/inventory/v1"
PAGE = 200
OFFERS_PAGE = 100
NO_OFFER = 25713
_HEADERS = (("Accept-Language", "en-US"),)


class ItemsPage(Answered, frozen=True):
    total: int
    inventory_items: tuple[msgspec.Raw, ...] = ()
    next: str | None = None


class OffersPage(Answered, frozen=True):
    total: int = 0
    offers: tuple[msgspec.Raw, ...] = ()
    next: str | None = None


async def items(api: Api, offset: str = "0") -> ItemsPage:
    """A page of the inventory items; `offset` comes from the page before. Raises EbayError."""
    params = (("limit", str(PAGE)), ("offset", offset))
    return await api.get("api", f"{PATH}/inventory_item", ItemsPage, params, headers=_HEADERS)


async def offers(api: Api, sku: str, offset: str = "0") -> OffersPage:
    """A page of the offers of a SKU. A SKU without offers (404, 25713) gives an empty page. Raises EbayError."""
    params = (("sku", sku), ("limit", str(OFFERS_PAGE)), ("offset", offset))
    try:
        return await api.get("api", f"{PATH}/offer", OffersPage, params, headers=_HEADERS)
    except RecordNotFound as error:
        if error.error_id != NO_OFFER:
            raise
        return OffersPage()


def next_offset(page: ItemsPage | OffersPage) -> str | None:
    """The offset of the next page; None if this is the last. Only the offset is taken from eBay's `next`, so that an
    answer cannot send us to another host."""
    if not page.next:
        return None
    return parse_qs(urlsplit(page.next).query).get("offset", [None])[0]
