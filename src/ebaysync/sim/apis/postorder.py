"""Post-Order API v2: the searches of cancellations, cases, inquiries and returns, and the details of the last three.

Sources: the text of eBay's pages (Post-Order 2.10.0), its types, and what others have seen.

- The scheme of Authorization is IAF; Bearer is refused as "Bad scheme: Bearer" (seen). No scope is documented, but
  tokens with sell.fulfillment work (seen): that, its readonly sister and the base scope open the API here.
- Unknown parameters are ignored without a word (seen), so a misspelt filter gives the list unfiltered.
- The dates filter by creation alone, from 18 months back, over 90 days if one bound is missing. A wider window with
  both bounds is refused: nobody documents it. Also refused: values that a parameter's enumeration lacks, transaction_id
  without item_id, and dates in another format than eBay's.
- The error numbers are the simulator's own: eBay's pages have no list of them.
- `Quirks` has switches for what is ambiguous: the offset, the shape of errors, the parts of a return's detail.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil
from random import Random
from typing import Any

from ebaysync.sim.apis import postorder_json
from ebaysync.sim.apis.oauth import Ledger, Route
from ebaysync.sim.apis.postorder_json import Json
from ebaysync.sim.calls import Answer, Call, Refusal, answer_json
from ebaysync.sim.model import Body, Seller, Thing
from ebaysync.sim.scopes import BASE, ORDERS
from ebaysync.sim.world import World

PATH = "/post-order/v2"
SCOPES = ORDERS | {BASE}
WIDTH = timedelta(days=90)
MONTHS_BACK = 18

CASE_STATUSES = frozenset(
    (
        *("CLOSED", "CS_CLOSED", "ON_HOLD", "OPEN", "OTHER", "REFUND_AGREED_BUT_FAILED"),
        *("WAITING_CS", "WAITING_DELIVERY"),
    )
)
INQUIRY_STATUSES = frozenset(
    (
        *("CLOSED", "CLOSED_WITH_ESCALATION", "CS_CLOSED", "OPEN", "OTHER", "PENDING"),
        *("WAITING_BUYER_RESPONSE", "WAITING_SELLER_RESPONSE"),
    )
)
# The meaning of return_state's values (ReturnCountFilterEnum) is not documented; these follow the words.
COUNTED: Mapping[str, Callable[[Body, datetime], bool]] = {
    "ALL_OPEN": lambda body, now: not body["closed"],
    "ALL_OPEN_RETURN": lambda body, now: not body["closed"] and body["type"] != "REPLACEMENT",
    "ALL_OPEN_REPLACEMENT": lambda body, now: not body["closed"] and body["type"] == "REPLACEMENT",
    "CLOSED": lambda body, now: bool(body["closed"]),
    "ITEM_DELIVERED": lambda body, now: body["state"] == "ITEM_DELIVERED",
    "ITEM_SHIPPED": lambda body, now: body["state"] == "ITEM_SHIPPED",
    "RETURN_STARTED": lambda body, now: body["state"] in ("RETURN_REQUESTED", "REPLACEMENT_REQUESTED"),
    "SELLER_ACTION_DUE": lambda body, now: bool(body["respond_by"]),
    "SELLER_ACTION_OVERDUE": lambda body, now: bool(body["respond_by"]) and body["respond_by"] < now,
}
CLAIM_SORTS = ("Ascending", "Descending")
RETURN_SORTS: Mapping[str, Callable[[Thing, Body], Any]] = {
    "FILING_DATE": lambda thing, body: thing.created,
    "RETURN_ID": lambda thing, body: thing.id,
    "BUYER_LOGIN_NAME": lambda thing, body: body["buyer"],
    "ESTIMATED_AMOUNT": lambda thing, body: body["cents"],
    "STATUS": lambda thing, body: body["status"],
    "REASON": lambda thing, body: body["reason"],
}

CANCEL_SORTS: Mapping[str, Callable[[Thing, Body], Any]] = {
    "CANCEL_ID": lambda thing, body: thing.id,
    "CANCEL_REQUEST_DATE": lambda thing, body: thing.created,
}

Row = tuple[Thing, Body]


@dataclass(frozen=True, slots=True)
class Filter:
    """One parameter of a search: which values it takes (none: any) and which rows it keeps."""

    keeps: Callable[[Thing, Body, str, datetime], bool]
    values: frozenset[str] | None = None


def _field(name: str, values: frozenset[str] | None = None) -> Filter:
    return Filter(lambda thing, body, value, now: bool(body[name] == value), values)


FIELDS = {"item_id": _field("item_id"), "order_id": _field("order_id"), "transaction_id": _field("transaction_id")}
# The sellers of this world have bought nothing.
SELLERS_OWN = Filter(lambda thing, body, value, now: value == "SELLER", frozenset(("BUYER", "SELLER")))
DEFAULT_GROUP = Filter(lambda thing, body, value, now: True, frozenset(("DEFAULT",)))


@dataclass(frozen=True, slots=True)
class Search:
    """A search method: what it is asked by, and how its answers look."""

    kind: str
    dates: str  # the names of the window's bounds are this with _from and _to
    filters: Mapping[str, Filter]
    row: Callable[[Thing, Body], Json]
    total: str
    sorts: Mapping[str, Callable[[Thing, Body], Any]] | None = None  # None: Ascending and Descending alone
    records: str = "members"
    limits: tuple[int, int] = (25, 200)  # by default, at most
    first_offset: int = 0  # that eBay's sample of a first page says

    @property
    def parameters(self) -> frozenset[str]:
        """Every name that the method does not ignore."""
        return frozenset((*self.filters, f"{self.dates}_from", f"{self.dates}_to", "limit", "offset", "sort"))


CASES = Search(
    "case",
    "case_creation_date_range",
    {
        **FIELDS,
        "case_status_filter": _field("status", CASE_STATUSES),
        "fieldgroups": DEFAULT_GROUP,
        "return_id": _field("return_id"),
    },
    postorder_json.claim_row(("caseId", "caseStatusEnum")),
    "totalNumberOfCases",
)
INQUIRIES = Search(
    "inquiry",
    "inquiry_creation_date_range",
    {**FIELDS, "inquiry_status": _field("status", INQUIRY_STATUSES), "fieldgroups": DEFAULT_GROUP},
    postorder_json.claim_row(("inquiryId", "inquiryStatusEnum")),
    "totalNumberOfInquiries",
)
RETURNS = Search(
    "return",
    "creation_date_range",
    {
        **FIELDS,
        "return_id": Filter(lambda thing, body, value, now: thing.id == value),
        "return_state": Filter(lambda thing, body, value, now: COUNTED[value](body, now), frozenset(COUNTED)),
        "role": SELLERS_OWN,
        "states": Filter(lambda thing, body, value, now: body["state"] in value.split(",")),
    },
    postorder_json.return_row,
    "total",
    RETURN_SORTS,
    first_offset=1,
)
CANCELLATIONS = Search(
    "cancellation",
    "creation_date_range",
    {
        "cancel_id": Filter(lambda thing, body, value, now: thing.id == value),
        "item_id": _field("item_id"),
        "legacy_order_id": Filter(lambda thing, body, value, now: value == postorder_json.legacy_order_id(thing, body)),
        "role": SELLERS_OWN,
        "transaction_id": _field("transaction_id"),
    },
    postorder_json.cancellation_row,
    "total",
    CANCEL_SORTS,
    "cancellations",
    (10, 500),
    first_offset=1,
)
SEARCHES = (CANCELLATIONS, CASES, INQUIRIES, RETURNS)


def refusal(world: World, status: int, error_id: int, message: str, **parameters: str) -> Refusal:
    """An error in the envelope that this world's Post-Order API uses."""
    error: Json = {"errorId": error_id, "domain": "postOrderErrorDomain", "severity": "ERROR", "category": "REQUEST"}
    error |= {"message": message, "longMessage": message}
    listed = [{"name": name, "value": value} for name, value in parameters.items()]
    if world.quirks.post_order_errors == "errors":  # of the gateway: as in the other REST APIs
        del error["severity"]
        return Refusal(answer_json({"errors": [error | ({"parameters": listed} if listed else {})]}, status))
    error |= {"parameter": listed} if listed else {}
    if world.quirks.post_order_errors == "error":
        return Refusal(answer_json({"error": [error | {"httpStatusCode": status}]}, status))
    return Refusal(answer_json({"errorMessage": {"error": [error | {"httpStatusCode": str(status)}]}}, status))


