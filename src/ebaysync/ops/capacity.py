"""Answers how many accounts a keyset carries, and what N of them would get. Pure.

N accounts make N / M as many calls as the M present ones. So the plan is made of the present ones, each with so many
times its calls, for a whole quota day of which nothing is used.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from ebaysync.ebay import limits
from ebaysync.ebay.limits import Usage
from ebaysync.families import discover
from ebaysync.ops import budget, demand
from ebaysync.ops.budget import Plan, PlanEntry
from ebaysync.ops.demand import Candidate
from ebaysync.ops.stretch import QUIET_PART, carried_share, least_calls

TYPICAL, BUSY = 20, 1  # accounts where there are none yet, and how many of them are busy
SILENCE = timedelta(days=3)  # of the quiet ones

Span = tuple[float, float]


@dataclass(frozen=True)
class FamilyCapacity:
    """Intervals in minutes and bounds in hours, from the least to the most; None where there is no such account, or
    not again on the same day.

    `busy`: accounts where it brought something new within sixteen intervals; `quiet`: the others.
    """

    family: str
    every_minutes: Span
    busy: Span | None
    quiet: Span | None
    old_rows_within_hours: Span | None


@dataclass(frozen=True)
class QuotaCapacity:
    """Calls a day: `wanted` at the configured intervals, `planned` after stretching.

    `carries`: as many accounts run at their intervals; `carries_stretched`: as many do while only quiet ones wait
    longer. `request`: the quota that all accounts need at their intervals; None: the present one is enough.
    """

    api: str
    quota: int
    wanted: float
    share: float
    planned: float
    carries: int
    carries_stretched: int
    request: int | None


@dataclass(frozen=True)
class Capacity:
    """For one keyset. `present` accounts are the model of the others. `carries`: see QuotaCapacity."""

    keyset: str
    present: int
    carries: int | None
    first_to_bind: str | None
    carries_stretched: int | None
    first_to_bind_stretched: str | None
    families: list[FamilyCapacity]
    quotas: list[QuotaCapacity]


def capacity(present: Sequence[Candidate], usage: Usage, accounts: int, now: datetime) -> Capacity:
    """Plan the day of so many accounts like the present ones, which share a keyset."""
    keyset, model = present[0].keyset, len({candidate.account_id for candidate in present})
    start = limits.resets_at(now)
    scaled = [_scaled(candidate, accounts / model, start - now) for candidate in present]
    unused = Usage(limits=usage.limits)
    plan = budget.plan(scaled, {keyset: unused}, start)
    loads = demand.loads(scaled, plan.budget, start)
    quotas = []
    for forecast in plan.forecasts:
        quota, wanted, own = forecast.budget.quota, forecast.wanted, loads[keyset, forecast.budget.api]
        if not quota or not wanted:
            continue
        carries = math.floor(accounts * quota * limits.TARGET_SHARE / wanted)
        stretched = math.floor(accounts * quota * carried_share(own) / least_calls(own))
        enough = wanted <= quota * limits.TARGET_SHARE
        quotas.append(
            QuotaCapacity(
                forecast.budget.api,
                quota,
                round(wanted),
                round(wanted / quota, 3),
                round(forecast.calls),
                carries,
                stretched,
                None if enough else _rounded_up(wanted / limits.TARGET_SHARE),
            )
        )
    first = min(quotas, key=lambda each: each.carries, default=None)
    last = min(quotas, key=lambda each: each.carries_stretched, default=None)
    return Capacity(
        keyset,
        model,
        first.carries if first else None,
        first.api if first else None,
        last.carries_stretched if last else None,
        last.api if last else None,
        _families(plan),
        quotas,
    )


def typical(keyset: str, now: datetime) -> list[Candidate]:
    """Accounts to reckon with where there are none: one in twenty is busy, runs cost what the families declare."""
    found = []
    for n in range(TYPICAL):
        for family in discover().values():
            if keyset.partition(":")[0] not in family.absent_in:
                sweep = {"sweep": {next(iter(family.costs)): 1.0} if family.window.sweep else {}}
                per_day, eager = demand.background(sweep)
                made = Candidate(
                    UUID(int=n),
                    family.name,
                    family.source,
                    keyset,
                    family.every_minutes,
                    family.every_minutes,
                    family.costs,
                    quiet_minutes=family.quiet_minutes,
                    per_day=per_day,
                    eager=eager,
                    changed_at=now if n < BUSY else now - SILENCE,
                    old_rows_hours=demand.old_rows_hours(family),
                )
                found.append(made)
    return found


def _scaled(candidate: Candidate, times: float, later: timedelta) -> Candidate:
    def scaled(calls: Mapping[str, float]) -> dict[str, float]:
        return {api: number * times for api, number in calls.items()}

    return replace(
        candidate,
        costs=scaled(candidate.costs),
        per_day=scaled(candidate.per_day),
        eager=scaled(candidate.eager),
        # As long ago as it is now.
        changed_at=candidate.changed_at and candidate.changed_at + later,
        last_run_at=None,
        retry_at=None,
        refused_since=None,
    )


def _families(plan: Plan) -> list[FamilyCapacity]:
    entries: dict[str, list[PlanEntry]] = defaultdict(list)
    for entry in plan.entries.values():
        entries[entry.candidate.family].append(entry)
    found = []
    for name in discover():
        own = entries.get(name)
        if own:
            busy = [each for each in own if _is_busy(each.candidate, plan.now)]
            quiet = [each for each in own if not _is_busy(each.candidate, plan.now)]
            found.append(
                FamilyCapacity(
                    name,
                    _span([each.candidate.every for each in own]) or (0, 0),
                    _span([each.every for each in busy]),
                    _span([each.every for each in quiet]),
                    _span([each.old_rows_hours for each in own]),
                )
            )
    return found


def _is_busy(candidate: Candidate, now: datetime) -> bool:
    return candidate.changed_at is not None and now - candidate.changed_at <= QUIET_PART * timedelta(
        minutes=candidate.every
    )


def _span(values: Sequence[float | None]) -> Span | None:
    known = [round(value, 1) for value in values if value is not None]
    return (min(known), max(known)) if known else None


def _rounded_up(calls: float) -> int:
    """To two digits."""
    step = int(10 ** max(0, math.floor(math.log10(calls)) - 1))
    return math.ceil(calls / step) * step
