"""The plan: what is due when, so that no quota is overrun; and a day of two hundred accounts under one keyset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Any
from uuid import UUID

import pytest

from benchmarks.day import EACH_CALL, KEYSET, MIDNIGHT, Day, percentile
from ebaysync.accounts.accounts import Account
from ebaysync.cli.run_all import account_job
from ebaysync.ebay.limits import ApiCount, Usage
from ebaysync.families import discover
from ebaysync.ops import budget, demand
from ebaysync.ops.budget import Plan
from ebaysync.ops.demand import Candidate
from ebaysync.sync.cadence import averaged

NOON = MIDNIGHT + timedelta(hours=12)


def task(family: str = "orders", account: int = 1, **changed: Any) -> Candidate:
    own = discover()[family]
    made = Candidate(UUID(int=account), family, own.source, KEYSET, own.every_minutes, own.every_minutes, own.costs)
    bound = demand.old_rows_hours(own)
    return replace(made, **{"quiet_minutes": own.quiet_minutes, "old_rows_hours": bound} | changed)


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
    assert forecast(planned(three), "finances").calls == forecast(planned(three[:1]), "finances").calls == 12 * 4


def test_within_the_goal_nothing_stretches() -> None:
    plan = planned([task(account=n, costs={"fulfillment": 1.1}) for n in range(200)], {"fulfillment": 34_000})
    assert forecast(plan, "fulfillment").calls == pytest.approx(34_000 + 200 * 144 * 1.1)
    assert {each.every for each in plan.entries.values()} == {5}
    assert {each.reason for each in plan.entries.values()} == {None}


def test_the_least_urgent_stretch_first_and_the_forecast_stays_within_the_goal() -> None:
    tasks = [task("finances", n) for n in range(120)] + [task("payouts", n) for n in range(120)]
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
    tasks = [task(name, n) for n in range(1_500) for name in ("messages", "active_inventory", "buyer")]
    plan = planned(tasks, {"trading.GetMyMessages": 2_000})
    assert forecast(plan, "trading").calls <= 4_750 * 1.001, "96 % less half of a margin that the day uses up"
    assert (due(plan, "messages").every or 0) > 720


def test_of_a_quota_that_is_used_up_only_the_most_urgent_have_the_last_part() -> None:
    tasks = [task("messages"), task("buyer")]
    plan = planned(tasks, {"trading.GetMyMessages": 4_700})
    assert [each.family for each in plan.due()] == ["messages"]
    assert due(plan, "buyer").at == MIDNIGHT + timedelta(days=1)
    assert "4700 of 5000 calls of trading are used" in (due(plan, "buyer").reason or "")


def test_no_more_is_due_than_the_quota_still_holds() -> None:
    tasks = [task("messages", n) for n in range(400)] + [task("buyer", n) for n in range(100)]
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


# ---- activity


def ago(**since: float) -> datetime:
    return NOON - timedelta(**since)


def short(*tasks: Candidate) -> Plan:
    """The plan of these and of so many quiet accounts that Trading's quota is short, but not far."""
    return planned([*tasks, *(task("messages", n) for n in range(1_000, 1_120))])


def test_with_plenty_the_interval_of_a_quiet_account_stands() -> None:
    plan = planned([task(name, n) for name in discover() for n in range(10)])
    assert {entry.every for entry in plan.entries.values()} == {each.every_minutes for each in discover().values()}
    assert {entry.reason for entry in plan.entries.values()} == {None}
    assert plan.patience == {}


