"""The ways in which eBay is read, by the name that a family's `source` gives: the calls of ebay/… behind one face.

A source is opened once for a run, so that it may remember what it has learned in it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol

import msgspec

from ebaysync.ebay import disputes, finances, fulfillment, inventory, postorder, trading
from ebaysync.ebay.postorder import Resource
from ebaysync.ebay.rest import Api
from ebaysync.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    EbayBusy,
    EbayError,
    EbayRejected,
    EbayUnreachable,
    PageOutOfRange,
    QuotaSpent,
    Unauthorized,
    XmlBroken,
)
from ebaysync.families.family import Family
from ebaysync.sync.scan import BEHIND_THE_LAST, Broken, Found, Listed, numbered
from ebaysync.sync.walk import FINEST, Page, Slice, Source, read

Scanned = Mapping[str, Found]
"""What a scan has found, by the family that it is of."""


@dataclass(frozen=True)
class Calls:
    """`ask` a window, page by page; or `scan` all there is for some of the families (a second scan of the same run may
    spare calls whose answers cannot differ). `details` of records by their keys, so many in a call and so many
    stored at once (0: all). `in_future` is the errorId by which eBay refuses a window that ends after its now."""

    ask: Callable[[Slice, int], Awaitable[Page]] | None = None
    scan: Callable[[Collection[str]], AsyncGenerator[Scanned]] | None = None
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
    if isinstance(error, XmlBroken) and not error.by_a_record:
        return False
    return not (isinstance(error, EbayBusy) and error.status == 429)


def _each(detail: Callable[[str], Awaitable[bytes]]) -> Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]:
    async def details(keys: Sequence[str]) -> Mapping[str, bytes]:
        return {key: await detail(key) for key in keys}

    return details


def _bytes(records: Sequence[msgspec.Raw] | None) -> tuple[bytes, ...]:
    return tuple(bytes(record) for record in records or ())


class _Envelope(Protocol):
    @property
    def total(self) -> int | None: ...

    @property
    def next(self) -> str | None: ...

    @property
    def limit(self) -> int | None: ...


def _rest_page(page: _Envelope, records: Sequence[msgspec.Raw] | None, offset: int, asked: int) -> Page:
    """A page of a REST list. eBay may give fewer records at once than were asked for, and says so in `limit`. Neither
    `total` nor `next` is promised: a full page that leaves open whether another follows is not taken for the last."""
    found = _bytes(records)
    end, total = offset + len(found), page.total or 0
    is_full = len(found) >= min(asked, page.limit or asked)
    more = bool(page.next) or (is_full and (page.total is None or end < total))
    if is_full or total < end:
        total = max(total, end + int(more))
    return Page(total, found, more=more)


def _orders(api: Api) -> Calls:
    async def ask(window: Slice, offset: int) -> Page:
        page = await fulfillment.orders(api, window.start, window.end, offset)
        return _rest_page(page, page.orders, offset, fulfillment.PAGE)

    detail = _each(lambda key: fulfillment.order(api, key))
    return Calls(ask, page_size=fulfillment.PAGE, details=detail, in_future=fulfillment.BOUND_IN_FUTURE)


def _transactions(api: Api) -> Calls:
    async def ask(window: Slice, offset: int) -> Page:
        page = await finances.transactions(api, window.start, window.end, offset)
        return _rest_page(page, page.transactions, offset, finances.PAGE)

    return Calls(ask, page_size=finances.PAGE)


def _payouts(api: Api) -> Calls:
    async def ask(window: Slice, offset: int) -> Page:
        page = await finances.payouts(api, window.start, window.end, offset)
        return _rest_page(page, page.payouts, offset, finances.PAGE)

    return Calls(ask, page_size=finances.PAGE)


def _disputes(api: Api) -> Calls:
    async def ask(window: Slice, offset: int) -> Page:
        page = await disputes.disputes(api, window.start, window.end, offset)
        return _rest_page(page, page.payment_dispute_summaries, offset, disputes.PAGE)

    return Calls(ask, page_size=disputes.PAGE, details=_each(lambda key: disputes.dispute(api, key)))


def _post_order(resource: Resource) -> Callable[[Api], Calls]:
    def opened(api: Api) -> Calls:
        listed: set[str | None] = set()  # returns whose summary the search has shown in this run

        async def ask(window: Slice, offset: int) -> Page:
            total, records, is_cut = 0, list[bytes](), False
            for place in postorder.offsets(offset):
                try:
                    page = await postorder.search(api, resource, window.start, window.end, place)
                except EbayRejected as error:
                    if not place or isinstance(error, Unauthorized | AccessDenied):
                        raise
                    continue  # rows where eBay counts pages: there is no such page
                total = max(total, page.total)
                records += _bytes(page.members)
                is_cut = is_cut or page.is_cut
            if resource is postorder.RETURNS:
                listed.update(map(postorder.return_key, records))
            return Page(total, tuple(records), more=is_cut)

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
        more, partial = False, None
        for folder in folders:
            page = await _headers(api, folder, window)
            found = {_message_id(record) or record: record for record in page.records}
            if window.width <= FINEST:
                found |= await _behind(api, folder, window, page, found)
            elif _looks_full(len(page.records)) or (page.entries or 0) > len(found):
                more = True
            partial = partial or page.partial
            records |= found
        return Page(len(records) + int(more), tuple(records.values()), more=more, partial=partial)

    async def bodies(ids: Sequence[str]) -> Mapping[str, bytes]:
        try:
            found = await trading.my_messages_bodies(api, ids)
        except XmlBroken as error:
            raise _trimmed(error) from None
        return {key: record for record in found if (key := _message_id(record)) in ids and key}

    most = trading.MOST_BODIES
    return Calls(ask, page_size=trading.PAGE, details=bodies, details_per_call=most, details_at_once=most)


CAP = 25  # every page size that anybody has reported is a multiple of it


async def _headers(api: Api, folder: str, window: Slice, page: int = 1) -> trading.HeaderPage:
    try:
        return await trading.my_messages_headers(api, folder, window.start, window.end, page)
    except PageOutOfRange:
        return trading.HeaderPage((), None)
    except XmlBroken as error:
        raise _trimmed(error) from None


def _trimmed(error: XmlBroken) -> XmlBroken:
    """With the record's bytes alone; with none where the document has no record that could be to blame."""
    record = error.document and _record_in(error.document)
    return XmlBroken(error.message, document=record, by_a_record=error.by_a_record)


