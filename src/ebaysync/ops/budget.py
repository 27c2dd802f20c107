"""Plans when each family of each account is due, so that no quota is exceeded. Pure: facts and the time go in.

All accounts of a keyset share each quota. The plan adds up the calls used so far, and the calls until the reset: of the
runs at the configured intervals, and of the background work that finds what changes in old rows. If the sum exceeds
80 % of the quota, ops/stretch says how much longer each source and the background work take.

Each plan starts from the calls really used, so it needs no memory. Families that share a source cost once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ebaysync.ebay import limits
from ebaysync.ebay.limits import Budget, Usage
from ebaysync.ops import demand
from ebaysync.ops.demand import Bucket, Candidate
from ebaysync.ops.stretch import UNBOUNDED, SourceKey, Stretch, stretched

PACE_MINUTES = 15.0
MOST_URGENT = 5  # minutes; families that run this often ignore the pace
# A five-minute timer is never quite punctual, so a family that is due within this time is due.
SLACK = timedelta(seconds=60)
NOTABLE = 1.05  # a stretch from here on is shown


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """When a family is due; `at` None is now. `every` is the stretched interval in minutes; None: not again today.

    `old_rows_hours`: how soon a change in an old row is seen now; None if the family has no background work.
    """

    candidate: Candidate
    every: float | None
    at: datetime | None
    reason: str | None = None
    cools_down: bool = False
    old_rows_hours: float | None = None

    def is_due(self, now: datetime) -> bool:
        return self.at is None or self.at <= (now if self.cools_down else now + SLACK)

    def may_come_along(self, now: datetime) -> bool:
        """Whether the family, not due yet, is read if its source is read for another one."""
        candidate = self.candidate
        if self.at is None or self.cools_down or candidate.retry_at or self.is_due(now):
            return False
        return candidate.enabled and candidate.works and self.at - now <= timedelta(minutes=(self.every or 0.0) / 2)


@dataclass(frozen=True)
class Forecast:
    """Calls by the end of the quota day: `wanted` at the configured intervals, `calls` after stretching."""

    keyset: str
    budget: Budget
    wanted: float
    calls: float


@dataclass(frozen=True)
class Plan:
    now: datetime
    entries: Mapping[tuple[UUID, str], PlanEntry]
    forecasts: Sequence[Forecast]
    budget: Callable[[str, str], Budget]
    """takes a keyset and an API"""
    stretched: Mapping[Bucket, float]
    """the share of the quota that the day may use, for each quota that is short"""
    patience: Mapping[UUID, Mapping[str, float]]
    """by account and source: how many times its time the background work takes, if calls are not plenty"""

    def due(self, chosen: Callable[[Candidate], bool] = lambda _: True) -> list[Candidate]:
        """The families to run now, most urgent first, as far as the quotas allow."""
        ready = [
            due
            for due in self.entries.values()
            if due.candidate.enabled and due.is_due(self.now) and chosen(due.candidate)
        ]
        # A family that never ran comes before those of its urgency that did.
        ready.sort(key=lambda due: (due.candidate.urgency, due.at or self.now - timedelta(days=365)))
        spent: dict[Bucket, float] = defaultdict(float)
        taken: set[SourceKey] = set()
        found = []
        for candidate in (due.candidate for due in ready):
            group = candidate.account_id, candidate.source
            # Families that share a source are read by the same calls, so only the first of them is counted.
            if group in taken or not candidate.works or self._fits(candidate, spent):
                taken.add(group)
                found.append(candidate)
        # Once they are read apart, as after a run by hand, they would cost twice for good.
        return found + [
            entry.candidate
            for entry in self.entries.values()
            if (entry.candidate.account_id, entry.candidate.source) in taken
            and entry.may_come_along(self.now)
            and chosen(entry.candidate)
        ]

    def _fits(self, candidate: Candidate, spent: dict[Bucket, float]) -> bool:
        """Whether the candidate's calls still fit. If so, they are added to `spent`."""
        wanted: dict[Bucket, float] = defaultdict(float)
        for api, calls in candidate.costs.items():
            wanted[candidate.keyset, self.budget(candidate.keyset, api).api] += calls
        share = limits.usable_share(candidate.urgency)
        for bucket, calls in wanted.items():
            if spent[bucket] + calls > self.budget(*bucket).remaining(share):
                return False
            if spent[bucket] and candidate.urgency > MOST_URGENT and spent[bucket] + calls > self._pace(bucket):
                return False
        for bucket, calls in wanted.items():
            spent[bucket] += calls
        return True

    def _pace(self, bucket: Bucket) -> float:
        """The number of calls of a quota that may be spent at once.

        While intervals are stretched, it is what is left for the next quarter of an hour. Without this limit, accounts
        that became due together would stay together, and exceed the forecast whenever it allows a little more.
        """
        if bucket not in self.stretched:
            return float("inf")
        found = self.budget(*bucket)
        minutes = (found.resets_at - self.now).total_seconds() / 60
        return max(0.0, found.remaining(self.stretched[bucket])) * min(1.0, PACE_MINUTES / max(1.0, minutes))


