"""refunds: money given back, and the order, return, case, dispute or cancellation it belongs to (getTransactions,
REFUND).

eBay gives a refund no reason. The reason of its return or cancellation is looked up in the stored ones.
"""

from __future__ import annotations

from decimal import Decimal

from ebaysync.families import finances
from ebaysync.families.family import Family, MergeSpec, WindowSpec
from ebaysync.families.finances import reference
from ebaysync.store.table import NUMERIC, TIME, Column, Row, Table, Twins


def refunded(row: Row) -> Decimal | None:
    """The amount, positive; a refund that came back to the seller (CREDIT) is negative."""
    amount: Decimal | None = row["refund_amount"]
    if not amount:
        return amount
    return -abs(amount) if row["booking_entry"] == "CREDIT" else abs(amount)


REFUNDS = Table(
    "ebay_refunds",
    key=("refund_id",),
    twins=Twins("refund_id", always=("refund_date", "booking_entry")),
    columns=(
        Column("refund_id", path="transactionId", required=True),
        Column("booking_entry"),
        Column("refund_amount", NUMERIC, "amount.value", derived=refunded),
        Column("currency", path="amount.currency"),
        Column("refund_status", path="transactionStatus"),
        Column("refund_reason", kept=True),
        Column("refund_date", TIME, "transactionDate", required=True),
        Column("order_id", path=f"orderId|{reference('ORDER_ID')}"),
        Column("return_id", path=reference("RETURN_ID")),
        Column("case_id", path=reference("CASE_ID")),
        Column("dispute_id", path=reference("PAYMENTS_DISPUTE_ID")),
        Column("cancellation_id", path=reference("CANCELLATION_ID")),
        Column("buyer_username", path="buyer.username", private=True),
        Column("payout_id"),
    ),
)

# The reason of the referenced return or cancellation; else of the order's only cancellation.
_REASONS = """
WITH found AS (
    SELECT f.refund_id, coalesce(
        (SELECT r.reason FROM ebay_returns r
            WHERE r.ebay_account_id = :account AND r.return_id = f.return_id),
        (SELECT c.cancel_reason FROM ebay_cancellations c
            WHERE c.ebay_account_id = :account AND c.cancel_id = f.cancellation_id),
        (SELECT CASE WHEN count(*) = 1 THEN min(c.request ->> 'cancelReason') END
            FROM ebay_orders o, jsonb_array_elements(o.raw_payload #> '{cancelStatus,cancelRequests}') c(request)
            WHERE o.ebay_account_id = :account AND o.order_id = f.order_id
                AND jsonb_typeof(o.raw_payload #> '{cancelStatus,cancelRequests}') = 'array'
                AND c.request ->> 'cancelRequestState' = 'COMPLETED'
                AND (f.cancellation_id IS NULL OR c.request ->> 'cancelRequestId' = f.cancellation_id))
        ) AS reason
    FROM ebay_refunds f
    WHERE f.ebay_account_id = :account AND f.refund_date > now() - interval '180 days')
UPDATE ebay_refunds f SET refund_reason = found.reason, updated_at = clock_timestamp()
FROM found WHERE f.ebay_account_id = :account AND f.refund_id = found.refund_id
    AND found.reason IS NOT NULL AND f.refund_reason IS DISTINCT FROM found.reason
"""

FAMILY = Family(
    name="refunds",
    about="refunds, and what they refer to",
    source="transactions",
    calls=f"{finances.CALLS}, type REFUND",
    every_minutes=15,
    quiet_minutes=30,
    costs={"finances": 1},
    cursor_type="window",
    scopes=finances.SCOPES,
    tables=(REFUNDS,),
    window=WindowSpec(
        "refund_date",
        furthest_reach=finances.FURTHEST,
        overlap=finances.OVERLAP,
        sweep=finances.SWEEP,
        widest=finances.WIDEST,
    ),
    own_records=finances.of_type("REFUND"),
    merge=MergeSpec(enrich=_REASONS),
)
