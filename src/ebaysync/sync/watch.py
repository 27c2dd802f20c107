"""Notices during a run that it is no longer wanted: a pause, a disabled family or account, a removed account.

Each batch checks in its own transaction. Between batches, while a retry sleeps or a long list is read, a watcher task
polls every LOOK seconds. It stops the run when none of its families may go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from ebaysync.errors import DatabaseError
from ebaysync.store.database import Database
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.stop import Stop
from ebaysync.tasks import beside

log = logging.getLogger(__name__)

LOOK = 15.0  # seconds


def watched(db: Database, family_runs: Sequence[FamilyRun], stop: Stop) -> AbstractAsyncContextManager[None]:
    """Poll for these families, and request `stop` when none of them may go on. Raises what the
    work inside raises."""
    return beside(_poll(db, family_runs, stop))


async def _poll(db: Database, family_runs: Sequence[FamilyRun], stop: Stop) -> None:
    while not all(family_run.stopped for family_run in family_runs):
        await asyncio.sleep(LOOK)
        try:
            for family_run in family_runs:
                family_run.stop_for(await db.transact(family_run.reason_to_stop))
        except DatabaseError as error:  # the run itself notices a database that stays unreachable
            log.warning("could not ask whether the run may go on: %s", error)
    stop.end()
