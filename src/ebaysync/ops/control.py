"""Pauses and resumes everything, enables and disables families and accounts, and removes accounts.

Each change is logged in `ebay_control_log`: who, when and why. A run notices it at its next batch
(sync/state/sync_state), or within 15 seconds (sync/watch).
"""

from __future__ import annotations

import os
import platform
import pwd
from collections.abc import Callable
from typing import Any

from ebaysync.accounts.accounts import Account
from ebaysync.ebay import limits
from ebaysync.errors import UsageError
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.shown import escaped
from ebaysync.store.age import account_tables, delete_of_account
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database
from ebaysync.sync.lease import revoke_leases
from ebaysync.sync.state import sync_state
from ebaysync.sync.state.sync_state import iso
from ebaysync.sync.stop import Stop

ROWS = 5000  # deleted per transaction
PAUSE = 0.05  # seconds between two transactions


def who() -> str:
    """The login name (of sudo's caller, if there is one) and the host."""
    try:
        name = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    return escaped(f"{name}@{platform.node()}")


async def _record(
    connection: Connection,
    action: str,
    *,
    account: Account | None = None,
    family: str | None = None,
    value: object = None,
    reason: str | None = None,
) -> None:
    await connection.execute(
        "INSERT INTO ebay_control_log"
        " (action, ebay_account_id, account_name, api_family, value, reason, changed_by)"
        " VALUES (:action, :account, :name, :family, :value, :reason, :who)",
        {
            "action": action,
            "account": account.id if account else None,
            "name": account.name if account else None,
            "family": family,
            "value": None if value is None else str(value),
            "reason": reason,
            "who": who(),
        },
    )


async def switch(db: Database, *, on: bool, reason: str | None) -> bool:
    """Pause or resume everything; return whether that changed anything. Pausing again replaces the reason."""

    async def work(connection: Connection) -> bool:
        values = {"on": on, "reason": reason, "who": who()}
        # FOR UPDATE: of two commands at the same time, the second one sees what the first one has done.
        before = await connection.scalar("SELECT workers_enabled FROM ebay_worker_global_config FOR UPDATE")
        await connection.execute(_SWITCH, values)
        await _record(connection, "resume" if on else "pause", reason=reason)
        return before is not on

    return await db.transact(work)


_SWITCH = """
UPDATE ebay_worker_global_config
SET workers_enabled = :on, reason = :reason, changed_by = :who, changed_at = clock_timestamp()
"""


async def lift(db: Database, api: str, *, reason: str | None) -> list[tuple[str, str]]:
    """End the cool-downs of an API in all keysets; return those keysets and APIs. `trading` stands for all its calls.

    Everything that eBay has reported of its quota is forgotten too, or the next run would believe it again. Raises
    UsageError if there is no such API.
    """
    counted = {row.api for row in await db.rows("SELECT DISTINCT api FROM ebay_api_usage")}
    known = sorted({*limits.quotas(), *counted})
    if not any(name == api or name.startswith(f"{api}.") for name in known):
        raise UsageError(f"--api: {api!r} is none of {', '.join(known)}", hint="`ebaysync schedule` shows those in use")

    async def work(connection: Connection) -> list[tuple[str, str]]:
        lifted = (await connection.execute(_LIFT, {"api": api})).rows
        await connection.execute(_FORGET_LIMITS, {"api": api, "keysets": [row.keyset for row in lifted]})
        await _record(connection, "resume --api", value=api, reason=reason)
        return sorted({(row.keyset, row.api) for row in lifted})

    return await db.transact(work)


_LIFT = """
UPDATE ebay_api_usage SET resting_until = NULL, resting_reason = NULL, reported_calls = NULL, reported_at = NULL,
    elsewhere = 0, updated_at = clock_timestamp()
WHERE (api = :api OR starts_with(api, :api || '.')) AND resting_until > clock_timestamp() RETURNING keyset, api
"""
_FORGET_LIMITS = """
UPDATE ebay_keysets SET limits = (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(limits)
    WHERE key <> :api AND NOT starts_with(key, :api || '.'))
WHERE keyset = ANY(:keysets)
"""


