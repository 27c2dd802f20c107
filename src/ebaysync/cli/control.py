"""pause, resume; families, families enable, disable, every; accounts show, enable, disable, remove."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from ebaysync.accounts import accounts
from ebaysync.accounts.accounts import Account
from ebaysync.cli.accounts import group as accounts_group
from ebaysync.cli.data import short
from ebaysync.cli.session import AsJson, Session, answer_json, console, progress
from ebaysync.errors import UsageError
from ebaysync.families import named
from ebaysync.ops import control
from ebaysync.ops.signals import Stop
from ebaysync.store.database import Database

families_group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Reason = Annotated[str | None, typer.Option("--reason", "-r", help="Why: kept with who and when.")]
OneAccount = Annotated[
    str | None, typer.Option("--account", "-a", metavar="ACCOUNT", help="Of this account alone; default: of all.")
]
FamilyName = Annotated[str, typer.Argument(metavar="FAMILY", help="Such as orders.")]
AccountArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Our name or id, or eBay's user id or name of the account.")
]
LONGEST = 7 * 24 * 60  # minutes


def register(app: typer.Typer) -> None:
    app.command(
        short_help="Stop everything, after the batches that are under way.",
        epilog="\b\nExample: ebaysync pause --reason 'moving the database'",
    )(pause)
    app.command(short_help="Go on after a pause.", epilog="\b\nExample: ebaysync resume")(resume)
    app.add_typer(families_group, name="families")


def pause(context: typer.Context, reason: Reason = None) -> None:
    """Stop everything: nothing starts, and running work stops after its batch."""
    changed = _switch(context, on=False, reason=_said(reason))
    typer.echo("paused" if changed else "it was paused before; the reason is the new one")


def resume(context: typer.Context, reason: Reason = None) -> None:
    """Let everything go on."""
    changed = _switch(context, on=True, reason=_said(reason))
    typer.echo("resumed: what is due runs with the next run-all" if changed else "nothing was paused")


def _switch(context: typer.Context, *, on: bool, reason: str | None) -> bool:
    session: Session = context.obj

    async def work(stop: Stop) -> bool:
        async with session.database() as db:
            return await control.switch(db, on=on, reason=reason)

    return session.go(work)


def _said(reason: str | None) -> str | None:
    if reason is not None and (not reason.isprintable() or len(reason) > 500):
        raise UsageError("--reason must be one line of at most 500 characters")
    return reason.strip() or None if reason else None


@families_group.callback(
    short_help="Which families run, where, how often.", epilog="\b\nExample: ebaysync families --account alice"
)
def families(context: typer.Context, account: OneAccount = None, as_json: AsJson = False) -> None:
    """Which families run, where and how often; without a command: shows it."""
    if context.invoked_subcommand:
        if account or as_json:
            raise UsageError(f"options go behind the command: ebaysync families {context.invoked_subcommand} …")
        return
    session: Session = context.obj

    async def work(stop: Stop) -> dict[str, Any]:
        async with session.database() as db:
            if account is None:
                return await control.overview(db)
            return await control.of_account(db, await accounts.find(db, account))

    found = session.go(work)
    if as_json:
        answer_json(found)
        return
    console().print(_of_account(found) if account else _overview(found))
    if found["paused"]:
        console().print("\neverything is paused; go on with: ebaysync resume")


def _overview(found: dict[str, Any]) -> Table:
    table = Table("family", "runs", "every", "otherwise", box=None, pad_edge=False)
    for family in found["families"]:
        otherwise = [
            f"{one['account']} {'' if one['enabled'] else 'disabled'}"
            f"{_every(one['every_minutes']) if one['every_minutes'] and one['enabled'] else ''}"
            for one in family["accounts"]
        ]
        table.add_row(
            family["family"],
            "yes" if family["enabled"] else "disabled for all",
            _every(family["every_minutes"]),
            ", ".join(otherwise) or "–",
        )
    return table


def _of_account(found: dict[str, Any]) -> Table:
    table = Table("family", "runs", "every", "set for", box=None, pad_edge=False)
    for family in found["families"]:
        table.add_row(
            family["family"],
            _runs(found, family),
            _every(family["every_minutes"]),
            {"account": "this account", "all accounts": "all accounts", "family": "–"}[family["every_from"]],
        )
    return table


def _runs(found: dict[str, Any], family: dict[str, Any]) -> str:
    if not found["active"]:
        return "no: the account is disabled"
    if not family["offered"]:
        return "no: eBay does not offer it in this environment"
    if not family["enabled_for_all"]:
        return "disabled for all accounts"
    return "yes" if family["enabled"] else "disabled for this account"


def _every(minutes: int) -> str:
    return f"{minutes} min"


@families_group.command(epilog="\b\nExample: ebaysync families enable messages --account alice")
def enable(context: typer.Context, family: FamilyName, account: OneAccount = None, reason: Reason = None) -> None:
    """Let a family run."""
    _enable(context, family, account, enabled=True, reason=_said(reason))


@families_group.command(
    short_help="Let a family run no more.",
    epilog="\b\nExample: ebaysync families disable messages --reason 'read elsewhere'",
)
def disable(context: typer.Context, family: FamilyName, account: OneAccount = None, reason: Reason = None) -> None:
    """Let a family run no more; where it is at work, it stops after its batch."""
    _enable(context, family, account, enabled=False, reason=_said(reason))


def _enable(context: typer.Context, name: str, account: str | None, *, enabled: bool, reason: str | None) -> None:
    session: Session = context.obj
    family = named(name)

    async def work(stop: Stop) -> tuple[Account | None, bool]:
        async with session.database() as db:
            found = await _maybe(db, account)
            return found, await control.enable_family(db, family, found, enabled=enabled, reason=reason)

    found, everywhere = session.go(work)
    typer.echo(f"{family.name} of {found.name if found else 'all accounts'}: {'enabled' if enabled else 'disabled'}")
    if enabled and found and not everywhere:
        typer.echo(f"it is disabled for all accounts, though; see: ebaysync families enable {family.name}")


@families_group.command(epilog="\b\nExample: ebaysync families every orders 10 --account alice")
def every(
    context: typer.Context,
    family: FamilyName,
    minutes: Annotated[str, typer.Argument(metavar="MINUTES", help="Or: default.")],
    account: OneAccount = None,
) -> None:
    """How often a family runs. An account's own interval goes before that of all accounts; `default` takes it back."""
    session: Session = context.obj
    wanted, number = named(family), _minutes(minutes)

    async def work(stop: Stop) -> tuple[Account | None, int]:
        async with session.database() as db:
            found = await _maybe(db, account)
            await control.set_interval(db, wanted, found, number)
            now = await (control.of_account(db, found) if found else control.overview(db))
            return found, next(one["every_minutes"] for one in now["families"] if one["family"] == wanted.name)

    found, now = session.go(work)
    typer.echo(f"{wanted.name} of {found.name if found else 'all accounts'}: every {_every(now)}")


