"""Sell Fulfillment: payment disputes. (apiz host, unlike orders.)

The filter is the day on which a dispute was opened, at most 90 days wide and 18 months back. No filter shows a change.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Api, ListPage, RestApi, is_record, stamp

QUOTAS = (
    Quota("dispute_summary", 250_000, r"^/sell/fulfillment/v1/payment_dispute_summary", r"fulfil\w*/.*dispute.*summar"),
    Quota("dispute", 250_000, r"^/sell/fulfillment/v1/payment_dispute/", r"fulfil\w*/(?!.*summar).*dispute"),
)

PATH = "/sell/fulfillment/v1/payment_dispute"
PAGE = 200
NOT_CLOSED = ("OPEN", "ACTION_NEEDED")
API = RestApi("apiz")


class DisputesPage(ListPage, frozen=True):
    LISTS = ("paymentDisputeSummaries",)

    payment_dispute_summaries: tuple[msgspec.Raw, ...] | None = None


async def disputes(api: Api, start: datetime, end: datetime, offset: int = 0) -> DisputesPage:
    """One page of the summaries of disputes that were opened in a span. Raises EbayError."""
    params = (
        ("open_date_from", stamp(start)),
        ("open_date_to", stamp(end)),
        ("limit", str(PAGE)),
        ("offset", str(offset)),
    )
    return await api.get(API, f"{PATH}_summary", DisputesPage, params)


async def open_disputes(api: Api) -> DisputesPage:
    """The first page of all disputes that are not closed, whenever they were opened. Raises EbayError."""
    params = (*(("payment_dispute_status", status) for status in NOT_CLOSED), ("limit", str(PAGE)))
    return await api.get(API, f"{PATH}_summary", DisputesPage, params)


async def dispute(api: Api, dispute_id: str) -> bytes:
    """One dispute with its details. Raises RecordNotFound."""
    path = f"{PATH}/{quote(dispute_id, safe='')}"
    found: msgspec.Raw = await api.get(API, path, msgspec.Raw, missing=is_record("paymentDisputeId", dispute_id))
    return bytes(found)
