"""ebay_sync_state, one row per account and family: its cursor, its sweep, and whether it may run.

Whether a family may run also depends on ebay_worker_global_config, which holds the pause and the settings for all
accounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Table,
    Text,
    Update,
    Uuid,
    and_,
    func,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.accounts.accounts import ACCOUNTS, Account
from ebaysync.ebay.rest import stamp
from ebaysync.errors import DatabaseError
from ebaysync.families.family import Family
from ebaysync.store.database import CONTROL, Database

SYNC_STATE = Table(
    "ebay_sync_state",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("ebay_user_id", Text),
    Column("api_family", Text),
    Column("enabled", Boolean),
    Column("every_minutes", Integer),
    Column("cursor_type", Text),
    Column("cursor_value", Text),
    Column("sweep_cursor", Text),
    Column("sweep_done", Boolean),
    Column("sweep_width_seconds", BigInteger),
    Column("last_run_at", DateTime(timezone=True)),
    Column("last_status", Text),
    Column("last_error", Text),
    Column("failures", Integer),
    Column("retry_at", DateTime(timezone=True)),
    Column("retry_kind", Text),
    Column("refused_since", DateTime(timezone=True)),
    Column("calls_per_run", JSONB),
    Column("incomplete_since", DateTime(timezone=True)),
    Column("incomplete_reason", Text),
    Column("updated_at", DateTime(timezone=True)),
)
GLOBAL_CONFIG = Table(
    "ebay_worker_global_config",
    CONTROL,
    Column("workers_enabled", Boolean),
    Column("reason", Text),
    Column("changed_by", Text),
    Column("changed_at", DateTime(timezone=True)),
    Column("defaults", JSONB),
)


@dataclass(frozen=True)
class State:
    """The state of a family when its run begins."""

    enabled: bool
    cursor: datetime | None
    sweep: datetime | None = None
    """how far this round of the sweep has come; None: it has not begun"""
    sweep_width: timedelta | None = None
    now: datetime | None = None
    """by the database's clock"""
    refused: bool = False
    """eBay refused the family's calls when it was last asked"""


def iso(moment: datetime | None) -> str | None:
    """A time as cursors and summaries show it: ISO 8601, UTC, milliseconds."""
    return stamp(moment) if moment else None


def mine(account_id: UUID, family: str) -> ColumnElement[bool]:
    """The row of one family of one account."""
    return and_(SYNC_STATE.c.ebay_account_id == account_id, SYNC_STATE.c.api_family == family)


def update(account_id: UUID, family: str) -> Update:
    """An update of that row, with its time."""
    return SYNC_STATE.update().where(mine(account_id, family)).values(updated_at=func.clock_timestamp())


async def load(db: Database, account: Account, family: Family) -> State:
    """The state of a family; one that never ran has no cursor. Raises DatabaseError if a stored cursor is no time."""
    # The configuration has one row, so there is one for a family that never ran, too.
    row_of_family = GLOBAL_CONFIG.outerjoin(SYNC_STATE, mine(account.id, family.name))
    [row] = await db.rows(
        select(
            *_enabled(family.name),
            SYNC_STATE.c.cursor_value,
            SYNC_STATE.c.sweep_cursor,
            SYNC_STATE.c.sweep_done,
            SYNC_STATE.c.sweep_width_seconds,
            func.clock_timestamp().label("now"),
            SYNC_STATE.c.refused_since,
        ).select_from(row_of_family)
    )
    return State(
        row.enabled and row.enabled_for_all,
        _cursor(account, family, row.cursor_value),
        None if row.sweep_done else _cursor(account, family, row.sweep_cursor),
        timedelta(seconds=row.sweep_width_seconds) if row.sweep_width_seconds else None,
        row.now,
        row.refused_since is not None,
    )


