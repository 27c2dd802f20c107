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
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    DateTime,
    Table,
    Text,
    Update,
    Uuid,
    and_,
    any_,
    cast,
    func,
    literal,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import insert

from ebaysync import proc
from ebaysync.errors import DatabaseError, LeaseHeld, LeaseLost
from ebaysync.store.connection import Connection, Result, Sent
from ebaysync.store.database import CONTROL, Database, each, listed
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
    """The lease of one family. Call `progressed` whenever the run got somewhere.

    waits: the run has not begun to read. released: the end of the run was stored, and the lease with it.
    """

    account_id: UUID
    family: str
    walk: Walk
    run_id: UUID
    token: UUID = field(default_factory=uuid4)
    waits: bool = False
    released: bool = False
    _progress: float = field(default_factory=time.monotonic)

    def progressed(self) -> None:
        self._progress = time.monotonic()

    async def fence(self, connection: Connection, mark: UUID | None = None) -> bool:
        """Renew the lease inside the caller's transaction, and mark it.

        True if a transaction with this mark was committed before, and only the answer to its COMMIT was lost. Raises
        LeaseLost if another run has taken over.
        """
        return self._fenced(await (await self._send_fence(connection, mark)).result(), mark)

    async def _send_fence(self, connection: Connection, mark: UUID | None) -> Sent:
        # The locked row before the update. Its mark tells whether this transaction was committed before.
        before = select(LEASE.c.walk, LEASE.c.mark).where(self.is_own).with_for_update().cte("own")
        renewal: dict[str, Any] = {"lease_until": _until()} | ({"mark": mark} if mark else {})
        statement = LEASE.update().where(self.is_own, before.c.walk == LEASE.c.walk)
        return await connection.send(statement.values(renewal).returning(before.c.mark.label("before")))

    def _fenced(self, found: Result, mark: UUID | None) -> bool:
        renewed = found.one_or_none()
        if renewed is None:
            raise lost(self.family)
        self.progressed()
        return mark is not None and renewed.before == mark

    async def transact(self, db: Database, work: Callable[[Connection], Awaitable[T]], *, hopeful: bool = True) -> T:
        """Run `work` in a transaction under this lease. Raises LeaseLost, DatabaseError.

        `hopeful`: whether the lease's row is looked at together with the first answer that `work` waits for, which
        saves a round trip. A write without the lease is rolled back. If the answer to a COMMIT is lost, the transaction
        is repeated only if it was not committed; else the first result counts.
        """
        mark, outcomes = uuid4(), list[T]()

        async def fenced(connection: Connection) -> T:
            nonlocal hopeful
            fence = await self._send_fence(connection, mark)
            if not hopeful and self._fenced(await fence.result(), mark):
                return outcomes[-1]
            hopeful, is_first = False, hopeful
            outcomes.append(await work(connection))
            if is_first:
                self._fenced(await fence.result(), mark)
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


def lost(family: str) -> LeaseLost:
    """The error of a run whose lease another run has."""
    return LeaseLost(f"{family}: another run has taken this account and family over")


def _until() -> ColumnElement[Any]:
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, LASTS)


@asynccontextmanager
async def kept(db: Database, leases: Sequence[Lease]) -> AsyncIterator[None]:
    """Renew these leases of one account while there is progress, and release them at the end of the block."""
    try:
        async with beside(_beat(db, leases)):
            yield
    finally:
        if held := [lease for lease in leases if not lease.released]:
            with suppress(DatabaseError):  # they expire by themselves, and a later run sees that this process is gone
                await db.transact(lambda connection: release(connection, held))


async def _beat(db: Database, leases: Sequence[Lease]) -> None:
    while True:
        await asyncio.sleep(BEAT)
        alive = [lease for lease in leases if not lease.released and _is_alive(lease)]
        if not alive:
            continue
        now = func.clock_timestamp()
        beat = WORKER_RUN.update().where(WORKER_RUN.c.id == any_(cast([lease.run_id for lease in alive], ARRAY(Uuid))))
        try:
            async with asyncio.timeout(BEAT):
                await db.transact(partial(_renew, leases=alive, beat=beat.values(heartbeat_at=now)))
        except (DatabaseError, TimeoutError) as error:
            log.warning("the leases could not be renewed: %s", error)


def _is_alive(lease: Lease) -> bool:
    if lease.waits or time.monotonic() - lease._progress <= NO_PROGRESS:
        return True
    log.warning("%s: no progress for %.0f s, the lease runs out", lease.family, NO_PROGRESS)
    return False


async def _renew(connection: Connection, leases: Sequence[Lease], beat: Update) -> None:
    await connection.send(LEASE.update().where(*_own(leases)).values(lease_until=_until()))
    await connection.send(beat)


def _own(leases: Sequence[Lease]) -> list[ColumnElement[bool]]:
    """The rows of these leases of one account and walk, as far as they are still ours."""
    tokens = cast([lease.token for lease in leases], ARRAY(Uuid))
    return [
        LEASE.c.ebay_account_id == leases[0].account_id,
        LEASE.c.walk == leases[0].walk,
        LEASE.c.api_family == any_(cast([lease.family for lease in leases], ARRAY(Text))),
        LEASE.c.token == any_(tokens),
    ]


