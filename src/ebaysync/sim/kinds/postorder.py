"""Complaints of buyers: inquiries and returns, and the cases that either may become, for the Post-Order API v2.

Statuses, states and activities are of eBay's enumerations (CaseStatusEnum, InquiryStatusEnum, ReturnStateEnum,
ReturnStatusEnum, ActivityOptionEnum); which may follow which is not documented and chosen here.

A body holds facts, not eBay's JSON; its times are datetimes, its amounts cents of the seller's currency:

- all: order_id, item_id, transaction_id, buyer, title, currency, cents, quantity, status, modified, respond_by, closed,
  refunds (of at, cents), history, case_id (of what was escalated), escalated; `over`, where a test puts it, maps
  "search" and "detail" to JSON fields that are laid over the answers
- case: type, return_id, appeal; inquiry: reason, appeal; their history: at, action, actor, description, cents
- return: type, state, reason, comment, close_reason; its history: at, author, activity, from, to, notes, cents

Things of the past are born as they were when the world began. Things that closed over
30 days ago no longer change, except by appeals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import wraps
from random import Random

from ebaysync.sim import people
from ebaysync.sim.model import Body, Seller, Surroundings, Thing, Version
from ebaysync.sim.things import Kind

Born = tuple[str, Body]
Move = Callable[[Surroundings, Thing, Body, datetime, Random], Body]

DAYS = 540  # of the 18 months that the searches reach back
SOLD_WITHIN = timedelta(days=60)
REST = timedelta(days=30)
ANSWER_WITHIN = timedelta(days=3)

CLOSED = frozenset(("CLOSED", "CS_CLOSED", "CLOSED_WITH_ESCALATION"))
NEXT = {
    "case": {
        "OPEN": ("WAITING_CS", "WAITING_DELIVERY", "ON_HOLD", "CLOSED"),
        "ON_HOLD": ("WAITING_CS", "CS_CLOSED"),
        "WAITING_CS": ("CS_CLOSED", "WAITING_DELIVERY"),
        "WAITING_DELIVERY": ("CLOSED", "REFUND_AGREED_BUT_FAILED"),
        "REFUND_AGREED_BUT_FAILED": ("CLOSED", "WAITING_CS"),
    },
    "inquiry": {
        "OPEN": ("WAITING_SELLER_RESPONSE", "PENDING"),
        "PENDING": ("WAITING_SELLER_RESPONSE",),
        "WAITING_SELLER_RESPONSE": ("WAITING_BUYER_RESPONSE", "CLOSED", "CS_CLOSED"),
        "WAITING_BUYER_RESPONSE": ("WAITING_SELLER_RESPONSE", "CLOSED"),
    },
}
REOPENED = {"case": "WAITING_CS", "inquiry": "WAITING_SELLER_RESPONSE"}

# Who does what, and the state that it leads to.
RETURN_NEXT: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "RETURN_REQUESTED": (
        ("SELLER", "SELLER_APPROVE_REQUEST", "ITEM_READY_TO_SHIP"),
        ("SELLER", "RETURN_ACCEPTED", "ITEM_READY_TO_SHIP"),  # seen, and in no enumeration
        ("SELLER", "SELLER_OFFER_PARTIAL_REFUND", "PARTIAL_REFUND_REQUESTED"),
        ("SELLER", "SELLER_ISSUE_REFUND", "REFUND_INITIATED"),
        ("SELLER", "SELLER_DECLINE_REQUEST", "RETURN_REJECTED"),
    ),
    "ITEM_READY_TO_SHIP": (("BUYER", "BUYER_PROVIDE_TRACKING_INFO", "ITEM_SHIPPED"),),
    "ITEM_SHIPPED": (("SYSTEM", "NOTIFIED_DELIVERED", "ITEM_DELIVERED"),),
    "ITEM_DELIVERED": (("SELLER", "SELLER_ISSUE_REFUND", "REFUND_INITIATED"),),
    "REFUND_INITIATED": (("SYSTEM", "NOTIFY_UPDATE_REFUND_STATUS", "CLOSED"),),
    "PARTIAL_REFUND_REQUESTED": (
        ("BUYER", "BUYER_ACCEPTS_PARTIAL_REFUND", "REFUND_INITIATED"),
        ("BUYER", "BUYER_DECLINE_PARTIAL_REFUND", "PARTIAL_REFUND_DECLINED"),
    ),
    "PARTIAL_REFUND_DECLINED": (("SELLER", "SELLER_APPROVE_REQUEST", "ITEM_READY_TO_SHIP"),),
    "RETURN_REJECTED": (("BUYER", "BUYER_CLOSE_RETURN", "CLOSED"),),
    "REPLACEMENT_REQUESTED": (("SELLER", "SELLER_APPROVE_REQUEST", "REPLACEMENT_STARTED"),),
    "REPLACEMENT_STARTED": (("SELLER", "SELLER_MARK_REPLACEMENT_SHIPPED", "REPLACEMENT_SHIPPED"),),
    "REPLACEMENT_SHIPPED": (("SYSTEM", "NOTIFY_REPLACEMENT_DELIVERED", "CLOSED"),),
}
STATUS_OF_STATE = {"ITEM_READY_TO_SHIP": "READY_FOR_SHIPPING"}
WITHOUT_STATUS = ("REFUND_INITIATED",)  # ReturnStatusEnum has none for it: the status stays

REASONS = (
    ("ARRIVED_DAMAGED", "SNAD"),
    ("DEFECTIVE_ITEM", "SNAD"),
    ("NOT_AS_DESCRIBED", "SNAD"),
    ("NO_LONGER_NEED_ITEM", "REMORSE"),
    ("WRONG_SIZE", "REMORSE"),
)
TEXTS = (None, "Where is my parcel?", "Schon wieder kaputt – bitte um Rückerstattung", "it's <broken> & 'late' 😕")


def sale(seller: Seller, at: datetime, random: Random) -> Body:
    """A line of an order that the seller's world knows of, or an invented one where it knows none of that time."""
    orders = [order for order in seller.orders.values() if at - SOLD_WITHIN <= order.created <= at]
    if not orders:
        return _invented_sale(seller, at, random)
    body = random.choice(orders).body()
    line = random.choice(body["lineItems"])
    return {
        "order_id": body["orderId"],
        "item_id": line["legacyItemId"],
        "transaction_id": line["lineItemId"],  # the same number in eBay's orders of today
        "buyer": body["buyer"]["username"],
        "title": line["title"],
        "currency": seller.market.currency,
        "cents": round(float(line["total"]["value"]) * 100),
        "quantity": line["quantity"],
    }


