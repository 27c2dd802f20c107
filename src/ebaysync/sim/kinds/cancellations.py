"""Requests to cancel an order, by the buyer or the seller, for the Post-Order API v2.

States, statuses, reasons and close reasons are of eBay's enumerations (CancelStateEnum, CancelStatusEnum,
CancelReasonEnum, CancelCloseReasonEnum). eBay does not document which state may follow which; the order is chosen here.

A body holds facts: the sale (order_id, item_id, transaction_id, buyer, title, currency, cents, quantity), requestor,
reason, state, status, payment, close_reason, closed, respond_by (the seller), buyer_respond_by, shipped, recoup (of
payout_id, cents) and `over`, where a test puts it: JSON fields that are laid over the answer of "search".
Nothing tells when a request was last changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random

from ebaysync.sim.kinds.postorder import ANSWER_WITHIN, DAYS, Born, Move, sale
from ebaysync.sim.model import Body, Seller, Surroundings, Thing
from ebaysync.sim.things import Kind

BUYERS_REASONS = ("ORDER_MISTAKE", "FOUND_CHEAPER_PRICE", "WONT_ARRIVE_IN_TIME", "PRICE_TOO_HIGH", "OTHER")
SELLERS_REASONS = ("OUT_OF_STOCK_OR_CANNOT_FULFILL", "BUYER_ASKED_CANCEL", "ADDRESS_ISSUE", "ORDER_UNPAID")


def _cancellation(world: Surroundings, seller: Seller, at: datetime, random: Random) -> Born:
    by_buyer = random.random() < 0.6
    body = sale(seller, at, random) | {
        "requestor": "BUYER" if by_buyer else "SELLER",
        # eBay's sample of a buyer's request has no reason.
        "reason": random.choice((None, *BUYERS_REASONS)) if by_buyer else random.choice(SELLERS_REASONS),
        "state": "APPROVAL_PENDING" if by_buyer else "INITIAL",
        "status": "CANCEL_REQUESTED" if by_buyer else "CANCEL_PENDING",
        "payment": random.choice(("MARK_AS_PAID", "MARK_AS_PAID", "NOT_PAID", "UNKNOWN")),
        "respond_by": at + ANSWER_WITHIN if by_buyer else None,
        "buyer_respond_by": None,
        "close_reason": None,
        "closed": None,
        "shipped": None,
        "recoup": None,
    }
    while True:
        number = str(5_000_000_000 + random.randrange(10**9))
        if number not in seller.things.get("cancellation", {}):
            return number, body


def _advance(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """The request goes on to its next state; a closed one stays as it is."""
    state = body["state"]
    if state == "APPROVAL_PENDING" and random.random() < 0.3:
        return _close(body, at, "CANCEL_REJECTED", "SELLER_DECLINE") | {"shipped": at}
    if state == "APPROVAL_PENDING" and body["payment"] == "NOT_PAID":
        return _close(body, at, "CANCEL_CLOSED_FOR_COMMITMENT", "SELLER_APPROVE_TIMEOUT_UNPAID")
    if state in ("APPROVAL_PENDING", "INITIAL"):
        return body | {"state": "REFUND_PENDING", "status": "CANCEL_PENDING", "respond_by": None}
    if state == "REFUND_PENDING" and body["payment"] == "UNKNOWN":
        return body | {"state": "CONFIRM_REFUND_PENDING", "buyer_respond_by": at + ANSWER_WITHIN}
    if state == "REFUND_PENDING":
        return body | {"state": "REFUND_INITIATED"}
    if state == "CONFIRM_REFUND_PENDING":
        return _close(body, at, "CANCEL_CLOSED_UNKNOWN_REFUND", "BUYER_CONFIRM_REFUND")
    if state == "REFUND_INITIATED":
        return _close(body, at, "CANCEL_CLOSED_WITH_REFUND", "FULL_REFUNDED")
    return body


def _close(body: Body, at: datetime, status: str, reason: str) -> Body:
    dates = {"closed": at, "respond_by": None, "buyer_respond_by": None}
    return body | {"state": "CLOSED", "status": status, "close_reason": reason} | dates


def _recoup(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """eBay takes back what it had paid out: also of a closed request, and no date tells."""
    payout_id = body["recoup"]["payout_id"] if body["recoup"] else 6_000_000_000 + random.randrange(10**9)
    return body | {"recoup": {"payout_id": payout_id, "cents": random.randrange(1, body["cents"] + 1)}}


def _longer(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """The seller gets more days to answer."""
    if body["respond_by"] is None:
        return body
    return body | {"respond_by": body["respond_by"] + timedelta(days=random.randrange(1, 4))}


MOVES: Mapping[str, Move] = {"advance": _advance, "longer": _longer, "recoup": _recoup}

KINDS = (Kind("cancellation", _cancellation, MOVES, DAYS),)
