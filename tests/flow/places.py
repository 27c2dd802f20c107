"""Where each family's records come from and go to, so that one fault can be put into every family's calls.

A Place is written from eBay's documents and the simulator, not from the families' declarations. A new family needs one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ebaysync.sim.clock import stamp
from ebaysync.sim.model import Seller
from ebaysync.sim.world import World

Options = dict[str, Any]
"""Options of a fault of the simulator: which calls it strikes."""


@dataclass(frozen=True)
class Place:
    """`kind` is the simulator's; `key` is the SQL of its id in `table`. `page` strikes the list call, `detail` the call
    that completes a record of an id. `beside` is a family of another call, preferably of the same API."""

    kind: str
    table: str
    key: str
    page: Options
    beside: str
    detail: Callable[[str], Options] | None = None
    detailed: str = ""
    """SQL that is true of a row with its detail"""
    windowed: bool = True
    counted: bool = True
    """whether the list says how many there are"""
    swept: bool = True
    """whether an old record is read again although nothing changed"""
    born: Callable[[World, Seller], str] | None = None
    """makes a record now, whose id it returns; None: any of the kind"""
    fact: Callable[[dict[str, Any]], bool] = field(default=lambda body: True)
    """which things of the kind are this family's"""

    @property
    def trading(self) -> bool:
        return "call" in self.page

    def fresh(self, world: World, seller: Seller) -> str:
        """A new record of now."""
        return self.born(world, seller) if self.born else world.add_thing(seller, self.kind).id

    def shown(self, world: World, seller: Seller) -> set[str]:
        """The ids that eBay has now."""
        if self.kind == "order":
            return set(world.truth(seller))
        things = world.things(seller, self.kind).values()
        return {thing.id for thing in things if thing.body is not None and self.fact(thing.body)}

    def named(self, thing_id: str) -> str:
        """The id as eBay's list shows it."""
        return thing_id.partition("/")[0]


def _path(path: str) -> Options:
    return {"path": f"^{path}$"}


def _by_id(path: str) -> Callable[[str], Options]:
    return lambda thing_id: {"path": f"^{path}/{re.escape(thing_id)}$"}


def _cancelled_order(world: World, seller: Seller) -> str:
    """Only getOrder tells all of a cancellation."""
    order = world.add_order(seller)
    world.touch(seller, order.id, "cancel_ask")
    world.touch(seller, order.id, "cancel")
    return order.id


def _transaction(kind: str) -> Callable[[World, Seller], str]:
    def born(world: World, seller: Seller) -> str:
        number = f"17-{len(seller.things.get('transaction', {})):05d}-{seller.user_id[-4:]}"
        body = {
            "transactionId": number,
            "transactionType": kind,
            "transactionDate": stamp(world.now()),
            "transactionStatus": "PAYOUT",
            "bookingEntry": "DEBIT",
            "amount": {"value": "5.0", "currency": seller.market.currency},
            "payoutId": "6000000001",
        }
        return world.add_thing(seller, "transaction", thing_id=f"{number}/{kind}", body=body).id

    return born


def _payout(world: World, seller: Seller) -> str:
    """That it paid transactions of the simulator's own is of no interest here."""
    number = str(6_500_000_000 + len(seller.things.get("payout", {})))
    body = {
        "payoutId": number,
        "payoutStatus": "SUCCEEDED",
        "payoutStatusDescription": "Funds sent",
        "amount": {"value": "9.0", "currency": seller.market.currency},
        "payoutDate": stamp(world.now()),
        "transactionCount": 1,
        "payoutInstrument": {"instrumentType": "BANK", "accountLastFourDigits": "0427", "payoutPercentage": "100"},
    }
    return world.add_thing(seller, "payout", thing_id=number, body=body).id


def _offer(world: World, seller: Seller) -> str:
    """The record belongs to an item of its own."""
    item = world.add_thing(seller, "inventory_item")
    born = world.add_thing(seller, "offer")
    number = str(910_000_000_000 + len(seller.things["inventory_item"]))
    body = dict(born.body or {}) | {"sku": item.id, "offerId": number}
    del seller.things["offer"][born.id]
    return world.add_thing(seller, "offer", thing_id=number, body=body).id


def _message(world: World, seller: Seller) -> str:
    born = world.add_thing(seller, "message")
    world.put_thing(born, {"folder": 0, "read": False, "flagged": False, "replied": False, "high": False})
    return born.id


def _listing(world: World, seller: Seller) -> str:
    """No auction, which ends by itself."""
    born = world.add_thing(seller, "listing")
    world.put_thing(born, {"price": 1000, "quantity": 5, "sold": 0})
    return born.id


def _won(world: World, seller: Seller) -> str:
    born = world.add_thing(seller, "purchase")
    world.put_thing(born, {"state": "won", "auction": False, "price": 900, "max": 1400})
    return born.id


