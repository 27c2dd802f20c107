"""Which span a run reads: decided from eBay's now, the states and the settings alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ebaysync import settings
from ebaysync.families import discover
from ebaysync.families.family import PLENTY
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


def test_where_no_filter_shows_a_change_a_window_begins_as_far_back_as_a_page_is_expected_to_hold() -> None:
    cursor, unknown = NOW - timedelta(hours=1), State(True, None)
    assert plan.trailing(SETTINGS, ORDERS, [unknown]) == timedelta(0)
    assert plan.trailing(SETTINGS, PAYOUTS, [unknown]) == 90 * DAY
    known = [replace(unknown, trailing=30 * DAY), replace(unknown, trailing=50 * DAY), unknown]
    assert plan.trailing(SETTINGS, PAYOUTS, known) == 30 * DAY, "the families of a source are read together"
    assert plan.live(SETTINGS, [(PAYOUTS, cursor)], NOW, 30 * DAY) == Slice(END - 30 * DAY, END)
    late = NOW - 40 * DAY
    assert plan.live(SETTINGS, [(PAYOUTS, late)], NOW, 30 * DAY) == plan.live(SETTINGS, [(PAYOUTS, late)], NOW)


@pytest.mark.parametrize(
    ("days", "records", "expected"),
    [(20, 0, 40), (20, 66, 40), (20, 67, 20), (20, 180, 20), (20, 181, 20 * 100 / 181), (20, 2000, 1), (60, 10, 90)],
)
def test_the_trailing_part_is_as_wide_as_fills_a_page_half(days: int, records: int, expected: float) -> None:
    found = plan.next_trailing(SETTINGS, PAYOUTS, Slice(END - days * DAY, END), records, 200)
    assert abs(found - expected * DAY) <= timedelta(seconds=1)


WINDOW = Slice(END - timedelta(hours=1), END)
HORIZON = END - 90 * DAY
BOUND = PAYOUTS.window.seen_within * plan.PUNCTUAL


def round_(began: timedelta | None, at: datetime | None, **changed: Any) -> State:
    """A round that began so long ago and has come so far; None: it is complete."""
    return State(True, None, at, sweep_began=None if began is None else END - began, **changed)


def swept(*states: State, whole: bool = False, patience: float = 1.0) -> Slice | None:
    planned = plan.sweep(SETTINGS, PAYOUTS, states, WINDOW, whole=whole, patience=patience)
    return planned and planned.span


def test_a_round_of_the_sweep_begins_at_once_and_then_when_its_time_has_come() -> None:
    everything = Slice(HORIZON, WINDOW.start)
    assert swept(round_(None, None)) == everything
    assert swept(round_(BOUND, None)) == everything
    assert swept(round_(BOUND - timedelta(seconds=1), None)) is None
    assert swept(round_(BOUND, None), patience=2) is None
    assert swept(round_(BOUND / 12, None), patience=PLENTY) == everything


def test_each_slice_of_a_round_is_read_when_its_time_has_come() -> None:
    half = HORIZON + (WINDOW.start - HORIZON) / 2
    assert swept(round_(BOUND / 2 - timedelta(minutes=1), half)) is None
    assert swept(round_(BOUND / 2, half)) == Slice(plan.whole_seconds(half), WINDOW.start)
    assert swept(round_(BOUND / 2, half), patience=2) is None
    assert swept(round_(3 * BOUND, half)) == Slice(plan.whole_seconds(half), WINDOW.start)


def test_a_run_that_comes_late_reads_as_many_slices_as_are_due() -> None:
    planned = plan.sweep(SETTINGS, PAYOUTS, [round_(BOUND / 2, HORIZON + DAY)], WINDOW, whole=False, patience=1)
    assert planned
    assert abs(planned.until - (HORIZON + (WINDOW.start - HORIZON) / 2)) < timedelta(seconds=1)


def test_of_families_of_one_source_the_one_that_is_furthest_behind_decides() -> None:
    far, near, done = round_(BOUND, END - 40 * DAY), round_(BOUND, END - 10 * DAY), round_(BOUND / 2, None)
    assert swept(near, far) == Slice(END - 40 * DAY, WINDOW.start)
    assert swept(near, done) == Slice(END - 10 * DAY, WINDOW.start), "one that is complete has time"
    assert swept(near, far, round_(None, None)) == Slice(HORIZON, WINDOW.start), "one that never began has none"


def test_states_of_before_there_were_times_of_rounds_go_on() -> None:
    old = [round_(None, END - 40 * DAY), round_(None, None), round_(None, END - 10 * DAY)]
    assert swept(*old) == Slice(HORIZON, WINDOW.start)
    assert swept(old[0], old[2]) is None, "as far as it is, its round has time"


def test_a_round_that_has_come_to_the_window_is_complete() -> None:
    assert swept(round_(timedelta(0), WINDOW.start)) is None
    assert swept(round_(timedelta(0), END + DAY)) is None
    assert swept(round_(BOUND, WINDOW.start)) == Slice(HORIZON, WINDOW.start)


def test_a_position_that_fell_behind_the_horizon_goes_on_at_its_beginning() -> None:
    assert swept(round_(BOUND, END - 200 * DAY)) == Slice(HORIZON, WINDOW.start)


def test_a_round_that_began_in_the_future_begins_now() -> None:
    assert swept(round_(-DAY, None)) == Slice(HORIZON, WINDOW.start)
    assert swept(round_(-DAY, HORIZON)) == Slice(HORIZON, WINDOW.start)


def test_the_whole_horizon_is_swept_wherever_the_position_is() -> None:
    assert swept(round_(timedelta(0), END - DAY), whole=True) == Slice(HORIZON, WINDOW.start)


def test_there_is_no_sweep_without_a_horizon_or_behind_a_window_that_covers_it() -> None:
    state = State(True, None)
    assert plan.sweep(SETTINGS, ORDERS, [state], WINDOW, whole=False) is None
    assert plan.sweep(SETTINGS, PAYOUTS, [state], Slice(HORIZON, END), whole=True) is None


def test_a_sweep_begins_as_wide_as_it_ended_and_never_wider_than_the_family_allows() -> None:
    widest = plan.widest(SETTINGS, PAYOUTS)
    for stored, expected in ((widest / 4, widest / 4), (widest * 4, widest), (None, widest)):
        state = round_(BOUND, END - DAY * 9, sweep_width=stored)
        planned = plan.sweep(SETTINGS, PAYOUTS, [state], WINDOW, whole=False)
        assert planned is not None
        assert planned.width == expected


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
