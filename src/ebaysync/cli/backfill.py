"""backfill: read the last N days again."""

from __future__ import annotations

from typing import Annotated

import typer

from ebaysync import log as logs
from ebaysync.accounts import tokens
from ebaysync.cli.account_runs import answer, chosen_accounts, run_accounts
from ebaysync.cli.completion import complete_family
from ebaysync.cli.options import AccountNames, AsJson
from ebaysync.cli.session import Session
from ebaysync.errors import UsageError
from ebaysync.families import discover, named
from ebaysync.ops import pool
from ebaysync.ops.job import AccountJob
from ebaysync.ops.pool import AccountResult
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync backfill orders --account alice --days 365")(backfill)


def backfill(
    context: typer.Context,
    days: Annotated[int, typer.Option("--days", metavar="N", min=1, max=3660, help="How many days back.")],
    family: Annotated[
        list[str] | None, typer.Argument(metavar="FAMILY", help="Default: all.", autocompletion=complete_family)
    ] = None,
    account: AccountNames = None,
    as_json: AsJson = False,
) -> None:
    """Read the last N days again.

    This does not move the live cursor. An interrupted backfill continues where it stopped.
    """
    session: Session = context.obj
    families = [named(name) for name in family or discover()]
    for one in families:
        if one.cursor_type == "snapshot" and family:
            raise UsageError(f"{one.name} is a snapshot: it has no past to walk", hint="leave it out")
        if one.window.furthest_reach and days > one.window.furthest_reach.days:
            logs.notify(f"eBay gives {one.name} of the last {one.window.furthest_reach.days} days only")
    names = [one.name for one in families if one.cursor_type != "snapshot"]

    async def work(stop: Stop) -> tuple[list[AccountResult], int]:
        async with session.database() as db:
            chosen = await chosen_accounts(db, account, active_only=True)
            # Asked for one family of one account, its own error decides the exit code, so it is not skipped.
            several = len(chosen) * len(names) > 1
            states = await tokens.states(db) if several else {}
            waits = {a.id: state.waits for a in chosen if (state := states.get(a.id)) and state.waits}
            busy = [a for a in chosen if a.id not in waits]
            account_jobs = [AccountJob(a, names, "backfill", walk="backfill", days=days) for a in busy]
            results = await run_accounts(session, db, account_jobs, None, stop)
            skipped = [AccountResult(a.name, reason=waits[a.id]) for a in chosen if a.id in waits]
            return results + skipped, pool.exit_code(results, stop, several=several)

    answer(*session.go(work), as_json=as_json)