async def enable_family(
    db: Database, family: Family, account: Account | None, *, enabled: bool, reason: str | None
) -> bool:
    """Enable or disable a family, for one account or for all. Returns whether it is enabled for all accounts."""

    async def work(connection: Connection) -> bool:
        if account:
            await sync_state.set_family(connection, account, family, enabled=enabled)
        else:
            await _set_default(connection, family.name, "enabled", "true" if enabled else "false")
        action = f"families {'enable' if enabled else 'disable'}"
        await _record(connection, action, account=account, family=family.name, reason=reason)
        everywhere = await connection.scalar(_EVERYWHERE, {"family": family.name})
        return everywhere is not False

    return await db.transact(work)


async def set_interval(db: Database, family: Family, account: Account | None, minutes: int | None) -> None:
    """Set how often a family runs, for one account or for all. None restores the default."""

    async def work(connection: Connection) -> None:
        if account:
            await sync_state.set_interval(connection, account, family, minutes)
        else:
            await _set_default(connection, family.name, "every_minutes", str(minutes) if minutes else None)
        await _record(connection, "families every", account=account, family=family.name, value=minutes)

    await db.transact(work)


async def _set_default(connection: Connection, family: str, name: str, value: str | None) -> None:
    values = {"family": family, "name": name, "value": value, "who": who()}
    await connection.execute(_SET_DEFAULT if value else _UNSET_DEFAULT, values)


_EVERYWHERE = """
SELECT CAST(defaults #>> ARRAY['families', :family, 'enabled'] AS boolean) FROM ebay_worker_global_config
"""
_SET_DEFAULT = """
UPDATE ebay_worker_global_config SET defaults = defaults || jsonb_build_object('families',
    coalesce(defaults -> 'families', '{}') || jsonb_build_object(CAST(:family AS text),
        coalesce(defaults #> ARRAY['families', :family], '{}')
        || jsonb_build_object(CAST(:name AS text), CAST(:value AS jsonb))))
"""
_UNSET_DEFAULT = """
UPDATE ebay_worker_global_config SET defaults = defaults #- ARRAY['families', :family, :name]
"""


async def enable_account(db: Database, account: Account, *, enabled: bool, reason: str | None) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute(_ENABLE_ACCOUNT, {"id": account.id, "enabled": enabled})
        await _record(connection, f"accounts {'enable' if enabled else 'disable'}", account=account, reason=reason)

    await db.transact(work)


_ENABLE_ACCOUNT = """
UPDATE ebay_accounts SET is_active = :enabled, updated_at = clock_timestamp() WHERE id = :id
"""


async def owned(db: Database, account: Account) -> dict[str, int]:
    """How many rows of an account each table has."""
    return await db.read(lambda connection: account_tables(connection, account.id))


async def remove(
    db: Database, account: Account, reason: str | None, stop: Stop, on_progress: Callable[[int], None] = lambda _: None
) -> dict[str, int]:
    """Delete an account and all of its rows, in batches; return the number of rows by table.

    Running work loses its leases before the first row is deleted. If interrupted, the account is left disabled, and the
    command can be repeated. Raises Interrupted between two batches.
    """

    async def begin(connection: Connection) -> None:
        # fails at once without the right to delete, before anything changes
        await connection.execute("DELETE FROM ebay_accounts WHERE false")
        await connection.execute(_ENABLE_ACCOUNT, {"id": account.id, "enabled": False})
        # Before the first row goes: a run that goes on would store rows behind the deletion.
        await revoke_leases(connection, account.id, list(discover()))
        await _record(connection, "accounts remove", account=account, reason=reason)

    await db.transact(begin)
    deleted: dict[str, int] = {}
    for table in await owned(db, account):
        if table == "ebay_lease":  # deleted with the account, at the end
            continue
        # In batches: one DELETE of a large account would hold its locks, and keep vacuum away, for minutes.
        while count := await db.transact(lambda c, name=table: delete_of_account(c, name, account.id, ROWS)):  # type: ignore[misc]
            deleted[table] = deleted.get(table, 0) + count
            on_progress(sum(deleted.values()))
            await stop.sleep(PAUSE)
    await db.execute(
        "DELETE FROM ebay_pending_consents WHERE (environment, name) = (:environment, :name)",
        environment=account.environment,
        name=account.name,
    )
    await db.execute("DELETE FROM ebay_accounts WHERE id = :id", id=account.id)
    return deleted


