"""orders: every order that was modified, with its line items (Fulfillment getOrders, getOrder).

How eBay behaves, and this module copes:

- `cancelStatus.cancelRequests` is always empty in getOrders, and filled in getOrder (Fulfillment API, CancelStatus). So
  cancelled orders are fetched one by one, and those that once had a request again with each later version.
- 90 days after its creation an order comes without name, street, phones and gift details, and even earlier without
  e-mail (notes on those fields); or with a mask: asterisks, or words such as `Invalid Request`. Stored values are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
        Column("creation_date", TIME),
        Column("last_modified_date", TIME, required=True),
        Column("order_fulfillment_status"),
        Column("order_payment_status"),
        Column("seller_id"),
        # Since September 2025 it may be an immutable id instead of a user name.
        Column("buyer_username", path="buyer.username", private=True),
        Column("buyer_checkout_notes", personal=True, private=True),
        Column("cancel_state", path="cancelStatus.cancelState"),
        Column("cancelled_date", TIME, "cancelStatus.cancelledDate"),
        *money("price_subtotal", "pricingSummary.priceSubtotal"),
        *money("price_discount", "pricingSummary.priceDiscount"),
        *money("delivery_cost", "pricingSummary.deliveryCost"),
        *money("tax", "pricingSummary.tax"),
        *money("total", "pricingSummary.total"),
        # Net of eBay's fees, unlike the total.
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


# The parts of an order that describe a person, and that eBay hides later. Notes are no part of their own.
_CONTACTS = tuple(way for way in ORDERS.personal if way != ("buyerCheckoutNotes",))
# These stay visible in old orders, and they may change into any other text.
_PLACES = {"city", "county", "stateOrProvince", "postalCode", "countryCode"}
_LIKE_A_PHONE = re.compile(r"[\d\s()+./-]*\d[\d\s()+./-]*")


def compose(versions: RecordVersions) -> bytes:
    """getOrder's answer if there is one (new, or stored for this version), with what eBay no longer shows as it was
    stored."""
    if versions.stored is None:
        return versions.newest
    if (
        versions.listed
        and not versions.detail
        and _cancellation(versions.stored).get("cancelRequests")
        and _is_current(FAMILY.rows(versions.listed)[ORDERS.name][0], versions.stored)
    ):
        return versions.stored
    return keep_personal(versions.stored, versions.newest)


def keep_personal(stored: bytes, raw: bytes) -> bytes:
    """The order as sent now, with the personal data of the stored one where it is missing or masked now.

    Any field of a contact may be hidden, whatever its name. A mask is known by what it is not: an e-mail without @, a
    phone or tax number without digits, a text of signs alone or with asterisks, a number in place of a text; and any
    text that is a mask elsewhere in the order.
    """
    decode = msgspec.json.Decoder(float_hook=Decimal).decode
    old, new = decode(stored), decode(raw)
    masks = {text for way in _CONTACTS for text in _masks(old, new, way)}
    kept = new
    for way in _CONTACTS:
        kept = _kept(old, kept, way, masks)
    requests, status = (old.get("cancelStatus") or {}).get("cancelRequests"), kept.get("cancelStatus")
    if requests and isinstance(status, dict) and not status.get("cancelRequests"):
        kept = {**kept, "cancelStatus": {**status, "cancelRequests": requests}}
    # eBay's own bytes if nothing was kept: their digits and the order of fields stay.
    return raw if kept == new else msgspec.json.Encoder(decimal_format="number").encode(kept)


def _kept(old: Any, new: Any, way: Sequence[str], masks: set[str]) -> Any:
    """The part of an order that has a contact at the end of the way, with what is hidden of it."""
    if not way:
        return _contact(old, new, masks)
    name, rest = way[0], way[1:]
    # A list that eBay leaves out now is hidden as a whole.
    if name == "*":
        if not new:
            return old
        return [_kept(before, now, rest, masks) for before, now in _pairs(old, new)] if isinstance(new, list) else new
    if not isinstance(old, dict) or not old.get(name) or (new and not isinstance(new, dict)):
        return new
    shown = new or {}
    if name == "lineItems" and not shown.get(name):
        return new  # an order without lines is not a hidden person
    found = _kept(old[name], shown.get(name), rest, masks)
    return new if found is shown.get(name) else {**shown, name: found}


def _pairs(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    """Each element of a list with the stored one: of the same line item, or in the same place."""
    old, new = (each if isinstance(each, list) else [] for each in (old, new))
    lines = {each["lineItemId"]: each for each in old if isinstance(each, dict) and each.get("lineItemId")}
    for index, now in enumerate(new):
        line = now.get("lineItemId") if isinstance(now, dict) else None
        yield (lines.get(line) if line else old[index] if index < len(old) else None), now


def _contact(old: Any, new: Any, masks: set[str]) -> Any:
    if not old or not isinstance(old, dict):
        return new
    if not new or not isinstance(new, dict):
        return old
    found = dict(new)
    for name, before in old.items():
        now = new.get(name)
        if isinstance(before, dict):
            found[name] = _contact(before, now, masks)
        elif _is_hidden(name, before, now, masks) and not _is_taken_out(name, old, new, masks):
            found[name] = before
    return new if found == new else found


def _is_taken_out(name: str, old: dict[str, Any], new: dict[str, Any], masks: set[str]) -> bool:
    """Whether the buyer removed a field: a part of an address whose first line is shown, or a company beside a name."""
    anchor = "fullName" if name == "companyName" else "addressLine1"
    return (
        name != anchor
        and old.get(anchor) is not None
        and (name == "companyName" or name in _PLACES or name.startswith("addressLine"))
        and not _is_hidden(anchor, old[anchor], new.get(anchor), masks)
    )


def _is_hidden(name: str, before: Any, now: Any, masks: set[str]) -> bool:
    """Whether a value was replaced by nothing or by a mask."""
    if before is None or before == now:
        return False
    if not isinstance(now, str):
        return not now or isinstance(before, str)
    # A mask may be made of the letter x.
    if not any(sign.isalnum() and sign not in "xX" for sign in now) or ("*" in now and "*" not in str(before)):
        return True
    return now.strip() in masks or (name not in _PLACES and _has_lost_its_shape(name, before, now))


def _has_lost_its_shape(name: str, before: Any, now: str) -> bool:
    """Whether an e-mail came, and is none now; or a phone, or a tax number."""
    if not isinstance(before, str):
        return False
    if name == "taxpayerId":
        return _has_digit(before) and not _has_digit(now)
    return ("@" in before and "@" not in now) or bool(
        _LIKE_A_PHONE.fullmatch(before) and not _LIKE_A_PHONE.fullmatch(now)
    )


def _has_digit(text: str) -> bool:
    return any(sign.isdigit() for sign in text)


def _masks(old: Any, new: Any, way: Sequence[str]) -> Iterator[str]:
    """Texts that stand in the place of an e-mail or a phone, at the end of the way."""
    if way and way[0] == "*":
        for before, now in _pairs(old, new):
            yield from _masks(before, now, way[1:])
    elif isinstance(old, dict) and isinstance(new, dict):
        for name in (way[0],) if way else old.keys():
            before, now = old.get(name), new.get(name)
            if way or isinstance(before, dict):
                yield from _masks(before, now, way[1:])
            elif isinstance(now, str) and name not in _PLACES and _has_lost_its_shape(name, before, now):
                yield now.strip()


FAMILY = Family(
    name="orders",
    about="orders and their line items",
    source="orders",
    calls="Fulfillment getOrders; getOrder where cancelled",
    every_minutes=5,
    quiet_minutes=15,
    costs={"fulfillment": 1},
    cursor_type="window",
    scopes=("https://api.ebay.com/oauth/api_scope/sell.fulfillment.readonly",),
    tables=(ORDERS, LINE_ITEMS),
    # eBay reaches two years back. Nobody could verify whether an older order that changes now is listed.
    window=WindowSpec("last_modified_date", furthest_reach=timedelta(days=730)),
    detail=DetailSpec(needed=was_cancelled, is_current=same_version, refetch_on_change=had_requests),
    merge=MergeSpec(needs_stored=lambda order: True, compose=compose),
)
