"""The connection to PostgreSQL: a pool, transactions with retry, and one place that translates its errors.

PostgreSQL's own texts are not passed on: DETAIL and CONTEXT quote rows, and a connection error may quote a part of the
URL. Messages have SQLSTATE, table, column, constraint and host instead. The one exception is the primary message of a
missing table or column, which quotes only its name.

It works behind PgBouncer in transaction mode: no prepared statements, no session state; timeouts are set with SET LOCAL
in each transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import ARRAY, MetaData, TableValuedAlias, cast, func
from sqlalchemy.types import TypeEngine
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ebaysync.errors import ConfigError, DatabaseError
from ebaysync.log import Secret
from ebaysync.store.connection import Connection, Result, Statement, connect

OLDEST = 14
CONTROL = MetaData()
"""The control tables. Each is declared in the module that owns it."""
T = TypeVar("T")
log = logging.getLogger(__name__)

# For the transaction alone, because behind PgBouncer the connection is not ours afterwards.
_LIMITS = """
SELECT set_config('lock_timeout', '10s', true) || set_config('statement_timeout', '5min', true)
    || set_config('TimeZone', 'UTC', true)
    -- longer than the deadline of a token request
    || set_config('idle_in_transaction_session_timeout', '90s', true)
    -- otherwise the server's log may quote rows and tokens
    || set_config('log_parameter_max_length_on_error', '0', true)
"""

# A retry can help: serialization, deadlock, lock not available, shutdown and start-up, lost connection, too many
# connections, a full disk.
_RETRIED = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "08", "53")


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


class Database:
    """Connections to one database. `transact` runs a unit of work that may be repeated as a whole."""

    def __init__(self, url: Secret, *, embedded: bool = False, pool_size: int = 5) -> None:
        self.url = url
        self.embedded = embedded
        self.where = "the embedded PostgreSQL" if embedded else _place(url.reveal())
        self._conninfo = _conninfo(url.reveal())
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
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TransientDatabaseError),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            stop=stop_after_attempt(5),
            reraise=True,
        ):
            with attempt:
                async with self.translated(), self._connected() as connection:
                    if begin:
                        await connection.send("BEGIN")
                    await connection.send(_LIMITS)
                    found = await work(connection)
                return found  # noqa: RET504 - only when the end of the block has committed it
        raise AssertionError("tenacity re-raises")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        """A connection of the pool. At the end of the block everything has been sent and answered."""
        async with self._slots:
            pg = await self._open()
            try:
                async with Connection(pg) as connection:
                    yield connection
            except BaseException:
                await pg.close()
                raise
            self._idle.append(pg)

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        while self._idle:
            pg = self._idle.pop()
            with suppress(psycopg.Error):
                # Without a round trip: the first call reads the server's last words, the second notices that it closed.
                pg.pgconn.consume_input()
                pg.pgconn.consume_input()
                return pg
            await pg.close()
        # A connection that opens after its waiter was cancelled would stay open until the next garbage collection.
        connecting = asyncio.ensure_future(connect(self._conninfo))
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
            state = _state_of_refusal(str(error))
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
)


def _state_of_refusal(said: str) -> str:
    """The SQLSTATE of a connection that was refused for good; empty if unknown, so that a retry may help."""
    lines = [line for line in said.splitlines() if "FATAL" in line or "no password supplied" in line]
    return next((state for state, words in _REFUSALS if any(words in line for line in lines)), "")


def _conninfo(url: str) -> str:
    """The URL as libpq takes it. Raises ConfigError."""
    conninfo = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:  # its text quotes the URL
        raise ConfigError(
            "EBAYSYNC_DATABASE_URL: its value is not a URL that libpq accepts",
            hint="in user and password write % as %25, @ as %40, / as %2F, : as %3A",
        ) from None
    return conninfo


def _place(url: str) -> str:
    """Host, port and database of a URL, without user and password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "local socket"
        return f"PostgreSQL at {host}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "PostgreSQL"


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
