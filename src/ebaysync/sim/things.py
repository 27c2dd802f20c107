"""The kinds of things that eBay keeps of a seller beside the orders: transactions, listings, messages and so on.

A Kind says how a thing of it is born and what may happen to it later; the world lets it happen. A body is whatever
the kind's API makes its answers of. A thing that is gone has a last version without a body, and may come back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from random import Random

from ebaysync.sim.model import Body, Seller, Surroundings, Thing, Version


@dataclass(frozen=True)
class Kind:
    """`birth(world, seller, at, random)` gives the id and body of a new thing, or None where there is nothing to be
    born (no order without a sale, say). A move takes a copy of the body and gives the next one, None to vanish."""

    name: str
    birth: Callable[[Surroundings, Seller, datetime, Random], tuple[str, Body] | None]
    moves: Mapping[str, Callable[[Surroundings, Thing, Body, datetime, Random], Body | None]]
    days: float = 90
    """how far back things of the past were born"""
    returns: Callable[[Thing], bool] = lambda thing: True
    """whether one that is gone can come back"""

    def born(self, world: Surroundings, seller: Seller, at: datetime, random: Random) -> Thing | None:
        made = self.birth(world, seller, at, random)
        return Thing(self.name, made[0], seller, [Version(at, made[1])]) if made else None

    def move(self, world: Surroundings, thing: Thing, at: datetime, random: Random, name: str | None = None) -> None:
        """One of the moves, by name or by chance; a thing that is gone comes back as it was."""
        at = max(at, thing.modified)
        if thing.body is None:
            if self.returns(thing):
                thing.become(at, thing.versions[-2].body)
            return
        move = self.moves[name or random.choice(sorted(self.moves))]
        thing.become(at, move(world, thing, copy.deepcopy(thing.body), at, random))


@cache
def kinds() -> dict[str, Kind]:
    """Every Kind in the KINDS of the modules of sim/kinds, module by module in the order of their names."""
    package = import_module("ebaysync.sim.kinds")
    modules = [import_module(f"{package.__name__}.{found.name}") for found in iter_modules(package.__path__)]
    return {kind.name: kind for module in modules for kind in getattr(module, "KINDS", ())}
