"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ebaysync.cli.completion import complete_account, complete_family
from ebaysync.errors import UsageError
from ebaysync.settings import ENVIRONMENTS

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
AccountName = Annotated[
    str,
    typer.Option(
        "--account",
        "-a",
        metavar="ACCOUNT",
        help="The account's name or id, or its eBay user name or id.",
        autocompletion=complete_account,
    ),
]
AccountNames = Annotated[
    list[str] | None,
    typer.Option(
        "--account",
        "-a",
        metavar="ACCOUNT",
        help="Only this account. May be repeated.",
        autocompletion=complete_account,
    ),
]
AccountArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The account's name or id, or its eBay user name or id.",
        autocompletion=complete_account,
    ),
]
FamilyName = Annotated[
    str, typer.Argument(metavar="FAMILY", help="A family, such as orders.", autocompletion=complete_family)
]
OneFamily = Annotated[
    str | None,
    typer.Option("--family", "-f", metavar="FAMILY", help="Only this family.", autocompletion=complete_family),
]
Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=10_000, help="How many lines at most.")]
EnvironmentName = Annotated[
    str, typer.Option("--environment", "-e", metavar="ENVIRONMENT", help=" · ".join(ENVIRONMENTS))
]
Marketplace = Annotated[
    str | None,
    typer.Option(metavar="MARKETPLACE", help="Such as EBAY_GB. Default: where the seller registered."),
]
Reason = Annotated[
    str | None,
    typer.Option("--reason", "-r", metavar="REASON", help="The reason; it is logged with your name and the time."),
]


def check_environment(text: str) -> None:
    """Raises UsageError if --environment names none."""
    if text not in ENVIRONMENTS:
        raise UsageError(f"--environment: {text!r} is none of {', '.join(ENVIRONMENTS)}")


def reason_in(text: str | None) -> str | None:
    """The value of --reason. Raises UsageError unless it is one line of at most 500 characters."""
    if text is not None and (not text.isprintable() or len(text) > 500):
        raise UsageError("--reason must be one line of at most 500 characters")
    return text.strip() or None if text else None
