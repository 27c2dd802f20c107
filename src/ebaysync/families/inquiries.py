"""inquiries: buyers who did not receive an item (Post-Order inquiry/search, inquiry/{id}).

How eBay behaves, and this module copes:

- Neither call names the order: item and transaction lead to its line item.
- The answer by id has no last modification; the last entry of its history is as new.
- CLOSED, CS_CLOSED and CLOSED_WITH_ESCALATION end an inquiry, but an appeal may open it again. After the last one a
  case goes on, which eBay does not name. (Our reading: eBay does not say.)
- Since September 2025 `buyer` may be an immutable id instead of a user name (note on that field).
"""

from __future__ import annotations

from ebaysync.families.post_order import Composition, anywhere, date, family, moved_on
from ebaysync.store.table import INTEGER, Column, Table, money

_LAST_ENTRY = "detail.inquiryHistoryDetails.history[-1]"

INQUIRIES = Table(
    "ebay_inquiries",
    key=("inquiry_id",),
    columns=(
        Column("inquiry_id", path=f"{anywhere('summary.inquiryId', 'detail.inquiryId')}|inquiryId", required=True),
        Column("inquiry_status_enum", path="detail.status|summary.inquiryStatusEnum"),
        Column("state", path="detail.state"),
        Column("creation_reason", path=anywhere("detail.creationReason")),
        Column("item_id", path=anywhere("summary.itemId", "detail.itemId")),
        Column("transaction_id", path=anywhere("summary.transactionId", "detail.transactionId")),
        Column("order_id", path=anywhere("summary.orderId", "detail.orderId")),
        Column("buyer", path=anywhere("summary.buyer"), private=True),
        Column("seller", path=anywhere("summary.seller"), private=True),
        Column("initiator", path=anywhere("detail.initiator")),
        Column("item_title", path=anywhere("detail.itemDetails.itemTitle")),
        Column("inquiry_quantity", INTEGER, anywhere("detail.inquiryQuantity")),
        *money("claim_amount", anywhere("detail.claimAmount", "summary.claimAmount")),
        *money("shipping_cost", anywhere("detail.shippingCost")),
        *money("total_amount", anywhere("detail.inquiryDetails.totalAmount")),
        *money("refund_amount", anywhere("detail.inquiryDetails.refundAmounts.refundAmount")),
        *money("refund_charge_amount", anywhere("detail.inquiryDetails.refundChargeAmount")),
        date("respond_by_date", "summary.respondByDate|detail.sellerMakeItRightByDate"),
        date("seller_make_it_right_by_date", "detail.sellerMakeItRightByDate"),
        date("creation_date", anywhere("summary.creationDate", "detail.inquiryDetails.creationDate"), required=True),
        date("last_modified_date", anywhere("summary.lastModifiedDate", f"{_LAST_ENTRY}.date")),
        date("escalation_date", anywhere("detail.inquiryDetails.escalationDate")),
        date("expiration_date", "detail.inquiryDetails.expirationDate"),
        date("refund_deadline_date", "detail.inquiryDetails.refundDeadlineDate"),
        date("inquiry_closure_date", "detail.inquiryClosureDate"),
        Column("appeal_status_enum", path=anywhere("detail.inquiryDetails.appealDetails.appealStatusEnum")),
        date("appeal_date", anywhere("detail.inquiryDetails.appealDetails.appealDate")),
    ),
)


FAMILY = family(
    Composition(
        INQUIRIES,
        status="inquiry_status_enum",
        final=("CLOSED", "CS_CLOSED", "CLOSED_WITH_ESCALATION"),
        listed="summary",
        version=("lastModifiedDate", "inquiryStatusEnum"),
        outdated=moved_on("inquiry_status_enum"),
    ),
    name="inquiries",
    api="post_order.inquiry",
    about="inquiries about items that did not arrive",
    calls="Post-Order inquiry/search, inquiry/{id}",
    normal=(
        *("inquiry_id", "inquiry_status_enum", "item_id", "transaction_id", "buyer", "seller", "initiator"),
        *("claim_amount", "claim_amount_currency", "creation_date", "last_modified_date"),
    ),
)
