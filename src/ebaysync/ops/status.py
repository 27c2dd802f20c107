"""Collects what `status` shows: tokens per account; cursor, lag, last run, last error and next run per family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ebaysync.accounts.accounts import Account
from ebaysync.accounts.scopes import lacking
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.ops import schedule
from ebaysync.ops.budget import Plan, PlanEntry
from ebaysync.settings import Settings
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import Database
from ebaysync.sync.state import field_notes
from ebaysync.sync.state.sync_state import iso


@dataclass(frozen=True)
class StatusReport:
    """The content of `status`: the object of `status --json` (INTERFACE: Commands), the plan, and since when, by whom
    and why everything is paused."""

    found: dict[str, Any]
    plan: Plan
    pause: str | None


async def look(settings: Settings, db: Database, accounts: Sequence[Account]) -> StatusReport:
    """Read it with one round trip, for any number of accounts. Raises DatabaseError."""
    ids = {"accounts": [account.id for account in accounts]}

    async def ask(connection: Connection) -> tuple[schedule.AskedPlan, list[Sent]]:
        return await schedule.ask(connection, settings), [
            await connection.send(_TOKENS, ids),
            await connection.send(_STATES, ids),
            await field_notes.ask(connection, ids["accounts"]),
            await connection.send(_PAUSE),
        ]

    asked, others = await db.read(ask)
    tokens, states, noted, config = [(await sent.result()).rows for sent in others]
    plan, notes, paused = await schedule.made_from(asked), field_notes.by_place(noted), _pause(config[0])
    by_account = {row.ebay_account_id: row for row in tokens}
    rows = {(row.ebay_account_id, row.api_family): row for row in states}
    found = {
        "paused": paused is not None,
        "accounts": [_account(account, by_account.get(account.id), rows, plan, notes) for account in accounts],
    }
    return StatusReport(found, plan, paused)


def _account(
    account: Account,
    token: Any,
    rows: Mapping[tuple[UUID, str], Any],
    plan: Plan,
    notes: Mapping[tuple[UUID, str], list[dict[str, Any]]],
) -> dict[str, Any]:
    places = [(family, (account.id, family.name)) for family in discover().values()]
    return {
        "account": account.name,
        "environment": account.environment,
        "active": account.is_active,
        "token": _token(account, token),
        "families": [
            _family(family, rows.get(place), plan.entries.get(place)) | {"field_notes": notes.get(place, [])}
            for family, place in places
        ],
    }


async def pause(db: Database) -> str | None:
    """Since when everything is paused, by whom and why. None if it is not."""
    return _pause((await db.rows(_PAUSE))[0])


def _pause(row: Any) -> str | None:
    if row.workers_enabled:
        return None
    since = f" since {row.changed_at.astimezone(UTC):%Y-%m-%d %H:%MZ}" if row.changed_at else ""
    by = f" by {row.changed_by}" if row.changed_by else ""
    return f"everything is paused{since}{by}" + (f": {row.reason}" if row.reason else "")


def cool_downs(accounts: Sequence[Account], plan: Plan) -> list[str]:
    """A line for each API that cools down for these accounts: until when, why, and the command that lifts it."""
    ids = {account.id for account in accounts}
    keysets = {due.candidate.keyset for (account_id, _), due in plan.entries.items() if account_id in ids}
    return [
        f"{found.keyset}: {found.sentence}; it ends by itself; to lift it by hand: {found.lift}"
        for found in schedule.cool_downs(plan)
        if found.keyset in keysets
    ]


def unreachable(accounts: Sequence[Account], plan: Plan) -> set[tuple[str, str]]:
    """The accounts and families whose last run could not reach eBay."""
    names = {account.id: account.name for account in accounts}
    found = [due.candidate for due in plan.entries.values() if due.candidate.unreachable]
    return {(names[each.account_id], each.family) for each in found if each.account_id in names}


def _token(account: Account, row: Any) -> dict[str, Any]:
    return {
        "access_expires_at": iso(row.access_expires_at) if row else None,
        "refresh_expires_at": iso(row.refresh_expires_at) if row else None,
        "needs_consent": account.needs_consent,
        "missing_scopes": _missing(row),
    }


def _missing(row: Any) -> list[str]:
    """The scopes that families need and that the stored consent lacks."""
    needed = {scope for family in discover().values() for scope in family.scopes}
    return lacking(needed, row.scopes) if row else []


def _family(family: Family, row: Any, due: PlanEntry | None) -> dict[str, Any]:
    return {
        "family": family.name,
        "enabled": due.candidate.enabled if due else True,
        "cursor": row.cursor_value if row else None,
        "lag_seconds": int(row.lag) if row and row.lag is not None else None,
        "sweep_cursor": row.sweep_cursor if row else None,
        "last_run_at": iso(row.last_run_at) if row else None,
        "last_status": "running" if row and row.running else row.last_status if row else None,
        "last_error": row.last_error if row else None,
        "incomplete_since": iso(row.incomplete_since) if row else None,
        "details_due": row.details_due if row else 0,
        "next_due_at": iso(due.at) if due else None,
        "refused_since": iso(row.refused_since) if row else None,
    }


def unwell(found: dict[str, Any]) -> list[str]:
    """Why `status --check` fails: a line for each account and family that is at work and does not succeed."""
    why = []
    for account in found["accounts"]:
        name, now = account["account"], datetime.now(UTC)
        ends_at = account["token"]["refresh_expires_at"]
        if not account["active"]:
            continue
        if account["token"]["needs_consent"] or (ends_at and datetime.fromisoformat(ends_at) <= now):
            why.append(f"{name}: the seller must consent again")
        for family in account["families"]:
            if not family["enabled"]:
                continue
            if family["refused_since"]:
                why.append(f"{name} {family['family']}: refused by eBay since {family['refused_since']}")
            elif family["last_status"] == "error":
                why.append(f"{name} {family['family']}: {family['last_error']}")
    return why


_PAUSE = "SELECT workers_enabled, reason, changed_by, changed_at FROM ebay_worker_global_config"
_TOKENS = """
SELECT t.ebay_account_id, t.access_expires_at, t.refresh_expires_at, a.scopes
FROM ebay_tokens t LEFT JOIN ebay_authorizations a USING (ebay_account_id) WHERE t.ebay_account_id = ANY(:accounts)
"""
_STATES = """
SELECT s.*, extract(epoch FROM clock_timestamp() - CAST(s.cursor_value AS timestamptz)) AS lag,
    l.lease_until > clock_timestamp() AS running,
    (SELECT count(*) FROM ebay_pending_detail d
        WHERE (d.ebay_account_id, d.api_family) = (s.ebay_account_id, s.api_family)
        AND d.next_at IS NOT NULL) AS details_due
FROM ebay_sync_state s
LEFT JOIN ebay_lease l ON (l.ebay_account_id, l.api_family, l.walk) = (s.ebay_account_id, s.api_family, 'live')
WHERE s.ebay_account_id = ANY(:accounts)
"""