async def overview(db: Database) -> dict[str, Any]:
    """The object that `families` prints: the setting for all accounts, and each account that differs."""
    [row] = await db.rows("SELECT defaults FROM ebay_worker_global_config")
    exceptions = await db.rows(_EXCEPTIONS)
    return {
        "paused": await db.read(sync_state.paused) is not None,
        "families": [
            {
                **_default(family, row.defaults),
                "accounts": [
                    {"account": one.name, "enabled": one.enabled, "every_minutes": one.every_minutes}
                    for one in exceptions
                    if one.api_family == family.name
                ],
            }
            for family in discover().values()
        ],
    }


async def of_account(db: Database, account: Account) -> dict[str, Any]:
    """The settings of one account, and where each comes from."""
    [row] = await db.rows("SELECT defaults FROM ebay_worker_global_config")
    own = {one.api_family: one for one in await db.rows(_OWN, account=account.id)}
    found = []
    for family in discover().values():
        default, own_setting = _default(family, row.defaults), own.get(family.name)
        found.append(
            {
                "family": family.name,
                "enabled": default["enabled"] and (own_setting is None or own_setting.enabled),
                "enabled_for_all": default["enabled"],
                "enabled_for_account": own_setting is None or own_setting.enabled,
                "offered": account.environment not in family.absent_in,
                "every_minutes": (own_setting and own_setting.every_minutes) or default["every_minutes"],
                "every_from": "account" if own_setting and own_setting.every_minutes else default["every_from"],
            }
        )
    return {
        "paused": await db.read(sync_state.paused) is not None,
        "account": account.name,
        "active": account.is_active,
        "families": found,
    }


def _default(family: Family, defaults: dict[str, Any]) -> dict[str, Any]:
    stored_default = defaults.get("families", {}).get(family.name, {})
    return {
        "family": family.name,
        "enabled": stored_default.get("enabled", True),
        "every_minutes": stored_default.get("every_minutes") or family.every_minutes,
        "every_from": "all accounts" if stored_default.get("every_minutes") else "family",
    }


_EXCEPTIONS = """
SELECT a.name, s.api_family, s.enabled, s.every_minutes
FROM ebay_sync_state s JOIN ebay_accounts a ON a.id = s.ebay_account_id
WHERE NOT s.enabled OR s.every_minutes IS NOT NULL ORDER BY a.name
"""
_OWN = "SELECT api_family, enabled, every_minutes FROM ebay_sync_state WHERE ebay_account_id = :account"


async def shown(db: Database, account: Account) -> dict[str, Any]:
    """The object that `accounts show` prints: the consent, the last token refreshes, the last changes."""
    [token] = await db.rows(_CONSENT, account=account.id)
    return {
        "account": account,
        "added_at": iso(token.created_at),
        "token": {
            "access_expires_at": iso(token.access_expires_at),
            "refresh_expires_at": iso(token.refresh_expires_at),
            "scopes": token.scopes,
            "consented_at": iso(token.consented_at),
        },
        "refreshes": [
            _plain(row, "attempted_at", "success", "triggered_by", "error_code", "error_message")
            for row in await db.rows(_REFRESHES, account=account.id)
        ],
        "changes": [
            _plain(row, "at", "action", "api_family", "value", "reason", "changed_by", "database_user")
            for row in await db.rows(_CHANGES, account=account.id)
        ],
    }


def _plain(row: Any, *names: str) -> dict[str, Any]:
    return {name: iso(value) if hasattr(value := getattr(row, name), "tzinfo") else value for name in names}


_CONSENT = """
SELECT a.created_at, t.access_expires_at, t.refresh_expires_at, c.scopes, c.consented_at
FROM ebay_accounts a
LEFT JOIN ebay_tokens t ON t.ebay_account_id = a.id
LEFT JOIN ebay_authorizations c ON c.ebay_account_id = a.id
WHERE a.id = :account
"""
_REFRESHES = """
SELECT attempted_at, success, triggered_by, error_code, error_message FROM ebay_token_refresh_log
WHERE ebay_account_id = :account ORDER BY attempted_at DESC LIMIT 10
"""
_CHANGES = """
SELECT at, action, api_family, value, reason, changed_by, database_user FROM ebay_control_log
WHERE ebay_account_id = :account ORDER BY at DESC LIMIT 10
"""