def _invented_sale(seller: Seller, at: datetime, random: Random) -> Body:
    title, _, cents, _ = random.choice(people.GOODS)
    return {
        "order_id": f"{random.randrange(1, 28):02d}-{at.toordinal() % 100_000:05d}-{random.randrange(100_000):05d}",
        "item_id": str(350_000_000_000 + random.randrange(10**9)),
        "transaction_id": str(10_000_000_000_000 + random.randrange(10**12)),
        "buyer": f"buyer_{random.randrange(10**7):07d}",
        "title": title,
        "currency": seller.market.currency,
        "cents": cents + random.randrange(100),
        "quantity": 1,
    }


def _opened(sale: Body, at: datetime, status: str, **more: object) -> Body:
    fields = {"status": status, "modified": at, "respond_by": at + ANSWER_WITHIN, "closed": None, "refunds": []}
    return sale | fields | {"history": [], "case_id": None, "escalated": None} | more


def _born(world: Surroundings, seller: Seller, at: datetime, random: Random, kind: str, body: Body) -> Born:
    """The number of a new thing, and what became of it until the world began."""
    number = str(random.randrange(5_000_000_000, 6_000_000_000))
    while number in seller.things.get(kind, {}):
        number = str(random.randrange(5_000_000_000, 6_000_000_000))
    thing, moves = Thing(kind, number, seller, [Version(at, body)]), MOVES[kind]  # for its moves to look at
    while body["closed"] is None:
        at += timedelta(milliseconds=int(random.expovariate(1 / 3) * 86_400_000) + 60_000)
        if at >= world.began or random.random() < 0.03:  # a few stay open for ever
            break
        move = "advance" if random.random() < 0.6 else random.choice(sorted(moves))
        body = moves[move](world, thing, body, at, random)
    return number, body


