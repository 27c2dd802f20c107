"""eBay's Trading API: XML by POST to one path, the call's name in a header, the token in another. (api host.)

`Ack` decides, not the HTTP status, which is 200 even for a dead token:

    Success, Warning  data; the codes of warnings are logged, because a misspelt element of a request is ignored with
                      nothing but a warning
    PartialFailure    with records: data, and the error is in `partial`: store them, then raise it, and the cursor
                      stays. Without records it is raised.
    Failure           raised, by the code of the first of `Errors` whose severity is Error

A record is JSON bytes, made from its element as ebay/xml says, always an object. Element names, their order in requests
and what repeats are those of eBaySvc.wsdl 1379; what is used here has not changed up to 1487.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Union

import msgspec
from lxml import etree

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Api, refusal, stamp, wrong_type
from ebaysync.ebay.transport import Answer, Request
from ebaysync.ebay.xml import Document, Path
from ebaysync.errors import (
    AnswerNotUnderstood,
    ConsentNeeded,
    EbayBusy,
    EbayError,
    EbayRejected,
    PageOutOfRange,
    QuotaSpent,
    Unauthorized,
)
from ebaysync.log import Secret

# eBay's list of call limits has no number for Trading. 5,000 is what getRateLimits shows for single calls.
QUOTAS = (Quota("trading", 5_000, r"^/ws/api\.dll$"),)

log = logging.getLogger(__name__)

PATH = "/ws/api.dll"
LEVEL = "1379"
NAMESPACE = "urn:ebay:apis:eBLBaseComponents"
PAGE = 200
MOST_BODIES = 10
MOST_DAYS = 60
INBOX, SENT = "0", "1"

SITES = {
    "EBAY_US": 0,
    "EBAY_CA": 2,
    "EBAY_GB": 3,
    "EBAY_AU": 15,
    "EBAY_AT": 16,
    "EBAY_BE": 23,  # in French; 123 is the same in Dutch
    "EBAY_FR": 71,
    "EBAY_DE": 77,
    "EBAY_MOTORS": 100,
    "EBAY_MOTORS_US": 100,
    "EBAY_IT": 101,
    "EBAY_NL": 146,
    "EBAY_ES": 186,
    "EBAY_CH": 193,
    "EBAY_HK": 201,
    "EBAY_IN": 203,
    "EBAY_IE": 205,
    "EBAY_MY": 207,
    "EBAY_PH": 211,
    "EBAY_PL": 212,
    "EBAY_SG": 216,
}

TOKEN_REFUSED = {931, 932, 21916984, 21917053, 21917055}  # the last one from a user's report
OVER_THE_LIMIT = 518
TOO_FAST = 21919144
INTERNAL = 10007
NO_SUCH_PAGE = 340

# What the WSDL lets repeat (a maxOccurs other than 1) in the four answers; "Parent/Name" if the same name is a single
# element elsewhere.
LISTS = frozenset(
    """
    AddressAttribute Attribute BidValue BuyerPackageEnclosure BuyerTaxIdentifier CategoryParentID
    CharityAffiliationDetail Compatibility ConditionDescriptor ConditionDescriptor/Value Copyright CountryPolicies
    CountryPolicies/PolicyID CrossBorderTrade DiscountProfile Document ErrorParameters Errors ExcludeShipToLocation
    FavoriteSearch FavoriteSearch/SellerID FavoriteSeller FolderSummary InternationalShippingServiceOption
    ItemArray/Item ItemBidDetails LineItem LinkedLineItem ListingEnhancement Membership/Program MessageMedia
    Messages/Message ModifyName NameValueList NameValueList/Value OrderTransaction Payment PaymentAllowedSite
    PaymentMethods PaymentReferenceID PickupOptions Pictogram PictureDetails/ExternalPictureURL PictureURL PictureURLs
    Pictures ProductCompliancePolicyID RecoupmentPolicyConsent/Site Refunds/Refund ResponsiblePerson SearchFlag
    SecondChanceOffer SellerDiscount SellerIDExclude ShipToLocation ShipToLocations ShipmentTrackingDetails
    ShippingPackageInfo ShippingServiceCostOverride ShippingServiceOptions Statement TaxDetails TaxJurisdiction
    TopRatedProgram TransactionArray/Transaction Types/Type UserDefinedList UserSubscription
    VariationSpecificPictureSet VariationSpecificPictureSet/ExternalPictureURL Variations/Variation VideoID
    """.split()  # noqa: SIM905
)

Fields = Sequence[tuple[str, Union[str, "Fields"]]]
"""A request's elements in the order of the WSDL: a name with its text, or with elements of its own."""


