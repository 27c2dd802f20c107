"""Checks requests of the Trading API against the types of eBay's WSDL 1379, written down compactly.

Each type is a line of `name:type` in the WSDL's order; `*` marks what may repeat. eBay ignores an element that it does
not know, or that stands in the wrong place ("Unknown request elements are ignored"). So does the simulator, but it
keeps a note of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from lxml import etree

from ebaysync.sim.trading_xml import NAMESPACE

PATH = "/ws/api.dll"

BASE = (  # AbstractRequestType; what extends it comes behind
    "DetailLevel:DetailLevelCodeType* ErrorLanguage:string MessageID:string Version:string EndUserIP:string "
    "ErrorHandling:ErrorHandlingCodeType InvocationID:UUIDType OutputSelector:string* "
    "WarningLevel:WarningLevelCodeType BotBlock:BotBlockRequestType "
)
TYPES = {
    "GetMyMessagesRequestType": BASE
    + "MessageIDs:MyMessagesMessageIDArrayType FolderID:long StartTime:dateTime EndTime:dateTime "
    "ExternalMessageIDs:MyMessagesExternalMessageIDArrayType Pagination:PaginationType "
    "IncludeHighPriorityMessageOnly:boolean",
    "GetMyeBaySellingRequestType": BASE
    + "ScheduledList:ItemListCustomizationType ActiveList:ItemListCustomizationType "
    "SoldList:ItemListCustomizationType UnsoldList:ItemListCustomizationType "
    "SellingSummary:ItemListCustomizationType HideVariations:boolean",
    "GetSellerListRequestType": BASE
    + "MotorsDealerUsers:UserIDArrayType EndTimeFrom:dateTime EndTimeTo:dateTime Sort:int StartTimeFrom:dateTime "
    "StartTimeTo:dateTime Pagination:PaginationType GranularityLevel:GranularityLevelCodeType SKUArray:SKUArrayType "
    "IncludeWatchCount:boolean AdminEndedItemsOnly:boolean CategoryID:int IncludeVariations:boolean",
    "GetMyeBayBuyingRequestType": BASE
    + "WatchList:ItemListCustomizationType BidList:ItemListCustomizationType BestOfferList:ItemListCustomizationType "
    "WonList:ItemListCustomizationType LostList:ItemListCustomizationType FavoriteSearches:MyeBaySelectionType "
    "FavoriteSellers:MyeBaySelectionType SecondChanceOffer:MyeBaySelectionType "
    "DeletedFromWonList:ItemListCustomizationType DeletedFromLostList:ItemListCustomizationType "
    "BuyingSummary:ItemListCustomizationType UserDefinedLists:MyeBaySelectionType HideVariations:boolean",
    "GetUserRequestType": BASE + "ItemID:ItemIDType UserID:string IncludeFeatureEligibility:boolean",
    "BotBlockRequestType": "BotBlockToken:string BotBlockUserInput:string",
    "MyMessagesMessageIDArrayType": "MessageID:MyMessagesMessageIDType*",
    "MyMessagesExternalMessageIDArrayType": "ExternalMessageID:MyMessagesExternalMessageIDType*",
    "PaginationType": "EntriesPerPage:int PageNumber:int",
    "ItemListCustomizationType": "Include:boolean ListingType:ListingTypeCodeType Sort:ItemSortTypeCodeType "
    "DurationInDays:int IncludeNotes:boolean Pagination:PaginationType OrderStatusFilter:OrderStatusFilterCodeType",
    "MyeBaySelectionType": "Include:boolean IncludeItemCount:boolean IncludeFavoriteSearcheCount:boolean "
    "IncludeFavoriteSellerCount:boolean Sort:SortOrderCodeType MaxResults:int UserDefinedListName:string "
    "IncludeListContents:boolean",
    "UserIDArrayType": "UserID:UserIDType*",
    "SKUArrayType": "SKU:SKUType*",
}
STRINGS = (
    *("string", "UUIDType", "ItemIDType", "UserIDType", "SKUType"),
    *("MyMessagesMessageIDType", "MyMessagesExternalMessageIDType"),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SORTS = _words(
    "ItemID Price StartPrice Title BidCount Quantity StartTime EndTime SellerUserID TimeLeft ListingDuration "
    "ListingType CurrentPrice ReservePrice MaxBid BidderCount HighBidderUserID BuyerUserID BuyerPostalCode BuyerEmail "
    "SellerEmail TotalPrice WatchCount BestOfferCount QuestionCount ShippingServiceCost FeedbackReceived FeedbackLeft "
    "UserID QuantitySold BestOffer QuantityAvailable QuantityPurchased WonPlatform SoldPlatform LeadCount NewLeadCount "
    "ClassifiedAdPayPerLeadFee"
)
ENUMS = {
    "DetailLevelCodeType": _words(
        "ReturnAll ItemReturnDescription ItemReturnAttributes ItemReturnCategories ReturnSummary ReturnHeaders "
        "ReturnMessages"
    ),
    "ErrorHandlingCodeType": _words("Legacy BestEffort AllOrNothing FailOnError"),
    "WarningLevelCodeType": _words("Low High"),
    "GranularityLevelCodeType": _words("Coarse Fine Medium CustomCode"),
    "SortOrderCodeType": _words("Ascending Descending CustomCode"),
    "OrderStatusFilterCodeType": _words("All AwaitingPayment AwaitingShipment PaidAndShipped CustomCode"),
    "ListingTypeCodeType": _words(
        "Unknown Chinese Dutch Live Auction AdType StoresFixedPrice PersonalOffer FixedPriceItem Half LeadGeneration "
        "Express Shopping CustomCode"
    ),
    "ItemSortTypeCodeType": _SORTS | {f"{name}Descending" for name in _SORTS} | {"CustomCode"},
}
_PATTERNS = {
    "int": r"[+-]?\d{1,9}",
    "long": r"[+-]?\d{1,18}",
    "boolean": r"true|false|1|0",
    "dateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?",
}


class Malformed(Exception):
    """No XML, or not the request that the header announces."""


class BadInput(Exception):
    """A value that its type does not allow; the argument is the element's path."""


