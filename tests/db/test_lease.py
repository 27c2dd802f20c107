"""The lease: one run at a time, take-over, and the fence."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from ebaysync.errors import LeaseHeld, LeaseLost
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database
from ebaysync.sync import lease as leases


@pytest.fixture
async def account(db: Database) -> UUID:
    found = uuid4()
    await db.execute(
        "INSERT INTO ebay_accounts (id, name, environment, ebay_user_id) VALUES (:id, 'x', 'simulator', 'u')", id=found
    )
    return found


@asynccontextmanager
async def held(db: Database, account: UUID, walk: leases.Walk = "live") -> AsyncIterator[leases.Lease]:
    lease = leases.Lease(account, "orders", walk, uuid4())

    async def take(connection: Connection) -> None:
        asked = await leases.ask(connection, account, ["orders"], walk)
        refused = await leases.take(connection, [lease], asked)
        if refused:
            raise refused["orders"]

    await db.transact(take)
    async with leases.kept(db, [lease]):
        yield lease


async def test_a_second_run_is_refused_and_a_later_one_is_not(db: Database, account: UUID) -> None:
    async with held(db, account):
        with pytest.raises(LeaseHeld):
            async with held(db, account):
                pass
        async with held(db, account, "backfill"):
            pass
    async with held(db, account):
        pass


async def test_of_twenty_that_try_at_once_one_gets_it(db: Database, account: UUID) -> None:
    done = asyncio.Event()

    async def attempt() -> bool:
        try:
            async with held(db, account):
                await done.wait()
                return True
        except LeaseHeld:
            return False

    tasks = [asyncio.create_task(attempt()) for _ in range(20)]
    while sum(task.done() for task in tasks) < 19:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tasks.sort(key=lambda task: not task.done())
        pending = [task for task in tasks if not task.done()]
        if len(pending) == 1:
            break
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    done.set()
    assert sum(await asyncio.gather(*tasks)) == 1


async def test_a_lease_that_ran_out_is_taken_over_and_its_holder_can_write_no_more(
    db: Database, account: UUID, query: Callable[..., list[Any]]
) -> None:
    async with held(db, account) as old:
        query("UPDATE ebay_lease SET lease_until = now() - interval '1 second' RETURNING 1")
        async with held(db, account) as new:
            with pytest.raises(LeaseLost):
                await db.transact(old.fence)
            await db.transact(new.fence)
        # What the old holder lets go of is not the new one's.
    assert query("SELECT token FROM ebay_lease") == [(None,)]


async def test_the_old_holder_does_not_release_what_another_took_over(
    db: Database, account: UUID, query: Callable[..., list[Any]]
) -> None:
    first = held(db, account)
    await first.__aenter__()
    query("UPDATE ebay_lease SET lease_until = now() - interval '1 second' RETURNING 1")
    async with held(db, account) as new:
        await first.__aexit__(None, None, None)
        await db.transact(new.fence)


async def test_a_lease_whose_process_is_gone_is_taken_over_at_once(
    db: Database, account: UUID, query: Callable[..., list[Any]]
) -> None:
    code = "from ebaysync.sync.lease import holder; print(holder())"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    gone = (await process.communicate())[0].decode().strip()
    assert leases.is_gone(gone)
    assert not leases.is_gone(leases.holder())
    run = uuid4()
    query(
        "INSERT INTO ebay_worker_run (id, ebay_account_id, ebay_user_id, api_family, trigger)"
        " VALUES (%s, %s, 'u', 'orders', 'run') RETURNING 1",
        run,
        account,
    )
    query(
        "INSERT INTO ebay_lease VALUES (%s, 'orders', 'live', gen_random_uuid(), %s, %s, now() + interval '1 hour')"
        " RETURNING 1",
        account,
        run,
        gone,
    )
    async with held(db, account):
        pass
    assert query("SELECT status, finished_at IS NOT NULL FROM ebay_worker_run") == [("interrupted", True)]


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_holder_of_another_host_boot_or_namespace_is_not_judged(changed: int) -> None:
    parts = leases.holder().split("|")
    parts[3:] = ["1", "0"]  # a process that is certainly not there with this start time
    assert leases.is_gone("|".join(parts))
    parts[changed] = "elsewhere"
    assert not leases.is_gone("|".join(parts))
    assert not leases.is_gone("nonsense")


async def test_a_lease_whose_row_is_locked_is_held_and_nobody_waits_for_it(
    db: Database, account: UUID, database_url: str
) -> None:
    async with held(db, account):
        with psycopg.connect(database_url) as storing:
            storing.execute("UPDATE ebay_lease SET lease_until = lease_until")
            with pytest.raises(LeaseHeld):
                async with held(db, account):
                    pass


def test_a_holder_whom_proc_hides_from_us_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under hidepid or systemd's ProtectProc=invisible, where the holder is another user's."""
    other = "|".join([*leases.holder().split("|")[:3], "1", "17"])
    monkeypatch.setattr(leases, "_started", lambda pid: "")
    assert not leases.is_gone(other)


def test_a_holder_that_is_stopped_is_not_gone() -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        held_by = "|".join([*leases.holder().split("|")[:3], str(process.pid), leases._started(process.pid) or ""])
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert not leases.is_gone(held_by)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert leases.is_gone(held_by), "though nobody has taken notice of its end"
    finally:
        process.kill()
        process.wait()
