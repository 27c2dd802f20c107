"""A seller's listings. A body holds what may change and whatever a test lays over; the rest is drawn from the id.

Good 'Til Cancelled listings end and begin anew every calendar month, auctions end once. A listing that was ended has
no body; its end is the moment of that version.
"""

from __future__ import annotations

import calendar
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

from ebaysync.sim.model import Body, Seller, Surroundings, Thing
from ebaysync.sim.people import COLOURS, GOODS, SIZES
from ebaysync.sim.things import Kind

AUCTION, FIXED = "Chinese", "FixedPriceItem"
AUCTION_DAYS = 10
YOUNG = timedelta(days=9)  # an auction of the past still runs when the world begins


def new_id(seller: Seller, kind: str, first: int) -> str:
    """Twelve digits that tell nothing; no two things of a seller's kind share them."""
    offset = int.from_bytes(hashlib.blake2b(f"{kind}/{seller.user_id}".encode(), digest_size=6).digest(), "big")
    return str(first + (len(seller.things.get(kind, ())) * 61_803_398_873 + offset) % 99_999_999_977)


def birth(world: Surroundings, seller: Seller, at: datetime, random: Random) -> tuple[str, Body]:
    item_id = new_id(seller, "listing", 200_000_000_000)
    price = random.randrange(99, 50_000)
    if world.began - at < YOUNG and random.random() < 0.5:
        return item_id, {"type": AUCTION, "price": price, "bids": random.randrange(4)}
    sold = random.randrange(5)
    return item_id, {"price": price, "quantity": sold + random.randrange(1, 30), "sold": sold}


def facts(thing_id: str, body: Body) -> Body:
    """Everything about a listing: drawn from its id, with its body laid over."""
    random = Random(f"listing/{thing_id}")
    title, sku, _, varies = random.choice(GOODS)
    auction = body.get("type") == AUCTION
    drawn: Body = {
        "type": FIXED,
        "price": 1000,
        "title": f"{title} {random.randrange(10_000)}",
        "sku": None if random.random() < 0.2 else sku and f"{sku}-{random.randrange(500)}",
        "quantity": 1,
        "sold": 0,
        "bids": 0,
        "watchers": random.choice((0, 0, 1, 7, 130)),
        "questions": random.choice((0, 0, 0, 2)),
        "offers": random.choice((0, 0, 3)),
        "notes": "Regal 3 <oben> & links" if random.random() < 0.1 else None,
        "category": random.choice((63852, 176985, 11450, 293)),
        "picture": f"https://i.ebayimg.com/00/s/{random.randrange(16**8):08x}/z/$_1.JPG?set_id=2&v={random.randrange(9)}",
        "profile": random.randrange(10**9, 10**10),
        "converted": random.uniform(0.9, 1.4),
        "variations": _variations(random, sku, body.get("price", 1000)) if varies and not auction else None,
    }
    return drawn | body


def _variations(random: Random, sku: str | None, price: int) -> list[Body] | None:
    if random.random() < 0.4:
        return None
    names = random.sample(COLOURS, random.randrange(1, len(COLOURS)))
    return [_variation(random, name, random.choice(SIZES), sku, price) for name in names]


def _variation(random: Random, colour: str, size: str, sku: str | None, price: int) -> Body:
    sold = random.randrange(3)
    return {
        "sku": f"{sku}-{colour[:3]}" if sku and random.random() < 0.7 else None,
        "price": price + random.randrange(5) * 100,
        "quantity": sold + random.randrange(1, 9),
        "sold": sold,
        "specifics": {"Colour": colour, "Größe & Schnitt": size},
    }


def total(listing: Mapping[str, Any], name: str) -> int:
    """`quantity` or `sold` of the whole listing; quantity is the lifetime's, what was sold included."""
    if listing["variations"]:
        return sum(variation[name] for variation in listing["variations"])
    return int(listing[name])


