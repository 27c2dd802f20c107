"""run-all, backfill, refresh-tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ebaysync import log as logs
from ebaysync.accounts import accounts, consent
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.tokens import expiring, open_api
from ebaysync.accounts.usage import ask_hourly
from ebaysync.cli.session import AccountNames, AsJson, Session, answer_json, progress
from ebaysync.errors import ConfigError, EbaysyncError, Interrupted, UsageError
from ebaysync.families import discover, named
from ebaysync.ops import pool, schedule
from ebaysync.ops.pool import Outcome, Work
from ebaysync.ops.signals import Stop
from ebaysync.store.database import Database
from ebaysync.sync.state.sync_state import iso, paused

log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    app.command(
        "run-all",
        short_help="All that is due, of every active account.",
        epilog="\b\nExample: ebaysync run-all --jobs 8",
    )(run_all)
    app.command(
        short_help="Read the last N days again.",
        epilog="\b\nExample: ebaysync backfill orders --account alice --days 365",
    )(backfill)
    app.command(
        "refresh-tokens",
        short_help="Renew the access tokens that end soon.",
        epilog="\b\nExample: ebaysync refresh-tokens --account alice --force",
    )(refresh_tokens)


def run_all(
    context: typer.Context,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Accounts at the same time.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Run every family, due or not.")] = False,
    account: AccountNames = None,
    family: Annotated[
        list[str] | None, typer.Option("--family", "-f", metavar="FAMILY", help="Only this family.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Refresh tokens, then bring every due family of every active account up to date. Timers call this."""
    session: Session = context.obj
    only = [named(name).name for name in family or ()]

    async def work(stop: Stop) -> tuple[list[Outcome], int]:
        async with session.database() as db:
            chosen = await _chosen(db, account, active_only=True)
            ids = [a.id for a in chosen]
            due = await schedule.due(session.settings, db, ids, only, now=now)
            if any(due.values()) and await _ask_limits(session, db, chosen, stop):
                due = await schedule.due(session.settings, db, ids, only, now=now)
            limit = session.settings.account_timeout
            renew = await expiring(db)
            busy = [a for a in chosen if due[a.id] or (a.id in renew and not a.needs_consent)]
            parts = [Work(a, due[a.id], "run-all", time_limit=limit) for a in busy]
            outcomes = await _run_accounts(session, db, parts, jobs, stop)
            await _warn_of_ends(db, chosen)
            idle = [Outcome(a.name) for a in chosen if a not in busy]
            return sorted(outcomes + idle, key=lambda outcome: outcome.account), pool.exit_code(outcomes, stop)

    _answer(*session.go(work), as_json=as_json)


def backfill(
    context: typer.Context,
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="How far back to go.")],
    family: Annotated[list[str] | None, typer.Argument(metavar="[FAMILY]...", help="Default: all.")] = None,
    account: AccountNames = None,
    as_json: AsJson = False,
) -> None:
    """Read the last N days again, in slices, beside the live cursor. Goes on where an interrupted one stopped."""
    session: Session = context.obj
    families = [named(name) for name in family or discover()]
    for one in families:
        if one.cursor_type == "snapshot" and family:
            raise UsageError(f"{one.name} is a snapshot: it has no past to walk", hint="leave it out")
        if one.furthest_reach and days > one.furthest_reach.days:
            logs.tell(f"eBay gives {one.name} of the last {one.furthest_reach.days} days only")
    names = [one.name for one in families if one.cursor_type != "snapshot"]

    async def work(stop: Stop) -> tuple[list[Outcome], int]:
        async with session.database() as db:
            chosen = await _chosen(db, account, active_only=True)
            parts = [Work(a, names, "backfill", walk="backfill", days=days) for a in chosen]
            outcomes = await _run_accounts(session, db, parts, None, stop)
            return outcomes, pool.exit_code(outcomes, stop, several=len(parts) * len(names) > 1)

    _answer(*session.go(work), as_json=as_json)


async def _ask_limits(session: Session, db: Database, chosen: Sequence[Account], stop: Stop) -> bool:
    """eBay's own figures of the call limits, once an hour for each keyset; without them the documented ones stand.
    Whether any were asked for."""
    if await db.transact(paused):
        return False
    asked = False
    for environment in sorted({each.environment for each in chosen if each.at_work}):
        try:
            asked |= await stop.race(ask_hourly(session.settings, db, environment, stop.sleep))
        except ConfigError as error:  # each account says it by itself
            log.info("the call limits of %s: %s", environment, error)
    return asked


