"""Trading's lists of items: GetMyeBaySelling, GetSellerList, GetMyeBayBuying."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from ebaysync.ebay.rest import Api, stamp
from ebaysync.ebay.trading import PAGE, Detail, Fields, call, container, number_of, pagination, record_bytes, text_of
from ebaysync.ebay.xml import Path
from ebaysync.errors import AnswerNotUnderstood, EbayError

MOST_DAYS = 60


@dataclass(frozen=True)
class TradingPage:
    """One page of a list. None is what eBay did not say. A list is only known to be empty if `entries` is 0."""

    records: tuple[bytes, ...]
    pages: int | None
    entries: int | None
    more: bool | None = None
    """HasMoreItems, which only GetSellerList has"""
    partial: EbayError | None = None
    length: int = 0
    """the entries of the page: fewer than its records if an order has several transactions"""


async def my_ebay_selling_active(api: Api, page: int, per_page: int = PAGE) -> TradingPage:
    """Items of the active list, by start time. Raises EbayError; ListMissing if the answer has no list. eBay documents
    that for a seller without listings, but leaves out other sellers' lists, too.

    Beyond 25,000 items eBay says 25,000, and answers page 125 for every later one. Then seller_list counts.
    """
    name = "GetMyeBaySelling"
    # Sorted by start time, a new listing comes last and shifts no other one to another page.
    wanted: Fields = (("Include", "true"), ("Sort", "StartTime"), pagination(page, per_page))
    path = ("ActiveList", "ItemArray", "Item")
    reply = await call(api, name, (("ActiveList", wanted),), [path], needed=["ActiveList"])
    return _list_page(name, container(name, reply.head, "ActiveList"), record_bytes(reply), reply.partial)


ACTIVE_CAP = 25_000

_OF_A_LISTING = (
    "PaginationResult",
    "HasMoreItems",
    *(
        f"ItemArray.Item.{name}"
        for name in (
            "BuyItNowPrice",
            "ItemID",
            "ListingDetails",
            "ListingDuration",
            "ListingType",
            "PictureDetails",
            "Quantity",
            "QuestionCount",
            "ReservePrice",
            "SellerProfiles",
            "SellingStatus",
            "SKU",
            "StartPrice",
            "TimeLeft",
            "Title",
            "Variations",
        )
    ),
)


async def seller_list(api: Api, end_from: datetime, end_to: datetime, page: int, per_page: int = PAGE) -> TradingPage:
    """Items that end in a span of less than 120 days, with the elements that the active list has. Raises EbayError.

    No GranularityLevel has a SKU, and ReturnAll alone would also return descriptions.
    """
    name = "GetSellerList"
    fields: Fields = (
        ("EndTimeFrom", stamp(end_from)),
        ("EndTimeTo", stamp(end_to)),
        pagination(page, per_page),
        ("IncludeVariations", "true"),
    )
    reply = await call(
        api,
        name,
        fields,
        [("ItemArray", "Item")],
        detail=Detail("ReturnAll", _OF_A_LISTING),
        needed=["ItemArray", "PaginationResult"],
    )
    more = text_of(reply.head.get("HasMoreItems")).strip().lower()
    if more not in ("true", "false", "1", "0", ""):
        raise AnswerNotUnderstood(f"{name}: HasMoreItems is neither true nor false")
    return _list_page(name, reply.head, record_bytes(reply), reply.partial, more in ("true", "1") if more else None)


def _list_page(
    name: str,
    container: Mapping[str, Any],
    records: tuple[bytes, ...],
    partial: EbayError | None,
    more: bool | None = None,
    length: int | None = None,
) -> TradingPage:
    totals = container.get("PaginationResult")
    pages, entries = (number_of(name, totals, f"TotalNumberOf{what}") for what in ("Pages", "Entries"))
    if records:
        pages, entries = pages or None, entries or None  # a 0 beside records was seen, and says nothing
    return TradingPage(records, pages, entries, more, partial, len(records) if length is None else length)


# ---- GetMyeBayBuying

BUYING = ("BidList", "BestOfferList", "WonList", "LostList")
SUMMARY = "BuyingSummary"
_IN_TRANSACTIONS = {"WonList"}
_WITHOUT_DURATION = {"BidList"}  # bids are current; eBay documents no DurationInDays for them


async def my_ebay_buying(
    api: Api, lists: Collection[str], page: int, per_page: int = PAGE, days: int = MOST_DAYS
) -> dict[str, TradingPage]:
    """The same page of each of `lists` (of BUYING). Raises EbayError; ListMissing if there is none in the answer.

    Records are {"List", "Item"}, or in the won list {"List", "Order", "Transaction"}: one per transaction, with its
    order (without its TransactionArray) if it has one. An order without transactions is one record without
    "Transaction". A list whose first page is missing or empty is empty, if the answer has another list or the summary.
    The summary is asked for because a list without entries may be missing, and an answer without anything says nothing.
    """
    if not lists or not set(lists) <= set(BUYING):
        raise ValueError(f"GetMyeBayBuying is asked for {', '.join(BUYING)}")
    name = "GetMyeBayBuying"
    names = [each for each in BUYING if each in lists]
    fields: list[tuple[str, Fields]] = [(each, _buying(each, page, per_page, days)) for each in names]
    fields.append((SUMMARY, (("Include", "true"),)))
    reply = await call(api, name, fields, [_buying_path(each) for each in names], needed=[*names, SUMMARY])
    found: dict[str, list[bytes]] = {each: [] for each in names}
    for path, record in reply.records:
        won = path[0] in _IN_TRANSACTIONS
        found[path[0]] += _transactions(path[0], record) if won else [_tagged(path[0], Item=msgspec.Raw(record))]
    lengths = Counter(path[0] for path, _ in reply.records)
    pages = {}
    for each in names:
        shown = container(name, reply.head, each)
        part = _list_page(name, shown, tuple(found[each]), reply.partial, length=lengths[each])
        is_empty = page == 1 and not part.records and shown.get("PaginationResult") is None and reply.partial is None
        pages[each] = replace(part, pages=0, entries=0) if is_empty else part
    return pages


def _buying(each: str, page: int, per_page: int, days: int) -> Fields:
    duration: Fields = () if each in _WITHOUT_DURATION else (("DurationInDays", str(days)),)
    return (("Include", "true"), *duration, pagination(page, per_page))


def _buying_path(each: str) -> Path:
    return (
        (each, "OrderTransactionArray", "OrderTransaction") if each in _IN_TRANSACTIONS else (each, "ItemArray", "Item")
    )


class _Transactions(msgspec.Struct, frozen=True):
    each: list[msgspec.Raw] = msgspec.field(name="Transaction", default_factory=list)


def _transactions(each: str, record: bytes) -> list[bytes]:
    """The records of an OrderTransaction: an Order with several transactions, or one transaction by itself. One that is
    not as eBay documents it is left as it is: the family reports it."""
    decode = msgspec.json.decode
    null = msgspec.Raw(b"null")
    try:
        parts = decode(record, type=dict[str, msgspec.Raw])
        order = decode(parts.get("Order", null), type=dict[str, msgspec.Raw] | None)
        array = decode((order or {}).pop("TransactionArray", null), type=_Transactions | None)
    except msgspec.ValidationError:
        return [_tagged(each, OrderTransaction=msgspec.Raw(record))]
    found = list(array.each) if array else []
    if "Transaction" in parts:
        found.append(parts["Transaction"])
    own = {} if order is None else {"Order": order}
    if not found:
        return [_tagged(each, **own)]
    return [_tagged(each, **own, Transaction=transaction) for transaction in found]


def _tagged(each: str, **parts: Any) -> bytes:
    return msgspec.json.encode({"List": each, **parts})
