"""Transactions and payouts of the Sell Finances API, in the shapes of captured answers where there are any.

A transaction is served from its first version on; its transactionDate may be up to LATE older. Nothing in a
transaction tells when it changed: its status moves on and its payoutId is filled in long after.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

from ebaysync.sim.clock import stamp
from ebaysync.sim.model import Body, Order, Seller, Surroundings, Thing, Version
from ebaysync.sim.payload import Draft, decimal
from ebaysync.sim.people import RATES
from ebaysync.sim.things import Kind

LATE = timedelta(days=2)
PAID_AFTER = timedelta(days=14)  # a payout of the past pays what is at least so old
PAYABLE = ("FUNDS_PROCESSING", "FUNDS_AVAILABLE_FOR_PAYOUT")
FINAL = ("PAYOUT", "COMPLETED", "FAILED")
ENTITIES = {"US": "eBay Commerce Inc.", "GB": "eBay Commerce UK Ltd", "AU": "eBay Commerce Australia Pty Ltd"}
TAX_NAMES = ("ebayCollectedTaxAmount", "ebayCollectedTaxAmount", "eBayCollectedTaxAmount")  # as captured; as specified


@dataclass(frozen=True)
class Scene:
    """Creates transactions."""

    seller: Seller
    at: datetime
    random: Random

    def digits(self, count: int) -> str:
        return str(self.random.randrange(10 ** (count - 1), 10**count))

    def money(self, cents: int) -> Body:
        return {"value": decimal(cents), "currency": self.seller.market.currency}

    def unsold(self) -> Order | None:
        """The youngest order that has no SALE yet, among a few."""
        orders, sold = list(self.seller.orders.values()), self.seller.things.get("transaction", {})
        index = bisect_right(orders, self.at, key=lambda order: order.created)
        near = reversed(orders[max(0, index - 8) : index])
        return next((each for each in near if each.created <= self.at and f"{each.id}/SALE" not in sold), None)

    def order(self) -> Order | None:
        before = [order for order in self._some_orders() if order.created <= self.at]
        return before[0] if before else None

    def _some_orders(self) -> list[Order]:
        orders = list(self.seller.orders.values())
        return [self.random.choice(orders) for _ in range(5 if orders else 0)]

    def earlier(self, kind: str) -> tuple[str, Body] | None:
        """A transaction of that type that is there, by chance among a few: its id and body."""
        mine = list(self.seller.things.get("transaction", {}).values())
        some = [self.random.choice(mine) for _ in range(8 if mine else 0)]
        return next(
            ((each.body["transactionId"], each.body) for each in some if each.body and each.id.endswith(f"/{kind}")),
            None,
        )

    def date(self) -> str:
        """Moments before it is served, now and then days."""
        late = LATE.total_seconds() if self.random.random() < 0.1 else 300
        return stamp(self.at - timedelta(milliseconds=self.random.randrange(int(late * 1000))))

    def entry(self, kind: str, thing_id: str, cents: int, booking: str = "DEBIT", **fields: object) -> Body:
        body: Body = {
            "transactionId": thing_id,
            "salesRecordReference": "0",
            "transactionType": kind,
            "amount": self.money(cents),
            "bookingEntry": booking,
            "transactionDate": self.date(),
            "transactionStatus": "FUNDS_PROCESSING",
        }
        if self.random.random() < 0.9:
            body["paymentsEntity"] = ENTITIES.get(self.seller.market.country, "eBay S.à r.l.")
        return body | fields


def _references(*pairs: tuple[str, str]) -> list[Body]:
    return [{"referenceId": value, "referenceType": name} for name, value in pairs]


def _sale(scene: Scene) -> Body | None:
    order = scene.unsold()
    if order is None:
        return None
    random, draft = scene.random, Draft(order.id, order.seed, scene.seller.username, scene.seller.market, False)
    body = scene.entry("SALE", order.id, draft.net, "CREDIT", orderId=order.id)
    if scene.at - order.created < LATE:
        body["transactionDate"] = stamp(order.created + timedelta(milliseconds=random.randrange(1, 4000)))
    body["buyer"] = {"username": draft.buyer["username"]}
    body["totalFeeBasisAmount"] = scene.money(draft.gross)
    body["orderLineItems"] = _lines(draft)
    if draft.tax:
        body[random.choice(TAX_NAMES)] = scene.money(draft.tax)
    if random.random() < 0.06:  # the listing's currency is not that of the payouts
        body["amount"]["exchangeRate"] = ""
    _total(body)
    return body


def _lines(draft: Draft) -> list[Body]:
    fixed, lines = min(30, draft.fee), []
    for index, line in enumerate(draft.lines):
        share = (draft.fee - fixed) * (line["cents"] + line["shipping"]) // draft.gross
        fees = [("FINAL_VALUE_FEE_FIXED_PER_ORDER", fixed)] if index == 0 else []
        if draft.buyer["country"] != draft.market.country:
            fees.append(("INTERNATIONAL_FEE", share // 10))
        if draft.market.country != "US":
            fees.append(("REGULATORY_OPERATING_FEE", share // 30))
        fees.append(("FINAL_VALUE_FEE", share - sum(cents for name, cents in fees if "FIXED" not in name)))
        basis = line["cents"] + line["shipping"] + line["tax"]
        lines.append(
            {
                "lineItemId": line["id"],
                "feeBasisAmount": draft.money(basis),
                "marketplaceFees": [_fee(draft, name, cents, basis) for name, cents in fees],
            }
        )
    return lines


def _fee(draft: Draft, name: str, cents: int, basis: int) -> Body:
    fee: Body = {"feeType": name, "amount": draft.money(cents)}
    if name == "INTERNATIONAL_FEE":
        where = draft.buyer["country"]
        fee["feeMemo"] = f"Charged because the delivery address is in {where}. Final amount: {decimal(basis)}."
    if name == "REGULATORY_OPERATING_FEE":
        fee["feeJurisdiction"] = {"regionName": draft.market.country, "regionType": "COUNTRY"}
    return fee


def cents(amount: Body) -> int:
    """In the currency of the listing."""
    return int(Decimal(amount["convertedFromValue" if "convertedFromValue" in amount else "value"]) * 100)


def _total(body: Body) -> None:
    """Fees and net amount as the lines' fees have them; where there is an exchange rate, the net is converted."""
    fees = [fee for line in body["orderLineItems"] for fee in line["marketplaceFees"]]
    currency = body["totalFeeBasisAmount"]["currency"]
    total = sum(cents(fee["amount"]) for fee in fees)
    net = cents(body["totalFeeBasisAmount"]) - total
    body["totalFeeAmount"] = {"value": decimal(total), "currency": currency}
    if "exchangeRate" not in body["amount"]:
        body["amount"] = {"value": decimal(net), "currency": currency}
        return
    other = "USD" if currency != "USD" else "GBP"
    rate = RATES[other] / RATES[currency]
    body["amount"] = {
        "value": decimal(round(net * rate)),
        "currency": other,
        "convertedFromValue": decimal(net),
        "convertedFromCurrency": currency,
        "exchangeRate": f"{rate:.5f}",
    }


