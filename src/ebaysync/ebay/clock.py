"""Three clocks: eBay's, as its answers show it, this host's and the database's. A wrong one must not cost a record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

CONTRADICTED = timedelta(hours=1)
LATEST_YEAR = 9000  # a later Date is no date; near year 9999 it cannot even be carried on


class Clock:
    """The time by which windows end. It is carried on by the monotonic clock.

    eBay's now is the Date of its newest answer. Before the first answer it is the host's time, and `known` is False.
    If host and database agree with each other and contradict eBay by more than an hour, theirs is used.
    """

    def __init__(self, host: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.known = False
        self._host = host
        self._ebay: tuple[datetime, float] | None = None
        self._database: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        host, ebay, database = self._host(), _carried_on(self._ebay), _carried_on(self._database)
        if ebay is None:
            return host
        # Only two clocks that agree can outvote eBay's.
        if database is None or abs(host - database) > CONTRADICTED:
            return ebay
        # The earlier one: a window that ends too early is continued by the next run, one that ends too late skips
        # records.
        theirs = min(host, database)
        return theirs if min(abs(ebay - host), abs(ebay - database)) > CONTRADICTED else ebay

    def earliest(self) -> datetime:
        """The time of the clock that is furthest behind. No cursor is committed beyond it."""
        return min(self._all().values())

    def latest(self) -> datetime:
        return max(self._all().values())

    def disagreement(self) -> str | None:
        """Which clock is more than an hour off the two others, and by how much; None if none is."""
        clocks = self._all()
        for name, moment in clocks.items():
            others = [other for each, other in clocks.items() if each != name]
            apart = [abs(moment - other) for other in others]
            if len(others) > 1 and min(apart) > CONTRADICTED and abs(others[0] - others[1]) <= CONTRADICTED:
                side = "behind" if moment < others[0] else "ahead of"
                return f"{name} is {timedelta(seconds=round(min(apart).total_seconds()))} {side} the two others"
        return None

    @property
    def age(self) -> float:
        """Seconds since eBay's newest answer; infinite before the first."""
        return math.inf if self._ebay is None else time.monotonic() - self._ebay[1]

    def learn(self, date: str | None) -> None:
        """Take eBay's time from an answer's Date header. Anything that is no date is ignored."""
        try:
            found = parsedate_to_datetime(date or "")
        except (ValueError, OverflowError):
            return
        # A zone of -0000 gives a naive time, which cannot be compared with the others.
        if found.tzinfo is not None and found.year < LATEST_YEAR:
            self._ebay = (found.astimezone(UTC), time.monotonic())
            self.known = True

    def database_is(self, moment: datetime | None) -> None:
        """Take the database's time, if it is known."""
        if moment is not None:
            self._database = (moment, time.monotonic())

    def _all(self) -> dict[str, datetime]:
        found = {
            "eBay's clock": _carried_on(self._ebay),
            "this host's clock": self._host(),
            "the database's clock": _carried_on(self._database),
        }
        return {name: moment for name, moment in found.items() if moment is not None}


def _carried_on(read: tuple[datetime, float] | None) -> datetime | None:
    return read[0] + timedelta(seconds=time.monotonic() - read[1]) if read else None
