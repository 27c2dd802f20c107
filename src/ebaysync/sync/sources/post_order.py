"""The searches of Post-Order. eBay's `offset` is ambiguous, so every place is asked where the next page may be."""

from __future__ import annotations

from ebaysync.ebay import postorder
from ebaysync.ebay.json_repair import Broken
from ebaysync.ebay.postorder import PostOrderResource
from ebaysync.ebay.rest import Api
from ebaysync.errors import AccessDenied, EbayRejected, Unauthorized
from ebaysync.sync.slices import Page, Slice
from ebaysync.sync.sources.calls import Calls, as_bytes, one_by_one


def search(api: Api, resource: PostOrderResource) -> Calls:
    """The search of one resource by creation, and its call by id if it has one. Reading raises EbayError."""
    listed: set[str | None] = set()  # returns whose summary the search of this run has shown

    async def ask(window: Slice, offset: int) -> Page:
        total, records, broken, is_cut, partial = 0, list[bytes](), list[Broken](), False, None
        for place in postorder.offsets(offset):
            try:
                page = await postorder.search(api, resource, window.start, window.end, place)
            except EbayRejected as error:
                if not place or isinstance(error, Unauthorized | AccessDenied):
                    raise
                continue  # an offset in rows, but eBay counts pages: there is no such page
            total = max(total, page.counted or 0)
            records += as_bytes(page.rows)
            broken += page.broken
            partial = partial or page.partial
            is_cut = is_cut or page.is_cut
        if resource is postorder.RETURNS:
            # A detail may come without the summary; the search's spares a second call.
            listed.update(map(postorder.return_key, records))
        return Page(total, tuple(records), more=is_cut, partial=partial, broken=tuple(broken))

    async def open_list() -> Page:
        page = await postorder.search_open(api, resource)
        records = as_bytes(page.rows)
        listed.update(map(postorder.return_key, records))
        return Page(page.counted or 0, records, more=page.is_cut, partial=page.partial, broken=page.broken)

    if not resource.parts:
        return Calls(ask, page_size=postorder.PAGE)
    detail = one_by_one(lambda key: postorder.detail(api, resource, key, listed=key in listed))
    return Calls(ask, page_size=postorder.PAGE, open_list=open_list if resource.open else None, details=detail)
