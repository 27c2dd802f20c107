"""What every table must hold and which events must have been told, worked out from the simulator alone.

A Model follows one account. `advance` looks at the world as one run does: it takes what eBay would answer now of all
that the run can reach, keeps what is no longer in reach as it was seen last, and says which events follow. Columns are
read by the paths written down here, never by the families' own declarations.

To add a family: a function that gives the records which a run can see, and a Spec for each of its tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

from ebaysync.sim.apis import trading_buying, trading_listings, trading_messages
from ebaysync.sim.apis.asking import served
from ebaysync.sim.apis.postorder_json import cancellation_row
from ebaysync.sim.apis.trading_requests import Request
from ebaysync.sim.calls import Answer, Call
from ebaysync.sim.model import Seller
from ebaysync.sim.payload import listed, masked
from ebaysync.sim.world import World

Json = dict[str, Any]
Key = tuple[str, ...]
Query = Callable[..., list[Any]]
Event = tuple[str, str, str, str]
"""Family, table, key, kind."""

DAYS_90, DAYS_540 = timedelta(days=90), timedelta(days=540)
OVERLAP = timedelta(minutes=30)  # of orders


@dataclass(frozen=True)
class Kept:
    """A row: its columns but for the key's, raw_payload, and whether it is marked as removed."""

    columns: Json
    raw: Json
    removed: bool = False


Rows = dict[Key, Kept]


# ---- what a run can see, by family


@dataclass(frozen=True)
class Eye:
    """A run that reads now, up to `end`; the run before it read up to `before`."""

    world: World
    seller: Seller
    now: datetime
    end: datetime
    before: datetime | None
    known: Mapping[str, Rows]
    first: dict[str, datetime]
    """when each order was seen for the first time"""

    def bodies(self, kind: str) -> list[Json]:
        return [body for _, body in served(self.seller, kind, self.now)]


def orders(eye: Eye) -> Iterator[Json]:
    """By their modification. What eBay showed of persons at the first sight is kept; what getOrder alone tells of a
    cancellation is there as soon as there was one."""
    since = eye.before - OVERLAP if eye.before else eye.end - DAYS_90
    for order, version, at in eye.world.find(eye.seller, eye.now):
        if not since <= at <= eye.end:
            continue
        age = eye.first.setdefault(order.id, eye.now) - order.created
        known = eye.known["ebay_orders"].get((order.id,))
        row = listed(masked(order.body(version), age))
        requests = known.raw["cancelStatus"]["cancelRequests"] if known else []
        if known and requests and _tells_nothing(row, known.raw):
            continue  # the index lags behind a change: the list shows what is stored, and nobody asks further
        if _cancelled(row) or requests:
            row = masked(order.body(), age)
        if known is None or known.raw["lastModifiedDate"] <= row["lastModifiedDate"]:
            yield row


def _tells_nothing(row: Json, known: Json) -> bool:
    state = row["cancelStatus"]["cancelState"]
    same = known["lastModifiedDate"] == row["lastModifiedDate"] and known["cancelStatus"]["cancelState"] == state
    return same and state in ("CANCELED", "NONE_REQUESTED")


def _cancelled(order: Json) -> bool:
    return bool(order["cancelStatus"]["cancelState"] != "NONE_REQUESTED")


def transactions(eye: Eye) -> Iterator[Json]:
    return (body for body in eye.bodies("transaction") if _reached(eye, body["transactionDate"], DAYS_90))


def refunds(eye: Eye) -> Iterator[Json]:
    return (body for body in transactions(eye) if body["transactionType"] == "REFUND")


def payouts(eye: Eye) -> Iterator[Json]:
    return (body for body in eye.bodies("payout") if _reached(eye, body["payoutDate"], DAYS_90))


def disputes(eye: Eye) -> Iterator[Json]:
    """Those of the reach; of one that was closed another version only where the summary tells of it. One that was not
    closed is asked for by its id, however old it is."""
    for body in eye.bodies("dispute"):
        known = eye.known["ebay_disputes"].get((body["paymentDisputeId"],))
        reached = _reached(eye, body["openDate"], DAYS_90 if eye.before else DAYS_540)
        if known is None or known.raw["paymentDisputeStatus"] == "CLOSED":
            told = known is None or any(body.get(name) != known.raw.get(name) for name in SUMMARY)
            if reached and told:
                yield body
        else:
            yield body


SUMMARY = (
    *("paymentDisputeId", "paymentDisputeStatus", "reason", "orderId", "openDate", "respondByDate", "closedDate"),
    *("amount", "buyerUsername"),
)


def cancellations(eye: Eye) -> Iterator[Json]:
    """Those whose creation the sweep reaches, and in the first run all of the reach."""
    first = DAYS_90 if eye.before else timedelta(days=545)
    for thing, body in served(eye.seller, "cancellation", eye.now):
        if eye.end - first <= thing.created <= eye.end:
            yield cancellation_row(thing, body)


