"""Sell Finances: getTransactions and getPayouts. (apiz host; a 204 means nothing.)

The only filter is the day of a transaction or payout: none shows a change. The marketplace header is marked as
required. Nobody could verify whether another marketplace's value hides rows, so the seller's own is sent. limit 200 is
the highest that all of eBay's texts allow. They do not say what an offset of 5,000 or more does.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Api, ListPage, RestApi, stamp

QUOTAS = (Quota("finances", 15_000, r"^/sell/finances/", r"/finances?/"),)

PATH = "/sell/finances/v1"
PAGE = 200
API = RestApi("apiz", names_marketplace=True, signed=True)


class TransactionsPage(ListPage, frozen=True):
    LISTS = ("transactions",)

    transactions: tuple[msgspec.Raw, ...] | None = None


class PayoutsPage(ListPage, frozen=True):
    LISTS = ("payouts",)

    payouts: tuple[msgspec.Raw, ...] | None = None


async def transactions(api: Api, start: datetime, end: datetime, offset: int = 0) -> TransactionsPage:
    """One page of the transactions of a span of transactionDate. Raises EbayError."""
    params = _params("transactionDate", start, end, offset)
    return await api.get(API, f"{PATH}/transaction", TransactionsPage, params, none=TransactionsPage())


async def payouts(api: Api, start: datetime, end: datetime, offset: int = 0) -> PayoutsPage:
    """One page of the payouts of a span of payoutDate. Raises EbayError."""
    params = _params("payoutDate", start, end, offset)
    return await api.get(API, f"{PATH}/payout", PayoutsPage, params, none=PayoutsPage())


async def check_signature(api: Api) -> None:
    """A self-test: the smallest call, asking eBay to verify the signature whoever the seller is.

    Several clients send x-ebay-enforce-signature; eBay's own do not. Raises SignatureRefused, EbayError.
    """
    now = api.transport.clock.now()
    params = (("filter", f"payoutDate:[{stamp(now - timedelta(hours=1))}..{stamp(now - timedelta(minutes=5))}]"),)
    enforced = replace(API, headers=(("x-ebay-enforce-signature", "true"),))
    await api.get(enforced, f"{PATH}/payout", PayoutsPage, (*params, ("limit", "1")), none=PayoutsPage())


def _params(field: str, start: datetime, end: datetime, offset: int) -> tuple[tuple[str, str], ...]:
    return (
        ("filter", f"{field}:[{stamp(start)}..{stamp(end)}]"),
        ("limit", str(PAGE)),
        ("offset", str(offset)),
        ("sort", field),
    )
