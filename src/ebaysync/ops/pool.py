"""Runs each account in a process of its own, some at a time, in random order.

An account whose process crashes or hangs does not stop the others.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

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
from ebaysync.ops.job import AccountJob, ProcessInput, ResultLine
from ebaysync.ops.process import Forkserver, ForkserverGone, NoResult, Process, ProcessExit, ProcessLimits
from ebaysync.settings import Settings
from ebaysync.store.database import Database
from ebaysync.sync import cadence
from ebaysync.sync.state import sync_state
from ebaysync.sync.stop import Stop
from ebaysync.tasks import cancel

log = logging.getLogger(__name__)

# The forkserver. Its imports are what an account's process needs.
PROGRAM: Sequence[str] = (sys.executable, "-P", "-m", "ebaysync.ops.account")
GRACE = 10.0  # seconds after the time limit in which a process may finish its batch
STOP_GRACE = 20.0  # the same after SIGINT or SIGTERM, so that all processes are gone within 30 s
UNLIMITED = 7 * 86_400  # seconds of CPU time if no time limit is set: more than any backfill takes
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

# These errors come from the settings, not from an account.
_SETTINGS = {ConfigError.code, KeysetRejected.code, SecretKeyError.code}


@dataclass
class AccountResult:
    """The result of an account's process: a summary per family, and an error if the process itself failed.

    `reason`: why the account was skipped; then there was no process.
    """

    account: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, str | None] | None = None
    reason: str | None = None

    @property
    def status(self) -> str:
        return combined([run["status"] for run in self.runs] + (["error"] if self.error else []))

    @property
    def errors(self) -> list[dict[str, Any]]:
        found = [run["error"] for run in self.runs if run["status"] in ("error", "interrupted")]
        return found + ([self.error] if self.error else [])

    def as_dict(self) -> dict[str, Any]:
        found = {"account": self.account, "status": self.status, "runs": self.runs, "error": self.error}
        return found | ({"reason": self.reason} if self.reason else {})


def combined(statuses: Sequence[str]) -> str:
    """One status for several: completed, partial, error or skipped."""
    kinds = {"error" if status in ("error", "interrupted") else status for status in statuses}
    if "partial" in kinds or {"error", "completed"} <= kinds:
        return "partial"
    return next((kind for kind in ("error", "completed") if kind in kinds), "skipped")


def exit_code(results: Sequence[AccountResult], stop: Stop, *, several: bool = True) -> int:
    """The exit code of a command: 3 if an account or family failed, 2 if all failed because of the settings, else 0.

    If only one family of one account was asked for (not `several`), it is the code of that error.
    """
    if stop.signum is not None:
        return 128 + stop.signum
    codes = [error["code"] for result in results for error in result.errors]
    if not codes:
        return 0
    if not several:
        return exit_codes().get(codes[0], 1)
    nothing_done = all(run["status"] != "completed" for result in results for run in result.runs)
    return 2 if nothing_done and set(codes) <= _SETTINGS else 3


class Pool:
    """Runs accounts, each in a process of its own. They share the forkserver, the parent cgroup and the settings."""

    def __init__(self, settings: Settings, db: Database, stop: Stop, *, verbose: bool = False, quiet: bool = False):
        self.stop = stop
        self.memory_mb = settings.account_memory_mb
        self.server = Forkserver(PROGRAM, {name: value for name, value in os.environ.items() if _is_passed_on(name)})
        self.cgroup = cgroup.delegated()
        self._db, self._verbose, self._quiet = db, verbose, quiet
        self._environ = settings.as_environ() | {"EBAYSYNC_DATABASE_URL": db.url.reveal()}
        if password := os.environ.get("PGPASSWORD"):
            # It goes through the pipe, like all settings, and not into the environment, which /proc shows.
            self._environ["PGPASSWORD"] = password

    async def run(
        self, jobs: Sequence[AccountJob], at_once: int, on_result: Callable[[AccountResult], None]
    ) -> list[AccountResult]:
        """Run every job, `at_once` at the same time. Call this once.

        `on_result` is called when an account is done. Returns the results in the order of the accounts' names.
        """
        order = list(jobs)
        # A run that is cut short must not leave out the same accounts every time.
        random.SystemRandom().shuffle(order)
        slots = asyncio.Semaphore(at_once)

        async def one(job: AccountJob) -> AccountResult | None:
            async with slots:
                if self.stop.signum is not None:
                    return None
                result = await self._result(job)
                on_result(result)
                return result

        try:
            results = await asyncio.gather(*(one(job) for job in order))
        finally:
            await self.server.close()
        return sorted((result for result in results if result), key=lambda result: result.account)

    def input(self, job: AccountJob) -> bytes:
        return msgspec.json.encode(ProcessInput(self._environ, job, self._verbose, self._quiet))

    async def _result(self, job: AccountJob) -> AccountResult:
        try:
            result = await _process(self, job)
        except Exception as error:  # a bug here must not affect the other accounts
            log.error("%s: its process failed: %s", job.account.name, type(error).__name__, exc_info=error)
            result = AccountResult(
                job.account.name, error=_process_error(f"{job.account.name}: {type(error).__name__}")
            )
        try:
            await _store_failure(self._db, job, result)
        except DatabaseError as error:
            log.warning("%s: its failure could not be stored: %s", job.account.name, error)
        return result


async def _process(pool: Pool, job: AccountJob) -> AccountResult:
    """Start an account's process, wait for its end and say what it did."""
    result = AccountResult(job.account.name)
    reader = _ResultReader(job, result)
    group = cgroup.cgroup_for(pool.cgroup, str(job.account.id), pool.memory_mb)
    limit = math.ceil(job.time_limit) if job.time_limit else UNLIMITED
    process = None
    try:
        process = await pool.server.start(ProcessLimits(pool.memory_mb, limit), reader.line)
        # Before it has its job, so that nothing it starts or allocates escapes the limit.
        group.add(process.pid)
        process.send_job(pool.input(job))
        in_time = await _wait_or_end(process, reader, job, pool.stop)
        exit_ = await process.ended
        await process.drain()
        if process.fault:
            result.error = _process_error(f"{result.account}: its process {process.fault}, and was ended")
        elif not in_time:
            result.error = _process_error(f"{result.account}: ended after {job.time_limit} s, its time limit")
        elif not reader.done and pool.stop.signum is None:
            short = group.ran_out_of_memory()
            result.error = _process_error(
                f"{result.account}: {_why_it_ended(exit_.status, pool.memory_mb, limit, short=short)}"
            )
        elif reader.done and result.error is None and (fault := _misbehaviour(process, exit_, reader.missing)):
            result.error = _process_error(f"{result.account}: {fault}")
        return result
    except ForkserverGone:
        result.error = _process_error(f"{result.account}: the process that the accounts' are forked from was killed")
        return result
    finally:
        if process is not None:
            process.kill(signal.SIGKILL)
            process.close()
        if pool.cgroup:
            # It waits until the kernel has removed the processes, so not in the event loop.
            await asyncio.to_thread(group.end)


