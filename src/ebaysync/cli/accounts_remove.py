"""accounts remove."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ebaysync.accounts import accounts
from ebaysync.accounts.accounts import Account
from ebaysync.cli.accounts import group
from ebaysync.cli.options import AccountArgument, Reason, reason_in
from ebaysync.cli.session import Session, progress, say
from ebaysync.errors import UsageError
from ebaysync.ops import control
from ebaysync.sync.stop import Stop


def register(_: typer.Typer) -> None:
    group.command(epilog="\b\nExample: ebaysync accounts remove alice --reason 'left us'")(remove)


def remove(
    context: typer.Context,
    name: AccountArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    reason: Reason = None,
) -> None:
    """Delete an account and all of its data.

    This deletes what is stored here, and nothing at eBay. It cannot be undone.
    """
    session: Session = context.obj
    why = reason_in(reason)
    if not yes and not sys.stdin.isatty():
        raise UsageError("accounts remove asks for the name again, and there is no terminal", hint="add --yes")

    async def look(stop: Stop) -> tuple[Account, dict[str, int]]:
        async with session.database(admin=True) as db:
            found = await accounts.find(db, name)
            return found, await control.owned(db, found)

    found, rows = session.go(look)
    say(f"{found.name} (eBay user {found.ebay_user_id}, {found.environment}) and what is stored of it:", err=True)
    for table, number in rows.items():
        say(f"  {number:>10,}  {table}", err=True)
    question = "To delete all of it, write the account's name or id again"
    if not yes and typer.prompt(question, err=True) not in (found.name, str(found.id)):
        raise UsageError("that is neither its name nor its id", hint="nothing was deleted")

    async def work(stop: Stop) -> dict[str, int]:
        async with session.database(admin=True) as db:
            with progress(f"removing {found.name}", sum(rows.values())) as update:
                return await control.remove(db, found, why, stop, lambda number: update(number, f"{number:,} rows"))

    deleted = session.go(work)
    say(f"{found.name} is removed, with {sum(deleted.values()):,} rows of {len(deleted)} tables")
