"""Ends a run whose calls bring nothing, whatever eBay's reason is.

A run may make FRUITLESS calls without a record that it has not seen yet, and one more for each slice that its window
needs if every slice is empty. An hour of calls in vain would cost all accounts of the keyset their day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from ebaysync.ebay.transport import Transport
from ebaysync.errors import NothingNew
from ebaysync.sync.walk import Slice

FRUITLESS = 60
REMEMBERED = 20_000  # keys; repeated answers bring the same ones soon


class CallGuard:
    """Counts the calls of one run since the last one that brought something."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._seen: dict[str | bytes, None] = {}
        self._last = 0
        self._allowed = FRUITLESS

    def expect(self, span: Slice, width: timedelta) -> None:
        """Allow a call for each slice of a window."""
        self._allowed = FRUITLESS + int(max(span.width, timedelta(0)) / width)

    def check(self, keys: Iterable[str | bytes]) -> None:
        """Note the records that came. Raises NothingNew after too many calls without a new one."""
        new = [key for key in keys if key not in self._seen]
        if new:
            self._last = self._transport.calls
            self._seen.update(dict.fromkeys(new))
            while len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]
        elif self._transport.calls - self._last > self._allowed:
            calls = self._transport.calls - self._last
            raise NothingNew(f"{calls} calls brought no record that had not come before; the run was ended")
