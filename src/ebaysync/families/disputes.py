"""disputes: payment disputes (payment_dispute_summary for the list, payment_dispute for each one's detail).

No filter shows a change, so the trailing horizon is swept. The detail of a dispute that is not CLOSED is fetched when
its summary has changed, and when it has an age. For the same status, fields that only the summary has are kept.
respondByDate and closedDate come and go with the status (PaymentDispute, notes on those fields), so a summary of
another status adds nothing.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from ebaysync.families.family import DetailSpec, Family, MergeSpec, RecordVersions, WindowSpec
from ebaysync.store.payload import without_nulls
from ebaysync.store.table import INTEGER, TIME, Column, Row, Stored, Table, money

STATUS = "paymentDisputeStatus"
SUMMARY = frozenset(
    (
        "paymentDisputeId",
        STATUS,
        "reason",
        "orderId",
        "openDate",
        "respondByDate",
        "closedDate",
        "amount",
        "buyerUsername",
    )
)

DISPUTES = Table(
    "ebay_disputes",
    key=("dispute_id",),
    columns=(
        Column("dispute_id", path="paymentDisputeId", required=True),
        Column("payment_dispute_status"),
        Column("reason"),
        Column("order_id"),
        Column("open_date", TIME),
        Column("respond_by_date", TIME),
        Column("closed_date", TIME),
        *money("amount"),
        Column("buyer_username", private=True),
        Column("seller_response"),
        Column("revision", INTEGER),
        Column("item_id", path="lineItems[0].itemId"),
        Column("line_item_id", path="lineItems[0].lineItemId"),
        Column("reason_for_closure", path="resolution.reasonForClosure"),
        Column("protection_status", path="resolution.protectionStatus"),
        *money("recoup_amount", "resolution.recoupAmount"),
        *money("fees", "resolution.fees"),
        *money("protected_amount", "resolution.protectedAmount"),
        *money("total_fee_credit", "resolution.totalFeeCredit"),
    ),
)


def compose(versions: RecordVersions) -> bytes:
    """The detail over the summary of the same status. A part that did not come stays as stored."""
    listed, detail, stored = (_fields(part) for part in (versions.listed, versions.detail, versions.stored))
    summary = listed if versions.listed else {name: value for name, value in stored.items() if name in SUMMARY}
    rest = detail if versions.detail else {name: value for name, value in stored.items() if name not in SUMMARY}
    # The two calls show different moments, and the detail was asked for later.
    if versions.detail and summary.get(STATUS) != detail.get(STATUS):
        summary = {}
    return msgspec.json.Encoder(decimal_format="number").encode(summary | rest)


def _fields(part: bytes | None) -> dict[str, Any]:
    if part is None:
        return {}
    found: dict[str, Any] = without_nulls(msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode(part))
    return found


def is_current(dispute: Row, stored: Stored) -> bool:
    """Whether the detail is stored and the list shows nothing else."""
    listed, known = _fields(bytes(dispute["raw_payload"])), _fields(stored.raw)
    return "revision" in known and all(known.get(name) == value for name, value in listed.items())


FAMILY = Family(
    name="disputes",
    about="payment disputes",
    source="disputes",
    calls="payment_dispute_summary; payment_dispute where open or changed",
    every_minutes=30,
    quiet_minutes=90,
    costs={"dispute_summary": 1},
    cursor_type="window",
    scopes=("https://api.ebay.com/oauth/api_scope/sell.payment.dispute",),
    tables=(DISPUTES,),
    window=WindowSpec(
        "open_date",
        first_reach=timedelta(days=540),  # "up to 18 months"
        furthest_reach=timedelta(days=540),
        sweep=timedelta(days=90),
        widest=timedelta(days=90),
    ),
    detail=DetailSpec(
        needed=lambda dispute: True,
        is_current=is_current,
        open_column="payment_dispute_status",
        final=("CLOSED",),
        seller_must_act=lambda dispute: dispute["respond_by_date"] is not None,
        born_column="open_date",
        api="dispute",
    ),
    merge=MergeSpec(needs_stored=lambda dispute: True, compose=compose),
)
