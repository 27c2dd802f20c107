"""A run whose answers bring nothing comes to an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ebaysync.errors import NothingNew
from ebaysync.sync.guard import FRUITLESS, PageGuard
from ebaysync.sync.walk import Slice

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
