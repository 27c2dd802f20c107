"""Notices during a run that it is no longer wanted: a pause, a disabled family or account, a removed account.

Each batch checks in its own transaction. Between batches, while a retry sleeps or a long list is read, a watcher task
polls every LOOK seconds. It stops the reading of a source when none of its families may go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from ebaysync.errors import DatabaseError
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.state import sync_state
from ebaysync.tasks import beside

log = logging.getLogger(__name__)

LOOK = 15.0  # seconds


def watched(db: Database, family_runs: Sequence[FamilyRun]) -> AbstractAsyncContextManager[None]:
    """Poll for these families of one account, and request the stop of each source none of whose families may go on."""
    return beside(_poll(db, family_runs))


async def _poll(db: Database, family_runs: Sequence[FamilyRun]) -> None:
    while going := [family_run for family_run in family_runs if not family_run.stopped]:
        await asyncio.sleep(LOOK)
        try:
            await db.read(partial(_look, going))
        except DatabaseError as error:  # the run itself notices a database that stays unreachable
            log.warning("could not ask whether the run may go on: %s", error)
        for stop in {family_run.context.stop for family_run in going}:
            if all(family_run.stopped for family_run in family_runs if family_run.context.stop is stop):
                stop.end()


async def _look(family_runs: Sequence[FamilyRun], connection: Connection) -> None:
    first = family_runs[0].context
    asked = await sync_state.ask(connection, first.account, [family_run.family for family_run in family_runs])
    rows = {row.family: row for row in await asked.result()}
    for family_run in family_runs:
        family_run.stop_for(family_run.halted_by(rows[family_run.family.name]))
