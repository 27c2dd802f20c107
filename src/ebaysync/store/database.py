"""The connection to PostgreSQL: a pool, transactions with retry, and one place that translates its errors.

PostgreSQL's own texts are not passed on: DETAIL and CONTEXT quote rows, and a connection error may quote a part of the
URL. Messages have SQLSTATE, table, column, constraint and host instead. The one exception is the primary message of a
missing table or column, which quotes only its name.

It works behind PgBouncer in transaction mode and whatever the server's settings: no prepared statements, no session
state; the first statement of each transaction sets what the others depend on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from string import Template
from typing import Any, TypeVar

import psycopg
from psycopg import errors as pg
from sqlalchemy import ARRAY, MetaData, TableValuedAlias, cast, func
from sqlalchemy.types import TypeEngine
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from ebaysync.errors import DatabaseError
from ebaysync.log import Secret
from ebaysync.store.connection import Connection, Result, Sent, Statement, connect
from ebaysync.store.conninfo import conninfo, is_here, place

OLDEST = 14
CONTROL = MetaData()
"""The control tables. Each is declared in the module that owns it."""
T = TypeVar("T")
log = logging.getLogger(__name__)

# Who may own our tables (`c.relowner` is `r`): a superuser, the database's owner, the role of roles.sql, this login, or
# a group that it is in.
TRUSTED = """
(r.rolsuper OR r.rolname OPERATOR(pg_catalog.=) ANY (ARRAY[current_user, 'ebaysync_owner'::pg_catalog.name])
    OR EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datdba OPERATOR(pg_catalog.=) r.oid
        AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
    OR (pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'off'  -- a superuser is in every group
        AND pg_catalog.pg_has_role(r.oid, 'USAGE')))"""

# The tables of the schema `n` that this login cannot write as ebaysync_writer can. History is only added to.
HISTORY = ("ebay_control_log", "ebay_events", "ebay_token_refresh_log", "ebay_api_worker_log")
REFUSED = Template("""
(SELECT string_agg(t.relname, ', ' ORDER BY t.relname) FROM pg_class t
    WHERE t.relnamespace = n.oid AND t.relkind IN ('r', 'p')
        AND (t.relname LIKE 'ebay\\_%' OR t.relname = 'order_line_items') AND t.relname <> 'ebay_private_columns'
        AND NOT (has_table_privilege(t.oid, 'SELECT') AND has_table_privilege(t.oid, 'INSERT')
            AND (t.relname = ANY ('{$history}') OR has_table_privilege(t.oid, 'UPDATE'))))
""").substitute(history=", ".join(HISTORY))

# The first statement of each transaction, and for the transaction alone, because behind PgBouncer the connection is not
# ours afterwards. It costs no round trip. Until it has run, the login's search_path holds, so all names are qualified.
_PINNED = """
SELECT pg_catalog.concat(pg_catalog.set_config('search_path', {path}, true),
    pg_catalog.set_config('client_encoding', 'UTF8', true),
    pg_catalog.set_config('standard_conforming_strings', 'on', true),
    pg_catalog.set_config('DateStyle', 'ISO, YMD', true),
    pg_catalog.set_config('IntervalStyle', 'postgres', true),
    pg_catalog.set_config('TimeZone', 'UTC', true),
    pg_catalog.set_config('bytea_output', 'hex', true),
    pg_catalog.set_config('extra_float_digits', '1', true),
    pg_catalog.set_config('lock_timeout', '10s', true),
    pg_catalog.set_config('statement_timeout', '5min', true),
    -- longer than the deadline of a token request
    pg_catalog.set_config('idle_in_transaction_session_timeout', '90s', true),
    -- otherwise the server's log may quote rows and tokens
    pg_catalog.set_config('log_parameter_max_length_on_error', '0', true)) AS pinned
"""
_PIN = _PINNED.format(path=":path")
# The schema is the first one in the login's search_path that holds our tables, else the first one without
# other people's tables of our names. Temporary tables come last, or anything could be hidden behind them.
_FIND = Template("""
WITH listed AS MATERIALIZED (
    SELECT n.nspname, s.rank, CASE WHEN c.oid IS NULL THEN 1 WHEN $trusted THEN 0 ELSE 2 END AS rating
    FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY s (name, rank)
    JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) s.name
    LEFT JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid
        AND c.relname OPERATOR(pg_catalog.=) 'ebaysync_schema'
    LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) c.relowner
    WHERE NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')),
chosen AS MATERIALIZED (
    SELECT (SELECT nspname FROM listed ORDER BY rating, rank LIMIT 1)::pg_catalog.text AS name),
found AS MATERIALIZED (
    SELECT CASE WHEN name IS NULL THEN '' ELSE pg_catalog.concat(pg_catalog.quote_ident(name), ', pg_temp') END AS path
    FROM chosen)
