"""Sell Finances API v1: getTransactions, getPayouts and getPayout, as strict as their documentation.

Neither list can be filtered by what changed lately. An empty one is 204 without a body. Whether another marketplace
in the header than the seller's own hides rows is not documented: here it hides none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote

from ebaysync.sim.apis.asking import moment, months_before, number, served
from ebaysync.sim.apis.oauth import Route
from ebaysync.sim.calls import Answer, Call, Refusal, answer_json, refuse
from ebaysync.sim.model import Body, Seller, Thing, position
from ebaysync.sim.scopes import FINANCES
from ebaysync.sim.world import World

PATH = "/sell/finances/v1"
DOMAIN = "API_FINANCES"
REACH_MONTHS, SPAN_MONTHS = 60, 36
# "To avoid poor response time, use offset values of less than 5000": refused here from there on.
OFFSET_END = 5000
# The marketplace header's values in eBay's table of HTTP request headers.
MARKETPLACES = frozenset(
    f"EBAY_{site}"
    for site in (
        *("AT", "AU", "BE", "CA", "CH", "DE", "ES", "FR", "GB", "HK", "IE"),
        *("IT", "MOTORS_US", "MY", "NL", "PH", "PL", "SG", "TH", "TW", "US", "VN"),
    )
)
# eBay: "Digital Signatures for APIs", for sellers domiciled in the European Union or the United Kingdom.
TYPES = frozenset(
    (
        *("SALE", "REFUND", "CREDIT", "DISPUTE", "SHIPPING_LABEL", "TRANSFER"),
        *("NON_SALE_CHARGE", "ADJUSTMENT", "WITHDRAWAL", "LOAN_REPAYMENT", "PURCHASE"),
    )
)
STATUSES = frozenset(
    (
        *("FUNDS_ON_HOLD", "FUNDS_PROCESSING", "FUNDS_AVAILABLE_FOR_PAYOUT"),
        *("PAYOUT", "COMPLETED", "FAILED"),
    )
)
PAYOUT_STATUSES = frozenset(["INITIATED", "SUCCEEDED", "REVERSED", "RETRYABLE_FAILED", "TERMINAL_FAILED"])

Found = tuple[Thing, Body]


@dataclass(frozen=True)
class Listing:
    """One of the two lists. The numbers are those of its errors; a filter of unknown name gets that of the dates,
    because it has none of its own."""

    path: str
    rows: str
    kind: str
    dates: tuple[str, ...]
    braces: Mapping[str, tuple[int, frozenset[str] | None]]
    bad_date: int
    too_old: int
    too_wide: int

    def refuse(self, what: str) -> Refusal:
        return refuse(400, self.bad_date, DOMAIN, f"The value of {self.kind} date filter is invalid.", filter=what)


TRANSACTIONS = Listing(
    f"{PATH}/transaction",
    "transactions",
    "transaction",
    ("transactionDate",),
    {
        "transactionType": (135006, TYPES),
        "transactionStatus": (135007, STATUSES),
        "transactionId": (135009, None),
        "buyerUsername": (135008, None),
        "orderId": (135008, None),
        "payoutId": (135008, None),
        "payoutReference": (135008, None),
    },
    135008,
    135015,
    135016,
)
PAYOUTS = Listing(
    f"{PATH}/payout",
    "payouts",
    "payout",
    ("payoutDate", "lastAttemptedPayoutDate"),
    {"payoutStatus": (135002, PAYOUT_STATUSES), "payoutReference": (135004, None)},
    135004,
    135013,
    135014,
)


@dataclass(frozen=True)
class Asked:
    """The parameters of a call: values by name, date ranges by name."""

    values: Mapping[str, str]
    spans: Mapping[str, tuple[datetime, datetime]]


def get_transactions(world: World, seller: Seller, call: Call) -> Answer:
    """Raises Refusal: a wrong filter or page."""
    _check_marketplace(call)
    asked = _asked(call, TRANSACTIONS)
    if "transactionId" in asked.values and "transactionType" not in asked.values:
        raise refuse(400, 135009, DOMAIN, "Transaction type filter is missing.")
    return _page(seller, call, TRANSACTIONS, asked, lambda body: _has(body, asked.values))


def _has(body: Body, values: Mapping[str, str]) -> bool:
    """The status filter "is only applicable for sales orders"; that of the order knows nothing of references."""
    shown = {name: body.get(name) for name in values} | {"buyerUsername": body.get("buyer", {}).get("username")}
    return all(shown[name] == value for name, value in values.items()) and (
        "transactionStatus" not in values or body["transactionType"] == "SALE"
    )


def get_payouts(world: World, seller: Seller, call: Call) -> Answer:
    """Raises Refusal: a wrong filter or page."""
    _check_marketplace(call)
    asked = _asked(call, PAYOUTS)
    if "lastAttemptedPayoutDate" in asked.spans and asked.values.get("payoutStatus") != "RETRYABLE_FAILED":
        raise refuse(400, 135002, DOMAIN, "The value of payout status filter is invalid.")
    values = asked.values
    return _page(seller, call, PAYOUTS, asked, lambda body: all(body.get(name) == values[name] for name in values))


def get_payout(world: World, seller: Seller, call: Call, payout_id: str) -> Answer:
    """Raises Refusal: there is no such payout."""
    _check_marketplace(call)
    thing = seller.things.get("payout", {}).get(payout_id)
    if thing is None or thing.body is None or thing.created > call.now:
        raise refuse(404, 135001, DOMAIN, "The payout id was not found.", payoutId=payout_id)
    return answer_json(thing.body, rows=((thing.id, thing.version),))


def _check_marketplace(call: Call) -> None:
    """The specification calls the marketplace required and gives it a default: here it is required."""
    market = call.headers.get("x-ebay-c-marketplace-id", "")
    if market not in MARKETPLACES:
        message = "The value of the X-EBAY-C-MARKETPLACE-ID header is missing or invalid."
        raise refuse(400, 135000, DOMAIN, message, marketplaceId=market)


def _asked(call: Call, listing: Listing) -> Asked:
    """`filter` once with commas or repeated, each name once."""
    values: dict[str, str] = {}
    spans: dict[str, tuple[datetime, datetime]] = {}
    texts = parse_qs(call.raw_query, keep_blank_values=True).get("filter", [])
    for part in (part for text in texts for part in re.split(r",(?![^\[{]*[\]}])", text)):
        name, _, value = part.partition(":")
        if name in values or name in spans:
            raise listing.refuse(part)
        if name in listing.dates:
            spans[name] = _span(listing, value, call.now)
        elif name in listing.braces:
            values[name] = _one(name, value, *listing.braces[name])
        else:
            raise listing.refuse(part)
    return Asked(values, spans)


def _one(name: str, text: str, error_id: int, known: frozenset[str] | None) -> str:
    braced = re.fullmatch(r"\{([^{}|]+)\}", text)
    if not braced or (known is not None and braced[1] not in known):
        words = re.sub(r"(?=[A-Z])", " ", name).lower()
        raise refuse(400, error_id, DOMAIN, f"The value of {words} filter is invalid.", filter=f"{name}:{text}")
    return braced[1]


def _span(listing: Listing, text: str, now: datetime) -> tuple[datetime, datetime]:
    bounds = re.fullmatch(r"\[(.+?)\.\.(.+)\]", text)
    start, end = (moment(bounds[1]), moment(bounds[2])) if bounds else (None, None)
    if start is None or end is None or start > end:
        raise listing.refuse(text)
    if start < months_before(now, REACH_MONTHS):
        message = f"The supplied start date is invalid, as {listing.rows} older than five years cannot be retrieved."
        raise refuse(400, listing.too_old, DOMAIN, message)
    if start < months_before(end, SPAN_MONTHS):
        message = "The supplied date range is invalid, as the date range cannot exceed 36 months."
        raise refuse(400, listing.too_wide, DOMAIN, message)
    return start, end


def _page(seller: Seller, call: Call, listing: Listing, asked: Asked, fits: Callable[[Body], bool]) -> Answer:
    pagination = refuse(400, 135003, DOMAIN, "The value of pagination is invalid.")
    limit = number(call, "limit", 20, 1, 200, pagination)
    offset = number(call, "offset", 0, 0, OFFSET_END - 1, pagination)
    found = _sorted(call, listing, asked, [row for row in _inside(seller, call, listing, asked) if fits(row[1])])
    rows = found[offset : offset + limit]
    if not rows:
        return Answer(204)
    page: dict[str, Any] = {"href": _href(call, listing, limit, offset), "limit": limit, "offset": offset}
    page["total"] = len(found)
    if offset + limit < len(found):
        page["next"] = _href(call, listing, limit, offset + limit)
    if offset:
        page["prev"] = _href(call, listing, limit, max(0, offset - limit))
    page[listing.rows] = [body for _, body in rows]
    return answer_json(page, rows=tuple((thing.id, thing.version) for thing, _ in rows))


def _inside(seller: Seller, call: Call, listing: Listing, asked: Asked) -> list[Found]:
    """The rows of the reach and of the ranges, both ends included."""
    reach = {listing.dates[0]: (months_before(call.now, REACH_MONTHS), datetime.max.replace(tzinfo=call.now.tzinfo))}
    spans = {**reach, **asked.spans}
    return [
        (thing, body)
        for thing, body in served(seller, listing.kind, call.now)
        if all(name in body and low <= _at(body, name) <= high for name, (low, high) in spans.items())
    ]


def _at(body: Body, name: str) -> datetime:
    return datetime.fromisoformat(body[name])


def _sorted(call: Call, listing: Listing, asked: Asked, found: list[Found]) -> list[Found]:
    """Rows sorted by the one sortable field, newest first unless `sort` names it. Rows of the same moment have no
    order."""
    name = call.query.get("sort")
    if name is not None and name not in listing.dates:
        raise refuse(400, 135005, DOMAIN, "The value of sort is invalid.", sort=name)
    field = name or next(iter(asked.spans), listing.dates[0])
    found.sort(key=lambda row: (row[1].get(field, ""), position(row[0].id)), reverse=name is None)
    return found


def _href(call: Call, listing: Listing, limit: int, offset: int) -> str:
    """Absolute, with the caller's own filters and sort."""
    given = parse_qs(call.raw_query, keep_blank_values=True)
    kept = [(name, value) for name in ("filter", "sort") for value in given.get(name, ())]
    fields = [f"{name}={quote(value, safe=':,.')}" for name, value in kept]
    return f"{call.base}{listing.path}?{'&'.join([*fields, f'limit={limit}', f'offset={offset}'])}"


ROUTES = (
    Route(TRANSACTIONS.path, FINANCES, get_transactions, signed=True),
    Route(PAYOUTS.path, FINANCES, get_payouts, signed=True),
    Route(PAYOUTS.path + "/([^/]+)", FINANCES, get_payout, signed=True),
)
