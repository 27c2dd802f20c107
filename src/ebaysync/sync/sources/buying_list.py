"""One list of GetMyeBayBuying, page by page, for the source `buyer`."""

from __future__ import annotations

from typing import Any

from ebaysync.ebay import trading_lists
from ebaysync.ebay.rest import Api
from ebaysync.ebay.trading import PAGE
from ebaysync.ebay.trading_lists import TradingPage
from ebaysync.ebay.xml_repair import BrokenRecord, read_page
from ebaysync.errors import BodyBroken, EbayError, ListMissing, PageOutOfRange
from ebaysync.sync.queue import may_be_of_its_slice
from ebaysync.sync.sources.purchase_key import purchase_key
from ebaysync.sync.sources.trading_pages import Pages


class BuyingList:
    """The pages of one list that came. `next` is the page to read next. `incomplete`: why one is missing; `partial`:
    eBay's own word that one is not all of it."""

    def __init__(self, api: Api, name: str) -> None:
        self._api, self.name = api, name
        self.records: list[bytes] = []
        self.broken: list[BrokenRecord] = []
        self.incomplete: EbayError | None = None
        self.partial: EbayError | None = None
        self.next: int | None = 1
        self._pages = Pages(name)
        self._keys: set[Any] = set()
        self._doubt: str | None = None  # why the pages that came may not be all
        self._asked_again = False

    async def read(self, number: int) -> None:
        """Read a page of this list alone. Raises EbayError."""
        try:
            page, broken = await read_page(self._ask, number)
        except EbayError as error:
            await self.lacks(number, error)
        else:
            await self.add(number, page, broken)

    async def add(self, number: int, page: TradingPage, broken: tuple[BrokenRecord, ...] = ()) -> None:
        """Take a page of this list. Raises EbayError."""
        self.partial = self.partial or page.partial
        keys = [purchase_key(record) for record in page.records]
        if not keys and not broken and (number > 1 or (page.pages or 0) > 1):
            await self._without_entries(number, page)
            return
        known = sum(key in self._keys for key in keys)
        length = page.length + len(broken)
        self.next = self._pages.add(number, page, length, max(len(keys) + len(broken), length) - known)
        # A list whose pages bring nothing new is at its end, whatever it counts.
        if not broken and known == len(keys):
            if number > 1 and self._pages.expects(number):
                self._doubt = f"GetMyeBayBuying: {self.name} repeats its pages"
            self.next = None
        self.records += page.records
        self.broken += broken
        self._keys.update(keys)

    async def lacks(self, number: int, error: EbayError) -> None:
        """Take an error in place of a page. Raises it if not only this page is the cause."""
        of_all = number == 1 and isinstance(error, BodyBroken) and not error.by_a_record
        if of_all or not may_be_of_its_slice(error):
            raise error
        if isinstance(error, PageOutOfRange | ListMissing) and await self._is_behind(number, error):
            self.next = None
            return
        missing, self.next = self._pages.miss(number, error)
        self.incomplete = self.incomplete or missing

    def inconsistent(self) -> str | None:
        """Why the list may have more entries than it showed. Nobody knows whether eBay counts orders or lines."""
        entries, came = self._pages.entries or 0, self._pages.came
        if came < entries:
            return f"GetMyeBayBuying: {self.name} counts {entries} entries and sends {came}"
        return self._doubt

    async def _ask(self, number: int, size: int) -> TradingPage:
        return (await trading_lists.my_ebay_buying(self._api, [self.name], number, size))[self.name]

    async def _without_entries(self, number: int, page: TradingPage) -> None:
        """Take a page without entries: it is behind the last one, or missing."""
        if number == 1:
            self._pages.state(page)
        # eBay's own count of none ends a list. If an earlier page counted some, the list contradicts itself.
        if (number > 1 and page.entries == 0) or not await self._expects(number):
            self.next = None
        else:
            await self.lacks(number, ListMissing(f"GetMyeBayBuying: {self.name} has no entries", status=200))

    async def _is_behind(self, number: int, error: EbayError) -> bool:
        """Whether a page without a list is behind the last one."""
        if number == 1:
            return isinstance(error, PageOutOfRange)
        is_expected = await self._expects(number)
        if isinstance(error, ListMissing):
            return self._pages.has_all()
        if is_expected and self._pages.entries is None:
            # "No such page" and a number of pages alone contradict each other, whichever is wrong.
            self._doubt = f"GetMyeBayBuying: {self.name} announces {self._pages.announced} pages, and has no {number}"
        return self._doubt is not None or not is_expected

    async def _expects(self, number: int) -> bool:
        """Whether the list must have this page. It may have become shorter while it was read."""
        if number > 1 and self._pages.expects(number) and not self._asked_again:
            self._asked_again = True
            try:
                first = await self._ask(1, PAGE)
            except EbayError as error:
                if not may_be_of_its_slice(error):
                    raise
            else:
                if first.records:
                    self._pages.state(first)
        return self._pages.expects(number)
