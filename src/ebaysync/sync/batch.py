"""Hops 3 and 4: turns records into rows, and stores a batch of them in one transaction.

A record that cannot be stored goes to quarantine in the same transaction, with its bytes and the reason. Oddities of a
record that can be stored are counted, if the record is new or has changed. A record whose detail is missing is
stored as listed; a note makes a later run fetch the detail.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ebaysync.families.decoder import Notes, Unusable
from ebaysync.families.family import Family, RecordVersions, Rows
from ebaysync.families.personal_data import ErasedPeople
from ebaysync.store.database import Database, RowRefused
from ebaysync.store.merge import Writer, merge, merge_parts, stored
from ebaysync.store.table import Row
from ebaysync.sync import twins
from ebaysync.sync.state import field_notes, pending_details, quarantine
from ebaysync.sync.state.pending_details import Again, Pending
from ebaysync.tasks import long_work

# records, and their bytes, after which other tasks of the process get their turn
TURN, TURN_BYTES = 50, 2**20


@dataclass(frozen=True)
class Record:
    """A record as eBay sent it, and its rows as far as they are known without the stored version.

    With `needs_stored` it is composed again from the stored version.
    """

    key: str
    versions: RecordVersions
    rows: Rows
    needs_stored: bool = False
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True)
class Listed:
    """Records of a list, and those that cannot become rows, each with the reason."""

    records: Sequence[Record]
    unusable: Sequence[tuple[bytes, str]] = ()


@dataclass(frozen=True)
class Composer:
    """Turns one family's records into rows, without erased people."""

    family: Family
    erased: ErasedPeople = ErasedPeople()

    def record(self, versions: RecordVersions, *, refetch_on_change: bool = False) -> Record:
        """A record from what eBay sent. `refetch_on_change`: its stored detail tells more than the list. Raises
        Unusable."""
        notes = Notes()
        rows = self.family.composed(versions, self.erased.cleaned, notes)
        main, recall = self.main_row(rows), self.family.merge.needs_stored
        needs_stored = refetch_on_change or versions.listed is None or (recall is not None and recall(main))
        return Record("/".join(self.family.table.text_key(main)), versions, rows, needs_stored, notes)

    async def listed(self, records: Iterable[bytes], broken: Iterable[tuple[bytes, str]] = ()) -> Listed:
        """The family's own of these records. `broken` ones cannot be decoded."""
        own, unusable = [], list(broken)
        since = 0
        for number, raw in enumerate(records):
            since += memoryview(raw).nbytes
            if number % TURN == 0 or since > TURN_BYTES:
                since = 0
                await asyncio.sleep(0)
            if self.family.own_records is None or self.family.own_records(raw):
                try:
                    with long_work():
                        own.append(self.record(RecordVersions(listed=raw)))
                except Unusable as error:
                    unusable.append((raw, str(error)))
        stay, lost = self.without_losers(own)
        return Listed(stay, [*unusable, *lost])

    def composed(self, record: Record, document: bytes) -> Record:
        """The record with its stored version filled in. Raises Unusable."""
        versions, notes = replace(record.versions, stored=document), Notes()
        return replace(record, rows=self.family.composed(versions, self.erased.cleaned, notes), notes=notes)

    def without_losers(self, records: Sequence[Record]) -> tuple[list[Record], list[tuple[bytes, str]]]:
        """The records of one answer, and for quarantine those that are another record than one of the same key."""
        lost = twins.losers(self.family.table, [self.main_row(record.rows) for record in records])
        stay = [record for index, record in enumerate(records) if index not in lost]
        return stay, [(records[index].versions.newest, twins.LOSER) for index in sorted(lost)]

    def main_row(self, rows: Rows) -> Row:
        """The row of the family's first table."""
        return rows[self.family.table.name][0]


@dataclass
class Batch:
    """Records that are stored together, and those that cannot be. Reasons are sentences.

    unusable: records that cannot become rows. damaged: details that cannot be used. incomplete: by a record's key, why
    it has no detail. due: keys whose detail was not asked for. pending: details that earlier runs did not get. again:
    when a detail that has come is read again; None: never, because the record is final now.
    """

    records: list[Record] = field(default_factory=list)
    unusable: list[tuple[bytes, str]] = field(default_factory=list)
    damaged: list[tuple[bytes, str]] = field(default_factory=list)
    incomplete: dict[str, str] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)
    pending: Mapping[str, Pending] = field(default_factory=dict)
    again: dict[str, Again | None] = field(default_factory=dict)

    @property
    def fetched(self) -> int:
        return len(self.records) + len(self.unusable)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self.records or self.unusable or self.damaged or self.incomplete or self.due)


@dataclass(frozen=True)
class BatchCounts:
    """The numbers of a stored batch. A `full` record has a value in each `normal` column of its family, a `partial` one
    lacks some. `notes` counts new and changed records by what is odd about them: a field, and a reason. `inserted` of
    the stored records are new."""

    stored: int
    unchanged: int
    quarantined: int
    full: int
    partial: int
    notes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    inserted: int = 0
    touched: Collection[str] = ()
    """the keys of stored records"""


