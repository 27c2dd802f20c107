"""Runs accounts in processes and prints the results; shared by run-all, backfill and refresh-tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import typer

from ebaysync import log as logs
from ebaysync.accounts import accounts, expiry
from ebaysync.accounts.accounts import Account
from ebaysync.cli.format import line_of, prefixed
from ebaysync.cli.session import Session, answer_json, progress, say
from ebaysync.ops import pool
from ebaysync.ops.job import AccountJob
from ebaysync.ops.pool import AccountResult, Pool
from ebaysync.store.database import Database
from ebaysync.sync.stop import Stop

log = logging.getLogger(__name__)


async def chosen_accounts(db: Database, names: Sequence[str] | None, *, active_only: bool) -> list[Account]:
    if names:
        return list({(found := await accounts.find(db, name)).id: found for name in names}.values())
    return [account for account in await accounts.every(db) if account.is_active or not active_only]


async def warn_of_ends(db: Database, chosen: Sequence[Account]) -> None:
    if line := await expiry.ending(db, chosen):
        log.warning("%s", line)


async def run_accounts(
    session: Session, db: Database, work: Sequence[AccountJob], jobs: int | None, stop: Stop
) -> list[AccountResult]:
    with progress("accounts", len(work)) as update:
        done: list[AccountResult] = []

        def on_result(result: AccountResult) -> None:
            done.append(result)
            update(len(done), f"{result.account}: {result.status}")

        jobs = jobs or session.settings.jobs
        processes = Pool(session.settings, db, stop, verbose=session.verbose, quiet=session.quiet)
        return await processes.run(work, jobs, on_result)


def answer(results: list[AccountResult], code: int, *, as_json: bool) -> None:
    """Print the results. Raises typer.Exit with the code unless it is 0."""
    if as_json:
        status = pool.combined([result.status for result in results])
        answer_json({"status": status, "accounts": [result.as_dict() for result in results]})
    else:
        for result in results:
            for one in result.runs:
                say(line_of(one))
            if result.error:
                say(f"{result.account}: {result.status}")
            elif result.reason:
                say(f"{result.account}: skipped, {result.reason}")
            elif not result.runs:
                say(f"{result.account}: nothing is due")
        if not results:
            say("there are no active accounts; connect one with: ebaysync accounts connect")
    for result in results:
        for message, hint in dict.fromkeys((error["message"], error.get("hint")) for error in result.errors):
            logs.notify(prefixed(result.account, message), hint)
    if code:
        raise typer.Exit(code)