$pinned, path FROM found
""").substitute(trusted=TRUSTED, pinned=_PINNED.format(path="path"))

# A retry can help: serialization, deadlock, lock not available, shutdown and start-up, lost connection, too many
# connections, a full disk.
_RETRIED = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "08", "53")


ATTEMPTS, SHORTEST_WAIT = 5, 0.2
# Seconds that all attempts of a transaction may spend on connecting, so that a server that accepts and never answers
# costs at most 15 s with the waits between them, which double: 0.2 + 0.4 + 0.8 + 1.6.
PATIENCE = 12.0


class TransientDatabaseError(DatabaseError):
    """The whole transaction may be retried."""


class SchemaDiffers(DatabaseError):
    """A table or column is missing."""


class PermissionRefused(DatabaseError):
    """This login lacks a right (SQLSTATE 42501)."""

    hint = (
        "the owner runs: ebaysync migrate --grants; then GRANT ebaysync_writer TO this login; "
        "what deletes takes the owner's own from EBAYSYNC_ADMIN_DATABASE_URL"
    )


class RowRefused(DatabaseError):
    """PostgreSQL refused a value (SQLSTATE 22…, 23…, 54…): the record is to blame, or its parent row is gone."""

    hint = "was the account removed meanwhile?"


class Waiting:
    """How many seconds the attempts of a transaction may still spend on connecting."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def is_over(self, state: RetryCallState) -> bool:
        return state.attempt_number >= ATTEMPTS or self.left <= 0

    async def connected(self, conninfo: str) -> psycopg.AsyncConnection[Any]:
        """Open a connection. Raises psycopg.Error, TimeoutError."""
        began = time.monotonic()
        try:
            return await connect(conninfo, self.left)
        finally:
            self.left -= time.monotonic() - began


