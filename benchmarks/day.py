"""A day of many accounts under one keyset with eBay's production quotas, in simulated time: python benchmarks/day.py

Prints the tables of docs/quotas.md. Instead of calls, each run costs as many as a real one, and both we and eBay count
them. One account in twenty is busy; it has something new in nearly every run. The others are quiet. The plan sees
nothing that ebaysync does not store: average calls, calls a day of background work, and when something was new.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from uuid import UUID

from ebaysync.ebay.limits import ApiCount, Usage, resets_at, usable_share
from ebaysync.families import discover
from ebaysync.families.family import PLENTY
from ebaysync.ops import budget, demand
from ebaysync.ops.budget import Plan
from ebaysync.ops.demand import Candidate
from ebaysync.sync.cadence import averaged

MIDNIGHT = datetime(2026, 7, 23, 7, tzinfo=UTC)  # in California
KEYSET = "production:app"
TICK = timedelta(minutes=5)
EACH_CALL = {f"trading.{call}": 5_000 for call in ("GetMyMessages", "GetMyeBaySelling", "GetMyeBayBuying")}
"""The quotas that eBay reports if Trading's 5,000 are for each call and not for all together."""
BUSY = 20  # one account in so many
NEW = 10  # one of the first two hundred accounts in so many is imported today
FORECASTS = (6, 12, 18)  # hours after midnight
SKUS = 205

# How often a source has something new in a day: of a busy account, of a quiet one. A sale shows in four of them.
SALES = (250.0, 3.0)
SHOWS_SALES = ("orders", "transactions", "active_inventory", "inventory")
NEWS = {
    "payouts": (1.0, 0.3),
    "disputes": (0.2, 0.005),
    "messages": (10.0, 0.2),
    "cases": (0.3, 0.01),
    "inquiries": (1.0, 0.03),
    "returns": (3.0, 0.1),
    "cancellations": (2.0, 0.05),
    "buyer": (0.1, 0.05),
}
# Calls a day for the sweep: of a busy account, of a quiet one.
SWEEPS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    **dict.fromkeys(("transactions", "messages", "returns", "cancellations"), ((5.0, 10.0), (0.0, 1.0))),
    **dict.fromkeys(("payouts", "disputes", "cases", "inquiries"), ((1.0, 2.0), (0.0, 1.0))),
}
# Records that are open, most of them read again once a day, some of them four times.
OPEN = {"returns": (20.0, 1.5), "inquiries": (6.0, 0.5), "cases": (3.0, 0.4), "disputes": (1.0, 0.1)}
CALLS_OF_OPEN = 1.6
# The API of a source's first call, and that of its details.
LISTS = {
    "orders": "fulfillment",
    "transactions": "finances",
    "payouts": "finances",
    "disputes": "dispute_summary",
    "messages": "trading.GetMyMessages",
    "cases": "post_order.case",
    "inquiries": "post_order.inquiry",
    "returns": "post_order.return",
    "cancellations": "post_order.cancellation",
    "buyer": "trading.GetMyeBayBuying",
    "active_inventory": "trading.GetMyeBaySelling",
    "inventory": "inventory",
}
DETAILS = LISTS | {"disputes": "dispute"}


@dataclass
class Source:
    """What becomes of an account's source: what is new, and what its background work costs."""

    is_busy: bool
    news: Sequence[datetime]
    """when something is new; the first is before the day"""
    sweep: Mapping[str, float]
    details: Mapping[str, float]
    is_new: bool
    seen: int = 1
    """how many of the news were read"""
    owed: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """calls of background work that are due, with the fraction of the next"""


@dataclass(frozen=True)
class Tick:
    now: datetime
    plan: Plan
    chosen: Sequence[Candidate]