async def _wait_or_end(process: Process, reader: _ResultReader, job: AccountJob, stop: Stop) -> bool:
    """Wait for the process, and end it if a stop is requested or its time is up. False if its time was up."""
    stopping, results_ended = asyncio.create_task(stop.wait()), asyncio.create_task(process.results_ended.wait())
    try:
        waited: set[asyncio.Future[Any]] = {process.ended, stopping, results_ended}
        await asyncio.wait(waited, timeout=job.time_limit, return_when=asyncio.FIRST_COMPLETED)
        # Asked before the process is ended below: afterwards it would always be true.
        in_time = process.ended.done() or stopping.done() or results_ended.done()
        if stopping.done():
            await _end(process, stop.signum or signal.SIGTERM, STOP_GRACE)
        elif not in_time:
            await _end(process, signal.SIGTERM, GRACE)
        elif reader.done and not process.fault:
            await asyncio.wait({process.ended}, timeout=GRACE)
        if not process.ended.done():  # it hangs, wrote something that is not a result, or closed its output
            process.kill(signal.SIGKILL)
            await asyncio.wait({process.ended})
        return in_time
    finally:
        await cancel(stopping, results_ended)


async def _end(process: Process, signum: int, grace: float) -> None:
    """Ask the process to end after its batch, and wait for `grace` seconds."""
    process.kill(signum)
    await asyncio.wait({process.ended}, timeout=grace)


