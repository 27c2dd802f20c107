"""runs, logs, events."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import typer

from ebaysync.accounts import accounts
from ebaysync.cli.data import short
from ebaysync.cli.session import AccountNames, AsJson, Session, answer_json, console
from ebaysync.errors import UsageError
from ebaysync.families import named
from ebaysync.ops import history
from ebaysync.ops.signals import Stop

LONGEST_VALUE = 60
LONGEST_NAME = 20

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many, the newest.")]
OneFamily = Annotated[str | None, typer.Option("--family", "-f", metavar="FAMILY", help="Of this family alone.")]


def register(app: typer.Typer) -> None:
    app.command(
        short_help="What ran, the newest first.", epilog="\b\nExample: ebaysync runs --account alice --status error"
    )(runs)
    app.command(short_help="What one run did.", epilog="\b\nExample: ebaysync logs 3f2a91c0")(logs)
    app.command(
        short_help="What changed in the records, the newest first.",
        epilog="\b\nExample: ebaysync events --key 12-34567-89012 --since 7d",
    )(events)


def runs(
    context: typer.Context,
    account: AccountNames = None,
    family: OneFamily = None,
    status: Annotated[str | None, typer.Option(help=" · ".join(history.STATUSES))] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """The last runs."""
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
        typer.echo(_runs(found))
    else:
        typer.echo("no such runs")


def _runs(found: list[dict[str, Any]]) -> str:
    """A line for each run. On a terminal its note is cut at the edge, in a file or pipe it is whole."""
    rows = [("run", "started", "account", "family", "status", "note")]
    for run in found:
        account = run["account"] if len(run["account"]) <= LONGEST_NAME else f"{run['account'][: LONGEST_NAME - 1]}…"
        start = short(run["started_at"])[5:]
        rows.append((run["run_id"][:8], start, account, run["family"], run["status"], _clean(_note(run))))
    widths = [max(len(row[index]) for row in rows) for index in range(5)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]) for row in rows
    ]
    if sys.stdout.isatty():
        edge = console().width
        lines = [line if len(line) <= edge else f"{line[: edge - 1]}…" for line in lines]
    return "\n".join(line.rstrip() for line in lines)


def _note(run: dict[str, Any]) -> str:
    summary, seconds = run["summary"] or {}, f"{run['seconds']:.1f} s"
    if error := summary.get("error"):
        return str(error["message"]).removeprefix(f"{run['account']}: ")
    if not summary:
        return seconds
    extra = f", {summary['removed']} gone" if summary.get("removed") else ""
    extra += f"; {summary['reason']}" if summary.get("reason") else ""
    return f"{summary.get('stored')} of {summary.get('fetched')} stored, {seconds}{extra}"


def _clean(text: str) -> str:
    """What eBay or a buyer wrote, without what a terminal would obey."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def logs(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the beginning of it.")],
    as_json: AsJson = False,
) -> None:
    """One run's start, pages, and end."""
    session: Session = context.obj

    async def work(stop: Stop) -> dict[str, Any]:
        async with session.database() as db:
            return await history.log(db, run)

    found = session.go(work)
    if as_json:
        answer_json(found)
        return
    typer.echo(
        f"{found['run_id']}: {found['family']} of {found['account']}, {found['trigger']}, "
        f"{short(found['started_at'])}, {found['status']}"
    )
    for line in found["lines"]:
        typer.echo(f"{line['at'][11:23]}  {line['kind']:5}  {_clean(_said(line['kind'], line['details']))}")
    if not found["lines"]:
        typer.echo(
            "its lines are no longer there (EBAYSYNC_KEEP_LOGS_DAYS)" if found["finished_at"] else "no lines yet"
        )


def _said(kind: str, facts: dict[str, Any]) -> str:
    span = f"{_time(facts['from'])} … {_time(facts['to'])}" if facts.get("from") else ""
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
    rest = [facts["reason"]] if facts.get("reason") else []
    return "; ".join([", ".join(counts), calls, f"cursor {facts.get('cursor') or '–'}", *rest])


def _time(moment: str | None) -> str:
    """Without the fraction, which eBay's windows do not have."""
    return moment.replace(".000Z", "Z") if moment else "–"


def events(
    context: typer.Context,
    account: AccountNames = None,
    family: OneFamily = None,
    table: Annotated[str | None, typer.Option("--table", "-t", help="Such as ebay_orders.")] = None,
    key: Annotated[str | None, typer.Option("--key", "-k", help="Of one record, such as an order's id.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="30min, 12h, 7d, or a date (UTC).")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """What changed, was removed or came back, with old and new values; long ones whole with --json."""
    session: Session = context.obj
    if family is not None:
        named(family)
    start = _since(since) if since else None

    async def work(stop: Stop) -> list[dict[str, Any]]:
        async with session.database() as db:
            chosen = [(await accounts.find(db, name)).id for name in account or ()]
            return await history.events(db, chosen, family, table, key, start, limit)

    found = session.go(work)
    if as_json:
        answer_json({"events": found})
    elif found:
        typer.echo(_events(found))
    else:
        typer.echo("no such events")


_UNITS = {"min": "minutes", "h": "hours", "d": "days"}


def _since(word: str) -> datetime:
    try:
        if ago := re.fullmatch(r"(\d{1,5})(min|h|d)", word):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(word)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since: {word!r} is neither such as 12h nor such as 2026-11-24 or 2026-11-24T12:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _events(found: list[dict[str, Any]]) -> str:
    """A line for each event, and its changes beneath: keys and values are too long for columns."""
    lines = []
    for event in found:
        record = f"{event['table']} {_clean(event['key'])}"
        lines.append(f"{short(event['observed_at'])}  {event['account']}  {record}  {event['event']}")
        lines += [f"    {_clean(name)}: {_value(old)} → {_value(new)}" for name, (old, new) in event["changes"].items()]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if value is None:
        return "–"
    text = _clean(value if isinstance(value, str) else msgspec.json.encode(value).decode())
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
