"""forget: erase a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ebaysync import log as logs
from ebaysync.cli.options import AsJson
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.errors import UsageError
from ebaysync.ops import forget as forgetting
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync forget some_buyer\n\nExample: ebaysync forget --from-file notices.jsonl")(
        forget
    )


def forget(
    context: typer.Context,
    person: Annotated[
        str | None, typer.Argument(metavar="USERNAME_OR_ID", help="The eBay user name or immutable id.")
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="eBay's deletion notices: JSON, or one per line. - reads standard input.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person's data.

    Erases a buyer or seller from every table. Later reads do not bring the person back.
    """
    session: Session = context.obj
    if (person is None) == (from_file is None):
        raise UsageError("name the person, or a file with --from-file", hint="see: ebaysync forget --help")
    people = [[person]] if person is not None else forgetting.names_of_notices(_content(from_file))

    async def work(stop: Stop) -> tuple[dict[str, int], list[UsageError]]:
        names: set[str] = set()
        refused: list[UsageError] = []
        async with session.database(admin=True) as db:
            for number, each in enumerate(people, 1):
                try:
                    names |= await forgetting.checked(db, each)
                except UsageError as error:
                    if person is not None:
                        raise
                    refused.append(UsageError(f"notice {number}: {error.message}", hint=error.hint))
            return await forgetting.forget(db, names, stop.sleep) if names else {}, refused

    found, refused = session.go(work)
    if as_json:
        answer_json({"people": len(people) - len(refused), "refused": len(refused), "erased": found})
    else:
        for table, count in found.items():
            say(f"{table}: {count} rows")
        say(
            f"{len(people) - len(refused)} erased"
            if from_file
            else "erased"
            if found
            else "nothing is stored of this person"
        )
    for error in refused:
        logs.notify(error.message, error.hint)
    if refused:
        raise typer.Exit(3)


def _content(path: Path | None) -> bytes:
    assert path
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"--from-file: {path} cannot be read: {error.strerror}") from None
