"""A page of message headers of one window: of one folder, or of all.

No answer says how many messages there are, and nobody knows how many fit on a page. A page whose length is a multiple
of 25 may have been cut there, so its window is cut instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from ebaysync.ebay import trading_messages
from ebaysync.ebay.rest import Api
from ebaysync.ebay.trading import looks_full
from ebaysync.ebay.trading_messages import HeaderPage, my_messages_headers
from ebaysync.errors import AnswerNotUnderstood, TokenRefused
from ebaysync.sync.slices import FINEST, Page, Slice
from ebaysync.sync.sources.calls import id_reader

message_id = id_reader("MessageID")


class _Folder(msgspec.Struct):
    id: str | None = msgspec.field(default=None, name="FolderID")


class _Header(msgspec.Struct, frozen=True):
    id: str | None = msgspec.field(default=None, name="MessageID")
    folder: _Folder | None = msgspec.field(default=None, name="Folder")
    received: datetime | None = msgspec.field(default=None, name="ReceiveDate")


_decode = msgspec.json.Decoder(_Header).decode


async def headers(api: Api, folder: str | None, window: Slice) -> Page:
    """The messages of a folder, or of all folders (None). Raises EbayError."""
    try:
        page = await my_messages_headers(api, folder, window.start, window.end)
    except TokenRefused as error:
        # A dead token is refused for the list of folders, too.
        await trading_messages.my_messages_summary(api)
        raise AnswerNotUnderstood(f"{error.message}, but not for the list of folders") from None
    records: dict[str | bytes, bytes] = {message_id(record) or record: record for record in page.records}
    more = False
    if window.width <= FINEST:
        records |= await _behind(api, folder, window, page, records)
    else:
        more = looks_full(len(page.records)) or (page.entries or 0) > len(records)
    return Page(len(records) + int(more), tuple(records.values()), more=more, partial=page.partial)


async def _behind(
    api: Api, folder: str | None, window: Slice, page: HeaderPage, known: Mapping[str | bytes, bytes]
) -> dict[str | bytes, bytes]:
    """The pages after the first one of a window that cannot be cut."""
    found: dict[str | bytes, bytes] = {}
    number = 1
    while looks_full(len(page.records)):
        number += 1
        page = await my_messages_headers(api, folder, window.start, window.end, number)
        new = {message_id(record) or record: record for record in page.records}
        # After the last page eBay may send an empty page, an error, or the last page again.
        if not new.keys() - known.keys() - found.keys():
            break
        found |= new
    return found


def places(records: Iterable[bytes]) -> Iterable[tuple[str, str | None]]:
    """Each message's id and folder."""
    for header in _headers(records):
        if header.id:
            yield header.id, header.folder.id if header.folder else None


def times(records: Iterable[bytes]) -> list[datetime]:
    """When the messages were received."""
    return [header.received for header in _headers(records) if header.received and header.received.tzinfo]


def _headers(records: Iterable[bytes]) -> Iterable[_Header]:
    """Those of the records that can be read."""
    for record in records:
        try:
            yield _decode(record)
        except (ValueError, RecursionError):
            continue