def _minutes(word: str) -> int | None:
    if word == "default":
        return None
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= LONGEST):
        raise UsageError(f"MINUTES: {word!r} is neither a number from 1 to {LONGEST} nor `default`")
    return int(word)


async def _maybe(db: Database, account: str | None) -> Account | None:
    return None if account is None else await accounts.find(db, account)


@accounts_group.command(
    "show", short_help="Consent, token refreshes, changes.", epilog="\b\nExample: ebaysync accounts show alice"
)
def show(context: typer.Context, name: AccountArgument, as_json: AsJson = False) -> None:
    """One account: its consent, its last token refreshes and what triggered them, who changed it last."""
    session: Session = context.obj

    async def work(stop: Stop) -> dict[str, Any]:
        async with session.database() as db:
            return await control.shown(db, await accounts.find(db, name))

    found = session.go(work)
    if as_json:
        answer_json(found)
        return
    console().print(_facts(found))
    if found["refreshes"]:
        console().print("\nThe last token refreshes:")
        console().print(_refreshes(found["refreshes"]))
    if found["changes"]:
        console().print("\nThe last changes:")
        console().print(_changes(found["changes"]))


def _facts(found: dict[str, Any]) -> Table:
    account, token = found["account"], found["token"]
    state = "needs consent" if account.needs_consent else "active" if account.is_active else "disabled"
    scopes = token["scopes"]
    table = Table(box=None, pad_edge=False, show_header=False)
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


