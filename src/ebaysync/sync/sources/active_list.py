"""The list of active listings, page by page (Trading GetMyeBaySelling), for the source `active_inventory`."""

from __future__ import annotations

from ebaysync.ebay import trading_lists
from ebaysync.ebay.rest import Api
from ebaysync.ebay.trading import PAGE
from ebaysync.ebay.xml_repair import read_page
from ebaysync.errors import BodyBroken, EbayError, ListMissing, PageOutOfRange
from ebaysync.sync.queue import may_be_of_its_slice
from ebaysync.sync.scan import BEHIND_THE_LAST, NumberedPage
from ebaysync.sync.sources import seller_list
from ebaysync.sync.sources.calls import id_reader
from ebaysync.sync.sources.trading_pages import Pages

item_id = id_reader("ItemID")


class CapReached(Exception):
    """The list is capped: none of it counts."""


class ActiveList:
    """The list during one scan, which may read it several times. `doubt`: why it may have more than it showed."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.doubt: str | None = None
        self._was_doubted = False

    async def page(self, name: str) -> NumberedPage:
        """A page by its number. One that eBay does not answer is incomplete. Raises EbayError, CapReached."""
        number = int(name)
        if number == 1:
            self._pages, self._keys = Pages("the active list"), set[str | bytes]()
        try:
            page, broken = await read_page(self._ask, number)
        except (PageOutOfRange, ListMissing) as error:
            return await self._without_items(number, error)
        except EbayError as error:
            return self._failed(number, error)
        keys = {item_id(record) or record for record in page.records} | {each.key or each.document for each in broken}
        if not keys:
            counted = "" if page.entries is None else f", and counts {page.entries}"
            no_items = ListMissing(f"GetMyeBaySelling: the ActiveList has no items{counted}", status=200)
            if number > 1 or page.entries is None:
                return await self._without_items(number, no_items)
            if page.pages is not None and page.pages > 1:
                self._pages.state(page)
                return self._failed(number, no_items)
        following = self._pages.add(number, page, page.length + len(broken), len(keys - self._keys))
        self._keys |= keys
        return NumberedPage(page.records, page.entries, _name(following), broken, partial=page.partial)

    async def _ask(self, page: int, size: int) -> trading_lists.TradingPage:
        found = await trading_lists.my_ebay_selling_active(self._api, page, size)
        # At the cap eBay says 25,000, however many there are, and repeats the last page for every later one.
        if (found.entries or 0) >= trading_lists.ACTIVE_CAP:
            raise CapReached
        return found

    async def _without_items(self, number: int, error: PageOutOfRange | ListMissing) -> NumberedPage:
        """The answer to a page without items, which is behind the last one, or missing. Raises EbayError."""
        if number == 1:
            return await self._without_list(error)
        is_end = self._pages.has_all() if isinstance(error, ListMissing) else not self._pages.expects(number)
        if is_end and self._keys:
            return BEHIND_THE_LAST
        if isinstance(error, PageOutOfRange) and self._pages.entries is None:
            # "No such page" and a number of pages alone contradict each other, whichever is wrong.
            self.doubt = f"GetMyeBaySelling announces {self._pages.announced} pages, and has no page {number}"
            return BEHIND_THE_LAST
        if self._pages.failure is None and not self._was_doubted:
            self._was_doubted = True  # the list may have become shorter: so it is read again
            return NumberedPage((), len(self._keys) + 1, None)  # no pass has this total
        return self._failed(number, error)

    async def _without_list(self, error: EbayError) -> NumberedPage:
        """eBay leaves out the list of a seller without listings, or sends it empty, and lists of others, too. Believed
        alone, that would remove all listings."""
        count = await seller_list.count(self._api) if isinstance(error, ListMissing) else None
        if count == 0:
            return NumberedPage((), 0, None, unlikely=error)
        if (count or 0) <= PAGE:
            raise error
        return self._failed(1, error)

    def _failed(self, number: int, error: EbayError) -> NumberedPage:
        """The answer to a page that is missing. Raises EbayError if the others are probably missing, too."""
        of_all = isinstance(error, BodyBroken) and not error.by_a_record and not self._keys
        if of_all or not may_be_of_its_slice(error):
            raise error
        if number > 1 and not self._keys:
            raise self._pages.failure or error
        missing, following = self._pages.miss(number, error)
        return NumberedPage((), None, _name(following), incomplete=missing)


def _name(number: int | None) -> str | None:
    return None if number is None else str(number)