def _born_case(
    world: Surroundings, seller: Seller, at: datetime, random: Random, sale: Body, return_id: str | None
) -> Born:
    kind = "RETURN" if return_id else "ITEM_NOT_RECEIVED"
    body = _opened(sale, at, "OPEN", type=kind, return_id=return_id, appeal=None, escalated=at)
    _note(body, at, "BUYER", "Case was escalated.", random.choice(TEXTS))
    return _born(world, seller, at, random, "case", body)


def _case(world: Surroundings, seller: Seller, at: datetime, random: Random) -> Born:
    """A case without a return; those with one come of returns that are escalated."""
    return _born_case(world, seller, at, random, sale(seller, at, random), None)


def _inquiry(world: Surroundings, seller: Seller, at: datetime, random: Random) -> Born:
    reason = random.choice(("ITEM_NOT_RECEIVED", "INCOMPLETE_ORDER"))
    body = _opened(sale(seller, at, random), at, "OPEN", reason=reason, appeal=None)
    _note(body, at, "BUYER", "A CPS case was created.", random.choice(TEXTS))
    return _born(world, seller, at, random, "inquiry", body)


def _return(world: Surroundings, seller: Seller, at: datetime, random: Random) -> Born:
    replacement = random.random() < 0.15
    body = _opened(
        sale(seller, at, random),
        at,
        "REPLACEMENT_REQUESTED" if replacement else "RETURN_REQUESTED",
        type="REPLACEMENT" if replacement else "MONEY_BACK",
        state="INITIAL",
        reason=random.choice(REASONS),
        comment=random.choice(TEXTS),
        close_reason=None,
    )
    _step(body, at, "BUYER", "BUYER_CREATE_RETURN", body["status"], notes=body["comment"])
    return _born(world, seller, at, random, "return", body)


def _note(
    body: Body, at: datetime, actor: str, action: str, description: str | None = None, cents: int | None = None
) -> None:
    """An entry in the history of a case or inquiry."""
    entry = {"at": at, "action": action, "actor": actor, "description": description, "cents": cents}
    body["history"].append(entry)


def _step(
    body: Body,
    at: datetime,
    author: str,
    activity: str,
    state: str | None = None,
    *,
    notes: str | None = None,
    cents: int | None = None,
) -> None:
    """An entry in the history of a return, which may lead to another state."""
    entry = {"at": at, "author": author, "activity": activity, "from": body["state"], "to": state or body["state"]}
    body["history"].append(entry | {"notes": notes, "cents": cents})
    if state is None:
        return
    body["state"] = state
    if state == "CLOSED" or (body["status"] != "ESCALATED" and state not in WITHOUT_STATUS):
        body["status"] = STATUS_OF_STATE.get(state, state)


def _close(body: Body, at: datetime) -> None:
    body |= {"closed": at, "respond_by": None}