def check_iaf(ledger: Ledger, call: Call, scopes: frozenset[str]) -> Seller:
    """The seller who makes the call. Checks the headers that every call needs, GET included. Raises Refusal."""
    world = ledger.world
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if not token:
        raise refusal(world, 401, 1002, "Missing access token")
    if scheme != "IAF":
        raise refusal(world, 401, 1, f"Bad scheme: {scheme}")
    grant = ledger.of_access(token, call.now)
    if grant is None:
        raise refusal(world, 401, 1001, "Invalid access token")
    if grant.seller is None or not grant.scopes & scopes:
        refused = refusal(world, 403, 1100, "Insufficient permissions to fulfill the request.")
        refused.answer.seller = grant.seller.username if grant.seller else None
        raise refused
    _check_headers(world, call.headers)
    return grant.seller


def _check_headers(world: World, headers: Mapping[str, str]) -> None:
    for name in ("content-type", "accept"):
        types = [part.partition(";")[0].strip().lower() for part in headers.get(name, "").split(",")]
        if "application/json" not in types:
            raise refusal(world, 400, 1003, f"The header {name} must be application/json", header=name)
    # EBAY_UK by the pages, EBAY_GB by the enumeration: both pass.
    if not re.fullmatch(r"EBAY_[A-Z_]+", headers.get("x-ebay-c-marketplace-id", "")):
        raise refusal(
            world, 400, 1003, "X-EBAY-C-MARKETPLACE-ID is missing or invalid", header="X-EBAY-C-MARKETPLACE-ID"
        )