def _reached(eye: Eye, date: str, days: timedelta) -> bool:
    return eye.end - days <= datetime.fromisoformat(date) <= eye.end


def inventory(eye: Eye) -> Iterable[Json]:
    return eye.bodies("inventory_item")


def offers(eye: Eye) -> Iterator[Json]:
    skus = {body["sku"] for body in eye.bodies("inventory_item")}
    return (body for body in eye.bodies("offer") if body["sku"] in skus)


def messages(eye: Eye) -> Iterator[Json]:
    """Headers of 90 days; the body of one that is not yet known."""
    page, found = 1, list[Json]()
    while True:
        values = {"StartTime": _stamp(eye.end - DAYS_90), "EndTime": _stamp(eye.end)} | _page("", page)
        some = _messages(eye, values | {"DetailLevel": "ReturnHeaders"})
        found += some
        if len(some) < 200:
            break
        page += 1
    for header in found:
        known = eye.known["ebay_messages"].get((header["MessageID"],))
        if known and known.columns["text"] is not None:
            yield header | {"Text": known.columns["text"], "Content": known.columns["content"]}
        else:
            asked = {"DetailLevel": "ReturnMessages", "MessageIDs.MessageID": header["MessageID"]}
            [body] = _messages(eye, asked)
            yield header | {"Text": body["Text"], "Content": body["Content"]}


def _messages(eye: Eye, values: Mapping[str, str]) -> list[Json]:
    root = _asked(eye, trading_messages.get_my_messages, "GetMyMessages", values)
    return [_json(each) for each in root.iterfind("./Messages/Message")]


def active_inventory(eye: Eye) -> Iterator[Json]:
    page = 1
    while True:
        values = {"ActiveList.Include": "true", "ActiveList.Sort": "StartTime"} | _page("ActiveList.", page)
        root = _asked(eye, trading_listings.get_my_ebay_selling, "GetMyeBaySelling", values)
        found = [_json(each) for each in root.iterfind("./ActiveList/ItemArray/Item")]
        yield from found
        if len(found) < 200:
            return
        page += 1


def buyer(eye: Eye) -> Iterator[Json]:
    for name in ("BidList", "BestOfferList", "LostList", "WonList"):
        days = {} if name == "BidList" else {f"{name}.DurationInDays": "60"}
        values = {f"{name}.Include": "true"} | days | _page(f"{name}.", 1)
        root = _asked(eye, trading_buying.get_my_ebay_buying, "GetMyeBayBuying", values)
        for each in root.iterfind(f"./{name}/ItemArray/Item"):
            yield {"List": name, "Item": _json(each)}
        for each in root.iterfind(f"./{name}/OrderTransactionArray/OrderTransaction"):
            found = _json(each)
            order = {name: value for name, value in found.get("Order", {}).items() if name != "TransactionArray"}
            lines = _json(each.find("./Order/TransactionArray"))["Transaction"] if order else [found["Transaction"]]
            own = {"Order": order} if order else {}
            for line in lines if isinstance(lines, list) else [lines]:
                yield {"List": name, **own, "Transaction": line}


def _page(prefix: str, number: int) -> dict[str, str]:
    return {f"{prefix}Pagination.EntriesPerPage": "200", f"{prefix}Pagination.PageNumber": str(number)}


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _asked(eye: Eye, handler: Callable[..., Answer], name: str, values: Mapping[str, str]) -> ElementTree.Element:
    """A call's answer, its names without their namespace."""
    call = Call("POST", "/ws/api.dll", "", {}, {}, b"", "", eye.now)
    request = Request(name, {path: [value] for path, value in values.items()})
    body = handler(eye.world, eye.seller, call, request).body.decode()
    return ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", body, count=1))


REPEATED = {"ShippingServiceOptions", "Variation", "NameValueList", "Value", "MessageMedia"}


def _json(element: ElementTree.Element | None) -> Any:
    """XML as it is kept: attributes with an @, what may repeat as a list, what is empty as null."""
    assert element is not None
    found: Json = {f"@{name}": value for name, value in element.items()}
    for child in element:
        value = _json(child)
        if child.tag in REPEATED:
            found.setdefault(child.tag, []).append(value)
        elif child.tag in found:
            found[child.tag] = [*_list(found[child.tag]), value]
        else:
            found[child.tag] = value
    if not found:
        return element.text or None
    return found if len(element) or not element.text else found | {"#text": element.text}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# ---- where in a record each column is found


Column = Callable[[Json], Any]


def at(record: Any, path: str) -> Any:
    """`a.0.b`: the first of the list a, and its field b. `a|b`: a, or where that is nothing, b."""
    for way in path.split("|"):
        found = record
        for step in way.split("."):
            if isinstance(found, list):
                found = found[int(step)] if int(step) < len(found) else None
            else:
                found = found.get(step) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None


