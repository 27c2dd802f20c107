"""Writes for a family's run: transactions under its lease; in a dry run, transactions that are rolled back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar
from uuid import UUID

from ebaysync.store.connection import Connection
from ebaysync.store.database import Database
from ebaysync.sync.lease import Lease
from ebaysync.sync.state import run_log

T = TypeVar("T")
Write = Callable[[Connection], Awaitable[None]]


class Sink(Protocol):
    """`keeps`: whether writes stay. `lease`: None in a dry run."""

    keeps: bool

    @property
    def lease(self) -> Lease | None: ...

    @property
    def run_id(self) -> UUID | None: ...

    def progressed(self) -> None:
        """Keep the lease alive, because the run got somewhere."""

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, hopeful: bool = True) -> T:
        """Run `work` in a transaction (`hopeful`: see Lease.transact). Raises LeaseLost, RowRefused, DatabaseError."""

    async def note(self, connection: Connection, kind: str, facts: Mapping[str, Any]) -> None:
        """Add a line to the run's log, inside a transaction of this sink."""

    def later(self, write: Write) -> None:
        """Write this at the beginning of the next transaction."""

    async def write_waiting(self, connection: Connection) -> None:
        """Write what waits for the next transaction."""


class LeasedSink:
    """Commits under the lease: a run that lost it writes nothing more."""

    keeps = True

    # Check the lease's token first. A process that was stopped for an hour must not overwrite its successor when it
    # wakes up.

    def __init__(self, db: Database, lease: Lease) -> None:
        self._db = db
        self.lease = lease
        self._waiting: list[Write] = []

    @property
    def run_id(self) -> UUID:
        return self.lease.run_id

    def progressed(self) -> None:
        self.lease.progressed()

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, hopeful: bool = True) -> T:
        async def whole(connection: Connection) -> T:
            await self.write_waiting(connection)
            return await work(connection)

        found = await self.lease.transact(self._db, whole, hopeful=hopeful)
        self._waiting.clear()
        return found

    def later(self, write: Write) -> None:
        self._waiting.append(write)

    async def write_waiting(self, connection: Connection) -> None:
        for write in self._waiting:
            await write(connection)

    async def note(self, connection: Connection, kind: str, facts: Mapping[str, Any]) -> None:
        await run_log.note(connection, self.run_id, kind, facts)


class DrySink:
    """Rolls back every transaction, and has no run to log to."""

    keeps = False
    run_id = None
    lease = None

    def __init__(self, db: Database) -> None:
        self._db = db

    def progressed(self) -> None:
        """A dry run has no lease."""

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, hopeful: bool = True) -> T:
        return await self._db.transact(work, commit=False)

    async def note(self, connection: Connection, kind: str, facts: Mapping[str, Any]) -> None:
        """A dry run has no log."""

    def later(self, write: Write) -> None:
        """A dry run keeps nothing."""

    async def write_waiting(self, connection: Connection) -> None:
        """A dry run keeps nothing."""