def search(method: Search, world: World, seller: Seller, call: Call) -> Answer:
    found = _sorted(method, world, _matching(method, world, seller, call), call.query)
    usual, most = method.limits
    limit = _number(world, call.query, "limit", usual, range(1, most + 1))
    offset = _number(world, call.query, "offset", None, range(10**9))
    start = offset or 0 if world.quirks.post_order_offset == "row" else (max(offset or 1, 1) - 1) * limit
    rows = found[start : start + limit]
    pages = {"limit": limit, "offset": _echo(method, world, offset), "totalEntries": len(found)}
    pages["totalPages"] = ceil(len(found) / limit)
    document: Json = {
        method.records: [method.row(thing, body) for thing, body in rows],
        "paginationOutput": pages if found else dict.fromkeys(pages, 0),
        method.total: len(found),
    }
    if method is RETURNS:  # whose total is "not currently used"
        document |= {"total": 0, "countSummary": _counts(found, call.now)}
    if not found and Random(f"{world.seed}/{call.path}?{call.raw_query}").random() < 0.5:
        del document[method.records]
    if not found and method is CANCELLATIONS:
        del document["paginationOutput"]
    return answer_json(document, rows=tuple((thing.id, thing.version) for thing, _ in rows))


def _echo(method: Search, world: World, offset: int | None) -> int:
    if offset is not None:
        return offset
    return method.first_offset if world.quirks.post_order_offset == "page" else 0


def _counts(found: list[Row], now: datetime) -> list[Json]:
    counts = {name: sum(keeps(body, now) for _, body in found) for name, keeps in COUNTED.items()}
    return [{"type": name, "count": count} for name, count in counts.items() if count]


def _number(world: World, query: Mapping[str, str], name: str, default: Any, known: range) -> Any:
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or int(text) not in known:
        raise _invalid(world, name, text)
    return int(text)


def _invalid(world: World, name: str, value: str) -> Refusal:
    return refusal(world, 400, 1004, f"Invalid value for {name}: {value}", **{name: value})


def _matching(method: Search, world: World, seller: Seller, call: Call) -> list[Row]:
    window = _window(method, world, call)
    asked = {name: call.query[name] for name in method.filters if name in call.query}
    if asked.get("return_state") == "ALL_OPEN" and world.quirks.open_returns != "all":
        del asked["return_state"]
        if world.quirks.open_returns == "started":
            asked["return_state"] = "RETURN_STARTED"
    for name, value in asked.items():
        values = method.filters[name].values
        if values is not None and value not in values:
            raise _invalid(world, name, value)
    if "transaction_id" in asked and "item_id" not in asked:
        raise refusal(world, 400, 1005, "transaction_id needs item_id")
    rows = ((thing, thing.body) for thing in seller.things.get(method.kind, {}).values())
    return [
        (thing, body)
        for thing, body in rows
        if body is not None
        and (window is None or window[0] <= _shown(thing.created) <= window[1])
        and all(method.filters[name].keeps(thing, body, value, call.now) for name, value in asked.items())
    ]