def columns(text: str, **special: Column) -> dict[str, Column]:
    """`name` is eBay's field in snake_case, `name=path` another; `name$=path` an amount with its currency, of the
    Trading API `name#=path`."""
    found: dict[str, Column] = {}
    for word in text.split():
        name, _, path = word.partition("=")
        sort = name[-1] if name[-1] in "$#" else ""
        name = name.rstrip("$#")
        head, *rest = name.split("_")
        ways = (path or head + "".join(part.capitalize() for part in rest)).split("|")
        parts = {"": {"": ""}, "$": {"": ".value", "_currency": ".currency"}}
        suffixes = parts.get(sort, {"": ".#text", "_currency": ".@currencyID"})
        for suffix, end in suffixes.items():
            found[name + suffix] = _reader("|".join(way + end for way in ways))
    return found | special


def _reader(path: str) -> Column:
    return lambda record: at(record, path)


@dataclass(frozen=True)
class Spec:
    """A table. `rows` are its rows of a record, each with the record in "^" where it is a part; `of` are the columns
    that name the record. `still` takes what moves by itself out of raw_payload; `apart` are fields that are in columns
    alone, `elsewhere` those whose changes another table tells; `late` columns that may be filled without an event;
    `ours` those that are made of other tables, which nothing here knows."""

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    rows: Callable[[Json], list[Json]] = lambda record: [record]
    of: int = 0
    """how many of the key's parts name the record; 0: the row is the record"""
    snapshot: bool = False
    still: tuple[str, ...] = ()
    columns_only: tuple[str, ...] = ()
    in_own_table: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    stand_in: bool = False
    """the last part of the key is "0" until eBay gives the real one"""

    def steady(self, raw: Json) -> Json:
        return _without(raw, [path.split(".") for path in self.still]) if self.still else raw

    def face(self, kept: Kept) -> Json:
        """The values that events compare: the columns, and the payload's fields that have neither a column nor a table
        of their own. An empty list counts as a missing field."""
        names = {name.replace("_", "") for name in (*self.columns, "raw_payload")}
        names |= {name.lower() for name in self.in_own_table}
        told = _without_empty_lists(self.steady(kept.raw))
        return {name: value for name, value in told.items() if name.lower() not in names} | kept.columns


def _without(raw: Any, paths: Sequence[Sequence[str]]) -> Any:
    if not isinstance(raw, dict):
        return raw
    gone = {path[0] for path in paths if len(path) == 1}
    return {
        name: _without(value, [path[1:] for path in paths if path[0] == name and len(path) > 1])
        for name, value in raw.items()
        if name not in gone
    }


def _without_empty_lists(raw: Any) -> Any:
    if isinstance(raw, dict):
        return {name: _without_empty_lists(value) for name, value in raw.items() if value != []}
    return [_without_empty_lists(each) for each in raw] if isinstance(raw, list) else raw


def _parts(name: str) -> Callable[[Json], list[Json]]:
    return lambda record: [part | {"^": record} for part in record.get(name) or ()]


def _reference(kind: str, above: str = "") -> Column:
    def find(record: Json) -> Any:
        record = record["^"] if above else record
        found = [each["referenceId"] for each in record.get("references", ()) if each["referenceType"] == kind]
        return found[0] if found else None

    return find


def _order_of(above: str = "") -> Column:
    return lambda row: (row["^"] if above else row).get("orderId") or _reference("ORDER_ID", above)(row)


def _signed(path: str) -> Column:
    """As booked: a DEBIT is negative."""

    def find(record: Json) -> Any:
        value = at(record, path)
        return value and Decimal(value) * (-1 if record["bookingEntry"] == "DEBIT" else 1)

    return find


def _fees(record: Json) -> list[Json]:
    """The fees of the lines, and the transaction itself if it is one; named by line, kind and, from the second on, its
    number."""
    found = [
        fee | {"lineItemId": line["lineItemId"]}
        for line in record.get("orderLineItems", ())
        for fee in line["marketplaceFees"]
    ]
    if "feeType" in record:
        own = {name: record[name] for name in ("feeType", "amount", "feeJurisdiction") if name in record}
        found.append(own | {"feeMemo": record.get("transactionMemo")})
    rows, names = list[Json](), list[str]()
    for fee in found:
        name = f"{fee.get('lineItemId', '-')}/{fee['feeType']}"
        names.append(name)
        count = names.count(name)
        rows.append(fee | {"feeLine": f"{name}/{count}" if count > 1 else name, "^": record})
    return rows


def _cost(fee: Json) -> Any:
    above, value = fee["^"], Decimal(fee["amount"]["value"])
    refunded = above["transactionType"] == "REFUND" and above["bookingEntry"] == "DEBIT"
    back = refunded if "lineItemId" in fee else above["bookingEntry"] == "CREDIT"
    return -value if back else value


def _variations(item: Json) -> list[Json]:
    """Each with its name: the SKU if no other of the listing has it, else what it varies in."""
    found = (item.get("Variations") or {}).get("Variation", [])
    skus = [each.get("SKU") for each in found]
    return [
        each
        | {"VariationKey": each["SKU"] if each.get("SKU") and skus.count(each["SKU"]) == 1 else _specifics(each)}
        | {"^": item}
        for each in found
    ]


