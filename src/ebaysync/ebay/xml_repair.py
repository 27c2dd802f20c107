"""Reads around a record that breaks the XML of its page: asks for smaller pages, down to the single record.

One character that XML forbids, or one unclosed tag in a description, makes a parser refuse a page of 200 listings.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ebaysync.ebay import trading, trading_lists
from ebaysync.errors import PageOutOfRange, XmlBroken


@dataclass(frozen=True)
class BrokenRecord:
    """An unreadable answer with one record: its bytes, the reason, and the record's key if it can be found."""

    document: bytes
    reason: str
    key: str | None


SMALLER = {trading.PAGE: 20, 20: 1}
MOST_BROKEN = 10  # records per page; if more seem broken, there is another cause


async def read_page(
    ask: Callable[[int, int], Awaitable[trading_lists.TradingPage]], page: int, size: int = trading.PAGE
) -> tuple[trading_lists.TradingPage, tuple[BrokenRecord, ...]]:
    """A page of a list. If it is not XML, it is read in smaller pages, down to the record that breaks it.

    Raises XmlBroken if more than a few records would have to be broken; PageOutOfRange, EbayError.
    """
    try:
        return await ask(page, size), ()
    except XmlBroken as error:
        whole = error
    if not whole.by_a_record:
        return await ask(page, size), ()  # once more; a smaller page would not help
    if size not in SMALLER:
        if whole.document is None:
            raise whole
        pages, entries = (_number_in(whole.document, f"TotalNumberOf{what}") for what in ("Pages", "Entries"))
        return trading_lists.TradingPage((), pages, entries), (broken_record(whole.document, whole.message),)
    parts = size // SMALLER[size]
    records: list[bytes] = []
    broken: list[BrokenRecord] = []
    length, partial = 0, None
    last: trading_lists.TradingPage | None = None
    for part in range((page - 1) * parts + 1, page * parts + 1):
        try:
            last, some = await read_page(ask, part, SMALLER[size])
        # The last whole page ends in the middle of these smaller ones.
        except PageOutOfRange:
            break
        records += last.records
        broken += some
        length += last.length
        partial = partial or last.partial
        if len(broken) > MOST_BROKEN:
            raise whole
        if last.pages is not None and part >= last.pages:
            break
    if last is None:
        raise whole
    pages = last.pages and -(-last.pages // parts)
    whole_page = trading_lists.TradingPage(tuple(records), pages, last.entries, last.more, partial, length)
    return whole_page, tuple(broken)


def _number_in(document: bytes, element: str) -> int | None:
    found = re.findall(rb"<%b>([0-9]{1,9})</" % element.encode(), document)
    return int(found[0]) if len(found) == 1 else None


def broken_record(document: bytes, reason: str) -> BrokenRecord:
    """The record in an unreadable document, as far as it is known."""
    ids = set(re.findall(rb"<ItemID>([0-9]{1,20})</ItemID>", document))
    return BrokenRecord(record_in(document) or document, reason, ids.pop().decode() if len(ids) == 1 else None)


def record_in(document: bytes) -> bytes | None:
    """The record alone, without the answer's Timestamp, which would make it a new record each time. If the document
    was too large to keep, only its beginning."""
    opened = rb"<((?:\w+:)?(?:OrderTransaction|Item|Message))>.*"
    found = re.search(opened + rb"</\1>", document, re.DOTALL) or re.search(opened, document, re.DOTALL)
    return found[0] if found else None


def trimmed(error: XmlBroken) -> XmlBroken:
    """The error with only the record's bytes; without bytes if the document contains no record."""
    record = error.document and record_in(error.document)
    return XmlBroken(error.message, document=record, by_a_record=error.by_a_record)
