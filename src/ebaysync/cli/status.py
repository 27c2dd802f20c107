"""status: cursor, lag, last run and next due time of every family."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Column

from ebaysync.accounts import accounts, expiry
from ebaysync.accounts.accounts import Account
from ebaysync.cli.format import Grid, ago, console, display, lasting, short, styled, unprefixed
from ebaysync.cli.options import AccountNames, AsJson
from ebaysync.cli.session import Session, answer_json
from ebaysync.errors import UsageError
from ebaysync.ops import status as statuses
from ebaysync.store.database import Database
from ebaysync.sync.state.field_notes import shown
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync status --account alice --json")(status)


def status(
    context: typer.Context,
    account: AccountNames = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 if an account or family is failing.")] = False,
) -> None:
    """Show where every family of every account stands.

    Shows cursor, lag, last run, last error and next due time; and when tokens and consents end.
    """
    session: Session = context.obj
    if watch and as_json:
        raise UsageError("--watch and --json exclude each other; a script repeats --json")

    async def look(db: Database, chosen: Sequence[Account]) -> tuple[dict[str, Any], Aside]:
        seen = await statuses.look(session.settings, db, chosen)
        notes = [*([seen.pause] if seen.pause else ()), *statuses.cool_downs(chosen, seen.plan)]
        renewals = {each.name: each.connect_command for each in chosen}
        return seen.found, Aside(notes, statuses.unreachable(chosen, seen.plan), renewals)

    async def work(stop: Stop) -> tuple[dict[str, Any], Aside]:
        async with session.database() as db:
            names = account or []
            chosen = [await accounts.find(db, name) for name in names] if names else await accounts.every(db)
            seen = await look(db, chosen)
            if not watch:
                return seen
            from rich.live import Live

            with Live(_rendered(*seen), console=console(), screen=False) as live:
                while stop.signum is None:
                    live.update(_rendered(*await look(db, chosen)))
                    await stop.sleep(2)
            return seen

    found, aside = session.go(work)
    if as_json:
        answer_json(found)
    elif not watch:
        display(_rendered(found, aside))
    if check and statuses.unwell(found):
        raise typer.Exit(3)


@dataclass(frozen=True)
class Aside:
    """Shown beside what --json has: notes, the families (with their account) that could not reach eBay, and for each
    account the command that renews its consent."""

    notes: Sequence[str]
    unreachable: Collection[tuple[str, str]]
    renewals: Mapping[str, str]


def _rendered(found: dict[str, Any], aside: Aside) -> RenderableType:
    if not found["accounts"]:
        return styled("no accounts yet; connect one with: ebaysync accounts connect NAME --environment E")
    head = ("account", "family", "cursor", "lag", "last run", "state", "next due")
    columns = (Column(name, no_wrap=name not in ("account", "state"), overflow="fold") for name in head)
    table = Grid(*columns)
    tokens = Grid(Column("account", overflow="fold"), "environment", "access token", "consent")
    notes = list(aside.notes)
    for account in found["accounts"]:
        notes += _notes(account, aside.renewals[account["account"]])
        errors: dict[str, list[str]] = {}
        token = account["token"]
        consent = "needed" if token["needs_consent"] else _left(token["refresh_expires_at"]) or "unknown end"
        access = _left(token["access_expires_at"]) or "none"
        tokens.add_row(account["account"], account["environment"], access, consent)
        for family in account["families"]:
            table.add_row(
                account["account"],
                family["family"],
                short(family["cursor"]),
                lasting(family["lag_seconds"]),
                ago(family["last_run_at"]),
                _state(account, family, unreachable=(account["account"], family["family"]) in aside.unreachable),
                _due(family),
            )
            if family["last_error"] and family["last_status"] != "completed":
                error = unprefixed(account["account"], family["last_error"])
                if family["refused_since"]:
                    error += f" (since {short(family['refused_since'])}, asked again at {short(family['next_due_at'])})"
                errors.setdefault(error, []).append(family["family"])
            notes += [f"{account['account']} {family['family']}: {lack}" for lack in _lacks(family)]
        for error, families in errors.items():
            which = "all families" if len(families) == len(account["families"]) else ", ".join(families)
            notes.append(f"{account['account']} {which}: {error}")
    return Group(table, "", tokens, *(styled(note) for note in notes))


def _lacks(family: dict[str, Any]) -> list[str]:
    """Name what may be missing in a family's rows although its runs succeed."""
    lacks = []
    if since := family["incomplete_since"]:
        lacks.append(f"since {short(since)} eBay's answers contradict themselves, so records may be missing")
    if due := family["details_due"]:
        missing = "1 detail is missing" if due == 1 else f"{due} details are missing"
        lacks.append(f"{missing}; later runs ask again")
    return [*lacks, shown(family["field_notes"])] if family["field_notes"] else lacks


def _left(moment: str | None) -> str:
    """The time until something expires; empty if unknown."""
    if moment is None:
        return ""
    seconds = (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()
    return f"{lasting(seconds)} left" if seconds > 0 else "ended"


def _notes(account: dict[str, Any], renew_command: str) -> list[str]:
    token, name = account["token"], account["account"]
    notes = []
    if token["needs_consent"]:
        notes.append(f"{name}: the seller must consent again: {renew_command}")
    elif token["refresh_expires_at"]:
        left = datetime.fromisoformat(token["refresh_expires_at"]) - datetime.now(UTC)
        if left <= timedelta(0):
            notes.append(f"{name}: the seller's consent has ended: {renew_command}")
        elif left < expiry.PRESSING:
            notes.append(f"{name}: the seller's consent ends in {expiry.in_days(left)}, renew it now: {renew_command}")
        elif left < expiry.SOON:
            notes.append(f"{name}: the seller's consent ends in {expiry.in_days(left)}")
    if token["missing_scopes"]:
        notes += [f"{name}: the seller has not consented to {scope}" for scope in token["missing_scopes"]]
        notes.append(f"{name}: to consent to all of it: {renew_command}")
    return notes


def _state(account: dict[str, Any], family: dict[str, Any], *, unreachable: bool) -> RenderableType:
    if not account["active"] or not family["enabled"]:
        return styled("disabled", "dim")
    state = family["last_status"] or "never ran"
    if state == "error" and unreachable:
        state = "unreachable"
    if family["refused_since"] and state != "running":
        state = "refused"
    styles = {
        "completed": "green",
        "error": "bold red",
        "refused": "bold red",
        "unreachable": "yellow",
        "running": "cyan",
    }
    return styled(state, style=styles.get(state, ""))


def _due(family: dict[str, Any]) -> str:
    if not family["enabled"]:
        return "–"
    if family["next_due_at"] is None:
        return "now"
    seconds = (datetime.fromisoformat(family["next_due_at"]) - datetime.now(UTC)).total_seconds()
    return "now" if seconds <= 0 else f"in {lasting(seconds)}"
