"""The central acceptance test of the families: a world that moves in every way, read in many runs, against the
simulator's truth. What the tables must hold and what must have been told is worked out in `truth`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Container, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest

from ebaysync.families import discover
from ebaysync.ops.account import by_source
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.model import Thing
from ebaysync.sim.things import kinds
from ebaysync.sim.world import World
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run

from .truth import TRUTH, Model, Query

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SETTLE = 30
CYCLES = 30
WITHOUT_TRUTH = {"cases", "inquiries", "returns"}  # test_post_order compares them, move by move
THINGS = {
    "transaction": 30,
    "dispute": 10,
    "inventory_item": 6,
    "offer": 8,
    "listing": 10,
    "message": 30,
    "purchase": 14,
    "payout": 2,
    "cancellation": 12,
}
# Between which calls things of a kind move.
STIRRED: dict[str, dict[str, Any]] = {
    "transaction": {"path": "/sell/finances/v1/transaction"},
    "dispute": {"path": "/payment_dispute"},
    "inventory_item": {"path": "/sell/inventory/v1/"},
    "offer": {"path": "/sell/inventory/v1/offer"},
    "listing": {"call": "GetMyeBaySelling"},
    "message": {"call": "GetMyMessages"},
    "purchase": {"call": "GetMyeBayBuying"},
    "cancellation": {"path": "/post-order/v2/cancellation/search"},
}


def test_every_family_has_its_truth() -> None:
    missing = set(discover()) - set(TRUTH) - WITHOUT_TRUTH
    assert not missing, f"{', '.join(sorted(missing))}: add it to TRUTH in tests/flow/truth.py"


class Mover:
    """Lets everything happen that can happen: each kind's moves in turn, so that none is left to chance."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.random = world, Random(f"{seed}/cycles")
        self.moved: set[tuple[str, str]] = set()
        self._turn = 0

    def cycle(self) -> None:
        """New rows, changes early and late, removals, reappearances, and what changed and changed back."""
        self._turn += 1
        for seller in self.world.sellers:
            for name in THINGS:
                there = list(self.world.things(seller, name).values())
                for move in sorted(kinds()[name].moves):
                    self._move(self.random.choice([thing for thing in there if thing.body is not None] or there), move)
                if gone := [thing for thing in there if thing.body is None]:
                    self._move(self.random.choice(gone), "come back")
                if self._turn % 3 == 0:
                    self.world.add_thing(seller, name)
                self._there_and_back(self.random.choice(there))
            for order_id in self.random.sample(sorted(seller.orders), 4):
                self.world.touch(seller, order_id)
            if self._turn % 2:
                self.world.add_order(seller)

    def _move(self, thing: Thing, move: str) -> None:
        self.moved.add((thing.kind, "come back" if thing.body is None else move))
        self.world.move_thing(thing, None if thing.body is None else move)

    def _there_and_back(self, thing: Thing) -> None:
        """What nobody can see between two runs: a change and its undoing, or gone and there again."""
        body = thing.body
        if body is None:
            return
        if self._turn % 2:
            self.world.put_thing(thing, None)
        else:
            self.world.move_thing(thing)
        self.world.put_thing(thing, body)

    def rest(self, clock: ManualClock) -> None:
        """Nothing happens for longer than a run stays behind eBay's now, so that it can see all there is."""
        while True:
            before = self._versions()
            clock.advance(2 * SETTLE)
            self.world.now()
            if self._versions() == before:
                return

    def _versions(self) -> int:
        return sum(
            sum(order.version for order in seller.orders.values())
            + sum(thing.version for kind in seller.things.values() for thing in kind.values())
            for seller in self.world.sellers
        )


