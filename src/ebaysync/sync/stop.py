"""The wish to stop: a signal, or a pause, a disabled family or account, a removed account.

A process has one Stop; each run derives its own from it, because a pause may end one run and not its neighbours.
Batches are stored whole: a run looks at its Stop between them, and no wait for eBay outlasts it.
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
    """Nobody wants this work any more. The summary of each family has the reason."""


class Stop:
    """Whether to stop, and waits that end when it is time to."""

    def __init__(self) -> None:
        self._cause: Interrupted | StopRequested | None = None
        self._requested = asyncio.Event()
        self._derived: WeakSet[Stop] = WeakSet()  # weak: runs come and go, the process's Stop stays

    @property
    def signum(self) -> int | None:
        """The signal that asked for the end."""
        return self._cause.signum if isinstance(self._cause, Interrupted) else None

    def derived(self) -> Stop:
        """A Stop that follows this one, and can be stopped alone."""
        child = Stop()
        self._derived.add(child)
        if self._cause:
            child._stop(self._cause)
        return child

    def request(self, signum: int) -> None:
        """Ask for the end because of a signal."""
        self._stop(Interrupted(signum))

    def end(self) -> None:
        """Ask for the end because the work is not wanted any more."""
        self._stop(StopRequested())

    def _stop(self, cause: Interrupted | StopRequested) -> None:
        if self._cause is None or (isinstance(cause, Interrupted) and self.signum is None):
            self._cause = cause
        self._requested.set()
        for child in self._derived:
            child._stop(cause)

    async def wait(self) -> None:
        await self._requested.wait()

    async def race(self, work: Awaitable[T]) -> T:
        """The result of `work`. Raises Interrupted or StopRequested as soon as it is time to stop, and cancels `work`
        then."""
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._requested.wait())
        # asyncio.wait does not cancel its tasks: whoever leaves here, by a signal or by cancellation, does it.
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            await cancel(task, stopped)
        raise self._error()

    async def sleep(self, seconds: float) -> None:
        """Sleep. Raises Interrupted or StopRequested as soon as it is time to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._requested.wait()
        except TimeoutError:
            return
        raise self._error()

    def _error(self) -> Exception:
        # A new one each time: one exception raised by several tasks would collect all of their tracebacks.
        cause = self._cause
        return Interrupted(cause.signum) if isinstance(cause, Interrupted) else StopRequested()
