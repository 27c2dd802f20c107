"""eBay's Trading API: XML by POST to one path, the call's name in a header, the token in another. (api host.)

`Ack` decides, not the HTTP status, which is 200 even for a dead token:

    Success, Warning  data, if the elements are there that the call needs; the codes of warnings are logged, because a
                      misspelt element of a request is ignored with nothing but a warning
    PartialFailure    with records: data, and the error is in `partial`: store them, then raise it, and the cursor
                      stays. Without records it is raised.
    Failure           raised, by the code of the first of `Errors` whose severity is Error

A record is JSON bytes, made from its element as ebay/xml says, always an object. Element names, their order in requests
and what repeats are those of eBaySvc.wsdl 1379; what is used here has not changed up to 1487.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Union

from lxml import etree

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.rest import Api, count, refusal, wrong_type
from ebaysync.ebay.xml import Document, Path
from ebaysync.errors import (
    AnswerNotUnderstood,
    EbayBusy,
    EbayError,
    EbayRejected,
    ListMissing,
    PageOutOfRange,
    QuotaSpent,
    RateLimited,
    TokenRefused,
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
FULL_AT = 25  # every reported page size is a multiple of it

# Site ids of the header. An unknown marketplace is asked through the site of the US.
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

# Dead tokens. eBay's list of errors does not say which of them OAuth tokens get; clients have seen all of them.
# 931 and 932 also come for a wrong header.
TOKEN_DEAD = {930, 931, 932, 16110, 16112, 16118, 16119, 16120, 17470, 21916013, 21917053, 21917236}
# "Invalid" also comes for a token without the scope. The second one is from a user's report.
TOKEN_INVALID = {21916984, 21917055}
OVER_THE_LIMIT = 518
TOO_FAST = 21919144
INTERNAL = 10007
NO_SUCH_PAGE = 340

# Elements that may repeat (maxOccurs other than 1 in the WSDL) in the four answers; "Parent/Name" if the same name is a
# single element elsewhere.
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
class Detail:
    """How much of the records is wanted: eBay's DetailLevel, and the paths of the wanted elements. Empty: all."""

    level: str
    selected: Collection[str] = ()


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
    detail: Detail | None = None,
    needed: Collection[str] = (),
) -> Reply:
    """Make a call, such as GetMyMessages. Below its root, an answer has at least one of the elements `needed`.

    Raises EbayError, ListMissing; TokenRefused if a new token is refused as well.
    """
    body = _request_body(name, fields, detail)

    def make(token: Secret) -> Request:
        headers = (
            ("Content-Type", "text/xml; charset=utf-8"),
            ("X-EBAY-API-CALL-NAME", name),
            ("X-EBAY-API-SITEID", str(SITES.get(api.marketplace_id or "", 0))),
            ("X-EBAY-API-COMPATIBILITY-LEVEL", LEVEL),
            # The place of an OAuth token; RequesterCredentials is for tokens of the older kind.
            ("X-EBAY-API-IAF-TOKEN", token.reveal()),
        )
        url = api.transport.hosts.api + PATH
        return Request("POST", url, (), headers, body, feed=lambda: Document(name, records, LISTS))

    try:
        reply = await api.send(make, _checking(api, name))
    except Unauthorized as error:
        raise TokenRefused(
            f"{name}: a new access token is refused as well ({error.message})",
            hint="let the seller consent again: ebaysync accounts connect NAME --environment ENVIRONMENT",
            dead=error.error_id in TOKEN_DEAD,
        ) from None
    if needed and not reply.records and not reply.head.keys() & set(needed):
        raise ListMissing(f"{name}: the answer has no {' and no '.join(needed)}", status=200)
    return reply


def _request_body(name: str, fields: Fields, detail: Detail | None) -> bytes:
    """The XML document. It asks for English errors, and for warnings about elements that eBay does not know."""
    root = etree.Element(f"{{{NAMESPACE}}}{name}Request", nsmap={None: NAMESPACE})  # type: ignore[dict-item]
    first: Fields = (("DetailLevel", detail.level),) if detail else ()
    selectors = tuple(("OutputSelector", path) for path in detail.selected) if detail else ()
    # eBay ignores an element that it does not know, and a misspelt filter with it. Only with High it says so.
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
        """Raises EbayError: no XML, a status other than 200, or an `Ack` that says failure."""
        if answer.status != 200:
            # Nearly all refusals come with a 200. The few others may have a document all the same.
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
        vague = BY_STATUS if type(error) is EbayRejected else (429,) if type(error) is EbayBusy else ()
        if error.error_id is None or answer.status in vague:
            return by_status
        error.status, error.retry_after = answer.status, by_status.retry_after
        return error
    return by_status


