"""SIGINT and SIGTERM: the first asks for an end after the current batch, the second ends at once."""

from __future__ import annotations

import asyncio
import os
import signal

from ebaysync.sync.stop import Stop


def end_at_once() -> None:
    """From here on a signal ends the process with its code: the event loop, which had the handlers, is gone."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda number, _: os._exit(128 + number))


def install(stop: Stop, *, patient: bool = False) -> None:
    """Let signals request `stop`. `patient`: a further signal changes nothing, because the parent process ends this one
    when it takes too long."""

    def on_signal(signum: int) -> None:
        if stop.signum is not None and not patient:
            os._exit(128 + signum)
        stop.request(signum)

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, on_signal, signum)
