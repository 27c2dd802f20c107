"""The sellers and their orders, and how they go on changing with the clock.

Everything follows from the seed and from the moment the world began. New orders and changes happen at moments
drawn beforehand; whoever asks the world first moves it up to now. It does not know HTTP.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from ebaysync.sim.changes import NEXT, Change
from ebaysync.sim.clock import Clock, SystemClock, whole
from ebaysync.sim.model import Body, Order, Seller, Thing, Version
from ebaysync.sim.payload import listed, masked
from ebaysync.sim.people import MARKETPLACES
from ebaysync.sim.quirks import Quirks, Rates
from ebaysync.sim.scopes import SELLER_SCOPES
from ebaysync.sim.secrets import opaque, user_id
from ebaysync.sim.signing import SigningKey
from ebaysync.sim.things import kinds
from ebaysync.sim.timeline import Timeline, run


@dataclass(frozen=True, eq=False)
class Truth:
    """One order as it was when the world was asked; what eBay would say is drawn up when looked at."""

    order: Order
    version: int
    asked: datetime
    indexed: bool  # whether the filters of getOrders know of this version

    @property
    def last_modified(self) -> datetime:
        return self.order.changes[self.version - 1].at

    @cached_property
    def full(self) -> dict[str, Any]:
        """Nothing hidden."""
        return self.order.body(self.version)

    @cached_property
    def shown(self) -> dict[str, Any]:
        """As getOrder shows it."""
        return masked(self.order.body(self.version), self.asked - self.order.created)

    @cached_property
    def row(self) -> dict[str, Any]:
        """As getOrders shows it, once its filters know of this version."""
        return listed(masked(self.order.body(self.version), self.asked - self.order.created))


class World:
    """Several sellers of one seed, with their past of `days` days.

    `things` is how many of each kind (sim/things) a seller has at the start, one number for all or by name.
    """

    def __init__(
        self,
        seed: int = 1,
        sellers: int = 3,
        orders_per_seller: int = 200,
        clock: Clock | None = None,
        *,
        days: float = 90,
        things: int | Mapping[str, int] = 0,
        rates: Rates | None = None,
        quirks: Quirks | None = None,
    ) -> None:
        self.seed, self.days = seed, days
        self.rates, self.quirks = rates or Rates(), quirks or Quirks()
        self.undeclared: list[str] = []  # what Trading calls sent that eBay's types do not know
        self.asked = 0  # how many Trading calls were answered: some values differ at each
        self.signing_keys: dict[str, SigningKey] = {}  # by JWE
        self.notice_keys: dict[str, EllipticCurvePrivateKey] = {}  # by id: eBay's own, for its notices
        self.clock = clock or SystemClock()
        self.lock = threading.RLock()
        self.began = whole(self.clock.now())
        self._random = Random(f"{seed}/touch")
        self._order_ids: set[str] = set()
        self.sellers = [self._seller(number) for number in range(sellers)]
        self._timelines: list[Timeline] = []
        for seller in self.sellers:
            self._history(seller, orders_per_seller)
            self._future(seller, self.rates.new_per_hour, self.rates.changes_per_hour)
            for kind in kinds().values():
                count = things if isinstance(things, int) else things.get(kind.name, 0)
                self._past_things(seller, kind.name, count)
                self._future_things(
                    seller, kind.name, self.rates.new_things_per_hour, self.rates.thing_changes_per_hour
                )

    def seller(self, who: str | Seller) -> Seller:
        """The seller with this user name or immutable user id. Raises KeyError."""
        if isinstance(who, Seller):
            return who
        found = [seller for seller in self.sellers if who in (seller.username, seller.user_id)]
        if not found:
            raise KeyError(f"no seller {who!r} in this world")
        return found[0]

    def now(self) -> datetime:
        """The clock's time, with everything that was due by then done."""
        with self.lock:
            now = self.clock.now()
            run(self._timelines, now)
            return now

    def touch(self, who: str | Seller, order_id: str, kind: str | None = None) -> Order:
        """Changes an order now, as fits where it stands."""
        with self.lock:
            now = self.now()
            order = self.seller(who).orders[order_id]
            self._change(order, whole(now), self._random, kind)
            return order

    def add_order(
        self,
        who: str | Seller,
        *,
        order_id: str | None = None,
        created: datetime | None = None,
        indexed: datetime | None = None,
        **fields: Any,
    ) -> Order:
        """A new order, now unless told otherwise; `fields` are laid over its JSON, nested ones merged.

        `indexed` is when the filters of getOrders begin to know of it: a later one than `created` makes a row
        that arrives late in a window of the past.
        """
        with self.lock:
            now = self.now()
            return self._add(self.seller(who), created or whole(now), self._random, order_id, indexed, fields)

    def add_late(self, who: str | Seller, *, created: datetime, modified: datetime, order_id: str | None) -> Order:
        """An order of the past that the filters of getOrders learn of only now."""
        with self.lock:
            now = self.now()
            order = self._add(self.seller(who), created, self._random, order_id, now, {})
            if modified > created:
                order.apply(Change("estimate", modified, now, 0))
            return order

    def touch_now(self, order: Order) -> None:
        """Changes an order, and the filters know at once whatever the index lag."""
        with self.lock:
            self._change(order, whole(self.now()), self._random, lag=0)

    def things(self, who: str | Seller, kind: str) -> dict[str, Thing]:
        """The seller's things of a kind by id, those that are gone among them."""
        with self.lock:
            self.now()
            return dict(self.seller(who).things.get(kind, {}))

    def add_thing(
        self,
        who: str | Seller,
        kind: str,
        *,
        at: datetime | None = None,
        thing_id: str | None = None,
        body: Body | None = None,
    ) -> Thing:
        """A new thing, born now and by chance unless told otherwise. Raises ValueError: there is no such kind."""
        with self.lock:
            at, seller = at or whole(self.now()), self.seller(who)
            born = None
            if thing_id is None or body is None:
                born = kinds()[kind].born(self, seller, at, self._random)
                if born is None or born.body is None:
                    raise ValueError(f"no {kind} can be born now")
                thing_id, body = thing_id or born.id, body or born.body
            thing = Thing(kind, thing_id, seller, [Version(at, body)])
            seller.things.setdefault(kind, {})[thing.id] = thing
            seller.happened += 1
            return thing

    def move_thing(self, thing: Thing, move: str | None = None) -> Thing:
        """Let one of its kind's moves happen now, by name or by chance; what is gone comes back."""
        with self.lock:
            kinds()[thing.kind].move(self, thing, whole(self.now()), self._random, move)
            return thing

    def put_thing(self, thing: Thing, body: Body | None) -> Thing:
        """Give it another body now; None: it is gone."""
        with self.lock:
            thing.become(max(whole(self.now()), thing.modified), body)
            return thing

    def rename(self, who: str | Seller, username: str) -> Seller:
        """The seller takes another name; the immutable id stays."""
        with self.lock:
            seller = self.seller(who)
            seller.username = username
            return seller

    def truth(self, who: str | Seller) -> dict[str, Truth]:
        """Every order of a seller as it is now, by id."""
        with self.lock:
            now = self.now()
            return {order.id: self._truth(order, now) for order in self.seller(who).orders.values()}

    def versions(self, who: str | Seller, order_id: str) -> list[dict[str, Any]]:
        """Every state the order ever had, oldest first, nothing hidden."""
        with self.lock:
            order = self.seller(who).orders[order_id]
            return [order.body(number) for number in range(1, order.version + 1)]

    def find(self, seller: Seller, now: datetime) -> Iterator[tuple[Order, int, datetime]]:
        """The orders that the filters know of, each with the version and modification they know."""
        for order in seller.orders.values():
            version = order.indexed_version(now)
            if version:
                yield order, version, order.changes[version - 1].at

    def _truth(self, order: Order, now: datetime) -> Truth:
        return Truth(order, order.version, now, order.indexed_version(now) == order.version)

    def _seller(self, number: int) -> Seller:
        random = Random(f"{self.seed}/seller/{number}")
        market = MARKETPLACES[number % len(MARKETPLACES)]
        name = f"{market.country.lower()}_seller_{number + 1}"
        return Seller(name, user_id(random), market, opaque(random, 320), SELLER_SCOPES)

    def _history(self, seller: Seller, count: int) -> None:
        """Orders of the past, each with what happened to it until the world began."""
        random = Random(f"{self.seed}/history/{seller.user_id}")
        span = int(self.days * 86400)
        for age in sorted((random.randrange(1, span + 1) for _ in range(count)), reverse=True):
            order = self._add(seller, self.began - timedelta(seconds=age), random, None, None, {}, lag=0)
            at = order.created
            for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
                at += timedelta(seconds=int(random.expovariate(1 / 200_000)) + 60)
                if at >= self.began:
                    break
                self._change(order, at, random, lag=0)

    def _future(self, seller: Seller, new: float, changes: float) -> None:
        """Draw the seller's future events, so many an hour."""

        def sell(at: datetime, random: Random) -> None:
            self._add(seller, at, random, None, None, {})

        def change(at: datetime, random: Random) -> None:
            orders = list(seller.orders.values())
            if orders:  # young ones more often than old ones, but old ones do change, too
                self._change(orders[-1 - int(random.random() ** 3 * len(orders))], at, random)

        for name, rate, act in (("new", new, sell), ("change", changes, change)):
            if rate > 0:
                random = Random(f"{self.seed}/{name}/{seller.user_id}")
                self._timelines.append(Timeline(self.began, random, rate, act))

    def _past_things(self, seller: Seller, kind: str, count: int) -> None:
        random = Random(f"{self.seed}/{kind}/{seller.user_id}")
        span = int(kinds()[kind].days * 86400)
        for age in sorted((random.randrange(1, span + 1) for _ in range(count)), reverse=True):
            self._bear(seller, kind, self.began - timedelta(seconds=age), random)

    def _future_things(self, seller: Seller, kind: str, new: float, changes: float) -> None:
        def change(at: datetime, random: Random) -> None:
            if mine := list(seller.things.get(kind, {}).values()):
                kinds()[kind].move(self, random.choice(mine), at, random)

        if new > 0:
            random = Random(f"{self.seed}/new {kind}/{seller.user_id}")
            self._timelines.append(Timeline(self.began, random, new, lambda at, r: self._bear(seller, kind, at, r)))
        if changes > 0:
            random = Random(f"{self.seed}/change {kind}/{seller.user_id}")
            self._timelines.append(Timeline(self.began, random, changes, change))

    def _bear(self, seller: Seller, kind: str, at: datetime, random: Random) -> None:
        if thing := kinds()[kind].born(self, seller, at, random):
            seller.things.setdefault(kind, {}).setdefault(thing.id, thing)

    def _add(
        self,
        seller: Seller,
        created: datetime,
        random: Random,
        order_id: str | None,
        indexed: datetime | None,
        fields: dict[str, Any],
        lag: float | None = None,
    ) -> Order:
        order_id = order_id or self._new_id(random, created)
        if order_id in self._order_ids:
            raise ValueError(f"there is an order {order_id} already")
        self._order_ids.add(order_id)
        indexed = indexed or created + self._lag(random, lag)
        creation = Change("create", whole(created), indexed, 0)
        order = Order(order_id, f"{self.seed}/{order_id}", seller, [creation], fields=fields)
        seller.orders[order_id] = order
        return order

    def _change(
        self, order: Order, at: datetime, random: Random, kind: str | None = None, lag: float | None = None
    ) -> None:
        kind = kind or random.choice(NEXT[order.phase])
        at = max(at, order.modified)
        indexed = max(at + self._lag(random, lag), order.changes[-1].indexed)
        order.apply(Change(kind, at, indexed, random.random()))

    def _lag(self, random: Random, most: float | None) -> timedelta:
        most = self.quirks.index_lag if most is None else most
        return timedelta(seconds=random.uniform(0, most)) if most else timedelta()

    def _new_id(self, random: Random, created: datetime) -> str:
        """`04-12087-72462`: the middle grows with time, the rest tells nothing."""
        middle = 10_000 + max(0, (created.date() - datetime(2022, 1, 1).date()).days) * 4  # noqa: DTZ001
        while True:
            order_id = f"{random.randrange(1, 28):02d}-{middle % 100_000:05d}-{random.randrange(100_000):05d}"
            if order_id not in self._order_ids:
                return order_id
