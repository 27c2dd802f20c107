"""How soon a change of an old row is seen, and how many calls that costs, where the horizon is more than a page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from ebaysync.families import discover
from ebaysync.families.family import PLENTY
from ebaysync.sim.clock import ManualClock

Query = Callable[..., list[Any]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = 3600
PAYOUTS = "/sell/finances/v1/payout"


@pytest.fixture
def shop(bench: Callable[..., Any]) -> Any:
    """900 payouts of 90 days: five pages."""
    return bench(sellers=1, orders_per_seller=1, things={"payout": 900}, clock=ManualClock(NOON))


@pytest.mark.parametrize(("patience", "within", "most"), [(1.0, 24, 40), (2.0, 48, 40), (PLENTY, 5, 120)])
async def test_each_row_of_the_horizon_is_read_within_the_bound_with_few_calls(
    shop: Any, patience: float, within: float, most: int
) -> None:
    account, clock = await shop.add(), shop.sim.world.clock
    await shop.run(account, "payouts")
    for _ in range(4):  # until the width of the trailing part and of the slices is known
        clock.advance(HOUR)
        await shop.run(account, "payouts", patience={"payouts": patience})
    shop.sim.journal.clear()
    seen: dict[str, list[float]] = {}
    runs = int(3 * max(within, 12))
    extra = 0
    for hour in range(runs):
        clock.advance(HOUR)
        before = len(shop.sim.journal.of(PAYOUTS))
        await shop.run(account, "payouts", patience={"payouts": patience})
        entries = [entry for entry in shop.sim.journal.of(PAYOUTS)[before:] if entry.status != 401]
        extra += len(entries) - 1
        for key in {key for entry in entries for key, _ in entry.rows}:
            seen.setdefault(key, []).append(hour)
    assert len(seen) > 800
    gaps = [b - a for hours in seen.values() for a, b in pairwise(hours)]
    assert max(gaps) <= within
    print(f"{extra} calls beside {runs} live ones, {runs / within:.1f} bounds")
    assert extra <= most


async def test_a_run_that_comes_late_catches_up(shop: Any) -> None:
    account, clock = await shop.add(), shop.sim.world.clock
    for _ in range(3):
        clock.advance(HOUR)
        await shop.run(account, "payouts", patience={"payouts": 1.0})
    shop.sim.journal.clear()
    clock.advance(48 * HOUR)
    await shop.run(account, "payouts", patience={"payouts": 1.0})
    shown = {key for entry in shop.sim.journal.of(PAYOUTS) for key, _ in entry.rows}
    assert len(shown) > 600, "the rest of the round is due, and is read"


async def test_the_state_has_the_calls_that_the_sweep_needs_in_a_day(shop: Any, query: Query) -> None:
    account, clock = await shop.add(), shop.sim.world.clock
    for _ in range(30):
        clock.advance(HOUR)
        await shop.run(account, "payouts", patience={"payouts": 1.0})
    [(per_run, per_day, trailing)] = query("SELECT calls_per_run, calls_per_day, trailing_seconds FROM ebay_sync_state")
    assert 1 <= per_run["finances"] <= 1.7, "with the calls that a new token repeats"
    assert 3 <= per_day["sweep"]["finances"] <= 10
    assert 86_400 * 5 < trailing < 86_400 * 25
    assert discover()["payouts"].window.seen_within == timedelta(hours=24)


@pytest.mark.parametrize("days", [1, 80, 120])
async def test_after_a_long_pause_the_window_is_read_once_however_long_it_was(bench: Any, days: int) -> None:
    b = bench(sellers=1, orders_per_seller=1, things={"case": 5}, clock=ManualClock(NOON))
    account, clock = await b.add(), b.sim.world.clock
    await b.run(account, "cases")
    clock.advance(days * 24 * HOUR)
    b.sim.journal.clear()
    summary = await b.run(account, "cases")
    assert (summary.status, summary.caught_up) == ("completed", True)
    asked = [entry for entry in b.sim.journal.of("/post-order") if entry.status != 401]  # an old token
    searches = [entry.query for entry in asked if entry.path.endswith("/search")]
    spans = [entry["case_creation_date_range_from"] for entry in searches]
    assert len(set(spans)) == len(spans), "no span is asked for twice"
    assert {entry.status for entry in asked} == {200}, "none is wider than eBay allows"