def _enabled(family: str) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Whether the family may run for this account, and for all accounts."""
    for_all = GLOBAL_CONFIG.c.defaults[("families", family, "enabled")].as_boolean()
    return (
        func.coalesce(SYNC_STATE.c.enabled, true()).label("enabled"),
        func.coalesce(for_all, true()).label("enabled_for_all"),
    )


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
    """Insert the family's row unless it exists."""
    await db.transact(lambda connection: _ensure(connection, account, family))


async def _ensure(connection: AsyncConnection, account: Account, family: Family) -> None:
    row = {
        "ebay_account_id": account.id,
        "ebay_user_id": account.ebay_user_id,
        "api_family": family.name,
        "cursor_type": family.cursor_type,
    }
    await connection.execute(insert(SYNC_STATE).values(row).on_conflict_do_nothing())


async def paused(connection: AsyncConnection) -> str | None:
    """Why all work is paused; None if it is not."""
    row = (await connection.execute(select(GLOBAL_CONFIG.c.workers_enabled, GLOBAL_CONFIG.c.reason))).one()
    return None if row.workers_enabled else _pause(row.reason)


def _pause(reason: str | None) -> str:
    return f"paused: {reason}" if reason else "paused"


async def halted(connection: AsyncConnection, account_id: UUID, family: str, *, force: bool) -> str | None:
    """Why a family of an account may not run, or may not go on; None if it may. `force` ignores that it is disabled."""
    row = (await connection.execute(_permission(account_id, family))).one()
    # From an outer join: without an account, its columns are NULL.
    if row.is_active is None:
        return "the account was removed"
    if not row.workers_enabled:
        return _pause(row.reason)
    if force or (row.is_active and row.enabled and row.enabled_for_all):
        return None
    if not row.is_active:
        return "the account is disabled"
    return f"the family is disabled for {'this account' if row.enabled_for_all else 'all accounts'}"


def _permission(account_id: UUID, family: str) -> Select[Any]:
    rows = GLOBAL_CONFIG.outerjoin(ACCOUNTS, ACCOUNTS.c.id == account_id).outerjoin(
        SYNC_STATE, mine(account_id, family)
    )
    columns = (GLOBAL_CONFIG.c.workers_enabled, GLOBAL_CONFIG.c.reason, ACCOUNTS.c.is_active, *_enabled(family))
    return select(*columns).select_from(rows)


async def set_family(connection: AsyncConnection, account: Account, family: Family, *, enabled: bool) -> None:
    """Enable or disable a family of one account."""
    await _ensure(connection, account, family)
    await connection.execute(update(account.id, family.name).values(enabled=enabled))


async def set_interval(connection: AsyncConnection, account: Account, family: Family, minutes: int | None) -> None:
    """Set how often a family of one account runs. None restores the default."""
    await _ensure(connection, account, family)
    await connection.execute(update(account.id, family.name).values(every_minutes=minutes))


async def move_cursor(connection: AsyncConnection, account_id: UUID, family: str, cursor: datetime) -> None:
    """Move the live cursor."""
    await connection.execute(update(account_id, family).values(cursor_value=iso(cursor)))


async def note_incomplete(connection: AsyncConnection, account_id: UUID, family: str, reason: str | None) -> None:
    """Note why records may be missing, and since when. None: none are missing."""
    own = SYNC_STATE.c
    since = func.coalesce(own.incomplete_since, func.clock_timestamp()) if reason else None
    changed = own.incomplete_reason.is_distinct_from(reason)
    new = {"incomplete_since": since, "incomplete_reason": reason}
    await connection.execute(SYNC_STATE.update().where(mine(account_id, family), changed).values(new))


async def move_sweep(
    connection: AsyncConnection, account_id: UUID, family: str, cursor: datetime, width: timedelta, *, done: bool
) -> None:
    """Move the sweep's cursor. `width` is the widest slice that fits a page; `done` ends the round."""
    moved = {"sweep_cursor": iso(cursor), "sweep_width_seconds": int(width.total_seconds()), "sweep_done": done}
    await connection.execute(update(account_id, family).values(moved))
