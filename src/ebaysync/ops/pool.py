"""A process for each account, some at a time, in a new order each time: what one does, crashing or hanging, stops
none of the others."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from ebaysync.accounts.accounts import Account
from ebaysync.errors import (
    ConfigError,
    DatabaseError,
    EbaysyncError,
    KeysetRejected,
    SecretKeyError,
    exit_codes,
)
from ebaysync.families import discover
from ebaysync.ops import cgroup
from ebaysync.ops.forkserver import OUT_OF_MEMORY
from ebaysync.ops.job import Job
from ebaysync.ops.process import Ending, Forkserver, ForkserverGone, Limits, Process
from ebaysync.settings import Settings
from ebaysync.store.database import Database
from ebaysync.sync import cadence
from ebaysync.sync.state import sync_state
from ebaysync.sync.stop import Stop

log = logging.getLogger(__name__)

# Whose import is what an account's process needs; it becomes the forkserver.
PROGRAM: Sequence[str] = (sys.executable, "-P", "-m", "ebaysync.ops.account")
GRACE = 10.0  # seconds between the end of an account's time and of its process, which may finish its batch
STOP_GRACE = 20.0  # the same after SIGINT or SIGTERM: all are gone within 30
UNLIMITED = 7 * 86_400  # seconds of CPU time where no time limit is set: more than any backfill takes
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
    pool = _Pool(settings, db, stop, verbose=verbose, quiet=quiet)

    async def one(part: Work) -> Outcome | None:
        async with places:
            if stop.signum is not None:
                return None
            try:
                outcome = await _process(pool, part)
            except Exception as error:  # whatever it is, it is this account's matter alone
                log.error("%s: its process failed: %s", part.account.name, type(error).__name__, exc_info=error)
                outcome = Outcome(part.account.name, error=_failed(f"{part.account.name}: {type(error).__name__}"))
            try:
                await _remember(db, part, outcome)
            except DatabaseError as error:
                log.warning("%s: what became of it could not be stored: %s", part.account.name, error)
            told(outcome)
            return outcome

    try:
        outcomes = await asyncio.gather(*(one(part) for part in order))
    finally:
        await pool.server.close()
    return sorted((outcome for outcome in outcomes if outcome), key=lambda outcome: outcome.account)


class _Pool:
    """What all of its accounts' processes have in common."""

    def __init__(self, settings: Settings, db: Database, stop: Stop, *, verbose: bool, quiet: bool) -> None:
        self.stop = stop
        self.memory_mb = settings.account_memory_mb
        self.server = Forkserver(PROGRAM, {name: value for name, value in os.environ.items() if _is_passed_on(name)})
        self.cgroup = cgroup.delegated()
        self._verbose, self._quiet = verbose, quiet
        self._environ = settings.as_environ() | {"EBAYSYNC_DATABASE_URL": db.url.reveal()}
        if password := os.environ.get("PGPASSWORD"):
            self._environ["PGPASSWORD"] = password

    def job(self, work: Work) -> Job:
        return Job(
            self._environ,
            work.account.id,
            list(work.families),
            work.trigger,
            work.walk,
            work.days,
            seconds=work.time_limit * NO_NEW_SLICE if work.time_limit else None,
            verbose=self._verbose,
            quiet=self._quiet,
        )


async def _process(pool: _Pool, work: Work) -> Outcome:
    """An account's process, from its start to its end."""
    outcome = Outcome(work.account.name)
    said = _Said(outcome)
    group = cgroup.group_of(pool.cgroup, str(work.account.id), pool.memory_mb)
    limit = math.ceil(work.time_limit) if work.time_limit else UNLIMITED
    process = None
    try:
        process = await pool.server.start(Limits(pool.memory_mb, limit), said.line)
        group.take(process.pid)
        process.give(msgspec.json.encode(pool.job(work)))
        in_time = await _watched(process, said, work, pool.stop)
        ending = await process.ended
        await process.last_words()
        if not in_time:
            outcome.error = _failed(f"{outcome.account}: ended after {work.time_limit} s, its time limit")
        elif not said.done and pool.stop.signum is None:
            short = group.ran_out_of_memory()
            outcome.error = _failed(f"{outcome.account}: {_why(ending.status, pool.memory_mb, limit, short=short)}")
        elif said.done and outcome.error is None and (fault := _misconduct(process, ending)):
            outcome.error = _failed(f"{outcome.account}: {fault}")
        return outcome
    except ForkserverGone:
        outcome.error = _failed(f"{outcome.account}: the process that the accounts' are forked from was killed")
        return outcome
    finally:
        if process is not None:
            process.kill(signal.SIGKILL)
            process.close()
        if pool.cgroup:
            await asyncio.to_thread(group.end)


