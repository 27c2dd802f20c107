"""Requests to cancel an order by their creation (Post-Order cancellation)."""

from __future__ import annotations

from ebaysync.ebay import postorder
from ebaysync.ebay.rest import Api
from ebaysync.sync.sources import post_order
from ebaysync.sync.sources.calls import Calls


def open_source(api: Api) -> Calls:
    return post_order.search(api, postorder.CANCELLATIONS)
