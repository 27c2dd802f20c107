"""Whole runs in this process, against the simulator and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ebaysync import settings
from ebaysync.accounts import adding, signing, vault
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.adding import Consent, KeysetContext
from ebaysync.accounts.tokens import open_api
from ebaysync.ebay.clock import Clock
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.signature import SITES
from ebaysync.ebay.transport import Transport
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.settings import Settings
from ebaysync.sim.server import Simulator
from ebaysync.store.database import Database
from ebaysync.sync import plan
from ebaysync.sync.context import RunContext, RunOptions
from ebaysync.sync.run import run
from ebaysync.sync.stop import Stop
from ebaysync.sync.summary import Summary

from .case_server import CaseServer, serving
from .clocks import Clocks
from .player import Player, Query


class WorldClock(Clock):
    """This host and the database live in the simulator's time."""

    def database_is(self, moment: datetime | None) -> None:
        """Its time is the real one."""


@dataclass
class Bench:
    """One simulator, one database, and the ways to work with them. Nothing sleeps: waits return at once."""

    settings: Settings
    db: Database
    sim: Simulator
    stop: Stop
    database_url: str
    give_key: Callable[[Simulator, Settings, str], None]
    signs: bool = True
    """a signing key is there as soon as an account needs one"""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def add(self, index: int = 0) -> Account:
        """Add the simulator's seller of that index as an account."""
        seller = self.sim.world.sellers[index]
        keys = vault.load(self.settings, may_create=True)
        async with Transport(hosts(self.settings, "simulator"), sleep=self.sleep) as transport:
            keyset, token = self.settings.keyset("simulator"), Secret(seller.refresh_token)
            context = KeysetContext(self.db, keys, transport, keyset)
            added = await adding.add(context, seller.username, token, Consent())
        if self.signs and added.marketplace_id in SITES and not await signing.every(self.db):
            self.give_key(self.sim, self.settings, self.database_url)
        return added

    def worker(self, account: Account) -> AbstractAsyncContextManager[RunContext]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[RunContext]:
            async with open_api(self.settings, self.db, account, "run", self.sleep) as (api, _):
                if isinstance(self.sim, Simulator):
                    api.transport.clock = WorldClock(self.sim.world.clock.now)
                yield RunContext(self.settings, self.db, api, account, self.stop)

        return opened()

    async def run(self, account: Account, family: str = "orders", **asked: Any) -> Summary:
        async with self.worker(account) as worker:
            return (await run(worker, [discover()[family]], RunOptions("run", **asked)))[0]

    def with_settings(self, **changed: Any) -> Bench:
        return replace(self, settings=replace(self.settings, **changed))


@pytest.fixture(scope="session")
def bench_of(signing_key: Callable[[Simulator, Settings, str], None]) -> Callable[..., Bench]:
    """`bench_of(home, db, database_url, sim)`, of parts that are there."""

    def make(home: Path, db: Database, database_url: str, sim: Simulator) -> Bench:
        settings = Settings(home=home, simulator_url=sim.url, settle_seconds=0)
        return Bench(settings, db, sim, Stop(), database_url, signing_key)

    return make


@pytest.fixture
def bench(
    tmp_path: Path,
    db: Database,
    database_url: str,
    simulator: Callable[..., Simulator],
    bench_of: Callable[..., Bench],
) -> Callable[..., Bench]:
    """`bench(sellers=1, orders_per_seller=100, …)`: the options are the world's."""
    return lambda **options: bench_of(tmp_path, db, database_url, simulator(**options))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No slice is wider than the clamp, so few orders make many slices."""
    monkeypatch.setattr(plan, "SPARSE", None)


@pytest.fixture
def clocks(database_url: str) -> Iterator[Clocks]:
    with Clocks(database_url) as found:
        yield found


@pytest.fixture
def ebay(clocks: Clocks) -> Iterator[CaseServer]:
    with serving(clocks.ebay.now) as server:
        yield server


@pytest.fixture
def player_of(
    tmp_path: Path, clocks: Clocks, ebay: CaseServer, query: Query, database_url: str, db: Database, bench_of: Any
) -> Callable[..., Player]:
    """`player_of(EBAYSYNC_…=…)`: with these settings."""

    def make(**environ: str) -> Player:
        own = {
            "EBAYSYNC_HOME": str(tmp_path),
            "EBAYSYNC_SIMULATOR_URL": ebay.url,
            "EBAYSYNC_DATABASE_URL": database_url,
            "EBAYSYNC_SETTLE_SECONDS": "0",
        }
        bench = bench_of(tmp_path, db, database_url, SimpleNamespace(url=ebay.url, world=ebay.world))
        bench.settings = settings.load(own | environ, env_file=False)
        return Player(bench, ebay, query, clocks)

    return make


@pytest.fixture
def player(player_of: Callable[..., Player]) -> Player:
    return player_of()
