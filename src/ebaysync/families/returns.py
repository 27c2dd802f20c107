"""returns: items that buyers want to send back (Post-Order return/search, return/{id}).

How eBay behaves, and this module copes:

- FULL answers with `summary` and `detail` (eBay's sample) or with `detail` alone (seen), which has no state. Then the
  search's record, or a second call, has the summary (ebay/postorder).
- The two summaries of a return may differ. The search's is kept as `listed`, to notice a change.
- There is no last modification; the last entry of the history is as new.
- `closeInfo` also comes for open returns (seen). Only its close date says that a return is closed.
- CLOSED ends a return, but it may be opened again. (Our reading: eBay does not say.) An ESCALATED return goes on as a
  case.
"""

from __future__ import annotations

from ebaysync.families.post_order import Composition, anywhere, date, differ, family
from ebaysync.store.table import INTEGER, Column, Table, money


def shown(path: str) -> str:
    """The path of a field in the newest summary."""
    return f"summary.{path}|listed.{path}"


def ever(path: str) -> str:
    return anywhere(f"summary.{path}", f"listed.{path}")


_REFUND = "detail.refundInfo.actualRefundDetail"

RETURNS = Table(
    "ebay_returns",
    key=("return_id",),
    columns=(
        Column("return_id", path=f"{ever('returnId')}|returnId", required=True),
        Column("order_id", path=ever("orderId")),
        Column("item_id", path=f"{ever('creationInfo.item.itemId')}|{anywhere('detail.itemDetail.itemId')}"),
        Column(
            "transaction_id",
            path=f"{ever('creationInfo.item.transactionId')}|{anywhere('detail.itemDetail.transactionId')}",
        ),
        Column("item_title", path=ever("creationInfo.item.itemTitle")),
        Column("return_quantity", INTEGER, ever("creationInfo.item.returnQuantity")),
        Column("buyer_login_name", path=f"{ever('buyerLoginName')}|{anywhere('detail.buyerLoginName')}", private=True),
        Column(
            "seller_login_name", path=f"{ever('sellerLoginName')}|{anywhere('detail.sellerLoginName')}", private=True
        ),
        Column("marketplace_id", path=anywhere("detail.marketplaceId")),
        Column("current_type", path=shown("currentType")),
        Column("state", path=shown("state")),
        Column("status", path=shown("status")),
        Column("reason", path=ever("creationInfo.reason")),
        Column("reason_type", path=ever("creationInfo.reasonType")),
        Column("comments", path=ever("creationInfo.comments.content"), private=True),
        Column("case_id", path=ever("escalationInfo.caseId")),
        *money("claim_amount", shown("buyerTotalRefund.estimatedRefundAmount")),
        *money("buyer_actual_refund_amount", shown("buyerTotalRefund.actualRefundAmount")),
        *money("seller_estimated_refund_amount", shown("sellerTotalRefund.estimatedRefundAmount")),
        *money("seller_actual_refund_amount", shown("sellerTotalRefund.actualRefundAmount")),
        Column("refund_status", path=anywhere(f"{_REFUND}.refundStatus")),
        date("refund_issued_date", anywhere(f"{_REFUND}.refundIssuedDate")),
        Column("activity_due", path=shown("sellerResponseDue.activityDue")),
        date("respond_by_date", shown("sellerResponseDue.respondByDate")),
        Column("buyer_activity_due", path=shown("buyerResponseDue.activityDue")),
        date("buyer_respond_by_date", shown("buyerResponseDue.respondByDate")),
        date("creation_date", ever("creationInfo.creationDate"), required=True),
        date("last_modified_date", anywhere("detail.responseHistory[-1].creationDate")),
        date("timeout_date", shown("timeoutDate")),
        date("return_close_date", "detail.closeInfo.returnCloseDate"),
        Column("return_close_reason", path="detail.closeInfo.returnCloseReason"),
    ),
)

FAMILY = family(
    Composition(
        RETURNS,
        status="state",
        final=("CLOSED",),
        listed="listed",
        unpacked=True,
        outdated=differ("state", "status", "activity_due", "respond_by_date", "buyer_respond_by_date"),
    ),
    name="returns",
    api="post_order.return",
    about="returns and replacements",
    calls="Post-Order return/search, return/{id}",
    normal=(
        *("return_id", "order_id", "item_id", "transaction_id", "buyer_login_name", "seller_login_name"),
        *("state", "status", "reason", "claim_amount", "claim_amount_currency", "creation_date", "last_modified_date"),
    ),
)
