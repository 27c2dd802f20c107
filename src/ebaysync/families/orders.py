"""orders: every order that was modified, with its line items (Fulfillment getOrders, getOrder).

How eBay behaves, and this module copes:

- `cancelStatus.cancelRequests` is always empty in getOrders, and filled in getOrder (Fulfillment API, CancelStatus). So
  cancelled orders are fetched one by one, and those that once had a request again with each later version.
- 90 days after its creation an order comes without name, street, phone and gift details, and even earlier without
  e-mail (notes on those fields). Stored values are kept.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from ebaysync.families.family import DetailSpec, Family, MergeSpec, RecordVersions, WindowSpec
from ebaysync.store.table import BOOL, INTEGER, TIME, Column, Row, Stored, Table, money

_INSTRUCTION = "fulfillmentStartInstructions[0]"
_STEP = f"{_INSTRUCTION}.shippingStep"
_SHIP_TO = f"{_STEP}.shipTo"
_ADDRESS = f"{_SHIP_TO}.contactAddress"

ORDERS = Table(
    "ebay_orders",
    key=("order_id",),
    version="last_modified_date",
    in_own_table=("lineItems",),
    dated_by="creation_date",
    personal=(
        ("buyerCheckoutNotes",),
        ("buyer", "buyerRegistrationAddress"),
        ("buyer", "taxAddress"),
        ("buyer", "taxIdentifier"),
        ("fulfillmentStartInstructions", "*", "finalDestinationAddress"),
        ("fulfillmentStartInstructions", "*", "shippingStep", "shipTo"),
        ("lineItems", "*", "giftDetails"),
    ),
    columns=(
        Column("order_id", required=True),
        Column("creation_date", TIME, required=True),
        Column("last_modified_date", TIME, required=True),
        Column("order_fulfillment_status"),
        Column("order_payment_status"),
        Column("seller_id"),
        Column("buyer_username", path="buyer.username", private=True),
        Column("buyer_checkout_notes", personal=True, private=True),
        Column("cancel_state", path="cancelStatus.cancelState"),
        Column("cancelled_date", TIME, "cancelStatus.cancelledDate"),
        *money("price_subtotal", "pricingSummary.priceSubtotal"),
        *money("price_discount", "pricingSummary.priceDiscount"),
        *money("delivery_cost", "pricingSummary.deliveryCost"),
        *money("tax", "pricingSummary.tax"),
        *money("total", "pricingSummary.total"),
        *money("total_due_seller", "paymentSummary.totalDueSeller"),
        *money("total_fee_basis_amount"),
        *money("total_marketplace_fee"),
        Column("ebay_collect_and_remit_tax", BOOL),
        Column("payment_date", TIME, "paymentSummary.payments[0].paymentDate"),
        Column("sales_record_reference"),
        Column("ship_to_full_name", path=f"{_SHIP_TO}.fullName", personal=True, private=True),
        Column("ship_to_company_name", path=f"{_SHIP_TO}.companyName", personal=True, private=True),
        Column("ship_to_address_line1", path=f"{_ADDRESS}.addressLine1", personal=True, private=True),
        Column("ship_to_address_line2", path=f"{_ADDRESS}.addressLine2", personal=True, private=True),
        Column("ship_to_city", path=f"{_ADDRESS}.city", personal=True, private=True),
        Column("ship_to_county", path=f"{_ADDRESS}.county", personal=True, private=True),
        Column("ship_to_state_or_province", path=f"{_ADDRESS}.stateOrProvince", personal=True),
        Column("ship_to_postal_code", path=f"{_ADDRESS}.postalCode", personal=True, private=True),
        Column("ship_to_country_code", path=f"{_ADDRESS}.countryCode", personal=True),
        Column("ship_to_primary_phone", path=f"{_SHIP_TO}.primaryPhone.phoneNumber", personal=True, private=True),
        Column("ship_to_email", path=f"{_SHIP_TO}.email", personal=True, private=True),
        Column("shipping_carrier_code", path=f"{_STEP}.shippingCarrierCode"),
        Column("shipping_service_code", path=f"{_STEP}.shippingServiceCode"),
        Column("min_estimated_delivery_date", TIME, f"{_INSTRUCTION}.minEstimatedDeliveryDate"),
        Column("max_estimated_delivery_date", TIME, f"{_INSTRUCTION}.maxEstimatedDeliveryDate"),
    ),
)

LINE_ITEMS = Table(
    "order_line_items",
    key=("line_item_id",),
    each="lineItems",
    parent_key=("order_id",),
    removable=True,
    personal=(("giftDetails",),),
    columns=(
        Column("line_item_id", required=True),
        Column("order_id", path="^orderId"),
        Column("legacy_item_id"),
        Column("legacy_variation_id"),
        Column("sku"),
        Column("title"),
        Column("quantity", INTEGER),
        *money("line_item_cost"),
        *money("discounted_line_item_cost"),
        *money("shipping_cost", "deliveryCost.shippingCost"),
        *money("total"),
        Column("sold_format"),
        Column("listing_marketplace_id"),
        Column("purchase_marketplace_id"),
        Column("line_item_fulfillment_status"),
        Column("ship_by_date", TIME, "lineItemFulfillmentInstructions.shipByDate"),
    ),
)


def was_cancelled(order: Row) -> bool:
    return order["cancel_state"] not in (None, "NONE_REQUESTED")


def same_version(order: Row, stored: Stored) -> bool:
    """Whether the stored order is getOrder's answer for the version that the list shows now.

    During a cancellation it never is: nobody could verify that each step of it moves lastModifiedDate.
    """
    return _is_current(order, stored.raw)


def had_requests(order: Row, stored: Stored) -> bool:
    """A rejected request is as invisible in the list as an accepted one, and the list shows no cancelState for it."""
    return bool(_cancellation(stored.raw).get("cancelRequests"))


def _is_current(order: Row, stored: bytes) -> bool:
    known = _cancellation(stored)
    requests, state = known.get("cancelRequests") or (), order["cancel_state"]
    return bool(
        requests
        and known.get("cancelState") == state
        and state in ("CANCELED", "NONE_REQUESTED")
        and (state != "CANCELED" or any(request.get("cancelRequestState") == "COMPLETED" for request in requests))
        and FAMILY.rows(stored)[ORDERS.name][0]["last_modified_date"] == order["last_modified_date"]
    )


def _cancellation(stored: bytes) -> dict[str, Any]:
    return msgspec.json.decode(stored).get("cancelStatus") or {}


# Fields that eBay leaves out of old orders, and fields that must go with them. If the first address line is there and
# the second is not, the buyer removed the second.
_PERSONAL = {
    "fullName": "fullName",
    "companyName": "fullName",
    "email": "email",
    "primaryPhone": "primaryPhone",
    "addressLine1": "addressLine1",
    "addressLine2": "addressLine1",
    "giftDetails": "giftDetails",
    "message": "message",
    "recipientEmail": "recipientEmail",
    "senderName": "senderName",
}


# Objects that hold such fields. If eBay leaves out the whole object, the whole object is kept.
_CONTACTS = {"fulfillmentStartInstructions", "shippingStep", "shipTo", "contactAddress", "buyerRegistrationAddress"}


def may_lack(order: Row) -> bool:
    """Whether the stored order may hold more than the list shows: personal fields of an old order, or the requests of a
    cancelled one whose detail could not be fetched."""
    personal = ("full_name", "address_line1", "email", "primary_phone")
    return was_cancelled(order) or any(_masked(order[f"ship_to_{name}"]) for name in personal)


def compose(versions: RecordVersions) -> bytes:
    """getOrder's answer if there is one (new, or stored for this version), with what eBay no longer shows as it was
    stored."""
    if versions.stored is None:
        return versions.newest
    if (
        versions.listed
        and not versions.detail
        and _is_current(FAMILY.rows(versions.listed)[ORDERS.name][0], versions.stored)
    ):
        return versions.stored
    return keep_personal(versions.stored, versions.newest)


def keep_personal(stored: bytes, raw: bytes) -> bytes:
    """The order as sent now, with stored personal fields.

    Name, street, phone, e-mail and gift details are taken from the stored order if they are missing now, or come with
    asterisks.
    """
    decode = msgspec.json.Decoder(float_hook=Decimal).decode
    order = decode(raw)
    _restore(decode(stored), order)
    return msgspec.json.Encoder(decimal_format="number").encode(order)


def _masked(value: Any) -> bool:
    return value is None or (isinstance(value, str) and (not value.strip() or "**" in value))


def _restore(old: Any, new: Any) -> None:
    if isinstance(old, list) and isinstance(new, list):
        by_line = {part["lineItemId"]: part for part in old if isinstance(part, dict) and "lineItemId" in part}
        for index, part in enumerate(new):
            line = part.get("lineItemId") if isinstance(part, dict) else None
            before = by_line.get(line) if line else (old[index] if index < len(old) else None)
            _restore(before, part)
    elif isinstance(old, dict) and isinstance(new, dict):
        now = dict(new)
        for name, before in old.items():
            gone = name in _PERSONAL and _masked(now.get(name)) and _masked(now.get(_PERSONAL[name]))
            unlisted = name == "cancelRequests" and before and not now.get(name)
            if unlisted or (gone and not _masked(before)) or (name in _CONTACTS and before and not now.get(name)):
                new[name] = before
            elif name in new:
                _restore(before, new[name])


FAMILY = Family(
    name="orders",
    about="orders and their line items",
    source="orders",
    calls="Fulfillment getOrders; getOrder where cancelled",
    every_minutes=5,
    costs={"fulfillment": 1},
    cursor_type="window",
    scopes=("https://api.ebay.com/oauth/api_scope/sell.fulfillment.readonly",),
    tables=(ORDERS, LINE_ITEMS),
    window=WindowSpec(furthest_reach=timedelta(days=730)),
    detail=DetailSpec(needed=was_cancelled, is_current=same_version, refetch_on_change=had_requests),
    merge=MergeSpec(needs_stored=may_lack, compose=compose),
)
