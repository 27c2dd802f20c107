"""logs: one run, line by line."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ebaysync.cli.format import exact, reason_of, short
from ebaysync.cli.options import AsJson
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.ops import history
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync logs 3f2a91c0")(logs)


def logs(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id or its beginning.")],
    as_json: AsJson = False,
) -> None:
    """Show one run, page by page.

    A run is one reading of one family of one account; `ebaysync runs` lists them. A page is what was stored together,
    usually one answer of eBay's: its span of time, and how many records were read, stored and unchanged.
    """
    session: Session = context.obj

    async def work(stop: Stop) -> dict[str, Any]:
        async with session.database() as db:
            return await history.log(db, run)

    found = session.go(work)
    if as_json:
        answer_json(found)
        return
    say(
        f"{found['run_id']}: {found['family']} of {found['account']}, {found['trigger']}, "
        f"{short(found['started_at'])}, {found['status']}"
    )
    for line in found["lines"]:
        say(f"{line['at'][11:23]}  {line['kind']:5}  {_line_text(line['kind'], line['details'])}")
    if not found["lines"]:
        say("its lines are no longer there (EBAYSYNC_KEEP_LOGS_DAYS)" if found["finished_at"] else "no lines yet")


def _line_text(kind: str, facts: dict[str, Any]) -> str:
    span = f"{exact(facts['from'])} … {exact(facts['to'])}" if facts.get("from") else ""
    if kind == "start":
        return f"window {span}" if span else ""
    if kind == "error":
        error = facts.get("error") or {}
        return f"{error.get('code')}: {error.get('message')}"
    names = (("fetched", "read"), ("stored", "stored"), ("unchanged", "unchanged"))
    counts = [f"{facts.get(name, 0)} {word}" for name, word in names]
    counts += [
        f"{facts[name]} {word}"
        for name, word in (("removed", "gone"), ("quarantined", "in quarantine"))
        if facts.get(name)
    ]
    if kind == "page":
        return ", ".join(([span] if span else []) + counts)
    calls = f"{facts.get('calls')} calls, {facts.get('seconds')} s"
    reason = [found] if (found := reason_of(facts)) else []
    return "; ".join([", ".join(counts), calls, f"cursor {exact(facts.get('cursor'))}", *reason])
