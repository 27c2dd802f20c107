"""One call without FolderID for all message folders, which eBay documents, and nobody could verify.

It is used for folders whose messages it was seen to bring, after a comparison with what they brought one by one. A
folder that had no message then is read beside it. After a day the comparison is made again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ebaysync.ebay.trading import looks_full
from ebaysync.errors import BodyBroken, EbayError
from ebaysync.rechecks import ALL_FOLDERS
from ebaysync.sync.guard import check_filter
from ebaysync.sync.queue import FilterIgnored, may_be_of_its_slice
from ebaysync.sync.slices import Page, Slice
from ebaysync.sync.sources.message_folders import Folders, lasts
from ebaysync.sync.sources.message_headers import places, times


class Together:
    """Decides whether to ask for all folders at once. `ask` asks for one folder, or for all (None)."""

    def __init__(self, folders: Folders, ask: Callable[[str | None, Slice], Awaitable[Page]]) -> None:
        self._folders, self._ask = folders, ask
        self._compared = False

    @property
    def covered(self) -> set[str]:
        """The folders whose messages come without FolderID; none if nobody knows."""
        memory = self._folders.memory
        return set(memory.together) if lasts(memory.together_until, self._folders.now, ALL_FOLDERS) else set()

    async def page(self, window: Slice) -> Page | None:
        """The messages of the covered folders; None if eBay does not answer for them. Raises EbayError."""
        try:
            page = await self._page(window)
        except EbayError as error:
            if isinstance(error, BodyBroken) or not (isinstance(error, FilterIgnored) or may_be_of_its_slice(error)):
                raise
            page = None
        if page is None or page.partial:
            self._doubt()
            return None
        return page

    async def compared(self, window: Slice, page: Page | None, single: Mapping[str, Page]) -> Page | None:
        """The page, or if there is none yet, one to compare; None if it lacks messages of the single folders, or cannot
        be compared. Raises EbayError."""
        if page is None:
            if not self._may_compare(single):
                return None
            self._compared = True
            try:
                page = await self._page(window)
            except EbayError as error:
                if not (isinstance(error, BodyBroken | FilterIgnored) or may_be_of_its_slice(error)):
                    raise
        elif page.more:
            return page  # it may be cut; the parts of the window will show
        if page is None or page.partial or page.more or not self._has_all(page, single):
            self._doubt()
            return None
        memory, seen = self._folders.memory, {folder for folder, one in single.items() if one.records}
        covered = self.covered
        memory.together = sorted({*covered, *seen})
        if not covered:
            memory.together_until = self._folders.now + ALL_FOLDERS
        return page

    def _may_compare(self, single: Mapping[str, Page]) -> bool:
        """Whether these show that a call without FolderID brings more than one folder. Once in a run."""
        memory = self._folders.memory
        if self._compared or lasts(memory.together_doubted_until, self._folders.now, ALL_FOLDERS) or self.covered:
            return False
        came = [len(page.records) for page in single.values() if page.records]
        is_whole = not any(page.more or page.partial for page in single.values())
        return len(came) > 1 and is_whole and not looks_full(sum(came))

    async def _page(self, window: Slice) -> Page:
        page = await self._ask(None, window)
        check_filter(window, times(page.records), may_be_later=False)
        return page

    @staticmethod
    def _has_all(page: Page, single: Mapping[str, Page]) -> bool:
        """Whether each message of the single folders is there, in the same folder. Others may come from folders that
        are not listed."""
        there = set(places(page.records))
        return all(place in there for one in single.values() for place in places(one.records))

    def _doubt(self) -> None:
        memory = self._folders.memory
        memory.together, memory.together_until = [], None
        memory.together_doubted_until = self._folders.now + ALL_FOLDERS
