"""One account's families: what `run` does for one family and an account's process for those that are due. As a
program (`python -m ebaysync.ops.account`) it is the forkserver of such processes. Each gets a job as one line of JSON
on standard input, and says one line of JSON per finished family and a last one on a pipe of its own, which nothing that
a library prints can disturb.

The settings come over the pipe, because arguments and environment can be read by others. When standard input ends,
the parent is gone, and so is this process.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from ebaysync import log, settings
from ebaysync.accounts import accounts
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.tokens import open_api
from ebaysync.errors import EbaysyncError
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.ops import forkserver
from ebaysync.ops.forkserver import RESULTS
from ebaysync.ops.job import Job
from ebaysync.ops.signals import install
from ebaysync.settings import Settings
from ebaysync.store.database import Database
from ebaysync.sync.context import RunContext, RunOptions
from ebaysync.sync.outcome import unexpected
from ebaysync.sync.run import run
from ebaysync.sync.state import sync_state
from ebaysync.sync.stop import Stop
from ebaysync.sync.summary import Summary
from ebaysync.tasks import cancel

GROUPS = 4  # of families at the same time; eBay has IN_FLIGHT requests of the account at most, from all of them
CONNECTIONS = 5  # to PostgreSQL: one for each group, which never needs a second one at the same time, and the beats


async def run_families(
    configured: Settings,
    db: Database,
    account: Account,
    families: Sequence[Family],
    options: RunOptions,
    stop: Stop,
    progress: Callable[[Summary], None] = lambda _: None,
) -> AsyncIterator[Summary]:
    """A summary for each family. Raises ConfigError before the first where the account's settings are incomplete."""
    async with open_api(configured, db, account, options.trigger, stop.sleep) as (api, _):
        if not families and not await db.transact(sync_state.paused):  # none is due, but the token ends soon
            await stop.race(api.credentials.access_token())
        context = RunContext(configured, db, api, account, stop, progress)
        async for summary in _together(context, by_source(families), options):
            yield summary


async def _together(
    context: RunContext, groups: Sequence[Sequence[Family]], options: RunOptions
) -> AsyncIterator[Summary]:
    """Some groups at the same time, begun in their order, each told of when it is done: while one waits for eBay,
    another one stores. They share the account's connections, token and call limit."""
    places = asyncio.Semaphore(GROUPS)

    async def one(group: Sequence[Family]) -> list[Summary]:
        async with places:
            return [] if context.stop.signum is not None else await _isolated(context, group, options)

    tasks = [asyncio.create_task(one(group)) for group in groups]
    try:
        for next_done in asyncio.as_completed(tasks):
            for summary in await next_done:
                yield summary
    finally:
        await cancel(*tasks)


async def _isolated(context: RunContext, group: Sequence[Family], options: RunOptions) -> list[Summary]:
    """A bug in one group is no matter of the others."""
    try:
        return await run(context, group, options)
    except Exception as error:
        failure = unexpected(error)
        name = context.account.name
        return [Summary(name, family.name, status="error", failure=failure) for family in group]


def by_source(families: Sequence[Family]) -> list[list[Family]]:
    """Families that are read from the same source are read once. Those that run often come first; the others in a new
    order each time, so that one that takes all of the time does so at the cost of another one each time."""
    groups: dict[str, list[Family]] = {}
    for family in families:
        groups.setdefault(family.source, []).append(family)
    shuffled = list(groups.values())
    random.SystemRandom().shuffle(shuffled)
    return sorted(shuffled, key=lambda group: min(family.every_minutes for family in group))


def main() -> None:
    """An account's process, once it is forked."""
    job = msgspec.json.decode(_first_line(), type=Job)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if "PGPASSWORD" in job.environ:
        os.environ["PGPASSWORD"] = job.environ["PGPASSWORD"]  # for libpq; /proc shows what we were started with
    configured = settings.load(job.environ, env_file=False)
    log.set_up(verbose=job.verbose, quiet=job.quiet, form=configured.log_format)
    asyncio.run(_main(configured, job))


async def _main(configured: Settings, job: Job) -> None:
    stop = Stop()
    install(stop, patient=True)
    assert configured.database_url
    db = Database(configured.database_url, pool_size=CONNECTIONS)
    last: dict[str, Any] = {"done": True, "error": None}
    try:
        account = await accounts.by_id(db, job.account_id)
        families = [discover()[name] for name in job.families]
        deadline = time.monotonic() + job.seconds if job.seconds else None
        options = RunOptions(job.trigger, "backfill" if job.walk == "backfill" else "live", job.days, deadline=deadline)
        async for summary in run_families(configured, db, account, families, options, stop):
            _say({"run": summary.as_dict()})
    except EbaysyncError as error:
        last["error"] = error.as_dict()
    finally:
        await db.close()
    _say(last)


def _say(line: dict[str, Any]) -> None:
    said = msgspec.json.encode(line) + b"\n"
    while said:
        said = said[os.write(RESULTS, said) :]


def _first_line() -> bytes:
    """Read from the descriptor itself: Python's buffered standard input has a lock that a waiting thread would hold
    at the interpreter's end."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            raise SystemExit("no job on standard input")
        line += piece
    return line


def _die_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    discover()
    forkserver.serve(main)
