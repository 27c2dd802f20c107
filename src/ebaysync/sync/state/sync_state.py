"""ebay_sync_state, one row per account and family: its cursor, its sweep, and whether it may run.

Whether a family may run also depends on ebay_worker_global_config, which holds the pause and the settings for all
accounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    Table,
    Text,
    Update,
    Uuid,
    and_,
    cast,
    func,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from ebaysync.accounts.accounts import ACCOUNTS, Account
from ebaysync.accounts.scopes import AUTHORIZATIONS
from ebaysync.ebay.rest import stamp
from ebaysync.errors import DatabaseError
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import CONTROL, each

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
    Column("sweep_began_at", DateTime(timezone=True)),
    Column("trailing_seconds", BigInteger),
    Column("last_run_at", DateTime(timezone=True)),
    Column("last_status", Text),
    Column("last_error", Text),
    Column("failures", Integer),
    Column("retry_at", DateTime(timezone=True)),
    Column("retry_kind", Text),
    Column("refused_since", DateTime(timezone=True)),
    Column("calls_per_run", JSONB),
    Column("calls_per_day", JSONB),
    Column("changed_at", DateTime(timezone=True)),
    Column("remembered", JSONB),
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
    sweep_began: datetime | None = None
    """when this round began, by eBay's clock"""
    trailing: timedelta | None = None
    """how far before its end a live window begins at least; None: not known"""
    refused: bool = False
    """eBay refused the family's calls when it was last asked"""
    calls_per_run: Mapping[str, float] = field(default_factory=dict)
    """the average cost of its runs, by API"""
    calls_per_day: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """the calls of `sweep` and `details` in a day, by API"""
    remembered: Mapping[str, Any] = field(default_factory=dict)
    """what its source remembers from run to run"""


def iso(moment: datetime | None) -> str | None:
    """A time as cursors and summaries show it: ISO 8601, UTC, milliseconds."""
    return stamp(moment) if moment else None


def mine(account_id: UUID, family: str) -> ColumnElement[bool]:
    """The row of one family of one account."""
    return and_(SYNC_STATE.c.ebay_account_id == account_id, SYNC_STATE.c.api_family == family)


def update(account_id: UUID, family: str) -> Update:
    """An update of that row, with its time."""
    return SYNC_STATE.update().where(mine(account_id, family)).values(updated_at=func.clock_timestamp())


async def ask(connection: Connection, account: Account, families: Sequence[Family]) -> Sent:
    """Read the states of some families. See `known`."""
    own, family = SYNC_STATE.c, each("family", Text, [family.name for family in families])
    mine = and_(own.ebay_account_id == account.id, own.api_family == family.c.value)
    rows = (
        GLOBAL_CONFIG.join(family, true())
        .outerjoin(ACCOUNTS, ACCOUNTS.c.id == account.id)
        .outerjoin(AUTHORIZATIONS, AUTHORIZATIONS.c.ebay_account_id == account.id)
        .outerjoin(SYNC_STATE, mine)
    )
    states = (
        *(own.cursor_value, own.sweep_cursor, own.sweep_done, own.sweep_width_seconds, own.sweep_began_at),
        *(own.trailing_seconds, own.refused_since, own.calls_per_run, own.calls_per_day, own.remembered),
    )
    columns = (family.c.value.label("family"), *_permission(family.c.value), *states)
    scopes = AUTHORIZATIONS.c.scopes
    return await connection.send(select(*columns, scopes, func.clock_timestamp().label("now")).select_from(rows))


def known(account: Account, family: Family, row: Any) -> State:
    """The state of a family that `ask` has read; one that never ran has no cursor. Raises DatabaseError if a stored
    cursor is no time."""
    return State(
        bool(row.enabled and row.enabled_for_all),
        _cursor(account, family, row.cursor_value),
        None if row.sweep_done else _cursor(account, family, row.sweep_cursor),
        _seconds(row.sweep_width_seconds),
        row.sweep_began_at,
        _seconds(row.trailing_seconds),
        row.refused_since is not None,
        calls(row.calls_per_run),
        {kind: calls(own) for kind, own in _object(row.calls_per_day).items()},
        _object(row.remembered),
    )


def calls(stored: Any) -> dict[str, float]:
    """Calls by API from a stored object. Somebody may have edited it by hand, so other values are ignored."""
    return {
        api: float(number)
        for api, number in _object(stored).items()
        if isinstance(number, int | float) and not isinstance(number, bool) and number >= 0
    }


def _object(stored: Any) -> Mapping[str, Any]:
    return stored if isinstance(stored, dict) else {}