@pytest.mark.parametrize(("silence", "most"), [(2, 10), (8, 30), (16, 60), (24, 90), (24 * 30, 90)])
def test_where_a_quota_is_short_a_source_waits_for_a_sixteenth_of_its_silence_at_most(silence: int, most: int) -> None:
    tasks = [task("messages", n, changed_at=ago(hours=silence)) for n in range(10)]
    tasks += [task("messages", n) for n in range(10, 60)]
    # The others at 90 minutes make 400 calls until midnight, and these ten 7,200 / their minutes.
    plan = planned(tasks, {"trading.GetItem": 3_600 - 7_200 // most})
    assert due(plan, "messages").every == pytest.approx(most, rel=0.01)
    assert due(plan, "messages", 10).every == pytest.approx(90, rel=0.01)


def test_quiet_accounts_stretch_only_as_far_as_needed_and_the_busy_ones_keep_their_interval() -> None:
    plan = short(task("messages", changed_at=ago(minutes=20)))
    assert due(plan, "messages").every == 10
    quiet = due(plan, "messages", 1_000)
    assert 10 < (quiet.every or 0) < 90
    assert quiet.reason == "stretched: the day's forecast of trading is above 80%"
    assert forecast(plan, "trading").calls == pytest.approx(4_000, rel=0.001)


def test_two_runs_after_the_first_change_an_account_is_back_at_its_interval() -> None:
    ran = ago(minutes=1)
    before = short(task("messages", last_run_at=ran))
    assert (due(before, "messages").every or 0) > 15
    after = short(task("messages", last_run_at=ran, changed_at=ran))
    assert due(after, "messages").at == ran + timedelta(minutes=10)
    later = short(task("messages", last_run_at=NOON, changed_at=ran))
    assert due(later, "messages").at == NOON + timedelta(minutes=10)


def test_a_source_is_as_active_as_its_most_active_family() -> None:
    tasks = [task(name, n) for name in ("finances", "transactions", "refunds") for n in range(400)]
    tasks[0] = replace(tasks[0], changed_at=ago(hours=1))
    plan = planned(tasks)
    assert {due(plan, name, 0).every for name in ("finances", "transactions", "refunds")} == {15}
    assert 20 < (due(plan, "refunds", 1).every or 0) < 30


def test_an_account_that_has_something_new_now_keeps_the_interval_of_what_it_seldom_has() -> None:
    tasks = [task("cases", n, changed_at=ago(days=9)) for n in range(250)]
    tasks.append(task("orders", 0, changed_at=ago(minutes=10)))
    tasks += [task("cases", 300, changed_at=ago(days=9)), task("orders", 300, changed_at=ago(minutes=30))]
    plan = planned(tasks)
    assert due(plan, "cases", 0).every == 30
    assert due(plan, "cases", 300).every == due(plan, "cases", 1).every == pytest.approx(45.3, rel=0.01)


def test_orders_wait_no_longer_than_fifteen_minutes_while_the_quota_allows() -> None:
    tasks = [task("orders", n, changed_at=NOON if n % 20 == 0 else ago(days=1)) for n in range(980)]
    plan = planned(tasks, now=MIDNIGHT)
    assert forecast(plan, "fulfillment").calls <= 96_000 * 1.001
    assert max(entry.every or math.inf for entry in plan.entries.values()) <= 15
    beyond = planned([replace(one, account_id=UUID(int=n)) for n, one in enumerate(tasks * 2)], now=MIDNIGHT)
    assert (due(beyond, "orders", 1).every or 0) > 25


# ---- old rows


def returns(count: int, per_day: float, **changed: Any) -> list[Candidate]:
    own = {"per_day": {"post_order.return": per_day}, "changed_at": ago(minutes=1)} | changed
    return [task("returns", n, **own) for n in range(count)]


def test_background_work_takes_up_to_twice_its_time_before_any_interval_grows() -> None:
    plan = planned(returns(100, 60))  # until midnight 2,400 calls of runs, and 3,000 of background work
    entry = due(plan, "returns", 0)
    assert (entry.every, entry.old_rows_hours) == (30, pytest.approx(24 * 3_000 / 1_600, rel=0.001))
    assert entry.reason == "old rows wait: the day's forecast of post_order.return is above 80%"
    assert plan.patience[UUID(int=0)] == {"returns": pytest.approx(1.88)}
    assert forecast(plan, "post_order.return").wanted == pytest.approx(5_400)
    assert forecast(plan, "post_order.return").calls == pytest.approx(4_000)
    plan = planned(returns(100, 70, changed_at=ago(days=2)))
    assert due(plan, "returns", 0).old_rows_hours == 48
    assert (due(plan, "returns", 0).every or 0) > 30


def test_an_accounts_job_says_how_much_longer_its_background_work_takes() -> None:
    one, other = (Account(UUID(int=n), "alice", "production", "1", None, None, True, False) for n in (0, 500))
    plan = planned([*returns(100, 60), task("buyer", 500)])
    assert account_job(one, ["returns"], plan, 240).patience == {"returns": pytest.approx(1.88)}
    assert account_job(other, ["buyer"], plan, 240).patience == {}


def test_without_need_old_rows_are_seen_within_the_declared_time() -> None:
    plan = planned([*returns(5, 30), task("buyer")])
    assert (due(plan, "returns", 0).old_rows_hours, due(plan, "buyer").old_rows_hours) == (24, None)
    assert plan.patience == {}


def test_old_rows_wait_for_up_to_a_week_before_live_windows_wait_for_hours() -> None:
    plan = planned(returns(700, 20))  # until midnight 2,800 calls of runs at six times the interval, and 7,000
    assert 48 < (due(plan, "returns", 0).old_rows_hours or 0) <= 168
    assert 180 <= (due(plan, "returns", 0).every or 0) <= 720
    plan = planned(returns(700, 20), {"post_order.return": 5_000})
    assert due(plan, "returns", 0).every is None
    assert (due(plan, "returns", 0).old_rows_hours or 0) <= 24 * 30


def test_in_the_last_hours_of_a_quota_day_old_rows_wait_no_longer_than_two_days() -> None:
    late = MIDNIGHT + timedelta(hours=21)
    plan = planned(returns(100, 60), {"post_order.return": 4_990}, now=late)
    assert due(plan, "returns", 0).old_rows_hours == 48


# ---- families that share a source


def test_a_family_comes_along_if_its_source_is_read_anyway_and_half_of_its_interval_is_over() -> None:
    ready = task("finances", last_run_at=ago(minutes=15))
    plan = planned(
        [ready, task("transactions", last_run_at=ago(minutes=8)), task("refunds", last_run_at=ago(minutes=5))]
    )
    assert [each.family for each in plan.due()] == ["finances", "transactions"]
    failed = task("transactions", last_run_at=ago(minutes=8), retry_at=NOON + timedelta(minutes=2), failures=1)
    assert [each.family for each in planned([ready, failed]).due()] == ["finances"]
    assert [each.family for each in planned([task("transactions", last_run_at=ago(minutes=8))]).due()] == []


# ---- a day


FAILING = (UUID(int=7), "returns")


def seeded() -> int:
    seed = SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    return seed


def test_a_hundred_accounts_under_one_keyset_overrun_no_quota_in_a_day() -> None:
    """With eBay's real quotas and run-all every five minutes. On the side, something else calls Trading with the same
    keyset, which eBay's figures show once an hour. In a day none is overrun, and orders are never late."""
    seed = seeded()
    day = Day(seed, 100)
    day.failing.add(FAILING)
    promised: dict[tuple[UUID, str], datetime] = {}
    for tick in day.ticks():
        now, chosen = tick.now, {(each.account_id, each.family) for each in tick.chosen}
        orders = {key: one for key, one in tick.plan.entries.items() if key[1] == "orders"}
        for key, one in orders.items():
            if one.at is None or one.at <= now:
                assert key in chosen, (seed, now, one)
        late = [key for key, at in promised.items() if at <= now and key not in chosen]
        assert not late, (seed, now, late)
        for key, one in orders.items():
            if key in chosen:
                promised[key] = now + timedelta(minutes=one.every or math.inf)
        day.elsewhere["trading.GetItem"] += day.random.randrange(3)
        for each in day.usage().budgets(now):
            assert each.quota
            hidden = day.elsewhere["trading.GetItem"] - day.seen.get("trading.GetItem", 0)
            assert each.used + hidden * (each.api == "trading") <= each.quota, (seed, now, each)
    never = [key for key in day.candidates if not day.runs[key]]
    assert not never, (seed, never)
    gaps = day.gaps("orders", busy=True) + day.gaps("orders", busy=False)
    assert max(gaps) <= 10, seed
    assert 4 <= len(day.runs[FAILING]) <= 12, "a failing family goes on, ever more seldom"
    assert max(day.shares().values()) <= 0.98
    assert day.shares()["finances"] <= 0.82, "where only quiet accounts need to wait, the day ends at the goal"


TRADING = ("orders", "messages", "active_inventory", "buyer")
OTHERS = ("orders", "transactions", "payouts", "returns", "cases", "inquiries")


@pytest.mark.parametrize(
    ("families", "reported"),
    [(TRADING, {}), (TRADING, EACH_CALL), (OTHERS, {})],
    ids=["Trading's quota for all calls", "for each call", "other APIs"],
)
def test_with_two_hundred_accounts_nothing_is_late_and_forecasts_hold(
    families: Sequence[str], reported: Mapping[str, int]
) -> None:
    seed = seeded()
    day = Day(seed, 200, reported, families)
    for tick in day.ticks():
        for each in day.usage().budgets(tick.now):
            assert each.quota
            assert each.used <= each.quota, (seed, tick.now, each)
    assert day.cut_short <= 5, (seed, "the meter keeps a reserve, but the plan hardly ever comes to it")
    post_order = ("returns", "cases", "inquiries")
    most = {"orders": (5, 5), "transactions": (30, 30), **dict.fromkeys(("messages", *post_order), (30, 90))}
    for family in families:
        if family in most:
            for busy, minutes in zip((True, False), most[family], strict=True):
                assert percentile(day.gaps(family, busy=busy), 0.95) <= minutes, (seed, family, busy)
    assert max(day.old_rows.values()) <= 48, seed
    off = {api: misses for api, misses in day.misses().items() if day.shares()[api] > 0.2}
    assert max(abs(miss) for misses in off.values() for miss in misses) <= 0.1, (seed, off)


# ---- sweeps where calls are plenty


def test_the_sweep_comes_round_more_often_only_where_half_of_the_quota_is_enough() -> None:
    per_day, eager = demand.background({"sweep": {"finances": 10.0}, "details": {"finances": 5.0}})
    assert per_day == {"finances": 15.0}
    assert eager == {"finances": pytest.approx(110.0)}
    made = task("payouts", costs={"finances": 1.0}, per_day=per_day, eager=eager)
    half = 7_500 - (12 + 7.5 + 55)  # of the day's second half
    plenty = planned([made], {"finances": int(half) - 1})
    assert forecast(plenty, "finances").calls == pytest.approx(int(half) - 1 + 12 + 7.5 + 55)
    assert plenty.patience == {}
    enough = planned([made], {"finances": int(half) + 1})
    assert forecast(enough, "finances").calls == pytest.approx(int(half) + 1 + 12 + 7.5)
    assert enough.patience == {made.account_id: {"payouts": 1.0}}
    assert due(enough, "payouts").reason is None