def _shown(at: datetime) -> datetime:
    """To the millisecond, as the answers have it."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _window(method: Search, world: World, call: Call) -> tuple[datetime, datetime] | None:
    names = f"{method.dates}_from", f"{method.dates}_to"
    first, last = (_time(world, name, call.query[name]) if name in call.query else None for name in names)
    if first is None and last is None:
        return None
    start = first or (last or call.now) - WIDTH
    end = last or start + WIDTH
    if start < _months_back(call.now):
        raise refusal(world, 400, 1006, f"{names[0]} is more than {MONTHS_BACK} months back")
    if start > end:
        raise refusal(world, 400, 1007, f"{names[0]} is after {names[1]}")
    if end - start > WIDTH:
        raise refusal(world, 400, 1008, f"the date range is wider than {WIDTH.days} days")
    return start, end


def _months_back(now: datetime) -> datetime:
    years, month = divmod(now.year * 12 + now.month - 1 - MONTHS_BACK, 12)
    day = min(now.day, calendar.monthrange(years, month + 1)[1])
    return now.replace(year=years, month=month + 1, day=day)


def _time(world: World, name: str, text: str) -> datetime:
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text, re.ASCII):
        try:
            return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        except ValueError:
            pass
    raise _invalid(world, name, text)


def _sorted(method: Search, world: World, rows: list[Row], query: Mapping[str, str]) -> list[Row]:
    """Newest first unless told otherwise."""
    asked = query.get("sort")
    newest = sorted(rows, key=lambda row: (row[0].created, row[0].id), reverse=True)
    if asked is None:
        return newest
    if method.sorts is None:
        if asked not in CLAIM_SORTS:
            raise _invalid(world, "sort", asked)
        return newest if asked == "Descending" else newest[::-1]
    name = asked.lstrip("+- ")  # a plus that is not encoded arrives as a blank
    if (key := method.sorts.get(name)) is None:
        raise _invalid(world, "sort", asked)
    return sorted(newest, key=lambda row: key(*row), reverse=asked.startswith("-"))


def _find(world: World, seller: Seller, kind: str, number: str) -> Row:
    thing = seller.things.get(kind, {}).get(number)
    if thing is None or thing.body is None:
        raise refusal(world, 404, 1404, f"There is no {kind} {number}", id=number)
    return thing, thing.body


def claim(
    kind: str, write: Callable[[Thing, Body], Json], world: World, seller: Seller, call: Call, number: str
) -> Answer:
    thing, body = _find(world, seller, kind, number)
    return answer_json(write(thing, body), rows=((thing.id, thing.version),))


def get_return(world: World, seller: Seller, call: Call, number: str) -> Answer:
    """The summary unless FULL is asked for; which is the default is not documented. Raises Refusal: a wrong
    fieldgroups."""
    group = call.query.get("fieldgroups", "SUMMARY")
    if group not in ("FULL", "SUMMARY"):
        raise _invalid(world, "fieldgroups", group)
    thing, body = _find(world, seller, "return", number)
    summary, detail = postorder_json.return_detail(thing, body)
    document = {"summary": summary}
    if group == "FULL":
        document = {"detail": detail} if world.quirks.return_detail == "only_detail" else document | {"detail": detail}
    return answer_json(document, rows=((thing.id, thing.version),))


def _route(path: str, handler: Callable[..., Answer]) -> Route:
    return Route(PATH + path, SCOPES, handler, authorize=check_iaf)


ROUTES = (
    _route("/cancellation/search", partial(search, CANCELLATIONS)),
    _route("/casemanagement/search", partial(search, CASES)),
    _route("/casemanagement/([^/]+)", partial(claim, "case", postorder_json.case_detail)),
    _route("/inquiry/search", partial(search, INQUIRIES)),
    _route("/inquiry/([^/]+)", partial(claim, "inquiry", postorder_json.inquiry_detail)),
    _route("/return/search", partial(search, RETURNS)),
    _route("/return/([^/]+)", get_return),
)