@dataclass(frozen=True)
class Reply:
    """An answer with data. `head` is everything but the records."""

    head: dict[str, Any]
    records: tuple[tuple[Path, bytes], ...]
    partial: EbayError | None


async def call(
    api: Api,
    name: str,
    fields: Fields,
    records: Collection[Path] = (),
    *,
    detail_level: str | None = None,
    selected: Collection[str] = (),
) -> Reply:
    """Make a call, such as GetMyMessages. `selected` are the wanted elements of the answer; empty: all.

    Raises EbayError; ConsentNeeded if a new token is refused as well.
    """
    body = request_body(name, fields, detail_level, selected)

    def make(token: Secret) -> Request:
        headers = (
            ("Content-Type", "text/xml; charset=utf-8"),
            ("X-EBAY-API-CALL-NAME", name),
            ("X-EBAY-API-SITEID", str(SITES.get(api.marketplace_id or "", 0))),
            ("X-EBAY-API-COMPATIBILITY-LEVEL", LEVEL),
            ("X-EBAY-API-IAF-TOKEN", token.reveal()),
        )
        url = api.transport.hosts.api + PATH
        return Request("POST", url, (), headers, body, feed=lambda: Document(name, records, LISTS))

    try:
        return await api.send(make, _checking(api, name))
    except Unauthorized as error:
        raise ConsentNeeded(
            f"{name}: a new access token is refused as well ({error.message})",
            hint="let the seller consent again: ebaysync accounts connect",
        ) from None


def request_body(name: str, fields: Fields, detail_level: str | None = None, selected: Collection[str] = ()) -> bytes:
    """The XML document. It asks for English errors, and for warnings about elements that eBay does not know."""
    root = etree.Element(f"{{{NAMESPACE}}}{name}Request", nsmap={None: NAMESPACE})  # type: ignore[dict-item]
    first: Fields = (("DetailLevel", detail_level),) if detail_level else ()
    selectors = tuple(("OutputSelector", path) for path in selected)
    _fill(root, (*first, ("ErrorLanguage", "en_US"), *selectors, ("WarningLevel", "High"), *fields))
    return bytes(etree.tostring(root, encoding="utf-8", xml_declaration=True))


def _fill(parent: etree._Element, fields: Fields) -> None:
    for name, value in fields:
        child = etree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
        if isinstance(value, str):
            child.text = value
        else:
            _fill(child, value)


def _checking(api: Api, name: str) -> Callable[[Answer], Reply]:
    def check(answer: Answer) -> Reply:
        if answer.status != 200:
            raise _refused(name, answer, refusal(answer, api.transport))
        if not isinstance(answer.fed, Document):
            raise wrong_type(answer, "XML")
        return _judged(name, answer.fed)

    return check


BY_STATUS = (401, 403, 429)
"""these statuses count, if the answer's code says nothing here"""


def _refused(name: str, answer: Answer, by_status: EbayError) -> EbayError:
    """The error for an answer with another status than 200: from its document if that is a failure's, else from the
    status."""
    document = Document(name, (), LISTS)
    try:
        document.feed(answer.body)
        document.close()
        _judged(name, document)
    except EbayError as error:
        if error.error_id is None or (type(error) is EbayRejected and answer.status in BY_STATUS):
            return by_status
        error.status, error.retry_after = answer.status, by_status.retry_after
        return error
    return by_status


