"""doctor: diagnose the setup and suggest fixes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ebaysync.accounts import accounts
from ebaysync.cli.format import Grid, display, styled
from ebaysync.cli.options import AccountNames, AsJson
from ebaysync.cli.session import Session, answer_json, progress
from ebaysync.errors import DatabaseError
from ebaysync.ops import doctor as doctors
from ebaysync.ops.doctor import Finding
from ebaysync.sync.stop import Stop

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync doctor --account alice")(doctor)


def doctor(
    context: typer.Context,
    account: AccountNames = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not call eBay.")] = False,
    as_json: AsJson = False,
) -> None:
    """Diagnose the setup and suggest fixes.

    Checks settings, database, clocks, keys, tokens, scopes, signatures and quotas. Exits with 3 if a check failed.
    """
    session: Session = context.obj
    settings = session.settings
    unusable: list[DatabaseError] = []

    async def work(stop: Stop) -> list[Finding]:
        try:
            async with session.database() as db:
                chosen = [await accounts.find(db, name) for name in account or ()] or await accounts.every(db)
                with progress("doctor", None) as update:
                    return await doctors.diagnose(
                        settings, db, chosen, stop, online=not offline, on_progress=lambda name: update(0, name)
                    )
        except DatabaseError as error:
            unusable.append(error)
            return [doctors.failure("database", "server", error)]

    found = session.go(work)
    status = doctors.worst(found)
    if as_json:
        answer_json({"status": status, "findings": found})
    else:
        _show(found)
    if unusable:
        raise typer.Exit(DatabaseError.exit_code)
    if status == "failed":
        raise typer.Exit(3)


def _show(found: Sequence[Finding]) -> None:
    """Print each warning and failure with its hint, and one line per check that is fine."""
    table = Grid("state", "check", "of", "finding", show_header=False)
    for check in dict.fromkeys(finding.check for finding in found):
        well = [one for one in found if one.check == check and one.status == "ok"]
        if len(well) > 3:
            table.add_row(
                styled("ok", "green"), check, f"{len(well)} times", f"such as {well[0].subject}: {well[0].message}"
            )
        for one in found:
            if one.check == check and (one.status != "ok" or len(well) <= 3):
                finding = styled(one.message)
                if one.hint:
                    finding = finding.append("\n").append(styled(f"→ {one.hint}"))
                table.add_row(styled(one.status, _STYLES[one.status]), check, one.subject, finding)
    display(table)
