"""Trading API: GetMyMessages, in its three levels of detail.

Sources: the WSDL with its CallInfo (ItemID in headers alone, Text and Content in bodies alone), eBay's page of the
call (order, ten ids). Headers come without any total: a page does not tell whether another follows. `Quirks` has
switches for what nobody could verify: the counts, the page's cap, calls without FolderID, how late headers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from ebaysync.sim.apis.trading_requests import Request
from ebaysync.sim.calls import Answer, Call
from ebaysync.sim.kinds.messages import FOLDERS, INBOX, LIFE, SENT, alive, facts, sent_at
from ebaysync.sim.model import Seller, Thing
from ebaysync.sim.trading_xml import BAD_INPUT, OUT_OF_RANGE, Failed, answer, box, pages, tag
from ebaysync.sim.world import World

MOST_IDS = 10
DEFAULT_SIZE = 25
LEVELS = {"ReturnSummary", "ReturnHeaders", "ReturnMessages"}


def get_my_messages(world: World, seller: Seller, call: Call, request: Request) -> Answer:
    """Raises Failed: a request without a DetailLevel gets an error, as eBay's page on the call says."""
    levels = LEVELS & set(request.values.get("DetailLevel", ()))
    if len(levels) != 1:
        raise Failed(BAD_INPUT, "DetailLevel")
    level = levels.pop()
    found = _found(world, seller, call, request, level)
    if level == "ReturnSummary":
        return answer(request.call, call.now, _summary(world, seller, found))
    ids = request.values.get("MessageIDs.MessageID") or request.values.get("ExternalMessageIDs.ExternalMessageID")
    if level == "ReturnMessages" and not ids:
        raise Failed(BAD_INPUT, "MessageIDs")
    if len(set(ids or ())) > MOST_IDS:
        raise Failed(BAD_INPUT, "MessageIDs")
    bodies = level == "ReturnMessages"
    some = found if ids else _page(world, request, _listed(world, request, found, call.now))
    texts = [_message(world, seller, thing, bodies=bodies) for thing in some]
    return answer(request.call, call.now, box("Messages", *texts), [(thing.id, thing.version) for thing in some])


def _found(world: World, seller: Seller, call: Call, request: Request, level: str) -> list[Thing]:
    """Oldest first; the range takes both of its ends. Ids that are gone are left out."""
    start, end = request.time("StartTime"), request.time("EndTime")
    if start and (end is None or start > end):
        raise Failed(BAD_INPUT, "EndTime")
    folder = request.number("FolderID", -1) if "FolderID" in request.values else None
    if folder is None and level == "ReturnHeaders" and world.quirks.messages_without_folder == "everything":
        start = end = None
    found = []
    for thing in seller.things.get("message", {}).values():
        at = sent_at(thing)
        if not alive(thing, call.now) or (start and at < start) or (end and at > end):
            continue
        if folder in (None, (thing.body or {}).get("folder", INBOX)) and _wanted(thing, seller, request):
            found.append(thing)
    return sorted(found, key=lambda thing: (sent_at(thing), thing.id))


def _listed(world: World, request: Request, found: list[Thing], now: datetime) -> list[Thing]:
    """Those that headers show already, without FolderID those of some folders."""
    if "FolderID" not in request.values and world.quirks.messages_without_folder.startswith("inbox"):
        some = (INBOX, SENT) if world.quirks.messages_without_folder == "inbox and sent" else (INBOX,)
        found = [thing for thing in found if (thing.body or {}).get("folder", INBOX) in some]
    late = timedelta(seconds=world.quirks.messages_headers_lag)
    return [thing for thing in found if sent_at(thing) <= now - late]


def _wanted(thing: Thing, seller: Seller, request: Request) -> bool:
    """Messages by ids, "external" ones first, and by priority."""
    if request.flag("IncludeHighPriorityMessageOnly") and not facts(thing.id, thing.body or {}, seller)["high"]:
        return False
    if external := request.values.get("ExternalMessageIDs.ExternalMessageID"):
        return facts(thing.id, thing.body or {}, seller)["external"] in external
    ids = request.values.get("MessageIDs.MessageID")
    return not ids or thing.id in ids


