"""Reads what the plan (ops/budget) needs, and turns it into due families and the output of `schedule`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ebaysync.accounts import usage
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.application import keyset_of
from ebaysync.ebay import limits
from ebaysync.ebay.limits import Budget, Usage
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.ops import budget, capacity, demand
from ebaysync.ops.budget import Forecast, Plan, PlanEntry
from ebaysync.ops.demand import Candidate
from ebaysync.settings import ENVIRONMENTS, Settings
from ebaysync.shown import word
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import Database
from ebaysync.sync.cadence import UNREACHABLE
from ebaysync.sync.state.sync_state import calls, iso


@dataclass(frozen=True)
class Defaults:
    """The settings of `families enable`, `disable` and `every` for all accounts."""

    enabled: bool = True
    every_minutes: int | None = None


@dataclass(frozen=True)
class AskedPlan:
    """The rows that a plan is made from."""

    keysets: Mapping[Any, str]
    """by environment"""
    states: Sent
    common: Sent
    usages: tuple[Sent, Sent]


async def plan(settings: Settings, db: Database) -> Plan:
    """Make the plan for all accounts, with the database's clock."""
    return await made_from(await db.read(lambda connection: ask(connection, settings)))


async def ask(connection: Connection, settings: Settings) -> AskedPlan:
    """Read what the plan is made from. See `made_from`."""
    keysets = {environment: keyset_of(settings, environment) for environment in ENVIRONMENTS}
    return AskedPlan(
        keysets,
        await connection.send(_STATES),
        await connection.send(_COMMON),
        await usage.ask(connection, list(keysets.values())),
    )


@dataclass(frozen=True)
class PlanInput:
    """The facts that the plan is made from."""

    candidates: Sequence[Candidate]
    usages: Mapping[str, Usage]
    now: datetime


async def carried(settings: Settings, db: Database, accounts: int) -> dict[str, Any]:
    """The object that `schedule --accounts N --json` prints: what so many accounts would get."""
    asked = await db.read(lambda connection: ask(connection, settings))
    found = await read(asked)
    present = {
        keyset: own
        for keyset in asked.keysets.values()
        if (own := [each for each in found.candidates if each.keyset == keyset and each.enabled and each.works])
    }
    typical = not present
    if typical:
        configured = [name for name in asked.keysets.values() if not name.endswith(":")]
        keyset = next(iter(configured or asked.keysets.values()))
        present = {keyset: capacity.typical(keyset, found.now)}
    made = [
        capacity.capacity(own, found.usages.get(keyset, Usage()), accounts, found.now)
        for keyset, own in present.items()
    ]
    return {"accounts": accounts, "typical": typical, "keysets": [asdict(each) for each in made]}


async def made_from(asked: AskedPlan) -> Plan:
    """Make the plan from the answer of `ask`."""
    found = await read(asked)
    return budget.plan(found.candidates, found.usages, found.now)


async def read(asked: AskedPlan) -> PlanInput:
    """Read the answer of `ask`."""
    # Hosts may disagree on what is due, so the database's clock decides.
    common = (await asked.common.result()).one()
    rows = (await asked.states.result()).rows
    usages = await usage.usages(asked.usages, limits.quota_day(common.now))
    defaults = _defaults(common.defaults)
    known = {(row.id, row.api_family): row for row in rows}
    accounts = {row.id: row for row in rows}
    candidates = [
        _task(account, family, known.get((account.id, family.name)), asked.keysets[account.environment], defaults)
        for account in accounts.values()
        for family in discover().values()
    ]
    return PlanInput(candidates, usages, common.now)


def due(made: Plan, account_ids: Sequence[UUID], only: Sequence[str], *, now: bool) -> dict[UUID, list[str]]:
    """The families of each account that are due; with `now`, all enabled ones."""

    def chosen(candidate: Candidate) -> bool:
        return candidate.account_id in found and (not only or candidate.family in only)

    found: dict[UUID, list[str]] = {account_id: [] for account_id in account_ids}
    everything = [due.candidate for due in made.entries.values() if due.candidate.enabled and chosen(due.candidate)]
    ready = {(candidate.account_id, candidate.family) for candidate in (everything if now else made.due(chosen))}
    for account_id, families in found.items():
        families += [name for name in discover() if (account_id, name) in ready]
    return found


