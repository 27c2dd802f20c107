"""The shape of each call's answer: the place of its records, their ids and their totals.

Written down for the faults, which spoil any answer of any call. A JSON answer of another path than the lists' is one
record: a detail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

PAGINATION = ("paginationOutput", "totalEntries")


@dataclass(frozen=True, slots=True)
class Shape:
    """`rows` and `id` are the names of the list and of a record's id; `counts` are the paths of the totals."""

    path: str
    rows: str
    id: str
    counts: tuple[tuple[str, ...], ...] = (("total",),)


LISTS = (
    Shape("/sell/fulfillment/v1/order", "orders", "orderId"),
    Shape("/sell/fulfillment/v1/payment_dispute_summary", "paymentDisputeSummaries", "paymentDisputeId"),
    Shape("/sell/finances/v1/transaction", "transactions", "transactionId"),
    Shape("/sell/finances/v1/payout", "payouts", "payoutId"),
    Shape("/sell/inventory/v1/inventory_item", "inventoryItems", "sku"),
    Shape("/sell/inventory/v1/offer", "offers", "offerId"),
    Shape("/post-order/v2/cancellation/search", "cancellations", "cancelId", (("total",), PAGINATION)),
    Shape("/post-order/v2/casemanagement/search", "members", "caseId", (("totalNumberOfCases",), PAGINATION)),
    Shape("/post-order/v2/inquiry/search", "members", "inquiryId", (("totalNumberOfInquiries",), PAGINATION)),
    Shape("/post-order/v2/return/search", "members", "returnId", (PAGINATION,)),  # its total is "not currently used"
)
DETAIL = re.compile(r"/(sell/(fulfillment|finances|inventory)|post-order)/v\d/[^/]+/.+")
# In a won line the Item is inside; the alternatives are tried from left to right, so the whole line is the row.
XML_ROWS = re.compile(
    rb"<OrderTransaction>.*?</OrderTransaction>|<Message>.*?</Message>|<Item>.*?</Item>|<FolderSummary>.*?"
    rb"</FolderSummary>",
    re.DOTALL,
)
XML_COUNT = re.compile(rb"(?<=<TotalNumberOfEntries>)\d+(?=<)")
XML_ID = re.compile(rb"<(MessageID|ItemID)>([^<]*)</\1>")


def of(path: str) -> Shape | None:
    """The shape of a list; None: the path is no list's."""
    return next((shape for shape in LISTS if shape.path == path), None)


def total(document: dict[str, Any], shape: Shape) -> int:
    """How many records a page says there are."""
    place: Any = document
    for name in shape.counts[-1]:
        place = place.get(name, {})
    return int(place or 0)


def add(document: dict[str, Any], shape: Shape, by: int) -> None:
    """Add to each total of a page."""
    for *parents, last in shape.counts:
        place: Any = document
        for name in parents:
            place = place.get(name, {})
        if last in place:
            place[last] = max(0, place[last] + by)
