"""Notices that work is no longer wanted: everything is paused, the family or the account is disabled, the account is
being removed.

Each stored batch asks in its own transaction (sync/family_run). Between batches, while a retry sleeps or a long list is
read, somebody else looks every LOOK seconds, and what the run waits for is then given up as on SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ebaysync.errors import DatabaseError
from ebaysync.store.database import Database
from ebaysync.sync.family_run import FamilyRun, Halted

log = logging.getLogger(__name__)

T = TypeVar("T")
LOOK = 15.0


class Stop(Protocol):
    """Whether SIGINT or SIGTERM has come."""

    @property
    def signum(self) -> int | None: ...

    async def race(self, work: Awaitable[T]) -> T: ...


@dataclass
class Halt:
    """A Stop that also ends a wait, with Halted, when no family of the run may go on."""

    stop: Stop
    all_halted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def signum(self) -> int | None:
        return self.stop.signum

    async def race(self, work: Awaitable[T]) -> T:
        return await self.stop.race(self._unless_halted(work))

    async def _unless_halted(self, work: Awaitable[T]) -> T:
        task, halted = asyncio.ensure_future(work), asyncio.ensure_future(self.all_halted.wait())
        try:
            await asyncio.wait({task, halted}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            for one in (task, halted):
                one.cancel()
            await asyncio.gather(task, halted, return_exceptions=True)
        raise Halted


@asynccontextmanager
async def watched(db: Database, family_runs: Sequence[FamilyRun], stop: Stop) -> AsyncIterator[Halt]:
    """Look after these families of one run while it is at work."""
    halt = Halt(stop)
    looking = asyncio.create_task(_look(db, family_runs, halt))
    try:
        yield halt
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


async def _look(db: Database, family_runs: Sequence[FamilyRun], halt: Halt) -> None:
    while not all(family_run.halted for family_run in family_runs):
        await asyncio.sleep(LOOK)
        try:
            for family_run in family_runs:
                family_run.halt(await db.transact(family_run.may_run))
        except DatabaseError as error:
            log.warning("whether the run may go on could not be asked: %s", error)
    halt.all_halted.set()
