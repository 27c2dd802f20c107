"""A seller's own purchases: bids and offers that are won or lost.

A body holds the state (`bid`, `offer`, `won`, `lost`), prices and flags, and whatever a test puts on top; the rest is
drawn from the id, which is the item's own. A bid is decided when its auction ends.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

from ebaysync.sim.kinds.listings import new_id
from ebaysync.sim.model import Body, Seller, Surroundings, Thing
from ebaysync.sim.people import GOODS
from ebaysync.sim.things import Kind

AUCTION = timedelta(days=7)
SELLERS = ("topcards & co", "flohmarkt_köln", "rega.planar", "ny*vintage")


def birth(world: Surroundings, seller: Seller, at: datetime, random: Random) -> tuple[str, Body]:
    running = world.began - at < timedelta(days=6)
    state = random.choice(("bid", "offer") if running else ("won", "won", "lost", "offer"))
    price = random.randrange(100, 40_000)
    body = {"state": state, "auction": state != "offer" and random.random() < 0.6, "price": price, "max": price + 500}
    return new_id(seller, "purchase", 300_000_000_000), body | ({"auction": True} if state == "bid" else {})


def facts(thing: Thing) -> Body:
    random = Random(f"purchase/{thing.id}")
    shop, number = random.choice(SELLERS), random.randrange(10**12, 10**13)
    drawn: Body = {
        "item": thing.id,
        "state": "won",
        "auction": False,
        "price": 1000,
        "max": 1500,
        "winning": random.random() < 0.5,
        "paid": False,
        "shipped": False,
        "removed": False,
        "title": f"{random.choice(GOODS)[0]} {random.randrange(1000)}",
        "shop": shop,
        "currency": random.choice(("USD", "GBP", "EUR")),
        "quantity": random.choice((1, 1, 1, 3)),
        "shipping": random.choice((0, 499, 1295)),
        "transaction": str(number),
    }
    found = drawn | (thing.body or {})
    if found["auction"]:  # "The TransactionID value for auction listings is always 0"
        found |= {"transaction": "0", "quantity": 1}
    return found


def auction_end(thing: Thing) -> datetime:
    end: datetime = (thing.body or {}).get("end") or thing.created + AUCTION
    return end


def standing(thing: Thing, now: datetime) -> tuple[str, datetime]:
    """In which state it is, and since when; none when it is gone."""
    body = thing.body
    if body is None:
        return "", thing.modified
    if body.get("state") == "bid" and auction_end(thing) <= now:
        return ("won" if facts(thing)["winning"] else "lost"), auction_end(thing)
    return body.get("state", "won"), body.get("since") or thing.created


def flagged_at(thing: Thing, name: str, now: datetime) -> datetime:
    """When a flag was set."""
    at = thing.modified
    for version in reversed(thing.versions):
        if not (version.body or {}).get(name):
            break
        at = version.at
    return max(at, standing(thing, now)[1])


Move = Callable[[Surroundings, Thing, Body, datetime, Random], Body | None]


def _decided(body: Body) -> Body:
    """Changes of something won or lost."""
    lost = body.get("state") == "lost"
    return body | {"removed" if lost or body.get("shipped") else "shipped" if body.get("paid") else "paid": True}


def _settled(thing: Thing, body: Body, at: datetime) -> Body:
    """With the state that the end of the auction gave it."""
    state, since = standing(thing, at)
    return body | {"state": state, "since": since}


def _bid(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
    """The price of the auction rises, past the own bid or not; another amount is offered."""
    body = _settled(thing, body, at)
    if body["state"] in ("won", "lost"):
        return _decided(body)
    price = body.get("price", 1000) + random.randrange(50, 900)
    return body | {"price": price, "winning": price <= body.get("max", 1500)}


def _decide(state: str) -> Move:
    def move(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
        body = _settled(thing, body, at)
        return _decided(body) if body["state"] in ("won", "lost") else body | {"state": state, "since": at}

    return move


def _mark(name: str, *states: str) -> Move:
    """A flag of what is won or lost; what is not decided yet gets another bid."""

    def move(world: Surroundings, thing: Thing, body: Body, at: datetime, random: Random) -> Body:
        settled = _settled(thing, body, at)
        return settled | {name: True} if settled["state"] in states else _bid(world, thing, body, at, random)

    return move


MOVES: dict[str, Move] = {
    "bid": _bid,
    "win": _decide("won"),
    "lose": _decide("lost"),
    "pay": _mark("paid", "won"),
    "ship": _mark("shipped", "won"),
    "remove": _mark("removed", "won", "lost"),
}
KINDS = (Kind("purchase", birth, MOVES),)
