"""Details that eBay does not give: what was listed is stored, the others come, and each is asked for again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ebaysync.rechecks import DETAIL_LONGEST
from ebaysync.sim.clock import ManualClock
from ebaysync.sync.details import BATCH
from ebaysync.sync.sources.streak import FAILURES_IN_A_ROW
from ebaysync.sync.state.pending_details import wait

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
Benches = Callable[..., Any]
Query = Callable[..., list[tuple[Any, ...]]]
BY_ID = r"/post-order/v2/return/\d+$"
DETAILED = "SELECT count(*) FROM ebay_returns WHERE raw_payload ? 'detail'"
DUE = "SELECT entity_key, attempts FROM ebay_pending_detail WHERE next_at IS NOT NULL ORDER BY 1"


def world(bench: Benches, returns: int) -> tuple[Any, list[str]]:
    b = bench(orders_per_seller=0, sellers=1, clock=ManualClock(NOON))
    [seller] = b.sim.world.sellers
    for number in range(returns):
        b.sim.world.add_thing(seller, "return", at=NOON - timedelta(days=2, minutes=number))
    return b, sorted(b.sim.world.things(seller, "return"))


def by_id(b: Any) -> list[Any]:
    return [entry for entry in b.sim.journal.of("/post-order/v2/return/") if not entry.path.endswith("/search")]


async def test_a_limit_in_the_middle_of_the_details_costs_none_of_the_returns(bench: Benches, query: Query) -> None:
    """Every run gets fifty more details, and only the calls that were under way are refused."""
    b, ids = world(bench, 120)
    account = await b.add()
    came = []
    for turn in range(4):
        b.sim.faults.clear()
        if turn < 3:
            b.sim.faults.add("status", path=BY_ID, status=429, after=50, times=None)
        b.sim.journal.clear()
        summary = await b.run(account, "returns")
        came.append(query(DETAILED)[0][0])
        assert query("SELECT count(*) FROM ebay_returns") == [(len(ids),)]
        assert (summary.status, summary.failure, summary.cursor is not None) == ("completed", None, True)
        assert len([entry for entry in by_id(b) if entry.status == 429]) <= 30
        if turn < 2:
            assert summary.caught_up is False
            assert "details are missing" in summary.reason
        query("UPDATE ebay_pending_detail SET next_at = now() WHERE next_at IS NOT NULL")  # minutes later
    assert came == [50, 100, 120, 120]
    assert query(DUE) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 403},
        {"kind": "status", "status": 404},
        {"kind": "status", "status": 500},
        {"kind": "html"},
        {"kind": "short"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
async def test_a_return_whose_detail_fails_costs_no_other_and_is_asked_for_ever_more_seldom(
    bench: Benches, query: Query, fault: dict[str, Any]
) -> None:
    b, ids = world(bench, 9)
    account = await b.add()
    b.sim.faults.add(path=f"/post-order/v2/return/{ids[4]}$", times=None, **fault)
    first = await b.run(account, "returns")
    assert (first.status, first.failure, first.caught_up) == ("completed", None, False)
    assert ids[4] in first.reason
    assert query("SELECT count(*) FROM ebay_returns") == [(9,)]
    assert (query(DETAILED), query(DUE)) == ([(8,)], [(ids[4], 1)])
    b.sim.journal.clear()
    await b.run(account, "returns")
    assert ids[4] not in {entry.path.rpartition("/")[2] for entry in by_id(b)}, "it waits"
    query("UPDATE ebay_pending_detail SET next_at = clock_timestamp()")
    await b.run(account, "returns")
    assert query(DUE) == [(ids[4], 2)]
    b.sim.faults.clear()
    query("UPDATE ebay_pending_detail SET next_at = clock_timestamp()")
    healed = await b.run(account, "returns")
    assert (healed.caught_up, query(DETAILED), query(DUE)) == (True, [(9,)], [])


async def test_where_every_detail_fails_a_few_calls_are_enough_and_the_rest_stays_due(
    bench: Benches, query: Query
) -> None:
    b, ids = world(bench, 60)
    account = await b.add()
    b.sim.faults.add("status", path=BY_ID, status=403, times=None)
    summary = await b.run(account, "returns")
    assert (summary.status, summary.caught_up, query("SELECT count(*) FROM ebay_returns")) == (
        "completed",
        False,
        [(60,)],
    )
    failed = [key for key, attempts in query(DUE) if attempts]
    assert FAILURES_IN_A_ROW <= len(failed) < 2 * FAILURES_IN_A_ROW + 2
    assert len(query(DUE)) == len(ids)
    b.sim.faults.clear()
    query("UPDATE ebay_pending_detail SET next_at = clock_timestamp()")
    healed = await b.run(account, "returns")
    assert (healed.caught_up, query(DETAILED)) == (True, [(60,)])


async def test_a_run_that_ends_between_two_batches_keeps_the_first(bench: Benches, query: Query) -> None:
    """A kill costs at most one batch: the next run asks only for the details that are not stored."""
    b, ids = world(bench, 2 * BATCH)
    account = await b.add()
    b.sim.faults.add("expire_tokens", path=BY_ID, after=BATCH + 3, times=1)
    b.sim.faults.add("status", path="/identity/v1/oauth2/token", status=400, envelope="oauth", says="invalid_grant")
    summary = await b.run(account, "returns")
    assert summary.failure.code == "needs_consent"
    assert query("SELECT count(*) FROM ebay_returns") == [(len(ids),)]
    assert query(DETAILED)[0][0] >= BATCH


def test_the_waits_double_up_to_a_day() -> None:
    waits = [wait(attempts) for attempts in range(1, 40)]
    assert waits[:3] == [timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=20)]
    assert waits[-1] == DETAIL_LONGEST == timedelta(days=1)
    assert waits == sorted(waits)
