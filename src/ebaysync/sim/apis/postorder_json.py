"""The JSON of cancellations, cases, inquiries, returns: fields by eBay's Post-Order types and its pages' samples.

eBay writes amounts as numbers or as text, with a currency or without, ids as numbers or as text, and a date that is
missing as null or not at all. Here each thing has habits of its own in each method, which never change.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from ebaysync.sim.clock import stamp
from ebaysync.sim.model import Body, Thing
from ebaysync.sim.payload import decimal
from ebaysync.sim.people import RATES

Json = dict[str, Any]

FEE = 0.13
ACTIONS = {  # what the seller may do, by the state of the return
    "RETURN_REQUESTED": ("SELLER_APPROVE_REQUEST", "SELLER_DECLINE_REQUEST", "SELLER_SEND_MESSAGE"),
    "REPLACEMENT_REQUESTED": ("SELLER_APPROVE_REQUEST", "SELLER_SEND_MESSAGE"),
    "ITEM_DELIVERED": ("SELLER_ISSUE_REFUND", "SELLER_SEND_MESSAGE"),
}
INQUIRY_STATES = {
    "OPEN": "CREATED",
    "PENDING": "PENDING_CREATED",
    "WAITING_SELLER_RESPONSE": "CREATED",
    "WAITING_BUYER_RESPONSE": "SHIPPING_INFO_PROVIDED",
}


class Writer:
    """Writes one thing as one method, `search` or `detail`, shows it."""

    def __init__(self, thing: Thing, body: Body, method: str) -> None:
        self.thing, self.body, self.method = thing, body, method
        self.as_text = self.chance("money as text", 3)
        self.as_number = self.chance("ids as numbers", 3)
        self.with_nulls = self.chance("nulls", 2)

    def chance(self, what: str, one_in: int) -> bool:
        return crc32(f"{self.thing.kind}/{self.thing.id}/{self.method}/{what}".encode()) % one_in == 0

    def id(self, text: str) -> int | str:
        return int(text) if self.as_number and text.isdecimal() else text

    def date(self, at: datetime | None) -> Json | None:
        if at is None:
            return None
        return {"value": stamp(at)} | ({"formattedValue": f"{at:%b %d, %Y}"} if self.chance("formatted", 4) else {})

    def money(self, cents: int, name: str = "") -> Json:
        """Amounts with a name are those that lack their currency now and then."""
        value: str | float = decimal(cents) if self.as_text else cents / 100 if cents else 0
        if name and self.chance(f"no currency in {name}", 6):
            return {"value": value}
        return {"value": value, "currency": self.body["currency"]}

    def charge(self, cents: int) -> Json:
        """The seller's account pays in a currency of its own."""
        own = self.body["currency"]
        if not self.chance("another currency", 3):
            return self.money(cents)
        other = "EUR" if own != "EUR" else "GBP"
        rate = RATES[other] / RATES[own]
        amount = self.money(round(cents * rate)) | {"currency": other}
        return amount | {"convertedFromValue": cents / 100, "convertedFromCurrency": own, "exchangeRate": f"{rate:.5f}"}

    def optional(self, fields: Json) -> Json:
        """Fields that are missing rather than null, in half of the things."""
        return {name: value for name, value in fields.items() if value is not None or self.with_nulls}

    def over(self, answer: Json) -> Json:
        """With a test's own fields on top."""
        return {**answer, **self.body.get("over", {}).get(self.method, {})}

    @property
    def refunded(self) -> int:
        return sum(refund["cents"] for refund in self.body["refunds"])


def claim_row(names: tuple[str, str]) -> Callable[[Thing, Body], Json]:
    """A case or inquiry as its search shows it, with no word of the order."""
    id_name, status_name = names

    def row(thing: Thing, body: Body) -> Json:
        write = Writer(thing, body, "search")
        answer = {
            "buyer": body["buyer"],
            id_name: write.id(thing.id),
            status_name: body["status"],
            "claimAmount": write.money(body["cents"], "claim"),
            "creationDate": write.date(thing.created),
            "itemId": write.id(body["item_id"]),
            "lastModifiedDate": write.date(body["modified"]),
            "seller": thing.seller.username,
            "transactionId": write.id(body["transaction_id"]),
        }
        return write.over(answer | write.optional({"respondByDate": write.date(body["respond_by"])}))

    return row


def legacy_order_id(thing: Thing, body: Body) -> str | None:
    """Seen in today's form, in the old form itemId-transactionId, and missing."""
    write = Writer(thing, body, "search")
    if write.chance("no order", 8):
        return None
    old = write.chance("the old form of an order's id", 3)
    return f"{body['item_id']}-{body['transaction_id']}" if old else str(body["order_id"])