def _specifics(variation: Json) -> str:
    pairs = variation["VariationSpecifics"]["NameValueList"]
    return ";".join(sorted(f"{pair['Name']}={','.join(pair['Value'])}" for pair in pairs))


def _left(row: Json) -> Any:
    if "QuantityAvailable" in row or row.get("ListingType") == "Chinese":
        return row.get("QuantityAvailable")
    return int(row["Quantity"]) - int(at(row, "SellingStatus.QuantitySold") or 0)


SHIP = "fulfillmentStartInstructions.0"
TO = f"{SHIP}.shippingStep.shipTo"
ORDERS = Spec(
    "ebay_orders",
    ("order_id",),
    columns(
        f"""
        order_id creation_date last_modified_date order_fulfillment_status order_payment_status seller_id
        buyer_username=buyer.username buyer_checkout_notes cancel_state=cancelStatus.cancelState
        cancelled_date=cancelStatus.cancelledDate price_subtotal$=pricingSummary.priceSubtotal
        price_discount$=pricingSummary.priceDiscount delivery_cost$=pricingSummary.deliveryCost
        tax$=pricingSummary.tax total$=pricingSummary.total total_due_seller$=paymentSummary.totalDueSeller
        total_fee_basis_amount$ total_marketplace_fee$ ebay_collect_and_remit_tax
        payment_date=paymentSummary.payments.0.paymentDate sales_record_reference
        ship_to_full_name={TO}.fullName ship_to_company_name={TO}.companyName
        ship_to_address_line1={TO}.contactAddress.addressLine1 ship_to_address_line2={TO}.contactAddress.addressLine2
        ship_to_city={TO}.contactAddress.city ship_to_county={TO}.contactAddress.county
        ship_to_state_or_province={TO}.contactAddress.stateOrProvince
        ship_to_postal_code={TO}.contactAddress.postalCode ship_to_country_code={TO}.contactAddress.countryCode
        ship_to_primary_phone={TO}.primaryPhone.phoneNumber ship_to_email={TO}.email
        shipping_carrier_code={SHIP}.shippingStep.shippingCarrierCode
        shipping_service_code={SHIP}.shippingStep.shippingServiceCode
        min_estimated_delivery_date={SHIP}.minEstimatedDeliveryDate
        max_estimated_delivery_date={SHIP}.maxEstimatedDeliveryDate
        """
    ),
    in_own_table=("lineItems",),
)
LINE_ITEMS = Spec(
    "order_line_items",
    ("line_item_id",),
    columns(
        """
        line_item_id order_id=^.orderId legacy_item_id legacy_variation_id sku title quantity line_item_cost$
        discounted_line_item_cost$ shipping_cost$=deliveryCost.shippingCost total$ sold_format listing_marketplace_id
        purchase_marketplace_id line_item_fulfillment_status ship_by_date=lineItemFulfillmentInstructions.shipByDate
        """
    ),
    rows=_parts("lineItems"),
)
AMOUNTS: dict[str, Column] = {
    "amount": _signed("amount.value"),
    "amount_converted_from": _signed("amount.convertedFromValue"),
    "order_id": _order_of(),
}
MOVED = """
    transaction_id transaction_type transaction_date transaction_status booking_entry amount_currency=amount.currency
    amount_converted_from_currency=amount.convertedFromCurrency exchange_rate=amount.exchangeRate
    buyer_username=buyer.username payout_id transaction_memo
"""
FINANCES = Spec(
    "ebay_finances_transactions",
    ("transaction_id", "transaction_type"),
    columns(
        MOVED
        + """
        total_fee_amount$ total_fee_basis_amount$
        ebay_collected_tax_amount$=ebayCollectedTaxAmount|eBayCollectedTaxAmount
        fee_type payments_entity sales_record_reference
        """,
        **AMOUNTS,
        item_id=_reference("ITEM_ID"),
        case_id=_reference("CASE_ID"),
        payment_dispute_id=_reference("PAYMENTS_DISPUTE_ID"),
        cancellation_id=_reference("CANCELLATION_ID"),
        return_id=_reference("RETURN_ID"),
    ),
)
FEES = Spec(
    "ebay_finances_fees",
    ("transaction_id", "transaction_type", "fee_line"),
    columns(
        """
        transaction_id=^.transactionId transaction_type=^.transactionType fee_line fee_type
        booking_entry=^.bookingEntry line_item_id amount_currency=amount.currency fee_memo
        transaction_date=^.transactionDate
        """,
        order_id=_order_of("^"),
        item_id=_reference("ITEM_ID", "^"),
        amount=_cost,
    ),
    rows=_fees,
    of=2,
)
TRANSACTIONS = Spec("ebay_transactions", ("transaction_id", "transaction_type"), columns(MOVED, **AMOUNTS))
REFUNDS = Spec(
    "ebay_refunds",
    ("refund_id",),
    columns(
        """
        refund_id=transactionId booking_entry currency=amount.currency refund_status=transactionStatus
        refund_date=transactionDate buyer_username=buyer.username payout_id
        """,
        refund_amount=lambda row: -_signed("amount.value")(row),
        order_id=_order_of(),
        return_id=_reference("RETURN_ID"),
        case_id=_reference("CASE_ID"),
        dispute_id=_reference("PAYMENTS_DISPUTE_ID"),
        cancellation_id=_reference("CANCELLATION_ID"),
    ),
    ours=("refund_reason",),
)
PAYOUTS = Spec(
    "ebay_payouts",
    ("payout_id",),
    columns(
        """
        payout_id payout_status payout_status_description payout_date last_attempted_payout_date amount$
        amount_converted_from=amount.convertedFromValue amount_converted_from_currency=amount.convertedFromCurrency
        exchange_rate=amount.exchangeRate total_amount$ total_fee$ transaction_count bank_reference payout_memo
        payout_reference instrument_type=payoutInstrument.instrumentType
        instrument_nickname=payoutInstrument.nickname
        account_last_four_digits=payoutInstrument.accountLastFourDigits
        """
    ),
)
CANCELLATIONS = Spec(
    "ebay_cancellations",
    ("cancel_id",),
    columns(
        """
        cancel_id legacy_order_id marketplace_id requestor_type cancel_reason cancel_state cancel_status
        cancel_close_reason payment_status partial_order_type request_refund_amount$
        payout_id=payoutRecoupInfo.payoutId amount_to_recoup$=payoutRecoupInfo.amountToRecoup
        item_id=lineItems.0.itemId transaction_id=lineItems.0.transactionId item_title=lineItems.0.itemTitle
        cancel_quantity=lineItems.0.cancelQuantity buyer_login_name seller_login_name
        cancel_request_date=cancelRequestDate.value cancel_close_date=cancelCloseDate.value
        seller_response_due_date=sellerResponseDueDate.value buyer_response_due_date=buyerResponseDueDate.value
        shipment_date=shipmentDate.value last_modified_date=lastModifiedDate.value
        """
    ),
)
DISPUTES = Spec(
    "ebay_disputes",
    ("dispute_id",),
    columns(
        """
        dispute_id=paymentDisputeId payment_dispute_status reason order_id open_date respond_by_date closed_date amount$
        buyer_username seller_response revision item_id=lineItems.0.itemId line_item_id=lineItems.0.lineItemId
        reason_for_closure=resolution.reasonForClosure protection_status=resolution.protectionStatus
        recoup_amount$=resolution.recoupAmount fees$=resolution.fees protected_amount$=resolution.protectedAmount
        total_fee_credit$=resolution.totalFeeCredit
        """
    ),
)
ITEMS = Spec(
    "ebay_inventory_items",
    ("sku",),
    columns(
        """
        sku locale condition condition_description title=product.title subtitle=product.subtitle brand=product.brand
        mpn=product.mpn epid=product.epid image_url=product.imageUrls.0
        quantity=availability.shipToLocationAvailability.quantity inventory_item_group_key=inventoryItemGroupKeys.0
        weight=packageWeightAndSize.weight.value weight_unit=packageWeightAndSize.weight.unit
        """
    ),
    snapshot=True,
)
OFFERS = Spec(
    "ebay_offers",
    ("offer_id",),
    columns(
        """
        offer_id sku marketplace_id format status listing_id=listing.listingId listing_status=listing.listingStatus
        listing_on_hold=listing.listingOnHold sold_quantity=listing.soldQuantity available_quantity
        quantity_limit_per_buyer price$=pricingSummary.price
        minimum_advertised_price$=pricingSummary.minimumAdvertisedPrice
        original_retail_price$=pricingSummary.originalRetailPrice
        auction_start_price$=pricingSummary.auctionStartPrice
        auction_reserve_price$=pricingSummary.auctionReservePrice category_id secondary_category_id listing_duration
        listing_start_date merchant_location_key fulfillment_policy_id=listingPolicies.fulfillmentPolicyId
        payment_policy_id=listingPolicies.paymentPolicyId return_policy_id=listingPolicies.returnPolicyId lot_size
        """
    ),
    snapshot=True,
)
MESSAGES = Spec(
    "ebay_messages",
    ("message_id",),
    columns(
        """
        message_id=MessageID external_message_id=ExternalMessageID folder_id=Folder.FolderID sender=Sender
        recipient_user_id=RecipientUserID send_to_name=SendToName subject=Subject receive_date=ReceiveDate
        expiration_date=ExpirationDate read=Read flagged=Flagged replied=Replied high_priority=HighPriority
        response_enabled=ResponseDetails.ResponseEnabled message_type=MessageType question_type=QuestionType
        item_id=ItemID item_title=ItemTitle item_end_time=ItemEndTime listing_status=ListingStatus text=Text
        content=Content
        """
    ),
    columns_only=("Text", "Content"),
    late=("text", "content"),
)
LISTINGS = Spec(
    "ebay_active_inventory",
    ("item_id",),
    columns(
        """
        item_id=ItemID sku=SKU title=Title listing_type=ListingType listing_duration=ListingDuration quantity=Quantity
        quantity_sold=SellingStatus.QuantitySold current_price#=SellingStatus.CurrentPrice start_price#=StartPrice
        buy_it_now_price#=BuyItNowPrice bid_count=SellingStatus.BidCount question_count=QuestionCount
        start_time=ListingDetails.StartTime view_item_url=ListingDetails.ViewItemURL
        gallery_url=PictureDetails.GalleryURL
        """,
        quantity_available=_left,
    ),
    snapshot=True,
    still=("TimeLeft", "WatchCount", "PictureDetails", "SellingStatus.ConvertedCurrentPrice"),
    in_own_table=("Variations",),
)
VARIATIONS = Spec(
    "ebay_active_inventory_variations",
    ("item_id", "variation_key"),
    columns(
        """
        item_id=^.ItemID variation_key=VariationKey sku=SKU start_price#=StartPrice quantity=Quantity
        quantity_sold=SellingStatus.QuantitySold
        """,
        quantity_available=_left,
    ),
    rows=_variations,
    of=1,
)


