"""The plan: what is due when, so that no quota is overrun; and a day of two hundred accounts under one keyset."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random, SystemRandom
from typing import Any
from uuid import UUID

import pytest

from ebaysync.ebay.limits import ApiCount, Usage, resets_at, usable_share
from ebaysync.families import discover
from ebaysync.ops import budget
from ebaysync.ops.budget import Candidate, Plan
from ebaysync.sync.cadence import averaged

MIDNIGHT = datetime(2026, 7, 23, 7, tzinfo=UTC)  # in California
NOON = MIDNIGHT + timedelta(hours=12)
KEYSET = "production:app"


def task(family: str = "orders", account: int = 1, **changed: Any) -> Candidate:
    own = discover()[family]
    made = Candidate(UUID(int=account), family, own.source, KEYSET, own.every_minutes, own.every_minutes, own.costs)
    return replace(made, **changed)


def planned(
    tasks: list[Candidate], counts: Mapping[str, int] | None = None, now: datetime = NOON, **usage: Any
) -> Plan:
    known = {api: ApiCount(api, calls) for api, calls in (counts or {}).items()}
    return budget.plan(tasks, {KEYSET: Usage(known, **usage)}, now)


def due(plan: Plan, family: str = "orders", account: int = 1) -> budget.PlanEntry:
    return plan.entries[UUID(int=account), family]


def forecast(plan: Plan, api: str) -> budget.Forecast:
    return next(each for each in plan.forecasts if each.budget.api == api)


def test_what_never_ran_is_due_and_what_ran_is_due_after_its_interval() -> None:
    ran = NOON - timedelta(minutes=3)
    plan = planned([task(), task(account=2, last_run_at=ran), task(account=3, last_run_at=ran, every=20)])
    assert [each.account_id.int for each in plan.due()] == [1]
    assert due(plan).at is None
    assert due(plan, account=2).at == ran + timedelta(minutes=5)
    assert due(plan, account=3).at == ran + timedelta(minutes=20)


def test_a_timer_that_comes_a_little_early_finds_it_due() -> None:
    assert planned([task(last_run_at=NOON - timedelta(minutes=4, seconds=10))]).due()
    assert not planned([task(last_run_at=NOON - timedelta(minutes=3, seconds=50))]).due()


def test_a_family_that_failed_waits_for_its_time_and_says_so() -> None:
    waiting = task(last_run_at=NOON - timedelta(hours=2), retry_at=NOON + timedelta(minutes=7), failures=3)
    plan = planned([waiting])
    assert not plan.due()
    assert (due(plan).at, due(plan).reason) == (waiting.retry_at, "failed 3 times in a row")
    assert planned([replace(waiting, retry_at=NOON)]).due()


def test_a_disabled_family_is_never_due_and_costs_nothing() -> None:
    plan = planned([task(enabled=False), task("payouts", works=False)])
    assert [each.family for each in plan.due()] == ["payouts"], "its run says what is the matter, without a call"
    assert plan.forecasts == []


def test_families_of_one_source_cost_once() -> None:
    three = [task(name) for name in ("finances", "transactions", "refunds")]
    assert forecast(planned(three), "finances").calls == forecast(planned(three[:1]), "finances").calls == 2 * 12 * 4


def test_within_the_goal_nothing_stretches() -> None:
    plan = planned([task(account=n, costs={"fulfillment": 1.1}) for n in range(200)], {"fulfillment": 34_000})
    assert forecast(plan, "fulfillment").calls == pytest.approx(34_000 + 200 * 144 * 1.1)
    assert {each.every for each in plan.entries.values()} == {5}
    assert {each.reason for each in plan.entries.values()} == {None}


def test_the_least_urgent_stretch_first_and_the_forecast_stays_within_the_goal() -> None:
    tasks = [task("finances", n) for n in range(60)] + [task("payouts", n) for n in range(60)]
    plan = planned(tasks, {"finances": 6_000})  # wanted until midnight: 5,760 and 1,440
    assert forecast(plan, "finances").wanted == pytest.approx(13_200)
    assert forecast(plan, "finances").calls == pytest.approx(12_000, rel=0.001)
    assert due(plan, "finances").every == pytest.approx(15, rel=0.01) or due(plan, "payouts").every == 360
    plan = planned(tasks, {"finances": 5_000})
    assert due(plan, "finances").every == 15
    assert 60 < (due(plan, "payouts").every or 0) < 90
    assert due(plan, "payouts").reason == "stretched: the day's forecast of finances is above 80%"


def test_a_dear_account_stretches_before_the_others() -> None:
    tasks = [task("active_inventory", n) for n in range(100)] + [
        task("active_inventory", 999, costs={"trading.GetMyeBaySelling": 125})
    ]
    plan = planned(tasks)  # 2,400 and 1,500
    assert due(plan, "active_inventory", 5).every == 60
    assert due(plan, "active_inventory", 999).every == 60
    plan = planned(tasks, {"trading.GetItem": 1_000})
    assert due(plan, "active_inventory", 5).every == 60
    assert (due(plan, "active_inventory", 999).every or 0) > 90
    assert forecast(plan, "trading").calls <= 4_000 * 1.001


def test_far_beyond_the_quota_everything_stretches_until_it_fits() -> None:
    tasks = [task(name, n) for n in range(400) for name in ("messages", "active_inventory", "buyer")]
    plan = planned(tasks, {"trading.GetMyMessages": 2_000})
    assert forecast(plan, "trading").calls <= 4_500 * 1.001
    assert (due(plan, "messages").every or 0) > 600


def test_of_a_quota_that_is_used_up_only_the_most_urgent_have_the_last_part() -> None:
    tasks = [task("messages"), task("buyer")]
    plan = planned(tasks, {"trading.GetMyMessages": 4_700})
    assert [each.family for each in plan.due()] == ["messages"]
    assert due(plan, "buyer").at == MIDNIGHT + timedelta(days=1)
    assert "4700 of 5000 calls of trading are used" in (due(plan, "buyer").reason or "")


def test_no_more_is_due_than_the_quota_still_holds() -> None:
    tasks = [task("messages", n) for n in range(100)] + [task("buyer", n) for n in range(100)]
    chosen = planned(tasks, {"trading.GetMyMessages": 4_500}).due()
    assert {each.family for each in chosen} == {"messages"}
    assert 0 < sum(sum(each.costs.values()) for each in chosen) <= 0.96 * 5_000 - 4_500


def test_while_an_api_rests_its_families_are_due_when_it_ends_and_the_others_go_on() -> None:
    until = NOON + timedelta(hours=3)
    counts = {"finances": ApiCount("finances", cools_down_until=until)}
    tasks = [task(), task("finances"), task("payouts", last_run_at=NOON - timedelta(minutes=1))]
    plan = budget.plan(tasks, {KEYSET: Usage(counts)}, NOON)
    assert [each.family for each in plan.due()] == ["orders"]
    assert (due(plan, "finances").at, due(plan, "payouts").at) == (until, until)
    assert "the quota of finances is spent until 2026-07-23 22:00Z" in (due(plan, "finances").reason or "")
    late = until - timedelta(seconds=30)
    assert "finances" not in [each.family for each in budget.plan(tasks, {KEYSET: Usage(counts)}, late).due()]
    assert "finances" in [each.family for each in budget.plan(tasks, {KEYSET: Usage(counts)}, until).due()]


def test_another_keyset_has_quotas_of_its_own() -> None:
    other = task("buyer", 2, keyset="production:other")
    plan = planned([task("buyer"), other], {"trading.GetMyeBayBuying": 4_990})
    assert [each.account_id.int for each in plan.due()] == [2]


def test_a_quota_that_ebay_reports_counts_instead_of_the_documented_one() -> None:
    tasks = [task("buyer", n) for n in range(300)]
    assert (due(planned(tasks, {"trading.GetMyMessages": 4_000}), "buyer").every or 0) > 60
    assert (
        due(planned(tasks, {"trading.GetMyMessages": 4_000}, limits={"trading.GetMyeBayBuying": 5_000}), "buyer").every
        == 60
    )
    assert due(planned(tasks, {"trading.GetMyMessages": 4_000}, limits={"trading": 1_000_000}), "buyer").every == 60


def test_an_average_follows_what_runs_cost() -> None:
    known = averaged({}, {"finances": 10, "oauth.refresh_token": 1})
    assert known == {"finances": 10.0}
    for _ in range(20):
        known = averaged(known, {"finances": 2})
    assert known["finances"] == pytest.approx(2, abs=0.1)


# ---- a day


class Day:
    """What happens instead of calls: each run costs a random number of them, and both we and eBay count."""

    def __init__(self, seed: int, accounts: int) -> None:
        self.random = Random(seed)
        self.calls: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()
        self.counts: dict[str, ApiCount] = {}
        self.usual: dict[tuple[int, str], dict[str, float]] = {}
        self.tasks: dict[tuple[UUID, str], Candidate] = {}
        self.first: set[tuple[int, str]] = set()
        self.runs: dict[tuple[UUID, str], list[datetime]] = defaultdict(list)
        for n in range(accounts):
            for family in discover().values():
                self.usual.setdefault((n, family.source), self._usual(n, family.source, family.costs))
                new = n % 10 == 0
                last = None if new else MIDNIGHT - timedelta(minutes=self.random.uniform(0, family.every_minutes))
                if new:
                    self.first.add((n, family.source))
                made = task(family.name, n, last_run_at=last)
                self.tasks[made.account_id, made.family] = made

    def _usual(self, n: int, source: str, declared: Mapping[str, float]) -> dict[str, float]:
        """Most accounts cost about what is declared; every fortieth has many listings and messages."""
        many = {"active_inventory": 40, "inventory": 60, "messages": 2, "buyer": 3}.get(source, 1) if n % 40 == 3 else 1
        spread = (1.0, 1.4) if source == "orders" else (0.5, 1.5)
        return {api: calls * self.random.uniform(*spread) * many for api, calls in declared.items()}

    def usage(self, seen: Mapping[str, int]) -> dict[str, Usage]:
        apis = {*self.calls, *seen}
        return {KEYSET: Usage({api: ApiCount(api, self.calls[api], seen.get(api, 0)) for api in apis})}

    def run(self, ready: list[Candidate], now: datetime, seen: Mapping[str, int]) -> None:
        self.counts = dict(self.usage(seen)[KEYSET].counts)
        groups: dict[tuple[UUID, str], list[Candidate]] = defaultdict(list)
        for one in ready:
            groups[one.account_id, one.source].append(one)
        for (account_id, source), members in groups.items():
            spent, whole = self._spend(account_id.int, source, min(m.urgency for m in members), now, seen)
            for member in members:
                self.runs[account_id, member.family].append(now)
                self._after(member, now, spent, whole)

    def _spend(
        self, n: int, source: str, urgency: int, now: datetime, seen: Mapping[str, int]
    ) -> tuple[dict[str, int], bool]:
        """As the meter does: call by call until the part of the quota is used that this family may use."""
        first = (n, source) in self.first
        self.first.discard((n, source))
        spent = {}
        whole = True
        counts = self.counts
        usage = Usage(counts)
        for api, usual in self.usual[n, source].items():
            wanted = max(1, round(usual * self.random.uniform(0.7, 1.3))) * (90 if first and source == "orders" else 1)
            spent[api] = max(0, min(wanted, math.floor(usage.budget(api, now).remaining(usable_share(urgency)))))
            whole = whole and spent[api] == wanted
            self.calls[api] += spent[api]
            counts[api] = ApiCount(api, self.calls[api], seen.get(api, 0))
        return spent, whole and not first

    def _after(self, member: Candidate, now: datetime, spent: dict[str, int], whole: bool) -> None:
        key = member.account_id, member.family
        if key == FAILING:
            failures = member.failures + 1
            wait = min(360.0, member.every * 2 ** (failures - 1)) * self.random.uniform(0.8, 1.2)
            self.tasks[key] = replace(
                member, failures=failures, last_run_at=now, retry_at=now + timedelta(minutes=wait)
            )
            return
        measured = member.costs if member.last_run_at else {}
        costs = averaged(measured, spent) if whole else member.costs
        self.tasks[key] = replace(member, last_run_at=now, costs=costs)


FAILING = (UUID(int=7), "returns")
TICK = timedelta(minutes=5)


def test_two_hundred_accounts_under_one_keyset_overrun_no_quota_in_a_day() -> None:
    """With eBay's real quotas and run-all every five minutes. On the side, something else calls Trading with the same
    keyset, which eBay's figures show once an hour. In a day none is overrun, and orders are never late."""
    seed = SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    day = Day(seed, 200)
    seen: dict[str, int] = {}
    promised: dict[tuple[UUID, str], datetime] = {}
    highest: dict[str, float] = defaultdict(float)
    now = MIDNIGHT
    while now < resets_at(MIDNIGHT):
        if now.minute == 0:
            seen = dict(day.elsewhere)
        plan = budget.plan(day.tasks.values(), day.usage(seen), now)
        ready = plan.due()
        chosen = {(each.account_id, each.family) for each in ready}
        orders = {key: one for key, one in plan.entries.items() if key[1] == "orders"}
        for key, one in orders.items():
            if one.at is None or one.at <= now:
                assert key in chosen, (seed, now, one)
        late = [key for key, at in promised.items() if at <= now and key not in chosen]
        assert not late, (seed, now, late)
        day.run(ready, now, seen)
        day.elsewhere["trading.GetItem"] += day.random.randrange(3)
        for key, one in orders.items():
            if key in chosen:
                promised[key] = now + timedelta(minutes=one.every or math.inf)
        usage = day.usage(seen)[KEYSET]
        for each in usage.budgets(now):
            assert each.quota
            hidden = sum(day.elsewhere.values()) - sum(seen.values()) if each.api == "trading" else 0
            assert each.used + hidden <= each.quota, (seed, now, each)
            highest[each.api] = max(highest[each.api], each.used / each.quota)
        now += TICK
    never = [key for key in day.tasks if not day.runs[key]]
    assert not never, (seed, never)
    gaps = [b - a for key, at in day.runs.items() if key[1] == "orders" for a, b in pairwise(at)]
    assert max(gaps) <= 2 * TICK, (seed, max(gaps))
    assert 4 <= len(day.runs[FAILING]) <= 12, "a failing family goes on, ever more seldom"
    print({api: f"{share:.0%}" for api, share in sorted(highest.items())}, sum(day.calls.values()), "calls")
    assert max(highest.values()) <= 0.98
    assert highest["finances"] <= 0.82, "where sixfold intervals come to the goal, the day ends there"
