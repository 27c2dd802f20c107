"""Deletes, empties or erases data past its retention, a little at a time.

Each batch is a transaction with a pause after it. Rows that somebody else is writing are left for the next night, so
running work waits for at most one batch. Two prunes take turns. If interrupted, what was done stays done, and the next
prune goes on.

Tables are walked in the order in which they were filled, with a bounded number of rows per step, so that neither kept
rows nor dead ones are read twice. Partitions would not help: the runs of one day do not expire together (quiet ones
after QUIET_DAYS, the others after months), and vacuum copes well with rows that are deleted at the head of a table. See
benchmarks/long_life.py for figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Select,
    TableClause,
    Text,
    cast,
    column,
    func,
    literal,
    select,
    table,
    tuple_,
)

from ebaysync.errors import Interrupted
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.store import age
from ebaysync.store.age import Aged
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database
from ebaysync.store.table import Table
from ebaysync.sync.state.run_log import WORKER_RUN
from ebaysync.sync.stop import Stop

QUIET_DAYS = 7
PENDING_DAYS = 7  # for a consent that `accounts connect` did not finish
ROWS = 5000  # looked at per transaction
BLOCKS = 256  # blocks of 8 kB per transaction, for tables whose rows are emptied or erased
PAUSE = 0.05  # seconds after a transaction that changed something

SWEPT_DAYS = max(family.window.sweep.days for family in discover().values() if family.window.sweep)
"""Younger payloads are needed, because the sweep compares with them."""

# Not a session lock: behind PgBouncer, the next transaction may have another session.
_TURN = "SELECT pg_advisory_xact_lock(1700946298)"  # the next number after the lock of the migrations


@dataclass(frozen=True)
class Keep:
    """Days to keep each kind of data; None is for ever."""

    runs: int
    logs: int
    events: int | None = None
    raw: int | None = None
    addresses: int | None = None


async def counted(db: Database, keep: Keep) -> dict[str, int]:
    """How many rows of each kind `pruned` would change now."""
    quiet = min(QUIET_DAYS, keep.runs)
    old = _old_runs(keep.runs, quiet).subquery("old_run")
    numbers = _quiet_and_others(old.c.quiet).select_from(old)
    [runs] = await db.rows(numbers.where(old.c.old))
    found = {"quiet_runs": runs.quiet, "runs": runs.others}
    for one in _dated(keep):
        if await _is_there(db, one.table.name):
            [row] = await db.rows(select(func.count().label("old")).select_from(one.table).where(one.old))
            found[one.name] = row.old
    for name, aged in [*_payloads(keep), *_persons(keep)]:
        number = await db.read(lambda connection, a=aged: age.count(connection, a))  # type: ignore[misc]
        found[name] = found.get(name, 0) + number
    return found


async def pruned(
    db: Database, keep: Keep, stop: Stop, on_progress: Callable[[int], None] = lambda _: None
) -> dict[str, int]:
    """Prune; return the number of rows of each kind. Raises Interrupted between two batches."""
    found: Counter[str] = Counter()
    async for changed in _batches(db, keep):
        found.update(changed)
        on_progress(found.total())
        if any(changed.values()):
            await stop.sleep(PAUSE)
        elif stop.signum is not None:
            raise Interrupted(stop.signum)
    return dict(found)


async def _batches(db: Database, keep: Keep) -> AsyncIterator[dict[str, int]]:
    """Yields what each transaction changed."""
    async for changed in _runs(db, keep):
        yield changed
    for one in _dated(keep):
        if await _is_there(db, one.table.name):
            async for number in _walk(db, one):
                yield {one.name: number}
    for name, aged in _payloads(keep):
        async for number in _walk_blocks(db, aged, age.empty_payloads):
            yield {name: number}
    for name, aged in _persons(keep):
        async for number in _walk_blocks(db, aged, age.erase_personal):
            yield {name: number}


async def _turn(db: Database, query: Executable) -> Any:
    """Run one step and return its one row. Waits while another prune runs a step."""

    async def work(connection: Connection) -> Any:
        await connection.execute(_TURN)
        return (await connection.execute(query)).one()

    return await db.transact(work)


async def _runs(db: Database, keep: Keep) -> AsyncIterator[dict[str, int]]:
    """Delete old runs with their log lines, and quiet runs earlier."""
    at, after = datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)
    quiet = min(QUIET_DAYS, keep.runs)
    while True:
        row = await _turn(db, _prune_runs(_old_runs(keep.runs, quiet), at, after))
        yield {"quiet_runs": row.quiet, "runs": row.others}
        if row.seen < ROWS:
            return
        at, after = row.at, UUID(row.id)


_FOUND_NOTHING = {"stored": 0, "removed": 0, "quarantined": 0, "error": None}


def _older(time: ColumnElement[Any], days: int) -> ColumnElement[bool]:
    return time < func.clock_timestamp() - func.make_interval(0, 0, 0, days)


def _old_runs(days: int, quiet_days: int) -> Select[Any]:
    """Runs older than `quiet_days`: whether each found nothing (`quiet`), and whether to delete it (`old`)."""
    run = WORKER_RUN.c
    quiet = (run.status == "completed") & run.summary_json.contains(_FOUND_NOTHING)
    # A run that was killed stays "running" until another one takes its lease.
    abandoned = run.heartbeat_at < func.clock_timestamp() - func.make_interval(0, 0, 0, 1)
    done = (run.status != "running") | abandoned
    old = done & (quiet | _older(run.started_at, days))
    columns = (run.id, run.started_at, quiet.label("quiet"), old.label("old"))
    return select(*columns).where(_older(run.started_at, quiet_days))


def _quiet_and_others(quiet: ColumnElement[Any]) -> Select[int, int]:
    counted = func.count()
    return select(counted.filter(quiet).label("quiet"), counted.filter(quiet.is_not(True)).label("others"))


def _prune_runs(runs: Select[Any], at: datetime, after: UUID) -> Select[Any]:
    """Look at the next ROWS runs and delete the old ones. Returns the last position and the numbers."""
    run = WORKER_RUN.c
    # A row comparison, which an index answers. OFFSET would read the rows before it again at every step.
    next_ones = runs.where(tuple_(run.started_at, run.id) > tuple_(literal(at), literal(after)))
    step = next_ones.order_by(run.started_at, run.id).limit(ROWS).cte("step")
    gone = WORKER_RUN.delete().where(run.id == step.c.id, step.c.old).returning(step.c.quiet).cte("gone")
    last = select(step.c.started_at, step.c.id).order_by(step.c.started_at.desc(), step.c.id.desc()).limit(1)
    last_one, deleted = last.subquery("last"), func.count()
    return select(
        select(func.count()).select_from(step).scalar_subquery().label("seen"),
        func.max(last_one.c.started_at).label("at"),
        func.max(cast(last_one.c.id, Text)).label("id"),
        select(deleted.filter(gone.c.quiet)).select_from(gone).scalar_subquery().label("quiet"),
        select(deleted.filter(gone.c.quiet.is_not(True))).select_from(gone).scalar_subquery().label("others"),
    ).select_from(last_one)


@dataclass(frozen=True)
class _Dated:
    """A table whose rows are deleted after some days. Ids and times have the same order.

    With `in_steps` false the table has no id and gets a few rows a day, so one statement deletes the old ones.
    """

    name: str
    table: TableClause
    time: str
    days: int
    in_steps: bool = True

    @property
    def old(self) -> ColumnElement[bool]:
        return _older(self.table.c[self.time], self.days)

    def step(self, after: int) -> Select[Any]:
        """Look at the next ROWS rows after that id and delete the old ones."""
        own = self.table.c
        step = select(own.id, self.old.label("old")).where(own.id > after).order_by(own.id).limit(ROWS).cte("step")
        old = self.table.delete().where(own.id == step.c.id, step.c.old)
        gone = old.returning(literal(1).label("one")).cte("gone")
        return select(
            ((func.count() == ROWS) & func.bool_or(step.c.old)).label("more"),
            func.max(step.c.id).label("id"),
            select(func.count()).select_from(gone).scalar_subquery().label("gone"),
        ).select_from(step)

    def all_at_once(self) -> Select[Any]:
        gone = self.table.delete().where(self.old).returning(literal(1).label("one")).cte("gone")
        return select(func.count().label("gone")).select_from(gone)


def _dated(keep: Keep) -> list[_Dated]:
    pending = min(PENDING_DAYS, keep.runs)
    found = [
        _Dated("log_lines", _rows("ebay_api_worker_log", "at"), "at", keep.logs),
        _Dated("quarantine", _rows("ebay_quarantine", "at"), "at", keep.runs),
        _Dated("token_refreshes", _rows("ebay_token_refresh_log", "attempted_at"), "attempted_at", keep.runs),
        _Dated("api_usage", _rows("ebay_api_usage", "quota_day"), "quota_day", keep.runs, in_steps=False),
        _Dated(
            "pending_consents", _rows("ebay_pending_consents", "consented_at"), "consented_at", pending, in_steps=False
        ),
    ]
    if keep.events:
        found.append(_Dated("events", _rows("ebay_events", "observed_at"), "observed_at", keep.events))
    return found


def _rows(name: str, time: str) -> TableClause:
    """A table with its id and the time that its age is measured from."""
    return table(name, column("id", BigInteger), column(time, DateTime(timezone=True)))


async def _is_there(db: Database, table: str) -> bool:
    [row] = await db.rows("SELECT to_regclass(:name) IS NOT NULL AS there", name=table)
    return bool(row.there)


async def _walk(db: Database, one: _Dated) -> AsyncIterator[int]:
    if not one.in_steps:
        yield (await _turn(db, one.all_at_once())).gone
        return
    after = 0
    while True:
        row = await _turn(db, one.step(after))
        yield row.gone
        if not row.more:
            return
        after = row.id


def _payloads(keep: Keep) -> list[tuple[str, Aged]]:
    if keep.raw is None:
        return []
    days = max(keep.raw, SWEPT_DAYS)
    return [("payloads", _aged(family, each, days)) for family in discover().values() for each in family.tables]


def _aged(family: Family, table: Table, days: int) -> Aged:
    """Selects payloads to empty: removed records of a snapshot, and final records of a family with details.

    Present records of a snapshot are read again every hour, and an open record is put together from its stored payload.
    """
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
        for one in family.tables:
            if one.personal and one.dated_by:
                found.append(("addresses", age.persons_older(one, keep.addresses)))
            elif one.personal:
                found.append(("gift_details", age.persons_older(one, keep.addresses, family.table)))
    return found


async def _walk_blocks(db: Database, aged: Aged, change: Callable[..., Any]) -> AsyncIterator[int]:
    # Rows that are written meanwhile are left for the next night.
    end = await db.read(lambda connection: age.blocks(connection, aged.table))
    for start in range(0, end, BLOCKS):

        async def work(connection: Connection, start: int = start) -> int:
            await connection.execute(_TURN)
            return int(await change(connection, aged, start, start + BLOCKS))

        yield await db.transact(work)
