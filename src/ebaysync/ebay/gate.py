"""The way of one API's calls to eBay. It narrows when eBay refuses a call for too many.

Until then, calls go side by side. Afterwards they go one at a time, until the process ends: the first waits and asks
again, and the others wait behind it. If it gives up, so do they, without a call. So a limit costs the calls that were
in flight and the attempts of one, however many are waiting.
"""

from __future__ import annotations

import asyncio
import copy
import time

from ebaysync.errors import EbayError

SHUT = 60.0  # seconds without a call after one has given up, if eBay did not ask for more


class Narrowed(Exception):
    """The gate has narrowed meanwhile: go on with `turn`."""


class Gate:
    """One API's gate, for all tasks of an account's process.

    turn: held by the one call that may be sent since the gate is `narrow`. refusal: the refusal that nobody has waited
    for yet.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.narrow = False
        self.refusal: EbayError | None = None
        self._given_up: tuple[EbayError, float] | None = None

    def check(self) -> None:
        """Raises the error of a call that has given up within the last minute, or within the time that eBay asked."""
        if self._given_up and time.monotonic() < self._given_up[1]:
            # A new exception each time: one that several tasks raise would collect all of their tracebacks.
            raise copy.copy(self._given_up[0])

    def shut(self, error: EbayError) -> None:
        """Nobody asks for a while."""
        self.narrow, self.refusal = True, None
        self._given_up = error, time.monotonic() + max(SHUT, error.retry_after or 0)

    def take_refusal(self) -> EbayError | None:
        """The refusal to wait for before the next call; the caller waits for all."""
        refusal, self.refusal = self.refusal, None
        return refusal
