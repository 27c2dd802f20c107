"""Messages by the time they were received (Trading GetMyMessages): every folder for each window, one by one or
together."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from ebaysync.ebay import trading, trading_messages
from ebaysync.ebay.rest import Api
from ebaysync.errors import AnswerNotUnderstood, BodyBroken, EbayError, EbayRejected
from ebaysync.sync.queue import may_be_of_its_slice
from ebaysync.sync.slices import Page, Slice
from ebaysync.sync.sources.calls import Calls, Parts
from ebaysync.sync.sources.message_folders import Folders
from ebaysync.sync.sources.message_headers import headers, message_id
from ebaysync.sync.sources.message_together import Together

log = logging.getLogger(__name__)


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""

    async def one(folder: str, window: Slice, offset: int) -> Page:
        return await headers(api, folder, window)

    async def bodies(ids: Sequence[str]) -> Mapping[str, bytes]:
        found = await trading_messages.my_messages_bodies(api, ids)
        return {key: record for record in found if (key := message_id(record)) in ids and key}

    folders, parts, most = Folders(api), Parts(one), trading_messages.MOST_BODIES
    return Calls(
        _Mailbox(api, folders, parts).ask,
        *(None, trading.PAGE, bodies),
        details_per_call=most,
        details_at_once=most,
        parts=parts,
        glance=folders,
    )


class _Mailbox:
    """All folders. One that eBay refuses is asked for once in a run, and noted on each page: its messages come with a
    later run's sweep. One that eBay does not answer is read apart until it does; with a second one in a run, eBay is
    the cause."""

    def __init__(self, api: Api, folders: Folders, parts: Parts) -> None:
        self._api, self._folders, self._parts = api, folders, parts
        self._together = Together(folders, partial(headers, api))
        self._refused: dict[str, EbayError] = {"": AnswerNotUnderstood("GetMyMessages: a folder has no FolderID")}
        self._unanswered: dict[str, EbayError] = {}

    async def ask(self, window: Slice, offset: int) -> Page:
        ids = await self._folders.ids()
        # If all of them were read apart, nothing would show whether eBay answers.
        apart = self._parts.apart if set(ids) - self._parts.apart - self._refused.keys() else set()
        pages = await self._pages(window, ids, apart)
        # Some folders that are refused do not stop the others. All of them are an error, not an empty window.
        odd = self._refused | self._unanswered
        left_out = {folder: odd[folder] for folder in ids if folder in odd}
        if not pages:
            raise next(iter([*self._unanswered.values(), *left_out.values()]))
        note = "; ".join(f"folder {folder or 'without id'}: {error.message}" for folder, error in left_out.items())
        without = [folder for folder in ids if folder in apart or folder in self._unanswered]
        return _joined(pages, note, {folder: self._unanswered.get(folder) for folder in without})

    async def _pages(self, window: Slice, ids: Sequence[str], apart: Collection[str]) -> list[Page]:
        """The pages of the folders, except those that are left out; one of them may be that of several folders."""
        wanted = [folder for folder in ids if folder not in {*self._refused, *self._unanswered, *apart}]
        if len(wanted) < len(ids):
            return list((await self._each(wanted, window)).values())
        covered, page = self._together.covered.intersection(ids), None
        if len(covered) > 1:
            page = await self._together.page(window)
        beside = wanted if page is None else [each for each in ids if each not in covered | self._folders.empty]
        pages = await self._each(beside, window)
        if len(pages) == len(beside):
            page = await self._together.compared(window, page, pages)
        if page is None:
            pages |= await self._each([folder for folder in wanted if folder not in beside], window)
        # If a message comes twice, the folder's own page wins.
        return [*([page] if page else []), *pages.values()]

    async def _each(self, folders: Iterable[str], window: Slice) -> dict[str, Page]:
        pages: dict[str, Page] = {}
        for folder in folders:
            if folder in self._refused or folder in self._unanswered:
                continue  # since another window was asked for
            try:
                pages[folder] = await headers(self._api, folder, window)
            except EbayError as error:
                if isinstance(error, BodyBroken) or not may_be_of_its_slice(error):
                    raise
                if not isinstance(error, EbayRejected) and self._unanswered:
                    raise
                (self._refused if isinstance(error, EbayRejected) else self._unanswered)[folder] = error
                log.warning("the message folder %s is left out: %s", folder, error)
        return pages


def _joined(pages: Sequence[Page], note: str, apart: Mapping[str, EbayError | None]) -> Page:
    """The pages of several folders as one. A message that moves may be in two of them."""
    records = {message_id(record) or record: record for page in pages for record in page.records}
    more = any(page.more for page in pages)
    incomplete = next((page.partial for page in pages if page.partial), None)
    total = len(records) + int(more)
    return Page(total, tuple(records.values()), more=more, partial=incomplete, note=note or None, apart=apart)
