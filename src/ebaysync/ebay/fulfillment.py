"""Sell Fulfillment: getOrders and getOrder. (api host.)

Filter names are lower case (camel case is refused with 30700). Both bounds are given and inclusive. A bound in the
future is refused with 30850, limit 201 with 31100. The order of rows is not documented and not relied on.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Api, ListPage, RestApi, is_record, stamp
from ebaysync.errors import EbayRejected

QUOTAS = (
    Quota(
        "fulfillment",
        100_000,
        r"^/sell/fulfillment/(?!v1/payment_dispute)",
        r"fulfil\w*/(?!.*dispute)(.*order|(\w+\.)?fulfil\w*$)",
    ),
)

PATH = "/sell/fulfillment/v1/order"
PAGE = 200
API = RestApi("api")
BOUND_IN_FUTURE = 30850


class OrdersPage(ListPage, frozen=True):
    LISTS = ("orders",)

    orders: list[msgspec.Raw] | None = None

    def missing(self) -> str | None:
        """eBay's answers always have both, so an empty list without a total is no answer."""
        if self.orders is None or (not self.orders and not self.broken and self.total is None):
            return "the answer has no orders, or no total"
        return None


async def orders(api: Api, modified_from: datetime, modified_to: datetime, offset: int = 0) -> OrdersPage:
    """One page of the orders that were modified in a span. Raises EbayError."""
    params = (
        ("filter", f"lastmodifieddate:[{stamp(modified_from)}..{stamp(modified_to)}]"),
        ("limit", str(PAGE)),
        ("offset", str(offset)),
    )
    return await api.get(API, PATH, OrdersPage, params)


async def order(api: Api, order_id: str) -> bytes:
    """One order with what the list leaves out. Raises RecordNotFound."""
    if order_id.strip(".") == "":
        raise EbayRejected(f"{order_id!r} cannot be asked for: in a path it means another place")
    path = f"{PATH}/{quote(order_id, safe='')}"
    found: msgspec.Raw = await api.get(API, path, msgspec.Raw, missing=is_record("orderId", order_id))
    return bytes(found)
