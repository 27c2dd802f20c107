"""Trading's GetMyMessages: folders, headers by time, bodies by id."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ebaysync.ebay.rest import Api, stamp
from ebaysync.ebay.trading import (
    PAGE,
    Detail,
    Fields,
    Reply,
    call,
    container,
    number_of,
    pagination,
    record_bytes,
    text_of,
)
from ebaysync.ebay.xml_repair import trimmed
from ebaysync.errors import EbayError, PageOutOfRange, XmlBroken

log = logging.getLogger(__name__)

NAME = "GetMyMessages"
MOST_BODIES = 10
INBOX, SENT = "0", "1"


@dataclass(frozen=True)
class HeaderPage:
    """One page of a folder's messages, without their bodies."""

    records: tuple[bytes, ...]
    entries: int | None
    """TotalNumberOfEntries, which eBay does not document for this call; not to be relied on"""
    partial: EbayError | None = None


_MESSAGE = ("Messages", "Message")


async def my_messages_summary(api: Api) -> list[str]:
    """The ids of the seller's folders: first Inbox and Sent, which always exist, then the seller's own. "" stands for
    folders without an id, which cannot be asked for. Raises EbayError."""
    reply = await call(api, NAME, (), detail=Detail("ReturnSummary"), needed=["Summary"])
    folders = container(NAME, reply.head, "Summary").get("FolderSummary") or ()
    ids = [text_of(folder.get("FolderID")).strip() if isinstance(folder, dict) else "" for folder in folders]
    return list(dict.fromkeys([INBOX, SENT, *ids]))


async def my_messages_headers(
    api: Api, folder_id: str, start: datetime, end: datetime, page: int = 1, per_page: int = PAGE
) -> HeaderPage:
    """Message headers by the time of sending. Nothing says which page is the last: it is short, or begins with a known
    id. Behind the last, a page is empty.

    Raises EbayError.
    """
    # Exactly these names: StartTimeFrom would be ignored, and every message would come.
    span = (("FolderID", folder_id), ("StartTime", stamp(start)), ("EndTime", stamp(end)))
    fields = (*span, pagination(page, per_page))
    try:
        reply = await _call(api, fields, "ReturnHeaders")
    except PageOutOfRange:
        return HeaderPage((), None)
    totals = reply.head.get("PaginationResult") or _messages(reply).get("PaginationResult")
    entries = number_of(NAME, totals, "TotalNumberOfEntries")
    return HeaderPage(record_bytes(reply), entries, reply.partial)


async def my_messages_bodies(api: Api, ids: Sequence[str]) -> tuple[bytes, ...]:
    """At most 10 messages with Text and Content. Raises EbayError.

    Fewer than requested is normal: a message may have been deleted meanwhile. The same goes for a PartialFailure, so
    its error is logged, not raised. ItemID is documented for headers only.
    """
    if not 0 < len(ids) <= MOST_BODIES:
        raise ValueError(f"{NAME} takes 1 to {MOST_BODIES} ids")
    wanted = ("MessageIDs", tuple(("MessageID", each) for each in ids))
    reply = await _call(api, (wanted,), "ReturnMessages")
    if reply.partial:
        log.warning("%s", reply.partial)
    return record_bytes(reply)


async def _call(api: Api, fields: Fields, level: str) -> Reply:
    """Ask for messages. If one breaks the answer, the error has that record alone."""
    try:
        return await call(api, NAME, fields, [_MESSAGE], detail=Detail(level), needed=["Messages"])
    except XmlBroken as error:
        raise trimmed(error) from None


def _messages(reply: Reply) -> dict[str, Any]:
    return container(NAME, reply.head, "Messages")