def _looks_full(records: int) -> bool:
    """Of a page of an answer that does not say how many there are."""
    return records > 0 and records % CAP == 0


async def _behind(
    api: Api, folder: str, window: Slice, page: trading.HeaderPage, known: Mapping[str | bytes, bytes]
) -> dict[str | bytes, bytes]:
    """What stands behind the first page of a window that cannot be cut. A page behind the last one may be empty, an
    error or the last one again: the first without anything new ends it."""
    found: dict[str | bytes, bytes] = {}
    number = 1
    while _looks_full(len(page.records)):
        number += 1
        page = await _headers(api, folder, window, number)
        new = {_message_id(record) or record: record for record in page.records}
        if not new.keys() - known.keys() - found.keys():
            break
        found |= new
    return found


class _MessageId(msgspec.Struct):
    id: str = msgspec.field(name="MessageID")


def _message_id(record: bytes) -> str | None:
    try:
        return msgspec.json.decode(record, type=_MessageId).id
    except ValueError:
        return None


def _active_inventory(api: Api) -> Calls:
    async def ask(page: int, size: int) -> trading.ListPage:
        found = await trading.my_ebay_selling_active(api, page, size)
        if (found.entries or 0) >= trading.ACTIVE_CAP:
            raise _TooMany
        return found

    async def listed(name: str) -> Listed:
        number = int(name)
        try:
            page, broken = await _mended(ask, number)
        except PageOutOfRange:
            if number == 1:
                raise
            return BEHIND_THE_LAST
        more = number < page.pages if page.pages is not None else _looks_full(page.length + len(broken))
        return Listed(page.records, page.entries, str(number + 1) if more else None, broken, page.partial)

    async def scan(wanted: Collection[str]) -> AsyncGenerator[Scanned]:
        try:
            async for found in numbered(listed, _item_id, "1"):
                yield {"active_inventory": found}
        except _TooMany:
            async for found in _by_end_time(api):
                yield {"active_inventory": found}

    return Calls(scan=scan)


SMALLER = {trading.PAGE: 20, 20: 1}
MOST_BROKEN = 10  # records of a page; more of them, and it is not the records that are broken