async def _chosen(db: Database, names: Sequence[str] | None, *, active_only: bool) -> list[Account]:
    if names:
        return list({(found := await accounts.find(db, name)).id: found for name in names}.values())
    return [account for account in await accounts.every(db) if account.is_active or not active_only]


async def _warn_of_ends(db: Database, chosen: Sequence[Account]) -> None:
    if line := await consent.ending(db, chosen):
        log.warning("%s", line)


async def _run_accounts(
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


def _answer(outcomes: list[Outcome], code: int, *, as_json: bool) -> None:
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
            logs.tell(_named(outcome.account, message), hint)
    if code:
        raise typer.Exit(code)


def _named(account: str, message: str) -> str:
    return message if message.startswith(f"{account}: ") else f"{account}: {message}"


def line_of(run: dict[str, Any], *, dry_run: bool = False) -> str:
    """One run in one line."""
    head = f"{run['account']} {run['family']}: {run['status']}"
    if run["status"] == "skipped":
        return f"{head}, {run['reason']}"
    would = "would store" if dry_run else "stored"
    facts = f"{run['fetched']} read, {would} {run['stored']}, {run['unchanged']} unchanged"
    extra = f", {run['removed']} gone" if run["removed"] else ""
    extra += f", {run['quarantined']} in quarantine" if run["quarantined"] else ""
    behind = "" if run["caught_up"] or run["status"] != "completed" else ", not caught up yet"
    behind += f" ({run['reason']})" if run["reason"] else ""
    calls = f"{run['calls']} call{'' if run['calls'] == 1 else 's'}"
    return f"{head}, {facts}{extra}{behind}; {calls}, {run['seconds']:.1f} s; cursor {run['cursor']}"


def refresh_tokens(
    context: typer.Context,
    account: AccountNames = None,
    force: Annotated[bool, typer.Option("--force", help="Also those that do not expire soon.")] = False,
    as_json: AsJson = False,
) -> None:
    """Refresh the access tokens that expire within 15 minutes."""
    session: Session = context.obj

    async def work(stop: Stop) -> list[dict[str, Any]]:
        async with session.database() as db:
            chosen = await _chosen(db, account, active_only=True)
            results = [await _refresh(session, db, one, stop, force=force) for one in chosen if stop.signum is None]
            if stop.signum is not None:
                raise Interrupted(stop.signum)
            await _warn_of_ends(db, chosen)
            return results

    results = session.go(work)
    if as_json:
        answer_json({"accounts": [{k: v for k, v in result.items() if k != "failure"} for result in results]})
    if not results and not as_json:
        typer.echo("there are no active accounts; connect one with: ebaysync accounts connect")
    failures: list[EbaysyncError] = [result["failure"] for result in results if result["failure"]]
    for result in results:
        if not as_json:
            done = "failed" if result["failure"] else "refreshed" if result["refreshed"] else "still good"
            if result["reason"]:
                done = f"skipped, {result['reason']}"
            until = f", until {result['access_expires_at']}" if result["access_expires_at"] else ""
            typer.echo(f"{result['account']}: {done}{until}")
    for result in results:
        if error := result["failure"]:
            logs.tell(_named(result["account"], error.message), error.hint)
    if failures:
        settings_alone = all(isinstance(error, ConfigError) for error in failures) and len(failures) == len(results)
        raise typer.Exit(2 if settings_alone else 3)


async def _refresh(session: Session, db: Database, account: Account, stop: Stop, *, force: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "account": account.name,
        "refreshed": False,
        "reason": None,
        "access_expires_at": None,
        "error": None,
        "failure": None,
    }
    try:
        if reason := await db.transact(paused):
            return result | {"reason": reason}
        async with open_api(session.settings, db, account, "refresh-tokens", stop.sleep) as (_, tokens):
            access = await stop.race(tokens.refresh(force=force))
            result |= {"refreshed": access.refreshed, "access_expires_at": iso(access.expires_at)}
    except Interrupted:
        raise
    except EbaysyncError as error:
        result |= {"error": error.as_dict(), "failure": error}
    return result
