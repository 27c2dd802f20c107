"""Payment disputes by the time they were opened (getPaymentDisputeSummaries, getPaymentDispute)."""

from __future__ import annotations

from ebaysync.ebay import disputes
from ebaysync.ebay.rest import Api
from ebaysync.sync.slices import Page, Slice
from ebaysync.sync.sources import rest_list
from ebaysync.sync.sources.calls import Calls, one_by_one


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""

    async def ask(window: Slice, offset: int) -> Page:
        page = await disputes.disputes(api, window.start, window.end, offset)
        return rest_list.page(page, page.payment_dispute_summaries, offset, disputes.PAGE)

    async def open_list() -> Page:
        page = await disputes.open_disputes(api)
        return rest_list.page(page, page.payment_dispute_summaries, 0, disputes.PAGE)

    detail = one_by_one(lambda key: disputes.dispute(api, key))
    return Calls(ask, page_size=disputes.PAGE, open_list=open_list, details=detail)
