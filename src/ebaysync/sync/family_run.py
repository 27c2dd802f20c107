"""One family's share of a run: its summary, its state and lease, and how its records are stored.

Families that are read from the same source run together; each keeps its own cursor and commits it with its rows.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.accounts.accounts import Account
from ebaysync.errors import EbayError, TooMuchGone
from ebaysync.families.family import Family
from ebaysync.store.database import Database, RowRefused
from ebaysync.store.merge import Writer, unfinished
from ebaysync.sync import batch as batches
from ebaysync.sync import forgotten, snapshot
from ebaysync.sync import state as states
from ebaysync.sync.batch import Batch, Reader
from ebaysync.sync.lease import Lease
from ebaysync.sync.scan import Found
from ebaysync.sync.snapshot import Seen
from ebaysync.sync.sources import Calls, key_reader
from ebaysync.sync.state import State
from ebaysync.sync.summary import Summary
from ebaysync.sync.walk import Slice

log = logging.getLogger(__name__)
T = TypeVar("T")

Move = Callable[[AsyncConnection], Awaitable[None]]
"""What else is written in the transaction of the last records: a position."""
Race = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Waits for something, until SIGTERM comes."""


class Halted(Exception):
    """A family was told to stop in the middle of something; its summary has the reason."""


class FamilyRun:
    """A family in a run. Without a lease (a dry run) what is written is undone. `force`: although it is disabled."""

    def __init__(self, db: Database, account: Account, family: Family, state: State, *, force: bool = False) -> None:
        self.db, self.account, self.family, self.state, self.force = db, account, family, state, force
        self.summary = Summary(account.name, family.name, cursor=state.cursor)
        self.summary.full = 0 if family.normal else None
        self.summary.incomplete = 0 if family.detail else None
        self.is_first = state.cursor is None
        self.lease: Lease | None = None
        self.seen = Seen()
        self.doubt: EbayError | None = None
        """why a scan that came to its end is not all there is"""
        self.halted = False
        """whether somebody has paused or disabled it, or removed the account; the summary has the reason"""
        self._broken: set[str] = set()
        self._reader: Reader | None = None
        self._key = key_reader(family)

    @property
    def run_id(self) -> UUID | None:
        return self.lease.run_id if self.lease else None

    @property
    def imports(self) -> bool:
        """Whether this is a first import, or goes on with one: it costs what no later run does."""
        return self.is_first and self.family.cursor_type == "window"

    def progressed(self) -> None:
        if self.lease:
            self.lease.progressed()

    async def may_run(self, connection: AsyncConnection) -> str | None:
        """None, or why not."""
        return await states.halted(connection, self.account.id, self.family.name, force=self.force)

    def halt(self, reason: str | None) -> None:
        if reason and not self.halted:
            self.halted, self.summary.reason = True, reason
            log.info("%s %s stops: %s", self.account.name, self.family.name, reason)

    async def open(self, calls: Calls) -> None:
        pending = await states.pending_details(self.db, self.account.id, self.family.name) if self.family.detail else {}
        self._reader = Reader(
            self.db,
            self.family,
            calls,
            self.account.id,
            self.progressed,
            pending,
            forgotten=await forgotten.load(self.db),
        )

    async def note(self, kind: str, facts: dict[str, Any]) -> None:
        """A line of the run's log."""
        if self.lease:
            run_id = self.lease.run_id
            await self.lease.transact(self.db, lambda connection: states.note(connection, run_id, kind, facts))

    def own_records(self, records: Sequence[bytes]) -> Sequence[bytes]:
        return records if self.family.mine is None else [record for record in records if self.family.mine(record)]

    async def store(
        self,
        records: Sequence[bytes],
        slice_: Slice | None,
        move: Move | None,
        race: Race,
        broken: Sequence[tuple[bytes, str]] = (),
    ) -> None:
        """Store a portion's records, and `move` with the last of them. `race` ends the wait for eBay's details."""
        assert self._reader
        prepared = self._reader.batches(self.own_records(records), broken)
        await self._store_all(prepared, slice_, move, race)

    async def refetch_open(self, race: Race) -> None:
        """Ask again for the stored records that are not in a final state or lack their detail."""
        detail, reader = self.family.detail, self._reader
        assert reader
        if detail is None or reader.calls.details is None:
            return
        waiting = {key for key, pending in reader.pending.items() if not pending.waits}
        keys: dict[str, None] = {}
        if column := detail.open_column:
            table, account_id = self.family.table, self.account.id
            work = self.db.transact(lambda c: unfinished(c, table, account_id, column, detail.final))
            keys = dict.fromkeys(await work)
        waits = {key for key, pending in reader.pending.items() if pending.waits}
        wanted = [key for key in {**keys, **dict.fromkeys(waiting)} if key not in reader.tried | waits]
        if wanted:
            await self._store_all(reader.refetch(wanted), None, None, race)

    async def _store_all(
        self,
        prepared: AsyncIterator[tuple[Batch, bool]],
        slice_: Slice | None,
        move: Move | None,
        race: Race,
    ) -> None:
        """Each batch in a transaction, and `move` in that of the last. Raises Halted before that."""
        while (found := await race(anext(prepared, None))) is not None:
            batch, last = found
            await self._store(batch, slice_, move if last else None)
            if self.halted and not last:
                raise Halted

    async def _store(self, batch: Batch, slice_: Slice | None, move: Move | None) -> None:
        """The batch's records, its log line and the position after it: one transaction, fenced."""
        reader, summary = self._reader, self.summary
        assert reader

        async def work(connection: AsyncConnection, *, one_by_one: bool) -> tuple[batches.Outcome, str | None]:
            reason = None
            outcome = await batches.store(self.db, self.writer(connection), reader, batch, one_by_one=one_by_one)
            if self.lease:
                if move:
                    await move(connection)
                await states.note(connection, self.lease.run_id, "page", _page_facts(slice_, batch, outcome))
                reason = await self.may_run(connection)
            return outcome, reason

        try:
            outcome, reason = await self._transact(lambda c: work(c, one_by_one=False))
        except RowRefused as refused:
            log.warning("%s: PostgreSQL refused a row (%s); looking for it", self.family.name, refused)
            outcome, reason = await self._transact(lambda c: work(c, one_by_one=True))
        self.halt(reason)
        summary.fetched += batch.fetched
        summary.stored += outcome.stored
        summary.unchanged += outcome.unchanged
        summary.quarantined += outcome.quarantined
        if summary.full is not None:
            summary.full += outcome.full
            summary.partial += outcome.partial
        if summary.incomplete is not None:
            summary.incomplete += len(batch.incomplete)
        self.progressed()

    async def _transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Under the lease; of a dry run, undone."""
        if self.lease:
            return await self.lease.transact(self.db, work)
        return await self.db.transact(work, commit=False)

    def writer(self, connection: AsyncConnection) -> Writer:
        return Writer(connection, self.account.id, self.family.name, self.run_id)

    def cursor_to(self, end: datetime, now: datetime) -> tuple[datetime, Move]:
        """The cursor after what ends there: never back, but from beyond eBay's now (a database restored from
        elsewhere)."""
        cursor = self.state.cursor
        position = end if cursor is None or cursor > now else max(end, cursor)
        account_id, name = self.account.id, self.family.name
        return position, lambda connection: states.move_cursor(connection, account_id, name, position)

    def moved(self, position: datetime) -> None:
        if self.lease:
            self.state = replace(self.state, cursor=position)
            self.summary.cursor = position

    def sweep_to(self, slice_: Slice, width: timedelta, *, done: bool) -> Move | None:
        """The sweep's position after a slice; None where the slice does not begin at this family's own."""
        if self.state.sweep is not None and not slice_.start <= self.state.sweep <= slice_.end:
            return None
        account_id, name = self.account.id, self.family.name
        self.state = replace(self.state, sweep=slice_.end)
        return lambda connection: states.move_sweep(connection, account_id, name, slice_.end, width, done=done)

    async def store_scan(self, found: Found, race: Race) -> None:
        """The same of a scan's records. What cannot be read counts as seen where its key can be told, and is told of
        once, however often the list is read."""
        broken = [each for each in found.broken if each.key is None or each.key not in self._broken]
        if found.records or broken:
            await self.store(found.records, None, None, race, [(each.document, each.reason) for each in broken])
        self.doubt = self.doubt or found.doubt
        self._broken.update(each.key for each in broken if each.key is not None)
        self.seen.add(self._key(record) for record in found.records)
        self.seen.add(each.key for each in found.broken)

    async def gone(self) -> bool:
        """Whether anything that is known was not seen."""
        work = self.db.transact(lambda c: snapshot.missing(c, self.account.id, self.family, self.seen))
        return bool((await work)[0])

    async def enrich(self) -> None:
        """Fill the columns that come from other families' tables."""
        if self.family.enrich is None or self.lease is None:
            return
        lease, query, values = self.lease, text(self.family.enrich), {"account": self.account.id}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(query, values)

        await lease.transact(self.db, work)

    async def finish_scan(self, began: datetime, *, accept: bool) -> None:
        """After a complete scan: mark what is gone, and move the cursor to the scan's beginning. Raises EbayError when
        what the scan brought is not all, or too little to be believed."""
        if self.doubt:
            raise self.doubt
        position, move = self.cursor_to(began.replace(microsecond=0), began)

        async def work(connection: AsyncConnection) -> int | TooMuchGone:
            removed: int | TooMuchGone = 0
            if self.family.cursor_type == "snapshot" and not self.seen.nameless:
                gone, known = await snapshot.missing(connection, self.account.id, self.family, self.seen)
                removed = await snapshot.settle(self.writer(connection), self.family, gone, known, accept=accept)
            if self.lease and self.lease.walk == "live" and not isinstance(removed, TooMuchGone):
                await move(connection)
            return removed

        removed = await self._transact(work)
        if isinstance(removed, TooMuchGone):
            raise removed
        self.summary.removed = removed
        if self.family.cursor_type == "snapshot" and self.seen.nameless:
            self.summary.reason = f"{self.seen.nameless} records without a readable key: nothing is marked as removed"
        if self.lease and self.lease.walk == "live":
            self.moved(position)


def _page_facts(slice_: Slice | None, batch: Batch, outcome: batches.Outcome) -> dict[str, Any]:
    return {
        "from": states.iso(slice_.start) if slice_ else None,
        "to": states.iso(slice_.end) if slice_ else None,
        "fetched": batch.fetched,
        "stored": outcome.stored,
        "unchanged": outcome.unchanged,
        "quarantined": outcome.quarantined,
    }