def plan(candidates: Iterable[Candidate], usages: Mapping[str, Usage], now: datetime) -> Plan:
    """Make the plan for the rest of the quota day."""
    candidates = list(candidates)
    budgets: dict[Bucket, Budget] = {}

    def budget(keyset: str, api: str) -> Budget:
        found = budgets.get((keyset, api))
        if found is None:
            found = budgets[keyset, api] = usages.get(keyset, Usage()).budget(api, now)
        return found

    loads = demand.loads(candidates, budget, now)
    waits: dict[SourceKey, _Wait] = defaultdict(_Wait)
    forecasts = []
    tight: dict[Bucket, float] = {}
    patience: dict[UUID, dict[str, float]] = defaultdict(dict)
    for (keyset, api), own in sorted(loads.items()):
        found = budget(keyset, api)
        made = stretched(own, found, now)
        forecasts.append(
            Forecast(keyset, found, found.used + Stretch.none(own).calls(own), found.used + made.calls(own))
        )
        for account_id, source in (load.key for load in own if load.background and made.patience >= 1.0):
            patience[account_id][source] = max(patience[account_id].get(source, 1.0), round(made.patience, 2))
        if made.is_short:
            tight[keyset, api] = made.share
            for load, factor in zip(own, made.factors, strict=True):
                waits[load.key].add(factor, made.patience if load.background else 1.0, api)
    for keyset, usage in sorted(usages.items()):
        others = (one for one in usage.budgets(now) if (keyset, one.api) not in loads)
        forecasts += [Forecast(keyset, one, one.used, one.used) for one in others]
    cools_down: dict[tuple[str, str, int], tuple[datetime, str] | None] = {}

    def cool_down(candidate: Candidate, api: str) -> tuple[datetime, str] | None:
        key = candidate.keyset, api, candidate.urgency
        if key not in cools_down:
            cools_down[key] = budget(candidate.keyset, api).cool_down(limits.usable_share(candidate.urgency), now)
        return cools_down[key]

    entries = {
        (candidate.account_id, candidate.family): _due(
            candidate, waits.get((candidate.account_id, candidate.source), NO_WAIT), cool_down
        )
        for candidate in candidates
    }
    return Plan(now, entries, forecasts, budget, tight, patience)


@dataclass(slots=True)
class _Wait:
    """How much longer a source and its background work take: the most that one of its quotas asks for, and its API."""

    factor: float = 1.0
    patience: float = 1.0
    api: str = ""

    def add(self, factor: float, patience: float, api: str) -> None:
        if (factor, patience) > (self.factor, self.patience):
            self.api = api
        self.factor, self.patience = max(self.factor, factor), max(self.patience, patience)

    @property
    def reason(self) -> str | None:
        if self.factor < NOTABLE and self.patience < NOTABLE:
            return None
        what = "stretched" if self.factor >= NOTABLE else "old rows wait"
        return f"{what}: the day's forecast of {self.api} is above {limits.TARGET_SHARE:.0%}"


NO_WAIT = _Wait()


def _due(
    candidate: Candidate, wait: _Wait, cool_down: Callable[[Candidate, str], tuple[datetime, str] | None]
) -> PlanEntry:
    # Not compared with UNBOUNDED itself: a factor is a product, and found by halving.
    every = candidate.every * wait.factor if wait.factor < UNBOUNDED / 10 else None
    at = (
        # 1e7 minutes are 19 years: a stretch without bound would overflow the date.
        candidate.last_run_at + timedelta(minutes=min(candidate.every * wait.factor, 1e7))
        if candidate.last_run_at
        else None
    )
    reason = wait.reason
    old_rows = candidate.old_rows_hours and candidate.old_rows_hours * wait.patience
    if candidate.unreachable and candidate.retry_at:
        at, reason = candidate.retry_at, "eBay could not be reached"
    elif candidate.retry_at and (at is None or candidate.retry_at > at):
        at, reason = candidate.retry_at, _why_later(candidate)
    cooling = [found for name in candidate.costs if (found := cool_down(candidate, name))]
    if cooling:
        until, reason = max(cooling)
        return PlanEntry(candidate, every, until if at is None else max(at, until), reason, True, old_rows)
    return PlanEntry(candidate, every, at, reason, False, old_rows)


def _why_later(candidate: Candidate) -> str:
    if candidate.refused_since:
        return f"refused by eBay since {candidate.refused_since.astimezone(UTC):%Y-%m-%d %H:%MZ}"
    return "failed once" if candidate.failures == 1 else f"failed {candidate.failures} times in a row"
