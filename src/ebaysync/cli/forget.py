"""forget: erase a person."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ebaysync import log as logs
from ebaysync.accounts import application
from ebaysync.cli.keyset import opened
from ebaysync.cli.options import AsJson, EnvironmentName, check_environment, reason_in
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.ebay import notification
from ebaysync.ebay.hosts import hosts
from ebaysync.errors import UsageError
from ebaysync.ops import forget as forgetting
from ebaysync.ops import notices
from ebaysync.ops.notices import SignedNotice
from ebaysync.sync import erased_people
from ebaysync.sync.erased_people import Note
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    examples = (
        "some_buyer --reason 'letter of 2026-11-02'",
        "--from-file notices.jsonl",
        "--list",
        "--undo some_buyer",
    )
    app.command(epilog="\n\n".join(f"\b\nExample: ebaysync forget {each}" for each in examples))(forget)


def forget(
    context: typer.Context,
    person: Annotated[
        str | None, typer.Argument(metavar="USERNAME_OR_ID", help="The eBay user name or immutable id.")
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="eBay's deletion notices with their signatures. - reads standard input.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for --list. Never the name itself.")] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Show who was erased: digests of names, when, and why.")
    ] = False,
    undo: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_DIGEST", help="Store this person's later records whole again. Brings nothing back."
        ),
    ] = None,
    environment: EnvironmentName = "production",
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Believe notices without eBay's signature. Anybody can send one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person's data.

    Erases a buyer or seller from every table. Later reads do not bring the person back.
    """
    session: Session = context.obj
    if sum((person is not None, from_file is not None, listed, undo is not None)) != 1:
        raise UsageError(
            "name the person, or give one of --from-file, --list and --undo", hint="see: ebaysync forget --help"
        )
    if listed or undo is not None:
        if reason is not None:
            raise UsageError("--reason goes with an erasure")
        _notes(session, undo, as_json=as_json)
        return
    reason = reason_in(reason)
    if unsigned and from_file is None:
        raise UsageError("--unsigned goes with --from-file")
    people: list[list[str]] = [[person]] if person is not None else []
    forged: list[UsageError] = []
    if person is None:
        document = _content(from_file)
        if unsigned:
            people = notices.names_of_notices(document)
        else:
            people, forged = _believed(session, environment, notices.signed_notices(document))

    async def work(stop: Stop) -> tuple[dict[str, int], list[UsageError]]:
        names: set[str] = set()
        refused = list(forged)
        async with session.database(admin=True) as db:
            for number, each in enumerate(people, 1):
                try:
                    names |= await forgetting.checked(db, forgetting.usable(each))
                except UsageError as error:
                    if person is not None:
                        raise
                    refused.append(UsageError(f"notice {number}: {error.message}", hint=error.hint))
            return await forgetting.forget(db, names, stop.sleep, reason) if names else {}, refused

    found, refused = session.go(work)
    erased = len(people) + len(forged) - len(refused)
    if as_json:
        answer_json({"people": erased, "refused": len(refused), "erased": found})
    else:
        for table, count in found.items():
            say(f"{table}: {count} rows")
        say(f"{erased} erased" if from_file else "erased" if found else "nothing is stored of this person")
    for error in refused:
        logs.notify(error.message, error.hint)
    if refused:
        raise typer.Exit(3)


def _believed(
    session: Session, environment: str, found: Sequence[SignedNotice]
) -> tuple[list[list[str]], list[UsageError]]:
    """The people of the notices that eBay has signed, and the other notices' errors."""
    check_environment(environment)
    configured = session.settings
    keyset, addresses = configured.keyset(environment), hosts(configured, environment)

    async def work(stop: Stop) -> tuple[list[list[str]], list[UsageError]]:
        async with opened(session, keyset, addresses, stop) as opening:

            async def key_of(kid: str) -> str:
                call = partial(notification.public_key, opening.transport, kid)
                return await application.ask(opening.db, opening.vault, opening.transport, keyset, call)

            return await notices.believed(found, key_of)

    return session.go(work)


def _notes(session: Session, undo: str | None, *, as_json: bool) -> None:
    """List who was erased, or take one off the list."""

    async def work(stop: Stop) -> list[Note]:
        async with session.database(admin=True) as db:
            return await (erased_people.noted(db) if undo is None else erased_people.undo(db, undo))

    found = session.go(work)
    if undo is not None and not found:
        raise UsageError(f"{undo!r} is not on the list", hint="see: ebaysync forget --list")
    if as_json:
        answer_json({"forgotten" if undo is None else "removed": [asdict(note) for note in found]})
        return
    for note in found:
        say(f"{note.digest[:16]}  {note.forgotten_at:%Y-%m-%d %H:%M}Z  {note.reason or '–'}")
    if undo is not None:
        say("the next read stores this person's records whole again")
    elif not found:
        say("nobody was erased")


def _content(path: Path | None) -> bytes:
    assert path
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"--from-file: {path} cannot be read: {error.strerror}") from None