class Day:
    """Iterate over `ticks`, then ask for what happened."""

    def __init__(
        self, seed: int, accounts: int, limits: Mapping[str, int] | None = None, families: Sequence[str] = ()
    ) -> None:
        self.random = Random(seed)
        self.limits = limits or {}
        self.calls: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()
        """calls of something else with the same keyset"""
        self.seen: dict[str, int] = {}
        """as many of them as eBay's report of this hour shows"""
        self.failing: set[tuple[UUID, str]] = set()
        self.cut_short = 0
        self.sources: dict[tuple[int, str], Source] = {}
        self.candidates: dict[tuple[UUID, str], Candidate] = {}
        self.before: dict[tuple[UUID, str], list[datetime]] = {}
        """the last run before the day"""
        self.runs: dict[tuple[UUID, str], list[datetime]] = defaultdict(list)
        self.old_rows: dict[str, float] = defaultdict(float)
        """the longest bound by family, in hours"""
        self.forecasts: dict[int, dict[str, float]] = {}
        for n in range(accounts):
            ago: dict[str, timedelta] = {}
            sales = self._news(SALES[int(not _is_busy(n))])
            for family in (discover()[name] for name in families or discover()):
                if family.source not in ago:
                    self.sources[n, family.source] = self._source(n, family.source, sales)
                    ago[family.source] = TICK * self.random.randint(1, family.every_minutes // 5)
                source = self.sources[n, family.source]
                per_day, eager = demand.background(
                    {"sweep": self._nearly(source.sweep), "details": self._nearly(source.details)}
                )
                made = Candidate(
                    UUID(int=n),
                    family.name,
                    family.source,
                    KEYSET,
                    family.every_minutes,
                    family.every_minutes,
                    family.costs,
                    last_run_at=None if source.is_new else MIDNIGHT - ago[family.source],
                    quiet_minutes=family.quiet_minutes,
                    per_day=per_day,
                    eager=eager,
                    changed_at=None if source.is_new else source.news[0],
                    old_rows_hours=demand.old_rows_hours(family),
                )
                self.candidates[made.account_id, made.family] = made
                self.before[made.account_id, made.family] = [made.last_run_at] if made.last_run_at else []

    def _source(self, n: int, source: str, sales: Sequence[datetime]) -> Source:
        which = int(not _is_busy(n))
        sweep = {LISTS[source]: self.random.uniform(*SWEEPS[source][which])} if source in SWEEPS else {}
        details = (
            {DETAILS[source]: OPEN[source][which] * CALLS_OF_OPEN * self.random.uniform(0.5, 1.5)}
            if source in OPEN
            else {}
        )
        news = sales if source in SHOWS_SALES else self._news(NEWS[source][which])
        return Source(_is_busy(n), news, sweep, details, n % NEW == NEW - 1 and n < 200)

    def _nearly(self, calls: Mapping[str, float]) -> dict[str, float]:
        """As the program has measured them."""
        return {api: number * self.random.uniform(0.9, 1.1) for api, number in calls.items()}

    def _news(self, per_day: float) -> list[datetime]:
        found = [MIDNIGHT - timedelta(days=self.random.expovariate(per_day)), MIDNIGHT]
        while found[-1] < resets_at(MIDNIGHT):
            found.append(found[-1] + timedelta(days=self.random.expovariate(per_day)))
        return [found[0], *found[2:]]

    def ticks(self) -> Iterator[Tick]:
        """Plan and run every five minutes until the quotas are reset."""
        now = MIDNIGHT
        while now < resets_at(MIDNIGHT):
            if now.minute == 0:
                self.seen = dict(self.elsewhere)
            plan = budget.plan(self.candidates.values(), {KEYSET: self.usage()}, now)
            chosen = plan.due()
            self._note(plan, now)
            yield Tick(now, plan, chosen)
            self._run(chosen, plan, now)
            now += TICK

    def _note(self, plan: Plan, now: datetime) -> None:
        hour = (now - MIDNIGHT) / timedelta(hours=1)
        if hour in FORECASTS:
            self.forecasts[int(hour)] = {each.budget.api: each.calls for each in plan.forecasts}
        if hour >= 1:
            for entry in plan.entries.values():
                if entry.old_rows_hours:
                    name = entry.candidate.family
                    self.old_rows[name] = max(self.old_rows[name], entry.old_rows_hours)

    def usage(self) -> Usage:
        counts = {api: ApiCount(api, self.calls[api], self.seen.get(api, 0)) for api in {*self.calls, *self.seen}}
        return Usage(counts, self.limits)

    def _run(self, chosen: Sequence[Candidate], plan: Plan, now: datetime) -> None:
        usage, self._spent = self.usage(), Counter()
        self._budgets = {api: usage.budget(api, now) for api in DETAILS.values()} | {
            api: usage.budget(api, now) for api in LISTS.values()
        }
        groups: dict[tuple[UUID, str], list[Candidate]] = defaultdict(list)
        for one in chosen:
            groups[one.account_id, one.source].append(one)
        for (account_id, name), members in groups.items():
            source = self.sources[account_id.int, name]
            patience = plan.patience.get(account_id, {}).get(name, PLENTY)
            last = members[0].last_run_at or now
            wanted, has_news = self._wanted(account_id.int, name, now)
            background = self._background(source, (now - last) / timedelta(days=1), patience)
            spent = self._spend(wanted, min(member.urgency for member in members), now)
            self._spend(background, min(member.urgency for member in members), now)
            whole = spent == wanted and not source.is_new
            source.is_new = False
            for member in members:
                self.runs[account_id, member.family].append(now)
                if (account_id, member.family) in self.failing:
                    self._fail(member, now)
                    continue
                costs = averaged(member.costs if member.last_run_at else {}, spent) if whole else member.costs
                changed_at = now if has_news else member.changed_at
                self.candidates[account_id, member.family] = replace(
                    member, last_run_at=now, costs=costs, changed_at=changed_at
                )

    def _fail(self, member: Candidate, now: datetime) -> None:
        wait = min(360.0, member.every * 2**member.failures) * self.random.uniform(0.8, 1.2)
        self.candidates[member.account_id, member.family] = replace(
            member, failures=member.failures + 1, last_run_at=now, retry_at=now + timedelta(minutes=wait)
        )

    def _wanted(self, n: int, name: str, now: datetime) -> tuple[dict[str, int], bool]:
        """The calls of a run without background work, and whether it finds something new."""
        source = self.sources[n, name]
        news = bisect_right(source.news, now) - source.seen
        source.seen += news
        first = {"orders": 90, "messages": 5}.get(name, 1) if source.is_new else 1
        lists = {"messages": 3 if news else 1, "active_inventory": 2, "inventory": 2 + SKUS}.get(name, 1) * first
        details = news if name in OPEN else sum(self.random.random() < 0.02 for _ in range(news * (name == "orders")))
        return Counter({LISTS[name]: lists}) + Counter({DETAILS[name]: details}), bool(news) or source.is_new

    def _background(self, source: Source, days: float, patience: float) -> dict[str, int]:
        found = {}
        for api in {**source.sweep, **source.details}:
            calls = source.sweep.get(api, 0.0) / patience + source.details.get(api, 0.0) / max(1.0, patience)
            owed = source.owed[api] + calls * days
            found[api] = math.floor(owed)
            source.owed[api] = owed - found[api]
        return found

    def _spend(self, wanted: Mapping[str, int], urgency: int, now: datetime) -> dict[str, int]:
        """As the meter does: call by call until the part of the quota is used that this family may use."""
        spent = {}
        for api, calls in wanted.items():
            budget_ = self._budgets[api]
            left = budget_.remaining(usable_share(urgency)) - self._spent[budget_.api]
            spent[api] = max(0, min(calls, math.floor(left)))
            self.cut_short += spent[api] < calls
            self.calls[api] += spent[api]
            self._spent[budget_.api] += spent[api]
        return spent

    def gaps(self, family: str, *, busy: bool) -> list[float]:
        """Minutes between the runs of a family, of all busy or all quiet accounts; also until the end of the day, and
        if there are fewer than two, from the last one before it."""
        found = []
        for (account_id, name), before in self.before.items():
            if name == family and busy == self.sources[account_id.int, discover()[family].source].is_busy:
                runs = self.runs[account_id, name]
                whole = [*(before if len(runs) < 2 else ()), *runs, resets_at(MIDNIGHT)]
                found += [(after - before) / timedelta(minutes=1) for before, after in pairwise(whole)]
        return sorted(found)

    def shares(self) -> dict[str, float]:
        """The share of each quota that the day used."""
        end = resets_at(MIDNIGHT) - TICK
        return {each.api: each.used / each.quota for each in self.usage().budgets(end) if each.quota}

    def misses(self) -> dict[str, list[float]]:
        """By how much of what was used the forecasts were off, for each quota."""
        end = resets_at(MIDNIGHT) - TICK
        return {
            each.api: [self.forecasts[hour].get(each.api, 0.0) / each.used - 1 for hour in FORECASTS]
            for each in self.usage().budgets(end)
            if each.used
        }


def _is_busy(n: int) -> bool:
    return n % BUSY == BUSY // 2


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))] if ordered else math.nan