def cancellation_row(thing: Thing, body: Body) -> Json:
    """Shape: CancelSummary. eBay's own sample has a record without the date of the request."""
    write = Writer(thing, body, "search")
    requested = None if write.chance("no date of the request", 10) else write.date(thing.created)
    recoup = body["recoup"]
    answer = {
        "cancelId": write.id(thing.id),
        "marketplaceId": thing.seller.marketplace_id,
        "requestorType": body["requestor"],
        "cancelState": body["state"],
        "cancelStatus": body["status"],
        "paymentStatus": body["payment"],
        "requestRefundAmount": write.money(body["cents"], "refund"),
        "buyerLoginName": body["buyer"],
        "sellerLoginName": thing.seller.username,
        "lineItems": [_cancelled_line(write)],
    }
    extra = {
        "legacyOrderId": legacy_order_id(thing, body),
        "cancelReason": body["reason"],
        "cancelCloseReason": body["close_reason"],
        "cancelRequestDate": requested,
        "cancelCloseDate": write.date(body["closed"]),
        "sellerResponseDueDate": write.date(body["respond_by"]),
        "buyerResponseDueDate": write.date(body["buyer_respond_by"]),
        "shipmentDate": write.date(body["shipped"]),
        "payoutRecoupInfo": recoup
        and {"payoutId": recoup["payout_id"], "amountToRecoup": write.money(recoup["cents"])},
    }
    return write.over(answer | write.optional(extra))


def _cancelled_line(write: Writer) -> Json:
    body = write.body
    return {
        "itemId": write.id(body["item_id"]),
        "transactionId": write.id(body["transaction_id"]),
        "itemTitle": body["title"],
        "cancelQuantity": body["quantity"],
    }


def case_detail(thing: Thing, body: Body) -> Json:
    """Shape: eBay's types alone. Nobody has published a real answer."""
    write = Writer(thing, body, "detail")
    answer = {
        "caseId": write.id(thing.id),
        "caseType": body["type"],
        "status": body["status"],
        "itemId": write.id(body["item_id"]),
        "transactionId": write.id(body["transaction_id"]),
        "caseQuantity": body["quantity"],
        "claimAmount": write.money(body["cents"], "claim"),
        "creationDate": write.date(thing.created),
        "lastModifiedDate": write.date(body["modified"]),
        "initiator": "BUYER",
        "escalatedBy": "BUYER",
        "escalateReason": "SELLER_NO_RESPONSE",
        "actionDeadlines": {"daysToExpireWithoutResponse": 7, "daysToReturnItem": 10},
        "appealDetails": _appeal(write),
        "caseDetails": _case_details(write),
        "caseHistoryDetails": _history(write),
    }
    return_id = write.id(body["return_id"]) if body["return_id"] else None
    extra = {"returnId": return_id, "returnDetails": None, "extTransactionId": None}
    return write.over(answer | write.optional(extra))


def _case_details(write: Writer) -> Json:
    body = write.body
    return {
        "creationDate": write.date(write.thing.created),
        "escalationDate": write.date(body["escalated"]),
        "expirationDate": write.date(body["respond_by"]),
        "lastBuyerRespDate": write.date(_last(body, "BUYER")),
        "lastSellerRespDate": write.date(_last(body, "SELLER")),
        "buyerInitExpectResolution": "FULL_REFUND",
        "refundAmounts": _refunds(write),
        "refundDeadlineDate": write.date(body["respond_by"]),
        "paypalPaid": False,
    }


def _last(body: Body, actor: str) -> datetime | None:
    return max((entry["at"] for entry in body["history"] if entry["actor"] == actor), default=None)


def _refunds(write: Writer) -> Json:
    refunded = write.money(write.refunded, "refund") if write.refunded else None
    return {"refundAmount": refunded, "buyerInitExpectRefundAmt": write.money(0), "buyerFinalAcceptRefundAmt": None}


def _appeal(write: Writer) -> Json:
    appeal = write.body["appeal"]
    status = appeal["status"] if appeal else None
    return {
        "eligibleForAppeal": bool(write.body["closed"]) and appeal is None,
        "appealStatus": status,
        "appealStatusEnum": status,
        "appealDate": write.date(appeal["at"]) if appeal else None,
        "appealReasonCode": None,
        "appealCloseReasonEnum": None,
    }


