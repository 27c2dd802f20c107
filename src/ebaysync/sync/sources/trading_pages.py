"""Which pages a Trading list must have, by what eBay says of its length.

A page that eBay has announced, and that comes without its list, is missing. It is no end of the list.
"""

from __future__ import annotations

import copy
import logging

from ebaysync.ebay.trading import PAGE, looks_full
from ebaysync.ebay.trading_lists import TradingPage
from ebaysync.errors import EbayError

MOST_MISSING = 3  # pages in a row; then eBay is the cause, and the later ones are not asked for
log = logging.getLogger(__name__)


class Pages:
    """The pages of a list as they are read. `came`: how many different entries they had. `announced`: how many pages
    there are, `entries`: how many entries; None if eBay does not say so. `failure`: why the first of the missing pages
    is missing."""

    def __init__(self, name: str) -> None:
        self.came = 0
        self.announced: int | None = None
        self.entries: int | None = None
        self.failure: EbayError | None = None
        self._name, self._size = name, PAGE
        self._missing_in_a_row = 0

    def add(self, number: int, page: TradingPage, length: int, new: int) -> int | None:
        """Count a page of `length` entries, of which so many did not come before. Returns the page to read next."""
        self.came += new
        self._missing_in_a_row = 0
        if number == 1 and looks_full(length):
            self._size = length  # eBay may send shorter pages than it is asked for
        self.state(page)
        follows = page.pages is None and looks_full(length)
        return number + 1 if follows or number < (self.announced or 0) else None

    def state(self, page: TradingPage) -> None:
        """Note what a page says of the list's length."""
        if page.entries is not None:
            self.entries = page.entries
        if page.pages is not None:
            self.announced = page.pages
        elif page.entries is not None:
            self.announced = -(-page.entries // self._size)

    def expects(self, number: int) -> bool:
        """Whether eBay has announced this page, and has not sent all entries before it."""
        return number <= (self.announced or 0) and not self.has_all()

    def has_all(self) -> bool:
        """Whether as many entries came as eBay counts. Its count may be one too high for ever."""
        return self.entries is not None and self.came >= self.entries - 1

    def miss(self, number: int, error: EbayError) -> tuple[EbayError, int | None]:
        """Note that a page is missing. Returns the error that says so, and the page to read next."""
        missing = copy.copy(error)
        missing.args = (f"{error.message}: page {number} of {self._name} is missing",)
        log.warning("%s", missing.message)
        self.failure = self.failure or missing
        self._missing_in_a_row += 1
        may_follow = self.announced is None or number < self.announced
        return missing, number + 1 if may_follow and self._missing_in_a_row < MOST_MISSING else None