# ---- the tables of docs/quotas.md

SIZES = (1, 20, 200, 1_000)
READINGS: Mapping[str, Mapping[str, int]] = {"for all calls": {}, "for each call": EACH_CALL}
SEED = 1


def simulated(accounts: int, limits: Mapping[str, int]) -> Day:
    day = Day(SEED, accounts, limits)
    for tick in day.ticks():
        for found in day.usage().budgets(tick.now):
            assert found.quota is None or found.used <= found.quota, found
    return day


def main() -> None:
    print(f"seed {SEED}\n")
    keys = [(name, size) for size in reversed(SIZES) for name in READINGS]
    with ProcessPoolExecutor() as pool:
        made = pool.map(simulated, [size for _, size in keys], [READINGS[name] for name, _ in keys])
        days = dict(zip(keys, made, strict=True))
    heads = [f"{size:,}" for size in SIZES]
    print(_table(["minutes between runs", *heads], _gap_rows(days)))
    print(_table(["old rows, hours", *heads], _bound_rows(days)))
    print(_table(["used; forecast off by", *heads], _quota_rows(days)))
    print("runs cut short:", {key: day.cut_short for key, day in days.items()})


def _rows(days: Mapping[tuple[str, int], Day]) -> Iterator[tuple[str, str, list[Day]]]:
    """Each family, those of Trading once for each reading of its quota, with its days."""
    first = next(iter(READINGS))
    for family in discover().values():
        for reading in READINGS if LISTS[family.source].startswith("trading") else (first,):
            label = family.name + (f", Trading's 5,000 {reading}" if LISTS[family.source].startswith("trading") else "")
            yield family.name, label, [days[reading, size] for size in SIZES]