def last_body(thing: Thing) -> Body:
    """As it is, or as it was when it ended."""
    body = thing.body
    return body if body is not None else next(v.body for v in reversed(thing.versions) if v.body is not None)


def starts(thing: Thing) -> datetime:
    start: datetime = last_body(thing).get("start") or thing.created
    return start


def rolls(thing: Thing) -> bool:
    """Good 'Til Cancelled: it ends every month, and goes on."""
    body = last_body(thing)
    return body.get("type") != AUCTION and not body.get("end")


def month_after(at: datetime, months: int) -> datetime:
    """The same day of a later month, or that month's last."""
    year, month = divmod(at.month - 1 + months, 12)
    year, month = at.year + year, month + 1
    return at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))


def ends(thing: Thing, now: datetime) -> datetime:
    """When it ended or will end, as far as is known now."""
    body, start = last_body(thing), starts(thing)
    planned = body.get("end") or (start + timedelta(days=AUCTION_DAYS) if body.get("type") == AUCTION else None)
    if thing.body is None:
        return min(planned, thing.modified) if planned else thing.modified
    if planned:
        end: datetime = planned
        return end
    months = max(1, (now.year - start.year) * 12 + now.month - start.month)
    end = month_after(start, months)
    return end if end > now else month_after(start, months + 1)


def renewals(thing: Thing, now: datetime) -> list[datetime]:
    """Every end that the listing had or will have next, newest first; more than one with Good 'Til Cancelled."""
    found, start = [ends(thing, now)], starts(thing)
    if rolls(thing):
        months = (found[0].year - start.year) * 12 + found[0].month - start.month
        found += [end for back in range(months, 0, -1) if (end := month_after(start, back)) < found[0]]
    return found


def active(thing: Thing, now: datetime) -> bool:
    return thing.body is not None and starts(thing) <= now < ends(thing, now)


Move = Callable[[Surroundings, Thing, Body, datetime, Random], Body | None]


def _price(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    body["price"] = facts(thing.id, body)["price"] + random.randrange(1, 500)
    return body


def _sell(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """One is sold, a variation's or the listing's; an auction gets a bid."""
    listing = facts(thing.id, body)
    if listing["type"] == AUCTION:
        return body | {"bids": listing["bids"] + 1, "price": listing["price"] + 100}
    return _counted(body, listing, "sold", 1, random)


def _stock(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    listing = facts(thing.id, body)
    if listing["type"] == AUCTION:
        return _sell(world, thing, body, at, random)
    return _counted(body, listing, "quantity", random.randrange(1, 9), random)


def _counted(body: Body, listing: Body, name: str, by: int, random: Random) -> Body:
    where = random.choice(listing["variations"]) if listing["variations"] else listing
    where[name] += by
    where["quantity"] = max(where["quantity"], where["sold"])
    if listing["variations"]:
        return body | {"variations": listing["variations"]}
    return body | {"quantity": where["quantity"], "sold": where["sold"]}


def _title(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    title = facts(thing.id, body)["title"].partition(" *")[0]
    return body | {"title": f"{title} *{len(thing.versions)}"}


def _drop_variation(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    left = list(facts(thing.id, body)["variations"] or ())
    if len(left) < 2:
        return _stock(world, thing, body, at, random)
    left.remove(random.choice(left))
    return body | {"variations": left}


def _add_variation(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    listing = facts(thing.id, body)
    if not listing["variations"]:
        return _stock(world, thing, body, at, random)
    new = _variation(random, f"Nr. {len(thing.versions)}", random.choice(SIZES), None, listing["price"])
    return body | {"variations": [*listing["variations"], new]}


def _end(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> None:
    return None


MOVES: dict[str, Move] = {
    "price": _price,
    "sell": _sell,
    "stock": _stock,
    "title": _title,
    "drop_variation": _drop_variation,
    "add_variation": _add_variation,
    "end": _end,
}
KINDS = (Kind("listing", birth, MOVES),)
