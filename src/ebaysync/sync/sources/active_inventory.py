"""Listings on sale (Trading GetMyeBaySelling, and GetSellerList where that list is capped)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing

from ebaysync.ebay.rest import Api
from ebaysync.sync.scan import ScanPage, numbered
from ebaysync.sync.sources import seller_list
from ebaysync.sync.sources.active_list import ActiveList, CapReached, item_id
from ebaysync.sync.sources.calls import Calls, Scanned
from ebaysync.sync.state.pending_details import Pending


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""

    async def scan(wanted: Collection[str], pending: Mapping[str, Pending]) -> AsyncGenerator[Scanned]:
        listed = ActiveList(api)
        try:
            async with aclosing(numbered(listed.page, item_id, "1")) as pages:
                async for found in pages:
                    yield {"active_inventory": found}
            if listed.doubt:
                yield {"active_inventory": ScanPage([], inconsistent=listed.doubt)}
        except CapReached:
            async with aclosing(seller_list.by_end_time(api)) as pages:
                async for found in pages:
                    yield {"active_inventory": found}

    return Calls(scan=scan)
