"""A seller with orders and things, and the history of each: what it was at every version.

The facts an order was born with are drawn from its own seed when somebody looks, so that thousands of orders
cost little. Version n of an order is those facts with its first n changes, the first being the creation.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ebaysync.sim.changes import KINDS, LEADS_TO, Change
from ebaysync.sim.clock import stamp
from ebaysync.sim.payload import Draft, hidden, listed, masked
from ebaysync.sim.people import Marketplace

Body = dict[str, Any]
"""The body from which a kind's API makes its answers."""


@dataclass(frozen=True, slots=True)
class Version:
    at: datetime
    body: Body | None


@dataclass(slots=True)
class Thing:
    kind: str
    id: str
    seller: Seller
    versions: list[Version] = field(default_factory=list)

    @property
    def created(self) -> datetime:
        return self.versions[0].at

    @property
    def modified(self) -> datetime:
        return self.versions[-1].at

    @property
    def body(self) -> Body | None:
        """As it is now; None: gone."""
        return self.versions[-1].body

    @property
    def version(self) -> int:
        return len(self.versions)

    def become(self, at: datetime, body: Body | None) -> None:
        self.versions.append(Version(at, body))
        self.seller.happened += 1


class Surroundings(Protocol):
    """The kinds' view of the world."""

    began: datetime


@dataclass(slots=True)
class Seller:
    username: str
    user_id: str
    market: Marketplace
    refresh_token: str
    scopes: frozenset[str]
    orders: dict[str, Order] = field(default_factory=dict)
    things: dict[str, dict[str, Thing]] = field(default_factory=dict)  # by kind and id
    happened: int = 0  # to things that are there: grows with every new version of one

    @property
    def marketplace_id(self) -> str:
        return self.market.id


@dataclass(slots=True)
class Order:
    id: str
    seed: str
    seller: Seller
    changes: list[Change]
    phase: str = "paid"
    fields: Mapping[str, Any] = field(default_factory=dict)  # laid over whatever the seed gave
    cache: dict[tuple[Any, ...], bytes] = field(default_factory=dict)

    @property
    def created(self) -> datetime:
        return self.changes[0].at

    @property
    def modified(self) -> datetime:
        return self.changes[-1].at

    @property
    def version(self) -> int:
        return len(self.changes)

    def indexed_version(self, now: datetime) -> int:
        """How many changes the filters of getOrders know of; 0: they do not find the order at all."""
        count = len(self.changes)
        while count and self.changes[count - 1].indexed > now:
            count -= 1
        return count

    def apply(self, change: Change) -> None:
        self.changes.append(change)
        self.phase = LEADS_TO.get(change.kind, self.phase)

    def body(self, version: int | None = None, *, taxes: bool = False) -> dict[str, Any]:
        """All that eBay knows of the order: what getOrder gives as long as nobody's data is masked."""
        draft = Draft(self.id, self.seed, self.seller.username, self.seller.market, taxes)
        body = draft.body(self.created)
        for number, change in enumerate(self.changes[1:version], start=1):
            KINDS[change.kind](draft, body, change, number)
            body["lastModifiedDate"] = stamp(change.at)
        return _lay_over(body, self.fields)

    @property
    def position(self) -> bytes:
        """The order's place among rows that are sorted by no visible field."""
        return self.cache.get(("position",)) or self.cache.setdefault(("position",), position(self.id))

    def status(self, version: int) -> str:
        """The orderFulfillmentStatus at a version."""
        key = ("status", version)
        if key not in self.cache:
            self.cache[key] = str(self.body(version)["orderFulfillmentStatus"]).encode()
        return self.cache[key].decode()

    def answer(self, now: datetime, version: int | None = None, *, row: bool, taxes: bool = False) -> bytes:
        """The JSON on the wire: masked for the order's age and, as a row of getOrders, shorter."""
        age = now - self.created
        key = (version or self.version, row, taxes, self.seller.username, hidden(age))
        if key not in self.cache:
            body = masked(self.body(version, taxes=taxes), age)
            text = json.dumps(listed(body) if row else body, ensure_ascii=False, separators=(",", ":"))
            self.cache[key] = text.encode("utf-8", "surrogatepass")
        return self.cache[key]


def position(order_id: str) -> bytes:
    return hashlib.blake2b(order_id.encode(), digest_size=8).digest()


def _lay_over(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _lay_over(base[key], value)
        else:
            base[key] = copy.deepcopy(value)
    return base
