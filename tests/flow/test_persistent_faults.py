"""Faults that stay, each in every family's calls: in a record, a detail, a page, an envelope, a header, a scope.

Each kind says what a run under it must come to. Whatever the kind: good neighbours are stored, another family goes on,
nothing is removed, calls stay within the guard, and the next calm run has everything.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.sim.server import Simulator
from ebaysync.sim.world import World
from ebaysync.store.database import Database
from ebaysync.sync.summary import Summary

from .clocks import Clocks
from .fault_kinds import KINDS, Kind, strike
from .places import PLACES, Place

MOST_CALLS = 100
"""A run's calls under a fault, for five records at most: a few pages, each record's detail, and every retry of one
call. The sync core's guard is for real sellers, and therefore wider."""
MOST_REFUSED = 12
"""The calls that a limit refuses in one run: those under way when it was hit, and the retries of one."""
AGREEING = 5
"""Reads until an inconsistency must have been accepted: three that agree, and what goes before."""
CALM = timedelta(hours=25)
"""so long after a fault every "no" has been asked again"""


UNREACHABLE = Kind("a connection", "unreachable", "failed", "none", {"kind": ""})
SECOND_PAGE = (
    Kind("a second page", "second page 500", "failed", "list", {"kind": "status", "status": 500}),
    Kind("a second page", "second page truncated", "failed", "list", {"kind": "truncated"}),
    Kind("a second page", "twice at the edge", "agreed", "list", {"kind": "twice"}),
)
EVERYTHING = (*KINDS, *SECOND_PAGE, UNREACHABLE)
"""each kind has a seller of its own"""
EVERY = bool(os.environ.get("EBAYSYNC_TEST_EVERY_FAULT"))
OF_A_GROUP = {"a broken detail": 2, "counts": 2}
"""kinds of a group for each family, in turn: so each family meets every group, and each kind several families. With
EBAYSYNC_TEST_EVERY_FAULT set, each family meets every kind."""


def pairs() -> Iterator[Any]:
    """For each family and each group, those of its kinds that came least often so far."""
    met: Counter[str] = Counter()
    for family, place in sorted(PLACES.items(), key=lambda each: (not each[1].trading, each[0])):
        for group in dict.fromkeys(kind.group for kind in KINDS):
            fitting = [kind for kind in KINDS if kind.group == group and kind.fits(place)]
            fitting.sort(key=lambda kind: met[kind.name])
            for kind in fitting if EVERY else fitting[: OF_A_GROUP.get(group, 1)]:
                met[kind.name] += 1
                yield pytest.param(family, kind, id=f"{family}-{kind.name}")


PAIRS = tuple(pairs())


def test_each_kind_is_met_by_some_family() -> None:
    assert {kind.name for kind in KINDS} == {pair.values[1].name for pair in PAIRS}


def test_every_family_has_its_place() -> None:
    """A new family belongs into `places.PLACES`, and is then put to every fault here."""
    assert set(PLACES) == set(discover())


# ---- the stage: one database and one simulator for a family, one seller for a kind


@dataclass
class Stage:
    family: str
    place: Place
    sim: Simulator
    clocks: Clocks
    url: str
    home: Path

    def query(self, sql: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql, values or None).fetchall()


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest,
    databases: Callable[[str], AbstractContextManager[str]],
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    with databases(template) as url, Clocks(url) as clocks:
        world = World(seed=14, sellers=len(EVERYTHING), orders_per_seller=0, clock=clocks.ebay)
        with Simulator(world) as sim:
            yield Stage(request.param, PLACES[request.param], sim, clocks, url, tmp_path_factory.mktemp("home"))


