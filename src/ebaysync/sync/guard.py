"""Ends a run whose answers bring nothing, whatever eBay's reason is.

A run may read FRUITLESS pages in a row without a record that it has not seen yet, and one more for each slice that its
window needs if every slice is empty. To cut 90 days down to one second takes about fifty. An hour of calls in vain
would cost all accounts of the keyset their day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ebaysync.errors import NothingNew
from ebaysync.sync.queue import FilterIgnored
from ebaysync.sync.slices import Slice

FRUITLESS = 100
REMEMBERED = 20_000  # keys; repeated answers bring the same ones soon


FAR_OUTSIDE = timedelta(hours=1)
SEVERAL = 2


def check_filter(
    window: Slice, times: Sequence[datetime], *, may_be_later: bool, reach: timedelta | None = None
) -> None:
    """Raises FilterIgnored if several of a page's records lie far outside of the requested window. One may be odd.

    `may_be_later`: a record that was modified meanwhile has a later time than its window. `reach` is how far back eBay
    answers at all: a record from beyond it has a wrong date, which proves nothing about the filter.
    """
    outside = [
        time
        for time in times
        if (time < window.start - FAR_OUTSIDE or (not may_be_later and time > window.end + FAR_OUTSIDE))
        and (reach is None or window.start - reach <= time <= window.end + reach)
    ]
    if len(outside) >= SEVERAL:
        span = f"{window.start.isoformat()} to {window.end.isoformat()}"
        raise FilterIgnored(f"{len(outside)} of {len(times)} records are not of {span}: the filter does nothing")


class PageGuard:
    """Counts the pages of one run since the last one that brought something."""

    def __init__(self) -> None:
        # A dict, not a set: it keeps the order of arrival, so that the oldest keys are dropped first.
        self._seen: dict[str | bytes, None] = {}
        self._in_a_row = 0
        self._allowed = FRUITLESS

    def expect(self, span: Slice, width: timedelta) -> None:
        """Allow a page for each slice of a window."""
        self._allowed = FRUITLESS + int(max(span.width, timedelta(0)) / width)

    def check(self, keys: Iterable[str | bytes]) -> None:
        """Note the records of a page. Raises NothingNew after too many pages without a new one."""
        new = [key for key in keys if key not in self._seen]
        self._in_a_row = 0 if new else self._in_a_row + 1
        self._seen.update(dict.fromkeys(new))
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        if self._in_a_row > self._allowed:
            raise NothingNew(f"{self._in_a_row} pages in a row brought no record that had not come before")
