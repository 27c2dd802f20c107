"""Listings on sale (Trading GetMyeBaySelling, and GetSellerList where that list is capped)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from datetime import timedelta

import msgspec

from ebaysync.ebay import trading, trading_lists
from ebaysync.ebay.rest import Api
from ebaysync.ebay.xml_repair import broken_record, read_page
from ebaysync.errors import ListMissing, PageOutOfRange
from ebaysync.sync.scan import BEHIND_THE_LAST, NumberedPage, ScanPage, numbered
from ebaysync.sync.sources.calls import Calls, Scanned
from ebaysync.sync.sources.messages import looks_full
from ebaysync.sync.walk import Page, PageReader, Slice, read


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""

    async def ask(page: int, size: int) -> trading_lists.TradingPage:
        found = await trading_lists.my_ebay_selling_active(api, page, size)
        if (found.entries or 0) >= trading_lists.ACTIVE_CAP:
            raise _TooMany
        return found

    async def has_none() -> bool:
        """Whether GetSellerList counts no listing. An answer without the list alone would remove them all."""
        now = api.transport.clock.now()
        return (await trading_lists.seller_list(api, now, now + FARTHEST_END, 1)).entries == 0

    async def listed(name: str) -> NumberedPage:
        number = int(name)
        try:
            page, broken = await read_page(ask, number)
        except (PageOutOfRange, ListMissing) as error:
            if number > 1:
                return BEHIND_THE_LAST
            if isinstance(error, ListMissing) and await has_none():
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
            async with aclosing(_by_end_time(api)) as pages:
                async for found in pages:
                    yield {"active_inventory": found}

    return Calls(scan=scan)


class _TooMany(Exception):
    """The list is capped: none of it counts."""


# "The value range for each of the time filters must be less than 120 days". Most listings end within 31 days, some
# kinds within 90: so the first 31 days are cut by their own density, and the rest takes a handful of calls.
FARTHEST_END = timedelta(days=119)
NEXT_END = timedelta(days=31)


async def _by_end_time(api: Api) -> AsyncGenerator[ScanPage]:
    async def ask(window: Slice, offset: int) -> Page:
        page = await trading_lists.seller_list(api, window.start, window.end, offset // trading.PAGE + 1)
        total = page.entries if page.entries is not None else offset + len(page.records)
        return Page(total, page.records, more=bool(page.more), partial=page.partial)

    now = api.transport.clock.now().replace(microsecond=0)
    reader = PageReader(ask, lambda record: _item_id(record) or record, trading.PAGE)
    async with aclosing(read(reader, Slice(now, now + FARTHEST_END), NEXT_END)) as slices:
        async for part in slices:
            broken = [broken_record(document, reason) for document, reason in part.broken]
            yield ScanPage(
                [record for record in part.records if _is_active(record)], broken, part.partial, part.inconsistent
            )


class _ItemId(msgspec.Struct):
    id: str = msgspec.field(name="ItemID")


class _Status(msgspec.Struct):
    listing: str | None = msgspec.field(name="ListingStatus", default=None)


class _Listing(msgspec.Struct):
    status: _Status | None = msgspec.field(name="SellingStatus", default=None)


def _item_id(record: bytes) -> str | None:
    try:
        return msgspec.json.decode(record, type=_ItemId).id
    except (ValueError, RecursionError):
        return None


def _is_active(record: bytes) -> bool:
    try:
        status = msgspec.json.decode(record, type=_Listing).status
    except (ValueError, RecursionError):
        return True  # the family reports what is wrong with it
    return status is None or status.listing in (None, "Active")
