"""The JSON of a new order: facts drawn from its seed, and what eBay hides of them later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

from ebaysync.sim import people
from ebaysync.sim.clock import stamp

# eBay's texts at the fields: "not be returned for any order that is more than 90 days old", the address of
# electronic mail "up to 14 days from order creation".
PERSON_DAYS = 90
EMAIL_DAYS = 14


def decimal(cents: int) -> str:
    """`220.54`, `10.0`, `-0.44`: eBay writes no more digits than needed, but one at least."""
    sign, cents = ("-", -cents) if cents < 0 else ("", cents)
    text = f"{sign}{cents // 100}.{cents % 100:02d}"
    return text.removesuffix("0")


class Draft:
    """An order as it is on the day of its creation."""

    def __init__(self, order_id: str, seed: str, username: str, market: people.Marketplace, taxes: bool) -> None:
        self.order_id = order_id
        self.seed = seed
        self.username = username
        self.taxes = taxes
        self.random = Random(seed)
        self.market = market
        self.buyer = people.buyer(self.random, self.market.country)
        self.collected = self.market.country == "US" and self.buyer["country"] == "US" and self.random.random() < 0.7
        self.spec_shaped = self.random.random() < 0.5
        self.lines = [self._line(index) for index in range(self.random.choice((1, 1, 1, 2, 3)))]
        self.gross: int = sum(line["cents"] + line["shipping"] for line in self.lines)
        self.tax: int = sum(line["tax"] for line in self.lines)
        self.fee = min(self.gross, round((self.gross + self.tax) * 0.1325) + 30)
        self.net = self.gross - self.fee

    def _line(self, index: int) -> dict[str, Any]:
        random = self.random
        title, sku, price, varies = random.choice(people.GOODS)
        quantity = random.choice((1, 1, 1, 2, 5))
        cents = price * quantity + random.randrange(100)
        line: dict[str, Any] = {
            "id": str(10_000_000_000_000 + random.randrange(10**11) * 10 + index),
            "item": str(350_000_000_000 + people.GOODS.index((title, sku, price, varies)) * 1117),
            "title": title,
            "sku": sku,
            "cents": cents,
            "quantity": quantity,
            "shipping": random.choice((0, 0, 1000, 395)),
            "tax": round(cents * 0.0725) if self.collected else 0,
        }
        if varies:
            line["aspects"] = [
                ("Color", random.choice(people.COLOURS)),
                ("Size", random.choice(people.SIZES)),
            ]
            line["variation"] = str(600_000_000_000 + random.randrange(10**6))
        return line

    def money(self, cents: int, *, of_buyer: bool = False) -> dict[str, str]:
        """An amount; what a foreign buyer pays also says what it was converted from."""
        amount = {"value": decimal(cents), "currency": self.market.currency}
        foreign = people.currency_of(self.buyer["country"])
        if of_buyer and foreign != self.market.currency:
            rate = people.RATES[foreign] / people.RATES[self.market.currency]
            amount |= {"convertedFromValue": decimal(round(cents * rate)), "convertedFromCurrency": foreign}
        return amount

    def body(self, created: datetime) -> dict[str, Any]:
        body: dict[str, Any] = {
            "orderId": self.order_id,
            "creationDate": stamp(created),
            "lastModifiedDate": stamp(created),
            "orderFulfillmentStatus": "NOT_STARTED",
            "orderPaymentStatus": "PAID",
            "sellerId": self.username,
            "buyer": self._buyer(),
            "pricingSummary": self._pricing(),
            "cancelStatus": {"cancelState": "NONE_REQUESTED", "cancelRequests": []},
            "paymentSummary": self._payment(created),
            "fulfillmentStartInstructions": [self._instruction(created)],
            "fulfillmentHrefs": [],
            "lineItems": [self._line_item(line, created) for line in self.lines],
            "salesRecordReference": str(int(self.order_id[-5:])),
            "totalFeeBasisAmount": self.money(self.gross + self.tax),
            "totalMarketplaceFee": self.money(self.fee),
        }
        if self.random.random() < 0.2:
            body["buyerCheckoutNotes"] = self.random.choice(people.NOTES)
        if self.collected:
            body["ebayCollectAndRemitTax"] = True
        return body

    def _buyer(self) -> dict[str, Any]:
        address = self.buyer["address"]
        tax_address = {key: address[key] for key in ("city", "stateOrProvince", "postalCode", "countryCode")}
        buyer = {
            "username": self.buyer["username"],
            "taxAddress": tax_address,
            "buyerRegistrationAddress": self._contact(),
        }
        if self.buyer["country"] == "IT":  # eBay gives tax ids for its Italian and Spanish sites alone
            buyer["taxIdentifier"] = {
                "taxpayerId": "RSSMRA80A01H501U",
                "taxIdentifierType": "CODICE_FISCALE",
                "issuingCountry": "IT",
            }
        return buyer

    def _contact(self) -> dict[str, Any]:
        return {
            "fullName": self.buyer["name"],
            "contactAddress": dict(self.buyer["address"]),
            "primaryPhone": {"phoneNumber": self.buyer["phone"]},
            "email": self.buyer["email"],
        }

    def _pricing(self) -> dict[str, Any]:
        subtotal = sum(line["cents"] for line in self.lines)
        tax = self.tax if self.taxes else 0
        pricing = {
            "priceSubtotal": self.money(subtotal, of_buyer=True),
            "deliveryCost": self.money(self.gross - subtotal, of_buyer=True),
            "total": self.money(self.gross + tax, of_buyer=True),
        }
        if tax:
            pricing["tax"] = self.money(tax, of_buyer=True)
        return pricing

    def _payment(self, created: datetime) -> dict[str, Any]:
        payment: dict[str, Any] = {
            "paymentMethod": "EBAY",
            "paymentReferenceId": f"{self.random.randrange(10**6)}_S",
            "paymentDate": stamp(created + timedelta(milliseconds=self.random.randrange(2_000, 20_000))),
            "amount": self.money(self.net),
            "paymentStatus": "PAID",
        }
        if self.random.random() < 0.1:
            payment["paymentHolds"] = [
                {
                    "holdReason": "SELLER_IS_ON_BLOCK_LIST",
                    "holdAmount": self.money(self.net),
                    "holdState": "HELD",
                    "expectedReleaseDate": stamp(created + timedelta(days=14)),
                }
            ]
        return {"totalDueSeller": self.money(self.net), "refunds": [], "payments": [payment]}

    def _instruction(self, created: datetime) -> dict[str, Any]:
        step: dict[str, Any] = {"shipTo": self._contact(), "shippingServiceCode": self.market.service}
        if self.spec_shaped:  # the specification demands it, the captured orders have none
            step["shippingCarrierCode"] = self.market.carrier
        instruction: dict[str, Any] = {
            "fulfillmentInstructionsType": "SHIP_TO",
            "minEstimatedDeliveryDate": stamp(created + timedelta(days=4)),
            "maxEstimatedDeliveryDate": stamp(created + timedelta(days=9)),
            "ebaySupportedFulfillment": False,
            "shippingStep": step,
        }
        if self.random.random() < 0.05:  # eBay International Shipping: the parcel goes to a hub first
            instruction["ebaySupportedFulfillment"] = True
            instruction["finalDestinationAddress"] = dict(self.buyer["address"])
            step["shipToReferenceId"] = f"Reference #EX{self.order_id}"
        return instruction

    def _line_item(self, line: dict[str, Any], created: datetime) -> dict[str, Any]:
        tax = line["tax"] if self.taxes else 0
        item: dict[str, Any] = {
            "lineItemId": line["id"],
            "legacyItemId": line["item"],
            "title": line["title"],
            "lineItemCost": self.money(line["cents"], of_buyer=True),
            "quantity": line["quantity"],
            "soldFormat": "FIXED_PRICE",
            "listingMarketplaceId": self.market.id,
            "purchaseMarketplaceId": people.marketplace_of(self.buyer["country"]),
            "lineItemFulfillmentStatus": "NOT_STARTED",
            "total": self.money(line["cents"] + line["shipping"] + tax, of_buyer=True),
            "deliveryCost": {"shippingCost": self.money(line["shipping"], of_buyer=True)},
            "appliedPromotions": [],
            "taxes": [{"taxType": "STATE_SALES_TAX", "amount": self.money(tax)}] if tax else [],
            "properties": {"buyerProtection": True},
            "lineItemFulfillmentInstructions": {
                "minEstimatedDeliveryDate": stamp(created + timedelta(days=4)),
                "maxEstimatedDeliveryDate": stamp(created + timedelta(days=9)),
                "shipByDate": stamp(created + timedelta(days=3)),
                "guaranteedDelivery": False,
            },
            "itemLocation": {"location": "Hier & dort", "countryCode": self.market.country},
        }
        return item | self._where_it_applies(line)

    def _where_it_applies(self, line: dict[str, Any]) -> dict[str, Any]:
        """The fields that eBay leaves out rather than sends empty."""
        extra: dict[str, Any] = {"refunds": []} if self.spec_shaped else {}
        if line["sku"]:
            extra["sku"] = line["sku"]
        if "aspects" in line:
            extra["legacyVariationId"] = line["variation"]
            extra["variationAspects"] = [{"name": name, "value": value} for name, value in line["aspects"]]
        if line["tax"]:
            tax = {"taxType": "STATE_SALES_TAX", "amount": self.money(line["tax"]), "collectionMethod": "NET"}
            extra["ebayCollectAndRemitTaxes"] = [tax]
        if line["sku"] == "GIFT-25":
            extra["giftDetails"] = {
                "message": "Alles Gute! 🎂",
                "recipientEmail": "recipient@members.ebay.example",
                "senderName": self.buyer["name"],
            }
        return extra


def listed(body: dict[str, Any]) -> dict[str, Any]:
    """The order as getOrders shows it: no cancel requests, no tax identifier. Changes the body in place."""
    body["cancelStatus"]["cancelRequests"] = []
    body["buyer"].pop("taxIdentifier", None)
    return body


def hidden(age: timedelta) -> frozenset[str]:
    """Which fields about persons eBay no longer gives for an order of that age."""
    if age > timedelta(days=PERSON_DAYS):
        return frozenset(("email", "fullName", "addressLine1", "addressLine2", "primaryPhone"))
    return frozenset(("email",)) if age > timedelta(days=EMAIL_DAYS) else frozenset()


def masked(body: dict[str, Any], age: timedelta) -> dict[str, Any]:
    """Remove the personal fields that an order of that age no longer has. Changes the body in place."""
    gone = hidden(age)
    if "fullName" in gone:
        for item in body["lineItems"]:
            for name in ("message", "recipientEmail", "senderName"):
                item.get("giftDetails", {}).pop(name, None)
    for place in _persons(body) if gone else ():
        for name in gone:
            place.pop(name, None)
    return body


def _persons(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    contacts = [body["buyer"].get("buyerRegistrationAddress", {})]
    for instruction in body["fulfillmentStartInstructions"]:
        contacts.append(instruction.get("shippingStep", {}).get("shipTo", {}))
        yield instruction.get("finalDestinationAddress", {})
    for contact in contacts:
        yield contact
        yield contact.get("contactAddress", {})