class _ResultReader:
    """Reads the results pipe: one line per finished family, and a last one that says that all are done.

    A process reports each family that it was asked for once, so no stream of lines can be endless.
    """

    def __init__(self, job: AccountJob, result: AccountResult) -> None:
        self.account, self.missing = job.account.name, set(job.families)
        self.result, self.done = result, False

    def line(self, line: bytes) -> None:
        """Raises NoResult. It quotes nothing of the line, in which anything may stand."""
        try:
            found = _decode(line)
        except (ValueError, RecursionError):
            raise NoResult("wrote a line that is not a result") from None
        if self.done:
            raise NoResult("wrote more after its last result")
        if found.run is None and found.done:
            self.result.error, self.done = msgspec.to_builtins(found.error), True
        elif found.run is None or found.done or found.error:
            raise NoResult("wrote a line that is not a result")
        elif found.run.account != self.account or found.run.family not in self.missing:
            raise NoResult("reported a family twice, or one that it was not asked for")
        else:
            self.missing.remove(found.run.family)
            self.result.runs.append(msgspec.to_builtins(found.run))


_decode = msgspec.json.Decoder(ResultLine).decode


def _why_it_ended(status: int, memory_mb: int, cpu_seconds: int, *, short: bool) -> str:
    """How a process ended that gave no last result."""
    if short or os.waitstatus_to_exitcode(status) == OUT_OF_MEMORY:
        return f"its process needed more than {memory_mb} MB of memory (EBAYSYNC_ACCOUNT_MEMORY_MB)"
    if not os.WIFSIGNALED(status):
        return f"its process ended with code {os.waitstatus_to_exitcode(status)} without a result"
    signum = os.WTERMSIG(status)
    if signum == signal.SIGXCPU:
        return f"its process was ended after {cpu_seconds} s of CPU time, its limit"
    return f"its process was ended by {signal.Signals(signum).name} without a result"


def _misbehaviour(process: Process, exit_: ProcessExit, missing: Collection[str]) -> str | None:
    """A fault of a process that says that it is done. `missing` are the families that it has not reported."""
    if missing:
        return f"its process ended without a result of {', '.join(sorted(missing))}"
    if exit_.strays:
        return f"its process left {exit_.strays} other{'' if exit_.strays == 1 else 's'} behind, now ended"
    return "its process wrote to its standard output without end" if process.flooded else None


def _is_passed_on(name: str) -> bool:
    """Whether a process gets this environment variable: none of our settings, and no secret of libpq."""
    return name in ENVIRONMENT or (name.startswith("PG") and name != "PGPASSWORD")


def _process_error(message: str) -> dict[str, str | None]:
    return EbaysyncError(message, hint="see its log lines; the next run-all tries again").as_dict() | {
        "code": "process"
    }


async def _store_failure(db: Database, job: AccountJob, result: AccountResult) -> None:
    """Store a process's failure in the state of the families that it did not finish; if it finished all, of all."""
    if result.error is None or job.walk != "live":
        return
    reported = {run["family"] for run in result.runs if run["status"] != "interrupted"}
    # A process may fail after its last family. Then all of them count as failed.
    for family in set(job.families) - reported or job.families:
        await db.transact(partial(sync_state.ensure, account=job.account, families=[family]))
        if result.error["code"] not in _SETTINGS:
            wait = partial(cadence.failed, account_id=job.account.id, family=discover()[family], error=None)
            await db.transact(wait)
        await db.execute(
            "UPDATE ebay_sync_state SET last_status = 'error', last_error = :error, updated_at = clock_timestamp()"
            " WHERE ebay_account_id = :account AND api_family = :family",
            error=result.error["message"],
            account=job.account.id,
            family=family,
        )