def _refund(scene: Scene) -> Body | None:
    found = scene.earlier("SALE")
    if found is None:
        return None
    random, (order_id, sale) = scene.random, found
    taken = f"{order_id}/REFUND" in scene.seller.things["transaction"]
    shared = not taken and random.random() < 0.4  # one id, two types
    body = scene.entry("REFUND", order_id if shared else f"RRP-{scene.digits(10)}-CCM_CHARGE", 0)
    name = random.choice(("ORDER_ID", "RETURN_ID", "CASE_ID", "PAYMENTS_DISPUTE_ID", "CANCELLATION_ID"))
    body["references"] = _references((name, _whence(scene, name, order_id)))
    for field in ("orderId", "buyer", "amount", "totalFeeBasisAmount", "totalFeeAmount", "orderLineItems"):
        body[field] = sale[field]
    return body


def _whence(scene: Scene, name: str, order_id: str) -> str:
    disputes = list(scene.seller.things.get("dispute", {}))
    if name == "PAYMENTS_DISPUTE_ID" and disputes:
        return scene.random.choice(disputes)
    return order_id if name == "ORDER_ID" else scene.digits(10)


def _charge(scene: Scene) -> Body:
    """A fee beside the sales. It names its order, if it has one, among its references alone."""
    random, order, amount = scene.random, scene.order(), scene.random.randrange(5, 6000)
    item = ("ITEM_ID", str(350_000_000_000 + random.randrange(8) * 1117))
    of_order = _references(item, ("ORDER_ID", order.id)) if order else _references(item)
    way = random.random()
    if way < 0.55:
        return scene.entry(
            "NON_SALE_CHARGE", f"FEE-{scene.digits(13)}_11", amount, feeType="AD_FEE", references=of_order
        )
    if way < 0.65:  # given back
        fee_id = f"FEE-{scene.digits(10)}-{UUID(int=random.getrandbits(128), version=4)}_42"
        return scene.entry("NON_SALE_CHARGE", fee_id, amount, "CREDIT", feeType="AD_FEE", references=of_order)
    if way < 0.8:
        named = {"feeType": "PREMIUM_AD_FEES", "transactionMemo": "Promoted Listings - Priority fee"}
        references = _references(item)
        return scene.entry("NON_SALE_CHARGE", f"FEE-{scene.digits(13)}_11", amount, references=references, **named)
    if way < 0.95:
        memo = f"{scene.at - timedelta(days=30):%Y-%m-%d} - {scene.at:%Y-%m-%d}"
        invoice, taxes = f"INVOICE-{scene.digits(13)}_11", [{"taxType": "VAT", "amount": scene.money(amount // 6)}]
        fields: Body = {} if scene.seller.market.country == "US" else {"taxes": taxes}
        return scene.entry("NON_SALE_CHARGE", invoice, amount, feeType="OTHER_FEES", transactionMemo=memo, **fields)
    fee = "STORE_SUBSCRIPTION_EARLY_TERMINATION_FEE"
    return scene.entry("NON_SALE_CHARGE", f"FEE-{scene.digits(13)}_11", amount, feeType=fee)


def _label(scene: Scene) -> Body | None:
    order = scene.order()
    if order is None:
        return None
    looks_like_an_order = f"{scene.random.randrange(1, 28):02d}-{scene.digits(5)}-{scene.digits(5)}"
    memo = "Shipping label purchased"
    cost = scene.random.randrange(200, 2500)
    return scene.entry("SHIPPING_LABEL", looks_like_an_order, cost, orderId=order.id, transactionMemo=memo)


def _transfer(scene: Scene) -> Body:
    way, booking = scene.random.choice((("TRANSFER_FROM", "CREDIT"), ("TRANSFER_TO", "DEBIT")))
    thing_id = scene.digits(11) if scene.random.random() < 0.7 else f"REFUND_CHARGE-{scene.digits(10)}"
    status = scene.random.choice(("FUNDS_PROCESSING", "COMPLETED", "COMPLETED", "FAILED"))
    fields = {"transactionMemo": way, "transactionStatus": status}
    return scene.entry("TRANSFER", thing_id, scene.random.randrange(100, 20000), booking, **fields)


def _hold(scene: Scene) -> Body | None:
    """The funds of an order with a case or a dispute."""
    found = scene.earlier("SALE")
    if found is None:
        return None
    order_id, sale = found
    name = scene.random.choice(("CASE_ID", "PAYMENTS_DISPUTE_ID"))
    references = _references((name, _whence(scene, name, order_id)))
    basis = cents(sale["totalFeeBasisAmount"])
    fields = {"orderId": order_id, "buyer": sale["buyer"], "references": references}
    return scene.entry("DISPUTE", f"DISPUTE_HOLD-{scene.digits(10)}", basis, **fields)


def _hold_back(scene: Scene) -> Body | None:
    found = scene.earlier("DISPUTE")
    if found is None:
        return None
    hold_id, hold = found
    thing_id = f"DISPUTE_HOLD_REVERSE-{hold_id.rpartition('-')[2]}-{scene.digits(10)}"
    fields = {name: hold[name] for name in ("orderId", "buyer", "references")}
    return scene.entry("CREDIT", thing_id, cents(hold["amount"]), "CREDIT", **fields)


def _other(scene: Scene) -> Body:
    random, amount = scene.random, scene.random.randrange(100, 9000)
    kind, prefix, booking = random.choice(
        (
            ("ADJUSTMENT", "ADJ", random.choice(("CREDIT", "DEBIT"))),
            ("WITHDRAWAL", "WD", "DEBIT"),
            ("LOAN_REPAYMENT", "LR", "DEBIT"),
            ("PURCHASE", "PUR", "DEBIT"),
        )
    )
    body = scene.entry(kind, f"{prefix}-{scene.digits(10)}", amount, booking)
    if kind != "ADJUSTMENT":
        body["transactionStatus"] = "COMPLETED"
    if kind == "PURCHASE":
        body["references"] = _references(("ORDER_ID", f"21-{scene.digits(5)}-{scene.digits(5)}"))
    return body


WAYS: tuple[tuple[int, Callable[[Scene], Body | None]], ...] = (
    (50, _sale),
    (9, _refund),
    (18, _charge),
    (8, _label),
    (4, _transfer),
    (3, _hold),
    (3, _hold_back),
    (5, _other),
)


def _transaction(world: Surroundings, seller: Seller, at: datetime, random: Random) -> tuple[str, Body]:
    scene = Scene(seller, at, random)
    make = random.choices([way for _, way in WAYS], [weight for weight, _ in WAYS])[0]
    body = make(scene) or _charge(scene)
    if body["transactionStatus"] == "FUNDS_PROCESSING" and random.random() < 0.1:
        _hold_funds(body, at)
    return key(body), body


def key(body: Body) -> str:
    """An id is eBay's only together with the type."""
    return f"{body['transactionId']}/{body['transactionType']}"


def _hold_funds(body: Body, at: datetime) -> None:
    body["transactionStatus"] = "FUNDS_ON_HOLD"
    if body["transactionType"] == "SALE":
        body["transactionMemo"] = f"Funds on hold. Estimated release on {at + timedelta(days=20):%b %d}"


def _on_hold(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """Its funds are held; what is held or done with can only change its fees."""
    if body["transactionStatus"] in (*FINAL, "FUNDS_ON_HOLD"):
        return _refee(world, thing, body, at, random)
    _hold_funds(body, at)
    return body


def _available(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """The funds are there; those that were there already are paid out."""
    if body["transactionStatus"] not in ("FUNDS_ON_HOLD", "FUNDS_PROCESSING"):
        return _pay(world, thing, body, at, random)
    body["transactionStatus"] = "FUNDS_AVAILABLE_FOR_PAYOUT"
    if body["transactionType"] == "SALE":
        body.pop("transactionMemo", None)
    return body


def _pay(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """Paid by a new payout of this transaction alone; what is done with can only change its fees."""
    if body["transactionStatus"] in FINAL:
        return _refee(world, thing, body, at, random)
    payout = _payout_of(thing.seller, at, random, [body])
    payouts = thing.seller.things.setdefault("payout", {})
    payouts.setdefault(payout["payoutId"], Thing("payout", payout["payoutId"], thing.seller, [Version(at, payout)]))
    return body | {"transactionStatus": "PAYOUT", "payoutId": payout["payoutId"]}


def _refee(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """A fee of a sale shrinks or leaves the list; without a list the amount itself changes."""
    lines = [line for line in body.get("orderLineItems", ()) if line["marketplaceFees"]]
    if not lines:
        body["amount"]["value"] = decimal(int(Decimal(body["amount"]["value"]) * 100) + random.randrange(1, 100))
        return body
    fees = random.choice(lines)["marketplaceFees"]
    fee = random.choice(fees)
    if random.random() < 0.5 or cents(fee["amount"]) < 2:
        fees.remove(fee)
    else:
        fee["amount"]["value"] = decimal(random.randrange(1, cents(fee["amount"])))
    _total(body)
    return body


def _vanish(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> None:
    """Seen of held transactions: gone, and there again later."""
    return


def _payout(world: Surroundings, seller: Seller, at: datetime, random: Random) -> tuple[str, Body]:
    """Pay the older part of what has waited, or a single young one. If there is neither, it paid transactions that eBay
    no longer serves."""
    last = ((thing, thing.versions[-1]) for thing in seller.things.get("transaction", {}).values())
    due = [
        (thing, version.body, version.at)
        for thing, version in last
        if version.body and version.body["transactionStatus"] in PAYABLE and version.at <= at
    ]
    old = [(thing, body) for thing, body, since in due if since <= at - PAID_AFTER]
    paid = old[: -(-len(old) * 2 // 3)] or [(thing, body) for thing, body, _ in due[:1]]
    body = _payout_of(seller, at, random, [transaction for _, transaction in paid])
    for thing, transaction in paid:
        mark = {"transactionStatus": "PAYOUT", "payoutId": body["payoutId"]}
        thing.become(at, transaction | mark)
    if world.began - at > timedelta(days=5):
        status = random.choices(("SUCCEEDED", "REVERSED", "TERMINAL_FAILED", "RETRYABLE_FAILED"), (88, 4, 4, 4))[0]
        _become(body, status, at + timedelta(days=2), random)
    return body["payoutId"], body


def _payout_of(seller: Seller, at: datetime, random: Random, paid: list[Body]) -> Body:
    """Just begun. Its amount is in the seller's currency and never below a cent."""
    signed = [cents(each["amount"]) * (1 if each["bookingEntry"] == "CREDIT" else -1) for each in paid]
    count, total = (len(paid), max(1, sum(signed))) if paid else (random.randrange(1, 9), random.randrange(100, 90000))
    currency, card = seller.market.currency, random.random() < 0.1
    body: Body = {
        "payoutId": str(random.randrange(6_000_000_000, 7_000_000_000)),
        "payoutStatus": "INITIATED",
        "payoutStatusDescription": STATUSES["INITIATED"],
        "amount": {"value": decimal(total), "currency": currency},
        "payoutDate": stamp(at - timedelta(milliseconds=random.randrange(300_000))),
        "transactionCount": count,
        "payoutInstrument": {
            "instrumentType": "CARD" if card else "BANK",
            "nickname": "Küchenkonto & Co",
            "accountLastFourDigits": "0427",
            "payoutPercentage": "100",
        },
    }
    if card:  # eBay pays to a card at once, for a fee
        fee = {"value": "1.5", "currency": currency}
        body["totalAmount"] = {"value": decimal(total + 150), "currency": currency}
        body |= {"totalFee": fee, "totalFeeDetails": [{"feeType": "EXPRESS_PAYOUT_FEE", "amount": fee}]}
    return body


STATUSES = {
    "INITIATED": "Funds on the way",
    "SUCCEEDED": "Funds sent",
    "RETRYABLE_FAILED": "Payout failed, will retry",
    "TERMINAL_FAILED": "Payout failed",
    "REVERSED": "Payout returned",
}


def _become(body: Body, status: str, at: datetime, random: Random) -> Body:
    body |= {"payoutStatus": status, "payoutStatusDescription": STATUSES[status]}
    if status.endswith("FAILED"):
        body["lastAttemptedPayoutDate"] = stamp(at)
    else:  # "only returned if a seller payout fails"
        body.pop("lastAttemptedPayoutDate", None)
        body["bankReference"] = f"09{random.randrange(10**8):08d}"
    return body


def _to(status: str) -> Callable[[Surroundings, Thing, Body, datetime, Random], Body]:
    return lambda world, thing, body, at, random: _become(body, status, at, random)


KINDS = (
    Kind(
        "transaction",
        _transaction,
        {"available": _available, "fee": _refee, "hold": _on_hold, "pay": _pay, "vanish": _vanish},
    ),
    Kind(
        "payout",
        _payout,
        {
            "fail": _to("RETRYABLE_FAILED"),
            "give_up": _to("TERMINAL_FAILED"),
            "reverse": _to("REVERSED"),
            "succeed": _to("SUCCEEDED"),
        },
    ),
)
