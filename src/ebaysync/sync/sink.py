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


class Sink(Protocol):
    """`keeps`: whether writes stay."""

    keeps: bool

    @property
    def run_id(self) -> UUID | None: ...

    def progressed(self) -> None:
        """Keep the lease alive, because the run got somewhere."""

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction. Raises LeaseLost, RowRefused, DatabaseError."""

    async def note(self, connection: Connection, kind: str, facts: Mapping[str, Any]) -> None:
        """Add a line to the run's log, inside a transaction of this sink."""


class LeasedSink:
    """Commits under the lease: a run that lost it writes nothing more."""

    keeps = True

    # Check the lease's token first. A process that was stopped for an hour must not overwrite its successor when it
    # wakes up.

    def __init__(self, db: Database, lease: Lease) -> None:
        self._db = db
        self.lease = lease

    @property
    def run_id(self) -> UUID:
        return self.lease.run_id

    def progressed(self) -> None:
        self.lease.progressed()

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        return await self.lease.transact(self._db, work)

    async def note(self, connection: Connection, kind: str, facts: Mapping[str, Any]) -> None:
        await run_log.note(connection, self.run_id, kind, facts)


class DrySink:
    """Rolls back every transaction, and has no run to log to."""

    keeps = False
    run_id = None

    def __init__(self, db: Database) -> None:
        self._db = db

    def progressed(self) -> None:
        """A dry run has no lease."""

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        return await self._db.transact(work, commit=False)

    async def note(self, connection: Connection, kind: str, facts: Mapping[str, Any]) -> None:
        """A dry run has no log."""
