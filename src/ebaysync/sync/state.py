"""What is remembered of an account's family between runs, and the rows that tell of each run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.accounts.accounts import Account
from ebaysync.ebay.rest import stamp
from ebaysync.errors import DatabaseError
from ebaysync.families.base import Family
from ebaysync.store.database import Database


@dataclass(frozen=True)
class State:
    enabled: bool
    cursor: datetime | None


def iso(moment: datetime | None) -> str | None:
    """How a time is written in cursors and summaries: ISO 8601, UTC, milliseconds."""
    return stamp(moment) if moment else None


async def load(db: Database, account: Account, family: Family) -> State:
    """The state of a family; of one that never ran: enabled, without a cursor."""
    rows = await db.rows(
        "SELECT enabled, cursor_value FROM ebay_sync_state WHERE ebay_account_id = :account AND api_family = :family",
        account=account.id,
        family=family.name,
    )
    if not rows:
        return State(enabled=True, cursor=None)
    return State(rows[0].enabled, _cursor(account, family, rows[0].cursor_value))


def _cursor(account: Account, family: Family, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        cursor = datetime.fromisoformat(text)
    except ValueError:
        raise DatabaseError(
            f"{account.name} {family.name}: the stored cursor {text[:40]!r} is no time",
            hint="set ebay_sync_state.cursor_value to an ISO 8601 time, or to NULL to begin anew",
        ) from None
    return cursor if cursor.tzinfo else cursor.replace(tzinfo=UTC)


async def ensure(db: Database, account: Account, family: Family) -> None:
    """Make the state's row, where it is not there yet."""
    await db.execute(
        "INSERT INTO ebay_sync_state (ebay_account_id, ebay_user_id, api_family, cursor_type)"
        " VALUES (:account, :user, :family, :type) ON CONFLICT DO NOTHING",
        account=account.id,
        user=account.ebay_user_id,
        family=family.name,
        type=family.cursor_type,
    )


async def paused(connection: AsyncConnection) -> str | None:
    """The reason for the pause of everything, or None while work may go on."""
    row = (await connection.execute(text("SELECT workers_enabled, reason FROM ebay_worker_global_config"))).one()
    return None if row.workers_enabled else f"paused: {row.reason}" if row.reason else "paused"


async def move_cursor(connection: AsyncConnection, account_id: UUID, family: str, cursor: datetime) -> None:
    await connection.execute(
        text(
            "UPDATE ebay_sync_state SET cursor_value = :cursor, updated_at = clock_timestamp()"
            " WHERE ebay_account_id = :account AND api_family = :family"
        ),
        {"cursor": iso(cursor), "account": account_id, "family": family},
    )


async def begin_run(db: Database, account: Account, family: str, run_id: UUID, trigger: str) -> None:
    await db.execute(
        "INSERT INTO ebay_worker_run (id, ebay_account_id, ebay_user_id, api_family, trigger)"
        " VALUES (:id, :account, :user, :family, :trigger) ON CONFLICT DO NOTHING",
        id=run_id,
        account=account.id,
        user=account.ebay_user_id,
        family=family,
        trigger=trigger,
    )


async def note(connection: AsyncConnection, run_id: UUID, kind: str, details: Mapping[str, Any]) -> None:
    """A line of a run's log (`ebaysync logs`)."""
    await connection.execute(
        text("INSERT INTO ebay_api_worker_log (run_id, kind, details) VALUES (:run, :kind, CAST(:details AS jsonb))"),
        {"run": run_id, "kind": kind, "details": msgspec.json.encode(details).decode()},
    )


async def end_run(
    connection: AsyncConnection,
    account_id: UUID,
    family: str,
    run_id: UUID,
    status: str,
    error: str | None,
    summary: Mapping[str, Any],
    *,
    live: bool,
) -> None:
    """Close the run and, of a live one, tell the outcome in the family's state."""
    values = {
        "run": run_id,
        "account": account_id,
        "family": family,
        "status": status,
        "error": error,
        "summary": msgspec.json.encode(summary).decode(),
    }
    await connection.execute(text(_END), values)
    if live:
        await connection.execute(text(_OUTCOME), values)


_END = """
UPDATE ebay_worker_run SET status = :status, finished_at = clock_timestamp(), heartbeat_at = clock_timestamp(),
    summary_json = CAST(:summary AS jsonb)
WHERE id = :run AND status = 'running'
"""
_OUTCOME = """
UPDATE ebay_sync_state SET last_run_at = (SELECT started_at FROM ebay_worker_run WHERE id = :run),
    last_status = :status, last_error = :error, updated_at = clock_timestamp()
WHERE ebay_account_id = :account AND api_family = :family
"""


@dataclass(frozen=True)
class Backfill:
    """A backfill's span and how far it has come."""

    start: datetime
    end: datetime
    position: datetime


async def open_backfill(
    db: Database, account: Account, family: Family, days: int, start: datetime, end: datetime
) -> Backfill:
    """The unfinished backfill of as many days, if there is one, now up to `end`; else a new one of this span."""

    async def work(connection: AsyncConnection) -> Backfill:
        values = {"account": account.id, "family": family.name, "days": days, "start": start, "end": end}
        await connection.execute(text(_OPEN_BACKFILL), values)
        row = (await connection.execute(text(_READ_BACKFILL), values)).one()
        return Backfill(row.span_from, row.span_to, row.position)

    return await db.transact(work)


_OPEN_BACKFILL = """
INSERT INTO ebay_backfill AS b (ebay_account_id, api_family, days, span_from, span_to, position)
VALUES (:account, :family, :days, :start, :end, :start)
ON CONFLICT (ebay_account_id, api_family) DO UPDATE SET days = excluded.days, span_to = excluded.span_to,
    span_from = CASE WHEN b.finished_at IS NULL AND b.days = excluded.days THEN b.span_from ELSE excluded.span_from END,
    position = CASE WHEN b.finished_at IS NULL AND b.days = excluded.days THEN b.position ELSE excluded.position END,
    started_at = clock_timestamp(), finished_at = NULL
"""
_READ_BACKFILL = (
    "SELECT span_from, span_to, position FROM ebay_backfill WHERE ebay_account_id = :account AND api_family = :family"
)


async def move_backfill(connection: AsyncConnection, account_id: UUID, family: str, position: datetime) -> None:
    await connection.execute(
        text(
            "UPDATE ebay_backfill SET position = :position,"
            " finished_at = CASE WHEN :position >= span_to THEN clock_timestamp() END"
            " WHERE ebay_account_id = :account AND api_family = :family"
        ),
        {"position": position, "account": account_id, "family": family},
    )
