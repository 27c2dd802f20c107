"""Sell Fulfillment API v1: getOrders and getOrder, as strict as their documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from ebaysync.sim.apis.oauth import Route
from ebaysync.sim.calls import Answer, Call, Refusal, refuse
from ebaysync.sim.model import Order, Seller
from ebaysync.sim.scopes import ORDERS
from ebaysync.sim.world import World

PATH = "/sell/fulfillment/v1/order"
DOMAIN = "API_FULFILLMENT"
REACH = timedelta(days=730)  # "up to two years old"
UNFILTERED = timedelta(days=90)
ORDER_ID = re.compile(r"\d{2}-\d{5}-\d{5}")
# Only these combinations "are currently supported"; written in another order they are refused here as well.
STATUSES = {
    "{NOT_STARTED|IN_PROGRESS}": {"NOT_STARTED", "IN_PROGRESS"},
    "{FULFILLED|IN_PROGRESS}": {"FULFILLED", "IN_PROGRESS"},
}
# The specification: "requires that certain special characters in the URI query string be percent-encoded".
MUST_BE_ENCODED = re.compile(r"[\[\]{}|]")

# One found order: itself, the version and the modification that the filters know.
Found = tuple[Order, int, datetime]


@dataclass(frozen=True, slots=True)
class Window:
    """The parameters of a call of getOrders."""

    field: str  # creationdate, lastmodifieddate, or orderids
    start: datetime
    end: datetime
    offset: int
    limit: int
    statuses: frozenset[str] | None = None


def get_orders(world: World, seller: Seller, call: Call) -> Answer:
    """Raises Refusal: a wrong filter or page."""
    if MUST_BE_ENCODED.search(call.raw_query):  # how eBay says so is not documented
        raise Refusal(Answer(400, b"<html><body><h1>Bad Request</h1></body></html>", "text/html"))
    if call.query.get("orderIds"):
        return _by_ids(world, seller, call)
    window, taxes = parse(call)
    found = matches(world, seller, window, call.now)
    return _page(call, window, found, taxes)


def get_order(world: World, seller: Seller, call: Call, order_id: str) -> Answer:
    """Raises Refusal: there is no such order."""
    taxes = _tax_breakdown(call.query)
    if not ORDER_ID.fullmatch(order_id):
        raise refuse(400, 32100, DOMAIN, f"Invalid order ID: {order_id}", orderId=order_id)
    order = seller.orders.get(order_id)
    if order is None:  # the specification gives the 404 no number of its own
        raise refuse(404, 32100, DOMAIN, f"Invalid order ID: {order_id}", orderId=order_id)
    return Answer(200, order.answer(call.now, row=False, taxes=taxes), rows=((order.id, order.version),))


def parse(call: Call) -> tuple[Window, bool]:
    """The window a call asks for and whether it wants taxes apart; refuses as eBay does."""
    limit = _number(call.query, "limit", 50, lambda value: 1 <= value <= 200, 31100)
    offset = _number(call.query, "offset", 0, lambda value: value >= 0, 31000)
    taxes = _tax_breakdown(call.query)
    spans, statuses = _filters(call)
    if "creationdate" in spans:  # "If both are included, only creationdate is used"
        return Window("creationdate", *spans["creationdate"], offset, limit, statuses), taxes
    if "lastmodifieddate" in spans:
        return Window("lastmodifieddate", *spans["lastmodifieddate"], offset, limit, statuses), taxes
    return Window("creationdate", call.now - UNFILTERED, call.now, offset, limit, statuses), taxes


def matches(world: World, seller: Seller, window: Window, now: datetime) -> list[Found]:
    """All rows of the window, in the order in which this world serves rows."""
    created, oldest = window.field == "creationdate", now - REACH
    found = []
    for row in world.find(seller, now):
        at = row[0].created if created else row[2]
        if window.start <= at <= window.end and row[0].created >= oldest and _has_status(row, window):
            found.append(row)
    keys: dict[str, Callable[[Found], Any]] = {
        "hash": lambda row: row[0].position,
        "modified": lambda row: (row[2], row[0].id),
        "created": lambda row: (row[0].created, row[0].id),
        "id": lambda row: row[0].id,
    }
    found.sort(key=keys[world.quirks.rows.lstrip("-")], reverse=world.quirks.rows.startswith("-"))
    return found


def _has_status(row: Found, window: Window) -> bool:
    if window.statuses is None:
        return True
    order, version, _ = row
    return order.status(version) in window.statuses


def _number(query: Mapping[str, str], name: str, default: int, good: Callable[[int], bool], error_id: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,9}", text) or not good(int(text)):
        raise refuse(400, error_id, DOMAIN, f"Invalid {name}: {text}", **{name: text})
    return int(text)


def _tax_breakdown(query: Mapping[str, str]) -> bool:
    groups = query.get("fieldGroups")
    if groups not in (None, "TAX_BREAKDOWN"):
        raise refuse(400, 32800, DOMAIN, f"Invalid field group: {groups}", fieldGroup=groups or "")
    return groups is not None


def _filters(call: Call) -> tuple[dict[str, tuple[datetime, datetime]], frozenset[str] | None]:
    spans: dict[str, tuple[datetime, datetime]] = {}
    statuses: frozenset[str] | None = None
    text = call.query.get("filter")
    for part in re.split(r",(?![^\[{]*[\]}])", text) if text is not None else ():
        name, _, value = part.partition(":")
        if name in ("creationdate", "lastmodifieddate"):
            spans[name] = _span(name, value, call.now)
        elif name == "orderfulfillmentstatus":
            if value not in STATUSES:
                raise _bad_value(name, value)
            statuses = frozenset(STATUSES[value])
        else:
            raise refuse(400, 30700, DOMAIN, f"Invalid filter name: '{name}'", filterName=name)
    return spans, statuses


def _bad_value(name: str, value: str) -> Refusal:
    message = f"Invalid filter value {value} for filter {name}"
    return refuse(400, 30800, DOMAIN, message, filterName=name, filterValue=value)


def _span(name: str, value: str, now: datetime) -> tuple[datetime, datetime]:
    bounds = re.fullmatch(r"\[(.*?)\.\.(.*)\]", value)
    if not bounds:
        raise _bad_value(name, value)
    if not bounds[1]:
        raise refuse(400, 30820, DOMAIN, "Start date is missing")
    start = _time(bounds[1])
    end = _time(bounds[2]) if bounds[2] else now
    if start > now or end > now:
        raise refuse(400, 30850, DOMAIN, "Start and end dates can't be in the future")
    if start > end:
        raise refuse(400, 30840, DOMAIN, "Start date should be before end date")
    # Documented for the width of the range; a start out of reach gets the same answer here.
    if start < now - REACH:
        message = "Time range between start date and end date must be within '2' years."
        raise refuse(400, 30830, DOMAIN, message)
    return start, end


def _time(text: str) -> datetime:
    """ISO 8601 in UTC with milliseconds and `Z`, as all of eBay's examples are; nothing else."""
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text, re.ASCII):
        try:
            return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        except ValueError:
            pass
    raise refuse(400, 30810, DOMAIN, "Invalid date format", date=text)


