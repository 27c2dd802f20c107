"""What is remembered of an account's family between runs, and the rows that tell of each run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.accounts.accounts import Account
from ebaysync.ebay.rest import stamp
from ebaysync.errors import DatabaseError
from ebaysync.families.family import Family
from ebaysync.store.database import Database
from ebaysync.store.merge import Writer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    enabled: bool
    cursor: datetime | None
    sweep: datetime | None = None
    """how far the sweep's present round has come; None: at its beginning"""
    sweep_width: timedelta | None = None


@dataclass(frozen=True)
class Pending:
    """A detail that could not be had. `waits`: it is not yet time to ask again, or nobody asks any more."""

    attempts: int
    reason: str | None
    waits: bool


def iso(moment: datetime | None) -> str | None:
    """How a time is written in cursors and summaries: ISO 8601, UTC, milliseconds."""
    return stamp(moment) if moment else None


async def load(db: Database, account: Account, family: Family) -> State:
    """The state of a family; of one that never ran: without a cursor."""
    [row] = await db.rows(_LOAD, account=account.id, family=family.name)
    return State(
        row.enabled and row.enabled_for_all,
        _cursor(account, family, row.cursor_value),
        None if row.sweep_done else _cursor(account, family, row.sweep_cursor),
        timedelta(seconds=row.sweep_width_seconds) if row.sweep_width_seconds else None,
    )


_ENABLED = """coalesce(s.enabled, true) AS enabled,
    coalesce(CAST(g.defaults #>> ARRAY['families', :family, 'enabled'] AS boolean), true) AS enabled_for_all"""
_LOAD = f"""
SELECT {_ENABLED}, s.cursor_value, s.sweep_cursor, s.sweep_done, s.sweep_width_seconds
FROM ebay_worker_global_config g
LEFT JOIN ebay_sync_state s ON s.ebay_account_id = :account AND s.api_family = :family
"""  # noqa: S608


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
    await db.transact(lambda connection: _ensure(connection, account, family))


async def _ensure(connection: AsyncConnection, account: Account, family: Family) -> None:
    await connection.execute(
        text(
            "INSERT INTO ebay_sync_state (ebay_account_id, ebay_user_id, api_family, cursor_type)"
            " VALUES (:account, :user, :family, :type) ON CONFLICT DO NOTHING"
        ),
        {
            "account": account.id,
            "user": account.ebay_user_id,
            "family": family.name,
            "type": family.cursor_type,
        },
    )


async def paused(connection: AsyncConnection) -> str | None:
    """The reason for the pause of everything, or None while work may go on."""
    row = (await connection.execute(text("SELECT workers_enabled, reason FROM ebay_worker_global_config"))).one()
    return None if row.workers_enabled else _pause(row.reason)


def _pause(reason: str | None) -> str:
    return f"paused: {reason}" if reason else "paused"


async def halted(connection: AsyncConnection, account_id: UUID, family: str, *, force: bool) -> str | None:
    """Why this account's family may not run, or not any further; None while it may. `force`: though it is disabled."""
    row = (await connection.execute(text(_MAY_RUN), {"account": account_id, "family": family})).one()
    if row.is_active is None:
        return "the account was removed"
    if not row.workers_enabled:
        return _pause(row.reason)
    if force or (row.is_active and row.enabled and row.enabled_for_all):
        return None
    if not row.is_active:
        return "the account is disabled"
    return f"the family is disabled for {'this account' if row.enabled_for_all else 'all accounts'}"


_MAY_RUN = f"""
SELECT g.workers_enabled, g.reason, a.is_active, {_ENABLED}
FROM ebay_worker_global_config g
LEFT JOIN ebay_accounts a ON a.id = :account
LEFT JOIN ebay_sync_state s ON s.ebay_account_id = :account AND s.api_family = :family
"""  # noqa: S608


async def set_family(connection: AsyncConnection, account: Account, family: Family, *, enabled: bool) -> None:
    """Enable or disable a family of one account."""
    await _ensure(connection, account, family)
    await connection.execute(
        text(
            "UPDATE ebay_sync_state SET enabled = :enabled, updated_at = clock_timestamp()"
            " WHERE ebay_account_id = :account AND api_family = :family"
        ),
        {"account": account.id, "family": family.name, "enabled": enabled},
    )


async def set_interval(connection: AsyncConnection, account: Account, family: Family, minutes: int | None) -> None:
    """How often a family of one account runs; None: as for all accounts."""
    await _ensure(connection, account, family)
    await connection.execute(
        text(
            "UPDATE ebay_sync_state SET every_minutes = :minutes, updated_at = clock_timestamp()"
            " WHERE ebay_account_id = :account AND api_family = :family"
        ),
        {"account": account.id, "family": family.name, "minutes": minutes},
    )


