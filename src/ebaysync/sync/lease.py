"""One run per account, family and walk at a time: a lease row with a fencing token, by the database's clock.

A lease lasts 120 seconds, and a heartbeat renews it while there is progress. Another run takes it over when it has
expired, or at once if its holder was a process of this host that no longer exists. The old holder notices at its next
write: every data transaction checks its token first (`fence`). The row lock of that check makes a take-over wait for a
running commit. There is no session lock, so PgBouncer may stand in between.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Table,
    Text,
    Uuid,
    and_,
    exists,
    func,
    literal,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync import proc
from ebaysync.errors import DatabaseError, LeaseHeld, LeaseLost
from ebaysync.store.database import CONTROL, Database, each
from ebaysync.sync.state.run_log import WORKER_RUN
from ebaysync.tasks import beside

log = logging.getLogger(__name__)
T = TypeVar("T")

LASTS = 120  # seconds
BEAT = 30.0  # seconds; three beats may fail before the lease runs out
NO_PROGRESS = 900.0  # seconds without reading or storing anything, after which a run lets its lease expire

Walk = Literal["live", "backfill"]

LEASE = Table(
    "ebay_lease",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("walk", Text),
    Column("token", Uuid),
    Column("run_id", Uuid),
    Column("holder", Text),
    Column("lease_until", DateTime(timezone=True)),
    Column("mark", Uuid),
)


def holder() -> str:
    """Identifies this process for other processes of this host: host, boot, pid namespace, pid, start time."""
    pid = os.getpid()
    return "|".join([platform.node(), *_here(), str(pid), _started(pid) or ""])


def _here() -> tuple[str, str]:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")
    except OSError:
        return "", ""


_HIDDEN = ""


def _started(pid: int) -> str | None:
    """The start time of a process; None if it is dead, _HIDDEN if we may not see it."""
    found = proc.stat(pid)
    if found is None:
        return _HIDDEN
    return None if found.is_dead else found.started


def is_gone(other: str) -> bool:
    """Whether that holder was a process of this host, boot and pid namespace that no longer exists. A stopped process
    exists."""
    try:
        node, boot, namespace, pid, started = other.split("|")
        if not boot or (node, boot, namespace) != (platform.node(), *_here()):
            return False
        return not _exists(int(pid)) or _started(int(pid)) not in (started, _HIDDEN)
    except (ValueError, OverflowError):
        return False


def _exists(pid: int) -> bool:
    """Ask the kernel, because /proc may hide other users' processes (hidepid, systemd's ProtectProc)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass
class Lease:
    """A lease that this run holds. Call `progressed` whenever the run got somewhere."""

    account_id: UUID
    family: str
    walk: Walk
    run_id: UUID
    token: UUID = field(default_factory=uuid4)
    _progress: float = field(default_factory=time.monotonic)

    def progressed(self) -> None:
        self._progress = time.monotonic()

    async def fence(self, connection: AsyncConnection, mark: UUID | None = None) -> bool:
        """Renew the lease inside the caller's transaction, and mark it.

        True if a transaction with this mark was committed before, and only the answer to its COMMIT was lost. Raises
        LeaseLost if another run has taken over.
        """
        # The locked row before the update. Its mark tells whether this transaction was committed before.
        before = select(LEASE.c.walk, LEASE.c.mark).where(self.is_own).with_for_update().cte("own")
        renewal: dict[str, Any] = {"lease_until": _until()} | ({"mark": mark} if mark else {})
        statement = LEASE.update().where(self.is_own, before.c.walk == LEASE.c.walk)
        renewed = (
            await connection.execute(statement.values(renewal).returning(before.c.mark.label("before")))
        ).one_or_none()
        if renewed is None:
            raise LeaseLost(f"{self.family}: another run has taken this account and family over")
        self.progressed()
        return mark is not None and renewed.before == mark

    async def transact(self, db: Database, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a transaction under this lease. Raises LeaseLost, DatabaseError.

        If the answer to a COMMIT is lost, the transaction is repeated only if it was not committed; else the first
        result counts.
        """
        mark, outcomes = uuid4(), list[T]()

        async def fenced(connection: AsyncConnection) -> T:
            if not await self.fence(connection, mark):
                outcomes.append(await work(connection))
            return outcomes[-1]

        return await db.transact(fenced)

    @property
    def row(self) -> ColumnElement[bool]:
        """The lease's row, whoever holds it."""
        own = LEASE.c
        return and_(own.ebay_account_id == self.account_id, own.api_family == self.family, own.walk == self.walk)

    @property
    def is_own(self) -> ColumnElement[bool]:
        """The lease's row while this run holds it."""
        return and_(self.row, LEASE.c.token == self.token)

    async def beat(self, db: Database) -> None:
        """Renew the lease while there is progress."""
        while True:
            await asyncio.sleep(BEAT)
            if time.monotonic() - self._progress > NO_PROGRESS:
                log.warning("%s: no progress for %.0f s, the lease runs out", self.family, NO_PROGRESS)
                continue
            try:
                await db.execute(LEASE.update().where(self.is_own).values(lease_until=_until()))
                beat = WORKER_RUN.update().where(WORKER_RUN.c.id == self.run_id)
                await db.execute(beat.values(heartbeat_at=func.clock_timestamp()))
            except DatabaseError as error:
                # The run goes on: its next transaction finds out whether the lease is still its own.
                log.warning("%s: the lease could not be renewed: %s", self.family, error)


def _until() -> ColumnElement[Any]:
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, LASTS)