def _by_ids(world: World, seller: Seller, call: Call) -> Answer:
    """Orders by id: every other parameter is ignored, unknown ids are left out."""
    ids = list(dict.fromkeys(call.query["orderIds"].split(",")))
    if len(ids) > 50:
        raise refuse(400, 30900, DOMAIN, "Exceeded maximum number of order IDs (the current limit is 50)")
    orders = [seller.orders[order_id] for order_id in ids if order_id in seller.orders]
    found = [(order, order.version, order.modified) for order in orders if order.created >= call.now - REACH]
    return _page(call, Window("orderids", call.now, call.now, 0, 50), found, taxes=False)


def _page(call: Call, window: Window, found: list[Found], taxes: bool) -> Answer:
    rows = found[window.offset : window.offset + window.limit]
    fields = [f'"href":"{_href(call, window, window.offset)}"', f'"total":{len(found)}']
    fields += [f'"limit":{window.limit}', f'"offset":{window.offset}']
    if window.offset + window.limit < len(found):
        fields.append(f'"next":"{_href(call, window, window.offset + window.limit)}"')
    if window.offset:
        fields.append(f'"prev":"{_href(call, window, max(0, window.offset - window.limit))}"')
    texts = [order.answer(call.now, version, row=True, taxes=taxes) for order, version, _ in rows]
    body = b"{" + ",".join(fields).encode() + b',"orders":[' + b",".join(texts) + b"]}"
    return Answer(200, body, rows=tuple((order.id, version) for order, version, _ in rows))


def _href(call: Call, window: Window, offset: int) -> str:
    """Absolute, with the caller's own parameters; brackets, braces and bars encoded, as eBay writes it."""
    kept = {name: value for name, value in call.query.items() if name in ("filter", "fieldGroups", "orderIds")}
    fields = [f"{name}={quote(value, safe=':,.')}" for name, value in kept.items()]
    return f"{call.base}{PATH}?{'&'.join([*fields, f'limit={window.limit}', f'offset={offset}'])}"


ROUTES = (
    Route(PATH, ORDERS, get_orders),
    Route(PATH + "/([^/]+)", ORDERS, get_order),
)