async def _watched(process: Process, said: _Said, work: Work, stop: Stop) -> bool:
    """Until the process has ended, of itself or by us; False when it had to be, because its time was up."""
    stopping, silent = asyncio.create_task(stop.wait()), asyncio.create_task(process.silent.wait())
    try:
        waited: set[asyncio.Future[Any]] = {process.ended, stopping, silent}
        await asyncio.wait(waited, timeout=work.time_limit, return_when=asyncio.FIRST_COMPLETED)
        in_time = process.ended.done() or stopping.done() or silent.done()
        if stopping.done():
            await _end(process, stop.signum or signal.SIGTERM, STOP_GRACE)
        elif not in_time:
            await _end(process, signal.SIGTERM, GRACE)
        elif said.done:
            await asyncio.wait({process.ended}, timeout=GRACE)
        if not process.ended.done():  # it hangs, or said what is no result, or closed its output
            process.kill(signal.SIGKILL)
            await asyncio.wait({process.ended})
        return in_time
    finally:
        stopping.cancel()
        silent.cancel()


async def _end(process: Process, signum: int, grace: float) -> None:
    """Ask the process to end after its batch, and give it time to."""
    process.kill(signum)
    await asyncio.wait({process.ended}, timeout=grace)


class _Said:
    """What a process says on its results: each line is a finished family, the last one says that it is."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.done = outcome, False

    def line(self, line: bytes) -> None:
        said = msgspec.json.decode(line)
        if "run" in said:
            self.outcome.runs.append(said["run"])
        elif said.get("done"):
            self.outcome.error, self.done = said["error"], True


def _why(status: int, memory_mb: int, cpu_seconds: int, *, short: bool) -> str:
    """How a process ended that gave no last result."""
    if short or os.waitstatus_to_exitcode(status) == OUT_OF_MEMORY:
        return f"its process needed more than {memory_mb} MB of memory (EBAYSYNC_ACCOUNT_MEMORY_MB)"
    if not os.WIFSIGNALED(status):
        return f"its process ended with code {os.waitstatus_to_exitcode(status)} without a result"
    signum = os.WTERMSIG(status)
    if signum == signal.SIGXCPU:
        return f"its process was ended after {cpu_seconds} s of CPU time, its limit"
    return f"its process was ended by {signal.Signals(signum).name} without a result"


def _misconduct(process: Process, ending: Ending) -> str | None:
    """What a process did that its results do not tell of."""
    if ending.left:
        return f"its process left {ending.left} other{'' if ending.left == 1 else 's'} behind, now ended"
    return "its process wrote to its standard output without end" if process.flooded else None


def _is_passed_on(name: str) -> bool:
    """What a process needs of our environment: nothing of ours, and of libpq's what is no secret."""
    return name in ENVIRONMENT or (name.startswith("PG") and name != "PGPASSWORD")


def _failed(message: str) -> dict[str, str | None]:
    return EbaysyncError(message, hint="its log lines say more; the next run-all tries again").as_dict() | {
        "code": "process"
    }


async def _remember(db: Database, work: Work, outcome: Outcome) -> None:
    """What a process could not tell itself, in the state of the families that it did not get to; where it got to all
    of them, at all of them."""
    if outcome.error is None or work.walk != "live":
        return
    told = {run["family"] for run in outcome.runs if run["status"] != "interrupted"}
    for family in set(work.families) - told or work.families:
        await sync_state.ensure(db, work.account, discover()[family])
        if outcome.error["code"] not in _SETTINGS:
            wait = partial(cadence.failed, account_id=work.account.id, family=discover()[family], error=None)
            await db.transact(wait)
        await db.execute(
            "UPDATE ebay_sync_state SET last_status = 'error', last_error = :error, updated_at = clock_timestamp()"
            " WHERE ebay_account_id = :account AND api_family = :family",
            error=outcome.error["message"],
            account=work.account.id,
            family=family,
        )
