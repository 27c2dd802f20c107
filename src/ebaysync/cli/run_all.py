"""run-all: every due family of every active account."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated
from uuid import UUID

import typer

from ebaysync.accounts import tokens
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.application import keyset_of
from ebaysync.accounts.tokens import TokenState
from ebaysync.accounts.usage import ask_hourly
from ebaysync.cli.account_runs import answer, chosen_accounts, run_accounts, warn_of_ends
from ebaysync.cli.completion import complete_family
from ebaysync.cli.options import AccountNames, AsJson
from ebaysync.cli.session import Session
from ebaysync.errors import ConfigError
from ebaysync.families import named
from ebaysync.ops import pool, schedule
from ebaysync.ops.budget import Plan
from ebaysync.ops.job import AccountJob
from ebaysync.ops.pool import AccountResult
from ebaysync.store.database import Database
from ebaysync.sync.state.sync_state import paused
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command("run-all", epilog="\b\nExample: ebaysync run-all --jobs 8")(run_all)


log = logging.getLogger(__name__)


def run_all(
    context: typer.Context,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="N", min=1, help="How many accounts run at the same time.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Run all families, due or not.")] = False,
    account: AccountNames = None,
    family: Annotated[
        list[str] | None,
        typer.Option(
            "--family",
            "-f",
            metavar="FAMILY",
            help="Only this family. May be repeated.",
            autocompletion=complete_family,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every due family of every active account.

    This is the command for a timer. It renews access tokens, runs each account in its own process, and exits with 3 if
    an account or family failed; the data of the others is stored.
    """
    session: Session = context.obj
    only = [named(name).name for name in family or ()]

    async def work(stop: Stop) -> tuple[list[AccountResult], int]:
        async with session.database() as db:
            chosen = await chosen_accounts(db, account, active_only=True)
            states = await tokens.states(db)
            # An account that waits for its seller costs nothing until the next daily try.
            waits = {a.id: state.waits for a in chosen if (state := states.get(a.id)) and state.waits}
            ids = [a.id for a in chosen]
            plan = await schedule.plan(session.settings, db)
            due = schedule.due(plan, ids, only, now=now)
            # eBay's own figures may change what is due, so plan again.
            if any(due.values()) and await _ask_limits(session, db, chosen, states, stop):
                plan = await schedule.plan(session.settings, db)
                due = schedule.due(plan, ids, only, now=now)
            limit = session.settings.account_timeout
            renew = {id_ for id_, state in states.items() if state.ends_soon}
            busy = [a for a in chosen if a.id not in waits and (due[a.id] or a.id in renew or a.needs_consent)]
            account_jobs = [
                AccountJob(a, due[a.id], "run-all", time_limit=limit, patience=plan.patience.get(a.id, {}))
                for a in busy
            ]
            results = await run_accounts(session, db, account_jobs, jobs, stop)
            await warn_of_ends(db, chosen)
            idle = [AccountResult(a.name, reason=waits.get(a.id)) for a in chosen if a not in busy]
            return sorted(results + idle, key=lambda result: result.account), pool.exit_code(results, stop)

    answer(*session.go(work), as_json=as_json)


def account_job(account: Account, families: Sequence[str], plan: Plan, time_limit: float | None) -> AccountJob:
    """An account's due families, and how much longer its background work takes where a quota is short."""
    patience = plan.patience.get(account.id, {})
    return AccountJob(account, families, "run-all", time_limit=time_limit, patience=patience)


async def _ask_limits(
    session: Session, db: Database, chosen: Sequence[Account], states: Mapping[UUID, TokenState], stop: Stop
) -> bool:
    """Ask for eBay's own call limits, once an hour per keyset that has an account at work. Returns whether any were
    asked for.

    Without them the documented limits apply.
    """

    def works(one: Account) -> bool:
        state = states.get(one.id)
        return one.at_work and (state is None or state.fits(keyset_of(session.settings, one.environment)))

    if await db.read(paused):
        return False
    asked = False
    for environment in sorted({each.environment for each in chosen if works(each)}):
        try:
            asked |= await stop.race(ask_hourly(session.settings, db, environment, stop.sleep))
        except ConfigError as error:  # each account reports it itself
            log.info("the call limits of %s: %s", environment, error)
    return asked