class Setting:
    """The sellers' accounts, each with its model, and the runs of all of their families."""

    def __init__(self, bench: Any, query: Query, clock: ManualClock, label: str) -> None:
        self.bench, self.query, self.clock, self.label = bench, query, clock, label
        self.accounts: list[Any] = []
        self.models: list[Model] = []
        self.families = [name for name in discover() if name in TRUTH]

    async def open(self) -> None:
        for index, seller in enumerate(self.bench.sim.world.sellers):
            account = await self.bench.add(index)
            self.accounts.append(account)
            self.models.append(Model(self.bench.sim.world, seller, account.id, self.query, self.families))

    async def run(self, *, stirred: bool = False, **asked: Any) -> None:
        """Every family of every account. Details that could not be had are always due again: the waits for them go by
        the database's clock, which does not know of the hours that pass for eBay. Those of open records are always old
        enough to be read again, because no list shows some of their changes (test_open_records has the ages)."""
        self.query("UPDATE ebay_pending_detail SET next_at = now(), attempts = 1 WHERE attempts > 0")
        self.query("UPDATE ebay_pending_detail SET again_at = '2020-01-01Z' WHERE again_at IS NOT NULL")
        for account in self.accounts:
            async with self.bench.worker(account) as worker:
                for together in by_source([discover()[name] for name in self.families]):
                    for summary in await run(worker, together, RunOptions("run", **asked)):
                        done = summary.status == "completed" and summary.caught_up
                        assert done or stirred, f"{self.label}: {summary.as_dict()}"
                # No count shows some changes of messages, and 25 of them make a page that is cut, so that a run's slice
                # of the sweep is not the whole horizon.
                [swept] = await run(worker, [discover()["messages"]], RunOptions("run", **asked | {"sweep": True}))
                assert stirred or (swept.status, swept.caught_up) == ("completed", True), self.label
        assert self.bench.sim.app.errors == []
        assert self.query("SELECT reason FROM ebay_quarantine") == [], self.label

    def check(self, when: str) -> None:
        """After a run in which nothing moved: tables and events."""
        now = self.clock.now()
        for model in self.models:
            expected = model.advance(now, now - timedelta(seconds=SETTLE))
            self._none(when, model.compare() + model.compare_events(expected))

    def adopt(self, when: str) -> None:
        for model in self.models:
            self._none(when, model.adopt())

    def _none(self, when: str, found: list[str]) -> None:
        assert not found, f"{self.label}, {when}: {len(found)} differences\n" + "\n".join(map(str, found[:20]))

    def moved_enough(self, *, rows: int, events: int) -> None:
        """That the comparisons were worth something."""
        compared = [sum(model.rows_compared for model in self.models), sum(m.events_compared for m in self.models)]
        print(f"{self.label}: {compared[0]} rows and {compared[1]} events compared")
        assert compared[0] >= rows
        assert compared[1] >= events

    def marks(self) -> list[Any]:
        """Where each row of each table is, and the last event: a write moves it."""
        tables = [spec.name for spec in self.models[0].specs()]
        rows = [self.query(f"SELECT ctid::text, xmin::text FROM {table} ORDER BY ctid") for table in tables]
        return [*rows, self.query("SELECT max(id) FROM ebay_events")]


@pytest.fixture(autouse=True)
def one_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run reads the machine's certificates anew, which hundreds of runs without TLS need not wait for."""
    context = ssl.create_default_context()
    monkeypatch.setattr(ssl, "create_default_context", lambda: context)


@pytest.fixture
def query(database_url: str) -> Iterator[Query]:
    """The same as everywhere, over one connection: this file asks thousands of times."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def rows(sql: str, *values: Any) -> list[Any]:
            cursor = connection.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

        yield rows


async def live_through(
    setting: Setting, mover: Mover, cycles: int, *, stir: Container[int], repeat: Container[int], **asked: Any
) -> None:
    """So many cycles. In some, things move between the calls of a run before the one that is checked; after some, a
    run without any change must not write."""
    clock, faults = setting.clock, setting.bench.sim.faults
    for cycle in range(cycles):
        when = f"cycle {cycle}"
        if cycle:
            clock.advance(mover.random.choice((300, 1800, 7200, 20_000)))
            mover.cycle()
        mover.rest(clock)
        if cycle in stir:
            for kind, where in STIRRED.items():
                faults.add("stir", of=kind, by=1, times=3, **where)
            faults.add("leave", times=2)
            await setting.run(stirred=True, **asked)
            faults.clear()
            setting.adopt(f"{when}, stirred")
            mover.rest(clock)
        await setting.run(**asked)
        setting.check(when)
        if cycle in repeat:
            before = setting.marks()
            await setting.run(**asked)
            assert setting.marks() == before, f"{setting.label}, {when}: a run without any change writes"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_after_each_of_30_runs_every_table_is_as_ebay_has_it_and_each_change_was_told_once(
    bench: Callable[..., Any], query: Query, seed: int
) -> None:
    """A quiet seller: one slice of a sweep is the whole horizon."""
    clock = ManualClock(NOON)
    b = bench(
        seed=seed,
        clock=clock,
        sellers=1,
        orders_per_seller=30,
        changes_per_hour=0.5,
        new_per_hour=0.1,
        index_lag=600 if seed == 3 else 0,
        things=THINGS,
        thing_changes_per_hour=0.3,
        new_things_per_hour=0.05,
        won_shape=("transaction", "order", "mixed")[seed % 3],
        inventory_offset=("page", "record")[seed % 2],
    ).with_settings(settle_seconds=SETTLE)
    mover, setting = Mover(b.sim.world, seed), Setting(b, query, clock, f"seed {seed}")
    await setting.open()
    await live_through(setting, mover, CYCLES, stir=range(3, CYCLES, 6), repeat=range(7, CYCLES, 10))
    assert {(name, move) for name in THINGS for move in kinds()[name].moves} <= mover.moved
    setting.moved_enough(rows=5000, events=1000)


@pytest.mark.slow
async def test_a_sweep_of_the_whole_horizon_finds_every_change_of_busier_sellers(
    bench: Callable[..., Any], query: Query
) -> None:
    """More than a page of transactions, listings and messages, so that the sweeps and scans have several."""
    clock = ManualClock(NOON)
    many = {"transaction": 230, "listing": 220, "message": 120}
    b = bench(seed=4, clock=clock, sellers=2, orders_per_seller=30, things=THINGS | many)
    b = b.with_settings(settle_seconds=SETTLE)
    mover, setting = Mover(b.sim.world, 4), Setting(b, query, clock, "seed 4")
    await setting.open()
    await live_through(setting, mover, 3, stir=(1,), repeat=(2,), sweep=True)
    setting.moved_enough(rows=5000, events=100)
