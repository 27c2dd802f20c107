"""Quotas: what is counted, and what happens when one is spent. eBay is the simulator, with quotas that are small."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ebaysync.accounts import application, usage, vault
from ebaysync.accounts.usage import metered
from ebaysync.ebay import analytics, keymanagement, limits
from ebaysync.ebay.clock import Clock
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.transport import ATTEMPTS, IN_FLIGHT, Transport
from ebaysync.errors import AccessDenied, ShareSpent
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.ops import schedule
from ebaysync.settings import Settings
from ebaysync.sim.apis.oauth import Keyset
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.server import Simulator
from ebaysync.sim.world import World
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run

Query = Callable[..., list[Any]]
ANALYTICS = "/developer/analytics"
ORDERS = "/sell/fulfillment/v1/order"


@pytest.fixture
def small(bench: Callable[..., Any]) -> Callable[..., Any]:
    """A bench whose simulator has these quotas."""

    def make(quotas: dict[str, int], **options: Any) -> Any:
        b = bench(**options)
        b.sim.quotas.limits.update(quotas)
        return b

    return make


def asked(b: Any, path: str) -> int:
    return len(b.sim.journal.of(path))


async def test_calls_are_counted_by_api_and_day_a_dry_run_too(small: Any, query: Query) -> None:
    b = small({}, sellers=2, orders_per_seller=5, things=3)
    for index in (0, 1):
        account = await b.add(index)
        await b.run(account, dry_run=True)
        await b.run(account, "messages")
    rows = query("SELECT api, calls, quota, resets_at > now(), keyset, quota_day FROM ebay_api_usage ORDER BY api")
    counted = {row[0]: row[1] for row in rows}
    assert counted["fulfillment"] == asked(b, ORDERS)
    assert counted["trading.GetMyMessages"] == asked(b, "/ws/api.dll")
    assert {row[0]: row[2] for row in rows}["fulfillment"] == 100_000
    assert {row[3:5] for row in rows} == {(True, "simulator:simulator")}
    assert {row[5] for row in rows} == {limits.quota_day(datetime.now(UTC))}


async def test_a_spent_quota_of_trading_lets_all_of_trading_rest_for_all_accounts(small: Any, query: Query) -> None:
    b = small({"Trading": 3}, sellers=2, orders_per_seller=3, things=3)
    first, second = await b.add(0), await b.add(1)
    summary = await b.run(first, "messages")
    assert (summary.failure, summary.status) == (None, "skipped")
    assert "the quota of trading is spent until" in (summary.reason or "")
    before = asked(b, "/ws/api.dll")
    assert summary.calls == before, "those that it made before are counted"
    assert query("SELECT CAST(summary_json ->> 'calls' AS integer) FROM ebay_worker_run") == [(before,)]
    for account in (first, second):
        for family in ("messages", "active_inventory", "buyer"):
            skipped = await b.run(account, family)
            assert (skipped.status, skipped.calls, skipped.run_id) == ("skipped", 0, None)
    assert asked(b, "/ws/api.dll") == before
    assert (await b.run(second)).status == "completed", "other APIs go on"
    assert query("SELECT last_error, last_run_at FROM ebay_sync_state WHERE api_family = 'messages'") == [(None, None)]
    assert query("SELECT status FROM ebay_worker_run WHERE api_family = 'messages'") == [("completed",)]
    plan = await schedule.plan(b.settings, b.db)
    ready = {(each.account_id, each.family) for each in plan.due()}
    assert (first.id, "orders") in ready
    assert not {family for _, family in ready} & {"messages", "active_inventory", "buyer"}


@pytest.mark.usefixtures("narrow")
async def test_a_429_of_a_spent_quota_keeps_what_was_stored_and_the_cursor(small: Any, query: Query) -> None:
    b = small({"sell.fulfillment.order": 20}, sellers=1, orders_per_seller=60)
    account = await b.add()
    summary = await b.run(account)
    assert (summary.status, summary.failure, summary.caught_up) == ("completed", None, False)
    assert "the quota of fulfillment is spent until" in (summary.reason or "")
    assert summary.stored > 0
    [(cursor, failures, error)] = query("SELECT cursor_value, failures, last_error FROM ebay_sync_state")
    assert (cursor is not None, failures, error) == (True, 0, None)
    [(quota, reported, rests)] = query(
        "SELECT quota, reported_calls, resting_until = resets_at FROM ebay_api_usage WHERE api = 'fulfillment'"
    )
    assert (quota, reported, rests) == (20, 20, True)
    b.sim.quotas.limits.clear()
    query("UPDATE ebay_api_usage SET resting_until = now() - interval '1 s', reported_calls = 0, elsewhere = 0")
    query("UPDATE ebay_keysets SET limits = '{}'")
    summary = await b.run(account)
    assert (summary.status, summary.caught_up) == ("completed", True)
    assert query("SELECT count(*) FROM ebay_orders") == [(60,)]


@pytest.mark.parametrize("walk", ["live", "backfill"])
@pytest.mark.usefixtures("narrow")
async def test_a_huge_import_leaves_the_other_accounts_of_its_keyset_their_part(
    small: Any, query: Query, walk: str
) -> None:
    # In slices of an hour, 90 days are 2,160 calls.
    b = small({"sell.fulfillment.order": 240}, sellers=2, orders_per_seller=10).with_settings(max_window_hours=1)
    huge, other = await b.add(0), await b.add(1)
    await usage.ask_hourly(b.settings, b.db, "simulator", b.sleep)
    asks = {"walk": "backfill", "days": 90} if walk == "backfill" else {}
    first = await b.run(huge, **asks)
    usable = int(240 * limits.usable_share(5))
    assert (first.status, first.failure, first.caught_up) == ("completed", None, False)
    assert "part of what is left today for 2 accounts; it goes on at its next turn" in (first.reason or "")
    assert asked(b, ORDERS) == first.calls == usable // 2 == 117
    position = {"live": "SELECT cursor_value FROM ebay_sync_state", "backfill": "SELECT position FROM ebay_backfill"}
    [(reached,)] = query(f"{position[walk]} WHERE ebay_account_id = %s", huge.id)
    assert reached
    assert (await b.with_settings(max_window_hours=720).run(other)).caught_up, "its calls are still there"
    left = usable - asked(b, ORDERS)
    second = await b.run(huge, **asks)
    assert (second.calls, second.caught_up) == (left // 2, False)
    [(further,)] = query(f"{position[walk]} WHERE ebay_account_id = %s", huge.id)
    assert further > reached, "it went on from where it was"
    query("UPDATE ebay_accounts SET is_active = false WHERE id = %s", other.id)
    last = await b.run(huge, **asks)
    assert asked(b, ORDERS) == usable, "nobody else waits"
    assert "the rest is kept back" in (last.reason or "")


async def test_a_scan_may_use_a_quarter_of_what_is_left_because_it_cannot_go_on_later(small: Any, query: Query) -> None:
    b = small({"sell.inventory": 400}, sellers=1, orders_per_seller=1, things={"inventory_item": 150})
    account = await b.add()
    query(
        "INSERT INTO ebay_accounts (name, environment, ebay_user_id)"
        " SELECT n::text, 'simulator', n::text FROM generate_series(1, 99) AS n"
    )
    await usage.ask_hourly(b.settings, b.db, "simulator", b.sleep)
    summary = await b.run(account, "offers")
    assert "part of what is left today for 100 accounts" in (summary.reason or "")
    assert asked(b, "/sell/inventory") == 400 * limits.usable_share(60) / 4 == 93


async def test_a_run_may_always_make_fifty_calls_and_those_of_all_trading_calls_are_one_sum(
    small: Any, query: Query
) -> None:
    b = small({}, sellers=1, orders_per_seller=1)
    query(
        "INSERT INTO ebay_accounts (name, environment, ebay_user_id, is_active)"
        " SELECT n::text, 'simulator', n::text, n > 100 FROM generate_series(1, 300) AS n"
    )
    keyset, keys = b.settings.keyset("simulator"), vault.load(b.settings, may_create=True)
    async with Transport(hosts(b.settings, "simulator")) as transport, metered(b.db, keys, keyset, transport) as meter:
        meter.admit("trading.GetSellerList", 1.0, {"trading.GetMyMessages": 49, "finances": 50}, math.inf)
        spent = {"trading.GetMyMessages": 49, "trading.GetSellerList": 1}
        with pytest.raises(ShareSpent, match="for 200 accounts"):
            meter.admit("trading.GetSellerList", 1.0, spent, math.inf)
        meter.admit("trading.GetSellerList", 1.0, spent, 1)
        meter.admit("finances", 1.0, {"finances": 74}, math.inf)
        with pytest.raises(ShareSpent, match=r"75 calls of finances"):
            meter.admit("finances", 1.0, {"finances": 75}, math.inf)


async def test_a_burst_is_asked_again_and_stays_an_error_when_it_lasts(small: Any, query: Query) -> None:
    b = small({}, sellers=1, orders_per_seller=3)
    account = await b.add()
    b.sim.faults.add("status", path=ORDERS, status=429, times=2)
    assert (await b.run(account)).status == "completed"
    b.sim.faults.add("status", path=ORDERS, status=429, times=None)
    summary = await b.run(account)
    assert (summary.status, summary.failure.code, summary.failure.exit_code) == ("error", "busy", 13)
    assert asked(b, ANALYTICS) == 1, "once a minute is enough"
    assert query("SELECT count(*) FROM ebay_api_usage WHERE resting_until IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_without_analytics_no_run_fails_and_the_documented_quotas_stand(
    small: Any, query: Query, status: int
) -> None:
    b = small({}, sellers=1, orders_per_seller=3)
    account = await b.add()
    b.sim.faults.add("status", path=ANALYTICS, status=status, times=None)
    await usage.ask_hourly(b.settings, b.db, "simulator", b.sleep)
    await usage.ask_hourly(b.settings, b.db, "simulator", b.sleep)
    assert asked(b, ANALYTICS) == 1
    b.sim.faults.add("status", path=ORDERS, status=429, times=1)
    query("UPDATE ebay_keysets SET limits_asked_at = NULL")
    summary = await b.run(account)
    assert (summary.status, summary.failure) == ("skipped", None)
    marks = "SELECT needs_consent, coalesce(missing_scopes, '{}') FROM ebay_accounts a"
    assert query(f"{marks} LEFT JOIN ebay_authorizations z ON z.ebay_account_id = a.id") == [(False, [])]
    [(hours, quota)] = query(
        "SELECT extract(epoch FROM resting_until - now()) / 3600, quota FROM ebay_api_usage WHERE api = 'fulfillment'"
    )
    assert hours <= 1, "the words of a burst are the same: only for a while"
    assert quota == 100_000


async def test_a_long_retry_after_is_the_time_to_rest(small: Any, query: Query) -> None:
    b = small({}, sellers=1, orders_per_seller=3)
    account = await b.add()
    b.sim.faults.add("status", path=ANALYTICS, status=500, times=None)
    b.sim.faults.add("status", path=ORDERS, status=429, retry_after=1800, times=1)
    assert (await b.run(account)).status == "skipped"
    [(minutes,)] = query("SELECT extract(epoch FROM max(resting_until) - now()) / 60 FROM ebay_api_usage")
    assert 28 < minutes <= 30


async def test_a_long_retry_after_counts_although_ebays_report_still_shows_calls_left(small: Any, query: Query) -> None:
    b = small({}, sellers=2, orders_per_seller=3)
    first, second = await b.add(0), await b.add(1)
    b.sim.faults.add("status", path=ORDERS, status=429, retry_after=1800, times=1)
    assert (await b.run(first)).status == "skipped"
    assert asked(b, ANALYTICS) == 1
    assert (await b.run(second)).calls == 0, "it is of the same keyset"
    [(minutes,)] = query("SELECT extract(epoch FROM max(resting_until) - now()) / 60 FROM ebay_api_usage")
    assert 28 < minutes <= 30


@pytest.mark.parametrize("path", [ORDERS + "$", "/sell/finances/v1/transaction$", "/post-order/v2/return/search$"])
async def test_a_503_that_asks_for_an_hour_lets_the_api_rest_for_it(small: Any, query: Query, path: str) -> None:
    family = {ORDERS + "$": "orders", "/post-order/v2/return/search$": "returns"}.get(path, "finances")
    b = small({}, sellers=2, orders_per_seller=3)
    first, second = await b.add(0), await b.add(1)
    b.sim.faults.add("status", path=path, status=503, retry_after=3600, times=None)
    summary = await b.run(first, family)
    assert (summary.status, summary.failure) == ("skipped", None)
    assert "eBay asks for no call of" in summary.reason
    assert asked(b, path.removesuffix("$")) == 1, "no slice is halved"
    assert asked(b, ANALYTICS) == 0, "it is no quota"
    assert (await b.run(second, family)).calls == 0
    [(minutes,)] = query("SELECT extract(epoch FROM max(resting_until) - now()) / 60 FROM ebay_api_usage")
    assert 58 < minutes <= 60
    plan = await schedule.plan(b.settings, b.db)
    at = plan.entries[first.id, family].at
    assert at is not None
    assert at > plan.now + timedelta(minutes=58)


WITHIN_THE_DAY = "SELECT bool_and(resting_until BETWEEN now() AND resets_at + interval '10 min') FROM ebay_api_usage"
YEARS = 9 * 365 * 86_400


@pytest.mark.parametrize(
    "fault",
    [
        {"retry_after": 10**9},
        {"retry_after": int("9" * 20)},
        {"retry_after": 10**399},
        {"retry_after": YEARS, "as_date": True},
    ],
    ids=["10^9", "20 digits", "400 digits", "a date in years"],
)
async def test_a_cool_down_never_outlasts_the_quota_day(small: Any, query: Query, fault: dict[str, Any]) -> None:
    b = small({}, sellers=1, orders_per_seller=3)
    account = await b.add()
    b.sim.faults.add("status", path=ORDERS, status=429, times=1, **fault)
    summary = await b.run(account)
    assert (summary.status, summary.failure) == ("skipped", None)
    assert query(f"{WITHIN_THE_DAY} WHERE api = 'fulfillment'") == [(True,)]
    plan = await schedule.plan(b.settings, b.db)
    at = plan.entries[account.id, "orders"].at
    assert at is not None
    assert at <= limits.latest_end(limits.quota_day(plan.now))


@pytest.mark.parametrize("reset", ["2035-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "1969-12-31T00:00:00Z", "x"])
async def test_a_reset_that_ebay_reports_for_another_day_is_not_believed(small: Any, query: Query, reset: str) -> None:
    b = small({"sell.fulfillment.order": 1}, sellers=1, orders_per_seller=30)
    b.sim.quotas.reset = reset
    account = await b.add()
    assert (await b.run(account)).failure is None
    assert query("SELECT count(*) FROM ebay_api_usage WHERE resting_until IS NOT NULL") == [(1,)]
    assert query(f"{WITHIN_THE_DAY} WHERE resting_until IS NOT NULL") == [(True,)]
    assert query("SELECT bool_and(resets_at < now() + interval '26 h') FROM ebay_api_usage") == [(True,)]


@pytest.mark.parametrize("stored", ["2035-01-01", "9999-12-31 23:59:59+00", "infinity", "294276-12-31", "-infinity"])
async def test_a_stored_cool_down_is_believed_until_the_end_of_the_day_on_which_it_began(
    small: Any, query: Query, stored: str
) -> None:
    b = small({}, sellers=1, orders_per_seller=3)
    account = await b.add()
    assert (await b.run(account)).caught_up
    query("UPDATE ebay_api_usage SET resting_until = %s, resets_at = %s", stored, stored)
    before = asked(b, ORDERS)
    plan = await schedule.plan(b.settings, b.db)
    until = plan.entries[account.id, "orders"].at
    assert until is not None
    assert until <= limits.latest_end(limits.quota_day(plan.now))
    for budget in (each.budget for each in plan.forecasts):
        assert budget.resets_at == limits.resets_at(plan.now)
    if stored != "-infinity":
        assert (await b.run(account)).status == "skipped"
        assert asked(b, ORDERS) == before
    query("UPDATE ebay_api_usage SET quota_day = quota_day - 2")
    assert (await b.run(account)).status == "completed"
    query("UPDATE ebay_api_usage SET quota_day = quota_day + 9, resting_until = 'infinity'")
    assert (await b.run(account)).status == "completed", "the day of a wrong clock does not count"


class Follows(Clock):
    """eBay's clock, moved by a test."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.known, self._clock = True, clock

    def now(self) -> datetime:
        return self._clock.now()

    def learn(self, date: str | None) -> None:
        return


