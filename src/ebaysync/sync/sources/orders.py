"""Orders by the time of their last modification (Fulfillment getOrders, getOrder)."""

from __future__ import annotations

from ebaysync.ebay import fulfillment
from ebaysync.ebay.rest import Api
from ebaysync.sync.slices import Page, Slice
from ebaysync.sync.sources import rest_list
from ebaysync.sync.sources.calls import Calls, one_by_one


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""

    async def ask(window: Slice, offset: int) -> Page:
        page = await fulfillment.orders(api, window.start, window.end, offset)
        return rest_list.page(page, page.orders, offset, fulfillment.PAGE)

    return Calls(
        ask,
        page_size=fulfillment.PAGE,
        details=one_by_one(lambda key: fulfillment.order(api, key)),
        in_future=fulfillment.BOUND_IN_FUTURE,
    )
