"""Migrates the schema with the numbered files in `sql/`, each once, in its own transaction.

Files are recorded with a checksum; a file that changed after it was applied is refused. The lock is taken inside each
transaction, so that it works behind PgBouncer and is released when the client dies.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

from ebaysync.errors import DatabaseError, SchemaBehind
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import OLDEST, TRUSTED, Database, PermissionRefused, SchemaDiffers

log = logging.getLogger(__name__)

_LOCK = "SELECT pg_advisory_xact_lock(1700946297)"  # 0x65626179, "ebay"; PostgreSQL knows hexadecimal since 16
_RECORD = """
CREATE TABLE IF NOT EXISTS ebaysync_schema (
    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp())
"""


@dataclass(frozen=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def _folder() -> Path:
    inside = files("ebaysync") / "sql"
    return Path(str(inside)) if inside.is_dir() else Path(__file__).resolve().parents[3] / "sql"


def available() -> list[Migration]:
    """The files of this version, in order. Raises DatabaseError if there are none, or two have the same number."""
    folder = _folder()
    found = [
        Migration(int(path.stem[:4]), path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.sql"))
        if re.fullmatch(r"\d{4}_\w+", path.stem)
    ]
    if not found:
        raise DatabaseError(
            f"no schema files in {folder}", hint="the installation is incomplete: install ebaysync again"
        )
    for one, other in pairwise(found):
        if one.version == other.version:
            raise DatabaseError(
                f"sql/{one.name}.sql and sql/{other.name}.sql have the same number",
                hint="give the one that was not released the next free number",
            )
    return found


async def pending(db: Database) -> list[Migration]:
    """The files that are not applied yet. Raises DatabaseError if server or schema do not fit this program."""

    async def ask(connection: Connection) -> tuple[Sent, Sent]:
        return await connection.send(_SERVER), await connection.send(_APPLIED)

    try:
        server, applied = [(await sent.result()).rows for sent in await db.read(ask)]
    except SchemaDiffers:  # nothing was ever applied
        server, applied = await db.rows(_SERVER), ()
    try:
        _check_server(db, server[0])
        if not applied and (grant := await db.missing_grant()):
            raise PermissionRefused(f"{db.where}: this login does not see the tables", hint=grant)
    except PermissionRefused as error:
        error.hint = await db.missing_grant() or error.hint
        raise
    return _missing(db, applied)


async def require_current(db: Database) -> None:
    """Check that the schema is current; migrate the embedded database. Every command does this first. Raises
    SchemaBehind."""
    missing = await pending(db)
    if missing and db.embedded:
        await migrate(db)
    elif missing:
        names = ", ".join(m.name for m in missing)
        raise SchemaBehind(f"{db.where}: the schema is behind (missing {names})", hint="run: ebaysync migrate")


async def migrate(db: Database) -> list[Migration]:
    """Apply missing migrations; return what was applied. Raises DatabaseError."""
    applied = []
    for _ in available():
        one = await db.transact(lambda connection: _apply_next(db, connection))
        if one is None:
            break
        log.info("schema: applied %s", one.name)
        applied.append(one)
    return applied


async def grant(db: Database) -> None:
    """Create the roles and grant their rights (sql/roles.sql). Raises DatabaseError if this login may not do so."""
    sql = (_folder() / "roles.sql").read_text(encoding="utf-8")

    async def work(connection: Connection) -> None:
        await connection.execute(_LOCK)
        await connection.script(sql)

    try:
        await db.transact(work)
    except PermissionRefused:
        raise PermissionRefused(
            f"{db.where}: this login may not create the roles, or does not own the tables",
            hint="run sql/roles.sql with psql as a superuser, or name the owner in EBAYSYNC_ADMIN_DATABASE_URL",
        ) from None


async def granted(db: Database) -> bool:
    """Whether the roles have rights in this database. Then new tables need rights too."""
    rows = await db.rows(_GRANTED)
    return bool(rows[0].granted)


_GRANTED = """
SELECT EXISTS (SELECT FROM pg_class c, aclexplode(c.relacl) g JOIN pg_roles r ON r.oid = g.grantee
    WHERE c.oid = to_regclass('ebay_accounts') AND r.rolname = 'ebaysync_writer') AS granted
"""


async def _apply_next(db: Database, connection: Connection) -> Migration | None:
    _check_server(db, (await connection.execute(_SERVER)).one())
    await connection.execute(_LOCK)
    await connection.execute(_RECORD)
    missing = _missing(db, (await connection.execute(_APPLIED)).rows)
    if not missing:
        return None
    await connection.send("SET LOCAL statement_timeout = 0")
    await connection.send(_UNSHARE)
    await connection.script(missing[0].sql)
    await connection.execute(
        "INSERT INTO ebaysync_schema (version, name, checksum) VALUES (:version, :name, :checksum)",
        {"version": missing[0].version, "name": missing[0].name, "checksum": missing[0].checksum},
    )
    return missing[0]


def _missing(db: Database, applied: Sequence[Any]) -> list[Migration]:
    done = {row.version: row.checksum for row in applied}
    known = available()
    if newer := sorted(set(done) - {m.version for m in known}):
        raise DatabaseError(
            f"{db.where}: the schema (version {newer[-1]}) is newer than this ebaysync",
            hint="upgrade ebaysync",
        )
    for migration in known:
        if done.get(migration.version, migration.checksum) != migration.checksum:
            raise DatabaseError(
                f"sql/{migration.name}.sql was changed after it had been applied to {db.where}",
                hint="install the released file again; changes go into a new file",
            )
    return [m for m in known if m.version not in done]


def _check_server(db: Database, server: Any) -> None:
    if server.number < OLDEST * 10_000:
        version = server.number // 10_000
        raise DatabaseError(f"{db.where} is version {version}", hint=f"PostgreSQL {OLDEST} or newer is needed")
    if server.encoding != "UTF8":
        raise DatabaseError(
            f"{db.where} keeps text as {server.encoding}, and what eBay sends needs UTF8",
            hint="create the database again: createdb -E UTF8 -T template0",
        )
    if server.path is not None:  # PostgreSQL shows no table of such a schema, as if none had been created
        raise PermissionRefused(f"{db.where}: this login has no USAGE on any schema of its search_path ({server.path})")
    if server.stranger:
        raise DatabaseError(
            f"{db.where}: the table ebaysync_schema belongs to {server.stranger}, who is neither a superuser nor the"
            " database's owner nor ebaysync_owner nor this login",
            hint="do not use these tables unless you trust that login; then give them to ebaysync_owner",
        )


# The views of roles.sql would keep a file from changing what they show. `grant` makes them again.
_UNSHARE = """
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'v'
            AND (relname LIKE 'ebay%shared' OR relname = 'order_line_items_shared') LOOP
        BEGIN
            EXECUTE format('DROP VIEW %I', one.relname);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            NULL;  -- somebody builds on it; it is in the way only if the file changes what it shows
        END;
    END LOOP;
END
$$
"""
_APPLIED = "SELECT version, checksum FROM ebaysync_schema"
_SERVER = Template("""
SELECT CAST(current_setting('server_version_num') AS integer) AS number, current_setting('server_encoding') AS encoding,
    CASE WHEN current_schema() IS NULL THEN (SELECT reset_val FROM pg_settings WHERE name = 'search_path') END AS path,
    (SELECT r.rolname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
        WHERE c.oid = to_regclass('ebaysync_schema') AND NOT $trusted) AS stranger
""").substitute(trusted=TRUSTED)
