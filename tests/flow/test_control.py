"""Runs that are told to stop: paused, disabled, removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from ebaysync.errors import Interrupted
from ebaysync.families import discover
from ebaysync.ops import control
from ebaysync.sync import watch
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run
from ebaysync.sync.stop import Stop

Query = Callable[..., list[Any]]
ORDERS = discover()["orders"]


def after_first_batch(b: Any, doing: Callable[[], Any]) -> None:
    """When a run of this bench has stored its first batch, something happens before the second."""
    original, done = b.db.transact, []
    count = text("SELECT count(*) FROM ebay_api_worker_log WHERE kind = 'page'")
    before: list[int] = []

    async def transact(work: Any, **options: Any) -> Any:
        if not before:
            before.append(await original(lambda connection: connection.scalar(count)))
        result = await original(work, **options)
        if not done and await original(lambda connection: connection.scalar(count)) > before[0]:
            done.append(True)
            await doing()
        return result

    b.db.transact = transact


WAYS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "paused": (lambda b, a: control.switch(b.db, on=False, reason="stocktaking"), "paused: stocktaking"),
    "family": (
        lambda b, a: control.enable_family(b.db, ORDERS, a, enabled=False, reason=None),
        "the family is disabled for this account",
    ),
    "for all": (
        lambda b, a: control.enable_family(b.db, ORDERS, None, enabled=False, reason=None),
        "the family is disabled for all accounts",
    ),
    "account": (lambda b, a: control.enable_account(b.db, a, enabled=False, reason=None), "the account is disabled"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("narrow")
async def test_running_work_stops_after_its_batch_and_says_why(
    bench: Callable[..., Any], query: Query, way: str
) -> None:
    b = bench(orders_per_seller=30, sellers=1).with_settings(max_window_hours=24 * 20)
    account = await b.add()
    switch, reason = WAYS[way]
    after_first_batch(b, lambda: switch(b, account))
    summary = await b.run(account)
    # The batch after the change is the last one.
    assert (summary.status, summary.caught_up, summary.reason) == ("completed", False, reason)
    assert query("SELECT count(*) FROM ebay_api_worker_log WHERE kind = 'page'") == [(2,)]
    assert summary.stored < 30
    again = await b.run(account)
    assert (again.status, again.reason, again.calls) == ("skipped", reason, 0)
    forced = await b.run(account, force=True)
    assert (forced.status, forced.caught_up) == (("skipped", False) if way == "paused" else ("completed", True))
    [(action, who, why)] = query("SELECT action, changed_by, reason FROM ebay_control_log")
    assert "@" in who
    assert (why == "stocktaking") == (action == "pause")


async def test_a_forced_run_of_a_disabled_family_goes_on_through_all_its_batches(bench: Callable[..., Any]) -> None:
    b = bench(orders_per_seller=30, sellers=1).with_settings(max_window_hours=24 * 20)
    account = await b.add()
    await control.enable_family(b.db, ORDERS, account, enabled=False, reason=None)
    summary = await b.run(account, force=True)
    assert (summary.status, summary.caught_up, summary.stored) == ("completed", True, 30)


async def test_of_families_read_together_only_the_disabled_one_stops(bench: Callable[..., Any], query: Query) -> None:
    b = bench(orders_per_seller=20, sellers=1, things=10)
    account = await b.add()
    together = [discover()["finances"], discover()["transactions"]]
    for name in ("finances", "transactions"):
        await b.run(account, name)
    after_first_batch(b, lambda: control.enable_family(b.db, together[0], account, enabled=False, reason=None))
    async with b.worker(account) as worker:
        stopped, other = await run(worker, together, RunOptions("run", sweep=True))
    assert (stopped.status, stopped.caught_up) == ("completed", False)
    assert stopped.reason == "the family is disabled for this account"
    assert (other.status, other.caught_up) == ("completed", True)


async def test_a_retry_that_sleeps_is_given_up_when_everything_is_paused(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, query: Query
) -> None:
    monkeypatch.setattr(watch, "LOOK", 0.05)
    b = bench(orders_per_seller=5, sellers=1)
    account = await b.add()
    b.sim.faults.add("slow", path="/order$", seconds=60, times=None)
    working = asyncio.create_task(b.run(account))
    for _ in range(500):
        if query("SELECT count(*) FROM ebay_worker_run") == [(1,)]:
            break
        await asyncio.sleep(0.02)
    await control.switch(b.db, on=False, reason=None)
    summary = await asyncio.wait_for(working, 20)
    assert (summary.status, summary.caught_up, summary.reason) == ("completed", False, "paused")
    assert query("SELECT status, summary_json ->> 'reason' FROM ebay_worker_run") == [("completed", "paused")]


@pytest.mark.usefixtures("narrow")
async def test_an_account_that_is_removed_under_a_run_leaves_not_one_row(
    bench: Callable[..., Any], query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ROWS", 3)
    b = bench(orders_per_seller=30, sellers=2).with_settings(max_window_hours=24 * 20)
    account, other = await b.add(0), await b.add(1)
    await b.run(other)
    await b.run(account, "payouts")
    after_first_batch(b, lambda: control.remove(b.db, account, "left us", b.stop))
    summary = await b.run(account)
    assert (summary.status, summary.caught_up, summary.reason) == ("completed", False, "the account was removed")
    tables = query(
        "SELECT table_name FROM information_schema.columns"
        " JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE column_name = 'ebay_account_id' AND table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    for (table,) in tables:
        left = query(f"SELECT count(*) FROM {table} WHERE ebay_account_id = %s", account.id)
        assert left == [(1 if table == "ebay_control_log" else 0,)], table
    assert query("SELECT count(*) FROM ebay_orders") == [(30,)]
    assert query("SELECT action, account_name, reason FROM ebay_control_log") == [
        ("accounts remove", account.name, "left us")
    ]


async def test_removing_an_account_takes_the_lease_of_a_run_that_nothing_else_stops(
    bench: Callable[..., Any], query: Query
) -> None:
    b = bench(orders_per_seller=30, sellers=1).with_settings(max_window_hours=24 * 20)
    account = await b.add()
    interrupting = Stop()
    interrupting.request(15)

    async def begin_to_remove() -> None:
        with pytest.raises(Interrupted):
            await control.remove(b.db, account, None, interrupting)

    after_first_batch(b, begin_to_remove)
    summary = await b.run(account, force=True)  # that the account is disabled does not stop it
    assert (summary.status, summary.failure.code) == ("error", "lease_lost")
    assert query("SELECT count(*) FROM ebay_api_worker_log WHERE kind = 'page'") == [(1,)]
    assert query("SELECT count(*) FROM ebay_orders") == [(summary.stored,)]
    held = await b.run(account, force=True)
    assert (held.status, held.reason) == ("skipped", "held by another run")


async def test_an_interval_or_a_switch_before_the_first_run_makes_the_familys_row(
    bench: Callable[..., Any], query: Query
) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()
    await control.set_interval(b.db, ORDERS, account, 7)
    await control.set_interval(b.db, ORDERS, None, 9)
    await control.enable_family(b.db, ORDERS, None, enabled=False, reason=None)
    assert query("SELECT enabled, every_minutes, cursor_type FROM ebay_sync_state") == [(True, 7, "window")]
    defaults = {"families": {"orders": {"every_minutes": 9, "enabled": False}}}
    assert query("SELECT defaults FROM ebay_worker_global_config") == [(defaults,)]
    [shown] = [f for f in (await control.of_account(b.db, account))["families"] if f["family"] == "orders"]
    assert (shown["enabled"], shown["enabled_for_account"], shown["every_minutes"]) == (False, True, 7)
    await control.set_interval(b.db, ORDERS, account, None)
    [shown] = [f for f in (await control.of_account(b.db, account))["families"] if f["family"] == "orders"]
    assert (shown["every_minutes"], shown["every_from"]) == (9, "all accounts")
    await control.set_interval(b.db, ORDERS, None, None)
    [shown] = [f for f in (await control.overview(b.db))["families"] if f["family"] == "orders"]
    assert (shown["every_minutes"], shown["enabled"]) == (5, False)
