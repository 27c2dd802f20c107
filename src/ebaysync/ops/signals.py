"""SIGINT and SIGTERM: the first asks for an end after the current batch, the second ends at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable
from typing import TypeVar

from ebaysync.errors import Interrupted

T = TypeVar("T")


def end_at_once() -> None:
    """From here on a signal ends the process with its code: the event loop, which had the handlers, is gone."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda number, _: os._exit(128 + number))


class Stop:
    """Set by a signal; runs look at it between slices, and no one sleeps past it."""

    def __init__(self, *, patient: bool = False) -> None:
        """`patient`: a further signal changes nothing; somebody else ends the process when it takes too long."""
        self._patient = patient
        self.signum: int | None = None
        self._set = asyncio.Event()

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self.request, signum)

    def request(self, signum: int) -> None:
        if self.signum is not None:
            if not self._patient:
                os._exit(128 + signum)
            return
        self.signum = signum
        self._set.set()

    async def wait(self) -> None:
        await self._set.wait()

    async def race(self, work: Awaitable[T]) -> T:
        """The result of `work`, or Interrupted as soon as a signal comes: then the work is cancelled."""
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._set.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            for one in (task, stopped):
                one.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)
        assert self.signum is not None
        raise Interrupted(self.signum)

    async def sleep(self, seconds: float) -> None:
        """Sleep, or raise Interrupted as soon as a signal comes."""
        try:
            async with asyncio.timeout(seconds):
                await self._set.wait()
        except TimeoutError:
            return
        assert self.signum is not None
        raise Interrupted(self.signum)
