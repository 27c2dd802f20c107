"""Inventory items and their offers (Inventory getInventoryItems, getOffers): one scan for both families."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import replace

from ebaysync.ebay import inventory
from ebaysync.ebay.rest import Api
from ebaysync.sync.scan import NumberedPage, numbered
from ebaysync.sync.sources.calls import Calls, Scanned, as_bytes, id_reader
from ebaysync.sync.sources.inventory_offers import Offers, broken_in

_sku = id_reader("sku")


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""
    offers = Offers(api)

    async def items(offset: str) -> NumberedPage:
        page = await inventory.items(api, offset)
        found, following = as_bytes(page.inventory_items), inventory.next_offset(page)
        return NumberedPage(found, page.total, following, broken_in(page, "sku"), page.partial)

    async def scan(wanted: Collection[str], waiting: Collection[str]) -> AsyncGenerator[Scanned]:
        async with aclosing(numbered(items, _sku, "0")) as pages:
            async for found in pages:
                yield {"inventory": found}
                if "offers" in wanted:
                    skus = {sku for record in found.records if (sku := _sku(record)) is not None}
                    # A SKU that the list did not show may have offers.
                    yield {"offers": replace(await offers.read(skus, waiting), inconsistent=found.inconsistent)}

    return Calls(scan=scan)