def _judged(name: str, document: Document) -> Reply:
    """The reply, judged by Ack. Raises EbayError."""
    if document.root != f"{name}Response":
        raise AnswerNotUnderstood(f"{name}: the answer is a {document.root[:80]!r}", status=200)
    ack = _text(document.head.get("Ack"))
    errors = [error for error in document.head.get("Errors") or () if isinstance(error, dict)]
    _warn(name, errors)
    if ack in ("Success", "Warning"):
        return Reply(document.head, tuple(document.records), None)
    if ack not in ("Failure", "PartialFailure"):
        raise AnswerNotUnderstood(f"{name}: the answer's Ack is none that eBay documents", status=200)
    error = _error(name, ack, errors)
    if ack == "PartialFailure" and document.records:
        return Reply(document.head, tuple(document.records), error)
    raise error


def _warn(name: str, errors: Sequence[dict[str, Any]]) -> None:
    """Log the codes of warnings. Not their texts, which quote the request and may quote people."""
    codes = [_code(error) or 0 for error in errors if _text(error.get("SeverityCode")) == "Warning"]
    if codes:
        log.warning("%s: eBay warns with %s", name, ", ".join(map(str, codes)))


def _error(name: str, ack: str, errors: Sequence[dict[str, Any]]) -> EbayError:
    severe = [error for error in errors if _text(error.get("SeverityCode")) == "Error"]
    first = next(iter(severe or errors), None)
    code = _code(first) if first else None
    if first is None or code is None:
        return AnswerNotUnderstood(f"{name}: Ack is {ack}, without an error code", status=200)
    kind = _kind(code, _text(first.get("ErrorClassification")))
    return kind(f"{name}: eBay answered {ack} {code}", status=200, error_id=code)


def _kind(code: int, classification: str) -> type[EbayError]:
    if code in TOKEN_REFUSED:
        return Unauthorized
    if code == OVER_THE_LIMIT:
        return QuotaSpent
    if code == NO_SUCH_PAGE:
        return PageOutOfRange
    if code in (INTERNAL, TOO_FAST) or classification == "SystemError":
        return EbayBusy
    return EbayRejected


def _code(error: Mapping[str, Any]) -> int | None:
    text = _text(error.get("ErrorCode")).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else None


def _text(value: Any) -> str:
    """An element's text, in any of the shapes of ebay/xml."""
    if isinstance(value, dict):
        value = value.get("#text")
    return value if isinstance(value, str) else ""


def _number(name: str, parent: Any, element: str) -> int | None:
    """An element's number; None if it is missing. Raises AnswerNotUnderstood if it is not a number."""
    value = parent.get(element) if isinstance(parent, dict) else None
    text = _text(value).strip()
    if value is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 18):
        raise AnswerNotUnderstood(f"{name}: {element} is no number")
    return int(text)


def _container(name: str, parent: Mapping[str, Any], element: str) -> dict[str, Any]:
    """A container, {} if it is missing or empty. Raises AnswerNotUnderstood if it is not a container."""
    value = parent.get(element)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise AnswerNotUnderstood(f"{name}: {element} has not the form that eBay documents")
    return value


def _pagination(page: int, per_page: int) -> tuple[str, Fields]:
    return "Pagination", (("EntriesPerPage", str(per_page)), ("PageNumber", str(page)))


# ---- GetMyMessages


@dataclass(frozen=True)
class HeaderPage:
    """One page of a folder's messages, without their bodies."""

    records: tuple[bytes, ...]
    entries: int | None
    """TotalNumberOfEntries, which eBay does not document for this call; not to be relied on"""
    partial: EbayError | None = None


_MESSAGE = ("Messages", "Message")


async def my_messages_summary(api: Api) -> list[str]:
    """The ids of the seller's folders: first Inbox and Sent, which always exist, then the seller's own. Raises
    EbayError."""
    name = "GetMyMessages"
    reply = await call(api, name, (), detail_level="ReturnSummary")
    told = _container(name, reply.head, "Summary").get("FolderSummary") or ()
    ids = [_text(_container(name, {"FolderSummary": folder}, "FolderSummary").get("FolderID")) for folder in told]
    if not all(ids):
        raise AnswerNotUnderstood(f"{name}: a folder has no FolderID")
    return list(dict.fromkeys([INBOX, SENT, *ids]))


