"""accounts connect: a seller's consent on eBay's page."""

from __future__ import annotations

import secrets
import sys
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from ebaysync.accounts import adding, consent
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.adding import Consent
from ebaysync.cli.accounts import group
from ebaysync.cli.accounts_add import LONGEST_TOKEN, SCOPE, check_name, next_command, scopes_in
from ebaysync.cli.keyset import opened
from ebaysync.cli.options import AsJson, EnvironmentName, Marketplace
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.ebay import identity, oauth
from ebaysync.ebay.hosts import hosts
from ebaysync.errors import UsageError
from ebaysync.families import discover, named
from ebaysync.log import Secret
from ebaysync.sync.state.sync_state import iso
from ebaysync.sync.stop import Stop


def register(_: typer.Typer) -> None:
    group.command(
        epilog="\b\nExample: ebaysync accounts connect alice --environment production",
    )(connect)


def connect(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name for the account, or a known account's id.")],
    environment: EnvironmentName,
    marketplace: Marketplace = None,
    scopes: Annotated[
        str | None, typer.Option(metavar="SCOPES", help="Ask only for these scopes, separated by commas.")
    ] = None,
    families: Annotated[
        str | None,
        typer.Option(metavar="FAMILIES", help="Ask only for what these families need, separated by commas."),
    ] = None,
    ebay_user_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The seller's immutable user id, if --scopes leaves commerce.identity.readonly out.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Connect a seller through eBay's consent page.

    Also renews a consent. Prints the page's address. The seller agrees there; then paste the address of the page that
    eBay opens next, or the code in it. In a script, the address is the first line of standard output (with --json, of
    standard error) and the answer is one line of standard input. After an interruption, the same command continues
    without the page.
    """
    session: Session = context.obj
    check_name(name, environment)
    wanted_scopes = _wanted_scopes(scopes, families)
    if identity.SCOPE not in wanted_scopes and not ebay_user_id:
        raise UsageError(
            "without the scope commerce.identity.readonly eBay does not tell whose consent it is",
            hint="add that scope, or --ebay-user-id with the seller's immutable user id",
        )
    configured = session.settings
    keyset, addresses = configured.consent_keyset(environment), hosts(configured, environment)
    stated = Consent(wanted_scopes, None, ebay_user_id, marketplace)

    async def begin(stop: Stop) -> tuple[str, tuple[Account, datetime] | None]:
        async with opened(session, keyset, addresses, stop) as opening:
            known = await adding.named(opening.db, environment, name)
            return known, await consent.resume(opening, known, stated)

    async def work(stop: Stop) -> tuple[Account, datetime]:
        async with opened(session, keyset, addresses, stop) as opening:
            return await consent.connect(opening, name, code, stated)

    name, resumed = session.go(begin)
    if resumed:
        _answer(name, *resumed, wanted_scopes, as_json=as_json)
        return
    state = Secret(secrets.token_urlsafe(24))
    # --json promises one object on standard output. Without it, the URL goes there for a person or a script.
    say(oauth.consent_page(addresses.auth, keyset, wanted_scopes, state.reveal()), err=as_json)
    # Between two event loops: waiting for a person would block one, and its signal handlers.
    code = _code(state)
    _answer(name, *session.go(work), wanted_scopes, as_json=as_json)


def _wanted_scopes(scopes: str | None, families: str | None) -> tuple[str, ...]:
    """The scopes to ask for. They are the same in every environment."""
    if scopes is not None and families is not None:
        raise UsageError("--scopes and --families both say what to ask for", hint="leave one of them out")
    if scopes is not None:
        if not (wanted_scopes := scopes_in(scopes)):
            raise UsageError("--scopes names no scope")
        return wanted_scopes
    names = list(discover()) if families is None else families.replace(",", " ").split()
    if not names:
        raise UsageError("--families names no family")
    return tuple(sorted({SCOPE, identity.SCOPE, *(scope for name in names for scope in named(name).scopes)}))


def _code(state: Secret) -> Secret:
    """Read the code from standard input. At a terminal a wrong paste can be corrected: the code is still valid."""
    while True:
        line = _pasted()
        try:
            return consent.code_in(line, state.reveal())
        except UsageError as error:
            if not line or not sys.stdin.isatty():
                raise
            say(error.message, err=True)
            say("", err=True)


def _pasted() -> str:
    """Read one line; empty at the end of input. Prompts only at a terminal."""
    if sys.stdin.isatty():
        typer.echo(  # noqa: TID251
            "Open this address in the seller's browser (any machine's) and agree.\n"
            "Then paste the address of the page that eBay opens next, or the code in it,\n"
            "within five minutes, and press Enter:",
            err=True,
        )
    # Bounded: a script may send something without a newline.
    line = sys.stdin.buffer.readline(LONGEST_TOKEN)
    if len(line) == LONGEST_TOKEN:
        raise UsageError("the line on standard input is too long for an address or a code")
    return line.decode(errors="replace")


def _answer(name: str, account: Account, ends_at: datetime, wanted_scopes: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        answer_json(asdict(account) | {"scopes": wanted_scopes, "refresh_expires_at": iso(ends_at)})
        return
    if account.name != name:
        say(f"{name}: this eBay user is already here as {account.name!r}, whose consent is renewed")
    say(f"{account.name}: eBay user {account.ebay_user_id} ({account.username or 'user name unknown'})")
    say(f"the consent lasts until {ends_at:%Y-%m-%d}")
    say(next_command(account, "run-all"))