class Trial:
    """One kind of fault in one family's calls, for one seller."""

    def __init__(self, stage: Stage, kind: Kind, bench: Any, account: Any, index: int) -> None:
        self.stage, self.kind, self.bench, self.account = stage, kind, bench, account
        self.place, self.world = stage.place, stage.sim.world
        self.seller = self.world.sellers[index]
        self.victim = ""
        self.fresh: list[str] = []
        self.born = datetime.max.replace(tzinfo=UTC)
        """before this, no record is new"""

    # -- steps

    async def run(self, family: str = "") -> Summary:
        self.stage.sim.journal.clear()
        found: Summary = await self.bench.run(self.account, family or self.stage.family)
        return found

    async def calm_before(self) -> None:
        """Two records are known, older than any overlap; then three are new, and the one in the middle will be odd."""
        for _ in range(2):
            self.place.fresh(self.world, self.seller)
        self.stage.clocks.advance(days=3)
        summary = await self.run()
        assert self.good(summary), f"a calm run is not well: {summary.as_dict()}"
        assert self.stored() == self.shown()
        # A filter that does nothing shows only where there are records outside of the window, which trails by 90 days.
        self.born = self.stage.clocks.advance(days=100 if self.kind.group in ("a filter", "a leak") else 2)
        for _ in range(3):
            self.fresh.append(self.place.fresh(self.world, self.seller))
            self.stage.clocks.ebay.advance(7)
        self.victim = self.fresh[1]
        self.stage.clocks.advance(minutes=5)

    def strike(self) -> Any:
        return strike(self.kind, self.place, self.stage.sim, self.seller, self.victim)

    async def calm_after(self, fault: Any) -> None:
        self.stage.sim.faults.remove(fault)
        self.stage.clocks.advance(seconds=CALM.total_seconds())
        summary = await self.run()
        assert self.good(summary), f"the next calm run is not well: {summary.as_dict()}"
        missing = self.shown() - self.stored()
        if self.kind.options["kind"] == "record" and self.kind.where == "list":
            missing -= self.quarantined()  # its place in time is past, and it is there with its bytes
        if self.kind.options["kind"] == "unsent" and not self.place.swept:
            missing.discard(self.victim)  # eBay has never shown it
        assert not missing, "the next calm run has not everything"
        if self.place.detailed:
            lacking = self.shown() - self.stored(self.place.detailed)
            assert not lacking - missing - self.quarantined(), "the next calm run has not every detail"
        assert self.stage.query("SELECT 1 FROM ebay_accounts WHERE id = %s AND needs_consent", self.account.id) == []

    # -- what is there

    def good(self, summary: Summary) -> bool:
        return summary.status == "completed" and summary.caught_up and summary.failure is None

    def shown(self) -> set[str]:
        return self.place.shown(self.world, self.seller)

    def stored(self, condition: str = "true") -> set[str]:
        there = " AND removed_at IS NULL" if not self.place.windowed and self.place.kind != "purchase" else ""
        sql = f"SELECT {self.place.key} FROM {self.place.table} WHERE ebay_account_id = %s AND {condition}{there}"
        return {row[0] for row in self.stage.query(sql, self.account.id)}

    def quarantined(self) -> set[str]:
        """The records whose bytes are in quarantine. A record without its id is the victim's."""
        rows = self.stage.query("SELECT payload FROM ebay_quarantine WHERE ebay_account_id = %s", self.account.id)
        found = b"\n".join(bytes(row[0]) for row in rows)
        lost_id = self.kind.options.get("what") in ("no_id", "other")
        named = {each for each in self.shown() if self.place.named(each).encode() in found}
        return named | ({self.victim} if rows and lost_id else set())

    def cursor(self) -> datetime | None:
        sql = "SELECT cursor_value FROM ebay_sync_state WHERE ebay_account_id = %s AND api_family = %s"
        [(text,)] = self.stage.query(sql, self.account.id, self.stage.family)
        return datetime.fromisoformat(text) if text else None

    def calls(self) -> int:
        return len(self.stage.sim.journal.of("/", self.seller.username))

    def guarded(self) -> None:
        assert self.calls() <= MOST_CALLS, f"{self.calls()} calls"

    # -- what a kind comes to

    async def quarantined_one(self) -> None:
        """The neighbours are stored, the odd one too or in quarantine; the run is well."""
        summary = await self.run()
        self.guarded()
        others = self.shown() - {self.victim}
        if self.place.kind == "offer":  # of an item that cannot be read, nobody can ask for the offers
            assert others <= self.stored()
            return
        assert others <= self.stored(), f"missing: {others - self.stored()}; {summary.as_dict()}"
        assert self.victim in self.stored() | self.quarantined()
        assert summary.failure is None

    async def detail_due(self) -> None:
        """Every row is stored as listed, every other detail too; what is due is asked for ever more seldom."""
        for _ in range(3):
            await self.run()
            self.guarded()
            self.stage.clocks.advance(minutes=20)
        everything = self.shown()
        if self.place.kind == "offer":
            everything -= {self.victim}
        assert everything <= self.stored()
        assert everything - {self.victim} <= self.stored(self.place.detailed)

    async def agreed(self) -> None:
        """The rows are stored at once; after reads that agree, the run is caught up."""
        before, sent = self.cursor(), self.shown()
        if self.kind.options["kind"] == "unsent":
            sent -= {self.victim}
        await self.run()
        self.guarded()
        assert sent <= self.stored(), "what was sent is not stored"
        for _ in range(AGREEING - 1):
            self.stage.clocks.advance(hours=1)
            summary = await self.run()
            self.guarded()
        assert self.good(summary), f"it never comes to an end: {summary.as_dict()}"
        after = self.cursor()
        assert after is not None
        assert before is not None
        assert after > before

    async def failed(self) -> None:
        """An error, and the cursor stays before the new records; nothing is removed. If eBay answers for all others,
        they are in a hole: the run says so, and later ones ask for it."""
        before, known = self.cursor(), self.stored()
        summary = await self.run()
        self.guarded()
        after = self.cursor()
        if summary.failure is None:
            assert self.place.windowed, f"no error: {summary.as_dict()}"
            assert (summary.status, summary.caught_up, bool(summary.reason)) == ("completed", False, True)
            assert self.in_holes(), "records may be missing, and no hole is noted"
        else:
            assert after == before or (after is not None and after <= self.born)
        assert known <= self.stored()

    def in_holes(self) -> bool:
        """Whether the new records, which were made within 14 seconds, are in holes that are to be asked for again."""
        sql = "SELECT min(slice_from), max(slice_to), max(next_at) > clock_timestamp() FROM ebay_inconsistent_read"
        mine = "WHERE reads > 0 AND attempts > 0 AND ebay_account_id = %s AND api_family = %s"
        [(start, end, is_due_later)] = self.stage.query(f"{sql} {mine}", self.account.id, self.stage.family)
        return bool(is_due_later) and start <= self.born and self.born + timedelta(seconds=14) <= end

    async def limited(self) -> None:
        """It is hit once, and rests; the cursor stays."""
        before, known = self.cursor(), self.stored()
        await self.run()
        refused = [entry for entry in self.stage.sim.journal if entry.status == 429]
        assert 1 <= len(refused) <= MOST_REFUSED
        await self.run()
        assert self.calls() <= MOST_REFUSED
        assert self.cursor() == before
        assert known <= self.stored()

    async def well(self) -> None:
        summary = await self.run()
        self.guarded()
        assert self.good(summary), f"{summary.as_dict()}"
        assert self.shown() <= self.stored()

    async def bounded(self) -> None:
        """Well or not: calls are few, the cursor goes neither back nor into the future, nothing is removed."""
        before, known = self.cursor(), self.stored()
        summary = await self.run()
        self.guarded()
        assert summary.failure is None or summary.failure.exit_code != 1, f"{summary.as_dict()}"
        after = self.cursor()
        assert after is not None
        assert before is not None
        assert before <= after <= self.stage.clocks.ebay.now() + timedelta(minutes=10)
        assert known <= self.stored()