def _refreshes(rows: list[dict[str, Any]]) -> Table:
    table = Table(Column("at", no_wrap=True), "triggered by", "outcome", box=None, pad_edge=False)
    for row in rows:
        failure = f"{row['error_code']}: {row['error_message']}"
        table.add_row(short(row["attempted_at"]), row["triggered_by"], "done" if row["success"] else failure)
    return table


def _changes(rows: list[dict[str, Any]]) -> Table:
    table = Table(Column("at", no_wrap=True), "what", "by", "why", box=None, pad_edge=False)
    for row in rows:
        what = " ".join(word for word in (row["action"], row["api_family"], row["value"]) if word)
        table.add_row(short(row["at"]), what, row["changed_by"], row["reason"] or "–")
    return table


@accounts_group.command("enable", epilog="\b\nExample: ebaysync accounts enable alice")
def enable_account(context: typer.Context, name: AccountArgument, reason: Reason = None) -> None:
    """Let an account run."""
    _enable_account(context, name, enabled=True, reason=_said(reason))


@accounts_group.command(
    "disable",
    short_help="Let an account run no more.",
    epilog="\b\nExample: ebaysync accounts disable alice --reason 'on holiday'",
)
def disable_account(context: typer.Context, name: AccountArgument, reason: Reason = None) -> None:
    """Let an account run no more; what is at work stops after its batch. What is stored stays."""
    _enable_account(context, name, enabled=False, reason=_said(reason))


def _enable_account(context: typer.Context, name: str, *, enabled: bool, reason: str | None) -> None:
    session: Session = context.obj

    async def work(stop: Stop) -> Account:
        async with session.database() as db:
            found = await accounts.find(db, name)
            await control.enable_account(db, found, enabled=enabled, reason=reason)
            return found

    found = session.go(work)
    typer.echo(f"{found.name}: {'enabled' if enabled else 'disabled'}")
    if enabled and found.needs_consent:
        typer.echo("the seller must consent again, though, before anything is read")


@accounts_group.command(
    "remove",
    short_help="Delete an account and its rows.",
    epilog="\b\nExample: ebaysync accounts remove alice --reason 'left us'",
)
def remove(
    context: typer.Context,
    name: AccountArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the name again.")] = False,
    reason: Reason = None,
) -> None:
    """Delete an account and everything that is stored of it, here and not at eBay. There is no way back."""
    session: Session = context.obj
    why = _said(reason)
    if not yes and not sys.stdin.isatty():
        raise UsageError("accounts remove asks for the name again, and there is no terminal", hint="add --yes")

    async def look(stop: Stop) -> tuple[Account, dict[str, int]]:
        async with session.database(admin=True) as db:
            found = await accounts.find(db, name)
            return found, await control.owned(db, found)

    found, rows = session.go(look)
    typer.echo(
        f"{found.name} (eBay user {found.ebay_user_id}, {found.environment}) and what is stored of it:", err=True
    )
    for table, number in rows.items():
        typer.echo(f"  {number:>10,}  {table}", err=True)
    if not yes and typer.prompt("To delete all of it, write the account's name again", err=True) != found.name:
        raise UsageError("that is not its name", hint="nothing was deleted")

    async def work(stop: Stop) -> dict[str, int]:
        async with session.database(admin=True) as db:
            with progress(f"removing {found.name}", sum(rows.values())) as told:
                return await control.remove(db, found, why, stop, lambda number: told(number, f"{number:,} rows"))

    deleted = session.go(work)
    typer.echo(f"{found.name} is removed, with {sum(deleted.values()):,} rows of {len(deleted)} tables")
