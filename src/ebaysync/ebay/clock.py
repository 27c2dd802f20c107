"""eBay's clock, as its answers show it."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


class Clock:
    """eBay's now: the Date of its newest answer, carried on by the monotonic clock.

    Before the first answer it is the host's time, and `known` is False.
    """

    def __init__(self) -> None:
        self.known = False
        self._at: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        if self._at is None:
            return datetime.now(UTC)
        date, mark = self._at
        return date + timedelta(seconds=time.monotonic() - mark)

    @property
    def age(self) -> float:
        """Seconds since eBay's newest answer; infinite before the first."""
        return math.inf if self._at is None else time.monotonic() - self._at[1]

    def learn(self, date: str | None) -> None:
        try:
            found = parsedate_to_datetime(date or "")
            if found.tzinfo is not None:
                self._at = (found.astimezone(UTC), time.monotonic())
                self.known = True
        except (ValueError, OverflowError):
            return