async def _mended(
    ask: Callable[[int, int], Awaitable[trading.ListPage]], page: int, size: int = trading.PAGE
) -> tuple[trading.ListPage, tuple[Broken, ...]]:
    """A page of a list. One that is no XML is asked for in smaller ones, down to the single record that breaks it.
    Raises XmlBroken when it is not a matter of some records, PageOutOfRange."""
    try:
        return await ask(page, size), ()
    except XmlBroken as error:
        whole = error
    if not whole.by_a_record:
        return await ask(page, size), ()  # once more, and not for less
    if size not in SMALLER:
        if whole.document is None:
            raise whole
        pages, entries = (_said(whole.document, f"TotalNumberOf{what}") for what in ("Pages", "Entries"))
        return trading.ListPage((), pages, entries), (_broken(whole.document, whole.message),)
    parts = size // SMALLER[size]
    records: list[bytes] = []
    broken: list[Broken] = []
    length, doubt = 0, None
    last: trading.ListPage | None = None
    for part in range((page - 1) * parts + 1, page * parts + 1):
        try:
            last, some = await _mended(ask, part, SMALLER[size])
        except PageOutOfRange:
            break
        records += last.records
        broken += some
        length += last.length
        doubt = doubt or last.partial
        if len(broken) > MOST_BROKEN:
            raise whole
        if last.pages is not None and part >= last.pages:
            break
    if last is None:
        raise whole
    pages = last.pages and -(-last.pages // parts)
    whole_page = trading.ListPage(tuple(records), pages, last.entries, last.more, doubt, length)
    return whole_page, tuple(broken)


def _said(document: bytes, element: str) -> int | None:
    found = re.findall(rb"<%b>([0-9]{1,9})</" % element.encode(), document)
    return int(found[0]) if len(found) == 1 else None


def _broken(document: bytes, reason: str) -> Broken:
    ids = set(re.findall(rb"<ItemID>([0-9]{1,20})</ItemID>", document))
    return Broken(_record_in(document) or document, reason, ids.pop().decode() if len(ids) == 1 else None)


def _record_in(document: bytes) -> bytes | None:
    """What is of the record and not of the answer, whose Timestamp would make the same record another each time."""
    found = re.search(rb"<((?:\w+:)?(?:OrderTransaction|Item|Message))>.*</\1>", document, re.DOTALL)
    return found[0] if found else None


class _TooMany(Exception):
    """The list is capped; nothing of it is believed."""


# "The value range for each of the time filters must be less than 120 days". A listing ends within 31 days (Good 'Til
# Cancelled is renewed each calendar month), some kinds within 90: so the first 31 days are cut by their own density,
# and the rest takes a handful of calls.
FARTHEST_END = timedelta(days=119)
NEXT_END = timedelta(days=31)


async def _by_end_time(api: Api) -> AsyncGenerator[Found]:
    async def ask(window: Slice, offset: int) -> Page:
        page = await trading.seller_list(api, window.start, window.end, offset // trading.PAGE + 1)
        total = page.entries if page.entries is not None else offset + len(page.records)
        return Page(total, page.records, more=bool(page.more), partial=page.partial)

    now = api.transport.clock.now().replace(microsecond=0)
    source = Source(ask, lambda record: _item_id(record) or record, trading.PAGE)
    async with aclosing(read(source, Slice(now, now + FARTHEST_END), NEXT_END)) as portions:
        async for portion in portions:
            broken = [_broken(document, reason) for document, reason in portion.broken]
            yield Found([record for record in portion.records if _is_active(record)], broken, portion.partial)


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

    async def lists_of(names: Collection[str], page: int) -> Mapping[str, tuple[trading.ListPage, tuple[Broken, ...]]]:
        try:
            pages = await trading.my_ebay_buying(api, names, page)
            return {name: (part, ()) for name, part in pages.items()}
        except (XmlBroken, PageOutOfRange):
            return {name: await alone(name, page) for name in names}

    async def alone(name: str, page: int) -> tuple[trading.ListPage, tuple[Broken, ...]]:
        try:
            return await _mended(partial(one_list, name), page)
        except PageOutOfRange:
            return trading.ListPage((), 0, None), ()

    async def one_list(name: str, page: int, size: int) -> trading.ListPage:
        return (await trading.my_ebay_buying(api, [name], page, size))[name]

    async def scan(wanted: Collection[str]) -> AsyncGenerator[Scanned]:
        found: dict[str, list[bytes]] = {name: [] for name in trading.BUYING}
        broken: list[Broken] = []
        doubt: EbayError | None = None
        lists: Collection[str] = trading.BUYING
        page = 1
        while lists:
            pages = await lists_of(lists, page)
            lists = [name for name, (part, some) in pages.items() if has_more(page, part, len(some), found[name])]
            for name, (part, some) in pages.items():
                found[name] += part.records
                broken += some
                doubt = doubt or part.partial
            page += 1
        yield {"buyer": Found([record for name in OLD_TO_NEW for record in found[name]], broken, doubt)}

    def has_more(page: int, part: trading.ListPage, broken: int, before: Sequence[bytes]) -> bool:
        if part.pages is not None:
            return page < part.pages
        return _looks_full(part.length + broken) and not set(part.records) <= set(before)

    return Calls(scan=scan)


OLD_TO_NEW = ("BidList", "BestOfferList", "LostList", "WonList")


class _Sku(msgspec.Struct):
    sku: str


def _inventory(api: Api) -> Calls:
    asked: set[str] = set()  # a SKU's offers are one answer: asked for once, whatever the list does
    refused: list[EbayError] = []

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

    async def offers_of(records: Sequence[bytes]) -> Found:
        new = sorted({sku for record in records if (sku := _sku(record)) is not None} - asked)
        answers = await _together(offers, new)
        asked.update(new)
        failed = [answer for answer in answers if isinstance(answer, EbayError)]
        refused.extend(failed)
        if len(refused) > MOST_REFUSED:
            raise refused[0]
        found = [offer for answer in answers if not isinstance(answer, EbayError) for offer in answer]
        return Found(found, doubt=refused[0] if refused else None)

    async def scan(wanted: Collection[str]) -> AsyncGenerator[Scanned]:
        async for found in numbered(items, _sku, "0"):
            yield {"inventory": found} | ({"offers": await offers_of(found.records)} if "offers" in wanted else {})

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
