"""The plan: when each family of each account is due, such that no quota of its application is overrun. Pure: what is
known goes in, and the time.

Every quota is shared by all accounts of a keyset. For each, what the rest of the quota day would cost at the intervals
that are set is added to what is used already. Where that exceeds 80 % of the quota, intervals stretch:

    first     families that run least often, up to sixfold; then the more frequent ones: orders last
    then      where that is not enough, in the same order up to twelve hours, now within 90 %
    at last   as far as is needed, all alike

Within one step the dearest accounts stretch first, so that one with 25,000 listings does not slow down two hundred
small ones. The plan is made anew each time, from what was really used, so it needs no memory. Families that are read
from one source cost once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from ebaysync.ebay import limits
from ebaysync.ebay.limits import Budget, Usage

MOST_STRETCH = 6.0  # before the more urgent stretch, too
LONGEST_INTERVAL = 720.0  # minutes; in the second step
UNBOUNDED = 1e6
PACE_MINUTES = 15.0
MOST_URGENT = 5  # minutes: orders do not wait for the pace
# A timer that fires every five minutes is never quite punctual: what is due within this is due.
SLACK = timedelta(seconds=60)

Bucket = tuple[str, str]
"""Keyset and the API whose quota it is."""


@dataclass(frozen=True, slots=True)
class Task:
    """A family of an account: how often it is to run, and what a run costs."""

    account_id: UUID
    family: str
    source: str
    keyset: str
    urgency: int
    """the family's own interval in minutes, whatever is set: the lower, the more urgent"""
    every: float
    """minutes, as set"""
    costs: Mapping[str, float]
    """calls of a run by API"""
    enabled: bool = True
    works: bool = True
    """False: disabled, or the seller must consent: it costs no calls"""
    last_run_at: datetime | None = None
    retry_at: datetime | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """When a family is due: `at` None is now. `every` are the minutes between two runs after stretching, None: no more
    run today."""

    task: Task
    every: float | None
    at: datetime | None
    why: str | None = None
    rests: bool = False

    def is_due(self, now: datetime) -> bool:
        return self.at is None or self.at <= (now if self.rests else now + SLACK)


@dataclass(frozen=True)
class Forecast:
    """What the quota day will have cost. `wanted`: at the intervals that are set; `calls`: after stretching."""

    keyset: str
    budget: Budget
    wanted: float
    calls: float


@dataclass(frozen=True)
class _Group:
    """Families of one source of one account: read once, as often as the most frequent of them."""

    urgency: int
    every: float
    demand: float
    """calls until the reset, at the interval that is set"""
    key: tuple[UUID, str]


@dataclass(frozen=True)
class Plan:
    now: datetime
    dues: Mapping[tuple[UUID, str], Due]
    forecasts: Sequence[Forecast]
    budget: Callable[[str, str], Budget]
    """of a keyset and an API"""
    stretched: Mapping[Bucket, float]
    """quotas of which intervals are stretched: what share of it the day is to use"""

    def due(self, chosen: Callable[[Task], bool] = lambda _: True) -> list[Task]:
        """What is to run now: the most urgent first, and of what is left no more than the quotas still hold."""
        ready = [due for due in self.dues.values() if due.task.enabled and due.is_due(self.now) and chosen(due.task)]
        ready.sort(key=lambda due: (due.task.urgency, due.at or self.now - timedelta(days=365)))
        spent: dict[Bucket, float] = defaultdict(float)
        taken: set[tuple[UUID, str]] = set()
        found = []
        for task in (due.task for due in ready):
            group = task.account_id, task.source
            if group in taken or not task.works or self._fits(task, spent):
                taken.add(group)
                found.append(task)
        return found

    def _fits(self, task: Task, spent: dict[Bucket, float]) -> bool:
        """Whether its calls still fit; then they are spent."""
        wanted: dict[Bucket, float] = defaultdict(float)
        for api, calls in task.costs.items():
            wanted[task.keyset, self.budget(task.keyset, api).api] += calls
        part = limits.last_part(task.urgency)
        for bucket, calls in wanted.items():
            if spent[bucket] + calls > self.budget(*bucket).left(part):
                return False
            if spent[bucket] and task.urgency > MOST_URGENT and spent[bucket] + calls > self._pace(bucket):
                return False
        for bucket, calls in wanted.items():
            spent[bucket] += calls
        return True

    def _pace(self, bucket: Bucket) -> float:
        """What may be spent of a quota at once. Where intervals are stretched, a quarter of an hour's share of what is
        left: else accounts that became due together would stay together, and overrun the forecast each time that it
        allows a little more."""
        if bucket not in self.stretched:
            return float("inf")
        found = self.budget(*bucket)
        minutes = (found.resets_at - self.now).total_seconds() / 60
        return max(0.0, found.left(self.stretched[bucket])) * min(1.0, PACE_MINUTES / max(1.0, minutes))


def plan(tasks: Iterable[Task], usages: Mapping[str, Usage], now: datetime) -> Plan:
    """The plan for the rest of the quota day."""
    tasks = list(tasks)
    budgets: dict[Bucket, Budget] = {}

    def budget(keyset: str, api: str) -> Budget:
        found = budgets.get((keyset, api))
        if found is None:
            found = budgets[keyset, api] = usages.get(keyset, Usage()).budget(api, now)
        return found

    groups = _groups(tasks, budget, now)
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
    rests: dict[tuple[str, str, int], tuple[datetime, str] | None] = {}

    def rest(task: Task, api: str) -> tuple[datetime, str] | None:
        key = task.keyset, api, task.urgency
        if key not in rests:
            rests[key] = budget(task.keyset, api).rest(limits.last_part(task.urgency), now)
        return rests[key]

    dues = {
        (task.account_id, task.family): _due(task, stretches.get((task.account_id, task.source)), rest)
        for task in tasks
    }
    return Plan(now, dues, forecasts, budget, tight)