def _gap_rows(days: Mapping[tuple[str, int], Day]) -> Iterator[list[str]]:
    for family, label, own in _rows(days):
        cells = []
        for day in own:
            kinds = [day.gaps(family, busy=busy) for busy in (True, False)]
            cells.append(" · ".join(_figures(gaps) for gaps in kinds if gaps))
        yield [label, *cells]


def _figures(gaps: Sequence[float]) -> str:
    return "/".join(f"{figure:,.0f}" for figure in (percentile(gaps, 0.5), percentile(gaps, 0.95), gaps[-1]))


def _bound_rows(days: Mapping[tuple[str, int], Day]) -> Iterator[list[str]]:
    for family, label, own in _rows(days):
        if demand.old_rows_hours(discover()[family]):
            yield [label, *(f"{day.old_rows[family]:.0f}" for day in own)]


def _quota_rows(days: Mapping[tuple[str, int], Day]) -> Iterator[list[str]]:
    for api in sorted({api for day in days.values() for api in day.shares()}):
        cells = []
        for size in SIZES:
            day = next(day for (_, own), day in days.items() if own == size and api in day.shares())
            share, off = day.shares()[api], max(day.misses().get(api, [0.0]), key=abs)
            cells.append(f"{share:.0%}" + (f"; {off:+.0%}" if share > 0.2 else ""))
        yield [api, *cells]


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    main()