async def test_the_rest_ends_with_the_quota_day_of_ebays_clock(bench: Callable[..., Any], query: Query) -> None:
    clock = ManualClock(datetime(2026, 7, 23, 20, tzinfo=UTC))
    b = bench(world=World(sellers=1, orders_per_seller=30, clock=clock))
    b.sim.quotas.limits["sell.fulfillment.order"] = 100
    account = await b.add()
    async with b.worker(account) as worker:
        worker.api.transport.clock = Follows(clock)
        orders = [discover()["orders"]]

        async def once() -> Any:
            return (await run(worker, orders, RunOptions("run")))[0]

        assert (await once()).status == "completed"
        b.sim.quotas.limits["sell.fulfillment.order"] = 1
        clock.advance(3600)
        assert (await once()).status == "skipped"
        [until] = query("SELECT resting_until FROM ebay_api_usage WHERE api = 'fulfillment'")[0]
        assert until == datetime(2026, 7, 24, 7, tzinfo=UTC)
        b.sim.quotas.limits["sell.fulfillment.order"] = 100
        clock.advance((until - clock.now()).total_seconds() - 1)
        before = asked(b, ORDERS)
        assert (await once()).status == "skipped"
        assert asked(b, ORDERS) == before
        clock.advance(2)
        query("UPDATE ebay_keysets SET limits = '{}'")
        await worker.api.transport.meter.load()
        assert (await once()).status == "completed"
    days = query("SELECT quota_day::text, calls > 0 FROM ebay_api_usage WHERE api = 'fulfillment' ORDER BY quota_day")
    assert days == [("2026-07-23", True), ("2026-07-24", True)]


