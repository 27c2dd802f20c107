"""Hops 3 and 4: a portion's records become rows, are completed by details, and are stored in one transaction.

A record that cannot be stored goes to quarantine, with its bytes and the reason, in that same transaction; one whose
detail cannot be had is stored as the list has it, and noted, so that a later run asks again. eBay is asked before
the transaction begins, never in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from ebaysync.errors import EbayError, XmlBroken
from ebaysync.families.decoder import Unusable
from ebaysync.families.family import Family, Parts, Rows
from ebaysync.families.persons import Forgotten
from ebaysync.store.database import Database, RowRefused
from ebaysync.store.merge import Writer, merge, merge_parts, stored
from ebaysync.store.table import Row
from ebaysync.sync import state as states
from ebaysync.sync.sources import Calls, concerns_one_record
from ebaysync.sync.state import Pending

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What came of a record, and its rows as far as they are known before what is stored is looked at."""

    key: str
    parts: Parts
    rows: Rows


@dataclass
class Batch:
    """What is stored together: records, and what could not be had of them."""

    records: list[Record] = field(default_factory=list)
    unusable: list[tuple[bytes, str]] = field(default_factory=list)
    incomplete: dict[str, str] = field(default_factory=dict)
    """key: why its detail could not be had"""
    damaged: list[tuple[bytes, str]] = field(default_factory=list)
    """details that cannot be used"""

    @property
    def fetched(self) -> int:
        return len(self.records) + len(self.unusable)


@dataclass(frozen=True)
class Outcome:
    stored: int
    unchanged: int
    quarantined: int
    full: int
    """records that have a value in each column that the family wants normalized"""
    partial: int
    """records that lack one"""


@dataclass
class Reader:
    """Completes one family's records in one run. `tried` are those whose detail this run has asked for; `pending`
    those that lack one since an earlier run; `followed` those of the list whose detail is stored."""

    db: Database
    family: Family
    calls: Calls
    account_id: UUID
    progressed: Callable[[], None]
    pending: dict[str, Pending] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)
    forgotten: Forgotten = Forgotten()

    def rows(self, parts: Parts) -> Rows:
        """The rows of a record, without the people who were erased. Raises Unusable."""
        return self.family.composed(parts, self.forgotten.cleaned)

    async def batches(
        self, records: Sequence[bytes], broken: Sequence[tuple[bytes, str]]
    ) -> AsyncIterator[tuple[Batch, bool]]:
        """A portion's records in as many batches as their details want, and whether it is the last; at least one."""
        batch = Batch(unusable=list(broken))
        for raw in records:
            try:
                parts = Parts(listed=raw)
                rows = self.rows(parts)
                batch.records.append(Record(_key(self.family, rows), parts, rows))
            except Unusable as error:
                batch.unusable.append((raw, str(error)))
        wanted = await self._wanted(batch.records)
        size = self.calls.details_at_once or len(wanted)
        waiting = {record.key: record for record in batch.records if record.key in wanted}
        batch.records = [record for record in batch.records if record.key not in wanted]
        keys = list(waiting)
        for start in range(0, len(keys), size or 1):
            await self._complete(batch, {key: waiting[key] for key in keys[start : start + size]})
            if start + size < len(keys):
                yield batch, False
                batch = Batch()
        yield batch, True

    async def refetch(self, keys: Sequence[str]) -> AsyncIterator[tuple[Batch, bool]]:
        """Records that are stored, by their keys."""
        size = self.calls.details_at_once or 50
        for start in range(0, len(keys), size):
            batch = Batch()
            await self._complete(batch, await self._stored(keys[start : start + size]))
            yield batch, False

    async def _stored(self, keys: Sequence[str]) -> dict[str, Record]:
        """Records as they are stored, for a detail that may not say by itself whose it is."""
        account_id, table = self.account_id, self.family.table
        known = await self.db.transact(lambda connection: stored(connection, table, account_id, keys))
        return {key: Record(key, Parts(stored=known[key].raw if key in known else None), {}) for key in keys}

    async def _wanted(self, records: Sequence[Record]) -> set[str]:
        """The keys of the records whose detail is to be asked for."""
        detail = self.family.detail
        if detail is None or self.calls.details is None:
            return set()
        listed = {r.key: _row(self.family, r.rows) for r in records if r.key not in self.tried}
        wanted = {key: row for key, row in listed.items() if detail.wanted(row)}
        looked_at = listed if detail.follows else wanted
        if not looked_at:
            return set()
        account_id, table = self.account_id, self.family.table
        known = await self.db.transact(lambda connection: stored(connection, table, account_id, list(looked_at)))
        if follows := detail.follows:
            self.followed |= {key for key, before in known.items() if follows(listed[key], before)}
        return {
            key
            for key, row in looked_at.items()
            if (key in wanted or key in self.followed)
            and not (key in known and detail.current(row, known[key]))
            and not (key in self.pending and self.pending[key].waits)
        }

    async def _complete(self, batch: Batch, waiting: Mapping[str, Record]) -> None:
        """Ask for details, and put the records into the batch: with what came, or as they were listed."""
        answers = await _details(self.calls, list(waiting), self.progressed)
        self.tried.update(waiting)
        for key, record in waiting.items():
            answer = answers[key]
            if isinstance(answer, bytes):
                parts = replace(record.parts, detail=answer)
                try:
                    rows = self.rows(parts)
                    batch.records.append(Record(key, parts, rows))
                    continue
                except Unusable as error:
                    reason = f"the detail: {error}"
                    batch.damaged.append((answer, reason))
            else:
                reason = answer.message
                if isinstance(answer, XmlBroken) and answer.document is not None:
                    batch.damaged.append((answer.document, reason))
            batch.incomplete[key] = reason
            log.warning("%s %s: %s", self.family.name, key, reason)
            if record.parts.listed is not None:
                batch.records.append(record)


