"""Three clocks, of which one may be wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ebaysync.ebay.clock import Clock

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NEAR = timedelta(seconds=5)


def clock(ebay: datetime | None, host: datetime, database: datetime | None) -> Clock:
    found = Clock(lambda: host)
    found.database_is(database)
    found.learn(format_datetime(ebay, usegmt=True) if ebay else None)
    return found


@pytest.mark.parametrize(
    ("ebay", "host", "database", "wanted"),
    [
        (NOW, NOW, NOW, NOW),
        (None, NOW, NOW, NOW),
        (NOW, NOW + timedelta(minutes=59), NOW + timedelta(minutes=59), NOW),
        (NOW, NOW - timedelta(days=400), NOW, NOW),
        (NOW, NOW, NOW + timedelta(days=400), NOW),
        (NOW, NOW - timedelta(days=3), None, NOW),
        (NOW, NOW - timedelta(days=3), NOW + timedelta(days=5), NOW),
        (datetime(1969, 6, 1, tzinfo=UTC), NOW, NOW, NOW),
        (datetime(2037, 1, 1, tzinfo=UTC), NOW, NOW + timedelta(minutes=2), NOW),
        (NOW + timedelta(hours=2), NOW, NOW, NOW),
    ],
)
def test_ebays_time_counts_unless_both_others_contradict_it(
    ebay: datetime | None, host: datetime, database: datetime | None, wanted: datetime
) -> None:
    assert abs(clock(ebay, host, database).now() - wanted) < NEAR


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "", "soon", "0", None])
def test_a_date_that_is_none_is_ignored(date: str | None) -> None:
    found = Clock(lambda: NOW)
    found.learn(date)
    assert (found.known, found.now()) == (False, NOW)


@pytest.mark.parametrize("off", [timedelta(days=-9), timedelta(days=9)])
@pytest.mark.parametrize("which", range(3))
def test_the_clock_that_is_wrong_is_named_and_the_earliest_bounds_the_cursor(which: int, off: timedelta) -> None:
    times = [NOW] * 3
    times[which] += off
    found = clock(*times)
    told = found.disagreement()
    assert told
    assert told.startswith(("eBay's", "this host's", "the database's")[which])
    assert ("behind" if off < timedelta(0) else "ahead of") in told
    assert abs(found.earliest() - min(times)) < NEAR
    assert abs(found.latest() - max(times)) < NEAR


def test_clocks_that_agree_name_none() -> None:
    assert clock(NOW, NOW, NOW).disagreement() is None
    assert clock(None, NOW, NOW + timedelta(days=2)).disagreement() is None
