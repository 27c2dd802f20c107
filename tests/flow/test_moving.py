"""Rows that move while they are read: nothing may be missing, over many seeds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ebaysync.sim.clock import ManualClock
from ebaysync.sim.quirks import CHOICES

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(20))
async def test_of_2000_orders_none_is_missing_when_rows_leave_and_enter_between_answers(
    bench: Callable[..., Any], query: Callable[..., list[Any]], seed: int
) -> None:
    """A busy seller: 2,000 orders of half a day, so that most windows hold more than a page at first."""
    clock = ManualClock(NOON)
    rows = CHOICES["rows"][seed % len(CHOICES["rows"])]
    b = bench(seed=seed, orders_per_seller=2000, sellers=1, clock=clock, rows=rows, days=0.5)
    b = b.with_settings(settle_seconds=30, initial_backfill_days=2)
    [seller] = b.sim.world.sellers
    there = set(b.sim.world.truth(seller))
    where = ("boundary", "random")[seed // 2 % 2]
    b.sim.faults.add(("leave", "leave_and_enter")[seed % 2], times=None, where=where)
    account = await b.add()
    clock.advance(60)
    summary = await b.run(account)
    assert summary.status == "completed"
    b.sim.faults.clear()
    clock.advance(60)
    assert (await b.run(account)).status == "completed"
    stored = {row[0] for row in query("SELECT order_id FROM ebay_orders")}
    assert len(there - stored) == 0, f"seed {seed}, {rows}, {where}: missing {sorted(there - stored)[:5]}"
    touched = dict(query("SELECT order_id, last_modified_date FROM ebay_orders"))
    truth = b.sim.world.truth(seller)
    late = [k for k in there if touched[k] != truth[k].last_modified]
    assert late == [], f"seed {seed}: {len(late)} orders are not of their newest version"
