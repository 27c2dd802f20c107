"""Listings on sale by the time they end (Trading GetSellerList), for a seller with more than GetMyeBaySelling shows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

import msgspec

from ebaysync.ebay import trading, trading_lists
from ebaysync.ebay.rest import Api
from ebaysync.ebay.xml_repair import broken_record
from ebaysync.errors import ListMissing
from ebaysync.sync.scan import ScanPage
from ebaysync.sync.slices import Page, PageReader, Slice, Slicing
from ebaysync.sync.sources.calls import id_reader
from ebaysync.sync.walk import read

# "The value range for each of the time filters must be less than 120 days". Most listings end within 31 days, some
# kinds within 90: so the first 31 days are cut by their own density, and the rest takes a handful of calls.
FARTHEST_END = timedelta(days=119)
NEXT_END = timedelta(days=31)


_item_id = id_reader("ItemID")


async def count(api: Api) -> int | None:
    """How many listings eBay counts; None if it does not say so. Raises EbayError."""
    now = api.transport.clock.now()
    page = await trading_lists.seller_list(api, now, now + FARTHEST_END, 1)
    contradicts_itself = page.entries == 0 and (page.more or (page.pages or 0) > 1)
    return None if contradicts_itself else page.entries


async def by_end_time(api: Api) -> AsyncGenerator[ScanPage]:
    """All active listings. Raises EbayError."""

    async def ask(window: Slice, offset: int) -> Page:
        page = await trading_lists.seller_list(api, window.start, window.end, offset // trading.PAGE + 1)
        came = len(page.records)
        # "PaginationResult … Always": an empty array without a count is no word that there is no listing.
        if page.entries is None and not came and not offset:
            raise ListMissing("GetSellerList: the answer has no listings and no count", status=200)
        more = page.more if page.more is not None else page.entries is None and trading.looks_full(came)
        total = page.entries if page.entries is not None else offset + came + int(more)
        return Page(total, page.records, more=more, partial=page.partial)

    # Slices are cut on whole seconds, so the span must begin on one.
    now = api.transport.clock.now().replace(microsecond=0)
    reader = PageReader(ask, lambda record: _item_id(record) or record, trading.PAGE)
    async with aclosing(read(reader, Slicing(Slice(now, now + FARTHEST_END), NEXT_END))) as slices:
        async for part in slices:
            broken = [broken_record(document, reason) for document, reason in part.broken]
            yield ScanPage(
                [record for record in part.records if _is_active(record)], broken, part.partial, part.inconsistent
            )


class _Status(msgspec.Struct):
    listing: str | None = msgspec.field(name="ListingStatus", default=None)


class _Listing(msgspec.Struct):
    status: _Status | None = msgspec.field(name="SellingStatus", default=None)


def _is_active(record: bytes) -> bool:
    try:
        status = msgspec.json.decode(record, type=_Listing).status
    except (ValueError, RecursionError):
        return True  # the family reports what is wrong with it
    return status is None or status.listing in (None, "Active")
