"""SIGINT and SIGTERM: the first stops the work after the current batch, the second ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal

from ebaysync.sync.stop import Stop


def end_at_once() -> None:
    """Let a signal end the process with its exit code. For the time after the event loop, which had the handlers."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda number, _: os._exit(128 + number))


def install(stop: Stop, *, patient: bool = False) -> None:
    """Let signals request `stop`. With `patient` a second signal changes nothing: the parent process ends this one when
    it takes too long."""

    def on_signal(signum: int) -> None:
        if stop.signum is not None and not patient:
            # Not sys.exit: asyncio.run would first cancel all tasks and wait for them.
            os._exit(128 + signum)
        stop.request(signum)

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, on_signal, signum)