class Database:
    """Connections to one database. `transact` runs a unit of work that may be repeated as a whole."""

    def __init__(self, url: Secret, *, embedded: bool = False, pool_size: int = 5, patience: float = PATIENCE) -> None:
        self.url = url
        self._patience = patience
        self.embedded = embedded
        self.where = "the embedded PostgreSQL" if embedded else place(url.reveal())
        self._conninfo = conninfo(url.reveal())
        self._path = ""
        """the search_path, once it was found"""
        self._slots = asyncio.Semaphore(pool_size)
        self._idle: list[psycopg.AsyncConnection[Any]] = []

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, commit: bool = True) -> T:
        """Run `work` in a transaction and commit (or roll back, for a dry run). Raises DatabaseError, RowRefused.

        It is repeated as a whole when the connection or a lock was lost. Every write in it must be absolute, because
        after a lost COMMIT the work may already be stored.
        """

        async def whole(connection: Connection) -> T:
            result = await work(connection)
            await connection.send("COMMIT" if commit else "ROLLBACK")
            return result

        return await self._attempts(whole, begin=True)

    async def _attempts(self, work: Callable[[Connection], Awaitable[T]], *, begin: bool) -> T:
        waiting = Waiting(self._patience)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TransientDatabaseError),
            wait=wait_random_exponential(multiplier=SHORTEST_WAIT, max=5),
            stop=waiting.is_over,
            reraise=True,
        ):
            with attempt:
                async with self._explained(), self.translated(), self._connected(waiting) as connection:
                    if begin:
                        await connection.send("BEGIN")
                    pinned = await self._pin(connection)
                    found = await work(connection)
                if not self._path:
                    self._path = (await pinned.result()).one().path
                return found  # only when the end of the block has committed it
        raise AssertionError("tenacity re-raises")

    @asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        """Name the grant that is missing, when a right is."""
        try:
            yield
        except PermissionRefused as error:
            with suppress(DatabaseError):
                if grant := await self.missing_grant():
                    error.hint = grant
            raise

    async def missing_grant(self) -> str | None:
        """The command that gives this login the rights of the daily commands; None if it has them, or if nothing is
        migrated. Raises DatabaseError."""
        [row] = await self.rows(_LACKS) or [None]
        if row is None or row.owns:
            return None
        if row.dormant:
            if row.version >= 160_000:  # where each grant says whether it is inherited
                return f"the owner runs: GRANT {row.dormant} TO {row.login} WITH INHERIT TRUE"
            return f"a superuser runs: ALTER ROLE {row.login} INHERIT"
        if row.member is None:
            return f"the owner runs: ebaysync migrate --grants; then: GRANT ebaysync_writer TO {row.login}"
        if not row.member:
            return f"the owner runs: GRANT ebaysync_writer TO {row.login}"
        if row.refused:
            return f"the role ebaysync_writer lacks rights; the owner runs: ebaysync migrate --grants ({row.refused})"
        if row.unlisted:
            return f"a superuser runs: ALTER ROLE {row.login} SET search_path = {row.schema}"
        return None

    async def _pin(self, connection: Connection) -> Sent:
        return await (connection.send(_PIN, {"path": self._path}) if self._path else connection.send(_FIND))

    @asynccontextmanager
    async def _connected(self, waiting: Waiting) -> AsyncIterator[Connection]:
        """A connection of the pool. At the end of the block everything has been sent and answered."""
        async with self._slots:
            pg = await self._open(waiting)
            try:
                async with Connection(pg) as connection:
                    yield connection
            except BaseException:
                await pg.close()
                raise
            self._idle.append(pg)

    async def _open(self, waiting: Waiting) -> psycopg.AsyncConnection[Any]:
        while self._idle:
            pg = self._idle.pop()
            with suppress(psycopg.Error):
                # Without a round trip: the first call reads the server's last words, the second notices that it closed.
                pg.pgconn.consume_input()
                pg.pgconn.consume_input()
                return pg
            await pg.close()
        # A connection that opens after its waiter was cancelled would stay open until the next garbage collection.
        connecting = asyncio.ensure_future(waiting.connected(self._conninfo))
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            with suppress(psycopg.Error):
                await (await connecting).close()
            raise

    async def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work`, which only reads, without BEGIN and COMMIT. If it waits for nothing and returns what it sent, all
        of that costs one round trip. Raises DatabaseError."""
        return await self._attempts(work, begin=False)

    async def execute(self, statement: Statement, **values: Any) -> int:
        """Run a statement in a transaction of its own; return the number of rows it changed. Raises DatabaseError."""
        return (await self._result(statement, values)).rowcount

    async def rows(self, query: Statement, **values: Any) -> Sequence[Any]:
        """The rows of a query, read in a short transaction of its own. Raises DatabaseError."""
        return (await self._result(query, values)).rows

    async def _result(self, statement: Statement, values: Mapping[str, Any]) -> Result:
        # Taken after the end of the transaction, which one wait brings together with the rows.
        sent = await self._attempts(lambda connection: connection.send(statement, values), begin=False)
        async with self.translated():
            return await sent.result()

    async def way(self) -> tuple[str, bool]:
        """How the connection runs, for people, and whether others in the network can read it. Raises DatabaseError."""
        sent = await self._attempts(lambda connection: connection.send(_TLS), begin=False)
        server = (await sent.result()).one()
        pg = self._idle[-1].pgconn
        if pg.ssl_in_use:  # the server's end may be PgBouncer's own connection
            return f"encrypted ({server.version or 'TLS'})", False
        if pg.host.startswith((b"/", b"@")):
            return "a local socket", False
        here = is_here(pg.hostaddr.decode())
        return f"plain, {'on loopback' if here else 'over the network'}", not here

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Translates the driver's errors into ours. Raises DatabaseError, TransientDatabaseError."""
        try:
            yield
        except psycopg.Error as error:
            raise self._ours(error) from None
        except OSError as error:
            raise TransientDatabaseError(f"{self.where}: no connection ({type(error).__name__})") from None

    def _ours(self, error: BaseException | None) -> Exception:
        state = getattr(error, "sqlstate", None) or ""
        kind = type(error).__name__
        if isinstance(error, pg.UndefinedTable | pg.UndefinedColumn | pg.InvalidSchemaName):
            missing = error.diag.message_primary or "something is missing"
            return SchemaDiffers(f"{self.where}: the schema is not as expected: {missing} ({state})", hint=_DIFFERS)
        if state[:2] in ("22", "23", "54"):
            diag = error.diag if isinstance(error, psycopg.Error) else None
            at = ".".join(x for x in (diag and diag.table_name, diag and diag.column_name) if x)
            constraint = diag.constraint_name if diag else None
            return RowRefused(" ".join(x for x in (kind, state, at, constraint) if x))
        if isinstance(error, UnicodeEncodeError | psycopg.DataError):
            return RowRefused(kind)
        if not state and isinstance(error, psycopg.OperationalError):
            state, refused = _state_of_refusal(str(error)), _without_tls(self.where, str(error))
            if refused:
                return refused
        if not state and isinstance(error, psycopg.OperationalError):
            hint = "it went down; run the command again" if self.embedded else _REACH
            return TransientDatabaseError(f"{self.where} cannot be reached", hint=hint)
        message = f"{self.where}: {kind} ({state or 'no SQLSTATE'})"
        if state.startswith(_RETRIED):
            return TransientDatabaseError(message, hint="ask again; see the server's log if it stays")
        if state == "3D000":
            return DatabaseError(
                f"{self.where}: the database does not exist",
                hint="createdb, or correct EBAYSYNC_DATABASE_URL",
            )
        if state.startswith("28"):
            return DatabaseError(
                f"{self.where}: the login was refused ({state})",
                hint="check user and password in EBAYSYNC_DATABASE_URL",
            )
        if state == "42501":
            return PermissionRefused(f"{self.where}: permission denied ({state})")
        return DatabaseError(message, hint="see the server's log")


_TLS = "SELECT (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS version"
_LACKS = Template("""
SELECT quote_ident(current_user) AS login, CAST(current_setting('server_version_num') AS integer) AS version,
    quote_ident(n.nspname) AS schema, n.nspname IS DISTINCT FROM current_schema() AS unlisted,
    pg_has_role(c.relowner, 'USAGE') AS owns,
    (SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = 'ebaysync_writer') AS member,
    (SELECT min(rolname) FROM pg_roles WHERE rolname IN ('ebaysync_owner', 'ebaysync_writer')
        AND pg_has_role(oid, 'MEMBER') AND NOT pg_has_role(oid, 'USAGE')) AS dormant,
    (SELECT CASE WHEN has_schema_privilege(n.oid, 'USAGE') THEN $refused ELSE 'schema ' || quote_ident(n.nspname) END)
        AS refused
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
WHERE c.relname = 'ebaysync_schema' AND c.relkind = 'r' AND $trusted
ORDER BY unlisted LIMIT 1
""").substitute(refused=REFUSED, trusted=TRUSTED)


def each(name: str, kind: type[TypeEngine[Any]], values: Sequence[Any]) -> TableValuedAlias:
    """A list as a table of that name with one column, `value`."""
    return listed(name, value=(kind, values))


def listed(name: str, **columns: tuple[type[TypeEngine[Any]], Sequence[Any]]) -> TableValuedAlias:
    """Lists of equal length as a table of that name with a column for each."""
    lists = [cast(list(values), ARRAY(kind)) for kind, values in columns.values()]
    return func.unnest(*lists).table_valued(*columns, name=name).render_derived()


_DIFFERS = "run: ebaysync migrate; if nothing is to be migrated, a family's declaration and its SQL file differ"
_REACH = "is the server running, and are host, port, user and database in EBAYSYNC_DATABASE_URL right?"


# libpq does not expose the SQLSTATE of a refused connection. Only these words of its text are looked at.
_REFUSALS = (
    ("28P01", "authentication failed"),
    ("28P01", "no password supplied"),
    ("28000", "pg_hba.conf"),
    ("28000", 'role "'),
    ("3D000", "no such database"),  # PgBouncer
    ("3D000", "does not exist"),
    ("53300", "too many clients"),
    ("53300", "connection slots"),
    # German servers; what others say in their language is retried like an unknown error
    ("28P01", "-Authentifizierung "),
    ("28000", "Rolle »"),
    ("3D000", "Datenbank »"),
    ("53300", "zu viele Verbindungen"),
    ("53300", "Verbindungen sind"),
    ("57P03", "Datenbanksystem"),
)


def _without_tls(where: str, said: str) -> DatabaseError | None:
    """The error of a connection that was given up because TLS is missing or its certificate is wrong. These are libpq's
    own texts, which no server translates."""
    if "does not support SSL" in said:
        hint = "turn on ssl there; if the network between is trusted, add ?sslmode=disable to EBAYSYNC_DATABASE_URL"
        return DatabaseError(f"{where}: the server offers no TLS, which would protect the password", hint=hint)
    if "certificate" in said and "pg_hba.conf" not in said:
        hint = (
            "name its root certificate with sslrootcert in EBAYSYNC_DATABASE_URL, and the host as the certificate does"
        )
        return DatabaseError(f"{where}: the server's TLS certificate is not accepted", hint=hint)
    return None


def _state_of_refusal(said: str) -> str:
    """The SQLSTATE of a connection that was refused for good; empty if unknown, so that a retry may help."""
    lines = [line for line in said.splitlines() if "FATAL" in line or "no password supplied" in line]
    return next((state for state, words in _REFUSALS if any(words in line for line in lines)), "")


@asynccontextmanager
async def opened(url: Secret | None, home: Path) -> AsyncIterator[Database]:
    """The configured database, or the embedded PostgreSQL in `home`. Raises ConfigError, DatabaseError."""
    with ExitStack() as server:
        if url is None:
            from ebaysync.store.embedded import server as embedded  # the extra may not be installed

            found = await asyncio.to_thread(server.enter_context, embedded.attached(home))
            db = Database(Secret(found), embedded=True)
        else:
            db = Database(url)
        try:
            yield db
        finally:
            await db.close()