def _task(account: Any, family: Family, row: Any, keyset: str, defaults: Mapping[str, Defaults]) -> Candidate:
    common = defaults.get(family.name, Defaults())
    absent = account.environment in family.absent_in
    stored = row.calls_per_day if row and not absent and isinstance(row.calls_per_day, dict) else {}
    per_day, eager = demand.background({kind: calls(own) for kind, own in stored.items()})
    return Candidate(
        account.id,
        family.name,
        family.source,
        keyset,
        family.every_minutes,
        float((row.every_minutes if row else None) or common.every_minutes or family.every_minutes),
        {} if absent else calls(row.calls_per_run if row else None) or family.costs,
        (row is None or row.enabled) and common.enabled,
        account.is_active and not account.needs_consent and not absent,
        row.last_run_at if row else None,
        row.retry_at if row else None,
        row.failures if row else 0,
        row is not None and row.retry_kind == UNREACHABLE,
        row.refused_since if row else None,
        quiet_minutes=family.quiet_minutes,
        per_day=per_day,
        eager=eager,
        changed_at=row.changed_at if row else None,
        old_rows_hours=demand.old_rows_hours(family, per_day),
    )


def _defaults(stored: Mapping[str, Any]) -> dict[str, Defaults]:
    """Read the stored defaults. Somebody may have edited them by hand, so unknown values are ignored."""
    found = {}
    families = stored.get("families")
    for name, stored_default in families.items() if isinstance(families, dict) else ():
        if isinstance(stored_default, dict):
            every = stored_default.get("every_minutes")
            minutes = every if isinstance(every, int) and every > 0 else None
            found[name] = Defaults(stored_default.get("enabled") is not False, minutes)
    return found


def as_dict(made: Plan, accounts: Sequence[Account]) -> dict[str, Any]:
    """The object that `schedule --json` prints."""
    keysets = {due.candidate.keyset for due in made.entries.values()}
    return {
        "now": iso(made.now),
        "accounts": [
            {
                "account": account.name,
                "active": account.is_active,
                "needs_consent": account.needs_consent,
                "families": [_family(made.entries[account.id, name]) for name in discover()],
            }
            for account in accounts
            if (account.id, next(iter(discover()))) in made.entries
        ],
        "quotas": [_forecast(made, forecast) for forecast in made.forecasts if forecast.keyset in keysets],
    }


@dataclass(frozen=True)
class CoolDown:
    """An API that cools down now; `sentence` says until when and why, `lift` is the command that ends it."""

    keyset: str
    api: str
    sentence: str
    lift: str


def cool_downs(made: Plan) -> list[CoolDown]:
    found = []
    for forecast in made.forecasts:
        keyset, own = forecast.keyset, forecast.budget
        if until := _cools_down_until(made, own):
            sentence = f"{own.api} cools down until {until.astimezone(UTC):%Y-%m-%d %H:%MZ} ({own.reason})"
            found.append(CoolDown(keyset, own.api, sentence, f"ebaysync resume --api {word(own.api)}"))
    return found


def _cools_down_until(made: Plan, found: Budget) -> datetime | None:
    return found.cools_down_until if found.cools_down_until and found.cools_down_until > made.now else None


def _family(due: PlanEntry) -> dict[str, Any]:
    candidate = due.candidate
    return {
        "family": candidate.family,
        "enabled": candidate.enabled,
        "every_minutes": candidate.every,
        "effective_minutes": None if due.every is None else round(due.every, 1),
        "next_due_at": iso(due.at),
        "old_rows_within_hours": due.old_rows_hours and round(due.old_rows_hours, 1),
        "declared_old_rows_within_hours": candidate.old_rows_hours,
        "reason": due.reason,
        "failures": candidate.failures,
        "calls": {api: round(calls, 1) for api, calls in sorted(candidate.costs.items())},
        "calls_per_day": {api: round(calls, 1) for api, calls in sorted(candidate.per_day.items())},
    }


def _forecast(made: Plan, forecast: Forecast) -> dict[str, Any]:
    found = forecast.budget
    return {
        "keyset": forecast.keyset,
        "api": found.api,
        "quota": found.quota,
        "used": found.used,
        "used_by_us": found.ours,
        "used_by_ebay": found.reported,
        "forecast": round(forecast.calls),
        "forecast_unstretched": round(forecast.wanted),
        "resets_at": iso(found.resets_at),
        "resting_until": iso(_cools_down_until(made, found)),
    }


_STATES = """
SELECT a.id, a.environment, a.is_active, a.needs_consent, s.api_family, s.enabled, s.every_minutes, s.last_run_at,
    s.retry_at, s.retry_kind, s.failures, s.refused_since, s.calls_per_run, s.calls_per_day, s.changed_at
FROM ebay_accounts a LEFT JOIN ebay_sync_state s ON s.ebay_account_id = a.id ORDER BY a.name
"""
_COMMON = "SELECT clock_timestamp() AS now, defaults FROM ebay_worker_global_config"