async def release(connection: Connection, leases: Sequence[Lease], mark: UUID | None = None) -> None:
    """Release these leases of one account and walk, as far as they are still ours."""
    new = {"token": null(), "holder": null(), "lease_until": null()} | ({"mark": mark} if mark else {})
    await connection.send(LEASE.update().where(*_own(leases)).values(new))


async def fence_all(connection: Connection, leases: Sequence[Lease], mark: UUID) -> set[str] | None:
    """Lock these leases of one account and walk. Returns the families whose leases are still ours; None if a
    transaction with this mark has released them before, and only the answer to its COMMIT was lost."""
    own, first = LEASE.c, leases[0]
    families = own.api_family == any_(cast([lease.family for lease in leases], ARRAY(Text)))
    rows = select(own.api_family, own.token, own.mark).where(
        own.ebay_account_id == first.account_id, own.walk == first.walk, families
    )
    found = (await connection.execute(rows.order_by(own.api_family).with_for_update())).rows
    if any(row.mark == mark for row in found):
        return None
    tokens = {lease.family: lease.token for lease in leases}
    return {row.api_family for row in found if row.token == tokens[row.api_family]}


@dataclass(frozen=True)
class Asked:
    """The lease rows of some families: all that exist, and those that this transaction has locked."""

    existing: Sent
    locked: Sent


async def ask(connection: Connection, account_id: UUID, families: Sequence[str], walk: Walk) -> Asked:
    """Lock the lease rows of some families, except those that another transaction has locked, perhaps one of a stopped
    process."""
    own = LEASE.c
    mine = [
        own.ebay_account_id == account_id,
        own.walk == walk,
        own.api_family == any_(cast(list(families), ARRAY(Text))),
    ]
    held = (own.lease_until > func.clock_timestamp()).label("held")
    current = select(own.api_family, own.token, own.holder, own.run_id, held).where(*mine).order_by(own.api_family)
    existing = await connection.send(select(own.api_family).where(*mine))
    return Asked(existing, await connection.send(current.with_for_update(skip_locked=True)))


async def take(connection: Connection, leases: Sequence[Lease], asked: Asked) -> dict[str, LeaseHeld]:
    """Take leases of one account and walk. Returns an error for each that another run holds."""
    existing = {row.api_family for row in await asked.existing.result()}
    known = {row.api_family: row for row in await asked.locked.result()}
    taken, new, unfinished = list[Lease](), list[Lease](), list[UUID]()
    refused: dict[str, LeaseHeld] = {}
    for lease in leases:
        row = known.get(lease.family)
        if row is None and lease.family not in existing:
            new.append(lease)
            continue
        if row is not None and row.token == lease.token:  # the repeat of a transaction whose COMMIT was lost
            continue
        if row is None or (row.token and row.held and not is_gone(row.holder)):
            # Without a row it is locked: another run is taking it, or storing.
            refused[lease.family] = _held(lease, row.run_id if row else None)
            continue
        if row.token:
            log.warning("%s: took over from run %s, which did not finish", lease.family, row.run_id)
        if row.run_id:  # also if it released its lease but could not store its end
            unfinished.append(row.run_id)
        taken.append(lease)
    if new:
        came = await _insert(connection, new)
        refused |= {lease.family: _held(lease, None) for lease in new if lease.family not in came}
    if taken:
        await _write(connection, taken, unfinished)
    return refused


def _held(lease: Lease, run_id: UUID | None) -> LeaseHeld:
    hint = f"it is run {run_id}" if run_id else None
    return LeaseHeld(f"{lease.family}: another run holds this account and family", hint=hint)


async def _insert(connection: Connection, leases: Sequence[Lease]) -> set[str]:
    """Insert the rows of leases that nobody had before. Returns the families of those that nobody else inserts."""
    rows = [
        {
            "ebay_account_id": lease.account_id,
            "api_family": lease.family,
            "walk": lease.walk,
            "token": lease.token,
            "run_id": lease.run_id,
            "holder": holder(),
            "lease_until": _until(),
        }
        for lease in sorted(leases, key=lambda lease: lease.family)
    ]
    statement = insert(LEASE).values(rows).on_conflict_do_nothing().returning(LEASE.c.api_family)
    return {row.api_family for row in await connection.execute(statement)}


async def _write(connection: Connection, taken: Sequence[Lease], unfinished: Sequence[UUID]) -> None:
    new = listed(
        "new",
        family=(Text, [lease.family for lease in taken]),
        token=(Uuid, [lease.token for lease in taken]),
        run_id=(Uuid, [lease.run_id for lease in taken]),
    )
    own = LEASE.c
    mine = [own.ebay_account_id == taken[0].account_id, own.walk == taken[0].walk, own.api_family == new.c.family]
    values = {"token": new.c.token, "run_id": new.c.run_id, "holder": holder(), "lease_until": _until()}
    await connection.send(LEASE.update().where(*mine).values(values))
    if unfinished:
        ids = WORKER_RUN.c.id == any_(cast(list(unfinished), ARRAY(Uuid)))
        ended = {"status": "interrupted", "finished_at": func.clock_timestamp()}
        await connection.send(WORKER_RUN.update().where(ids, WORKER_RUN.c.status == "running").values(ended))


async def revoke_leases(connection: Connection, account_id: UUID, families: Sequence[str]) -> None:
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
