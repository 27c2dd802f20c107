"""Messages by the time they were received (Trading GetMyMessages): every folder for each window."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from ebaysync.ebay import trading, trading_messages
from ebaysync.ebay.rest import Api
from ebaysync.ebay.trading import looks_full
from ebaysync.ebay.trading_messages import my_messages_headers
from ebaysync.errors import AnswerNotUnderstood, BodyBroken, EbayError, EbayRejected, TokenRefused
from ebaysync.sync.queue import may_be_of_its_slice
from ebaysync.sync.slices import FINEST, Page, Slice
from ebaysync.sync.sources.calls import Calls, Parts, id_reader

log = logging.getLogger(__name__)

_message_id = id_reader("MessageID")


def open_source(api: Api) -> Calls:
    # No answer says how many messages there are, and nobody knows how many fit on a page. A page whose length is a
    # multiple of 25 may have been cut there, so its window is cut instead.
    """Reading raises EbayError. A folder that eBay refuses is asked for once in a run, and noted on each page: its
    messages come with a later run's sweep. One that eBay does not answer is read apart until it does; with a second one
    in a run, eBay is the cause."""
    folders: list[str] = []
    refused: dict[str, EbayError] = {"": AnswerNotUnderstood("GetMyMessages: a folder has no FolderID")}
    unanswered: dict[str, EbayError] = {}

    async def one(folder: str, window: Slice, offset: int) -> Page:
        try:
            page = await my_messages_headers(api, folder, window.start, window.end)
        except TokenRefused as error:
            # A dead token is refused for the list of folders, too.
            await trading_messages.my_messages_summary(api)
            raise AnswerNotUnderstood(f"{error.message}, but not for the list of folders") from None
        records: dict[str | bytes, bytes] = {_message_id(record) or record: record for record in page.records}
        more = False
        if window.width <= FINEST:
            records |= await _behind(api, folder, window, page, records)
        else:
            more = looks_full(len(page.records)) or (page.entries or 0) > len(records)
        return Page(len(records) + int(more), tuple(records.values()), more=more, partial=page.partial)

    parts = Parts(one)

    async def ask(window: Slice, offset: int) -> Page:
        # Once in a run: every window would cost another call.
        if not folders:
            folders[:] = await trading_messages.my_messages_summary(api)
        pages: list[Page] = []
        # If all of them were read apart, nothing would show whether eBay answers.
        apart = parts.apart if set(folders) - parts.apart - refused.keys() else set()
        for folder in folders:
            if folder in refused or folder in unanswered or folder in apart:
                continue
            try:
                pages.append(await one(folder, window, offset))
            except EbayError as error:
                if isinstance(error, BodyBroken) or not may_be_of_its_slice(error):
                    raise
                if not isinstance(error, EbayRejected) and unanswered:
                    raise
                (refused if isinstance(error, EbayRejected) else unanswered)[folder] = error
                log.warning("the message folder %s is left out: %s", folder, error)
        # Some folders that are refused do not stop the others. All of them are an error, not an empty window.
        odd = refused | unanswered
        left_out = {folder: odd[folder] for folder in folders if folder in odd}
        if not pages:
            raise next(iter([*unanswered.values(), *left_out.values()]))
        note = "; ".join(f"folder {folder or 'without id'}: {error.message}" for folder, error in left_out.items())
        without = [folder for folder in folders if folder in apart or folder in unanswered]
        return _joined(pages, note, {folder: unanswered.get(folder) for folder in without})

    async def bodies(ids: Sequence[str]) -> Mapping[str, bytes]:
        found = await trading_messages.my_messages_bodies(api, ids)
        return {key: record for record in found if (key := _message_id(record)) in ids and key}

    most = trading_messages.MOST_BODIES
    return Calls(ask, None, trading.PAGE, bodies, details_per_call=most, details_at_once=most, parts=parts)


def _joined(pages: Sequence[Page], note: str, apart: Mapping[str, EbayError | None]) -> Page:
    """The pages of several folders as one. A message that moves may be in two of them."""
    records = {_message_id(record) or record: record for page in pages for record in page.records}
    more = any(page.more for page in pages)
    partial = next((page.partial for page in pages if page.partial), None)
    total = len(records) + int(more)
    return Page(total, tuple(records.values()), more=more, partial=partial, note=note or None, apart=apart)


async def _behind(
    api: Api, folder: str, window: Slice, page: trading_messages.HeaderPage, known: Mapping[str | bytes, bytes]
) -> dict[str | bytes, bytes]:
    """The pages after the first one of a window that cannot be cut."""
    found: dict[str | bytes, bytes] = {}
    number = 1
    while looks_full(len(page.records)):
        number += 1
        page = await my_messages_headers(api, folder, window.start, window.end, number)
        new = {_message_id(record) or record: record for record in page.records}
        # After the last page eBay may send an empty page, an error, or the last page again.
        if not new.keys() - known.keys() - found.keys():
            break
        found |= new
    return found