async def test_a_second_keyset_is_not_affected(small: Any, simulator: Callable[..., Simulator], query: Query) -> None:
    b = small({"Trading": 1}, sellers=1, orders_per_seller=1, things=2)
    account = await b.add()
    assert (await b.run(account, "buyer")).status == "completed"
    assert (await b.run(account, "buyer")).status == "skipped"
    other = Simulator(b.sim.world, keyset=Keyset(client_id="other"))
    with other:
        settings = replace(b.settings, simulator_url=other.url, simulator_client_id="other")
        # The tokens are the other keyset's: of this one's they would be refused before any call.
        query("UPDATE ebay_tokens SET access_token = NULL, client_id = NULL")
        b2 = replace(b, settings=settings, sim=other)
        assert (await b2.run(account, "buyer")).status == "completed"
    keysets = query("SELECT DISTINCT keyset FROM ebay_api_usage ORDER BY keyset")
    assert keysets == [("simulator:other",), ("simulator:simulator",)]


async def test_a_process_stores_its_calls_while_it_runs_and_sees_those_of_others(small: Any, query: Query) -> None:
    b = small({}, sellers=1, orders_per_seller=1)
    keyset, keys = b.settings.keyset("simulator"), vault.load(b.settings, may_create=True)
    places = hosts(b.settings, "simulator")
    async with (
        Transport(places) as one,
        Transport(places) as two,
        metered(b.db, keys, keyset, one) as first,
        metered(b.db, keys, keyset, two) as second,
    ):
        for _ in range(usage.MOST_UNSTORED):
            first.admit("finances", 1.0, {}, 1)
        for _ in range(200):
            await b.sleep(0)
            if query("SELECT sum(calls) FROM ebay_api_usage") == [(usage.MOST_UNSTORED,)]:
                break
        assert query("SELECT sum(calls) FROM ebay_api_usage") == [(usage.MOST_UNSTORED,)]
        second.admit("finances", 1.0, {}, 1)
        await second.store()
        assert second.budget("finances").used == usage.MOST_UNSTORED + 1


