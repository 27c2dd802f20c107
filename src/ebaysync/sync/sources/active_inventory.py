"""Listings on sale (Trading GetMyeBaySelling, and GetSellerList where that list is capped)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from ebaysync.ebay import trading_lists
from ebaysync.ebay.rest import Api
from ebaysync.ebay.trading import looks_full
from ebaysync.ebay.xml_repair import read_page
from ebaysync.errors import ListMissing, PageOutOfRange
from ebaysync.sync.scan import BEHIND_THE_LAST, NumberedPage, numbered
from ebaysync.sync.sources import seller_list
from ebaysync.sync.sources.calls import Calls, Scanned, id_reader

_item_id = id_reader("ItemID")


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""

    async def ask(page: int, size: int) -> trading_lists.TradingPage:
        found = await trading_lists.my_ebay_selling_active(api, page, size)
        # At the cap eBay says 25,000, however many there are, and repeats the last page for every later one.
        if (found.entries or 0) >= trading_lists.ACTIVE_CAP:
            raise _TooMany
        return found

    async def listed(name: str) -> NumberedPage:
        number = int(name)
        try:
            page, broken = await read_page(ask, number)
        except (PageOutOfRange, ListMissing) as error:
            if number > 1:
                return BEHIND_THE_LAST
            # eBay leaves out the list of a seller without listings, and lists of others. Believed alone, that would
            # remove them all.
            if isinstance(error, ListMissing) and await seller_list.is_empty(api):
                return NumberedPage((), 0, None, unlikely=error)
            raise
        more = number < page.pages if page.pages is not None else looks_full(page.length + len(broken))
        return NumberedPage(page.records, page.entries, str(number + 1) if more else None, broken, page.partial)

    async def scan(wanted: Collection[str], waiting: Collection[str]) -> AsyncGenerator[Scanned]:
        try:
            async with aclosing(numbered(listed, _item_id, "1")) as pages:
                async for found in pages:
                    yield {"active_inventory": found}
        except _TooMany:
            async with aclosing(seller_list.by_end_time(api)) as pages:
                async for found in pages:
                    yield {"active_inventory": found}

    return Calls(scan=scan)


class _TooMany(Exception):
    """The list is capped: none of it counts."""
