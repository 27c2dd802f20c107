"""Running accounts in processes of their own, and answering for them: run-all, backfill, refresh-tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import typer

from ebaysync import log as logs
from ebaysync.accounts import accounts, consent
from ebaysync.accounts.accounts import Account
from ebaysync.cli.format import line_of, prefixed
from ebaysync.cli.session import Session, answer_json, progress
from ebaysync.ops import pool
from ebaysync.ops.pool import Outcome, Work
from ebaysync.store.database import Database
from ebaysync.sync.stop import Stop

log = logging.getLogger(__name__)


async def chosen_accounts(db: Database, names: Sequence[str] | None, *, active_only: bool) -> list[Account]:
    if names:
        return list({(found := await accounts.find(db, name)).id: found for name in names}.values())
    return [account for account in await accounts.every(db) if account.is_active or not active_only]


async def warn_of_ends(db: Database, chosen: Sequence[Account]) -> None:
    if line := await consent.ending(db, chosen):
        log.warning("%s", line)


async def run_accounts(
    session: Session, db: Database, parts: Sequence[Work], jobs: int | None, stop: Stop
) -> list[Outcome]:
    with progress("accounts", len(parts)) as told:
        done: list[Outcome] = []

        def on_outcome(outcome: Outcome) -> None:
            done.append(outcome)
            told(len(done), f"{outcome.account}: {outcome.status}")

        jobs = jobs or session.settings.jobs
        return await pool.run_accounts(
            session.settings, db, parts, jobs, stop, verbose=session.verbose, quiet=session.quiet, told=on_outcome
        )


def answer(outcomes: list[Outcome], code: int, *, as_json: bool) -> None:
    if as_json:
        status = pool.combined([outcome.status for outcome in outcomes])
        answer_json({"status": status, "accounts": [outcome.as_dict() for outcome in outcomes]})
    else:
        for outcome in outcomes:
            for one in outcome.runs:
                typer.echo(line_of(one))
            if outcome.error:
                typer.echo(f"{outcome.account}: {outcome.status}")
            elif not outcome.runs:
                typer.echo(f"{outcome.account}: nothing is due")
        if not outcomes:
            typer.echo("there are no active accounts; connect one with: ebaysync accounts connect")
    for outcome in outcomes:
        for message, hint in dict.fromkeys((error["message"], error.get("hint")) for error in outcome.errors):
            logs.tell(prefixed(outcome.account, message), hint)
    if code:
        raise typer.Exit(code)
