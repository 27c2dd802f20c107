"""The world moves between two pages: the traps of paging by offset over a filter whose rows change.

`leave`: a row of the asked window is modified now, so it leaves a window of the past and everything behind it
moves up by one. `leave_and_enter`: at the same time the filters learn of another row of that window, so that
`total` stays the same and nobody can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from ebaysync.sim.apis.fulfillment import Found, Window, matches, parse
from ebaysync.sim.calls import Call
from ebaysync.sim.clock import whole
from ebaysync.sim.faults import Fault
from ebaysync.sim.model import Seller, position
from ebaysync.sim.world import World


@dataclass(slots=True)
class Mover:
    """Moves rows after a page was answered; remembers which way each walk goes."""

    world: World
    random: Random
    _next_forward: dict[tuple[str, datetime], int] = field(default_factory=dict)

    def move(self, fault: Fault, seller: Seller, call: Call) -> bool:
        """Whether anything could be moved: a row touched now must be outside of the asked window."""
        if call.query.get("orderIds"):
            return False
        window, _ = parse(call)
        backward = self._goes_backward(seller, window)
        if window.field != "lastmodifieddate" or whole(self.world.clock.now()) <= window.end:
            return False
        found = matches(self.world, seller, window, self.world.now())
        if not found:
            return False
        last_served = min(window.offset + window.limit, len(found)) - 1
        at_random = fault.where == "random"
        leaver = self.random.randrange(len(found)) if at_random else max(0, last_served)
        if fault.kind == "leave_and_enter":
            first = self.random.random() < 0.5 if at_random else backward
            self._enter(seller, window, found, first=first)
        self.world.touch_now(found[leaver][0])
        return True

    def stir(self, fault: Fault, seller: Seller) -> bool:
        """Some things of a kind change or vanish, and as many are born."""
        mine = list(seller.things.get(fault.of, {}).values())
        for _ in range(fault.by):
            if mine:
                self.world.move_thing(self.random.choice(mine))
            self.world.add_thing(seller, fault.of)
        return True

    def _goes_backward(self, seller: Seller, window: Window) -> bool:
        """Whether this walk began at the end: it jumped there, or came from a later page."""
        key = (seller.user_id, window.start)
        expected = self._next_forward.get(key, 0)
        self._next_forward[key] = window.offset + window.limit
        return window.offset not in (0, expected)

    def _enter(self, seller: Seller, window: Window, found: list[Found], *, first: bool) -> None:
        """A late row of the window appears before the first or behind the last of those found."""
        edge = found[0] if first else found[-1]
        at = _inside(window, self.random)
        order_id, created = None, at
        by = self.world.quirks.rows
        early = first != by.startswith("-")
        if by == "hash":
            order_id = self._id_beyond(edge[0].id, first)
        elif by == "id":
            order_id = f"{'00' if first else '99'}-00000-{self.random.randrange(10**5):05d}"
        elif by.endswith("created"):
            created = edge[0].created + timedelta(seconds=-1 if early else 1)
            at = max(at, created)
        else:
            created = at = _first_second(window) if early else whole(window.end)
        self.world.add_late(seller, created=min(created, at), modified=at, order_id=order_id)

    def _id_beyond(self, edge: str, first: bool) -> str:
        while True:
            numbers = (
                self.random.randrange(1, 28),
                self.random.randrange(10**5),
                self.random.randrange(10**5),
            )
            order_id = "{:02d}-{:05d}-{:05d}".format(*numbers)
            if (position(order_id) < position(edge)) == first:
                return order_id


def _first_second(window: Window) -> datetime:
    at = whole(window.start)
    return at if at == window.start else at + timedelta(seconds=1)


def _inside(window: Window, random: Random) -> datetime:
    seconds = int((window.end - _first_second(window)).total_seconds())
    return _first_second(window) + timedelta(seconds=random.randrange(max(1, seconds + 1)))
