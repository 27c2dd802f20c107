"""run: the one command that reads from eBay in its own process."""

from __future__ import annotations

import math
import time
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated

import typer

from ebaysync import log as logs
from ebaysync.accounts import accounts
from ebaysync.cli.completion import complete_family
from ebaysync.cli.format import line_of
from ebaysync.cli.options import AccountName, AsJson
from ebaysync.cli.session import Session, answer_json, progress, say
from ebaysync.errors import Interrupted, UsageError
from ebaysync.families import named
from ebaysync.ops.account import run_families
from ebaysync.sync.context import RunOptions
from ebaysync.sync.stop import Stop
from ebaysync.sync.summary import Summary


def register(app: typer.Typer) -> None:
    app.command(
        "run",
        epilog="\b\nExample: ebaysync run orders --account alice",
    )(run)


def run(
    context: typer.Context,
    family: Annotated[
        str,
        typer.Argument(metavar="FAMILY", help="The family to read, such as orders.", autocompletion=complete_family),
    ],
    account: AccountName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would change. Write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run even if the family or account is disabled.")] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Re-read the whole sweep horizon, not one slice of it.")
    ] = False,
    accept_removals: Annotated[
        bool, typer.Option("--accept-removals", help="Accept a scan that misses more than half of the known records.")
    ] = False,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", metavar="S", min=0, help="Start no new slice after S seconds.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read one family of one account now.

    The run continues from the family's cursor, due or not. The first run goes back 90 days or more.
    """
    session: Session = context.obj
    wanted = named(family)
    if time_limit is not None and not math.isfinite(time_limit):
        raise UsageError(f"--time-limit: {time_limit} is not a number of seconds", hint="for example: --time-limit 600")
    deadline = None if time_limit is None else time.monotonic() + time_limit
    if sweep and not wanted.window.sweep:
        raise UsageError(f"{wanted.name} has no sweep horizon", hint="leave --sweep out")
    if accept_removals and wanted.cursor_type != "snapshot":
        raise UsageError(f"{wanted.name} removes nothing", hint="leave --accept-removals out")
    asked = RunOptions(
        "run", sweep=sweep, dry_run=dry_run, force=force, accept_removals=accept_removals, deadline=deadline
    )

    async def work(stop: Stop) -> Summary:
        async with session.database() as db:
            found = await accounts.find(db, account)
            with progress(f"{wanted.name} of {found.name}", 1.0) as update:

                def on_progress(summary: Summary) -> None:
                    update(summary.share, f"{summary.fetched} read, {summary.stored} stored")

                options = replace(asked, on_progress=on_progress)
                runs = run_families(session.settings, db, found, [wanted], options, stop)
                # Without aclosing, `return` would leave the connection to eBay open until the database is closed.
                async with aclosing(runs):
                    async for summary in runs:
                        return summary
            raise Interrupted(stop.signum or 2)

    summary = session.go(work)
    if as_json:
        answer_json(summary.as_dict())
    else:
        say(line_of(summary.as_dict(), dry_run=dry_run))
    if summary.quarantined:
        logs.notify(f"{summary.quarantined} records are in ebay_quarantine, with the reason")
    if summary.failure:
        raise summary.failure
