"""cases: escalated inquiries and returns (Post-Order casemanagement/search, /{id}).

How eBay behaves, and this module copes:

- Neither call names the order: item and transaction lead to its line item.
- No real answer by id was found anywhere. Its fields follow eBay's types alone (CaseDetailsResponse).
- CLOSED and CS_CLOSED end a case, but an appeal may open it again. (Our reading: eBay does not say.)
- Since September 2025 `buyer` may be an immutable id instead of a user name (note on that field).
"""

from __future__ import annotations

from ebaysync.families.post_order import Composition, anywhere, date, family, moved_on
from ebaysync.store.table import INTEGER, Column, Table, money

CASES = Table(
    "ebay_cases",
    key=("case_id",),
    columns=(
        Column("case_id", path=f"{anywhere('summary.caseId', 'detail.caseId')}|caseId", required=True),
        Column("case_type", path=anywhere("detail.caseType")),
        Column("case_status_enum", path="detail.status|summary.caseStatusEnum"),
        Column("item_id", path=anywhere("summary.itemId", "detail.itemId")),
        Column("transaction_id", path=anywhere("summary.transactionId", "detail.transactionId")),
        Column("order_id", path=anywhere("summary.orderId", "detail.orderId")),
        Column("return_id", path=anywhere("detail.returnId")),
        Column("buyer", path=anywhere("summary.buyer"), private=True),
        Column("seller", path=anywhere("summary.seller"), private=True),
        Column("case_quantity", INTEGER, anywhere("detail.caseQuantity")),
        *money("claim_amount", anywhere("detail.claimAmount", "summary.claimAmount")),
        *money("shipping_fee", anywhere("detail.shippingFee")),
        *money("refund_amount", anywhere("detail.caseDetails.refundAmounts.refundAmount")),
        date("respond_by_date", "summary.respondByDate|detail.caseDetails.expirationDate"),
        date("creation_date", anywhere("summary.creationDate", "detail.creationDate"), required=True),
        date("last_modified_date", anywhere("detail.lastModifiedDate", "summary.lastModifiedDate")),
        date("escalation_date", anywhere("detail.caseDetails.escalationDate")),
        date("expiration_date", "detail.caseDetails.expirationDate"),
        date("refund_deadline_date", "detail.caseDetails.refundDeadlineDate"),
        Column("initiator", path=anywhere("detail.initiator")),
        Column("escalated_by", path=anywhere("detail.escalatedBy")),
        Column("escalate_reason", path=anywhere("detail.escalateReason")),
        Column("appeal_status_enum", path=anywhere("detail.appealDetails.appealStatusEnum")),
        date("appeal_date", anywhere("detail.appealDetails.appealDate")),
        Column("buyer_closure_reason", path="detail.buyerClosureReason"),
        Column("seller_closure_reason", path="detail.sellerClosureReason"),
    ),
)

FAMILY = family(
    Composition(
        CASES,
        status="case_status_enum",
        final=("CLOSED", "CS_CLOSED"),
        listed="summary",
        version=("lastModifiedDate", "caseStatusEnum"),
        outdated=moved_on("case_status_enum"),
    ),
    name="cases",
    api="post_order.case",
    about="cases of escalated inquiries and returns",
    calls="Post-Order casemanagement/search, casemanagement/{id}",
    normal=(
        *("case_id", "case_type", "case_status_enum", "item_id", "transaction_id", "buyer", "seller"),
        *("claim_amount", "claim_amount_currency", "creation_date", "last_modified_date"),
    ),
)
