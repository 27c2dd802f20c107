"""The changes of an order. Each takes the order's JSON and moves it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from ebaysync.sim.clock import stamp
from ebaysync.sim.payload import Draft

# Possible next changes by the order's state; the first is the most likely.
NEXT = {
    "paid": ("ship", "ship", "ship", "ship_part", "cancel_ask", "estimate"),
    "partly_shipped": ("ship", "ship", "refund_line"),
    "shipped": ("estimate", "release", "refund_part", "refund_all", "refund_line"),
    "cancel_asked": ("cancel", "cancel", "cancel_reject"),
    "refunded_part": ("estimate", "refund_all"),
    "cancelled": ("estimate", "release"),
    "refunded": ("estimate", "release"),
}
LEADS_TO = {
    "ship": "shipped",
    "ship_part": "partly_shipped",
    "cancel_ask": "cancel_asked",
    "cancel": "cancelled",
    "cancel_reject": "paid",
    "refund_part": "refunded_part",
    "refund_line": "refunded_part",
    "refund_all": "refunded",
}


@dataclass(frozen=True, slots=True)
class Change:
    kind: str
    at: datetime
    indexed: datetime  # from then on the filters of getOrders know of it
    share: float  # where the kind needs a figure: of the money, of the lines


def _ship(draft: Draft, body: dict[str, Any], change: Change, number: int, lines: int | None = None) -> None:
    for item in body["lineItems"][:lines]:
        item["lineItemFulfillmentStatus"] = "FULFILLED"
    whole = all(item["lineItemFulfillmentStatus"] == "FULFILLED" for item in body["lineItems"])
    body["orderFulfillmentStatus"] = "FULFILLED" if whole else "IN_PROGRESS"
    # Links have eBay's own address, not the simulator's: a client has no business following them.
    order = f"https://api.ebay.com/sell/fulfillment/v1/order/{draft.order_id}"
    body["fulfillmentHrefs"].append(f"{order}/shipping_fulfillment/{10**11 + number}")


def _ship_part(draft: Draft, body: dict[str, Any], change: Change, number: int) -> None:
    _ship(draft, body, change, number, lines=max(1, len(draft.lines) - 1))


def _estimate(draft: Draft, body: dict[str, Any], change: Change, number: int) -> None:
    body["fulfillmentStartInstructions"][0]["maxEstimatedDeliveryDate"] = stamp(change.at + timedelta(days=number))


def _release(draft: Draft, body: dict[str, Any], change: Change, number: int) -> None:
    _estimate(draft, body, change, number)
    for hold in body["paymentSummary"]["payments"][0].get("paymentHolds", []):
        hold |= {"holdState": "RELEASED", "releaseDate": stamp(change.at)}


def _refund_all(draft: Draft, body: dict[str, Any], change: Change, number: int) -> None:
    left = _left(draft, body)
    _refund(draft, body, change, number, left)
    body["orderPaymentStatus"] = "FULLY_REFUNDED"


def _refund_part(draft: Draft, body: dict[str, Any], change: Change, number: int) -> None:
    gross = max(1, round(_left(draft, body) * (0.05 + change.share * 0.4)))
    _refund(draft, body, change, number, gross)
    body["orderPaymentStatus"] = "PARTIALLY_REFUNDED"


def _refund_line(draft: Draft, body: dict[str, Any], change: Change, number: int) -> None:
    """A refund by issueRefund for a line. The id appears at the line alone; the order's list stays as it was."""
    item = body["lineItems"][int(change.share * len(draft.lines))]
    amount = draft.money(max(1, _left(draft, body) // 10))
    refund = {"refundDate": stamp(change.at), "amount": amount, "refundId": _refund_id(draft, number)}
    item["refunds"] = [*item.get("refunds", []), refund]
    body["orderPaymentStatus"] = "PARTIALLY_REFUNDED"


def _refund_id(draft: Draft, number: int) -> str:
    return str(5_300_000_000 + Random(f"{draft.seed}/{number}").randrange(10**8))


def _left(draft: Draft, body: dict[str, Any]) -> int:
    """The cents that the buyer paid and has not got back yet."""
    refunds = [refund for item in body["lineItems"] for refund in item.get("refunds", [])]
    given = sum(round(float(refund["amount"]["value"]) * 100) for refund in refunds)
    return max(1, draft.gross - given)


def _refund(draft: Draft, body: dict[str, Any], change: Change, number: int, gross: int) -> None:
    """The order's refund is net of fees, the line's of the same id gross, as in captured orders."""
    net = round(gross * draft.net / draft.gross) if draft.gross else 0
    refund_id = _refund_id(draft, number)
    at = stamp(change.at)
    body["paymentSummary"]["refunds"].append(
        {
            "refundDate": at,
            "amount": draft.money(net),
            "refundStatus": "REFUNDED",
            "refundReferenceId": refund_id,
            "refundId": refund_id,
        }
    )
    item = body["lineItems"][0]
    line_refund = {"refundDate": at, "amount": draft.money(gross), "refundId": refund_id}
    item["refunds"] = [*item.get("refunds", []), line_refund]
    due = round(float(body["paymentSummary"]["totalDueSeller"]["value"]) * 100) - net
    body["paymentSummary"]["totalDueSeller"] = draft.money(due)


def _cancel_ask(draft: Draft, body: dict[str, Any], change: Change, number: int) -> None:
    body["cancelStatus"]["cancelState"] = "IN_PROGRESS"
    body["cancelStatus"]["cancelRequests"].append(
        {
            "cancelReason": "BUYER_ASKED_CANCEL",
            "cancelRequestedDate": stamp(change.at),
            "cancelInitiator": "BUYER",
            "cancelRequestId": _refund_id(draft, number),
            "cancelRequestState": "REQUESTED",
        }
    )


def _cancel_reject(draft: Draft, body: dict[str, Any], change: Change, number: int) -> None:
    body["cancelStatus"]["cancelState"] = "NONE_REQUESTED"
    body["cancelStatus"]["cancelRequests"][-1]["cancelRequestState"] = "REJECTED"


def _cancel(draft: Draft, body: dict[str, Any], change: Change, number: int) -> None:
    request = body["cancelStatus"]["cancelRequests"][-1]
    request |= {"cancelRequestState": "COMPLETED", "cancelCompletedDate": stamp(change.at)}
    body["cancelStatus"] |= {"cancelState": "CANCELED", "cancelledDate": stamp(change.at)}
    _refund_all(draft, body, change, number)


KINDS: dict[str, Callable[[Draft, dict[str, Any], Change, int], None]] = {
    "ship": _ship,
    "ship_part": _ship_part,
    "estimate": _estimate,
    "release": _release,
    "refund_part": _refund_part,
    "refund_line": _refund_line,
    "refund_all": _refund_all,
    "cancel_ask": _cancel_ask,
    "cancel": _cancel,
    "cancel_reject": _cancel_reject,
}
