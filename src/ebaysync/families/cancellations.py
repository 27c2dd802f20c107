"""cancellations: requests to cancel an order (Post-Order cancellation/search).

How eBay behaves, and this module copes:

- The search filters by creation alone, so a later state is found by the sweep.
- The order's id comes in two forms (12-34567-89012, and itemId-transactionId) or not at all.
- A record may lack the date of its request (eBay's own sample).
"""

from __future__ import annotations

from ebaysync.families.family import Family, WindowSpec
from ebaysync.families.post_order import REACH, SCOPES, WIDEST, date
from ebaysync.store.table import INTEGER, Column, Table, money

CANCELLATIONS = Table(
    "ebay_cancellations",
    key=("cancel_id",),
    columns=(
        Column("cancel_id", required=True),
        Column("legacy_order_id"),
        Column("marketplace_id"),
        Column("requestor_type"),
        Column("cancel_reason"),
        Column("cancel_state"),
        Column("cancel_status"),
        Column("cancel_close_reason"),
        Column("payment_status"),
        Column("partial_order_type"),
        *money("request_refund_amount"),
        Column("payout_id", path="payoutRecoupInfo.payoutId"),
        *money("amount_to_recoup", "payoutRecoupInfo.amountToRecoup"),
        Column("item_id", path="lineItems[0].itemId"),
        Column("transaction_id", path="lineItems[0].transactionId"),
        Column("item_title", path="lineItems[0].itemTitle"),
        Column("cancel_quantity", INTEGER, "lineItems[0].cancelQuantity"),
        Column("buyer_login_name", private=True),
        Column("seller_login_name", private=True),
        date("cancel_request_date", "cancelRequestDate"),
        date("cancel_close_date", "cancelCloseDate"),
        date("seller_response_due_date", "sellerResponseDueDate"),
        date("buyer_response_due_date", "buyerResponseDueDate"),
        date("shipment_date", "shipmentDate"),
        date("last_modified_date", "lastModifiedDate"),
    ),
)

FAMILY = Family(
    name="cancellations",
    about="requests to cancel an order",
    source="cancellations",
    calls="Post-Order cancellation/search",
    every_minutes=30,
    quiet_minutes=90,
    costs={"post_order.cancellation": 1},
    cursor_type="window",
    scopes=SCOPES,
    tables=(CANCELLATIONS,),
    window=WindowSpec(first_reach=REACH, furthest_reach=REACH, sweep=WIDEST, widest=WIDEST),
    normal=("cancel_id", "requestor_type", "cancel_state", "cancel_status", "cancel_request_date"),
    absent_in=frozenset({"sandbox"}),
)