def _either(name: str) -> str:
    return f"Transaction.Item.{name}|Item.{name}"


PURCHASES = Spec(
    "ebay_buyer",
    ("item_id", "transaction_id"),
    columns(
        f"""
        item_id={_either("ItemID")} list=List order_id=Order.OrderID
        order_line_item_id=Transaction.OrderLineItemID title={_either("Title")}
        seller_user_id=Transaction.Seller.UserID|{_either("Seller.UserID")} listing_type={_either("ListingType")}
        current_price#={_either("SellingStatus.CurrentPrice")} max_bid#={_either("BiddingDetails.MaxBid")}
        best_offer#={_either("BestOfferDetails.BestOffer")}
        best_offer_status={_either("BestOfferDetails.BestOfferStatus")}
        transaction_price#=Transaction.TransactionPrice
        total_price#=Transaction.TotalPrice|Transaction.TotalTransactionPrice
        quantity_purchased=Transaction.QuantityPurchased buyer_paid_status=Transaction.BuyerPaidStatus
        paid_time=Transaction.PaidTime shipped_time=Transaction.ShippedTime created_date=Transaction.CreatedDate
        end_time={_either("ListingDetails.EndTime")}
        """,
        transaction_id=lambda row: at(row, "Transaction.TransactionID") or "0",
    ),
    still=(
        "Item.TimeLeft",
        "Item.PictureDetails",
        "Item.SellingStatus.ConvertedCurrentPrice",
        "Transaction.Item.PictureDetails",
    ),
    stand_in=True,
)


