"""accounts list, show, enable, disable."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Column

from ebaysync import log as logs
from ebaysync.accounts import accounts
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.tokens import open_api
from ebaysync.cli.format import Grid, display, prefixed, short
from ebaysync.cli.options import AccountArgument, AsJson, Reason, reason_in
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.errors import ConsentNeeded, EbaysyncError, Interrupted
from ebaysync.ops import control
from ebaysync.store.database import Database
from ebaysync.sync.state.sync_state import paused
from ebaysync.sync.stop import Stop

group = typer.Typer(help="Manage seller accounts.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="accounts")


@group.command("list", epilog="\b\nExample: ebaysync accounts list --json")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the accounts."""
    session: Session = context.obj

    async def work(stop: Stop) -> list[Account]:
        async with session.database() as db:
            return await accounts.every(db)

    found = session.go(work)
    if as_json:
        answer_json({"accounts": found})
        return
    table = Grid("account", "environment", "eBay user", "user name", "marketplace", "state")
    for account in found:
        state = "needs consent" if account.needs_consent else "active" if account.is_active else "disabled"
        table.add_row(
            account.name,
            account.environment,
            account.ebay_user_id,
            account.username or "–",
            account.marketplace_id or "–",
            state,
        )
    display(table)


@group.command("show", epilog="\b\nExample: ebaysync accounts show alice")
def show(context: typer.Context, name: AccountArgument, as_json: AsJson = False) -> None:
    """Show one account.

    Shows its consent, scopes, last token refreshes and last changes.
    """
    session: Session = context.obj

    async def work(stop: Stop) -> dict[str, Any]:
        async with session.database() as db:
            return await control.shown(db, await accounts.find(db, name))

    found = session.go(work)
    if as_json:
        answer_json(found)
        return
    display(_facts(found))
    if found["refreshes"]:
        display("\nThe last token refreshes:")
        display(_refreshes(found["refreshes"]))
    if found["changes"]:
        display("\nThe last changes:")
        display(_changes(found["changes"]))


def _facts(found: dict[str, Any]) -> Grid:
    account, token = found["account"], found["token"]
    state = "needs consent" if account.needs_consent else "active" if account.is_active else "disabled"
    scopes = token["scopes"]
    table = Grid(show_header=False)
    for label, value in (
        ("account", account.name),
        ("id", str(account.id)),
        ("state", state),
        ("environment", account.environment),
        ("eBay user", account.ebay_user_id),
        ("user name", account.username),
        ("marketplace", account.marketplace_id),
        ("added", short(found["added_at"])),
        ("consented", short(token["consented_at"])),
        ("consent ends", short(token["refresh_expires_at"])),
        ("access token until", short(token["access_expires_at"])),
        ("scopes", ", ".join(scope.rpartition("/")[2] for scope in scopes) if scopes else "unknown"),
    ):
        table.add_row(label, value or "–")
    return table


def _refreshes(rows: list[dict[str, Any]]) -> Grid:
    table = Grid(Column("at", no_wrap=True), "triggered by", "outcome")
    for row in rows:
        failure = f"{row['error_code']}: {row['error_message']}"
        table.add_row(short(row["attempted_at"]), row["triggered_by"], "done" if row["success"] else failure)
    return table


def _changes(rows: list[dict[str, Any]]) -> Grid:
    table = Grid(Column("at", no_wrap=True), "what", "by", "why")
    for row in rows:
        what = " ".join(word for word in (row["action"], row["api_family"], row["value"]) if word)
        table.add_row(short(row["at"]), what, row["changed_by"], row["reason"] or "–")
    return table


@group.command("enable", epilog="\b\nExample: ebaysync accounts enable alice")
def enable_account(context: typer.Context, name: AccountArgument, reason: Reason = None) -> None:
    """Enable an account.

    If the seller had to consent again, the stored consent is tried at once.
    """
    _enable_account(context, name, enabled=True, reason=reason_in(reason))


@group.command(
    "disable",
    epilog="\b\nExample: ebaysync accounts disable alice --reason 'on holiday'",
)
def disable_account(context: typer.Context, name: AccountArgument, reason: Reason = None) -> None:
    """Disable an account.

    If it is running, it stops after its batch. Stored data stays.
    """
    _enable_account(context, name, enabled=False, reason=reason_in(reason))


def _enable_account(context: typer.Context, name: str, *, enabled: bool, reason: str | None) -> None:
    session: Session = context.obj

    async def work(stop: Stop) -> tuple[Account, EbaysyncError | None]:
        async with session.database() as db:
            found = await accounts.find(db, name)
            await control.enable_account(db, found, enabled=enabled, reason=reason)
            works = not enabled or not found.needs_consent
            return found, None if works else await _try_consent(session, db, found, stop)

    found, failure = session.go(work)
    say(f"{found.name}: {'enabled' if enabled else 'disabled'}")
    if failure:
        say("note: the seller must consent again before anything is read")
        logs.notify(prefixed(found.name, failure.message), failure.hint)
    elif enabled and found.needs_consent:
        say("note: eBay accepts the seller's consent again")


async def _try_consent(session: Session, db: Database, account: Account, stop: Stop) -> EbaysyncError | None:
    """Try the refresh token of an account that needs consent, unless everything is paused. Returns the error."""
    try:
        if reason := await db.read(paused):
            return ConsentNeeded(f"{account.name}: the consent was not tried: {reason}")
        async with open_api(session.settings, db, account, "accounts enable", stop.sleep) as (_, tokens):
            await stop.race(tokens.refresh(force=True))
    except Interrupted:
        raise
    except EbaysyncError as error:
        return error
    return None
