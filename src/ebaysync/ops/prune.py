"""Housekeeping: what is older than set is deleted, emptied or erased, a little at a time.

Every batch is a transaction of its own, with a pause after it; rows that somebody else is writing are left for the
next night, so that running work never waits for more than one batch. Two prunes take turns. Interrupted, all that
was done stays done, and the next one goes on.

Tables are walked in the order in which they were filled, a bounded number of rows at each step, so that neither rows
that are kept nor dead ones are read twice. Why not partitions: runs of one day do not go together (those that found
nothing go after QUIET_DAYS, the others after months), and rows deleted at the head of a table are what vacuum is
good at; benchmarks/long_life.py has the figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.errors import Interrupted
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.ops.signals import Stop
from ebaysync.store import age
from ebaysync.store.age import Aged
from ebaysync.store.database import Database
from ebaysync.store.table import Table

QUIET_DAYS = 7
PENDING_DAYS = 7  # a consent that `accounts connect` has not gone on with
ROWS = 5000  # looked at in one transaction
BLOCKS = 256  # of 8 kB, of tables whose rows are emptied or erased
PAUSE = 0.05  # seconds after a transaction that changed something

SWEPT_DAYS = max(family.sweep.days for family in discover().values() if family.sweep)
"""Payloads this young are compared with what the sweep reads."""

_TURN = "SELECT pg_advisory_xact_lock(1700946298)"  # the number after the migrations'


@dataclass(frozen=True)
class Keep:
    """For how many days what is kept; None: for ever."""

    runs: int
    logs: int
    events: int | None = None
    raw: int | None = None
    addresses: int | None = None


async def counted(db: Database, keep: Keep) -> dict[str, int]:
    """How many rows of each kind `pruned` would touch now."""
    quiet = min(QUIET_DAYS, keep.runs)
    [runs] = await db.rows(_COUNT_RUNS, days=keep.runs, quiet_days=quiet)
    found = {"quiet_runs": runs.quiet, "runs": runs.others}
    for one in _dated(keep):
        if await _is_there(db, one.table):
            [row] = await db.rows(one.count, days=one.days)
            found[one.name] = row.old
    for name, aged in [*_payloads(keep), *_persons(keep)]:
        number = await db.transact(lambda connection, a=aged: age.count(connection, a))  # type: ignore[misc]
        found[name] = found.get(name, 0) + number
    return found


async def pruned(db: Database, keep: Keep, stop: Stop, told: Callable[[int], None] = lambda _: None) -> dict[str, int]:
    """Do it; how many rows of each kind. Raises Interrupted between two batches."""
    found: Counter[str] = Counter()
    async for changed in _batches(db, keep):
        found.update(changed)
        told(found.total())
        if any(changed.values()):
            await stop.sleep(PAUSE)
        elif stop.signum is not None:
            raise Interrupted(stop.signum)
    return dict(found)


async def _batches(db: Database, keep: Keep) -> AsyncIterator[dict[str, int]]:
    """What each transaction has changed."""
    async for changed in _runs(db, keep):
        yield changed
    for one in _dated(keep):
        if await _is_there(db, one.table):
            async for number in _walk(db, one):
                yield {one.name: number}
    for name, aged in _payloads(keep):
        async for number in _walk_blocks(db, aged, age.empty_payloads):
            yield {name: number}
    for name, aged in _persons(keep):
        async for number in _walk_blocks(db, aged, age.erase_personal):
            yield {name: number}


async def _turn(db: Database, query: str, **values: Any) -> Any:
    """The one row of a step, when no other prune is at one."""

    async def work(connection: AsyncConnection) -> Any:
        await connection.execute(text(_TURN))
        return (await connection.execute(text(query), values)).one()

    return await db.transact(work)


async def _runs(db: Database, keep: Keep) -> AsyncIterator[dict[str, int]]:
    """Old runs with their log lines; earlier, those that found nothing."""
    at, after = datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)
    quiet = min(QUIET_DAYS, keep.runs)
    while True:
        row = await _turn(db, _PRUNE_RUNS, at=at, after=after, days=keep.runs, quiet_days=quiet, rows=ROWS)
        yield {"quiet_runs": row.quiet, "runs": row.others}
        if row.seen < ROWS:
            return
        at, after = row.at, UUID(row.id)


_QUIET = """r.status = 'completed'
    AND r.summary_json @> '{"stored": 0, "removed": 0, "quarantined": 0, "error": null}'"""
_DONE = "(r.status <> 'running' OR r.heartbeat_at < clock_timestamp() - interval '1 day')"
_OLD_RUNS = f"""
SELECT r.id, r.started_at, {_QUIET} AS quiet,
    {_DONE} AND ({_QUIET} OR r.started_at < clock_timestamp() - make_interval(days => :days)) AS old
