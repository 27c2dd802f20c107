"""families, families enable, disable, every."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ebaysync.accounts import accounts
from ebaysync.accounts.accounts import Account
from ebaysync.cli.completion import complete_account
from ebaysync.cli.format import Grid, display
from ebaysync.cli.options import AsJson, FamilyName, Reason, reason_in
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.errors import UsageError
from ebaysync.families import named
from ebaysync.ops import control
from ebaysync.store.database import Database
from ebaysync.sync.stop import Stop

group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
OneAccount = Annotated[
    str | None,
    typer.Option(
        "--account",
        "-a",
        metavar="ACCOUNT",
        help="Only for this account. Default: for all.",
        autocompletion=complete_account,
    ),
]
LONGEST = 7 * 24 * 60  # minutes


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="families")


@group.callback(epilog="\b\nExample: ebaysync families --account alice")
def families(context: typer.Context, account: OneAccount = None, as_json: AsJson = False) -> None:
    """Show or change which families run, and how often.

    Without a command, shows the settings.
    """
    if context.invoked_subcommand:
        if account or as_json:
            raise UsageError(f"put options after the command: ebaysync families {context.invoked_subcommand} …")
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
    display(_of_account(found) if account else _overview(found))
    if found["paused"]:
        display("\neverything is paused; continue with: ebaysync resume")


def _overview(found: dict[str, Any]) -> Grid:
    table = Grid("family", "runs", "every", "exceptions")
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


def _of_account(found: dict[str, Any]) -> Grid:
    table = Grid("family", "runs", "every", "set for")
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


@group.command(epilog="\b\nExample: ebaysync families enable messages --account alice")
def enable(context: typer.Context, family: FamilyName, account: OneAccount = None, reason: Reason = None) -> None:
    """Enable a family."""
    _enable(context, family, account, enabled=True, reason=reason_in(reason))


@group.command(
    epilog="\b\nExample: ebaysync families disable messages --reason 'read elsewhere'",
)
def disable(context: typer.Context, family: FamilyName, account: OneAccount = None, reason: Reason = None) -> None:
    """Disable a family.

    If it is running, it stops after its batch. Stored data stays.
    """
    _enable(context, family, account, enabled=False, reason=reason_in(reason))


def _enable(context: typer.Context, name: str, account: str | None, *, enabled: bool, reason: str | None) -> None:
    session: Session = context.obj
    family = named(name)

    async def work(stop: Stop) -> tuple[Account | None, bool]:
        async with session.database() as db:
            found = await _maybe(db, account)
            return found, await control.enable_family(db, family, found, enabled=enabled, reason=reason)

    found, everywhere = session.go(work)
    say(f"{family.name} of {found.name if found else 'all accounts'}: {'enabled' if enabled else 'disabled'}")
    if enabled and found and not everywhere:
        say(f"note: still disabled for all accounts; see: ebaysync families enable {family.name}")


@group.command(epilog="\b\nExample: ebaysync families every orders 10 --account alice")
def every(
    context: typer.Context,
    family: FamilyName,
    minutes: Annotated[str, typer.Argument(metavar="MINUTES", help="A number of minutes, or `default`.")],
    account: OneAccount = None,
) -> None:
    """Set how often a family runs.

    An account's own interval overrides the one for all accounts. `default` restores the default.
    """
    session: Session = context.obj
    wanted, number = named(family), _minutes(minutes)

    async def work(stop: Stop) -> tuple[Account | None, int]:
        async with session.database() as db:
            found = await _maybe(db, account)
            await control.set_interval(db, wanted, found, number)
            now = await (control.of_account(db, found) if found else control.overview(db))
            return found, next(one["every_minutes"] for one in now["families"] if one["family"] == wanted.name)

    found, now = session.go(work)
    say(f"{wanted.name} of {found.name if found else 'all accounts'}: every {_every(now)}")


def _minutes(word: str) -> int | None:
    if word == "default":
        return None
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= LONGEST):
        raise UsageError(f"MINUTES: {word!r} is neither a number from 1 to {LONGEST} nor `default`")
    return int(word)


async def _maybe(db: Database, account: str | None) -> Account | None:
    return None if account is None else await accounts.find(db, account)
