"""Which span a run reads: decided from eBay's now, the states and the settings alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ebaysync import settings
from ebaysync.families import discover
from ebaysync.sync import plan
from ebaysync.sync.slices import Slice
from ebaysync.sync.state.sync_state import State

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
END = datetime(2026, 3, 1, 11, 58, tzinfo=UTC)  # less the settle time of 120 s, on a whole second
DAY = timedelta(days=1)
SETTINGS = settings.load({"EBAYSYNC_DATABASE_URL": "postgresql://localhost/none"}, env_file=False)
ORDERS, PAYOUTS, CASES = (discover()[name] for name in ("orders", "payouts", "cases"))


def test_a_window_begins_the_overlap_before_the_cursor_and_ends_the_settle_time_before_now() -> None:
    cursor = NOW - timedelta(hours=3)
    span = plan.live(SETTINGS, [(ORDERS, cursor)], NOW)
    assert span == Slice(plan.whole_seconds(cursor - timedelta(minutes=30)), END)


def test_families_of_one_source_are_read_from_the_oldest_cursor() -> None:
    together = [(PAYOUTS, NOW - timedelta(hours=1)), (PAYOUTS, NOW - 2 * DAY), (PAYOUTS, NOW - timedelta(hours=5))]
    assert plan.live(SETTINGS, together, NOW) == plan.live(SETTINGS, together[1:2], NOW)


def test_a_family_that_never_ran_begins_at_its_first_reach() -> None:
    assert plan.live(SETTINGS, [(ORDERS, None)], NOW).start == plan.whole_seconds(NOW - 90 * DAY)
    assert CASES.window.first_reach
    span = plan.live(SETTINGS, [(CASES, None)], NOW)
    assert span.start == plan.whole_seconds(
        NOW - CASES.window.first_reach + plan.REACH_MARGIN
    )  # eBay goes no further back


def test_a_cursor_beyond_the_windows_end_asks_for_the_overlap_alone() -> None:
    assert plan.live(SETTINGS, [(ORDERS, NOW + DAY)], NOW) == Slice(END - timedelta(minutes=30), END)


def test_no_window_and_no_backfill_begins_beyond_ebays_reach() -> None:
    assert ORDERS.window.furthest_reach
    earliest = plan.whole_seconds(NOW - ORDERS.window.furthest_reach + plan.REACH_MARGIN)
    assert plan.live(SETTINGS, [(ORDERS, NOW - 3000 * DAY)], NOW).start == earliest
    assert plan.backfill(SETTINGS, ORDERS, 3000, NOW) == Slice(earliest, END)
    assert plan.backfill(SETTINGS, ORDERS, 5, NOW) == Slice(plan.whole_seconds(NOW - 5 * DAY), END)


WINDOW = Slice(END - timedelta(hours=1), END)
HORIZON = END - 90 * DAY


def swept(*positions: datetime | None, whole: bool = False) -> Slice | None:
    planned = plan.sweep(SETTINGS, PAYOUTS, [State(True, None, at) for at in positions], WINDOW, whole=whole)
    return planned and planned[0]


def test_a_sweep_goes_on_at_the_position_that_is_furthest_behind() -> None:
    assert swept(None) == Slice(HORIZON, WINDOW.start)
    assert swept(END - 10 * DAY) == Slice(END - 10 * DAY, WINDOW.start)
    assert swept(END - 10 * DAY, END - 40 * DAY) == Slice(END - 40 * DAY, WINDOW.start)
    assert swept(END - 10 * DAY, None) == Slice(HORIZON, WINDOW.start)


def test_a_sweep_that_has_come_to_the_window_or_fell_behind_the_horizon_begins_anew() -> None:
    assert swept(WINDOW.start) == swept(END + DAY) == swept(END - 200 * DAY) == Slice(HORIZON, WINDOW.start)


def test_the_whole_horizon_is_swept_wherever_the_position_is() -> None:
    assert swept(END - DAY, whole=True) == Slice(HORIZON, WINDOW.start)


def test_there_is_no_sweep_without_a_horizon_or_behind_a_window_that_covers_it() -> None:
    state = State(True, None)
    assert plan.sweep(SETTINGS, ORDERS, [state], WINDOW, whole=False) is None
    assert plan.sweep(SETTINGS, PAYOUTS, [state], Slice(HORIZON, END), whole=True) is None


def test_a_sweep_begins_as_wide_as_it_ended_and_never_wider_than_the_family_allows() -> None:
    widest = plan.widest(SETTINGS, PAYOUTS)
    for stored, expected in ((widest / 4, widest / 4), (widest * 4, widest), (None, widest)):
        planned = plan.sweep(SETTINGS, PAYOUTS, [State(True, None, END - DAY * 9, stored)], WINDOW, whole=False)
        assert planned is not None
        assert planned[1] == expected


@pytest.mark.parametrize(("records", "doubled"), [(0, True), (66, True), (67, False), (200, False)])
def test_a_slice_that_fills_less_than_a_third_of_its_page_makes_the_next_one_twice_as_wide(
    records: int, doubled: bool
) -> None:
    width = plan.widest(SETTINGS, PAYOUTS) / 8
    assert plan.next_sweep_width(SETTINGS, PAYOUTS, width, records, 200) == width * (2 if doubled else 1)
    assert plan.next_sweep_width(SETTINGS, PAYOUTS, width * 8, 0, 200) == width * 8


def test_the_clamp_is_the_familys_own_or_the_settings() -> None:
    assert plan.widest(SETTINGS, ORDERS) == timedelta(hours=24)
    assert plan.widest(SETTINGS, replace(ORDERS, window=replace(ORDERS.window, widest=7 * DAY))) == 7 * DAY