async def _details(calls: Calls, keys: Sequence[str], progressed: Callable[[], None]) -> dict[str, bytes | EbayError]:
    """Each record's detail by its key, or why it cannot be had. Raises EbayError when that is no matter of single
    records."""
    tasks = [asyncio.create_task(_some(calls, some, progressed)) for some in _portions(keys, calls.details_per_call)]
    try:
        found: dict[str, bytes | EbayError] = {}
        for answers in await asyncio.gather(*tasks):
            found |= answers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    failed = [answer for answer in found.values() if isinstance(answer, EbayError) and answer.transient]
    if len(failed) == len(found) > 1:
        raise failed[0]
    return found


def _portions(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    return [keys[start : start + size] for start in range(0, len(keys), size)]


async def _some(calls: Calls, keys: Sequence[str], progressed: Callable[[], None]) -> dict[str, bytes | EbayError]:
    """The details of one call. One that fails for several records is made again for each, to find which it is."""
    assert calls.details
    try:
        answers = await calls.details(keys)
    except EbayError as error:
        if not concerns_one_record(error):
            raise
        if len(keys) == 1:
            return {keys[0]: error}
        return {key: answer for one in keys for key, answer in (await _some(calls, [one], progressed)).items()}
    finally:
        progressed()
    missing = EbayError("eBay gave no detail of it")
    return {key: answers.get(key, missing) for key in keys}


async def store(db: Database, writer: Writer, reader: Reader, batch: Batch, *, one_by_one: bool) -> Outcome:
    """Inside the caller's transaction. With `one_by_one` each record has a savepoint of its own, and one that
    PostgreSQL refuses goes to quarantine; without, RowRefused means: undo, and come again with it."""
    family = reader.family
    unusable = list(batch.unusable)
    records = await _composed(writer, reader, batch, unusable)
    touched: set[str] = set()
    if one_by_one:
        for record in list(records):
            try:
                async with db.translated(), writer.connection.begin_nested():
                    touched |= await _merge(writer, family, [record])
            except RowRefused as error:
                records.remove(record)
                unusable.append((record.parts.newest, str(error)))
    else:
        touched = await _merge(writer, family, records)
    await _note_details(writer, reader, batch, touched)
    kept = [(reader.forgotten.cleaned(raw), reason) for raw, reason in (*unusable, *batch.damaged)]
    await states.quarantine(writer, kept)
    full = sum(_is_full(family, record) for record in records)
    return Outcome(
        len(touched),
        max(0, batch.fetched - len(touched) - len(unusable)),
        len(unusable) + len(batch.damaged),
        full,
        len(records) - full,
    )


def _is_full(family: Family, record: Record) -> bool:
    row = _row(family, record.rows)
    return all(row[name] is not None for name in family.normal)


async def _composed(writer: Writer, reader: Reader, batch: Batch, unusable: list[tuple[bytes, str]]) -> list[Record]:
    """The records as they are to be stored: with what eBay does not send this time as it is stored."""
    family = reader.family
    recalled = [
        r.key
        for r in batch.records
        if r.parts.listed is None or r.key in reader.followed or (family.recall and family.recall(_row(family, r.rows)))
    ]
    if not recalled:
        return list(batch.records)
    known = await stored(writer.connection, family.table, writer.account_id, recalled)
    composed = []
    for record in batch.records:
        if before := known.get(record.key):
            parts = replace(record.parts, stored=before.raw)
            try:
                composed.append(Record(record.key, record.parts, reader.rows(parts)))
            except Unusable as error:
                unusable.append((parts.newest, str(error)))
        else:
            composed.append(record)
    return composed


async def _merge(writer: Writer, family: Family, records: Iterable[Record]) -> set[str]:
    """The keys of the records that are new or changed."""
    newest: dict[str, Record] = {}
    for record in records:
        if not _is_older(family, record, newest.get(record.key)):
            newest[record.key] = record
    merged = await merge(writer, family.table, [_row(family, record.rows) for record in newest.values()])
    touched = {"/".join(key) for key in merged.touched}
    # A part can have changed only where its record has; the parts of an older version are as old as it is.
    for table in family.tables[1:] if touched else ():
        parts = [row for key in touched for row in newest[key].rows[table.name]]
        await merge_parts(writer, table, merged.touched, parts)
    return touched


def _is_older(family: Family, record: Record, other: Record | None) -> bool:
    version = family.table.version
    return bool(version and other and _row(family, record.rows)[version] < _row(family, other.rows)[version])


async def _note_details(writer: Writer, reader: Reader, batch: Batch, touched: Collection[str]) -> None:
    """Which details are still to be had. One that failed is asked for again after a while; a new version of its
    record makes a new beginning."""
    notes: dict[str, tuple[int, str | None]] = {}
    for record in batch.records:
        if record.key in reader.pending and record.parts.detail:
            notes[record.key] = (0, None)
        elif record.key in reader.pending and record.key in touched and record.key not in batch.incomplete:
            notes[record.key] = (1, reader.pending[record.key].reason)
    for key, reason in batch.incomplete.items():
        before = reader.pending.get(key)
        notes[key] = (1 if before is None or key in touched else before.attempts + 1, reason)
    await states.note_details(writer, notes)


def _row(family: Family, rows: Rows) -> Row:
    return rows[family.table.name][0]


def _key(family: Family, rows: Rows) -> str:
    return "/".join(family.table.text_key(_row(family, rows)))
