"""Runs, their logs, and changes of records, newest first. No query reads a whole table.

A query for some accounts or families asks for each account and family (or table) separately, LIMIT rows each, so that
the index on exactly that pair answers, however old the rows are. The condition is written with BETWEEN, and ORDER BY
names the whole index. With two equality conditions PostgreSQL infers that the order by time is enough, and may walk the
index on time alone through everybody else's rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Float, Select, Subquery, Text, Uuid, cast, func, literal_column, select, true, tuple_

from ebaysync.accounts.accounts import ACCOUNTS
from ebaysync.errors import UsageError
from ebaysync.families import discover
from ebaysync.store.database import Database, each
from ebaysync.sync.state.run_log import WORKER_RUN
from ebaysync.sync.state.sync_state import iso

STATUSES = ("running", "completed", "error", "interrupted")


async def runs(
    db: Database, accounts: Sequence[UUID], family: str | None, status: str | None, limit: int
) -> list[dict[str, Any]]:
    """The newest runs. No accounts means all."""
    if accounts or family or status in ("running", "error", "interrupted"):
        ids = list(accounts) or await _all_accounts(db)
        newest = _runs_of_each(ids, [family] if family else list(discover()), status, limit)
    else:
        newest = _with_status(select(WORKER_RUN), status).order_by(WORKER_RUN.c.started_at.desc()).limit(limit)
    rows = await db.rows(_named(newest.subquery("r")))
    return [_run(row) | {"seconds": row.seconds, "summary": row.summary_json} for row in rows]


def _run(row: Any) -> dict[str, Any]:
    return {
        "run_id": str(row.id),
        "account": row.name,
        "family": row.api_family,
        "status": row.status,
        "trigger": row.trigger,
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
    }


async def _all_accounts(db: Database) -> list[UUID]:
    return [row.id for row in await db.rows("SELECT id FROM ebay_accounts")]


def _named(runs: Subquery) -> Select[Any]:
    """The runs with their account's name and duration, newest first."""
    took = func.coalesce(runs.c.finished_at, func.clock_timestamp()) - runs.c.started_at
    seconds = cast(func.extract("epoch", took), Float).label("seconds")
    joined = runs.join(ACCOUNTS, ACCOUNTS.c.id == runs.c.ebay_account_id)
    return select(ACCOUNTS.c.name, *runs.c, seconds).select_from(joined).order_by(runs.c.started_at.desc())


def _runs_of_each(accounts: Sequence[UUID], families: Sequence[str], status: str | None, limit: int) -> Select[Any]:
    """The newest runs, asked for each account and family separately (see above)."""
    run = WORKER_RUN.c
    account, family = each("account", Uuid, accounts), each("family", Text, families)
    pair = tuple_(account.c.value, family.c.value)
    newest = (
        _with_status(select(WORKER_RUN), status)
        .where(tuple_(run.ebay_account_id, run.api_family).between(pair, pair))
        .order_by(run.ebay_account_id, run.api_family, run.started_at.desc())
        .limit(limit)
        .lateral("one")
    )
    every = account.join(family, true()).join(newest, true())
    return select(newest).select_from(every).order_by(newest.c.started_at.desc()).limit(limit)


def _with_status(query: Select[Any], status: str | None) -> Select[Any]:
    """Add the condition on the status. The partial index needs `status <> 'completed'`."""
    if status is None:
        return query
    if status != "completed":
        # A literal: for a parameter, PostgreSQL could not know that the partial index fits.
        query = query.where(WORKER_RUN.c.status != literal_column("'completed'"))
    return query.where(WORKER_RUN.c.status == status)


async def log(db: Database, run: str) -> dict[str, Any]:
    """One run, by its id or the first part of it, with its log lines. Raises UsageError."""
    digits = run.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        raise UsageError(f"{run!r} is no run's id, nor the beginning of one", hint="see: ebaysync runs")
    # A range of ids, which the primary key answers. Compared as texts, all runs would be read.
    first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    found = await db.rows(_RUN, first=first, last=last)
    if not found:
        raise UsageError(f"there is no run {run}", hint="see: ebaysync runs; old ones are pruned")
    if len(found) > 1:
        raise UsageError(f"{run} is the beginning of several runs' ids", hint="give more of it")
    [row] = found
    lines = await db.rows(_LINES, run=row.id)
    return _run(row) | {
        "lines": [{"at": iso(line.at), "kind": line.kind, "details": line.details} for line in lines],
    }


_RUN = """
SELECT r.*, a.name FROM ebay_worker_run r JOIN ebay_accounts a ON a.id = r.ebay_account_id
WHERE r.id BETWEEN :first AND :last LIMIT 2
"""
_LINES = "SELECT at, kind, details FROM ebay_api_worker_log WHERE run_id = :run ORDER BY id"


@dataclass(frozen=True)
class EventFilter:
    """Which changes of records are wanted. No accounts means all, and None as well."""

    accounts: Sequence[UUID] = ()
    family: str | None = None
    table: str | None = None
    key: str | None = None
    since: datetime | None = None


async def events(db: Database, wanted: EventFilter, limit: int) -> list[dict[str, Any]]:
    """The newest changes of records. Raises UsageError if there is no such table."""
    tables = _tables(wanted.family, wanted.table)
    some = wanted.accounts or wanted.family or wanted.table
    query = _EVENTS_OF_KEY if wanted.key else _EVENTS_OF_EACH if some else _EVENTS
    ids = list(wanted.accounts) or await _all_accounts(db)
    rows = await db.rows(query, accounts=ids, tables=tables, key=wanted.key, since=wanted.since, limit=limit)
    return [
        {
            "observed_at": iso(row.observed_at),
            "account": row.name,
            "family": row.api_family,
            "table": row.table_name,
            "key": row.entity_key,
            "event": row.event,
            "changes": row.changes,
            "run_id": str(row.run_id) if row.run_id else None,
        }
        for row in rows
    ]


def _tables(family: str | None, table: str | None) -> list[str]:
    known = [each.name for one in discover().values() if family in (None, one.name) for each in one.tables]
    if table and table not in known:
        raise UsageError(f"there is no table {table!r}", hint=f"tables: {', '.join(known)}")
    return [table] if table else known


_EVENTS = """
SELECT a.name, e.* FROM (
    SELECT * FROM ebay_events WHERE observed_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
    ORDER BY observed_at DESC LIMIT :limit) e
JOIN ebay_accounts a ON a.id = e.ebay_account_id
ORDER BY e.observed_at DESC, e.id DESC
"""
_EVENTS_OF_KEY = """
SELECT a.name, e.* FROM ebay_events e JOIN ebay_accounts a ON a.id = e.ebay_account_id
WHERE e.entity_key = :key AND e.observed_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
    AND e.ebay_account_id = ANY(:accounts) AND e.table_name = ANY(:tables)
ORDER BY e.observed_at DESC, e.id DESC LIMIT :limit
"""
_EVENTS_OF_EACH = """
SELECT a.name, e.* FROM (
    SELECT one.* FROM unnest(CAST(:accounts AS uuid[])) account, unnest(CAST(:tables AS text[])) tab,
        LATERAL (
            SELECT * FROM ebay_events
            WHERE (ebay_account_id, table_name) BETWEEN (account, tab) AND (account, tab)
                AND observed_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
            ORDER BY ebay_account_id, table_name, observed_at DESC LIMIT :limit) one
    ORDER BY one.observed_at DESC LIMIT :limit) e
JOIN ebay_accounts a ON a.id = e.ebay_account_id
ORDER BY e.observed_at DESC, e.id DESC
"""
