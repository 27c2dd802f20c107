"""A process for each account, some at a time, in a new order each time: what one does, crashing or hanging, stops
none of the others."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ebaysync.accounts.accounts import Account
from ebaysync.errors import ConfigError, DatabaseError, EbaysyncError, KeysetRejected, SecretKeyError, exit_codes
from ebaysync.families import discover
from ebaysync.ops.account import Job
from ebaysync.ops.signals import Stop
from ebaysync.settings import Settings
from ebaysync.store.database import Database
from ebaysync.sync import state as states

log = logging.getLogger(__name__)

LONGEST_LINE = 1_000_000  # bytes of one line of a process's answer
GRACE = 10.0  # seconds between SIGTERM and SIGKILL
NO_NEW_SLICE = 0.8  # of the time limit
ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "HOME",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CREDENTIALS_DIRECTORY",
)

# Errors of the operator's settings, not of an account.
_SETTINGS = {ConfigError.code, KeysetRejected.code, SecretKeyError.code}


@dataclass(frozen=True)
class Work:
    """The families of one account that are to run, and how."""

    account: Account
    families: Sequence[str]
    trigger: str
    walk: str = "live"
    days: int = 0
    time_limit: float | None = None
    """seconds; at 80 % of it no new slice starts, at 100 % the process is ended"""


@dataclass
class Outcome:
    """What became of an account."""

    account: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, str | None] | None = None

    @property
    def status(self) -> str:
        return combined([run["status"] for run in self.runs] + (["error"] if self.error else []))

    @property
    def errors(self) -> list[dict[str, Any]]:
        found = [run["error"] for run in self.runs if run["status"] in ("error", "interrupted")]
        return found + ([self.error] if self.error else [])

    def as_dict(self) -> dict[str, Any]:
        return {"account": self.account, "status": self.status, "runs": self.runs, "error": self.error}


def combined(statuses: Sequence[str]) -> str:
    """completed, partial, error or skipped, for several."""
    kinds = {"error" if status in ("error", "interrupted") else status for status in statuses}
    if "partial" in kinds or {"error", "completed"} <= kinds:
        return "partial"
    return next((kind for kind in ("error", "completed") if kind in kinds), "skipped")


def exit_code(outcomes: Sequence[Outcome], stop: Stop, *, several: bool = True) -> int:
    """0, 3 when an account or family failed; 2 when the settings alone made all of them fail. Of one family of one
    account (not `several`) it is the error's own."""
    if stop.signum is not None:
        return 128 + stop.signum
    codes = [error["code"] for outcome in outcomes for error in outcome.errors]
    if not codes:
        return 0
    if not several:
        return exit_codes().get(codes[0], 1)
    nothing_done = all(run["status"] != "completed" for outcome in outcomes for run in outcome.runs)
    return 2 if nothing_done and set(codes) <= _SETTINGS else 3