def _history(write: Writer) -> Json:
    tracking = ("trackingURL", "trackingNumber", "carrier", "estimateFromDate", "estimateToDate", "currentStatus")
    events = [
        {
            "date": write.date(entry["at"]),
            "action": entry["action"],
            "actor": entry["actor"],
            "description": entry["description"],
            "moneyMovement": _movement(write, entry) if entry["cents"] else None,
        }
        for entry in write.body["history"]
    ]
    return {"history": events, "shipmentTrackingDetails": dict.fromkeys(tracking)}


def _movement(write: Writer, entry: Body) -> Json:
    moved = {
        "date": write.date(entry["at"] - timedelta(milliseconds=1913)),
        "type": "REFUND",
        "fundingSource": {"type": "AVAILABLE_FUNDS"},
        "fundingStatus": "FUNDED",
        "amount": write.money(entry["cents"]),
    }
    return {"moneyMovementEntryList": [moved]}


def inquiry_detail(thing: Thing, body: Body) -> Json:
    """Shape: eBay's two samples, of which the older one has fewer fields."""
    write = Writer(thing, body, "detail")
    item = f"itemid={body['item_id']}&transid={body['transaction_id']}"
    answer = {
        "inquiryId": write.id(thing.id),
        "itemId": write.id(body["item_id"]),
        "transactionId": write.id(body["transaction_id"]),
        "claimAmount": write.money(body["cents"], "claim"),
        "shippingCost": write.money(0),
        "inquiryQuantity": body["quantity"],
        "initiator": "BUYER",
        "sellerMakeItRightByDate": write.date(body["respond_by"]),
        "status": body["status"],
        "extTransactionId": None,
        "inquiryDetails": _inquiry_details(write),
        "itemDetails": {"itemTitle": body["title"], "itemPrice": write.money(body["cents"])},
        "inquiryHistoryDetails": _history(write),
        "viewPPTrasanctionUrl": f"https://payments.ebay.com/ws/eBayISAPI.dll?buyerorseller=0&{item}",  # sic
    }
    if not write.chance("the older sample", 5):
        answer |= {
            "state": INQUIRY_STATES.get(body["status"], "CLOSED"),
            "creationReason": body["reason"],
            "inquiryPaymentInfo": None,
            "inquiryClosureDate": write.date(body["closed"]),
            "returnDetails": None,
        }
    return write.over(answer)


def _inquiry_details(write: Writer) -> Json:
    body = write.body
    return {
        "creationDate": write.date(write.thing.created),
        "expirationDate": write.date(body["respond_by"]),
        "escalationDate": write.date(body["escalated"]),
        "refundAmounts": _refunds(write) | {"feeCreditAmount": write.money(round(write.refunded * FEE))},
        "refundChargeAmount": write.charge(write.refunded) if write.refunded else None,
        "appealDetails": _appeal(write),
        "totalAmount": write.money(body["cents"]),
        "refundDeadlineDate": write.date(body["respond_by"]),
        "lastBuyerRespDate": write.date(_last(body, "BUYER")),
    }


def return_row(thing: Thing, body: Body) -> Json:
    return _return_summary(Writer(thing, body, "search"))


def return_detail(thing: Thing, body: Body) -> tuple[Json, Json]:
    """`summary` and `detail`; a test's own fields go to the detail."""
    write = Writer(thing, body, "detail")
    people = {"buyerLoginName": body["buyer"], "sellerLoginName": thing.seller.username}
    detail = {
        "marketplaceId": thing.seller.marketplace_id,
        "itemDetail": _item(write) | {"listingSiteId": 0, "ebayPlusTxn": False},
        **people,
        "responseHistory": [_response(write, entry) for entry in body["history"]],
        "refundInfo": _refund_info(write),
        "moneyMovementInfo": [_voluntary_refund(write, refund) for refund in body["refunds"]],
        "returnShipmentInfo": _shipment(write),
        "files": [],
    }
    return _return_summary(write, laid_over=False), write.over(detail | _close_info(write))


def _return_summary(write: Writer, *, laid_over: bool = True) -> Json:
    """No last modification anywhere."""
    body = write.body
    answer: Json = {
        "returnId": write.id(write.thing.id),
        "orderId": body["order_id"],
        "buyerLoginName": body["buyer"],
        "sellerLoginName": write.thing.seller.username,
        "currentType": body["type"],
        "state": body["state"],
        "status": body["status"],
        "creationInfo": _creation(write),
        "sellerTotalRefund": _total_refund(write, body["cents"]),
        "buyerTotalRefund": _total_refund(write, body["cents"]),
        "escalationInfo": _escalation(write),
        "sellerAvailableOptions": [{"actionType": action} for action in ACTIONS.get(body["state"], ("OTHER",))],
        "returnPolicy": {"rmarequired": False},  # sic
        "timeoutDate": write.date(write.thing.created + timedelta(days=30)),
    }
    due = {"activityDue": _seller_due(body), "respondByDate": write.date(body["respond_by"])}
    return (write.over if laid_over else dict)(answer | ({"sellerResponseDue": due} if body["respond_by"] else {}))


