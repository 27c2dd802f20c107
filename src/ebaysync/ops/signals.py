"""SIGINT and SIGTERM: the first stops the work after the current batch, the second ends the process at once.

The event loop calls a handler only between two steps of its tasks. A long step, such as the parsing of a large answer,
is ended by a handler of Python's own, which runs wherever the process is (tasks.long_work).
"""

from __future__ import annotations

import asyncio
import os
import signal
from types import FrameType

from ebaysync.sync.stop import Stop
from ebaysync.tasks import end_long_work


def end_at_once() -> None:
    """Let a signal end the process with its exit code. For the time after the event loop, which had the handlers."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda number, _: os._exit(128 + number))


def install(stop: Stop, *, patient: bool = False) -> None:
    """Let signals request `stop`. With `patient` a second signal changes nothing: the parent process ends this one when
    it takes too long."""

    received: list[int] = []

    def at_once(signum: int, _: FrameType | None) -> None:
        if received and not patient:
            # Not sys.exit: asyncio.run would first cancel all tasks and wait for them.
            os._exit(128 + signum)
        received.append(signum)
        end_long_work(signum)

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.request, signum)
        # In the place of the loop's own, which does nothing. The loop is still woken, and calls `stop.request`.
        signal.signal(signum, at_once)
        signal.siginterrupt(signum, False)