async def my_messages_headers(
    api: Api, folder_id: str, start: datetime, end: datetime, page: int = 1, per_page: int = PAGE
) -> HeaderPage:
    """Message headers by the time of sending. Nothing says which page is the last: it is short, or begins with a known
    id.

    Raises EbayError.
    """
    name = "GetMyMessages"
    span = (("FolderID", folder_id), ("StartTime", stamp(start)), ("EndTime", stamp(end)))
    fields = (*span, _pagination(page, per_page))
    reply = await call(api, name, fields, [_MESSAGE], detail_level="ReturnHeaders")
    totals = reply.head.get("PaginationResult") or _messages(reply).get("PaginationResult")
    entries = _number(name, totals, "TotalNumberOfEntries")
    return HeaderPage(_bytes(reply), entries, reply.partial)


async def my_messages_bodies(api: Api, ids: Sequence[str]) -> tuple[bytes, ...]:
    """At most 10 messages with Text and Content. Raises EbayError.

    Fewer than requested is normal: a message may have been deleted meanwhile. The same goes for a PartialFailure, so
    its error is logged, not raised. ItemID is documented for headers only.
    """
    if not 0 < len(ids) <= MOST_BODIES:
        raise ValueError(f"GetMyMessages takes 1 to {MOST_BODIES} ids")
    wanted = ("MessageIDs", tuple(("MessageID", each) for each in ids))
    reply = await call(api, "GetMyMessages", (wanted,), [_MESSAGE], detail_level="ReturnMessages")
    if reply.partial:
        log.warning("%s", reply.partial)
    return _bytes(reply)


def _messages(reply: Reply) -> dict[str, Any]:
    return _container("GetMyMessages", reply.head, "Messages")


def _bytes(reply: Reply) -> tuple[bytes, ...]:
    return tuple(record for _, record in reply.records)


# ---- GetMyeBaySelling, GetSellerList


@dataclass(frozen=True)
class ListPage:
    """One page of a list. None is what eBay did not say, 0 an empty list."""

    records: tuple[bytes, ...]
    pages: int | None
    entries: int | None
    more: bool | None = None
    """HasMoreItems, which only GetSellerList has"""
    partial: EbayError | None = None
    length: int = 0
    """the entries of the page: fewer than its records if an order has several transactions"""


async def my_ebay_selling_active(api: Api, page: int, per_page: int = PAGE) -> ListPage:
    """Items of the active list, by start time. Raises EbayError.

    Beyond 25,000 items eBay says 25,000, and answers page 125 for every later one. Then seller_list counts.
    """
    name = "GetMyeBaySelling"
    wanted: Fields = (("Include", "true"), ("Sort", "StartTime"), _pagination(page, per_page))
    reply = await call(api, name, (("ActiveList", wanted),), [("ActiveList", "ItemArray", "Item")])
    return _list_page(name, _container(name, reply.head, "ActiveList"), _bytes(reply), reply.partial)


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


async def seller_list(api: Api, end_from: datetime, end_to: datetime, page: int, per_page: int = PAGE) -> ListPage:
    """Items that end in a span of less than 120 days, with the elements that the active list has. Raises EbayError.

    No GranularityLevel has a SKU, and ReturnAll alone would also return descriptions.
    """
    name = "GetSellerList"
    fields: Fields = (
        ("EndTimeFrom", stamp(end_from)),
        ("EndTimeTo", stamp(end_to)),
        _pagination(page, per_page),
        ("IncludeVariations", "true"),
    )
    reply = await call(api, name, fields, [("ItemArray", "Item")], detail_level="ReturnAll", selected=_OF_A_LISTING)
    more = _text(reply.head.get("HasMoreItems")).strip()
    if more not in ("true", "false", "1", "0", ""):
        raise AnswerNotUnderstood(f"{name}: HasMoreItems is neither true nor false")
    totals = {"PaginationResult": reply.head.get("PaginationResult")}
    return _list_page(name, totals, _bytes(reply), reply.partial, more in ("true", "1") if more else None)


