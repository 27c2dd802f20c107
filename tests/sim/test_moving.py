"""Rows that move between two pages: the traps are real, whichever way a client walks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ebaysync.sim.clock import ManualClock

Simulate = Callable[..., Any]
Span = Callable[..., str]
START = datetime(2026, 7, 1, 12, tzinfo=UTC)
PAGE = 10
ROWS = ["hash", "modified", "-modified", "created", "-created", "id"]


def forward(caller: Any, window: str) -> set[str]:
    """The naive walk: next, next, next."""
    seen: set[str] = set()
    page = caller.page(filter=window, limit=PAGE)
    while True:
        seen |= {row["orderId"] for row in page["orders"]}
        if "next" not in page:
            return seen
        page = caller.get(page["next"]).json()


def backward(caller: Any, window: str) -> set[str]:
    """From the last page to the first, after one call for `total`."""
    total = caller.page(filter=window, limit=1)["total"]
    seen: set[str] = set()
    for offset in range((total - 1) // PAGE * PAGE, -1, -PAGE):
        seen |= set(caller.ids(filter=window, limit=PAGE, offset=offset))
    return seen


def settled(caller: Any, before: datetime) -> set[str]:
    """The orders of the window that nothing happened to while somebody walked."""
    truth = caller.sim.world.truth(caller.seller)
    return {
        key for key, value in truth.items() if value.last_modified < before and value.order.changes[0].indexed < before
    }


def missed(caller: Any, clock: ManualClock, span: Span, walk: Callable[[Any, str], set[str]]) -> set[str]:
    """What a walk over a closed window of the past never saw although it stood there all the time."""
    window = span(START - timedelta(days=90), START)
    clock.advance(120)
    seen = walk(caller, window)
    return settled(caller, START + timedelta(seconds=1)) - seen


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("walk", [forward, backward])
def test_nobody_misses_a_row_of_a_world_at_rest(
    walk: Callable[[Any, str], set[str]], rows: str, simulate: Simulate, clock: ManualClock, span: Span
) -> None:
    caller = simulate(orders_per_seller=45, rows=rows)
    assert missed(caller, clock, span, walk) == set()


@pytest.mark.parametrize("rows", ROWS)
def test_a_forward_walk_misses_rows_when_others_leave(
    rows: str, simulate: Simulate, clock: ManualClock, span: Span
) -> None:
    caller = simulate(orders_per_seller=45, rows=rows)
    caller.sim.faults.add("leave", times=None)
    assert len(missed(caller, clock, span, forward)) >= 3


@pytest.mark.parametrize("rows", ROWS)
def test_a_walk_from_the_end_survives_rows_that_leave(
    rows: str, simulate: Simulate, clock: ManualClock, span: Span
) -> None:
    caller = simulate(orders_per_seller=45, rows=rows)
    caller.sim.faults.add("leave", times=None)
    assert missed(caller, clock, span, backward) == set()


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("walk", [forward, backward])
def test_every_walk_misses_rows_when_others_leave_and_enter(
    walk: Callable[[Any, str], set[str]], rows: str, simulate: Simulate, clock: ManualClock, span: Span
) -> None:
    caller = simulate(orders_per_seller=45, rows=rows)
    caller.sim.faults.add("leave_and_enter", times=None)
    assert missed(caller, clock, span, walk)
    totals = {caller.page(filter=span(START - timedelta(days=90), START), limit=1)["total"] for _ in range(3)}
    assert totals == {45}


def test_random_moves_are_a_trap_too(simulate: Simulate, clock: ManualClock, span: Span) -> None:
    lost = 0
    for seed in range(5):
        caller = simulate(seed=seed, orders_per_seller=95)
        caller.sim.faults.add("leave", times=None, where="random")
        lost += len(missed(caller, clock, span, forward))
    assert lost > 0, "seeds 0 to 4"


def test_a_window_that_reaches_now_has_nothing_to_leave_to(simulate: Simulate, span: Span) -> None:
    caller = simulate(orders_per_seller=15)
    fault = caller.sim.faults.add("leave", times=1)
    before = caller.sim.world.truth(caller.seller)
    caller.page(filter=span(START - timedelta(days=90), START), limit=PAGE)
    after = caller.sim.world.truth(caller.seller)
    assert fault.struck == 0
    assert {key: value.version for key, value in before.items()} == {key: value.version for key, value in after.items()}


def test_rows_asked_by_id_do_not_move(simulate: Simulate, clock: ManualClock) -> None:
    caller = simulate(orders_per_seller=3)
    clock.advance(60)
    caller.sim.faults.add("leave")
    assert len(caller.ids(orderIds=",".join(caller.seller.orders), filter="ignored")) == 3
    assert caller.sim.journal[-1].faults == ()
    assert {order.modified < START for order in caller.seller.orders.values()} == {True}
