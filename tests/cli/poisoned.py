"""The real program, some of whose accounts misbehave: `poisoned.py '{"alice": "segfault"}' run-all …`. What does so is
the account's own process, in the midst of its work; the program itself is started as always.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import chain, repeat
from typing import Any

from ebaysync.cli import app
from ebaysync.families import discover
from ebaysync.ops import account, forkserver, pool
from ebaysync.ops.forkserver import RESULTS
from ebaysync.sync import batch
from ebaysync.sync.summary import Summary

SAID = "Ivy Smith, 5 Fitzmaurice St"  # what an exception quotes
ROLE = "accounts"
ACCOUNT = ""


def segfault() -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    os._exit(0)


def loop() -> None:
    while True:
        pass


def hog() -> None:
    kept = []
    while True:
        kept.append(bytearray(2**24))


def flood() -> None:
    piece = b"x" * 2**20
    for _ in range(10 * 2**10):
        os.write(1, piece)


def grandchild() -> None:
    """It is in a session of its own, and holds all of the pipes."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    os._exit(0)


def litter() -> None:
    """The account itself goes on."""
    if os.fork() == 0:
        time.sleep(600)


def chatter() -> None:
    os.write(1, b'{"run": "no", "done": true}\n')
    os.write(2, b"<3>forged\n\x1b[2J\xe2\x80\xaegpj\n")
    os.write(3, b"")


def result(**changed: Any) -> bytes:
    """A line for a finished run, some of whose fields are changed."""
    line = Summary(ACCOUNT, "orders").as_dict()
    return json.dumps({"run": line | changed}).encode() + b"\n"


def write(*pieces: bytes) -> None:
    write_each(pieces)


def write_each(pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        while piece:
            piece = piece[os.write(RESULTS, piece) :]
    time.sleep(600)  # it does not end by itself


DONE = b'{"done":true,"error":null}\n'
LINES: dict[str, Callable[[], None]] = {
    "no_object": lambda: write(b"[1]\n"),
    "no_status": lambda: write(b'{"run":{"account":"x"}}\n'),
    "wrong_type": lambda: write(result(stored="3")),
    "unknown_field": lambda: write(result(more=1)),
    "unknown_status": lambda: write(result(status="fine")),
    "negative": lambda: write(result(calls=-1)),
    "huge": lambda: write(result(calls=2**63)),
    "no_error": lambda: write(result(status="error", error={"code": 3})),
    "deep": lambda: write(b'{"run":' + b"[" * 60_000 + b"\n"),
    "deep_error": lambda: write(b'{"error":' + b'{"code":' * 60_000 + b"\n"),
    "no_utf8": lambda: write(result(reason="~").replace(b"~", b"\xff\xfe")),
    "long_line": lambda: write(result(reason="x" * 2**20)),
    "no_newline": lambda: write(b" " * 2**22),
    "other_account": lambda: write(result(account="somebody")),
    "other_family": lambda: write(result(family="payouts")),
    "endless": lambda: write_each(repeat(result())),
    "endless_done": lambda: write_each(chain([result()], repeat(DONE))),
    "twice_done": lambda: write(result(), DONE, DONE),
    "done_without_runs": lambda: (os.write(RESULTS, DONE), os._exit(0))[1],
}


def burst() -> None:
    raise RuntimeError(SAID)


def bug() -> None:
    """The account itself goes on, and meets it where it stores what it has read."""

    async def wrong(*_: object) -> None:
        raise KeyError(SAID)

    batch.merge = wrong  # type: ignore[assignment]


def deaf() -> None:
    """It notices nothing: no signal that can be caught, no end of its standard input."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
    print("deaf", file=sys.stderr, flush=True)
    ctypes.PyDLL(None).sleep(600)  # with the interpreter's lock held


EACH = (segfault, leave, loop, hog, flood, grandchild, litter, chatter, burst, bug, deaf)
POISONS = {poison.__name__: poison for poison in EACH} | LINES


def be_accounts(poisons: dict[str, str]) -> None:
    run_families = account.run_families

    async def poisoned(settings: Any, db: Any, whose: Any, *rest: Any) -> AsyncIterator[Summary]:
        global ACCOUNT  # one account per process
        ACCOUNT = whose.name
        if poison := poisons.get(whose.name):
            POISONS[poison]()
        async for summary in run_families(settings, db, whose, *rest):
            yield summary

    account.run_families = poisoned  # type: ignore[assignment]
    discover()
    forkserver.serve(account.main)


if __name__ == "__main__":
    if sys.argv[1] == ROLE:
        be_accounts(json.loads(sys.argv[2]))
    else:
        pool.PROGRAM = (sys.executable, "-P", __file__, ROLE, sys.argv.pop(1))
        pool.GRACE = float(os.environ.get("TEST_GRACE", pool.GRACE))
        pool.STOP_GRACE = float(os.environ.get("TEST_STOP_GRACE", pool.STOP_GRACE))
        app.main()
