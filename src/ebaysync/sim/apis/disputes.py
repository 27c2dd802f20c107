"""Payment disputes of the Sell Fulfillment API v1: getPaymentDisputeSummaries and getPaymentDispute.

They live at another host than the orders. There is no filter of what changed and no time of a change.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote

from ebaysync.sim.apis.asking import moment, months_before, number, served
from ebaysync.sim.apis.oauth import Route
from ebaysync.sim.calls import Answer, Call, Refusal, answer_json, refuse
from ebaysync.sim.model import Body, Seller, position
from ebaysync.sim.scopes import DISPUTES
from ebaysync.sim.world import World

PATH = "/sell/fulfillment/v1/payment_dispute"
DOMAIN = "API_FULFILLMENT"
SPAN = timedelta(days=90)
REACH_MONTHS = 18
RECENTLY = timedelta(days=30)  # "recently closed", without a number in eBay's text
STATUSES = frozenset(("OPEN", "ACTION_NEEDED", "CLOSED"))
SUMMARY = (
    *("paymentDisputeId", "paymentDisputeStatus", "reason", "orderId", "openDate", "respondByDate", "closedDate"),
    *("amount", "buyerUsername"),
)
PARAMETERS = ("order_id", "buyer_username", "open_date_from", "open_date_to", "payment_dispute_status")


def get_summaries(world: World, seller: Seller, call: Call) -> Answer:
    limit = number(call, "limit", 200, 1, 200, _invalid("limit"))
    offset = number(call, "offset", 0, 0, 10**9, _invalid("offset"))
    fits = _filter(call)
    found = [(thing, body) for thing, body in served(seller, "dispute", call.now) if fits(body)]
    found.sort(key=lambda row: position(row[0].id))
    rows = found[offset : offset + limit]
    page: dict[str, Any] = {"href": _href(call, limit, offset), "limit": limit, "offset": offset, "total": len(found)}
    if offset + limit < len(found):
        page["next"] = _href(call, limit, offset + limit)
    if offset:
        page["prev"] = _href(call, limit, max(0, offset - limit))
    page["paymentDisputeSummaries"] = [{name: body[name] for name in SUMMARY if name in body} for _, body in rows]
    return answer_json(page, rows=tuple((thing.id, thing.version) for thing, _ in rows))


def get_dispute(world: World, seller: Seller, call: Call, dispute_id: str) -> Answer:
    """Raises Refusal: there is no such dispute."""
    thing = seller.things.get("dispute", {}).get(dispute_id)
    if thing is None or thing.body is None or thing.created > call.now:
        raise refuse(404, 33001, DOMAIN, "Invalid Payment Dispute Id", paymentDisputeId=dispute_id)
    return answer_json(thing.body, rows=((thing.id, thing.version),))


def _invalid(name: str) -> Refusal:
    return refuse(400, 33001, DOMAIN, "Invalid input request", parameter=name)


def _filter(call: Call) -> Callable[[Body], bool]:
    """The filters of a call. With an order id all of its disputes are found, whatever else is asked for."""
    query = call.query
    if "order_id" in query:
        return lambda body: body["orderId"] == query["order_id"]
    statuses = set(parse_qs(call.raw_query, keep_blank_values=True).get("payment_dispute_status", STATUSES))
    if not statuses <= STATUSES:
        raise _invalid("payment_dispute_status")
    buyer, span = query.get("buyer_username"), _span(call)

    def fits(body: Body) -> bool:
        dated = span[0] <= _at(body, "openDate") <= span[1] if span else _current(body, call.now)
        return dated and body["paymentDisputeStatus"] in statuses and buyer in (None, body["buyerUsername"])

    return fits


def _current(body: Body, now: datetime) -> bool:
    """The disputes without a filter: "all open and recently closed"."""
    return body["paymentDisputeStatus"] != "CLOSED" or _at(body, "closedDate") >= now - RECENTLY


def _at(body: Body, name: str) -> datetime:
    return datetime.fromisoformat(body[name])


def _span(call: Call) -> tuple[datetime, datetime] | None:
    """The range of dates, both ends included. A missing end is 90 days from the other, or now."""
    start, end = (_date(call, name) for name in ("open_date_from", "open_date_to"))
    if start is None and end is None:
        return None
    if start is None:
        start = end - SPAN if end else call.now
    if end is None:
        end = min(start + SPAN, call.now)
    if start > end or end - start > SPAN or start < months_before(call.now, REACH_MONTHS):
        raise _invalid("open_date_from")
    return start, end


def _date(call: Call, name: str) -> datetime | None:
    text = call.query.get(name)
    found = moment(text) if text is not None else None
    if text is not None and found is None:
        raise _invalid(name)
    return found


def _href(call: Call, limit: int, offset: int) -> str:
    """The URL of a page, absolute, with the caller's own filters."""
    given = parse_qs(call.raw_query, keep_blank_values=True)
    kept = [(name, value) for name in PARAMETERS for value in given.get(name, ())]
    fields = [f"{name}={quote(value, safe=':')}" for name, value in kept]
    return f"{call.base}{PATH}_summary?{'&'.join([*fields, f'limit={limit}', f'offset={offset}'])}"


ROUTES = (
    Route(f"{PATH}_summary", DISPUTES, get_summaries),
    Route(PATH + "/([^/]+)", DISPUTES, get_dispute),
)
