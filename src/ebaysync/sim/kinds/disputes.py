"""Payment disputes of the Sell Fulfillment API. The body is the detail; its summary has a few of the fields, so that
much changes that no summary tells. No answer of eBay was captured: the shapes are the specification's."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from ebaysync.sim.clock import stamp
from ebaysync.sim.model import Body, Seller, Surroundings, Thing
from ebaysync.sim.payload import Draft, decimal
from ebaysync.sim.people import NOTES, PLACES
from ebaysync.sim.things import Kind

REASONS = (
    *("TRANSACTION_ISSUE", "FRAUD", "ITEM_NOT_RECEIVED", "SIGNIFICANTLY_NOT_AS_DESCRIBED", "CREDIT_NOT_PROCESSED"),
    *("COUNTERFEIT", "DUPLICATE_AMOUNT", "INCORRECT_AMOUNT", "CANCELLATION", "RETURN_REFUND_NOT_PROCESSED"),
)
EVIDENCE = ("PROOF_OF_DELIVERY", "PROOF_OF_ITEM_AS_DESCRIBED", "PROOF_OF_CREDIT_NOT_DUE", "PROOF_OF_AUTHENTICITY")
SETTLED = timedelta(days=45)  # what is older when the world begins is closed


def _dispute(world: Surroundings, seller: Seller, at: datetime, random: Random) -> tuple[str, Body]:
    draft, line = _of_order(seller, at, random)
    dispute_id = str(random.randrange(8_000_000_000, 9_000_000_000))
    cents = line["cents"] + line["shipping"]
    body: Body = {
        "paymentDisputeId": dispute_id,
        "paymentDisputeStatus": "OPEN",
        "amount": {"value": decimal(cents), "currency": seller.market.currency},
        "buyerUsername": draft.buyer["username"],
        "lineItems": [{"itemId": line["item"], "lineItemId": line["id"]}],
        "openDate": stamp(at),
        "orderId": draft.order_id,
        "reason": random.choice(REASONS),
        "revision": 1,
    }
    if random.random() < 0.2:
        body["buyerProvided"] = {"contentOnHold": False, "note": random.choice(NOTES)}
    if world.began - at > SETTLED:
        _close(body, at + timedelta(days=random.randrange(2, 30)), random)
    elif random.random() < 0.5:
        _ask(body, at, random)
    return dispute_id, body


def _of_order(seller: Seller, at: datetime, random: Random) -> tuple[Draft, Body]:
    """An order of the seller's, one of few, so that some have two disputes; none that old: another."""
    before = [order for order in list(seller.orders.values())[:200] if order.created <= at]
    if before:
        order = random.choice(before)
        draft = Draft(order.id, order.seed, seller.username, seller.market, False)
    else:
        order_id = f"{random.randrange(1, 28):02d}-{random.randrange(10**5):05d}-{random.randrange(10**5):05d}"
        draft = Draft(order_id, order_id, seller.username, seller.market, False)
    return draft, random.choice(draft.lines)


def _ask(body: Body, at: datetime, random: Random) -> None:
    """The seller has to act."""
    by = stamp(at + timedelta(days=5))
    evidence = {"evidenceType": random.choice(EVIDENCE), "requestDate": stamp(at), "respondByDate": by}
    choices = ["SELLER_CONTEST", "SELLER_ACCEPT"]
    body |= {"paymentDisputeStatus": "ACTION_NEEDED", "respondByDate": by, "availableChoices": choices}
    body["evidenceRequests"] = [{"evidenceId": _number(random), "lineItems": body["lineItems"], **evidence}]
    _charge(body, at, "CHARGE", "RECOUP_AMOUNT")


def _respond(body: Body, response: str) -> None:
    """ "Once the seller has responded", the choices are gone and the response is there."""
    for field in ("availableChoices", "respondByDate"):
        body.pop(field, None)
    body["sellerResponse"] = response


def _close(body: Body, at: datetime, random: Random) -> None:
    outcome = random.choice(("SELLER_WON", "SELLER_LOST", "SELLER_ACCEPT"))
    _respond(body, "SELLER_CONTEST" if outcome == "SELLER_WON" else random.choice(("SELLER_CONTEST", "SELLER_ACCEPT")))
    body.pop("evidenceRequests", None)
    amount = body["amount"]
    none = {"value": "0.0", "currency": amount["currency"]}
    won = outcome == "SELLER_WON"
    body["resolution"] = {
        "fees": none if won else {"value": "20.0", "currency": amount["currency"]},
        "protectedAmount": amount if won else none,
        "protectionStatus": "FULLY_PROTECTED" if won else "NOT_PROTECTED",
        "reasonForClosure": outcome,
        "totalFeeCredit": none,
    }
    if not won:
        body["resolution"]["recoupAmount"] = amount
        _charge(body, at, "CHARGE", "DISPUTE_FEE")
    body |= {"paymentDisputeStatus": "CLOSED", "closedDate": stamp(at), "revision": body["revision"] + 1}
    if outcome == "SELLER_ACCEPT" and random.random() < 0.5:
        country, city, state, postal, first, _ = random.choice(PLACES)
        address = {"addressLine1": first, "city": city, "stateOrProvince": state, "postalCode": postal}
        body["returnAddress"] = {"fullName": "Returns & Co", "country": country, **address}


def _charge(body: Body, at: datetime, kind: str, reason: str) -> None:
    entry = {"date": stamp(at), "type": kind, "reason": reason, "amount": body["amount"]}
    body["monetaryTransactions"] = [*body.get("monetaryTransactions", ()), entry]


def _number(random: Random) -> str:
    return str(random.randrange(10**9, 10**10))


def _revise(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """Nothing that a summary shows: another revision with evidence or with money moved."""
    body["revision"] += 1
    if random.random() < 0.5:
        _charge(body, at, "CREDIT", "RECOUP_AMOUNT")
        return body
    file = {"fileId": _number(random), "fileType": "JPG", "name": "Beleg 1.jpg", "uploadedDate": stamp(at)}
    evidence = {"evidenceId": _number(random), "evidenceType": random.choice(EVIDENCE), "providedDate": stamp(at)}
    body["evidence"] = [*body.get("evidence", ()), {**evidence, "files": [file], "lineItems": body["lineItems"]}]
    body["note"] = random.choice(NOTES)
    return body


def _need(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """The seller has to act; where that is over, only the detail changes."""
    if body["paymentDisputeStatus"] != "OPEN":
        return _revise(world, thing, body, at, random)
    _ask(body, at, random)
    return body | {"revision": body["revision"] + 1}


def _contest(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """The seller contests what needed action; anywhere else only the detail changes."""
    if body["paymentDisputeStatus"] == "ACTION_NEEDED":
        _respond(body, "SELLER_CONTEST")
        body["paymentDisputeStatus"] = "OPEN"
    return _revise(world, thing, body, at, random)


def _end(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    if body["paymentDisputeStatus"] == "CLOSED":
        return _revise(world, thing, body, at, random)
    _close(body, at, random)
    return body


KINDS = (Kind("dispute", _dispute, {"close": _end, "contest": _contest, "need": _need, "revise": _revise}, days=540),)
