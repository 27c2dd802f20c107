"""keys rotate, keys signing: the keys that encrypt stored secrets and the keys that sign calls."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Column

from ebaysync.accounts import rotate, signing, vault
from ebaysync.accounts.rotate import Rotation
from ebaysync.accounts.signing import Key
from ebaysync.cli.format import Grid, display
from ebaysync.cli.keyset import opened
from ebaysync.cli.options import AsJson, EnvironmentName, check_environment
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.ebay.hosts import hosts
from ebaysync.errors import SecretKeyError
from ebaysync.shown import word
from ebaysync.sync.stop import Stop

group = typer.Typer(help="Manage encryption and signing keys.", no_args_is_help=True, rich_markup_mode=None)
signing_group = typer.Typer(
    help="Manage signing keys for sellers in the EU and the UK.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="keys")
    group.add_typer(signing_group, name="signing")


@group.command("rotate", epilog="\b\nExample: EBAYSYNC_SECRET_KEY_FILE=new-then-old.key ebaysync keys rotate")
def rotate_(
    context: typer.Context,
    drop_unreadable: Annotated[
        bool,
        typer.Option(
            "--drop-unreadable", help="Drop what no key opens. Only if its key is lost: sellers consent again."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Encrypt all stored secrets with the new (first) key.

    Runs may continue meanwhile. It can be interrupted and repeated.
    """
    session: Session = context.obj

    async def work(stop: Stop) -> Rotation:
        async with session.database() as db:
            stored = await vault.heads(await db.read(vault.send_heads))
            keys = vault.load(session.settings, may_create=drop_unreadable or not stored)
            return await stop.race(rotate.rotate(db, keys, drop_unreadable=drop_unreadable))

    done = session.go(work)
    if as_json:
        answer_json({"tables": [asdict(count) for count in done.counts]})
    else:
        for count in done.counts:
            update = f"{count.rotated} encrypted anew, {count.current} already were, {count.unreadable} not readable"
            say(f"{count.table}: {update}" + (f", {count.dropped} dropped" if count.dropped else ""))
    # After the answer was printed: the rows that could be read are rotated.
    if done.first_error:
        unreadable = sum(count.unreadable for count in done.counts)
        raise SecretKeyError(
            f"{unreadable} rows cannot be read and were left as they are; the first: {done.first_error.message}",
            hint=done.first_error.hint,
        )


@signing_group.command(epilog="\b\nExample: ebaysync keys signing create --environment production")
def create(
    context: typer.Context,
    environment: EnvironmentName,
    renew: Annotated[bool, typer.Option("--renew", help="Create one even if a valid key exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a signing key at eBay.

    Finances calls of sellers in the EU and the UK must be signed. One key per keyset; it is stored encrypted.
    """
    session: Session = context.obj
    check_environment(environment)
    configured = session.settings
    keyset, addresses = configured.keyset(environment), hosts(configured, environment)

    async def work(stop: Stop) -> Key:
        async with opened(session, keyset, addresses, stop) as opening:
            return await signing.create(opening.db, opening.vault, opening.transport, keyset, renew=renew)

    made = session.go(work)
    if as_json:
        answer_json(made)
    else:
        say(f"{made.environment}: signing key {made.signing_key_id}, until {made.expires_at:%Y-%m-%d}")


@signing_group.command("list", epilog="\b\nExample: ebaysync keys signing list --json")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the signing keys."""
    session: Session = context.obj

    async def work(stop: Stop) -> list[Key]:
        async with session.database() as db:
            return await signing.every(db)

    found = session.go(work)
    if as_json:
        answer_json({"keys": found})
        return
    table = Grid(
        Column("environment", no_wrap=True),
        Column("client id", overflow="fold"),  # on more lines in a narrow terminal, never cut
        Column("signing key", overflow="fold"),
        *(Column(name, no_wrap=True) for name in ("cipher", "until", "state")),
    )
    for key in found:
        table.add_row(*_cells(key))
    display(table)
    in_use = {(key.environment, key.client_id): key for key in reversed(found)}
    for key in reversed(in_use.values()):
        if key.state in ("renew", "expired"):
            say(f"make a new one: ebaysync keys signing create --environment {word(key.environment)}", err=True)


def _cells(key: Key) -> tuple[str, ...]:
    until = f"{key.expires_at:%Y-%m-%d}"
    return key.environment, key.client_id, key.signing_key_id, key.cipher, until, key.state
