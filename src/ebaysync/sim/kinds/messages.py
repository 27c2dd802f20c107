"""The messages in a seller's mailbox: Inbox, Sent, and folders of the seller's own.

A body holds the folder and the flags, and whatever a test puts on top; the rest is drawn from the id. A message is gone
when it was deleted, or a year after it was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

from ebaysync.sim.kinds.listings import new_id
from ebaysync.sim.model import Body, Seller, Surroundings, Thing
from ebaysync.sim.people import GOODS, NAMES
from ebaysync.sim.things import Kind

INBOX, SENT = 0, 1
FOLDERS = {2: "Wholesale", 3: "Rückläufer & Ärger <alt>"}  # the seller's own
LIFE = timedelta(days=365)
HISTORY = '<div id="MessageHistory1"><div id="UserInputtedText1">Earlier: ça & là – 5 > 3 &amp; "so on"</div></div>'
WORDS = (
    "Is it still available?&nbsp;🙂<br>Thanks",
    "Wie groß ist das Teil? &lt;10 cm&gt; oder mehr? 5 < 6 && true",
    "line one\nline two\ttab\r\nthird ]]> end",
    "مرحبا \u200f كم السعر؟ A\u0301 zero\u200bwidth",
    "<script>alert('x')</script> it's \"quoted\" – 100 % €",
)


def birth(world: Surroundings, seller: Seller, at: datetime, random: Random) -> tuple[str, Body]:
    folder = random.choice((INBOX, INBOX, INBOX, SENT, 2))
    body = {"folder": folder, "read": random.random() < 0.5, "flagged": False, "replied": False}
    return new_id(seller, "message", 100_000_000_000), body


def facts(thing_id: str, body: Body, seller: Seller) -> Body:
    """Everything about a message. Those of eBay itself are about no item and cannot be answered."""
    random = Random(f"message/{thing_id}")
    title, other = random.choice(GOODS)[0], f"buyer_{random.randrange(10**6):06d}"
    member, sent = random.random() < 0.8, body.get("folder") == SENT
    drawn: Body = {
        "folder": INBOX,
        "read": False,
        "flagged": False,
        "replied": False,
        "high": random.random() < 0.05,
        "sender": seller.username if sent else other if member else "eBay",
        "recipient": other if sent else seller.username,
        "subject": f"{random.choice(NAMES)} – {title}" if member else "A new device is using your account",
        "type": "AskSellerQuestion" if member else None,
        "item": str(random.randrange(2 * 10**11, 3 * 10**11)) if member else None,
        "item_title": title[:55],
        "external": str(random.randrange(10**12, 10**13)) if member else None,
        "media": random.choice((0, 0, 0, 2)) if member else 0,
        "text": _html(random) if random.random() < 0.8 else random.choice(WORDS),
    }
    return drawn | body


def _html(random: Random) -> str:
    words = random.choice(WORDS)
    primary = f'<div id="PrimaryMessage"><div id="UserInputtedText">{words}</div></div>'
    return f'<!DOCTYPE html><html><body>{primary}{HISTORY}<div id="area7Container">Item ID: 1</div></body></html>'


def sent_at(thing: Thing) -> datetime:
    at: datetime = (thing.body or {}).get("sent") or thing.created
    return at


def alive(thing: Thing, now: datetime) -> bool:
    return thing.body is not None and now - sent_at(thing) < LIFE


def _toggle(name: str) -> Callable[[Surroundings, Thing, Body, datetime, Random], Body]:
    def move(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
        return body | {name: not body.get(name)}

    return move


def _reply(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    return body | {"replied": True, "read": True}


def _move(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    others = [folder for folder in (INBOX, *FOLDERS) if folder != body.get("folder", INBOX)]
    return body | {"folder": random.choice(others)}


def _delete(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> None:
    return None


MOVES: dict[str, Callable[[Surroundings, Thing, Body, datetime, Random], Body | None]] = {
    "read": _toggle("read"),
    "flag": _toggle("flagged"),
    "reply": _reply,
    "move": _move,
    "delete": _delete,
}
KINDS = (Kind("message", birth, MOVES, days=LIFE.days - 5),)