async def test_calls_sent_while_the_last_ones_are_being_stored_are_stored_too(
    small: Any, query: Query, database_url: str
) -> None:
    b = small({}, sellers=1, orders_per_seller=1)
    keyset, keys = b.settings.keyset("simulator"), vault.load(b.settings, may_create=True)
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'ebay_api_usage'::regclass AND NOT granted"
    with psycopg.connect(database_url) as other:
        async with Transport(hosts(b.settings, "simulator")) as transport, metered(b.db, keys, keyset, transport) as m:
            other.execute("LOCK TABLE ebay_api_usage IN EXCLUSIVE MODE")
            for _ in range(usage.MOST_UNSTORED):
                m.admit("finances", 1.0, {}, 1)
            while query(waiting) == [(0,)]:
                await b.sleep(0)
            m.admit("finances", 1.0, {}, 1)
            other.commit()
    assert query("SELECT sum(calls) FROM ebay_api_usage") == [(usage.MOST_UNSTORED + 1,)]


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 503}, {"kind": "status", "status": 429}, {"kind": "drop"}], ids=str
)
async def test_every_call_of_a_run_that_fails_is_counted(small: Any, query: Query, fault: dict[str, Any]) -> None:
    b = small({}, sellers=1, orders_per_seller=3)
    account = await b.add()
    b.sim.journal.clear()
    b.sim.faults.add(path=ORDERS, times=None, **fault)
    for dry_run in (True, False):
        assert (await b.run(account, dry_run=dry_run)).status == "error"
        assert query("SELECT sum(calls) FROM ebay_api_usage") == [(len(b.sim.journal),)]


