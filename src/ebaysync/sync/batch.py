"""Hops 3 and 4: a portion's records become rows, are completed by details, and are stored in one transaction.

A record that cannot be stored goes to quarantine, with its bytes and the reason, in that same transaction. eBay is
asked before the transaction begins, never in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.ebay.rest import Api
from ebaysync.errors import AccessDenied, EbayBusy, EbayError, EbayUnreachable, Unauthorized
from ebaysync.families.base import Family, Rows, Unusable
from ebaysync.store.database import Database, RowRefused
from ebaysync.store.merge import merge, stored
from ebaysync.store.table import Row
from ebaysync.sync.sources import Calls

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    raw: bytes
    rows: Rows


@dataclass
class Batch:
    """What one portion holds: records to store, records that are known to be stored already, and the unusable."""

    records: list[Record] = field(default_factory=list)
    current: int = 0
    unusable: list[tuple[bytes, str]] = field(default_factory=list)
    incomplete: list[tuple[bytes, str]] = field(default_factory=list)
    """stored as the list has them, because their details cannot be had"""

    @property
    def fetched(self) -> int:
        return len(self.records) + self.current + len(self.unusable)

    def take(self, family: Family, raw: bytes) -> None:
        try:
            self.records.append(Record(raw, family.rows(raw)))
        except Unusable as error:
            self.unusable.append((raw, str(error)))


@dataclass(frozen=True)
class Stored:
    stored: int
    unchanged: int
    quarantined: int


async def prepare(
    db: Database,
    api: Api,
    family: Family,
    calls: Calls,
    account_id: UUID,
    records: Sequence[bytes],
    progressed: Callable[[], None],
) -> Batch:
    """Records as they came from a list, completed by a second call where the family wants one."""
    batch = Batch()
    for raw in records:
        batch.take(family, raw)
    if family.detail and calls.detail:
        await _complete(db, api, family, calls, account_id, batch, progressed)
    return batch


async def _complete(
    db: Database,
    api: Api,
    family: Family,
    calls: Calls,
    account_id: UUID,
    batch: Batch,
    progressed: Callable[[], None],
) -> None:
    assert family.detail
    wanted = {_key(family, r): r for r in batch.records if family.detail.wanted(_row(family, r))}
    if not wanted:
        return
    known = await db.transact(lambda connection: stored(connection, family.table, account_id, list(wanted)))
    current = {key for key, raw in known.items() if family.detail.current(_row(family, wanted[key]), raw)}
    batch.records = [r for r in batch.records if _key(family, r) not in wanted]
    batch.current = len(current)
    missing = [key for key in wanted if key not in current]
    answers = await _details(api, calls, missing, progressed)
    for key, answer in zip(missing, answers, strict=True):
        if not isinstance(answer, EbayError):
            try:
                batch.records.append(Record(answer, family.rows(answer)))
                continue
            except Unusable as error:
                reason = f"the detail: {error}"
        else:
            reason = answer.message
        batch.incomplete.append((wanted[key].raw, f"{reason}; the list's version is stored"))
        batch.records.append(wanted[key])


async def _details(
    api: Api, calls: Calls, keys: Sequence[str], progressed: Callable[[], None]
) -> list[bytes | EbayError]:
    """Each record by its key, or why it cannot be had. Raises EbayError when that is no matter of single records."""

    async def one(key: str) -> bytes | EbayError:
        assert calls.detail
        try:
            return await calls.detail(api, key)
        except EbayError as error:
            if not _concerns_one_record(error):
                raise
            return error
        finally:
            progressed()

    tasks = [asyncio.create_task(one(key)) for key in keys]
    try:
        answers = list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, EbayError) and answer.transient]
    if len(failed) == len(answers) > 1:
        raise failed[0]
    return answers


def _concerns_one_record(error: EbayError) -> bool:
    """One record that eBay fails on, today or for ever, must not keep the seller's others from being stored. A token,
    a scope, a limit or a connection is no matter of one record."""
    if isinstance(error, Unauthorized | AccessDenied | EbayUnreachable):
        return False
    return not (isinstance(error, EbayBusy) and error.status == 429)


async def store(
    db: Database,
    connection: AsyncConnection,
    family: Family,
    account_id: UUID,
    run_id: UUID | None,
    batch: Batch,
    *,
    one_by_one: bool,
) -> Stored:
    """Inside the caller's transaction. With `one_by_one` each record has a savepoint of its own, and one that
    PostgreSQL refuses goes to quarantine; without, RowRefused means: undo, and come again with it."""
    records = await _keep(connection, family, account_id, batch.records)
    unusable = list(batch.unusable)
    if one_by_one:
        count = 0
        for record in records:
            try:
                async with db.translated(), connection.begin_nested():
                    count += await _merge(connection, family, account_id, run_id, [record])
            except RowRefused as error:
                unusable.append((record.raw, str(error)))
    else:
        count = await _merge(connection, family, account_id, run_id, records)
    await _quarantine(connection, family, account_id, run_id, [*unusable, *batch.incomplete])
    return Stored(count, batch.fetched - count - len(unusable), len(unusable) + len(batch.incomplete))


async def _keep(connection: AsyncConnection, family: Family, account_id: UUID, records: list[Record]) -> list[Record]:
    """Records that eBay sends without something that is stored get it back from there."""
    if family.keep is None or family.keep_when is None:
        return records
    lacking = [_key(family, r) for r in records if family.keep_when(_row(family, r))]
    if not lacking:
        return records
    known = await stored(connection, family.table, account_id, lacking)
    kept = []
    for record in records:
        before = known.get(_key(family, record))
        kept.append(Record(record.raw, family.rows(family.keep(before, record.raw))) if before else record)
    return kept


async def _merge(
    connection: AsyncConnection, family: Family, account_id: UUID, run_id: UUID | None, records: Iterable[Record]
) -> int:
    """The number of records that are new or changed."""
    records = list(records)
    rows = [_row(family, record) for record in records]
    merged = await merge(connection, family.table, account_id, rows, family=family.name, run_id=run_id)
    # The parts of a record that is stored in a newer version are as old as it is.
    records = [r for r in records if family.table.text_key(_row(family, r)) not in merged.stale]
    for table in family.tables[1:]:
        parts = [row for record in records for row in record.rows[table.name]]
        await merge(connection, table, account_id, parts, family=family.name, run_id=run_id)
    return len(merged.touched)


async def _quarantine(
    connection: AsyncConnection,
    family: Family,
    account_id: UUID,
    run_id: UUID | None,
    unusable: Sequence[tuple[bytes, str]],
) -> None:
    for raw, reason in unusable:
        log.warning("%s: a record goes to quarantine: %s", family.name, reason)
        await connection.execute(
            text(
                "INSERT INTO ebay_quarantine (ebay_account_id, api_family, run_id, reason, payload)"
                " VALUES (:account, :family, :run, :reason, :payload) ON CONFLICT DO NOTHING"
            ),
            {"account": account_id, "family": family.name, "run": run_id, "reason": reason, "payload": raw},
        )


def _row(family: Family, record: Record) -> Row:
    return record.rows[family.table.name][0]


def _key(family: Family, record: Record) -> str:
    return str(_row(family, record)[family.table.key[0]])