async def run_accounts(
    settings: Settings,
    db: Database,
    work: Sequence[Work],
    jobs: int,
    stop: Stop,
    *,
    verbose: bool = False,
    quiet: bool = False,
    told: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Run each account in a process of its own, at most `jobs` at once. Ordered by name."""
    order = list(work)
    random.SystemRandom().shuffle(order)
    places = asyncio.Semaphore(jobs)
    environ = settings.as_environ() | {"EBAYSYNC_DATABASE_URL": db.url.reveal()}
    if password := os.environ.get("PGPASSWORD"):
        environ["PGPASSWORD"] = password

    async def one(part: Work) -> Outcome | None:
        async with places:
            if stop.signum is not None:
                return None
            try:
                outcome = await _process(environ, part, stop, verbose=verbose, quiet=quiet)
            except Exception as error:  # whatever it is, it is this account's matter alone
                log.error("%s: its process failed: %s", part.account.name, type(error).__name__, exc_info=error)
                outcome = Outcome(part.account.name, error=_failed(f"{part.account.name}: {type(error).__name__}"))
            try:
                await _remember(db, part, outcome)
            except DatabaseError as error:
                log.warning("%s: what became of it could not be stored: %s", part.account.name, error)
            told(outcome)
            return outcome

    outcomes = await asyncio.gather(*(one(part) for part in order))
    return sorted((outcome for outcome in outcomes if outcome), key=lambda outcome: outcome.account)


async def _process(environ: dict[str, str], work: Work, stop: Stop, *, verbose: bool, quiet: bool) -> Outcome:
    seconds = work.time_limit * NO_NEW_SLICE if work.time_limit else None
    job = Job(
        environ, work.account.id, list(work.families), work.trigger, work.walk, work.days, seconds, verbose, quiet
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "ebaysync.ops.account",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if _is_passed_on(name)},
        start_new_session=True,
        limit=LONGEST_LINE,
    )
    outcome = Outcome(work.account.name)
    reading = asyncio.create_task(_read(process, job, outcome))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({reading, stopping}, timeout=work.time_limit, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            await _end(process, reading, gently=stopping.done())
            if not stopping.done():
                outcome.error = _failed(f"{outcome.account}: ended after {work.time_limit} s, its time limit")
                return outcome
        done = reading.result() if reading.done() and not reading.cancelled() else False
        if not done:
            _kill(process, signal.SIGKILL)  # it said what is no result, or closed its output: nothing to wait for
        code = await process.wait()
        if not done and stop.signum is None:
            outcome.error = _failed(f"{outcome.account}: its process ended {_how(code)} without a result")
        return outcome
    finally:
        stopping.cancel()
        reading.cancel()
        _kill(process, signal.SIGKILL)  # whatever it may have left behind in its session
        await process.wait()


def _is_passed_on(name: str) -> bool:
    """What a process needs of our environment: nothing of ours, and of libpq's what is no secret."""
    return name in ENVIRONMENT or (name.startswith("PG") and name != "PGPASSWORD")


async def _read(process: asyncio.subprocess.Process, job: Job, outcome: Outcome) -> bool:
    """Give the process its job and read what it says; True when it came to its last line."""
    assert process.stdin
    assert process.stdout
    with suppress(ConnectionError):
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        await process.stdin.drain()
    try:
        async for line in process.stdout:
            said = msgspec.json.decode(line)
            if "run" in said:
                outcome.runs.append(said["run"])
            elif said.get("done"):
                outcome.error = said["error"]
                return True
    except (ValueError, KeyError, TypeError, AttributeError):
        log.error("%s: its process said something that is no result", outcome.account)
    return False


async def _end(process: asyncio.subprocess.Process, reading: asyncio.Task[bool], *, gently: bool) -> None:
    """SIGTERM to the process's session, then SIGKILL. `gently`: it may finish its batch."""
    _kill(process, signal.SIGTERM)
    await asyncio.wait({reading}, timeout=GRACE * (2.5 if gently else 1))
    if not reading.done():
        _kill(process, signal.SIGKILL)


def _kill(process: asyncio.subprocess.Process, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signum)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"


def _failed(message: str) -> dict[str, str | None]:
    return EbaysyncError(message, hint="its log lines say more; the next run-all tries again").as_dict() | {
        "code": "process"
    }


async def _remember(db: Database, work: Work, outcome: Outcome) -> None:
    """What a process could not tell itself, in the state of the families that it did not get to."""
    if outcome.error is None or work.walk != "live":
        return
    told = {run["family"] for run in outcome.runs if run["status"] != "interrupted"}
    for family in set(work.families) - told:
        await states.ensure(db, work.account, discover()[family])
        await db.execute(
            "UPDATE ebay_sync_state SET last_status = 'error', last_error = :error, updated_at = clock_timestamp()"
            " WHERE ebay_account_id = :account AND api_family = :family",
            error=outcome.error["message"],
            account=work.account.id,
            family=family,
        )