@asynccontextmanager
async def held(db: Database, account_id: UUID, family: str, walk: Walk, run_id: UUID) -> AsyncIterator[Lease]:
    """Hold the lease and keep it alive. Raises LeaseHeld if another run has it."""
    lease = Lease(account_id, family, walk, run_id)
    await db.transact(lambda connection: _take(connection, lease))
    try:
        async with beside(lease.beat(db)):
            yield lease
    finally:
        with suppress(DatabaseError):  # it expires by itself, and a later run sees that this process is gone
            await db.execute(LEASE.update().where(lease.is_own).values(token=null(), holder=null(), lease_until=null()))


async def _take(connection: AsyncConnection, lease: Lease) -> None:
    own = LEASE.c
    # Without the EXISTS, this would wait for a transaction that holds the row, perhaps of a stopped process.
    values = select(literal(lease.account_id), literal(lease.family), literal(lease.walk))
    missing = values.where(~exists(select(own.token).where(lease.row)))
    new = insert(LEASE).from_select(["ebay_account_id", "api_family", "walk"], missing)
    await connection.execute(new.on_conflict_do_nothing())
    held = (own.lease_until > func.clock_timestamp()).label("held")
    current = select(own.token, own.holder, own.run_id, held).where(lease.row).with_for_update(skip_locked=True)
    row = (await connection.execute(current)).one_or_none()
    if row is None:  # its row is locked: another run is taking it, or storing
        raise LeaseHeld(f"{lease.family}: another run holds this account and family")
    if row.token == lease.token:  # this is the repeat of a transaction whose COMMIT was lost
        return
    if row.token and row.held and not is_gone(row.holder):
        raise LeaseHeld(f"{lease.family}: another run holds this account and family", hint=f"it is run {row.run_id}")
    taken = {"token": lease.token, "run_id": lease.run_id, "holder": holder(), "lease_until": _until()}
    await connection.execute(LEASE.update().where(lease.row).values(taken))
    if row.token:
        log.warning("%s: took over from run %s, which did not finish", lease.family, row.run_id)
    if row.run_id:  # also if it released its lease but could not store its end
        unfinished = WORKER_RUN.update().where(WORKER_RUN.c.id == row.run_id, WORKER_RUN.c.status == "running")
        await connection.execute(unfinished.values(status="interrupted", finished_at=func.clock_timestamp()))


async def revoke_leases(connection: AsyncConnection, account_id: UUID, families: Sequence[str]) -> None:
    """Take all leases of an account for an hour: running work writes nothing more, and none begins.

    Waits for a commit that is under way.
    """
    family, walk = each("family", Text, sorted(families)), each("walk", Text, ["backfill", "live"])
    an_hour = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 1)
    rows = (
        select(literal(account_id), family.c.value, walk.c.value, func.gen_random_uuid(), literal("accounts remove"))
        .add_columns(an_hour)
        .select_from(family.join(walk, true()))
        # Locks are taken in one order, so that two of these statements cannot deadlock.
        .order_by(family.c.value, walk.c.value)
    )
    names = ["ebay_account_id", "api_family", "walk", "token", "holder", "lease_until"]
    statement = insert(LEASE).from_select(names, rows)
    taken = {name: statement.excluded[name] for name in names[3:]}
    await connection.execute(statement.on_conflict_do_update(index_elements=names[:3], set_=taken))
