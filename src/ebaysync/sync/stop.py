"""Requests to stop: a signal, a pause, a disabled family or account, a removed account.

A process has one Stop. Each run derives its own from it, because a pause may end one run but not the others. A run
checks its Stop between batches, so batches are always stored completely, and no wait for eBay lasts longer than until
the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar
from weakref import WeakSet

from ebaysync.errors import Interrupted
from ebaysync.tasks import cancel

T = TypeVar("T")


class StopRequested(Exception):
    """The work is no longer wanted. Each family's summary has the reason."""


class Stop:
    """Whether to stop, and waits that end when a stop is requested."""

    def __init__(self) -> None:
        self._cause: Interrupted | StopRequested | None = None
        self._requested = asyncio.Event()
        self._derived: WeakSet[Stop] = WeakSet()  # weak references: runs come and go, the process's Stop stays

    @property
    def signum(self) -> int | None:
        """The signal that requested the stop."""
        return self._cause.signum if isinstance(self._cause, Interrupted) else None

    def derived(self) -> Stop:
        """A Stop that follows this one, and can also be stopped alone."""
        child = Stop()
        self._derived.add(child)
        if self._cause:
            child._stop(self._cause)
        return child

    def request(self, signum: int) -> None:
        """Request a stop because of a signal."""
        self._stop(Interrupted(signum))

    def end(self) -> None:
        """Request a stop because the work is no longer wanted."""
        self._stop(StopRequested())

    def _stop(self, cause: Interrupted | StopRequested) -> None:
        # A signal outranks every other reason: it ends the process, a pause only a run.
        if self._cause is None or (isinstance(cause, Interrupted) and self.signum is None):
            self._cause = cause
        self._requested.set()
        for child in self._derived:
            child._stop(cause)

    async def wait(self) -> None:
        await self._requested.wait()

    async def race(self, work: Awaitable[T]) -> T:
        """The result of `work`. On a request to stop, cancels `work` and raises Interrupted or StopRequested."""
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._requested.wait())
        # asyncio.wait does not cancel its tasks, so do it here, whether we leave by a signal or by cancellation.
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            # Both may be done at once. Then the result counts: it may say what was stored.
            if task.done():
                return task.result()
        finally:
            await cancel(task, stopped)
        raise self._error()

    async def sleep(self, seconds: float) -> None:
        """Sleep. On a request to stop, raises Interrupted or StopRequested at once."""
        try:
            async with asyncio.timeout(seconds):
                await self._requested.wait()
        except TimeoutError:
            return
        raise self._error()

    def _error(self) -> Exception:
        # A new exception each time: one that several tasks raise would collect all of their tracebacks.
        cause = self._cause
        return Interrupted(cause.signum) if isinstance(cause, Interrupted) else StopRequested()
