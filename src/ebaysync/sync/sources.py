"""The ways in which eBay is read, by the name that a family's `source` gives: the calls of ebay/… behind one face."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from ebaysync.ebay import fulfillment
from ebaysync.ebay.rest import Api
from ebaysync.families.base import Family
from ebaysync.sync.walk import Page, Slice, Source


@dataclass(frozen=True)
class Calls:
    """`ask` a window, page by page; `detail` a record by its key; `in_future` is the errorId by which eBay refuses
    a window that ends after its now."""

    ask: Callable[[Api, Slice, int], Awaitable[Page]]
    page_size: int
    detail: Callable[[Api, str], Awaitable[bytes]] | None = None
    in_future: int | None = None


async def _orders(api: Api, window: Slice, offset: int) -> Page:
    page = await fulfillment.orders(api, window.start, window.end, offset)
    return Page(page.total, tuple(bytes(order) for order in page.orders), more=bool(page.next))


SOURCES = {
    "orders": Calls(_orders, fulfillment.PAGE, fulfillment.order, fulfillment.BOUND_IN_FUTURE),
}


def windowed(calls: Calls, api: Api, family: Family, progressed: Callable[[], None]) -> Source:
    """The source of one run."""

    async def ask(window: Slice, offset: int) -> Page:
        page = await calls.ask(api, window, offset)
        progressed()
        return page

    return Source(ask, _key_reader(family), calls.page_size)


def _key_reader(family: Family) -> Callable[[bytes], str | bytes]:
    field = next(column.path for column in family.table.columns if column.name == family.table.key[0])
    only_key = msgspec.defstruct("OnlyKey", [("key", str | int)], rename={"key": field})

    def key(record: bytes) -> str | bytes:
        try:
            return str(msgspec.json.decode(record, type=only_key).key)  # type: ignore[attr-defined]
        except ValueError:
            return record

    return key
