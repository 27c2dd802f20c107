"""The ways in which eBay is read, by the name that a family's `source` gives: the calls of ebay/… behind one face.

A source is opened once for a run, so that it may remember what it has learned in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ebaysync.ebay import disputes, finances, fulfillment, inventory, postorder
from ebaysync.ebay.postorder import Resource
from ebaysync.ebay.rest import Api
from ebaysync.errors import AnswerNotUnderstood
from ebaysync.families.base import Family
from ebaysync.sync.scan import Listed, numbered
from ebaysync.sync.walk import Page, Slice

Found = Mapping[str, Sequence[bytes]]
"""Records of a scan by the family that they are of."""


@dataclass(frozen=True)
class Calls:
    """`ask` a window, page by page; or `scan` all there is for some of the families (a second scan of the same run may
    spare calls whose answers cannot differ). `details` of records by their keys, so many in a call and so many
    stored at once (0: all). `in_future` is the errorId by which eBay refuses a window that ends after its now."""

    ask: Callable[[Slice, int], Awaitable[Page]] | None = None
    scan: Callable[[Collection[str]], AsyncGenerator[Found]] | None = None
    page_size: int = 200
    details: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]] | None = None
    details_per_call: int = 1
    details_at_once: int = 0
    in_future: int | None = None


def _each(detail: Callable[[str], Awaitable[bytes]]) -> Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]:
    async def details(keys: Sequence[str]) -> Mapping[str, bytes]:
        return {key: await detail(key) for key in keys}

    return details


def _bytes(records: Sequence[msgspec.Raw] | None) -> tuple[bytes, ...]:
    return tuple(bytes(record) for record in records or ())


def _orders(api: Api) -> Calls:
    async def ask(window: Slice, offset: int) -> Page:
        page = await fulfillment.orders(api, window.start, window.end, offset)
        return Page(page.total, _bytes(page.orders), more=bool(page.next))

    detail = _each(lambda key: fulfillment.order(api, key))
    return Calls(ask, page_size=fulfillment.PAGE, details=detail, in_future=fulfillment.BOUND_IN_FUTURE)


def _transactions(api: Api) -> Calls:
    async def ask(window: Slice, offset: int) -> Page:
        page = await finances.transactions(api, window.start, window.end, offset)
        return Page(page.total, _bytes(page.transactions), more=bool(page.next))

    return Calls(ask, page_size=finances.PAGE)


def _payouts(api: Api) -> Calls:
    async def ask(window: Slice, offset: int) -> Page:
        page = await finances.payouts(api, window.start, window.end, offset)
        return Page(page.total, _bytes(page.payouts), more=bool(page.next))

    return Calls(ask, page_size=finances.PAGE)


def _disputes(api: Api) -> Calls:
    async def ask(window: Slice, offset: int) -> Page:
        page = await disputes.disputes(api, window.start, window.end, offset)
        return Page(page.total, _bytes(page.payment_dispute_summaries), more=bool(page.next))

    return Calls(ask, page_size=disputes.PAGE, details=_each(lambda key: disputes.dispute(api, key)))


def _post_order(resource: Resource) -> Callable[[Api], Calls]:
    def opened(api: Api) -> Calls:
        async def ask(window: Slice, offset: int) -> Page:
            total, records = 0, list[bytes]()
            for place in postorder.offsets(offset):
                page = await postorder.search(api, resource, window.start, window.end, place)
                total = max(total, page.total)
                records += _bytes(page.members)
            return Page(total, tuple(records), more=False)

        detail = _each(lambda key: postorder.detail(api, resource, key))
        return Calls(ask, page_size=postorder.PAGE, details=detail)

    return opened


class _Sku(msgspec.Struct):
    sku: str


def _inventory(api: Api) -> Calls:
    asked: set[str] = set()  # a SKU's offers are one answer: asked for once, whatever the list does

    async def items(offset: str) -> Listed:
        page = await inventory.items(api, offset)
        return Listed(_bytes(page.inventory_items), page.total, inventory.next_offset(page))

    async def offers(sku: str) -> list[bytes]:
        found: list[bytes] = []
        offset: str | None = "0"
        seen: set[str] = set()
        while offset is not None:
            if offset in seen:
                raise AnswerNotUnderstood(f"the offers' page {offset} comes a second time")
            seen.add(offset)
            page = await inventory.offers(api, sku, offset)
            found += _bytes(page.offers)
            offset = inventory.next_offset(page)
        return found

    async def scan(wanted: Collection[str]) -> AsyncGenerator[Found]:
        async for records in numbered(items, _sku, "0"):
            found: dict[str, Sequence[bytes]] = {"inventory": records}
            if "offers" in wanted:
                new = {sku for record in records if (sku := _sku(record)) is not None} - asked
                found["offers"] = [offer for some in await _together(offers, sorted(new)) for offer in some]
                asked.update(new)
            yield found

    return Calls(scan=scan)


async def _together(work: Callable[[str], Awaitable[list[bytes]]], keys: Sequence[str]) -> list[list[bytes]]:
    """All at once, as far as the transport lets them; the first failure ends the others."""
    tasks = [asyncio.ensure_future(work(key)) for key in keys]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _sku(record: bytes) -> str | None:
    try:
        return msgspec.json.decode(record, type=_Sku).sku
    except ValueError:
        return None


SOURCES: Mapping[str, Callable[[Api], Calls]] = {
    "orders": _orders,
    "transactions": _transactions,
    "payouts": _payouts,
    "disputes": _disputes,
    "inventory": _inventory,
    "cases": _post_order(postorder.CASES),
    "inquiries": _post_order(postorder.INQUIRIES),
    "returns": _post_order(postorder.RETURNS),
}


def key_reader(family: Family) -> Callable[[bytes], str | None]:
    """Reads a record's key, as `ebay_events` names it, where the rest of it may be unusable; None: it has none."""

    def key(record: bytes) -> str | None:
        try:
            row = family.decoders[family.table.name].key_of(record)
        except ValueError:
            return None
        return row

    return key