def _seller_due(body: Body) -> str:
    return str(ACTIONS.get(body["state"], ("SELLER_ISSUE_REFUND",))[0])


def _creation(write: Writer) -> Json:
    reason, kind = write.body["reason"]
    comment = write.body["comment"]
    return {
        "item": _item(write) | ({"itemTitle": write.body["title"]} if write.method == "detail" else {}),
        "type": write.body["type"],
        "reason": reason,
        "reasonType": kind,
        "creationDate": write.date(write.thing.created),
        **({"comments": {"content": comment}} if comment is not None else {}),
    }


def _item(write: Writer) -> Json:
    item, transaction = (write.id(write.body[name]) for name in ("item_id", "transaction_id"))
    return {"itemId": item, "transactionId": transaction, "returnQuantity": write.body["quantity"]}


def _total_refund(write: Writer, cents: int) -> Json:
    actual = {"actualRefundAmount": write.money(write.refunded, "refund")} if write.refunded else {}
    return {"estimatedRefundAmount": write.money(cents)} | actual


def _escalation(write: Writer) -> Json:
    body = write.body
    eligible = not body["closed"] and not body["case_id"]
    start, end = (write.thing.created, write.thing.created + timedelta(days=14)) if eligible else (None, None)
    info = {"startTime": write.date(start), "endTime": write.date(end), "eligible": eligible}
    case = {"caseId": write.id(body["case_id"])} if body["case_id"] else {}
    return case | {"buyerEscalationEligibilityInfo": info, "sellerEscalationEligibilityInfo": dict(info)}


def _response(write: Writer, entry: Body) -> Json:
    answer: Json = {
        "author": entry["author"],
        "activity": entry["activity"],
        "fromState": entry["from"],
        "toState": entry["to"],
        "creationDate": write.date(entry["at"]),
        "attributes": {"partialRefundAmount": write.money(entry["cents"])} if entry["cents"] else {},
    }
    return answer | ({"notes": entry["notes"]} if entry["notes"] is not None else {})


def _refund_info(write: Writer) -> Json:
    fee = "PURCHASE_PRICE"
    estimated = {"refundFeeType": fee, "estimatedAmount": write.money(write.body["cents"])}
    info: Json = {"estimatedRefundDetail": {"itemizedRefundDetails": [estimated]}}
    if write.refunded:
        amount = write.money(write.refunded)
        info["actualRefundDetail"] = {
            "actualRefund": {
                "totalAmount": amount,
                "itemizedRefundDetail": [{"refundFeeType": fee, "refundAmount": amount}],
                "feeCreditAmount": write.money(round(write.refunded * FEE)),
            },
            "refundStatus": "SUCCESS",
            "refundIssuedDate": write.date(write.body["refunds"][-1]["at"]),
            "outstandingAmount": write.money(0),
            "netChargeAmount": write.charge(write.refunded),
        }
    return info


def _voluntary_refund(write: Writer, refund: Body) -> Json:
    return {
        "moneyMovementType": "SELLER_VOLUNTARY_REFUND",
        "status": "SUCCESS",
        "requestedAmount": write.money(refund["cents"]),
        "actualAmount": write.money(refund["cents"], "actual"),
        "creationDate": write.date(refund["at"]),
        "paymentProvider": "UNKNOWN",
    }


def _shipment(write: Writer) -> Json:
    delivered = write.body["state"] == "ITEM_DELIVERED"
    tracking = {
        "shippingMethod": "SHIPPING_LABEL",
        "shippedBy": "BUYER",
        "carrierName": write.thing.seller.market.carrier,
        "deliveryStatus": "DELIVERED" if delivered else "UNKNOWN",
        "markAsReceived": False,
        "active": True,
    }
    label = {"totalAmount": write.money(593)}
    return {"shipmentTracking": tracking, "shippingLabelCost": label, "payee": "BUYER", "allShipmentTrackings": []}


def _close_info(write: Writer) -> Json:
    """Half of the open ones have it, too (seen)."""
    body = write.body
    if body["closed"]:
        date = {"returnCloseDate": write.date(body["closed"])}
        return {"closeInfo": {"returnCloseReason": body["close_reason"], "buyerCloseReason": "UNKNOWN"} | date}
    early = {"returnCloseReason": "OTHER", "buyerCloseReason": "UNKNOWN"}
    return {"closeInfo": early} if write.chance("closeInfo while open", 2) else {}
