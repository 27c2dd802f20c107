"""Reads a source without windows completely, and marks what a snapshot no longer has.

Nothing is marked as removed without a complete scan. Even then the list is read a second time, because a row may have
moved between pages during the first.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial

from ebaysync.ebay.xml_repair import BrokenRecord
from ebaysync.errors import EbayError
from ebaysync.families.family import PLENTY, Family
from ebaysync.store.connection import Connection
from ebaysync.sync import outcome, plan, snapshot
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.scan import ScanPage
from ebaysync.sync.snapshot import Missing, Seen, Settled
from ebaysync.sync.source_run import SourceRun
from ebaysync.sync.state import pending_details
from ebaysync.sync.windows import cursor_to


class ScanResult:
    """The state of a scan for one family. `incomplete`: why a scan that reached the end is not complete. `partial`,
    `inconsistent`: why the list may have more records than it showed. `unread`: parts whose records were not read.
    `parts`: those that were read, or have their turn later; `in_turn`: how many were read only because they had it."""

    def __init__(self, family: Family) -> None:
        self.seen = Seen()
        self.incomplete: EbayError | None = None
        self.partial: EbayError | None = None
        self.inconsistent: str | None = None
        self.unlikely: EbayError | None = None
        self.unread: set[str] = set()
        self.parts = set[str]()
        self.in_turn = 0
        self._broken: set[str] = set()
        self._key = family.key_of

    def new_broken(self, found: ScanPage) -> Sequence[BrokenRecord]:
        """Records that cannot be decoded, each reported once, however often the list is read."""
        return [each for each in found.broken if each.key is None or each.key not in self._broken]

    def add(self, found: ScanPage) -> None:
        """Count these records as seen, including one that cannot be decoded but has a key."""
        self.incomplete = self.incomplete or found.incomplete
        self.partial = self.partial or found.partial
        self.inconsistent = found.inconsistent or self.inconsistent
        self.unlikely = found.unlikely or self.unlikely
        self.unread = (self.unread | found.failed.keys() | {*found.unasked, *found.rested}) - set(found.parts)
        self.parts |= {*found.parts, *found.rested}
        self.in_turn += found.in_turn
        self._broken.update(each.key for each in found.broken if each.key is not None)
        self.seen.add(self._key(record) for record in found.records)
        self.seen.add(each.key for each in found.broken)


async def scan(group: SourceRun) -> None:
    """Read and store everything. Raises EbayError, DatabaseError. Stored batches stay."""
    clock, started = group.context.api.transport.clock, time.monotonic()
    results = {family_run.family.name: ScanResult(family_run.family) for family_run in group.active}
    _rotate(group, clock.now())
    for is_second in (False, True):
        if not await _read_once(group, results):
            return
        # The cursor becomes the time, by eBay's clock, at which the scan began, so that changes during the scan are
        # newer.
        began = plan.whole_seconds(clock.now() - timedelta(seconds=time.monotonic() - started))
        # A row may have moved past the reader. Only what two readings miss is missing.
        if is_second or group.options.dry_run or not await _any_missing(group, results):
            break
    _count_turns(group, results.values())
    for family_run in list(group.active):
        try:
            await group.guarded(family_run, partial(_finish, group, results[family_run.family.name], began))
        except EbayError as error:  # only this family's scan is incomplete
            await outcome.settle(group.context, [family_run], error)


def _rotate(group: SourceRun, now: datetime) -> None:
    """Let parts have their turn, if this run also reads the list that shows which of them have changed."""
    turns = group.calls.turns
    parted = next((one for one in group.active if one.family.part_column), None)
    lists = [one for one in group.active if parted and one.family.table.key == (parted.family.part_column,)]
    if turns is None or parted is None or not lists:
        return
    lists[0].touched = turns.changed
    patience = group.options.patience.get(group.family.source, PLENTY)
    turns.now, turns.takes = now, parted.family.window.seen_within * (plan.PUNCTUAL * patience)
    turns.since = parted.state.cursor if parted.state.cursor and parted.state.cursor <= now else None


def _count_turns(group: SourceRun, results: Iterable[ScanResult]) -> None:
    """Count the calls for parts in their turn apart: the plan may let a round take longer."""
    for result in (result for result in results if result.in_turn):
        for family_run in group.active:
            api = next(iter(family_run.family.costs))
            rounds = timedelta(days=1) / (family_run.family.window.seen_within * plan.PUNCTUAL)
            family_run.spent_beside[api] += result.in_turn
            family_run.sweep_calls = {api: round(len(result.parts) * rounds, 2)}


async def _read_once(group: SourceRun, results: dict[str, ScanResult]) -> bool:
    """Whether everything was read."""
    assert group.calls.scan
    parted = (family_run for family_run in group.active if family_run.family.part_column)
    pending = {part: one for family_run in parted for part, one in family_run.details.pending.items()}
    pages = group.calls.scan(list(results), pending)
    async with aclosing(pages):
        while (found := await group.race(anext(pages, None))) is not None:
            for family_run in list(group.active):
                if own := found.get(family_run.family.name):
                    await group.guarded(family_run, partial(_store, found=own, result=results[family_run.family.name]))
                family_run.progress()
            group.progressed()
            if not group.go_on():
                return False
    return True


async def _store(family_run: FamilyRun, found: ScanPage, result: ScanResult) -> None:
    broken = [(each.document, each.reason) for each in result.new_broken(found)]
    if found.records or broken:
        await family_run.store(await family_run.details.composer.listed(found.records, broken))
    if found.parts or found.failed or found.unasked:
        await _note_parts(family_run, found)
    result.add(found)


async def _note_parts(family_run: FamilyRun, found: ScanPage) -> None:
    """Note which parts of a snapshot were read and which are due."""
    details = family_run.details
    pending = details.pending

    async def work(connection: Connection) -> None:
        writer = family_run.writer(connection)
        failed = {
            part: (pending[part].attempts + 1 if part in pending else 1, reason)
            for part, reason in found.failed.items()
        }
        await pending_details.arrived(writer, [part for part in found.parts if part in pending])
        await pending_details.failed(writer, failed)
        await pending_details.due(writer, [part for part in found.unasked if part not in pending])

    await family_run.sink.transact(work)
    # After the commit: the run's summary says that they are missing.
    details.lacking.update(found.failed, found.unasked)
    details.ended_by = details.ended_by or found.ended_by


async def _any_missing(group: SourceRun, results: dict[str, ScanResult]) -> bool:
    """Whether a snapshot has stored records that were not seen."""
    db, account_id = group.context.db, group.context.account.id
    for family_run in group.active:
        family = family_run.family
        if family.cursor_type == "snapshot":
            result = results[family.name]
            if result.inconsistent or result.partial or result.incomplete:
                continue  # another reading proves nothing
            missing = partial(
                snapshot.missing, account_id=account_id, family=family, seen=result.seen, unread=result.unread
            )
            if (await db.read(missing))[0]:
                return True
    return False


async def _finish(group: SourceRun, result: ScanResult, began: datetime, family_run: FamilyRun) -> None:
    """Mark missing records as removed, and move the cursor to the start of the scan.

    Raises EbayError if the scan is not believed, or too many records are missing.
    """
    if result.incomplete:
        raise result.incomplete
    family, seen, is_partial = family_run.family, result.seen, result.partial is not None
    doubtful = bool(result.inconsistent or result.unlikely or is_partial)
    is_snapshot, is_live = family.cursor_type == "snapshot", group.options.walk == "live"
    move = cursor_to(family_run, began)

    async def work(connection: Connection) -> Settled:
        settled = Settled(0, is_believed=not (is_snapshot and doubtful))
        # A record without a readable key could be any of the missing ones.
        if is_snapshot and not seen.nameless:
            account_id, accept = group.context.account.id, group.options.accept_removals
            missing, known = await snapshot.missing(connection, account_id, family, seen, result.unread)
            writer = family_run.writer(connection)
            is_odd = result.inconsistent or is_partial or (result.unlikely and missing)
            digest = seen.digest() if is_odd else None
            found = Missing(missing, known, digest, is_partial)
            settled = await snapshot.settle(writer, family, found, accept=accept)
        elif is_partial:
            found = Missing([], 0, seen.digest(), is_partial)
            settled = await snapshot.settle(family_run.writer(connection), family, found, accept=False)
        # A mass removal is returned, not raised: raising would roll back the row that counts such scans.
        if is_live and settled.is_believed:
            await move.write(connection)
        return settled

    settled = await family_run.sink.transact(work)
    summary = family_run.summary
    summary.inconsistent = result.inconsistent or (result.partial.message if result.partial else None)
    if settled.refused:
        raise settled.refused
    if not settled.is_believed and (error := result.partial or result.unlikely):
        raise error
    summary.removed, summary.caught_up = settled.removed, settled.is_believed
    if is_snapshot and seen.nameless:
        summary.reason = f"{seen.nameless} records without a readable key: nothing is marked as removed"
    if is_live and settled.is_believed:
        move.stored()
