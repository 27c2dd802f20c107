"""runs: the latest runs."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ebaysync.accounts import accounts
from ebaysync.cli.format import console, reason_of, short, unprefixed
from ebaysync.cli.options import AccountNames, AsJson, Limit, OneFamily
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.errors import UsageError
from ebaysync.families import named
from ebaysync.ops import history
from ebaysync.shown import escaped
from ebaysync.sync.state.field_notes import shown
from ebaysync.sync.stop import Stop

LONGEST_NAME = 20


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync runs --account alice --status error")(runs)


def runs(
    context: typer.Context,
    account: AccountNames = None,
    family: OneFamily = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only this status: " + ", ".join(history.STATUSES))
    ] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest runs.

    A run is one reading of one family of one account. `ebaysync logs RUN` shows what it read, page by page.
    """
    session: Session = context.obj
    if status is not None and status not in history.STATUSES:
        raise UsageError(f"--status: {status!r} is none of {', '.join(history.STATUSES)}")
    if family is not None:
        named(family)

    async def work(stop: Stop) -> list[dict[str, Any]]:
        async with session.database() as db:
            chosen = [(await accounts.find(db, name)).id for name in account or ()]
            return await history.runs(db, chosen, family, status, limit)

    found = session.go(work)
    if as_json:
        answer_json({"runs": found})
    elif found:
        for each in _runs(found):
            say(each)
    else:
        say("no such runs")


def _runs(found: list[dict[str, Any]]) -> list[str]:
    """A line per run. On a terminal a long note is cut at the edge; in a file or pipe it is complete."""
    rows = [("run", "started", "account", "family", "status", "note")]
    for run in found:
        account = escaped(run["account"])
        account = account if len(account) <= LONGEST_NAME else f"{account[: LONGEST_NAME - 1]}…"
        start = short(run["started_at"])[5:]
        rows.append((run["run_id"][:8], start, account, run["family"], run["status"], escaped(_note(run))))
    widths = [max(len(row[index]) for row in rows) for index in range(5)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]) for row in rows
    ]
    if sys.stdout.isatty():
        edge = console().width
        lines = [line if len(line) <= edge else f"{line[: edge - 1]}…" for line in lines]
    return [line.rstrip() for line in lines]


def _note(run: dict[str, Any]) -> str:
    summary, seconds = run["summary"] or {}, f"{run['seconds']:.1f} s"
    if error := summary.get("error"):
        return unprefixed(run["account"], str(error["message"]))
    if not summary:
        return seconds
    extra = f", {summary['removed']} gone" if summary.get("removed") else ""
    extra += f"; {reason}" if (reason := reason_of(summary)) else ""
    extra += f"; {shown(summary['field_notes'])}" if summary.get("field_notes") else ""
    return f"{summary.get('stored')} of {summary.get('fetched')} stored, {seconds}{extra}"
