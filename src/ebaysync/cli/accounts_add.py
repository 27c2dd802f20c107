"""accounts add."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

from ebaysync.accounts import adding
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.adding import Consent
from ebaysync.cli.accounts import group
from ebaysync.cli.keyset import opened
from ebaysync.cli.options import AsJson, EnvironmentName, Marketplace, check_environment
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.ebay.hosts import hosts
from ebaysync.errors import UsageError
from ebaysync.log import Secret
from ebaysync.sync.stop import Stop

LONGEST_TOKEN = 20_000
SCOPE = "https://api.ebay.com/oauth/api_scope"


def register(_: typer.Typer) -> None:
    group.command(
        epilog="\b\nExample: ebaysync accounts add alice --environment production \\\n"
        "           --refresh-token-stdin < token"
    )(add)


def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name for the account, or a known account's id.")],
    environment: EnvironmentName,
    refresh_token_stdin: Annotated[
        bool, typer.Option("--refresh-token-stdin", help="Read the refresh token from standard input.")
    ] = False,
    scopes: Annotated[
        str | None, typer.Option(metavar="SCOPES", help="The scopes of the consent, separated by commas.")
    ] = None,
    consented_on: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="The day of the consent, which lasts 18 months."),
    ] = None,
    ebay_user_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The seller's immutable user id, if the token lacks the scope commerce.identity.readonly.",
        ),
    ] = None,
    marketplace: Marketplace = None,
    as_json: AsJson = False,
) -> None:
    """Add an account with a refresh token.

    Use this if you already have a refresh token of the same keyset. Adding the same seller again replaces its token.
    """
    session: Session = context.obj
    check_name(name, environment)
    if not refresh_token_stdin:
        raise UsageError("the refresh token comes on standard input", hint="add --refresh-token-stdin")
    stated = Consent(
        None if scopes is None else scopes_in(scopes),
        consented_on.date() if consented_on else None,
        ebay_user_id,
        marketplace,
    )
    configured = session.settings
    keyset, addresses = configured.keyset(environment), hosts(configured, environment)
    # After all checks that need no token, so that nobody pastes it in vain.
    token = _token()

    async def work(stop: Stop) -> Account:
        async with opened(session, keyset, addresses, stop) as opening:
            return await adding.add(opening, name, token, stated)

    account = session.go(work)
    if as_json:
        answer_json(account)
    else:
        say(f"{account.name}: eBay user {account.ebay_user_id} ({account.username or 'user name unknown'})")
        say(next_command(account, "run orders"))


def check_name(name: str, environment: str) -> None:
    """Raises UsageError if there is no such environment, or the name cannot be an account's."""
    check_environment(environment)
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise UsageError("NAME must be 1 to 100 printable characters")


def next_command(account: Account, command: str) -> str:
    """A line with the command that follows once a seller's consent is stored."""
    if account.is_active:
        return f"next: ebaysync {command} --account {account.word}"
    return f"next: the account is disabled; to read it: ebaysync accounts enable {account.word}"


def scopes_in(text: str) -> tuple[str, ...]:
    """The scopes of the option: eBay's URLs, or the part after api_scope/."""
    words = text.replace(",", " ").split()
    return tuple(
        SCOPE if word == "api_scope" else word if word.startswith("https://") else f"{SCOPE}/{word}" for word in words
    )


def _token() -> Secret:
    """Read a token file: one line. More lines mean that another file was meant."""
    if sys.stdin.isatty():
        say("paste the refresh token, then press Enter:", err=True)
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
