"""Sell Finances: getTransactions and getPayouts. (apiz host; nothing is a 204.)

Only the day of a transaction or payout can be asked for: no filter shows that one has changed. The marketplace
header is marked as required; whether another marketplace's would hide rows nobody could verify, so the seller's own
is sent. limit 200 is the highest that all of eBay's texts allow; what an offset of 5,000 or more does they leave open.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Answered, Api, stamp

QUOTAS = (Quota("finances", 15_000, r"^/sell/finances/", r"/finances?/"),)

PATH = "/sell/finances/v1"
PAGE = 200


class TransactionsPage(Answered, frozen=True):
    total: int | None = None
    transactions: tuple[msgspec.Raw, ...] | None = None
    next: str | None = None
    limit: int | None = None


class PayoutsPage(Answered, frozen=True):
    total: int | None = None
    payouts: tuple[msgspec.Raw, ...] | None = None
    next: str | None = None
    limit: int | None = None


async def transactions(api: Api, start: datetime, end: datetime, offset: int = 0) -> TransactionsPage:
    """One page of the transactions of a span of transactionDate."""
    params = _params("transactionDate", start, end, offset)
    return await api.get(
        "apiz",
        f"{PATH}/transaction",
        TransactionsPage,
        params,
        headers=_headers(api),
        none=TransactionsPage(),
        signed=True,
    )


async def payouts(api: Api, start: datetime, end: datetime, offset: int = 0) -> PayoutsPage:
    """One page of the payouts of a span of payoutDate."""
    params = _params("payoutDate", start, end, offset)
    return await api.get(
        "apiz", f"{PATH}/payout", PayoutsPage, params, headers=_headers(api), none=PayoutsPage(), signed=True
    )


async def check_signature(api: Api) -> None:
    """A self-test: the least that can be asked, with a demand that eBay verify the signature whoever the seller is.
    (x-ebay-enforce-signature: several clients send it; eBay's own do not.) Raises SignatureRefused, EbayError."""
    now = api.transport.clock.now()
    params = (("filter", f"payoutDate:[{stamp(now - timedelta(hours=1))}..{stamp(now - timedelta(minutes=5))}]"),)
    headers = (*_headers(api), ("x-ebay-enforce-signature", "true"))
    page = PayoutsPage()
    await api.get(
        "apiz", f"{PATH}/payout", PayoutsPage, (*params, ("limit", "1")), headers=headers, none=page, signed=True
    )


def _params(field: str, start: datetime, end: datetime, offset: int) -> tuple[tuple[str, str], ...]:
    return (
        ("filter", f"{field}:[{stamp(start)}..{stamp(end)}]"),
        ("limit", str(PAGE)),
        ("offset", str(offset)),
        ("sort", field),
    )


def _headers(api: Api) -> tuple[tuple[str, str], ...]:
    return (("X-EBAY-C-MARKETPLACE-ID", api.marketplace_id or "EBAY_US"),)