@dataclass(slots=True)
class Request:
    """The declared elements by their path (`Pagination.PageNumber`), and what the types do not know."""

    call: str
    values: dict[str, list[str]] = field(default_factory=dict)
    undeclared: list[str] = field(default_factory=list)

    def text(self, path: str, default: str = "") -> str:
        return self.values.get(path, [default])[0]

    def number(self, path: str, default: int) -> int:
        return int(self.text(path, str(default)))

    def flag(self, path: str) -> bool:
        return self.text(path) in ("true", "1")

    def time(self, path: str) -> datetime | None:
        return _time(self.values[path][0]) if path in self.values else None

    def holds(self, container: str) -> bool:
        """Whether a container has at least one field."""
        return any(path.startswith(f"{container}.") for path in self.values)


@cache
def elements(type_name: str) -> dict[str, tuple[int, str, bool]]:
    """A type's elements by name: place, type, and whether it may repeat."""
    parts = (part.partition(":") for part in TYPES[type_name].split())
    return {name: (place, kind.rstrip("*"), kind.endswith("*")) for place, (name, _, kind) in enumerate(parts)}


def read(call: str, body: bytes) -> Request:
    """Raises Malformed."""
    root = _parse(body)
    if root.tag != f"{{{NAMESPACE}}}{call}Request":
        raise Malformed(f"the root is {root.tag}")
    request = Request(call)
    _walk(request, root, f"{call}RequestType", "")
    return request


def parameters(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """A request for the journal: its call and every value by its path, except possible tokens."""
    found = {"call": headers.get("x-ebay-api-call-name", "")}
    try:
        root = _parse(body)
    except Malformed:
        return found
    secret = headers.get("x-ebay-api-iaf-token")
    for path, text in _leaves(root, ""):
        if not path.startswith("RequesterCredentials") and text != secret:
            found[path] = f"{found[path]},{text}" if path in found else text
    return found


def _parse(body: bytes) -> etree._Element:
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
        return etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Malformed(str(error)) from None


def _leaves(element: etree._Element, prefix: str) -> list[tuple[str, str]]:
    found = []
    for child in element:
        path = prefix + _local(child)
        found += _leaves(child, f"{path}.") if len(child) else [(path, (child.text or "").strip())]
    return found


def _walk(request: Request, element: etree._Element, type_name: str, prefix: str) -> None:
    declared, last = elements(type_name), 0
    for child in element:
        path = prefix + _local(child)
        known = declared.get(_local(child)) if str(child.tag).startswith(f"{{{NAMESPACE}}}") else None
        if path == "RequesterCredentials":  # the header of the SOAP form; a token in it is not looked at
            continue
        if known is None:
            request.undeclared.append(f"{request.call}: {path} is not declared")
            continue
        place, kind, many = known
        if place < last:
            request.undeclared.append(f"{request.call}: {path} is out of order")
        last = max(place, last)
        if kind in TYPES:
            _walk(request, child, kind, f"{path}.")
        elif path in request.values and not many:
            request.undeclared.append(f"{request.call}: {path} is repeated")
        else:
            request.values.setdefault(path, []).append(_value(path, kind, child))


def _value(path: str, kind: str, element: etree._Element) -> str:
    text = element.text or ""
    if len(element):
        raise BadInput(path)
    if kind in STRINGS:
        return text
    text = text.strip()
    if text not in ENUMS[kind] if kind in ENUMS else not re.fullmatch(_PATTERNS[kind], text, re.ASCII):
        raise BadInput(path)
    if kind == "dateTime":
        try:
            _time(text)
        except ValueError:
            raise BadInput(path) from None
    return text


def _time(text: str) -> datetime:
    """xs:dateTime; without a zone it is GMT."""
    head, fraction, zone = re.fullmatch(r"(.{19})(\.\d+)?(.*)", text).groups()  # type: ignore[union-attr]
    at = datetime.fromisoformat(head + f"{(fraction or '.0')[:7]:0<7}" + (zone or "Z"))
    return at.astimezone(UTC)


def _local(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2]