async def test_the_applications_token_is_asked_for_once_and_kept_encrypted(small: Any, query: Query) -> None:
    b = small({}, sellers=1, orders_per_seller=1)
    keyset, keys = b.settings.keyset("simulator"), vault.load(b.settings, may_create=True)
    async with Transport(hosts(b.settings, "simulator")) as transport:
        first = await application.access_token(b.db, keys, transport, keyset)
        assert await application.access_token(b.db, keys, transport, keyset) == first
        assert asked(b, "/identity/v1/oauth2/token") == 1
        [(blob,)] = query("SELECT application_token FROM ebay_keysets")
        assert first.reveal().encode() not in bytes(blob)
        await application.forget(b.db, keyset)
        assert await application.access_token(b.db, keys, transport, keyset) != first


OAUTH, GRANT = "https://api.ebay.com/identity/v1/oauth2/token", {"access_token": "application", "expires_in": 7200}
DENIED = {"status_code": 403, "json": {"errors": [{"errorId": 1100}]}}


@pytest.mark.parametrize(
    ("token", "call"),
    [
        ({"json": GRANT}, DENIED),
        ({"json": GRANT}, {"status_code": 401, "json": {"errors": [{"errorId": 1001}]}}),
        (DENIED, None),
        ({"status_code": 400, "json": {"error": "invalid_grant"}}, None),
    ],
    ids=["403", "401", "no token, 403", "no token, invalid_grant"],
)
@pytest.mark.parametrize("make", [analytics.rate_limits, keymanagement.create], ids=["analytics", "key management"])
async def test_what_ebay_refuses_to_the_application_is_no_matter_of_a_consent(
    db: Any, tmp_path: Path, query: Query, httpx_mock: Any, make: Any, token: dict[str, Any], call: Any
) -> None:
    httpx_mock.add_response(url=OAUTH, **token)
    if call:
        httpx_mock.add_response(**call)
    configured = Settings(home=tmp_path, client_id="id", client_secret=Secret("secret"))
    keyset, keys = configured.keyset("production"), vault.load(configured, may_create=True)
    async with Transport(hosts(configured, "production")) as transport:
        with pytest.raises(AccessDenied) as caught:
            await application.ask(db, keys, transport, keyset, partial(make, transport))
    assert (type(caught.value), caught.value.exit_code) == (AccessDenied, 13)
    assert "accounts connect" not in f"{caught.value.message} {caught.value.hint}"
    assert query("SELECT count(application_token) FROM ebay_keysets") == [(0,)], "the next call gets another"