@dataclass(frozen=True)
class Source:
    """What a run can see of a family, and the tables that it fills: the records' own, then those of their parts."""

    see: Callable[[Eye], Iterable[Json]]
    tables: tuple[Spec, ...]
    kind: str | None = None
    """the simulator's things whose bodies are the records"""


TRUTH: dict[str, Source] = {
    "orders": Source(orders, (ORDERS, LINE_ITEMS)),
    "finances": Source(transactions, (FINANCES, FEES), "transaction"),
    "transactions": Source(transactions, (TRANSACTIONS,), "transaction"),
    "refunds": Source(refunds, (REFUNDS,), "transaction"),
    "payouts": Source(payouts, (PAYOUTS,), "payout"),
    "cancellations": Source(cancellations, (CANCELLATIONS,)),
    "disputes": Source(disputes, (DISPUTES,), "dispute"),
    "inventory": Source(inventory, (ITEMS,), "inventory_item"),
    "offers": Source(offers, (OFFERS,), "offer"),
    "messages": Source(messages, (MESSAGES,)),
    "active_inventory": Source(active_inventory, (LISTINGS, VARIATIONS)),
    "buyer": Source(buyer, (PURCHASES,)),
}


# ---- the model


def typed(value: Any, sql: str) -> Any:
    """A value as the column's type has it."""
    if value is None or (value == "" and sql != "text"):
        return None
    if sql == "numeric":
        return Decimal(str(value))
    if sql == "bigint":
        return int(value)
    if sql == "boolean":
        return value in (True, "true")
    if sql == "timestamp with time zone":
        return value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return str(value)


