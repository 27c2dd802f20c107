"""refresh-tokens: renew access tokens."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ebaysync import log as logs
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.tokens import open_api, states
from ebaysync.cli.account_runs import chosen_accounts, warn_of_ends
from ebaysync.cli.format import exact, prefixed
from ebaysync.cli.options import AccountNames, AsJson
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.errors import ConfigError, EbaysyncError, Interrupted
from ebaysync.store.database import Database
from ebaysync.sync.state.sync_state import iso, paused
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command("refresh-tokens", epilog="\b\nExample: ebaysync refresh-tokens --account alice --force")(refresh_tokens)


def refresh_tokens(
    context: typer.Context,
    account: AccountNames = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also renew tokens that do not expire soon or that eBay refused.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Renew access tokens.

    Renews those that expire within 15 minutes. `run-all` does this as well. The token of a seller who must consent
    again is tried once a day.
    """
    session: Session = context.obj

    async def work(stop: Stop) -> list[dict[str, Any]]:
        async with session.database() as db:
            chosen = await chosen_accounts(db, account, active_only=True)
            waits = {} if force else {id_: state.waits for id_, state in (await states(db)).items()}
            results = [
                await _refresh(session, db, one, stop, force=force, reason=waits.get(one.id))
                for one in chosen
                if stop.signum is None
            ]
            if stop.signum is not None:
                raise Interrupted(stop.signum)
            await warn_of_ends(db, chosen)
            return results

    results = session.go(work)
    if as_json:
        answer_json({"accounts": [{k: v for k, v in result.items() if k != "failure"} for result in results]})
    if not results and not as_json:
        say("there are no active accounts; connect one with: ebaysync accounts connect")
    failures: list[EbaysyncError] = [result["failure"] for result in results if result["failure"]]
    for result in results:
        if not as_json:
            done = "failed" if result["failure"] else "refreshed" if result["refreshed"] else "still good"
            if result["reason"]:
                done = f"skipped, {result['reason']}"
            until = f", until {exact(result['access_expires_at'])}" if result["access_expires_at"] else ""
            say(f"{result['account']}: {done}{until}")
    for result in results:
        if error := result["failure"]:
            logs.notify(prefixed(result["account"], error.message), error.hint)
    if failures:
        settings_alone = all(isinstance(error, ConfigError) for error in failures) and len(failures) == len(results)
        raise typer.Exit(2 if settings_alone else 3)


async def _refresh(
    session: Session, db: Database, account: Account, stop: Stop, *, force: bool, reason: str | None
) -> dict[str, Any]:
    """`reason`: why the account is skipped."""
    result: dict[str, Any] = {
        "account": account.name,
        "refreshed": False,
        "reason": None,
        "access_expires_at": None,
        "error": None,
        "failure": None,
    }
    try:
        if reason := reason or await db.read(paused):
            return result | {"reason": reason}
        async with open_api(session.settings, db, account, "refresh-tokens", stop.sleep) as (_, tokens):
            access = await stop.race(tokens.refresh(force=force))
            result |= {"refreshed": access.refreshed, "access_expires_at": iso(access.expires_at)}
    # A signal ends the command; any other error is this account's alone.
    except Interrupted:
        raise
    except EbaysyncError as error:
        result |= {"error": error.as_dict(), "failure": error}
    return result