CHECKS: dict[str, Callable[[Trial], Any]] = {
    "quarantined": Trial.quarantined_one,
    "detail": Trial.detail_due,
    "agreed": Trial.agreed,
    "failed": Trial.failed,
    "limited": Trial.limited,
    "well": Trial.well,
    "bounded": Trial.bounded,
}


@pytest.fixture
async def trial_of(stage: Stage, bench_of: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    db = Database(Secret(stage.url))
    bench = bench_of(stage.home, db, stage.url, stage.sim)

    async def make(kind: Kind) -> Trial:
        stage.sim.faults.clear()
        stage.clocks.advance(seconds=CALM.total_seconds())  # whatever another test has left has passed
        index = EVERYTHING.index(kind)
        return Trial(stage, kind, bench, await bench.add(index), index)

    yield make
    stage.sim.faults.clear()
    await db.close()


@pytest.mark.parametrize(("stage", "kind"), PAIRS, indirect=["stage"], scope="module")
async def test_a_fault_that_stays_costs_what_it_strikes_and_nothing_else(
    stage: Stage, kind: Kind, trial_of: Callable[..., Any]
) -> None:
    trial: Trial = await trial_of(kind)
    await trial.calm_before()
    fault = trial.strike()
    await CHECKS[kind.comes_to](trial)
    assert fault.struck > 0, "the fault was never met"
    if kind.neighbour:
        summary = await trial.run(stage.place.beside)
        assert trial.good(summary), f"another family does not go on: {summary.as_dict()}"
    await trial.calm_after(fault)


SECOND = {"inventory": "offset=1(&|$)", "active_inventory": "<PageNumber>2<"}
"""how a snapshot's second page is asked for; windows of more than a page are cut instead"""


@pytest.mark.parametrize("stage", SECOND, indirect=True, scope="module")
@pytest.mark.parametrize("kind", SECOND_PAGE, ids=lambda kind: kind.name)
async def test_a_fault_of_one_page_among_several(stage: Stage, kind: Kind, trial_of: Callable[..., Any]) -> None:
    both = kind.comes_to == "agreed"  # the copy on the second page is of the first one's last record
    query = {} if both else {"query": SECOND[stage.family]}
    trial: Trial = await trial_of(kind)
    for _ in range(200):
        stage.place.fresh(trial.world, trial.seller)
    await trial.calm_before()
    fault = strike(replace(kind, options=kind.options | query), stage.place, stage.sim, trial.seller, trial.victim)
    await CHECKS[kind.comes_to](trial)
    assert fault.struck > 0
    await trial.calm_after(fault)


@pytest.mark.parametrize("stage", sorted(PLACES), indirect=True, scope="module")
async def test_an_ebay_that_cannot_be_reached_delays_nothing_afterwards(
    stage: Stage, trial_of: Callable[..., Any]
) -> None:
    """Three runs fail; the wait after them is an interval at most, and ends with the first answer."""
    trial: Trial = await trial_of(UNREACHABLE)
    await trial.calm_before()
    with stage.sim.unreachable():
        for _ in range(3):
            stage.clocks.advance(minutes=discover()[stage.family].every_minutes)
            assert (await trial.run()).failure is not None
    interval = timedelta(minutes=discover()[stage.family].every_minutes)
    sql = "SELECT retry_at - clock_timestamp() FROM ebay_sync_state WHERE ebay_account_id = %s AND api_family = %s"
    [(left,)] = stage.query(sql, trial.account.id, stage.family)
    assert left is None or left <= interval + timedelta(minutes=1)
    assert trial.good(await trial.run())
    assert trial.shown() <= trial.stored()