def _groups(tasks: Iterable[Task], budget: Callable[[str, str], Budget], now: datetime) -> dict[Bucket, list[_Group]]:
    """By quota, what each account's sources would call until the reset."""
    together: dict[tuple[UUID, str], list[Task]] = defaultdict(list)
    for task in tasks:
        if task.enabled and task.works:
            together[task.account_id, task.source].append(task)
    groups: dict[Bucket, list[_Group]] = defaultdict(list)
    for key, own in together.items():
        urgency, every = min(task.urgency for task in own), min(task.every for task in own)
        keyset, costs = own[0].keyset, dict(own[0].costs)
        for task in own[1:]:
            for api, calls in task.costs.items():
                costs[api] = max(costs.get(api, 0.0), calls)
        by_bucket: dict[str, float] = defaultdict(float)
        for api, calls in costs.items():
            by_bucket[budget(keyset, api).api] += calls
        for api, calls in by_bucket.items():
            minutes = (budget(keyset, api).resets_at - now).total_seconds() / 60
            groups[keyset, api].append(_Group(urgency, every, calls * max(0.0, minutes) / every, key))
    return groups


def stretched(groups: Sequence[_Group], budget: Budget) -> list[float]:
    """By how much the interval of each of the groups that share a quota is to be multiplied."""
    demands = [group.demand for group in groups]
    factors = [1.0] * len(groups)
    if sum(demands) <= budget.left(limits.GOAL):
        return factors
    sixfold = [MOST_STRETCH] * len(groups)
    longest = [max(MOST_STRETCH, LONGEST_INTERVAL / group.every) for group in groups]
    for share, most in ((limits.GOAL, sixfold), (limits.LAST_PART, longest)):
        for urgency in sorted({group.urgency for group in groups}, reverse=True):
            if _total(demands, factors) <= budget.left(share):
                return factors
            own = [n for n, group in enumerate(groups) if group.urgency == urgency]
            others = _total(demands, factors) - sum(demands[n] / factors[n] for n in own)
            found = _shared([demands[n] for n in own], budget.left(share) - others, [most[n] for n in own])
            for n, factor in zip(own, found, strict=True):
                factors[n] = max(factors[n], factor)
    if _total(demands, factors) <= budget.left(limits.LAST_PART):
        return factors
    so_far = [demand / factor for demand, factor in zip(demands, factors, strict=True)]
    more = _shared(so_far, budget.left(limits.LAST_PART), [UNBOUNDED] * len(groups))
    return [factor * further for factor, further in zip(factors, more, strict=True)]


def _share(groups: Sequence[_Group], budget: Budget, now: datetime) -> float:
    """What share of a quota a whole day is to use: the goal, where sixfold intervals come to it."""
    minutes = max(1.0, (budget.resets_at - now).total_seconds() / 60)
    least = sum(group.demand for group in groups) / MOST_STRETCH * 1440 / minutes
    return limits.GOAL if least <= limits.GOAL * (budget.quota or 0) else limits.LAST_PART


def _total(demands: Sequence[float], factors: Sequence[float]) -> float:
    return sum(demand / factor for demand, factor in zip(demands, factors, strict=True))


def _shared(demands: Sequence[float], allowed: float, most: Sequence[float]) -> list[float]:
    """Max-min fair: each may have as much as the others, and who wants less keeps what it wants; but none is stretched
    beyond its `most`."""
    if sum(demands) <= allowed:
        return [1.0] * len(demands)
    least = [demand / cap for demand, cap in zip(demands, most, strict=True)]
    if sum(least) >= allowed:
        return list(most)
    low, high = 0.0, max(demands)
    for _ in range(25):  # to some millionths of the dearest
        level = (low + high) / 2
        if sum(max(min(demand, level), floor) for demand, floor in zip(demands, least, strict=True)) > allowed:
            high = level
        else:
            low = level
    given = [max(min(demand, low), floor) for demand, floor in zip(demands, least, strict=True)]
    return [demand / share if share else 1.0 for demand, share in zip(demands, given, strict=True)]


def _due(
    task: Task, stretch: tuple[float, str] | None, rest: Callable[[Task, str], tuple[datetime, str] | None]
) -> Due:
    factor, api = stretch or (1.0, "")
    every: float | None = task.every * factor
    at = task.last_run_at + timedelta(minutes=min(task.every * factor, 1e7)) if task.last_run_at else None
    why = f"stretched: the day's forecast of {api} is above {limits.GOAL:.0%}" if factor >= 1.05 else None
    if task.retry_at and (at is None or task.retry_at > at):
        times = "once" if task.failures == 1 else f"{task.failures} times in a row"
        at, why = task.retry_at, f"failed {times}"
    resting = [found for name in task.costs if (found := rest(task, name))]
    if resting:
        until, reason = max(resting)
        return Due(task, every, until if at is None else max(at, until), reason, rests=True)
    if factor >= UNBOUNDED / 10:
        every = None
    return Due(task, every, at, why)