def _list_page(
    name: str,
    container: Mapping[str, Any],
    records: tuple[bytes, ...],
    partial: EbayError | None,
    more: bool | None = None,
    length: int | None = None,
) -> ListPage:
    totals = container.get("PaginationResult")
    pages, entries = (_number(name, totals, f"TotalNumberOf{what}") for what in ("Pages", "Entries"))
    if not records and totals is None and partial is None and not more:
        pages, entries = 0, 0
    if records:
        pages, entries = pages or None, entries or None  # a 0 beside records was seen, and says nothing
    return ListPage(records, pages, entries, more, partial, len(records) if length is None else length)


# ---- GetMyeBayBuying

BUYING = ("BidList", "BestOfferList", "WonList", "LostList")
_IN_TRANSACTIONS = {"WonList"}
_WITHOUT_DURATION = {"BidList"}


async def my_ebay_buying(
    api: Api, lists: Collection[str], page: int, per_page: int = PAGE, days: int = MOST_DAYS
) -> dict[str, ListPage]:
    """The same page of each of `lists` (of BUYING). Raises EbayError.

    Records are {"List", "Item"}, or in the won list {"List", "Order", "Transaction"}: one per transaction, with its
    order (without its TransactionArray) if it has one. An order without transactions is one record without
    "Transaction". A missing or empty list is an empty page.
    """
    if not lists or not set(lists) <= set(BUYING):
        raise ValueError(f"GetMyeBayBuying is asked for {', '.join(BUYING)}")
    name = "GetMyeBayBuying"
    asked = [each for each in BUYING if each in lists]
    fields = [(each, _buying(each, page, per_page, days)) for each in asked]
    reply = await call(api, name, fields, [_buying_path(each) for each in asked])
    found: dict[str, list[bytes]] = {each: [] for each in asked}
    for path, record in reply.records:
        won = path[0] in _IN_TRANSACTIONS
        found[path[0]] += _transactions(path[0], record) if won else [_tagged(path[0], Item=msgspec.Raw(record))]
    lengths = Counter(path[0] for path, _ in reply.records)
    return {
        each: _list_page(
            name, _container(name, reply.head, each), tuple(found[each]), reply.partial, length=lengths[each]
        )
        for each in asked
    }


def _buying(each: str, page: int, per_page: int, days: int) -> Fields:
    duration: Fields = () if each in _WITHOUT_DURATION else (("DurationInDays", str(days)),)
    return (("Include", "true"), *duration, _pagination(page, per_page))


def _buying_path(each: str) -> Path:
    return (
        (each, "OrderTransactionArray", "OrderTransaction") if each in _IN_TRANSACTIONS else (each, "ItemArray", "Item")
    )


class _Transactions(msgspec.Struct, frozen=True):
    each: list[msgspec.Raw] = msgspec.field(name="Transaction", default_factory=list)


def _transactions(each: str, record: bytes) -> list[bytes]:
    """The records of an OrderTransaction, which has an Order with several transactions, or one transaction by itself."""
    decode = msgspec.json.decode
    null = msgspec.Raw(b"null")
    try:
        parts = decode(record, type=dict[str, msgspec.Raw])
        order = decode(parts.get("Order", null), type=dict[str, msgspec.Raw] | None)
        array = decode((order or {}).pop("TransactionArray", null), type=_Transactions | None)
    except msgspec.ValidationError:
        raise AnswerNotUnderstood("GetMyeBayBuying: an OrderTransaction is not as eBay documents it") from None
    found = list(array.each) if array else []
    if "Transaction" in parts:
        found.append(parts["Transaction"])
    own = {} if order is None else {"Order": order}
    if not found:
        return [_tagged(each, **own)]
    return [_tagged(each, **own, Transaction=transaction) for transaction in found]


def _tagged(each: str, **parts: Any) -> bytes:
    return msgspec.json.encode({"List": each, **parts})
