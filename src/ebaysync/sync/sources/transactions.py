"""Transactions by their date (Finances getTransactions)."""

from __future__ import annotations

from ebaysync.ebay import finances
from ebaysync.ebay.rest import Api
from ebaysync.sync.slices import Page, Slice
from ebaysync.sync.sources import rest_list
from ebaysync.sync.sources.calls import Calls


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""

    async def ask(window: Slice, offset: int) -> Page:
        page = await finances.transactions(api, window.start, window.end, offset)
        return rest_list.page(page, page.transactions, offset, finances.PAGE)

    return Calls(ask, page_size=finances.PAGE)
