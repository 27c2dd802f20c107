"""One family within a run: its state, its summary, and how its records are stored.

Families with the same source run together. Each has its own cursor and commits it with its rows.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import text

from ebaysync.families.family import Family
from ebaysync.families.personal_data import ErasedPeople
from ebaysync.store.connection import Connection
from ebaysync.store.database import RowRefused
from ebaysync.store.merge import Writer
from ebaysync.sync import batch as batches
from ebaysync.sync.ages import Ages
from ebaysync.sync.batch import Batch, BatchCounts, Composer, Listed
from ebaysync.sync.context import RunContext
from ebaysync.sync.details import Details
from ebaysync.sync.inconsistency import Consistency
from ebaysync.sync.move import Move
from ebaysync.sync.sink import DrySink, Sink
from ebaysync.sync.slices import Slice
from ebaysync.sync.sources.calls import Calls
from ebaysync.sync.state import sync_state
from ebaysync.sync.state.pending_details import Again, Pending
from ebaysync.sync.state.sync_state import State
from ebaysync.sync.stop import StopRequested
from ebaysync.sync.summary import Summary

log = logging.getLogger(__name__)

LATER = 30.0  # seconds for which the position after empty slices need not be stored


class FamilyRun:
    """One family within a run. `sink` is a dry one until the run holds the family's lease."""

    def __init__(self, context: RunContext, family: Family, *, force: bool = False) -> None:
        self.context, self.family, self._force = context, family, force
        self.state = State(enabled=True, cursor=None)
        self.erased, self.pending, self.again = ErasedPeople(), dict[str, Pending](), dict[str, Again]()
        self.summary = Summary(context.account.name, family.name)
        self.summary.full = 0 if family.normal else None
        self.summary.incomplete = 0 if family.detail else None
        self.is_first = False
        """the run began without a cursor"""
        self.is_import = False
        """a first import by windows: what it costs says nothing about later runs"""
        self.reached_end = False
        """the window was read to its end, except for holes"""
        self.stopped = False
        """the family may not go on: paused, disabled, or the account was removed; the summary has the reason"""
        self.spent_beside = Counter[str]()
        """the calls of this run that the live window did not need: the sweep's, and details' because of their age"""
        self.sweep_calls: Mapping[str, float] | None = None
        """the calls of the sweep in a day, by API; None: as before"""
        self.remembers: Mapping[str, Any] | None = None
        """what the source remembers after this run; None: the same as before"""
        self.touched: set[str] | None = None
        """gets the keys of new and changed records, if a source wants them"""
        self.sink: Sink = DrySink(context.db)
        self.consistency = Consistency(context.account.id, family.name, {})
        self._details: Details | None = None
        self._committed = time.monotonic()

    def starts_with(self, state: State) -> None:
        """Set the stored state."""
        self.state, self.summary.cursor = state, state.cursor
        self.is_first = state.cursor is None
        self.is_import = self.is_first and self.family.cursor_type == "window"

    def open(self, calls: Calls, go_on: Callable[[], bool], patience: float) -> None:
        """Prepare to store what these calls bring. `go_on`: whether to begin something new; `patience`: see
        RunOptions."""
        ages = Ages(self.family, self.again, self.context.api.transport.clock.now, patience)
        self._details = Details(
            *(self.context.db, Composer(self.family, self.erased), ages, calls, self.context.account.id),
            *(self.sink.progressed, go_on, self.pending),
        )

    @property
    def details(self) -> Details:
        assert self._details, "open() comes first"
        return self._details

    async def reason_to_stop(self, connection: Connection) -> str | None:
        """Why this family may not go on. None if it may."""
        asked = await sync_state.ask_permission(connection, self.context.account.id, self.family.name)
        return self.halted_by((await asked.result()).one())

    def halted_by(self, row: Any) -> str | None:
        """The same from a row that sync_state has read."""
        return sync_state.halted(row, force=self._force)

    def stop_for(self, reason: str | None) -> None:
        """Stop the family if there is a reason."""
        if reason and not self.stopped:
            self.stopped, self.summary.reason = True, reason
            log.info("%s %s stops: %s", self.context.account.name, self.family.name, reason)

    def announce(self, span: Slice) -> None:
        """Write the window to the summary and to the run's log."""
        self.summary.window_from, self.summary.window_to, self.summary.reached = span.start, span.end, span.start
        facts = {"from": sync_state.iso(span.start), "to": sync_state.iso(span.end)}
        self.sink.later(lambda connection: self.sink.note(connection, "start", facts))

    def progress(self, reached: datetime | None = None) -> None:
        """Report progress to the command."""
        self.summary.reached = reached or self.summary.reached
        self.context.progress(self.summary)

    def cursor_stored(self, cursor: datetime) -> None:
        """Note a committed cursor."""
        if self.sink.keeps:
            self.state = replace(self.state, cursor=cursor)
            self.summary.cursor = cursor

    async def store(self, listed: Listed, slice_: Slice | None = None, move: Move | None = None) -> None:
        """Store records (of `details.composer.listed`) in batches, as their details come, and commit `move` with the
        last batch.

        Raises LeaseLost, StopRequested, DatabaseError. Stored batches stay.
        """
        await self._store_all(self.details.batches(listed), slice_, move)

    async def refetch(self, keys: Sequence[str]) -> None:
        """Fetch stored records again, by id. Raises what `store` raises."""
        if keys:
            await self._store_all(self.details.refetch(keys))

    def settle_details(self) -> None:
        """Write to the summary which details are missing. Raises the error that ended the fetching if a person has to
        act on it."""
        if shortfall := self.details.shortfall():
            self.summary.caught_up = False
            self.summary.reason = self.summary.reason or f"{shortfall}; later runs ask again"

    async def enrich(self) -> None:
        """Fill the columns that come from other families' tables. Raises LeaseLost, DatabaseError."""
        if self.family.merge.enrich is None or not self.sink.keeps:
            return
        query, values = text(self.family.merge.enrich), {"account": self.context.account.id}

        async def work(connection: Connection) -> None:
            await connection.send(query, values)

        await self.sink.transact(work)

    def writer(self, connection: Connection) -> Writer:
        """The writer that merges this family's rows inside a transaction."""
        return Writer(connection, self.context.account.id, self.family.name, self.sink.run_id)

    async def _store_all(
        self, prepared: AsyncGenerator[tuple[Batch, bool]], slice_: Slice | None = None, move: Move | None = None
    ) -> None:
        """Store each batch in a transaction of its own; `move` goes into the last."""
        async with aclosing(prepared):
            while (found := await self.context.stop.race(anext(prepared, None))) is not None:
                batch, last = found
                await self._store_batch(batch, slice_, move if last else None)
                # After the last batch the run ends by itself. Before it, unstored records must not be taken for stored.
                if self.stopped and not last:
                    raise StopRequested

    async def _store_batch(self, batch: Batch, slice_: Slice | None, move: Move | None) -> None:
        """Store the records, the log line and the position in one transaction."""

        async def work(connection: Connection, *, one_by_one: bool) -> tuple[BatchCounts, str | None]:
            # In the same transaction, so that a pause that was committed before this batch is seen, without a second
            # connection; at its beginning, because the answer then comes with that of the merge.
            permission = await sync_state.ask_permission(connection, self.context.account.id, self.family.name)
            writer = self.writer(connection)
            composer = self.details.composer
            counts = await batches.store(self.context.db, writer, composer, batch, one_by_one=one_by_one)
            if move:
                await move.write(connection)
            await self.sink.note(connection, "page", _page_facts(slice_, batch, counts))
            return counts, self.halted_by((await permission.result()).one())

        if batch.is_empty and self.sink.keeps and time.monotonic() - self._committed < LATER:
            if move:
                self.sink.later(move.write)
                move.stored()
            return
        try:
            counts, reason = await self.sink.transact(lambda c: work(c, one_by_one=False))
        except RowRefused as refused:
            # The transaction was rolled back. Store the same batch again with a savepoint per record, to find the bad
            # one.
            log.warning("%s: PostgreSQL refused a row (%s); looking for it", self.family.name, refused)
            # Not hopeful: the rows of an account that was removed meanwhile are refused as well.
            counts, reason = await self.sink.transact(lambda c: work(c, one_by_one=True), hopeful=False)
        self._committed = time.monotonic()
        self.stop_for(reason)
        if move:
            # After the commit only: a position that was rolled back must not be remembered.
            move.stored()
        self.summary.add(batch, counts)
        if self.touched is not None:
            self.touched.update(counts.touched)
        self.sink.progressed()


def _page_facts(slice_: Slice | None, batch: Batch, counts: BatchCounts) -> Mapping[str, Any]:
    return {
        "from": sync_state.iso(slice_.start) if slice_ else None,
        "to": sync_state.iso(slice_.end) if slice_ else None,
        "fetched": batch.fetched,
        "stored": counts.stored,
        "unchanged": counts.unchanged,
        "quarantined": counts.quarantined,
    }