async def move_cursor(connection: AsyncConnection, account_id: UUID, family: str, cursor: datetime) -> None:
    await connection.execute(
        text(
            "UPDATE ebay_sync_state SET cursor_value = :cursor, updated_at = clock_timestamp()"
            " WHERE ebay_account_id = :account AND api_family = :family"
        ),
        {"cursor": iso(cursor), "account": account_id, "family": family},
    )


async def move_sweep(
    connection: AsyncConnection, account_id: UUID, family: str, cursor: datetime, width: timedelta, *, done: bool
) -> None:
    await connection.execute(
        text(
            "UPDATE ebay_sync_state SET sweep_cursor = :cursor, sweep_done = :done, sweep_width_seconds = :width,"
            " updated_at = clock_timestamp() WHERE ebay_account_id = :account AND api_family = :family"
        ),
        {
            "cursor": iso(cursor),
            "width": int(width.total_seconds()),
            "done": done,
            "account": account_id,
            "family": family,
        },
    )


async def pending_details(db: Database, account_id: UUID, family: str) -> dict[str, Pending]:
    """By the record's key."""
    rows = await db.rows(
        "SELECT entity_key, attempts, reason, (next_at <= clock_timestamp()) IS NOT TRUE AS waits"
        " FROM ebay_pending_detail WHERE ebay_account_id = :account AND api_family = :family AND attempts > 0",
        account=account_id,
        family=family,
    )
    return {row.entity_key: Pending(row.attempts, row.reason, row.waits) for row in rows}


FIRST_WAIT = timedelta(minutes=5)
GIVE_UP = 8  # attempts at a detail; the waits between them add up to ten hours


async def note_details(writer: Writer, notes: Mapping[str, tuple[int, str | None]]) -> None:
    """How often each record's detail has been asked for in vain, and why; 0: it has come."""
    for key, (attempts, reason) in notes.items():
        waits = 0 < attempts < GIVE_UP
        await writer.connection.execute(
            text(_NOTE_DETAIL),
            {
                "account": writer.account_id,
                "family": writer.family,
                "key": key,
                "attempts": attempts,
                "wait": (FIRST_WAIT * 2 ** (attempts - 1)).total_seconds() if waits else None,
                "reason": reason,
            },
        )


_NOTE_DETAIL = """
INSERT INTO ebay_pending_detail (ebay_account_id, api_family, entity_key, attempts, next_at, reason)
VALUES (:account, :family, :key, :attempts, clock_timestamp() + make_interval(secs => :wait), :reason)
ON CONFLICT (ebay_account_id, api_family, entity_key)
DO UPDATE SET attempts = excluded.attempts, next_at = excluded.next_at, reason = excluded.reason
"""


async def quarantine(writer: Writer, records: Sequence[tuple[bytes, str]]) -> None:
    """Keep what could not be stored, as eBay sent it, with the reason."""
    for raw, reason in records:
        log.warning("%s: a record goes to quarantine: %s", writer.family, reason)
        await writer.connection.execute(
            text(
                "INSERT INTO ebay_quarantine (ebay_account_id, api_family, run_id, reason, payload)"
                " VALUES (:account, :family, :run, :reason, :payload) ON CONFLICT DO NOTHING"
            ),
            {
                "account": writer.account_id,
                "family": writer.family,
                "run": writer.run_id,
                "reason": reason,
                "payload": raw,
            },
        )


@dataclass(frozen=True)
class Doubt:
    """Complete scans in a row that would have removed too much, and the digests of what all of them missed."""

    scans: int = 0
    missing: bytes = b""


async def doubt(connection: AsyncConnection, account_id: UUID, family: str) -> Doubt:
    row = (
        await connection.execute(
            text("SELECT scans, missing FROM ebay_doubted_scan WHERE ebay_account_id = :account AND api_family = :f"),
            {"account": account_id, "f": family},
        )
    ).one_or_none()
    return Doubt(row.scans, bytes(row.missing)) if row else Doubt()


async def set_doubt(connection: AsyncConnection, account_id: UUID, family: str, doubt: Doubt) -> None:
    await connection.execute(
        text(
            "INSERT INTO ebay_doubted_scan (ebay_account_id, api_family, scans, missing)"
            " VALUES (:account, :family, :scans, :missing) ON CONFLICT (ebay_account_id, api_family)"
            " DO UPDATE SET scans = excluded.scans, missing = excluded.missing, at = clock_timestamp()"
        ),
        {"account": account_id, "family": family, "scans": doubt.scans, "missing": doubt.missing},
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
