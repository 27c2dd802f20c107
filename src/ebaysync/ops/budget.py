"""Plans when each family of each account is due, so that no quota is exceeded. Pure: facts and the time go in.

All accounts of a keyset share each quota. The plan adds up the calls used so far and the calls until the reset at the
configured intervals. If the sum exceeds 80 % of the quota, intervals stretch, in three steps:

    1   up to sixfold; families that run least often first, orders last
    2   up to twelve hours, in the same order, until the sum is within 90 %
    3   as far as needed, all alike

Within a step the most expensive accounts stretch first, so that one with 25,000 listings does not slow down two hundred
small ones. Each plan starts from the calls really used, so it needs no memory. Families that share a source cost once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ebaysync.ebay import limits
from ebaysync.ebay.limits import Budget, Usage

MOST_STRETCH = 6.0  # before more urgent families stretch too
LONGEST_INTERVAL = 720.0  # minutes; the limit of step 2
UNBOUNDED = 1e6
PACE_MINUTES = 15.0
MOST_URGENT = 5  # minutes; families that run this often ignore the pace
# A five-minute timer is never quite punctual, so a family that is due within this time is due.
SLACK = timedelta(seconds=60)

Bucket = tuple[str, str]
"""A keyset, and the API that has the quota."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family of an account that could run: its interval, and what a run costs."""

    account_id: UUID
    family: str
    source: str
    keyset: str
    urgency: int
    """the family's own interval in minutes, whatever is configured; lower is more urgent"""
    every: float
    """minutes, as configured"""
    costs: Mapping[str, float]
    """calls per run, by API"""
    enabled: bool = True
    works: bool = True
    """False if the account is disabled or the seller must consent; then it costs no calls"""
    last_run_at: datetime | None = None
    retry_at: datetime | None = None
    failures: int = 0
    unreachable: bool = False
    """the last run could not reach eBay: `retry_at` alone counts, which is now as soon as eBay answers again"""
    refused_since: datetime | None = None
    """since when eBay refuses its calls: until `retry_at` it costs nothing"""


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """When a family is due; `at` None is now. `every` is the stretched interval in minutes; None: not again today."""

    candidate: Candidate
    every: float | None
    at: datetime | None
    reason: str | None = None
    cools_down: bool = False

    def is_due(self, now: datetime) -> bool:
        return self.at is None or self.at <= (now if self.cools_down else now + SLACK)


@dataclass(frozen=True)
class Forecast:
    """Calls by the end of the quota day: `wanted` at the configured intervals, `calls` after stretching."""

    keyset: str
    budget: Budget
    wanted: float
    calls: float


@dataclass(frozen=True)
class _SourceLoad:
    """The families of an account that share a source. The source is read as often as the most frequent of them."""

    urgency: int
    every: float
    demand: float
    """calls until the reset, at the configured interval"""
    key: tuple[UUID, str]


@dataclass(frozen=True)
class Plan:
    now: datetime
    entries: Mapping[tuple[UUID, str], PlanEntry]
    forecasts: Sequence[Forecast]
    budget: Callable[[str, str], Budget]
    """takes a keyset and an API"""
    stretched: Mapping[Bucket, float]
    """the share of the quota that the day may use, for each quota whose intervals are stretched"""

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
        taken: set[tuple[UUID, str]] = set()
        found = []
        for candidate in (due.candidate for due in ready):
            group = candidate.account_id, candidate.source
            # Families that share a source are read by the same calls, so only the first of them is counted.
            if group in taken or not candidate.works or self._fits(candidate, spent):
                taken.add(group)
                found.append(candidate)
        return found

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

    groups = _groups(candidates, budget, now)
    stretches: dict[tuple[UUID, str], tuple[float, str]] = {}
    forecasts = []
    tight: dict[Bucket, float] = {}
    for (keyset, api), own in sorted(groups.items()):
        found = budget(keyset, api)
        factors = stretched(own, found)
        for group, factor in zip(own, factors, strict=True):
            if factor > stretches.get(group.key, (1.0, ""))[0]:
                stretches[group.key] = factor, api
        wanted = found.used + sum(group.demand for group in own)
        if max(factors, default=1.0) > 1.0:
            tight[keyset, api] = _share(own, found, now)
        calls = found.used + sum(group.demand / factor for group, factor in zip(own, factors, strict=True))
        forecasts.append(Forecast(keyset, found, wanted, calls))
    for keyset, usage in sorted(usages.items()):
        others = (one for one in usage.budgets(now) if (keyset, one.api) not in groups)
        forecasts += [Forecast(keyset, one, one.used, one.used) for one in others]
    cools_down: dict[tuple[str, str, int], tuple[datetime, str] | None] = {}

    def cool_down(candidate: Candidate, api: str) -> tuple[datetime, str] | None:
        key = candidate.keyset, api, candidate.urgency
        if key not in cools_down:
            cools_down[key] = budget(candidate.keyset, api).cool_down(limits.usable_share(candidate.urgency), now)
        return cools_down[key]

    entries = {
        (candidate.account_id, candidate.family): _due(
            candidate, stretches.get((candidate.account_id, candidate.source)), cool_down
        )
        for candidate in candidates
    }
    return Plan(now, entries, forecasts, budget, tight)