def _seconds(stored: int | None) -> timedelta | None:
    return timedelta(seconds=stored) if stored else None


def default_of(family: str | ColumnElement[Any], setting: str) -> ColumnElement[Any]:
    """A family's setting for all accounts, as text; NULL if there is none."""
    return func.jsonb_extract_path_text(GLOBAL_CONFIG.c.defaults, "families", family, setting)


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


async def ensure(connection: Connection, account: Account, families: Sequence[str]) -> None:
    """Insert the rows of these families unless they exist."""
    found = discover()
    rows = [
        {
            "ebay_account_id": account.id,
            "ebay_user_id": account.ebay_user_id,
            "api_family": name,
            "cursor_type": found[name].cursor_type,
        }
        for name in sorted(families)
    ]
    await connection.send(insert(SYNC_STATE).values(rows).on_conflict_do_nothing())


async def paused(connection: Connection) -> str | None:
    """Why all work is paused; None if it is not."""
    row = (await connection.execute(select(GLOBAL_CONFIG.c.workers_enabled, GLOBAL_CONFIG.c.reason))).one()
    return None if row.workers_enabled else _pause(row.reason)


def _pause(reason: str | None) -> str:
    return f"paused: {reason}" if reason else "paused"


async def ask_permission(connection: Connection, account_id: UUID, family: str) -> Sent:
    """Ask whether a family of an account may go on. See `halted`."""
    rows = GLOBAL_CONFIG.outerjoin(ACCOUNTS, ACCOUNTS.c.id == account_id)
    rows = rows.outerjoin(SYNC_STATE, mine(account_id, family))
    return await connection.send(select(*_permission(family)).select_from(rows))


def _permission(family: str | ColumnElement[Any]) -> Sequence[ColumnElement[Any]]:
    for_all = cast(default_of(family, "enabled"), Boolean)
    return (
        GLOBAL_CONFIG.c.workers_enabled,
        GLOBAL_CONFIG.c.reason,
        ACCOUNTS.c.is_active,
        func.coalesce(SYNC_STATE.c.enabled, true()).label("enabled"),
        func.coalesce(for_all, true()).label("enabled_for_all"),
    )


def halted(row: Any, *, force: bool) -> str | None:
    """Why a family of an account may not run, or may not go on; None if it may. `force` ignores that it is disabled."""
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


async def set_family(connection: Connection, account: Account, family: Family, *, enabled: bool) -> None:
    """Enable or disable a family of one account."""
    await ensure(connection, account, [family.name])
    await connection.send(update(account.id, family.name).values(enabled=enabled))


async def set_interval(connection: Connection, account: Account, family: Family, minutes: int | None) -> None:
    """Set how often a family of one account runs. None restores the default."""
    await ensure(connection, account, [family.name])
    await connection.send(update(account.id, family.name).values(every_minutes=minutes))


async def move_cursor(connection: Connection, account_id: UUID, family: str, cursor: datetime) -> None:
    """Move the live cursor."""
    await connection.send(update(account_id, family).values(cursor_value=iso(cursor)))


async def remember(connection: Connection, account_id: UUID, family: str, remembered: Mapping[str, Any]) -> None:
    """Store what the source remembers."""
    await connection.send(update(account_id, family).values(remembered=remembered))


async def note_incomplete(connection: Connection, account_id: UUID, family: str, reason: str | None) -> None:
    """Note why records may be missing, and since when. None: none are missing."""
    own = SYNC_STATE.c
    since = func.coalesce(own.incomplete_since, func.clock_timestamp()) if reason else None
    changed = own.incomplete_reason.is_distinct_from(reason)
    new = {"incomplete_since": since, "incomplete_reason": reason}
    await connection.send(SYNC_STATE.update().where(mine(account_id, family), changed).values(new))


@dataclass(frozen=True)
class SweepPosition:
    """How far a round that began at `began` has come. `width` is the widest slice that fits a page; `done` ends the
    round."""

    cursor: datetime
    began: datetime
    width: timedelta
    done: bool


async def move_sweep(connection: Connection, account_id: UUID, family: str, to: SweepPosition) -> None:
    """Move the sweep's cursor."""
    moved = {
        "sweep_cursor": iso(to.cursor),
        "sweep_done": to.done,
        "sweep_began_at": to.began,
        "sweep_width_seconds": int(to.width.total_seconds()),
    }
    await connection.send(update(account_id, family).values(moved))


async def set_trailing(connection: Connection, account_id: UUID, family: str, trailing: timedelta) -> None:
    """Store how far before its end the next live window begins."""
    await connection.send(update(account_id, family).values(trailing_seconds=int(trailing.total_seconds())))
