"""Where a family's run writes: transactions under its lease, or, in a dry run, transactions that are rolled back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.store.database import Database
from ebaysync.sync.lease import Lease
from ebaysync.sync.state import run_log

T = TypeVar("T")


class Sink(Protocol):
    """`keeps`: whether what is written stays."""

    keeps: bool

    @property
    def run_id(self) -> UUID | None: ...

    def progressed(self) -> None:
        """Note that the run got somewhere, so that its lease stays alive."""

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do `work` in a transaction. Raises LeaseLost, RowRefused, DatabaseError."""

    async def note(self, connection: AsyncConnection, kind: str, facts: Mapping[str, Any]) -> None:
        """Add a line to the run's log, inside a transaction of this sink."""


class LeasedSink:
    """Commits, fenced by the lease: a run that lost it writes nothing more."""

    keeps = True

    # Every transaction asks for the lease's token first: a process that was stopped for an hour and wakes up must not
    # write over its successor.

    def __init__(self, db: Database, lease: Lease) -> None:
        self._db = db
        self.lease = lease

    @property
    def run_id(self) -> UUID:
        return self.lease.run_id

    def progressed(self) -> None:
        self.lease.progressed()

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return await self.lease.transact(self._db, work)

    async def note(self, connection: AsyncConnection, kind: str, facts: Mapping[str, Any]) -> None:
        await run_log.note(connection, self.run_id, kind, facts)


class DrySink:
    """Rolls every transaction back, and has no run to log for."""

    keeps = False
    run_id = None

    def __init__(self, db: Database) -> None:
        self._db = db

    def progressed(self) -> None:
        """There is no lease to keep alive."""

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return await self._db.transact(work, commit=False)

    async def note(self, connection: AsyncConnection, kind: str, facts: Mapping[str, Any]) -> None:
        """A dry run has no log."""
