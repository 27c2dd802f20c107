"""SIGINT and SIGTERM: the first asks for an end after the current batch, the second ends at once."""

from __future__ import annotations

import asyncio
import os
import signal

from ebaysync.errors import Interrupted


class Stop:
    """Set by a signal; runs look at it between slices, and no one sleeps past it."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._set = asyncio.Event()

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self.request, signum)

    def request(self, signum: int) -> None:
        if self.signum is not None:
            os._exit(128 + signum)
        self.signum = signum
        self._set.set()

    async def wait(self) -> None:
        await self._set.wait()

    async def sleep(self, seconds: float) -> None:
        """Sleep, or raise Interrupted as soon as a signal comes."""
        try:
            async with asyncio.timeout(seconds):
                await self._set.wait()
        except TimeoutError:
            return
        assert self.signum is not None
        raise Interrupted(self.signum)