@dataclass
class Model:
    """What the tables of one account hold after each run."""

    world: World
    seller: Seller
    account_id: Any
    query: Query
    families: Sequence[str]
    known: dict[str, Rows] = field(default_factory=dict)
    before: datetime | None = None
    told: int = 0
    """the id of the last event that was looked at"""
    rows_compared: int = 0
    events_compared: int = 0
    _first: dict[str, datetime] = field(default_factory=dict)
    _types: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for spec in self.specs():
            self.known[spec.name] = {}
            self._types[spec.name] = dict(
                self.query(
                    "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", spec.name
                )
            )
            own = {"ebay_account_id", "raw_payload", "first_seen_at", "updated_at", "removed_at", *spec.ours}
            own.add("personal_erased_at")
            assert set(spec.columns) == set(self._types[spec.name]) - own, f"the columns of {spec.name}"

    def specs(self) -> Iterator[Spec]:
        for name in self.families:
            yield from TRUTH[name].tables

    def advance(self, now: datetime, end: datetime) -> dict[Event, Json]:
        """A run that has read everything up to `end` without anything moving; what it must have told."""
        events: dict[Event, Json] = {}
        for name in self.families:
            eye = Eye(self.world, self.seller, now, end, self.before, self.known, self._first)
            records = list(TRUTH[name].see(eye))
            for spec in TRUTH[name].tables:
                for key, kind, changes in self._follow(spec, records):
                    events[name, spec.name, "/".join(key), kind] = changes
        self.before = end
        return events

    def _follow(self, spec: Spec, records: list[Json]) -> Iterator[tuple[Key, str, Json]]:
        known = self.known[spec.name]
        seen: Rows = {}
        for record in records:
            for row in spec.rows(record):
                key, kept = self._kept(spec, row)
                assert key not in seen, f"{spec.name} {key} twice"
                seen[key] = kept
        for key in seen if spec.stand_in else ():
            stand_in = (*key[:-1], "0")
            if key not in known and stand_in in known and stand_in not in seen:
                known[key] = known.pop(stand_in)
        for key, kept in seen.items():
            old, known[key] = known.get(key), kept
            if old is None:
                continue
            changes = differences(spec, old, kept)
            if old.removed:
                yield key, "returned", changes
            elif changes:
                yield key, "changed", changes
        parents = self._parents(spec, records)
        for key, kept in known.items():
            gone = key not in seen and (spec.snapshot or (parents is not None and parents(key)))
            if gone and not kept.removed:
                known[key] = replace(kept, removed=True)
                yield key, "removed", {}

    def _parents(self, spec: Spec, records: list[Json]) -> Callable[[Key], bool] | None:
        """Of parts, whether their record was looked at or is gone."""
        if not spec.of:
            return None
        whole = next(table for name in self.families for table in TRUTH[name].tables if spec in TRUTH[name].tables)
        seen = {self._kept(whole, record)[0] for record in records}
        gone = {key for key, kept in self.known[whole.name].items() if kept.removed}
        return lambda key: key[: spec.of] in seen | gone

    def _kept(self, spec: Spec, row: Json) -> tuple[Key, Kept]:
        types = self._types[spec.name]
        values = {name: typed(read(row), types[name]) for name, read in spec.columns.items()}
        raw = {name: value for name, value in row.items() if name != "^" and name not in spec.columns_only}
        key = tuple(values.pop(name) for name in spec.key)
        return key, Kept(values, raw)

    # ---- what is there

    def stored(self, spec: Spec) -> Rows:
        names = [name for name in spec.columns if name not in spec.key]
        removed = "removed_at IS NOT NULL" if "removed_at" in self._types[spec.name] else "false"
        text = ", ".join([*spec.key, *names, "raw_payload::text", removed])
        found = self.query(f"SELECT {text} FROM {spec.name} WHERE ebay_account_id = %s", self.account_id)
        count = len(spec.key)
        return {
            tuple(row[:count]): Kept(dict(zip(names, row[count:-2], strict=True)), json.loads(row[-2]), row[-1])
            for row in found
        }

    def compare(self) -> list[str]:
        """How the tables differ from what they must hold."""
        found = list[str]()
        for spec in self.specs():
            there, known = self.stored(spec), self.known[spec.name]
            self.rows_compared += len(there)
            found += [f"{spec.name}: {key} is missing" for key in known.keys() - there.keys()]
            found += [f"{spec.name}: {key} must not be there" for key in there.keys() - known.keys()]
            for key in known.keys() & there.keys():
                if (mine := known[key]).removed != there[key].removed:
                    found.append(f"{spec.name}: {key} is removed: {there[key].removed}")
                for name, value in mine.columns.items():
                    if value != there[key].columns[name]:
                        found.append(f"{spec.name}: {key} {name} is {there[key].columns[name]!r}, not {value!r}")
                if spec.steady(mine.raw) != spec.steady(there[key].raw):
                    found.append(f"{spec.name}: {key} raw_payload: {_where(mine.raw, there[key].raw)}")
        return found

    def events(self) -> list[tuple[Event, Json]]:
        """Those since the last time, their changes typed as the columns are."""
        rows = self.query(
            "SELECT id, api_family, table_name, entity_key, event, changes::text FROM ebay_events"
            " WHERE ebay_account_id = %s AND id > %s ORDER BY id",
            self.account_id,
            self.told,
        )
        self.told = max([self.told, *(row[0] for row in rows)])
        self.events_compared += len(rows)
        return [
            ((family, table, key, kind), self._typed(table, json.loads(changes)))
            for _, family, table, key, kind, changes in rows
        ]

    def _typed(self, table: str, changes: Json) -> Json:
        types = self._types[table]
        return {
            name: [typed(value, types[name]) if name in types else value for value in pair]
            for name, pair in changes.items()
        }

    def compare_events(self, expected: dict[Event, Json]) -> list[str]:
        """How what was told since the last time differs from what had to be told."""
        there, found = dict[Event, Json](), list[str]()
        for event, changes in self.events():
            if event in there:
                found.append(f"{event} is told twice")
            there[event] = changes
        found += [f"{event} is not told: {expected[event]}" for event in expected.keys() - there.keys()]
        found += [f"{event} is told: {there[event]}" for event in there.keys() - expected.keys()]
        for event in there.keys() & expected.keys():
            if there[event] != expected[event]:
                found.append(f"{event} tells {there[event]}, not {expected[event]}")
        return found

    def adopt(self) -> list[str]:
        """Take what is stored for what is known, after a run during which things moved: what it saw nobody can tell,
        but what it has told must lead from what was known to what is stored, and each row must have been so once."""
        found, told = list[str](), dict[tuple[str, str], list[tuple[str, Json]]]()
        for (_, table, key, kind), changes in self.events():
            told.setdefault((table, key), []).append((kind, changes))
        for name in self.families:
            for spec in TRUTH[name].tables:
                there, known = self.stored(spec), self.known[spec.name]
                for key in list(known) if spec.stand_in else ():
                    named = [other for other in there if other[:-1] == key[:-1] and other not in known]
                    if key not in there and named:
                        known[named[0]] = known.pop(key)
                        earlier = told.pop((spec.name, "/".join(key)), [])
                        told[spec.name, "/".join(named[0])] = earlier + told.get((spec.name, "/".join(named[0])), [])
                found += [f"{spec.name}: {key} is missing" for key in known.keys() - there.keys()]
                for key, kept in there.items():
                    steps = told.pop((spec.name, "/".join(key)), [])
                    found += [f"{spec.name}: {key} {what}" for what in _unfolded(spec, known.get(key), steps, kept)]
                if TRUTH[name].kind and not spec.of:
                    found += self._never(spec, TRUTH[name].kind, there)
                self.known[spec.name] = there
        for order in self.known.get("ebay_orders", ()):
            self._first.setdefault(order[0], self.world.now())
        return found + [f"{key} has events and no row" for key in told]

    def _never(self, spec: Spec, kind: str | None, there: Rows) -> list[str]:
        versions: dict[Key, list[Json]] = {}
        for thing in self.world.things(self.seller, kind or "").values():
            for version in thing.versions:
                if version.body is not None:
                    row = spec.rows(version.body)[0]
                    versions.setdefault(self._kept(spec, row)[0], []).append(version.body)
        return [
            f"{spec.name}: {key} was never so" for key, kept in there.items() if kept.raw not in versions.get(key, [])
        ]


