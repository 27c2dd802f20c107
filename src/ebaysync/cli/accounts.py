"""accounts add, accounts list."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, get_args

import typer
from rich.table import Table

from ebaysync.accounts import accounts, vault
from ebaysync.accounts.accounts import Account, Consent
from ebaysync.accounts.usage import metered
from ebaysync.cli.session import AsJson, Session, answer_json, console
from ebaysync.ebay.transport import Transport, hosts
from ebaysync.errors import UsageError
from ebaysync.log import Secret
from ebaysync.ops.signals import Stop
from ebaysync.settings import ENVIRONMENTS, Environment

LONGEST_TOKEN = 20_000
SCOPE = "https://api.ebay.com/oauth/api_scope"

group = typer.Typer(help="Seller accounts.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="accounts")


@group.command(epilog="\b\nExample: ebaysync accounts add alice --environment production --refresh-token-stdin < token")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Our name for the account.")],
    environment: Annotated[str, typer.Option("--environment", "-e", help=" · ".join(ENVIRONMENTS))],
    refresh_token_stdin: Annotated[
        bool, typer.Option("--refresh-token-stdin", help="Read the refresh token from standard input.")
    ] = False,
    scopes: Annotated[str | None, typer.Option(help="Scopes consented to, with commas; else unknown.")] = None,
    consented_on: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="When the seller consented: it lasts 18 months.")
    ] = None,
    ebay_user_id: Annotated[
        str | None, typer.Option(help="eBay's immutable user id, where the token may not ask Identity.")
    ] = None,
    marketplace: Annotated[str | None, typer.Option(help="Such as EBAY_GB; else where the seller registered.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add an account, or renew its consent, with a refresh token that is already there."""
    session: Session = context.obj
    check_name(name, environment)
    if not refresh_token_stdin:
        raise UsageError("the refresh token comes on standard input", hint="add --refresh-token-stdin")
    said = Consent(
        None if scopes is None else scopes_in(scopes),
        consented_on.date() if consented_on else None,
        ebay_user_id,
        marketplace,
    )
    configured = session.settings
    keyset, places = configured.keyset(environment), hosts(configured, environment)
    token = _token()

    async def work(stop: Stop) -> Account:
        async with session.database() as db, Transport(places, sleep=stop.sleep) as transport:
            keys = vault.load(configured, may_create=not await accounts.has_tokens(db))
            async with metered(db, keys, keyset, transport):
                return await accounts.add(db, keys, transport, keyset, name, token, said)

    account = session.go(work)
    if as_json:
        answer_json(account)
    else:
        typer.echo(f"{account.name}: eBay user {account.ebay_user_id} ({account.username or 'user name unknown'})")
        typer.echo(f"next: ebaysync run orders --account {account.name}")


def check_name(name: str, environment: str) -> None:
    if environment not in get_args(Environment):
        raise UsageError(f"--environment: {environment!r} is none of {', '.join(ENVIRONMENTS)}")
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise UsageError("NAME must be 1 to 100 printable characters")


def scopes_in(text: str) -> tuple[str, ...]:
    """Scopes as they are written in an option: eBay's addresses, or what follows api_scope/ in them."""
    words = text.replace(",", " ").split()
    return tuple(
        SCOPE if word == "api_scope" else word if word.startswith("https://") else f"{SCOPE}/{word}" for word in words
    )


def _token() -> Secret:
    """One line and nothing else: whatever follows says that another file was meant."""
    if sys.stdin.isatty():
        typer.echo("paste the refresh token, then press Enter:", err=True)
        text = sys.stdin.readline(LONGEST_TOKEN)
    else:
        text = sys.stdin.buffer.read(LONGEST_TOKEN).decode(errors="replace")
    cut = len(text) == LONGEST_TOKEN
    text = text.strip()
    if cut or not text or " " in text or not (text.isascii() and text.isprintable()):
        raise UsageError(
            "no refresh token on standard input", hint="one line, nothing else: … --refresh-token-stdin < file"
        )
    return Secret(text)


@group.command("list", epilog="\b\nExample: ebaysync accounts list --json")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """The accounts and whether they are active."""
    session: Session = context.obj

    async def work(stop: Stop) -> list[Account]:
        async with session.database() as db:
            return await accounts.every(db)

    found = session.go(work)
    if as_json:
        answer_json({"accounts": found})
        return
    table = Table("account", "environment", "eBay user", "user name", "marketplace", "state", box=None, pad_edge=False)
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
    console().print(table)