def _judged(name: str, document: Document) -> Reply:
    """The reply, judged by Ack. Raises EbayError."""
    if document.root != f"{name}Response":
        raise AnswerNotUnderstood(f"{name}: the answer is a {document.root[:80]!r}", status=200)
    ack = text_of(document.head.get("Ack")).strip()
    errors = [error for error in document.head.get("Errors") or () if isinstance(error, dict)]
    _warn(name, errors)
    # Ack and the errors may contradict each other. Then the worse one counts.
    if ack in ("Success", "Warning") and any(map(_is_severe, errors)):
        ack = "PartialFailure"
    if ack in ("Success", "Warning"):
        return Reply(document.head, tuple(document.records), None)
    if ack not in ("Failure", "PartialFailure"):
        raise AnswerNotUnderstood(f"{name}: the answer's Ack is none that eBay documents", status=200)
    error = _error(name, ack, errors)
    # Without records it is an error: an empty list would pass for a window without changes.
    if ack == "PartialFailure" and document.records:
        return Reply(document.head, tuple(document.records), error)
    raise error


MOST_WARNINGS = 20  # codes in one line of the log


def _warn(name: str, errors: Sequence[dict[str, Any]]) -> None:
    """Log the codes of warnings. Not their texts, which quote the request and may quote people."""
    warnings = (error for error in errors if text_of(error.get("SeverityCode")) == "Warning")
    codes = [_code(error) or 0 for error in islice(warnings, MOST_WARNINGS)]
    if codes:
        log.warning("%s: eBay warns with %s", name, ", ".join(map(str, codes)))


def _error(name: str, ack: str, errors: Sequence[dict[str, Any]]) -> EbayError:
    severe = list(filter(_is_severe, errors))
    # A failure may list warnings before its error.
    first = next(iter(severe or errors), None)
    code = _code(first) if first else None
    if first is None or code is None:
        return AnswerNotUnderstood(f"{name}: Ack is {ack}, without an error code", status=200)
    kind = _kind(code, text_of(first.get("ErrorClassification")))
    return kind(f"{name}: eBay answered {ack} {code}", status=200, error_id=code)


def _is_severe(error: Mapping[str, Any]) -> bool:
    return text_of(error.get("SeverityCode")) == "Error"


def _kind(code: int, classification: str) -> type[EbayError]:
    if code in TOKEN_DEAD | TOKEN_INVALID:
        return Unauthorized
    if code == OVER_THE_LIMIT:
        return QuotaSpent
    if code == NO_SUCH_PAGE:
        return PageOutOfRange
    if code == TOO_FAST:
        return RateLimited
    if code == INTERNAL or classification == "SystemError":
        return EbayBusy
    return EbayRejected


def _code(error: Mapping[str, Any]) -> int | None:
    text = text_of(error.get("ErrorCode")).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else None


def text_of(value: Any) -> str:
    """An element's text, in any of the shapes of ebay/xml."""
    if isinstance(value, dict):
        value = value.get("#text")
    return value if isinstance(value, str) else ""


def number_of(name: str, parent: Any, element: str) -> int | None:
    """An element's number; None if it is missing. Raises AnswerNotUnderstood if it is not a number."""
    value = parent.get(element) if isinstance(parent, dict) else None
    if value is None:
        return None
    if (number := count(text_of(value))) is None:
        raise AnswerNotUnderstood(f"{name}: {element} is no number")
    return number


def container(name: str, parent: Mapping[str, Any], element: str) -> dict[str, Any]:
    """A container, {} if it is missing or empty. Raises AnswerNotUnderstood if it is not a container."""
    value = parent.get(element)
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    if not isinstance(value, dict):
        raise AnswerNotUnderstood(f"{name}: {element} has not the form that eBay documents")
    return value


def pagination(page: int, per_page: int) -> tuple[str, Fields]:
    return "Pagination", (("EntriesPerPage", str(per_page)), ("PageNumber", str(page)))


def looks_full(records: int) -> bool:
    """Whether a page may have been cut, given that the answer does not say so."""
    return records > 0 and records % FULL_AT == 0


def record_bytes(reply: Reply) -> tuple[bytes, ...]:
    return tuple(record for _, record in reply.records)