def _groups(
    candidates: Iterable[Candidate], budget: Callable[[str, str], Budget], now: datetime
) -> dict[Bucket, list[_SourceLoad]]:
    """Calls until the reset, for each quota and each source of an account."""
    together: dict[tuple[UUID, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.enabled and candidate.works and not candidate.refused_since:
            together[candidate.account_id, candidate.source].append(candidate)
    groups: dict[Bucket, list[_SourceLoad]] = defaultdict(list)
    for key, own in together.items():
        urgency, every = min(candidate.urgency for candidate in own), min(candidate.every for candidate in own)
        keyset, costs = own[0].keyset, dict(own[0].costs)
        for candidate in own[1:]:
            for api, calls in candidate.costs.items():
                costs[api] = max(costs.get(api, 0.0), calls)
        by_bucket: dict[str, float] = defaultdict(float)
        for api, calls in costs.items():
            by_bucket[budget(keyset, api).api] += calls
        for api, calls in by_bucket.items():
            minutes = (budget(keyset, api).resets_at - now).total_seconds() / 60
            groups[keyset, api].append(_SourceLoad(urgency, every, calls * max(0.0, minutes) / every, key))
    return groups


def stretched(groups: Sequence[_SourceLoad], budget: Budget) -> list[float]:
    """The factor by which each source's interval is multiplied, for sources that share a quota."""
    demands = [group.demand for group in groups]
    factors = [1.0] * len(groups)
    if sum(demands) <= budget.remaining(limits.TARGET_SHARE):
        return factors
    sixfold = [MOST_STRETCH] * len(groups)
    longest = [max(MOST_STRETCH, LONGEST_INTERVAL / group.every) for group in groups]
    for share, most in ((limits.TARGET_SHARE, sixfold), (limits.LEAST_USABLE_SHARE, longest)):
        for urgency in sorted({group.urgency for group in groups}, reverse=True):
            if _total(demands, factors) <= budget.remaining(share):
                return factors
            own = [n for n, group in enumerate(groups) if group.urgency == urgency]
            others = _total(demands, factors) - sum(demands[n] / factors[n] for n in own)
            found = _shared([demands[n] for n in own], budget.remaining(share) - others, [most[n] for n in own])
            for n, factor in zip(own, found, strict=True):
                factors[n] = max(factors[n], factor)
    if _total(demands, factors) <= budget.remaining(limits.LEAST_USABLE_SHARE):
        return factors
    so_far = [demand / factor for demand, factor in zip(demands, factors, strict=True)]
    more = _shared(so_far, budget.remaining(limits.LEAST_USABLE_SHARE), [UNBOUNDED] * len(groups))
    return [factor * further for factor, further in zip(factors, more, strict=True)]


def _share(groups: Sequence[_SourceLoad], budget: Budget, now: datetime) -> float:
    """The share of a quota that a whole day may use: TARGET_SHARE if sixfold intervals are enough, else more."""
    minutes = max(1.0, (budget.resets_at - now).total_seconds() / 60)
    least = sum(group.demand for group in groups) / MOST_STRETCH * 1440 / minutes
    return limits.TARGET_SHARE if least <= limits.TARGET_SHARE * (budget.quota or 0) else limits.LEAST_USABLE_SHARE


def _total(demands: Sequence[float], factors: Sequence[float]) -> float:
    return sum(demand / factor for demand, factor in zip(demands, factors, strict=True))


def _shared(demands: Sequence[float], allowed: float, most: Sequence[float]) -> list[float]:
    """Max-min fair shares: nobody gets more than it wants, and nobody is stretched beyond its `most`."""
    if sum(demands) <= allowed:
        return [1.0] * len(demands)
    least = [demand / cap for demand, cap in zip(demands, most, strict=True)]
    if sum(least) >= allowed:
        return list(most)
    low, high = 0.0, max(demands)
    for _ in range(25):  # precise to some millionths of the largest demand
        level = (low + high) / 2
        if sum(max(min(demand, level), floor) for demand, floor in zip(demands, least, strict=True)) > allowed:
            high = level
        else:
            low = level
    given = [max(min(demand, low), floor) for demand, floor in zip(demands, least, strict=True)]
    return [demand / share if share else 1.0 for demand, share in zip(demands, given, strict=True)]


def _due(
    candidate: Candidate,
    stretch: tuple[float, str] | None,
    cool_down: Callable[[Candidate, str], tuple[datetime, str] | None],
) -> PlanEntry:
    factor, api = stretch or (1.0, "")
    every: float | None = candidate.every * factor
    at = (
        # 1e7 minutes are 19 years: a stretch without bound would overflow the date.
        candidate.last_run_at + timedelta(minutes=min(candidate.every * factor, 1e7)) if candidate.last_run_at else None
    )
    reason = f"stretched: the day's forecast of {api} is above {limits.TARGET_SHARE:.0%}" if factor >= 1.05 else None
    if candidate.unreachable and candidate.retry_at:
        at, reason = candidate.retry_at, "eBay could not be reached"
    elif candidate.retry_at and (at is None or candidate.retry_at > at):
        at, reason = candidate.retry_at, _why_later(candidate)
    cooling = [found for name in candidate.costs if (found := cool_down(candidate, name))]
    if cooling:
        until, reason = max(cooling)
        return PlanEntry(candidate, every, until if at is None else max(at, until), reason, cools_down=True)
    # Not compared with UNBOUNDED itself: a factor is a product, and found by halving.
    if factor >= UNBOUNDED / 10:
        every = None
    return PlanEntry(candidate, every, at, reason)


def _why_later(candidate: Candidate) -> str:
    if candidate.refused_since:
        return f"refused by eBay since {candidate.refused_since.astimezone(UTC):%Y-%m-%d %H:%MZ}"
    return "failed once" if candidate.failures == 1 else f"failed {candidate.failures} times in a row"