async def test_a_failing_family_waits_twice_as_long_each_time_and_a_success_ends_that(small: Any, query: Query) -> None:
    b = small({}, sellers=1, orders_per_seller=3)
    account = await b.add()
    waits = "SELECT extract(epoch FROM retry_at - now()) / 60, failures FROM ebay_sync_state"
    fault = b.sim.faults.add("status", path=ORDERS, status=400, times=None)
    for n, (low, high) in enumerate(((3.5, 6.1), (7, 12.1), (15, 24.1)), 1):
        assert (await b.run(account)).status == "error"
        [(minutes, failures)] = query(waits)
        assert (low < minutes < high, failures) == (True, n)
    plan = await schedule.plan(b.settings, b.db)
    assert (account.id, "orders") not in {(each.account_id, each.family) for each in plan.due()}
    assert plan.entries[account.id, "orders"].reason == "failed 3 times in a row"
    found = schedule.due(await schedule.plan(b.settings, b.db), [account.id], ["orders"], now=True)
    assert found == {account.id: ["orders"]}, "--now does not wait"
    fault.times = 0
    assert (await b.run(account)).status == "completed"
    assert query("SELECT retry_at, failures FROM ebay_sync_state") == [(None, 0)]


async def test_intervals_and_flags_for_all_accounts_are_obeyed(small: Any, query: Query) -> None:
    b = small({}, sellers=1, orders_per_seller=1)
    account = await b.add()
    query(
        """UPDATE ebay_worker_global_config SET defaults =
        '{"families": {"orders": {"every_minutes": 20}, "buyer": {"enabled": false}, "cases": 7}}'"""
    )
    plan = await schedule.plan(b.settings, b.db)
    assert plan.entries[account.id, "orders"].candidate.every == 20
    assert not plan.entries[account.id, "buyer"].candidate.enabled
    query(
        "INSERT INTO ebay_sync_state (ebay_account_id, ebay_user_id, api_family, cursor_type, every_minutes)"
        " VALUES (%s, %s, 'orders', 'window', 45)",
        account.id,
        account.ebay_user_id,
    )
    assert (await schedule.plan(b.settings, b.db)).entries[account.id, "orders"].candidate.every == 45


