"""migrate: the schema and its roles."""

from __future__ import annotations

from typing import Annotated

import typer

from ebaysync.cli.options import AsJson
from ebaysync.cli.session import Session, answer_json, say
from ebaysync.errors import SchemaBehind, UsageError
from ebaysync.store import migrate as migrations
from ebaysync.store.migrate import Migration
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync migrate --check")(migrate)


def migrate(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Only report missing migrations. Exit with 10 if there are any.")
    ] = False,
    grants: Annotated[bool, typer.Option("--grants", help="Also create the roles owner, writer and reader.")] = False,
    as_json: AsJson = False,
) -> None:
    """Apply missing schema migrations.

    The embedded database does this by itself.
    """
    session: Session = context.obj
    if check and grants:
        raise UsageError("--check changes nothing: leave --grants out")

    async def work(stop: Stop) -> list[Migration]:
        async with session.database(admin=True, current=False) as db:
            if not check:
                # New tables have no rights yet: where the roles are in use, they get them with the migration.
                known = await migrations.granted(db)
                applied = await migrations.migrate(db)
                if grants or (known and applied):
                    await migrations.grant(db)
                return applied
            if missing := await migrations.pending(db):
                names = ", ".join(m.name for m in missing)
                raise SchemaBehind(f"{db.where}: missing {names}", hint="run: ebaysync migrate")
            return []

    applied = session.go(work)
    if as_json:
        answer_json({"applied": [migration.name for migration in applied]})
    else:
        for migration in applied:
            say(f"applied {migration.name}")
        if not applied:
            say("the schema is up to date")
        if grants:
            say("the roles ebaysync_owner, ebaysync_writer and ebaysync_reader have their rights")
