"""Runs an account's families: one for `run`, all due ones for an account's process.

As a program (`python -m ebaysync.ops.account`) this module is the forkserver of account processes. Each process reads
one line of JSON from standard input: its job and the settings, which never appear in arguments or environment, because
others can read those. It writes one line of JSON per finished family, and a last one, to a pipe of its own, so that
nothing a library prints can get between. It ends when standard input ends, because then the parent is gone.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from ebaysync import log, settings
from ebaysync.accounts import accounts
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.tokens import open_api
from ebaysync.accounts.vault import Vault
from ebaysync.ebay.transport import trust
from ebaysync.errors import EbaysyncError
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.log import Secret
from ebaysync.ops import forkserver
from ebaysync.ops.forkserver import RESULTS
from ebaysync.ops.job import AccountJob, ProcessInput
from ebaysync.ops.signals import install
from ebaysync.proc import COLLECT_AFTER
from ebaysync.settings import Settings
from ebaysync.store.database import Database
from ebaysync.sync import sources
from ebaysync.sync.context import RunContext, RunOptions
from ebaysync.sync.lease import Walk
from ebaysync.sync.run import run_sources
from ebaysync.sync.state import sync_state
from ebaysync.sync.stop import Stop
from ebaysync.sync.summary import Summary

CONNECTIONS = 5  # to PostgreSQL: one per source, which never needs two at the same time, and one for the heartbeats
NO_NEW_SLICE = 0.8  # of the time limit


async def run_families(
    configured: Settings,
    db: Database,
    account: Account,
    families: Sequence[Family],
    options: RunOptions,
    stop: Stop,
) -> AsyncGenerator[Summary]:
    """Yields a summary per family. Close it (aclosing) before the database, or its last calls are not counted.

    Raises ConfigError before the first if the account's settings are incomplete.
    """
    async with open_api(configured, db, account, options.trigger, stop.sleep) as (api, _):
        if not families and not await db.read(sync_state.paused):  # none is due, but the token ends soon
            await stop.race(api.credentials.access_token())
        context = RunContext(configured, db, api, account, stop, options.on_progress)
        async with aclosing(run_sources(context, by_source(families), options)) as summaries:
            async for summary in summaries:
                yield summary


def by_source(families: Sequence[Family]) -> list[list[Family]]:
    """Group families by source, because a source is read once for all of them.

    Sources that run often come first. The order of the others changes each time, so that a slow one does not always
    delay the same ones.
    """
    groups: dict[str, list[Family]] = {}
    for family in families:
        groups.setdefault(family.source, []).append(family)
    shuffled = list(groups.values())
    random.SystemRandom().shuffle(shuffled)
    return sorted(shuffled, key=lambda group: min(family.every_minutes for family in group))


def main() -> None:
    """Run in an account's process, right after the fork. Raises ConfigError, SystemExit."""
    given = msgspec.json.decode(_first_line(), type=ProcessInput)
    # A thread, not a task: a loop that hangs would not notice that the parent is gone.
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if "PGPASSWORD" in given.environ:
        # For libpq. /proc/PID/environ shows the environment at the start, not this.
        os.environ["PGPASSWORD"] = given.environ["PGPASSWORD"]
    configured = settings.load(given.environ, env_file=False)
    log.set_up(verbose=given.verbose, quiet=given.quiet, form=configured.log_format)
    asyncio.run(_main(configured, given.job))


async def _main(configured: Settings, job: AccountJob) -> None:
    stop = Stop()
    install(stop, patient=True)
    assert configured.database_url
    db = Database(configured.database_url, pool_size=CONNECTIONS)
    last: dict[str, Any] = {"done": True, "error": None}
    try:
        account = await accounts.by_id(db, job.account.id)
        families = [discover()[name] for name in job.families]
        # Earlier than the limit, so that the last slice is stored and reported before the process is ended.
        deadline = time.monotonic() + job.time_limit * NO_NEW_SLICE if job.time_limit else None
        walk: Walk = "backfill" if job.walk == "backfill" else "live"
        options = RunOptions(job.trigger, walk, job.days, deadline=deadline, patience=job.patience)
        async with aclosing(run_families(configured, db, account, families, options, stop)) as summaries:
            async for summary in summaries:
                _report({"run": summary.as_dict()})  # ops/job.ResultLine
    except EbaysyncError as error:
        last["error"] = error.as_dict()
    finally:
        await db.close()
    _report(last)


def _report(line: dict[str, Any]) -> None:
    data = msgspec.json.encode(line) + b"\n"
    while data:
        # A pipe may take only a part of the line at once.
        data = data[os.write(RESULTS, data) :]


def _first_line() -> bytes:
    """Read the input from the descriptor.

    Python's buffered standard input has a lock, which the waiting thread would still hold when the interpreter ends.
    """
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 65536)
        if not chunk:
            raise SystemExit("no job on standard input")
        line += chunk
    return line


def _die_with_parent() -> None:
    while os.read(0, 4096):
        pass
    # A thread cannot end the process by an exception.
    os._exit(1)


def _warm_up() -> None:
    """Do once, before the forks, what each account's process would do: import what is imported late, read the
    certificates, make the decoders."""
    gc.set_threshold(*COLLECT_AFTER)
    Vault([Secret("imports cryptography")], "")
    sources.discover()
    trust(encrypted=True)
    for family in discover().values():
        for decoder in family.decoders.values():
            decoder.make()
        family.head_of(b"{}")  # its decoder is made at its first use
    # These objects stay. A collection in a fork would write to them, and so copy their pages.
    gc.freeze()


if __name__ == "__main__":
    _warm_up()
    forkserver.serve(main)
