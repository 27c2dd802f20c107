"""Trading's GetMyMessages: folders, headers by time, bodies by id."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ebaysync.ebay.rest import Api, count, stamp
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
class MailboxSummary:
    """`folders`: the ids of the seller's folders, first Inbox and Sent, which always exist, then the seller's own. ""
    stands for folders without an id, which cannot be asked for. `counts`: how many messages there are, by folder, and
    of all folders under ""; None if they do not tell of every folder."""

    folders: tuple[str, ...]
    counts: Mapping[str, Sequence[int]] | None = None


@dataclass(frozen=True)
class HeaderPage:
    """One page of a folder's messages, without their bodies."""

    records: tuple[bytes, ...]
    entries: int | None
    """TotalNumberOfEntries, which eBay does not document for this call; not to be relied on"""
    partial: EbayError | None = None


_MESSAGE = ("Messages", "Message")


_TOTAL, _NEW = "TotalMessageCount", "NewMessageCount"
_HIGH = ("TotalHighPriorityCount", "NewHighPriorityCount")  # eBay does not always send them


async def my_messages_summary(api: Api) -> MailboxSummary:
    """The seller's folders, and how many messages are in them. Raises EbayError."""
    reply = await call(api, NAME, (), detail=Detail("ReturnSummary"), needed=["Summary"])
    summary = container(NAME, reply.head, "Summary")
    folders = [folder if isinstance(folder, dict) else {} for folder in summary.get("FolderSummary") or ()]
    ids = [text_of(folder.get("FolderID")).strip() for folder in folders]
    counts = _counts(summary, dict(zip(ids, folders, strict=True)))
    return MailboxSummary(tuple(dict.fromkeys([INBOX, SENT, *ids])), counts)


def _counts(summary: dict[str, Any], folders: Mapping[str, dict[str, Any]]) -> Mapping[str, Sequence[int]] | None:
    """The counts of a summary if a change in any folder shows in them."""
    found = {"": _numbers(summary, _TOTAL, _NEW, "FlaggedMessageCount")}
    found |= {name: _numbers(folder, _TOTAL, _NEW) for name, folder in folders.items()}
    if "" in folders or not all(found.values()):
        return None
    # eBay documents that Inbox and Sent are not listed, and does not say whether the counts of all have their messages.
    # They have if they are more than those of the listed folders.
    is_more = found[""][0] > sum(numbers[0] for name, numbers in found.items() if name)
    return found if is_more or {INBOX, SENT} <= folders.keys() else None


def _numbers(parent: dict[str, Any], *names: str) -> Sequence[int]:
    """The counts with these names, and those of high priority where there are any. Empty if one is missing."""
    counted = [count(text_of(parent.get(name))) for name in names]
    high = [-1 if (number := count(text_of(parent.get(name)))) is None else number for name in _HIGH]
    return [] if None in counted else [*(number for number in counted if number is not None), *high]


async def my_messages_headers(
    api: Api, folder_id: str | None, start: datetime, end: datetime, page: int = 1, per_page: int = PAGE
) -> HeaderPage:
    """Message headers by the time of sending. Nothing says which page is the last: it is short, or begins with a known
    id. Behind the last, a page is empty. `folder_id` None: of all folders, as eBay documents.

    Raises EbayError.
    """
    # Exactly these names: StartTimeFrom would be ignored, and every message would come.
    folder = () if folder_id is None else (("FolderID", folder_id),)
    fields = (*folder, ("StartTime", stamp(start)), ("EndTime", stamp(end)), pagination(page, per_page))
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