def differences(spec: Spec, old: Kept, new: Kept) -> Json:
    """{field: [old, new]}."""
    before, after = spec.face(old), spec.face(new)
    return {
        name: [before.get(name), after.get(name)]
        for name in {**before, **after}
        if before.get(name) != after.get(name)
        and not (name in spec.late and None in (before.get(name), after.get(name)))
    }


def _unfolded(spec: Spec, old: Kept | None, steps: list[tuple[str, Json]], new: Kept) -> Iterator[str]:
    """What is wrong with events as the way from one state of a row to another, followed backwards."""
    face, removed = dict(spec.face(new)), new.removed
    for kind, changes in reversed(steps):
        if (kind == "removed") != removed:
            yield f"{kind}, but then removed is {removed}"
        if kind == "changed" and not changes:
            yield "changed without a change"
        removed = {"removed": False, "returned": True, "changed": False}[kind]
        for name, (before, after) in changes.items():
            if face.get(name) != after:
                yield f"{name} became {after!r}, but it is {face.get(name)!r}"
            face[name] = before
    if old is None:
        return
    if removed != old.removed:
        yield f"removed was {old.removed} and is {new.removed}, by {[kind for kind, _ in steps]}"
    if wrong := _unlike(spec, old, face):
        yield f"is told to have been what it was not: {wrong}"


def _unlike(spec: Spec, old: Kept, face: Json) -> Json:
    before = spec.face(old)
    return {
        name: [before.get(name), face.get(name)]
        for name in {**before, **face}
        if before.get(name) != face.get(name) and not (name in spec.late and before.get(name) is None)
    }


def _where(mine: Any, there: Any, path: str = "") -> str:
    """The first place where two documents differ."""
    if isinstance(mine, dict) and isinstance(there, dict):
        for name in {**mine, **there}:
            if mine.get(name) != there.get(name) or (name in mine) != (name in there):
                return _where(mine.get(name), there.get(name), f"{path}.{name}")
    if isinstance(mine, list) and isinstance(there, list) and len(mine) == len(there):
        for index, pair in enumerate(zip(mine, there, strict=True)):
            if pair[0] != pair[1]:
                return _where(*pair, f"{path}.{index}")
    return f"at {path} {there!r}, not {mine!r}"
