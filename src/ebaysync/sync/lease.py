"""One run per account, family and walk at a time: a lease row, by the database's clock, with a fencing token.

A lease lasts 120 seconds and is renewed by a heartbeat while there is progress. Another run takes it over when it
has run out, or at once when its holder was a process of this host that is gone. Whoever lost it finds out at its
next write: every data transaction asks for its token first (`fence`), and the row lock that this takes makes a
take-over wait for a commit that is under way. No session lock anywhere, so PgBouncer may stand in between.
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

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.errors import DatabaseError, LeaseHeld, LeaseLost
from ebaysync.store.database import Database
from ebaysync.tasks import beside

log = logging.getLogger(__name__)
T = TypeVar("T")

LASTS = 120  # seconds
BEAT = 30.0
NO_PROGRESS = 900.0  # a run that neither read nor stored anything for so long lets its lease run out

Walk = Literal["live", "backfill"]


def holder() -> str:
    """This process, so that another on the same host can see whether it is still there: host, boot, pid namespace,
    pid and start time (pids are used again)."""
    pid = os.getpid()
    return "|".join([platform.node(), *_here(), str(pid), _started(pid) or ""])


def _here() -> tuple[str, str]:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")
    except OSError:
        return "", ""


_HIDDEN = ""


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot: field 22 of /proc/PID/stat. None: it is dead, though its
    parent has not taken notice; _HIDDEN: we may not see it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _HIDDEN
    return None if fields[0] in ("Z", "X") else fields[19]


def is_gone(other: str) -> bool:
    """Whether that holder was a process of this host, boot and pid namespace that no longer exists. A stopped one
    does."""
    try:
        node, boot, namespace, pid, started = other.split("|")
        if not boot or (node, boot, namespace) != (platform.node(), *_here()):
            return False
        return not _exists(int(pid)) or _started(int(pid)) not in (started, _HIDDEN)
    except (ValueError, OverflowError):
        return False


def _exists(pid: int) -> bool:
    """Asked of the kernel, because /proc may hide other users' processes (hidepid, systemd's ProtectProc)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass
class Lease:
    """A lease that is held. `progressed` is called whenever the run got somewhere."""

    account_id: UUID
    family: str
    walk: Walk
    run_id: UUID
    token: UUID = field(default_factory=uuid4)
    _progress: float = field(default_factory=time.monotonic)

    def progressed(self) -> None:
        self._progress = time.monotonic()

    async def fence(self, connection: AsyncConnection, mark: UUID | None = None) -> bool:
        """Renew inside the caller's transaction, and mark it. True when a transaction with this mark has been committed
        before: the answer to its COMMIT was lost. Raises LeaseLost when another run has taken over."""
        renewed = (await connection.execute(text(_FENCE), self._values | {"mark": mark})).one_or_none()
        if renewed is None:
            raise LeaseLost(f"{self.family}: another run has taken this account and family over")
        self.progressed()
        return mark is not None and renewed.before == mark

    async def transact(self, db: Database, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do it in a transaction under this lease. One that the database may have committed without our hearing of it
        is looked for before it is repeated: then the first outcome is the result. Raises LeaseLost, DatabaseError."""
        mark, outcomes = uuid4(), list[T]()

        async def fenced(connection: AsyncConnection) -> T:
            if not await self.fence(connection, mark):
                outcomes.append(await work(connection))
            return outcomes[-1]

        return await db.transact(fenced)

    @property
    def _values(self) -> dict[str, Any]:
        return {
            "account": self.account_id,
            "family": self.family,
            "walk": self.walk,
            "token": self.token,
            "run": self.run_id,
            "holder": holder(),
            "lasts": LASTS,
        }

    async def beat(self, db: Database) -> None:
        """Renew, whenever there is progress."""
        while True:
            await asyncio.sleep(BEAT)
            if time.monotonic() - self._progress > NO_PROGRESS:
                log.warning("%s: no progress for %.0f s, the lease runs out", self.family, NO_PROGRESS)
                continue
            try:
                await db.execute(_RENEW, **self._values)
                await db.execute(
                    "UPDATE ebay_worker_run SET heartbeat_at = clock_timestamp() WHERE id = :run", run=self.run_id
                )
            except DatabaseError as error:
                log.warning("%s: the lease could not be renewed: %s", self.family, error)


_MINE = "ebay_account_id = :account AND api_family = :family AND walk = :walk"
_RENEW = f"""
UPDATE ebay_lease SET lease_until = clock_timestamp() + make_interval(secs => :lasts)
WHERE {_MINE} AND token = :token
"""  # noqa: S608
_FENCE = f"""
WITH mine AS (SELECT mark FROM ebay_lease WHERE {_MINE} AND token = :token FOR UPDATE)
UPDATE ebay_lease SET lease_until = clock_timestamp() + make_interval(secs => :lasts),
    mark = coalesce(CAST(:mark AS uuid), ebay_lease.mark)
FROM mine WHERE {_MINE} AND token = :token
RETURNING mine.mark AS before
"""  # noqa: S608
# Without the EXISTS it would wait for a transaction that has the row in work, which may be a stopped process's.
_MAKE = f"""
INSERT INTO ebay_lease (ebay_account_id, api_family, walk) SELECT :account, :family, :walk
WHERE NOT EXISTS (SELECT FROM ebay_lease WHERE {_MINE}) ON CONFLICT DO NOTHING
"""  # noqa: S608
_READ = f"""
SELECT token, holder, run_id, lease_until > clock_timestamp() AS held
FROM ebay_lease WHERE {_MINE} FOR UPDATE SKIP LOCKED
"""  # noqa: S608
_TAKE = f"""
UPDATE ebay_lease SET token = :token, run_id = :run, holder = :holder,
    lease_until = clock_timestamp() + make_interval(secs => :lasts)
WHERE {_MINE}
"""  # noqa: S608
_RELEASE = f"UPDATE ebay_lease SET token = NULL, holder = NULL, lease_until = NULL WHERE {_MINE} AND token = :token"  # noqa: S608


@asynccontextmanager
async def held(db: Database, account_id: UUID, family: str, walk: Walk, run_id: UUID) -> AsyncIterator[Lease]:
    """Hold the lease and keep it alive. Raises LeaseHeld when another run has it."""
    lease = Lease(account_id, family, walk, run_id)
    await db.transact(lambda connection: _take(connection, lease))
    try:
        async with beside(lease.beat(db)):
            yield lease
    finally:
        with suppress(DatabaseError):  # it runs out by itself, and a later run sees that we are gone
            await db.execute(_RELEASE, **lease._values)


async def _take(connection: AsyncConnection, lease: Lease) -> None:
    values = lease._values
    await connection.execute(
        text(_MAKE),
        values,
    )
    row = (await connection.execute(text(_READ), values)).one_or_none()
    if row is None:  # its row is locked: somebody is taking it, or storing
        raise LeaseHeld(f"{lease.family}: another run holds this account and family")
    if row.token == lease.token:  # the transaction is repeated after a lost COMMIT
        return
    if row.token and row.held and not is_gone(row.holder):
        raise LeaseHeld(f"{lease.family}: another run holds this account and family", hint=f"it is run {row.run_id}")
    await connection.execute(text(_TAKE), values)
    if row.token:
        log.warning("%s: took over from run %s, which did not finish", lease.family, row.run_id)
    if row.run_id:  # also where it could let its lease go but not tell how it ended
        await connection.execute(text(_INTERRUPTED), {"run": row.run_id})


_INTERRUPTED = """
UPDATE ebay_worker_run SET status = 'interrupted', finished_at = clock_timestamp()
WHERE id = :run AND status = 'running'
"""


async def revoke_leases(connection: AsyncConnection, account_id: UUID, families: Sequence[str]) -> None:
    """Take every lease of an account and hold it for an hour: runs that are at work write nothing more, and none
    begins. Waits for a commit that is under way."""
    await connection.execute(
        text(
            "INSERT INTO ebay_lease AS l (ebay_account_id, api_family, walk, token, holder, lease_until)"
            " SELECT :account, family, walk, gen_random_uuid(), 'accounts remove',"
            " clock_timestamp() + interval '1 hour'"
            " FROM unnest(CAST(:families AS text[])) family, unnest(ARRAY['live', 'backfill']) walk"
            " ORDER BY family, walk ON CONFLICT (ebay_account_id, api_family, walk) DO UPDATE"
            " SET token = excluded.token, holder = excluded.holder, lease_until = excluded.lease_until"
        ),
        {"account": account_id, "families": sorted(families)},
    )
