"""Records that begin open, at a chosen time."""

from __future__ import annotations

from datetime import datetime

from ebaysync.sim.model import Seller, Thing
from ebaysync.sim.world import World

ENDED = ("closedDate", "resolution", "sellerResponse", "respondByDate", "availableChoices")
"""what a dispute has that is closed, or was answered"""


def is_closed(thing: Thing) -> bool:
    body = thing.body
    assert body
    return bool(body["closed"]) if "closed" in body else body["paymentDisputeStatus"] == "CLOSED"


def born(world: World, seller: Seller, kind: str, at: datetime, *, closed: bool = False) -> Thing:
    """A case, inquiry, return or dispute of that time that is open, or closed, and did not go on as a case."""
    while True:
        thing = world.add_thing(seller, kind, at=at)
        assert thing.body
        if kind == "dispute" and not closed:
            kept = {name: value for name, value in thing.body.items() if name not in ENDED}
            world.put_thing(thing, kept | {"paymentDisputeStatus": "OPEN"})
        if is_closed(thing) == closed and not thing.body.get("case_id"):
            return thing
        del seller.things[kind][thing.id]
        seller.things.get("case", {}).pop(thing.body.get("case_id") or "", None)