def _dated_cancellation(world: World, seller: Seller) -> str:
    """eBay leaves out the date now and then, and an ignored filter shows in the dates."""
    born = world.add_thing(seller, "cancellation")
    dated = {"search": {"cancelRequestDate": {"value": stamp(born.created)}}}
    world.put_thing(born, {**(born.body or {}), "over": dated})
    return born.id


def offer_of(world: World, seller: Seller, offer_id: str) -> str:
    """The SKU that an offer is asked for by."""
    return str((seller.things["offer"][offer_id].body or {})["sku"])


FINANCES = "/sell/finances/v1"
POST_ORDER = "/post-order/v2"
HEADERS: Options = {"call": "GetMyMessages", "query": "ReturnHeaders"}
TRANSACTIONS = _path(f"{FINANCES}/transaction")
HAS_DETAIL = "jsonb_exists(raw_payload, 'detail')"


def _claims(kind: str, family: str, folder: str, beside: str) -> Place:
    return Place(
        kind=kind,
        table=f"ebay_{family}",
        key=f"{kind}_id",
        page=_path(f"{POST_ORDER}/{folder}/search"),
        beside=beside,
        detail=_by_id(f"{POST_ORDER}/{folder}"),
        detailed=HAS_DETAIL,
    )


def _finances(table: str, **changed: Any) -> Place:
    usual: dict[str, Any] = {"key": "transaction_id || '/' || transaction_type", "born": _transaction("SALE")}
    return Place(kind="transaction", table=table, page=TRANSACTIONS, beside="payouts", **(usual | changed))


PLACES: Mapping[str, Place] = {
    "orders": Place(
        kind="order",
        table="ebay_orders",
        key="order_id",
        page=_path("/sell/fulfillment/v1/order"),
        beside="cancellations",
        detail=_by_id("/sell/fulfillment/v1/order"),
        detailed="raw_payload #> '{cancelStatus,cancelRequests}' <> '[]'",
        swept=False,
        born=_cancelled_order,
    ),
    "finances": _finances("ebay_finances_transactions"),
    "transactions": _finances("ebay_transactions"),
    "refunds": _finances(
        "ebay_refunds",
        key="refund_id || '/REFUND'",
        born=_transaction("REFUND"),
        fact=lambda body: body["transactionType"] == "REFUND",
    ),
    "payouts": Place("payout", "ebay_payouts", "payout_id", _path(f"{FINANCES}/payout"), "refunds", born=_payout),
    "disputes": Place(
        kind="dispute",
        table="ebay_disputes",
        key="dispute_id",
        page=_path("/sell/fulfillment/v1/payment_dispute_summary"),
        beside="orders",
        detail=_by_id("/sell/fulfillment/v1/payment_dispute"),
        detailed="revision IS NOT NULL",
    ),
    "inventory": Place(
        kind="inventory_item",
        table="ebay_inventory_items",
        key="sku",
        page=_path("/sell/inventory/v1/inventory_item"),
        beside="orders",
        windowed=False,
    ),
    "offers": Place(
        kind="offer",
        table="ebay_offers",
        key="offer_id",
        page=_path("/sell/inventory/v1/inventory_item"),
        beside="orders",
        windowed=False,
        born=_offer,
        detail=lambda sku: {"path": "^/sell/inventory/v1/offer$", "query": f"sku={re.escape(sku)}(&|$)"},
        detailed="true",
    ),
    "messages": Place(
        kind="message",
        table="ebay_messages",
        key="message_id",
        page=HEADERS,
        beside="active_inventory",
        detail=lambda number: {"call": "GetMyMessages", "query": f"ReturnMessages[\\s\\S]*<MessageID>{number}<"},
        detailed="text IS NOT NULL",
        counted=False,
        born=_message,
    ),
    "active_inventory": Place(
        kind="listing",
        table="ebay_active_inventory",
        key="item_id",
        page={"call": "GetMyeBaySelling"},
        beside="messages",
        windowed=False,
        born=_listing,
    ),
    "buyer": Place(
        kind="purchase",
        table="ebay_buyer",
        key="item_id",
        page={"call": "GetMyeBayBuying"},
        beside="messages",
        windowed=False,
        born=_won,
    ),
    "inquiries": _claims("inquiry", "inquiries", "inquiry", "cases"),
    "cases": _claims("case", "cases", "casemanagement", "inquiries"),
    "returns": _claims("return", "returns", "return", "inquiries"),
    "cancellations": Place(
        kind="cancellation",
        table="ebay_cancellations",
        key="cancel_id",
        page=_path(f"{POST_ORDER}/cancellation/search"),
        beside="returns",
        born=_dated_cancellation,
    ),
}
REACH = timedelta(days=60)
"""so young is everything that a test makes: each family's first run reaches it"""
