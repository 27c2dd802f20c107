"""events: what changed in the records."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import typer

from ebaysync.accounts import accounts
from ebaysync.cli.format import short
from ebaysync.cli.options import AccountNames, AsJson, Limit, OneFamily
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.errors import UsageError
from ebaysync.families import named
from ebaysync.ops import history
from ebaysync.ops.history import EventFilter
from ebaysync.shown import escaped
from ebaysync.sync.stop import Stop

LONGEST_VALUE = 60


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync events --key 12-34567-89012 --since 7d")(events)


def events(
    context: typer.Context,
    account: AccountNames = None,
    family: OneFamily = None,
    table: Annotated[
        str | None, typer.Option("--table", "-t", metavar="TABLE", help="Only this table, such as ebay_orders.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", "-k", metavar="KEY", help="Only this record, such as an order id.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only since then: 30min, 12h, 7d, or a date (UTC).")
    ] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest changes of records.

    Shows what changed, was removed or came back, with old and new values. --json shows long values in full.
    """
    session: Session = context.obj
    if family is not None:
        named(family)
    start = _since(since) if since else None

    async def work(stop: Stop) -> list[dict[str, Any]]:
        async with session.database() as db:
            chosen = [(await accounts.find(db, name)).id for name in account or ()]
            return await history.events(db, EventFilter(chosen, family, table, key, start), limit)

    found = session.go(work)
    if as_json:
        answer_json({"events": found})
    elif found:
        for each in _events(found):
            say(each)
    else:
        say("no such events")


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
    # As the help says; the host's zone would make scripts depend on it.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _events(found: list[dict[str, Any]]) -> list[str]:
    """Each event as a line with its changes below: keys and values are too long for columns."""
    lines = []
    for event in found:
        record = f"{event['table']} {event['key']}"
        lines.append(f"{short(event['observed_at'])}  {event['account']}  {record}  {event['event']}")
        lines += [f"    {name}: {_value(old)} → {_value(new)}" for name, (old, new) in event["changes"].items()]
    return lines


def _value(value: Any) -> str:
    if value is None:
        return "–"
    text = escaped(value if isinstance(value, str) else msgspec.json.encode(value).decode())
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