async def test_what_a_run_costs_is_remembered_but_not_of_a_first_import(small: Any, query: Query) -> None:
    b = small({}, sellers=1, orders_per_seller=3)
    account = await b.add()
    await b.run(account)
    assert query("SELECT calls_per_run FROM ebay_sync_state") == [({},)]
    await b.run(account)
    assert query("SELECT calls_per_run FROM ebay_sync_state") == [({"fulfillment": 1.0},)]


async def test_a_limit_in_the_middle_of_a_hundred_and_twenty_details_is_hit_once(small: Any, query: Query) -> None:
    b = small({}, sellers=1, orders_per_seller=150, things=120)
    account = await b.add()
    b.sim.faults.add("status", path=r"^/post-order/v2/return/\d+$", status=429, after=50, times=None)

    def details() -> Counter[int]:
        return Counter(one.status for one in b.sim.journal if re.fullmatch(r"/post-order/v2/return/\d+", one.path))

    await b.run(account, "returns")
    first = details()
    assert first[200] == 50
    assert 1 <= first[429] <= IN_FLIGHT + ATTEMPTS - 1 == 10
    assert (await b.run(account, "orders")).status == "completed", "no other API is held up"
    await b.run(account, "returns")
    assert 1 <= (details() - first)[429] <= 10
