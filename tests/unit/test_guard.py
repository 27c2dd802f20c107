"""A run whose answers bring nothing comes to an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ebaysync.errors import NothingNew
from ebaysync.sync.guard import FRUITLESS, PageGuard, check_filter
from ebaysync.sync.queue import FilterIgnored
from ebaysync.sync.slices import Slice

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def pages_read(guard: PageGuard, *keys: str) -> int:
    """How many pages with these records a run reads, at most a thousand."""
    for read in range(1000):
        try:
            guard.check(keys)
        except NothingNew:
            return read
    return 1000


def test_pages_that_repeat_what_came_end_the_run() -> None:
    assert pages_read(PageGuard(), "1", "2") == FRUITLESS + 1


def test_a_new_record_begins_the_count_again() -> None:
    guard = PageGuard()
    for _ in range(FRUITLESS):
        guard.check(["1"])
    guard.check(["1", "2"])
    assert pages_read(guard, "1") == FRUITLESS


def test_an_empty_window_may_cost_a_page_for_each_of_its_slices() -> None:
    guard = PageGuard()
    guard.expect(Slice(START, START + 90 * DAY), DAY)
    assert pages_read(guard) == FRUITLESS + 90


@pytest.mark.parametrize("days", [-3, 4])
def test_records_far_outside_of_their_window_prove_that_the_filter_does_nothing(days: int) -> None:
    window, inside = Slice(START, START + DAY), START + DAY / 2
    check_filter(window, [START - timedelta(minutes=59)], may_be_later=False)
    check_filter(window, [inside, START + days * DAY], may_be_later=False)
    check_filter(window, [], may_be_later=False)
    with pytest.raises(FilterIgnored, match="2 of 3 records"):
        check_filter(window, [inside, *[START + days * DAY] * 2], may_be_later=False)


def test_records_from_beyond_ebays_reach_do_not_prove_that_the_filter_does_nothing() -> None:
    window, old = Slice(START, START + DAY), datetime(1999, 1, 1, tzinfo=UTC)
    check_filter(window, [old, old, START + DAY / 2], may_be_later=False, reach=730 * DAY)
    check_filter(window, [START + 800 * DAY] * 2, may_be_later=False, reach=730 * DAY)
    with pytest.raises(FilterIgnored, match="2 of 3 records"):
        check_filter(window, [old, *[START - 90 * DAY] * 2], may_be_later=False, reach=730 * DAY)


def test_a_record_that_was_modified_meanwhile_may_be_later_than_its_window() -> None:
    check_filter(Slice(START, START + DAY), [START + 9 * DAY], may_be_later=True)