def _page(world: World, request: Request, found: list[Thing]) -> Sequence[Thing]:
    """Never more than the cap, and no word of it."""
    size, number = request.number("Pagination.EntriesPerPage", DEFAULT_SIZE), request.number("Pagination.PageNumber", 1)
    if size < 1:
        raise Failed(BAD_INPUT, "Pagination.EntriesPerPage")
    if number < 1:
        raise Failed(OUT_OF_RANGE)
    size = min(size, world.quirks.messages_page_cap)
    if world.quirks.messages_past_end == "last":
        number = min(number, max(1, pages(len(found), size)))
    return found[(number - 1) * size : number * size]


def _summary(world: World, seller: Seller, found: list[Thing]) -> str:
    """The seller's own folders; "Inbox (FolderID = 0) and Sent (FolderID = 1) are not returned"."""
    counts = world.quirks.messages_counts
    shown = {INBOX: "", SENT: "", **FOLDERS} if world.quirks.messages_inbox_summary else FOLDERS
    known = [facts(thing.id, thing.body or {}, seller) for thing in found]
    folders = []
    for number, name in shown.items():
        there = [message for message in known if message["folder"] == number]
        head = tag("FolderID", number) + (tag("FolderName", name) if name else "")
        folders.append(box("FolderSummary", head, _counted(counts, there)))
    counted = [message for message in known if counts != "own folders" or message["folder"] in FOLDERS]
    flagged = tag("FlaggedMessageCount", sum(1 for message in counted if message["flagged"]))
    return box("Summary", *folders, _counted(counts, counted, flagged))


def _counted(counts: str, messages: list[dict[str, Any]], flagged: str = "") -> str:
    if counts == "none":
        return ""
    high = [message for message in messages if message["high"]]
    priority = tag("NewHighPriorityCount", _unread(high)) + tag("TotalHighPriorityCount", len(high))
    new, total = tag("NewMessageCount", _unread(messages)), tag("TotalMessageCount", len(messages))
    return new + flagged + total + (priority if counts != "no priority" else "")


def _unread(messages: list[dict[str, Any]]) -> int:
    return sum(1 for message in messages if not message["read"])


def _message(world: World, seller: Seller, thing: Thing, *, bodies: bool) -> str:
    message, at, american = facts(thing.id, thing.body or {}, seller), sent_at(thing), seller.market.country == "US"
    member = message["type"] is not None
    return box(
        "Message",
        tag("Sender", message["sender"]),
        tag("RecipientUserID", message["recipient"]),
        tag("SendToName", message["recipient"]) if member else "",
        tag("Subject", message["subject"]),
        tag("MessageID", thing.id),
        tag("ExternalMessageID", message["external"]) if american and message["external"] else "",
        _text(world, thing, message["text"]) if bodies else "",
        tag("Flagged", message["flagged"] or message["high"]),
        tag("Read", message["read"]),
        tag("ReceiveDate", at),
        tag("ExpirationDate", at + LIFE),
        tag("ItemID", message["item"]) if message["item"] and not bodies else "",
        _response(thing, enabled=member and message["folder"] != SENT),
        box("Folder", tag("FolderID", message["folder"])),
        tag("Content", message.get("content") or f"Content of {message['subject']}") if bodies else "",
        tag("MessageType", message["type"]) if american and member else "",
        tag("QuestionType", "General") if american and member else "",
        tag("Replied", message["replied"]),
        tag("HighPriority", message["high"]),
        tag("ItemTitle", message["item_title"]) if message["item"] else "",
        *(_media(number) for number in range(message["media"])),
    )


def _response(thing: Thing, *, enabled: bool) -> str:
    address = f"https://contact.ebay.example/ws/eBayISAPI.dll?M2MContact&qid={thing.id}"
    url = tag("ResponseURL", address) if enabled else ""
    return box("ResponseDetails", tag("ResponseEnabled", enabled), url)


def _text(world: World, thing: Thing, text: str) -> str:
    """Escaped, or in a CDATA section where the text allows: a parser takes both. A carriage return travels as a
    reference, else it would be gone."""
    missing = world.quirks.message_size - len(text)
    text += "<p>" + "0123456789 ä & <br>" * (missing // 19 + 1) + "</p>" if missing > 0 else ""
    if crc32(thing.id.encode()) % 3 == 0 and "]]>" not in text and "\r" not in text:
        return f"<Text><![CDATA[{text}]]></Text>"
    return tag("Text", text).replace("\r", "&#13;")


def _media(number: int) -> str:
    url = f"https://i.ebayimg.com/00/s/x/z/y/$_{number + 1}.JPG?set_id=1&t={number}"
    return box("MessageMedia", tag("MediaURL", url), tag("MediaName", f"photo{number + 1}"))