FROM ebay_worker_run r WHERE r.started_at < clock_timestamp() - make_interval(days => :quiet_days)
"""  # noqa: S608
_COUNT_RUNS = f"""
SELECT count(*) FILTER (WHERE quiet) AS quiet, count(*) FILTER (WHERE quiet IS NOT TRUE) AS others
FROM ({_OLD_RUNS}) r WHERE old
"""  # noqa: S608
_PRUNE_RUNS = f"""
WITH step AS ({_OLD_RUNS} AND (r.started_at, r.id) > (:at, :after) ORDER BY r.started_at, r.id LIMIT :rows),
gone AS (DELETE FROM ebay_worker_run r USING step WHERE r.id = step.id AND step.old RETURNING step.quiet)
SELECT (SELECT count(*) FROM step) AS seen, max(last.started_at) AS at, max(CAST(last.id AS text)) AS id,
    (SELECT count(*) FROM gone WHERE quiet) AS quiet, (SELECT count(*) FROM gone WHERE quiet IS NOT TRUE) AS others
FROM (SELECT * FROM step ORDER BY started_at DESC, id DESC LIMIT 1) last
"""  # noqa: S608


@dataclass(frozen=True)
class _Dated:
    """A table whose rows go when they are so many days old, in the order of their ids, which is that of their times."""

    name: str
    table: str
    time: str
    days: int
    key: str = "id"

    @property
    def _old(self) -> str:
        return f"{self.time} < clock_timestamp() - make_interval(days => :days)"

    @property
    def count(self) -> str:
        return f"SELECT count(*) AS old FROM {self.table} WHERE {self._old}"  # noqa: S608

    @property
    def step(self) -> str:
        return f"""
            WITH step AS (
                SELECT id, {self._old} AS old FROM {self.table} WHERE id > :after ORDER BY id LIMIT :rows),
            gone AS (DELETE FROM {self.table} t USING step WHERE t.id = step.id AND step.old RETURNING 1)
            SELECT count(*) = :rows AND bool_or(old) AS more, max(id) AS id, (SELECT count(*) FROM gone) AS gone
            FROM step"""  # noqa: S608


def _dated(keep: Keep) -> list[_Dated]:
    found = [
        _Dated("log_lines", "ebay_api_worker_log", "at", keep.logs),
        _Dated("quarantine", "ebay_quarantine", "at", keep.runs),
        _Dated("token_refreshes", "ebay_token_refresh_log", "attempted_at", keep.runs),
        _Dated("api_usage", "ebay_api_usage", "quota_day", keep.runs, key=""),
        _Dated("pending_consents", "ebay_pending_consents", "consented_at", min(PENDING_DAYS, keep.runs), key=""),
    ]
    if keep.events:
        found.append(_Dated("events", "ebay_events", "observed_at", keep.events))
    return found


async def _is_there(db: Database, table: str) -> bool:
    [row] = await db.rows("SELECT to_regclass(:name) IS NOT NULL AS there", name=table)
    return bool(row.there)


async def _walk(db: Database, one: _Dated) -> AsyncIterator[int]:
    if not one.key:  # a few rows a day
        query = f"WITH gone AS (DELETE FROM {one.table} WHERE {one._old} RETURNING 1) SELECT count(*) AS gone FROM gone"  # noqa: S608
        yield (await _turn(db, query, days=one.days)).gone
        return
    after = 0
    while True:
        row = await _turn(db, one.step, after=after, days=one.days, rows=ROWS)
        yield row.gone
        if not row.more:
            return
        after = row.id


def _payloads(keep: Keep) -> list[tuple[str, Aged]]:
    if keep.raw is None:
        return []
    days = max(keep.raw, SWEPT_DAYS)
    return [("payloads", _aged(family, table, days)) for family in discover().values() for table in family.tables]


def _aged(family: Family, table: Table, days: int) -> Aged:
    """Of a snapshot what is gone: the rest is the present, and read again every hour. Of records that have an end
    those that have come to it: what is open is put together from what is stored."""
    detail = family.detail if table is family.table else None
    return age.payloads_older(
        table,
        days,
        removed=family.cursor_type == "snapshot",
        final=(detail.open_column, detail.final) if detail and detail.open_column else None,
        waiting=family.name if detail else None,
    )


def _persons(keep: Keep) -> list[tuple[str, Aged]]:
    if keep.addresses is None:
        return []
    found = []
    for family in discover().values():
        for table in family.tables:
            if table.personal and table.dated:
                found.append(("addresses", age.persons_older(table, keep.addresses)))
            elif table.personal:
                found.append(("gift_details", age.persons_older(table, keep.addresses, family.table)))
    return found


async def _walk_blocks(db: Database, aged: Aged, change: Callable[..., Any]) -> AsyncIterator[int]:
    end = await db.transact(lambda connection: age.blocks(connection, aged.table))
    for start in range(0, end, BLOCKS):

        async def work(connection: AsyncConnection, start: int = start) -> int:
            await connection.execute(text(_TURN))
            return int(await change(connection, aged, start, start + BLOCKS))

        yield await db.transact(work)
