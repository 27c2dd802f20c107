"""The ways in which eBay is read, by the name that a family's `source` gives: the calls of ebay/… behind one face.

A source is opened once for a run, so that it may remember what it has learned in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from ebaysync.ebay import disputes, finances, fulfillment, inventory, postorder, trading
from ebaysync.ebay.postorder import Resource
from ebaysync.ebay.rest import Api
from ebaysync.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    EbayBusy,
    EbayError,
    EbayUnreachable,
    PageOutOfRange,
    QuotaSpent,
    Unauthorized,
    XmlBroken,
)
from ebaysync.families.base import Family
from ebaysync.sync.scan import Listed, numbered
from ebaysync.sync.walk import Page, Slice, Source, read


@dataclass(frozen=True)
class Found:
    """Records of a scan by the family that they are of. `doubts`: why the scan is not all there is of a family."""

    records: Mapping[str, Sequence[bytes]]
    doubts: Mapping[str, EbayError] = field(default_factory=dict)


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


def concerns_one_record(error: EbayError) -> bool:
    """One record that eBay fails on, today or for ever, must not keep the seller's others from being stored. A token,
    a scope, a limit or a connection is no matter of one record."""
    if isinstance(error, Unauthorized | AccessDenied | EbayUnreachable | QuotaSpent):
        return False
    return not (isinstance(error, EbayBusy) and error.status == 429)


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
        listed: set[str | None] = set()  # returns whose summary the search has shown in this run

        async def ask(window: Slice, offset: int) -> Page:
            total, records = 0, list[bytes]()
            for place in postorder.offsets(offset):
                page = await postorder.search(api, resource, window.start, window.end, place)
                total = max(total, page.total)
                records += _bytes(page.members)
            if resource is postorder.RETURNS:
                listed.update(map(postorder.return_key, records))
            return Page(total, tuple(records), more=False)

        detail = _each(lambda key: postorder.detail(api, resource, key, listed=key in listed))
        return Calls(ask, page_size=postorder.PAGE, details=detail)

    return opened


def _messages(api: Api) -> Calls:
    """Every folder for each window. No answer says how many there are, and nobody knows how many a page may have: one
    that is a multiple of 25 long may have been cut there, so its window is cut instead."""
    folders: list[str] = []

    async def ask(window: Slice, offset: int) -> Page:
        if not folders:
            folders.extend(await trading.my_messages_summary(api))
        records: dict[str | bytes, bytes] = {}
        total, partial = 0, None
        for folder in folders:
            page = await _headers(api, folder, window, offset)
            full = len(page.records) > 0 and len(page.records) % CAP == 0
            total += max(page.entries or 0, offset + len(page.records) + int(full))
            partial = partial or page.partial
            records |= {_message_id(record) or record: record for record in page.records}
        return Page(total, tuple(records.values()), more=total > offset + len(records), partial=partial)

    async def bodies(ids: Sequence[str]) -> Mapping[str, bytes]:
        found = await trading.my_messages_bodies(api, ids)
        return {key: record for record in found if (key := _message_id(record)) in ids and key}

    most = trading.MOST_BODIES
    return Calls(ask, page_size=trading.PAGE, details=bodies, details_per_call=most, details_at_once=most)


CAP = 25  # every page size that anybody has reported is a multiple of it


async def _headers(api: Api, folder: str, window: Slice, offset: int) -> trading.HeaderPage:
    try:
        page = offset // trading.PAGE + 1
        return await trading.my_messages_headers(api, folder, window.start, window.end, page)
    except PageOutOfRange:
        return trading.HeaderPage((), None)


class _MessageId(msgspec.Struct):
    id: str = msgspec.field(name="MessageID")


def _message_id(record: bytes) -> str | None:
    try:
        return msgspec.json.decode(record, type=_MessageId).id
    except ValueError:
        return None


def _active_inventory(api: Api) -> Calls:
    async def listed(name: str) -> Listed:
        page = await trading.my_ebay_selling_active(api, int(name))
        if page.partial:
            raise page.partial
        if (page.entries or 0) >= trading.ACTIVE_CAP:
            raise _TooMany
        last = page.pages if page.pages is not None else int(name)
        return Listed(page.records, page.entries or len(page.records), str(int(name) + 1) if int(name) < last else None)

    async def scan(wanted: Collection[str]) -> AsyncGenerator[Found]:
        try:
            async for records in numbered(listed, _item_id, "1"):
                yield Found({"active_inventory": records})
        except _TooMany:
            async for records in _by_end_time(api):
                yield Found({"active_inventory": records})

    return Calls(scan=scan)


class _TooMany(Exception):
    """The list is capped; nothing of it is believed."""


# "The value range for each of the time filters must be less than 120 days". A listing ends within 31 days (Good 'Til
# Cancelled is renewed each calendar month), some kinds within 90: so the first 31 days are cut by their own density,
# and the rest takes a handful of calls.
FARTHEST_END = timedelta(days=119)
NEXT_END = timedelta(days=31)


async def _by_end_time(api: Api) -> AsyncGenerator[Sequence[bytes]]:
    async def ask(window: Slice, offset: int) -> Page:
        page = await trading.seller_list(api, window.start, window.end, offset // trading.PAGE + 1)
        total = page.entries if page.entries is not None else offset + len(page.records)
        return Page(total, page.records, more=bool(page.more), partial=page.partial)

    now = api.transport.clock.now().replace(microsecond=0)
    source = Source(ask, lambda record: _item_id(record) or record, trading.PAGE)
    async with aclosing(read(source, Slice(now, now + FARTHEST_END), NEXT_END)) as portions:
        async for portion in portions:
            if portion.broken or portion.partial:
                raise portion.partial or XmlBroken(portion.broken[0][1], document=portion.broken[0][0])
            yield [record for record in portion.records if _is_active(record)]


class _Item(msgspec.Struct):
    id: str = msgspec.field(name="ItemID")


class _Status(msgspec.Struct):
    listing: str | None = msgspec.field(name="ListingStatus", default=None)


class _Listing(msgspec.Struct):
    status: _Status | None = msgspec.field(name="SellingStatus", default=None)


def _item_id(record: bytes) -> str | None:
    try:
        return msgspec.json.decode(record, type=_Item).id
    except ValueError:
        return None


def _is_active(record: bytes) -> bool:
    try:
        status = msgspec.json.decode(record, type=_Listing).status
    except ValueError:
        return True  # the family says what is wrong with it
    return status is None or status.listing in (None, "Active")


def _buyer(api: Api) -> Calls:
    """All lists in one answer; further pages of those that have some. An item that moves while they are read may be on
    two of them: the later of BUYING is the newer."""

    async def scan(wanted: Collection[str]) -> AsyncGenerator[Found]:
        found: dict[str, list[bytes]] = {name: [] for name in trading.BUYING}
        lists: Collection[str] = trading.BUYING
        page = 1
        while lists:
            pages = await trading.my_ebay_buying(api, lists, page)
            for name, part in pages.items():
                if part.partial:
                    raise part.partial
                found[name] += part.records
            page += 1
            lists = [name for name, part in pages.items() if part.records and (part.pages or 0) >= page]
        yield Found({"buyer": [record for name in OLD_TO_NEW for record in found[name]]})

    return Calls(scan=scan)


OLD_TO_NEW = ("BidList", "BestOfferList", "LostList", "WonList")


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
        refused = 0
        async for records in numbered(items, _sku, "0"):
            if "offers" not in wanted:
                yield Found({"inventory": records})
                continue
            new = sorted({sku for record in records if (sku := _sku(record)) is not None} - asked)
            answers = await _together(offers, new)
            asked.update(new)
            failed = [answer for answer in answers if isinstance(answer, EbayError)]
            refused += len(failed)
            if refused > MOST_REFUSED:
                raise failed[0]
            found = [offer for answer in answers if not isinstance(answer, EbayError) for offer in answer]
            yield Found({"inventory": records, "offers": found}, {"offers": failed[0]} if failed else {})

    return Calls(scan=scan)


MOST_REFUSED = 20  # SKUs of one scan whose offers eBay refuses to give; then it is no matter of single ones


async def _together(
    work: Callable[[str], Awaitable[list[bytes]]], keys: Sequence[str]
) -> list[list[bytes] | EbayError]:
    """All at once, as far as the transport lets them. A failure that concerns one alone is its result; any other ends
    them all."""

    async def one(key: str) -> list[bytes] | EbayError:
        try:
            return await work(key)
        except EbayError as error:
            if not concerns_one_record(error):
                raise
            return error

    tasks = [asyncio.create_task(one(key)) for key in keys]
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
    "messages": _messages,
    "active_inventory": _active_inventory,
    "buyer": _buyer,
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
