"""The account's own purchases (Trading GetMyeBayBuying): all lists in one answer, then further pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from ebaysync.ebay import trading_lists
from ebaysync.ebay.rest import Api
from ebaysync.ebay.trading_lists import ListPage
from ebaysync.ebay.xml_repair import BrokenRecord, read_page
from ebaysync.errors import EbayError, ListMissing, PageOutOfRange, XmlBroken
from ebaysync.families.buyer import FAMILY, PURCHASES
from ebaysync.sync.scan import ScanPage
from ebaysync.sync.sources.calls import Calls, Scanned
from ebaysync.sync.sources.messages import looks_full

# an item that moves during the reading may be in two of them
OLD_TO_NEW = ("BidList", "BestOfferList", "LostList", "WonList")
NO_PAGE: tuple[ListPage, tuple[BrokenRecord, ...]] = (ListPage((), 0, None), ())


def open_source(api: Api) -> Calls:
    async def lists_of(names: Collection[str], page: int) -> Mapping[str, tuple[ListPage, tuple[BrokenRecord, ...]]]:
        try:
            pages = await trading_lists.my_ebay_buying(api, names, page)
            return {name: (part, ()) for name, part in pages.items()}
        except (XmlBroken, PageOutOfRange):
            return {name: await alone(name, page) for name in names}
        except ListMissing:
            if page == 1:
                raise
            return dict.fromkeys(names, NO_PAGE)

    async def alone(name: str, page: int) -> tuple[ListPage, tuple[BrokenRecord, ...]]:
        try:
            return await read_page(partial(one_list, name), page)
        except (PageOutOfRange, ListMissing) as error:
            if page == 1 and isinstance(error, ListMissing):
                raise
            return NO_PAGE

    async def one_list(name: str, page: int, size: int) -> ListPage:
        return (await trading_lists.my_ebay_buying(api, [name], page, size))[name]

    async def scan(wanted: Collection[str], waiting: Collection[str]) -> AsyncGenerator[Scanned]:
        found: dict[str, list[bytes]] = {name: [] for name in trading_lists.BUYING}
        broken: list[BrokenRecord] = []
        counts: Counter[str] = Counter()
        incomplete: EbayError | None = None
        inconsistent: str | None = None
        lists: Collection[str] = trading_lists.BUYING
        page = 1
        while lists:
            pages = await lists_of(lists, page)
            lists = [name for name, (part, some) in pages.items() if has_more(page, part, len(some), found[name])]
            for name, (part, some) in pages.items():
                found[name] += part.records
                broken += some
                counts[name] += max(len(part.records), part.length) + len(some)
                incomplete = incomplete or part.partial
                inconsistent = inconsistent or is_short(name, part.entries, counts[name], name in lists)
            page += 1
        yield {
            "buyer": ScanPage(
                [record for name in OLD_TO_NEW for record in found[name]], broken, incomplete, inconsistent
            )
        }

    def is_short(name: str, entries: int | None, came: int, goes_on: bool) -> str | None:
        """Why a list that was read to its end may not be complete. Nobody knows whether eBay counts orders or lines."""
        if goes_on or came >= (entries or 0):
            return None
        return f"GetMyeBayBuying: {name} counts {entries} entries and sends {came}"

    def has_more(page: int, part: ListPage, broken: int, before: Sequence[bytes]) -> bool:
        """Whether to ask for the next page. A list whose pages bring nothing new is at its end, whatever it counts."""
        is_new = bool(broken) or not _keys(part.records) <= _keys(before)
        return is_new and (page < part.pages if part.pages is not None else looks_full(part.length + broken))

    return Calls(scan=scan)


_APART = (*PURCHASES.key, "list", *(PURCHASES.twins.columns if PURCHASES.twins else ()))


def _keys(records: Sequence[bytes]) -> set[Any]:
    """Keys that tell records apart. Their bytes do not: they change while an auction runs."""
    return {_key(record) for record in records}


def _key(record: bytes) -> Any:
    try:
        row = FAMILY.decoders[PURCHASES.name].row(record)
    except (ValueError, RecursionError):
        return record  # the family reports what is wrong with it
    return tuple(row[name] for name in _APART)