async def store(db: Database, writer: Writer, composer: Composer, batch: Batch, *, one_by_one: bool) -> BatchCounts:
    """Store a batch inside the caller's transaction.

    Raises RowRefused if PostgreSQL refuses a record: roll back, and call again with `one_by_one`. Then each record has
    a savepoint, and the refused one goes to quarantine.
    """
    unusable = list(batch.unusable)
    records = await _under_own_keys(writer, composer, await _with_stored(writer, composer, batch, unusable))
    merged = _MergedRecords()
    if one_by_one:
        for record in list(records):
            try:
                # PostgreSQL refuses the whole statement because of one bad value. A savepoint saves the others.
                async with db.translated(), writer.connection.savepoint():
                    found = await _merge(writer, composer, [record])
            except RowRefused as error:
                records.remove(record)
                unusable.append((record.versions.newest, str(error)))
            else:
                merged.add(found)
    else:
        merged = await _merge(writer, composer, records)
    await _note_details(writer, batch, merged.touched)
    await field_notes.add(writer, merged.notes)
    # Quarantine keeps documents as they came, and must not bring an erased person back.
    kept = [(composer.erased.cleaned(raw), reason) for raw, reason in (*unusable, *batch.damaged)]
    await quarantine.keep(writer, kept)
    full = sum(_is_full(composer, record) for record in records)
    return BatchCounts(
        stored=len(merged.touched),
        unchanged=max(0, batch.fetched - len(merged.touched) - len(unusable)),
        quarantined=len(unusable) + len(batch.damaged),
        full=full,
        partial=len(records) - full,
        notes=merged.notes,
        inserted=merged.inserted,
        touched=merged.touched,
    )


def _is_full(composer: Composer, record: Record) -> bool:
    row = composer.main_row(record.rows)
    return all(row[name] is not None for name in composer.family.normal)


async def _with_stored(
    writer: Writer, composer: Composer, batch: Batch, unusable: list[tuple[bytes, str]]
) -> list[Record]:
    """The records to store, those that need it merged with their stored version."""
    needed = [record.key for record in batch.records if record.needs_stored]
    if not needed:
        return list(batch.records)
    known = await stored(writer.connection, composer.family.table, writer.account_id, needed)
    records = []
    for number, record in enumerate(batch.records):
        if number % TURN == 0:
            await asyncio.sleep(0)
        before = known.get(record.key)
        try:
            records.append(composer.composed(record, before.raw) if before else record)
        except Unusable as error:
            unusable.append((record.versions.newest, str(error)))
    return records


async def _under_own_keys(writer: Writer, composer: Composer, records: Sequence[Record]) -> list[Record]:
    """The records, those that share their key with another one under a key of their own (sync/twins)."""
    family = composer.family
    keys = await twins.keys(writer, family.table, [composer.main_row(record.rows) for record in records])
    return [
        record
        if "/".join(key) == record.key or not record.rows
        else replace(
            record,
            key="/".join(key),
            rows=family.renamed(record.rows, dict(zip(family.table.key, key, strict=True))),
        )
        for record, key in zip(records, keys, strict=True)
    ]


@dataclass
class _MergedRecords:
    """Keys of new and changed records, how many of them have each note, and how many are new."""

    touched: set[str] = field(default_factory=set)
    notes: Counter[tuple[str, str]] = field(default_factory=Counter)
    inserted: int = 0

    def add(self, other: _MergedRecords) -> None:
        self.touched |= other.touched
        self.notes += other.notes
        self.inserted += other.inserted


async def _merge(writer: Writer, composer: Composer, records: Iterable[Record]) -> _MergedRecords:
    """Merge the newest version of each record."""
    family = composer.family
    # One INSERT ... ON CONFLICT must not contain a key twice, but a page may show a record in two versions.
    newest: dict[str, Record] = {}
    for record in records:
        # The later one of two with the same version.
        if not _is_older(composer, record, newest.get(record.key)):
            newest[record.key] = record
    merged = await merge(writer, family.table, [composer.main_row(record.rows) for record in newest.values()])
    touched = {"/".join(key) for key in merged.touched}
    # Child rows change only with their record, so those of an older version are skipped with it.
    for table in family.tables[1:] if touched else ():
        children = [row for key in touched for row in newest[key].rows[table.name]]
        # A new record has no children to remove. If a child could not be read, it may be any of the stored ones that
        # did not come: none is removed.
        parents = [key for key in merged.updated if table.name not in newest["/".join(key)].notes.unsure]
        await merge_parts(writer, table, parents, children)
    notes = Counter(note for key in touched for note in newest[key].notes.fields)
    return _MergedRecords(touched, notes, len(merged.inserted))


def _is_older(composer: Composer, record: Record, other: Record | None) -> bool:
    version = composer.family.table.version
    if not version or other is None:
        return False
    return bool(composer.main_row(record.rows)[version] < composer.main_row(other.rows)[version])


async def _note_details(writer: Writer, batch: Batch, touched: Collection[str]) -> None:
    """Note which details are still due. A failed detail is fetched again later; a new version of its record starts the
    count again."""
    arrived: list[str] = []
    failed: dict[str, tuple[int, str | None]] = {}
    for record in batch.records:
        before = batch.pending.get(record.key)
        if before and record.versions.detail:
            if record.key not in batch.again:
                arrived.append(record.key)
        elif before and before.attempts and record.key in touched and record.key not in batch.incomplete:
            failed[record.key] = (1, before.reason)
    for key, reason in batch.incomplete.items():
        before = batch.pending.get(key)
        failed[key] = (1 if before is None or key in touched else before.attempts + 1, reason)
    await pending_details.arrived(writer, arrived)
    await pending_details.read_again(writer, batch.again)
    await pending_details.failed(writer, failed)
    await pending_details.due(writer, sorted(batch.due - batch.pending.keys()))