def _modifying(move: Move) -> Move:
    """The move, but only of what is open or closed lately."""

    @wraps(move)
    def moved(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
        if body["closed"] and at - body["closed"] > REST:
            return body
        return move(world, thing, body, at, random) | {"modified": at}

    return moved


@_modifying
def _message(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """One more entry in the history: no status, no date but the last modification's shows it."""
    actor, text = random.choice(("BUYER", "SELLER")), random.choice(TEXTS)
    if thing.kind == "return":
        _step(body, at, actor, f"{actor}_SEND_MESSAGE", notes=text)
    else:
        _note(body, at, actor, f"{actor.title()} sent a message", text)
    return body


@_modifying
def _respond_by(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """Another day to answer by; of an open return, no history tells it."""
    if body["closed"]:
        return _message(world, thing, body, at, random)
    body["respond_by"] = max(at, body["respond_by"]) + timedelta(days=random.randrange(1, 6))
    return body


@_modifying
def _refund(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """All or half of what is left of the money."""
    left = body["cents"] - sum(refund["cents"] for refund in body["refunds"])
    if left < 2:
        return _message(world, thing, body, at, random)
    cents = random.choice((left, left // 2))
    body["refunds"].append({"at": at, "cents": cents})
    if thing.kind == "return":
        _step(body, at, "SELLER", "SELLER_ISSUE_REFUND", cents=cents)
    else:
        _note(body, at, "SYSTEM", "Voluntary refund completed or failed", cents=cents)
    return body


@_modifying
def _advance(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """A case or inquiry goes on to its next status."""
    statuses = NEXT[thing.kind].get(body["status"])
    if not statuses:
        return _message(world, thing, body, at, random)
    body |= {"status": random.choice(statuses), "respond_by": at + ANSWER_WITHIN}
    if body["status"] in CLOSED:
        _close(body, at)
    _note(body, at, "CSR" if body["status"] == "CS_CLOSED" else "SYSTEM", f"Status is now {body['status']}")
    return body


@_modifying
def _advance_return(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    if body["closed"]:
        return _message(world, thing, body, at, random)
    if body["status"] == "ESCALATED":
        author, activity, state = "SYSTEM", "NOTIFY_UPDATE_REFUND_STATUS", "CLOSED"
    else:
        author, activity, state = random.choice(RETURN_NEXT[body["state"]])
    if state == "REFUND_INITIATED" and not body["refunds"]:
        part = 2 if activity == "BUYER_ACCEPTS_PARTIAL_REFUND" else 1
        body["refunds"].append({"at": at, "cents": body["cents"] // part})
    _step(body, at, author, activity, state)
    body["respond_by"] = at + ANSWER_WITHIN
    if state == "CLOSED":
        body["close_reason"] = _close_reason(body)
        _close(body, at)
    return body


def _close_reason(body: Body) -> str:
    if body["case_id"]:
        return "ESCALATED"
    if body["type"] == "REPLACEMENT":
        return "REPLACED"
    refunded = sum(refund["cents"] for refund in body["refunds"])
    if not refunded:
        return "BUYER_CLOSED"
    return "FULL_REFUNDED" if refunded >= body["cents"] else "PARTIALLY_REFUNDED"


@_modifying
def _escalate(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """The buyer asks eBay to step in: from then on there is a case, which names the return it came of, no inquiry."""
    if body["closed"] or body["case_id"]:
        return _message(world, thing, body, at, random)
    sold = {name: body[name] for name in _invented_sale(thing.seller, at, Random(0))}
    return_id = thing.id if thing.kind == "return" else None
    case_id, case = _born_case(world, thing.seller, at, random, sold, return_id)
    thing.seller.things.setdefault("case", {})[case_id] = Thing("case", case_id, thing.seller, [Version(at, case)])
    body |= {"case_id": case_id, "escalated": at}
    if thing.kind == "return":
        _step(body, at, "BUYER", "BUYER_ESCALATE")
        body["status"] = "ESCALATED"
    else:
        _note(body, at, "BUYER", "Escalated to a case")
        body["status"] = "CLOSED_WITH_ESCALATION"
        _close(body, at)
    return body


def _appeal(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """Opens again what is closed, however long ago, unless it goes on as a case."""
    if body["closed"] is None or body["case_id"]:
        return _message(world, thing, body, at, random)
    body |= {"closed": None, "respond_by": at + ANSWER_WITHIN, "modified": at}
    if thing.kind == "return":  # with an activity that no enumeration has
        first = "REPLACEMENT_REQUESTED" if body["type"] == "REPLACEMENT" else "RETURN_REQUESTED"
        body["close_reason"] = None
        _step(body, at, "SYSTEM", "RETURN_REOPENED", first)
        return body
    who = random.choice(("BUYER", "SELLER"))
    body |= {"status": REOPENED[thing.kind], "appeal": {"at": at, "status": f"{who}_APPEALED"}}
    _note(body, at, who, "Appeal was filed")
    return body


CLAIM_MOVES: Mapping[str, Move] = {
    "advance": _advance,
    "appeal": _appeal,
    "message": _message,
    "refund": _refund,
    "respond_by": _respond_by,
}
MOVES: Mapping[str, Mapping[str, Move]] = {
    "case": CLAIM_MOVES,
    "inquiry": {**CLAIM_MOVES, "escalate": _escalate},
    "return": {**CLAIM_MOVES, "advance": _advance_return, "escalate": _escalate},
}

KINDS = (
    Kind("case", _case, MOVES["case"], DAYS),
    Kind("inquiry", _inquiry, MOVES["inquiry"], DAYS),
    Kind("return", _return, MOVES["return"], DAYS),
)
