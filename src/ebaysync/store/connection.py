"""A transaction's connection. It sends statements without waiting for each one's answer (psycopg's pipeline mode).

Each wait for PostgreSQL costs one round trip, which may be 20 ms. `send` does not wait; `execute` waits for everything
that was sent up to it. So a transaction costs one round trip for each answer that its code needs, and one for the end.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import TracebackType
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import namedtuple_row, tuple_row
from psycopg.types.datetime import DateLoader, IntervalLoader, TimestampLoader, TimestamptzLoader
from psycopg.types.json import JsonbDumper
from psycopg.types.string import BytesBinaryDumper, BytesDumper
from sqlalchemy import Executable, text
from sqlalchemy.dialects.postgresql import psycopg as dialects
from sqlalchemy.engine import Compiled
from sqlalchemy.sql import ClauseElement
from sqlalchemy.util import LRUCache

from ebaysync.store.statements import Composed, Made

Statement = str | Executable | Composed | Made
"""SQL as text with :names, a statement of SQLAlchemy's, or SQL composed from names with %(names)s."""

JSONB, JSONB_ARRAY = 3802, 3807  # OIDs, the same on every server
LONGEST_COMMIT = 60.0  # seconds; nothing else would end a wait for a peer that is alive and silent

Values = Mapping[str, Any] | Sequence[Any] | None
"""Values by their names; those of %s in composed SQL in order."""

_COMPILED: LRUCache[Any, tuple[bytes, Compiled]] = LRUCache(500)
_DIALECT = dialects.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Result:
    """The rows that a statement returned, and how many it found or changed."""

    rows: Sequence[Any]
    rowcount: int

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def one(self) -> Any:
        """The only row."""
        [row] = self.rows
        return row

    def one_or_none(self) -> Any | None:
        """The only row; None if there is none."""
        return self.one() if self.rows else None

    def scalar(self) -> Any | None:
        """The first value of the only row; None if there is none."""
        return self.one()[0] if self.rows else None


class Sent:
    """A statement that was sent. Its result can also be had after the end of the transaction."""

    def __init__(self, cursor: psycopg.AsyncCursor[Any]) -> None:
        self._cursor = cursor

    async def result(self) -> Result:
        """Wait for everything that was sent up to it. After the end of the transaction there is nothing to wait for.
        Raises psycopg.Error."""
        rows: Sequence[Any] = ()
        try:
            rows = await self._cursor.fetchall()
        except psycopg.ProgrammingError:
            if self._cursor.pgresult is None or self._cursor.description is not None:
                raise
        return Result(rows, self._cursor.rowcount)


class Connection:
    """A transaction that is open until `work` of Database.transact ends. Its methods raise psycopg.Error."""

    def __init__(self, pg: psycopg.AsyncConnection[Any]) -> None:
        self._pg = pg
        self._stack = AsyncExitStack()
        self._pipeline: psycopg.AsyncPipeline

    async def send(self, statement: Statement, values: Values = None) -> Sent:
        """Send a statement without waiting for its end. Its error is raised by a later wait, at the latest at the
        transaction's end."""
        query, given = compiled(statement, values)
        cursor = self._pg.cursor(row_factory=tuple_row if isinstance(statement, Composed | Made) else namedtuple_row)
        return Sent(await cursor.execute(query, given))

    async def execute(self, statement: Statement, values: Values = None) -> Result:
        """Send a statement and wait for its result."""
        return await (await self.send(statement, values)).result()

    async def scalar(self, statement: Statement, values: Values = None) -> Any | None:
        """The first value of the only row; None if there is none."""
        return (await self.execute(statement, values)).scalar()

    async def script(self, statements: str) -> None:
        """Run several statements of a file, which pipeline mode cannot."""
        await self._stack.aclose()
        await self._pg.execute(statements.encode())
        await self.__aenter__()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Roll back what the block wrote if it raises. The transaction can go on."""
        await self.send("SAVEPOINT block")
        try:
            yield
            await self.execute("RELEASE block")
        except psycopg.Error:
            with suppress(psycopg.Error):
                await self._pipeline.sync()  # PostgreSQL skips everything between an error and this
            await self.send("ROLLBACK TO block")
            raise

    async def __aenter__(self) -> Connection:
        self._pipeline = await self._stack.enter_async_context(self._pg.pipeline())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for everything that was sent. After an error, close the connection: it has no state to rely on."""
        if error is not None:
            await self._pg.close()
        async with asyncio.timeout(LONGEST_COMMIT):
            await self._stack.__aexit__(kind, error, trace)


def compiled(statement: Statement, values: Values) -> tuple[Any, Values]:
    """A statement as psycopg takes it, and its values."""
    if isinstance(statement, Composed | Made):
        return statement, values or {}
    own = None  # the values within the statement
    if isinstance(statement, str):
        query, made = _text(statement)
    else:
        assert isinstance(statement, ClauseElement)
        # As SQLAlchemy's own engine does: statements of the same form differ in their values alone.
        if (key := statement._generate_cache_key()) is None:  # an INSERT of several rows
            query, made = _compiled(statement)
        else:
            if key.key not in _COMPILED:
                _COMPILED[key.key] = _compiled(statement, cache_key=key)
            (query, made), own = _COMPILED[key.key], key.bindparams
    return query, made.construct_params(dict(values or {}), extracted_parameters=own) or {}


@cache
def _text(statement: str) -> tuple[bytes, Compiled]:
    return _compiled(text(statement))


def _compiled(statement: ClauseElement, **options: Any) -> tuple[bytes, Compiled]:
    made = statement.compile(dialect=_DIALECT, **options)
    return str(made).encode(), made


class Documents:
    """JSON documents as one value, an array of jsonb, each as its bytes."""

    def __init__(self, documents: Iterable[Buffer]) -> None:
        self.documents = list(documents)


class _DocumentsDumper(Dumper):
    format = Format.BINARY
    oid = JSONB_ARRAY

    def dump(self, obj: Documents) -> bytes:
        # PostgreSQL's array_recv: dimensions, whether there are NULLs, the elements' type, their number, the first
        # index; then each element's length and bytes. jsonb_recv: a version, and the text.
        parts: list[Buffer] = [struct.pack("!iiIii", 1, 0, JSONB, len(obj.documents), 1)]
        for document in obj.documents:
            parts += (struct.pack("!ib", memoryview(document).nbytes + 1, 1), document)
        return b"".join(parts)


class _BytesDumper(BytesDumper):
    """For lists. libpq would double the backslash where the server's own standard_conforming_strings is off, and other
    bytes would be stored."""

    def dump(self, obj: Buffer) -> bytes:
        return b"\\x" + bytes(obj).hex().encode()


class _Pinned:
    """Reads what a session sends whose DateStyle, IntervalStyle and TimeZone are ours (PINNED in store/database).

    psycopg's loaders ask the connection for them. It knows only those that hold between two transactions, and they are
    the server's.
    """

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, None)  # type: ignore[call-arg]


class _Timestamptz(_Pinned, TimestamptzLoader):
    pass


class _Timestamp(_Pinned, TimestampLoader):
    pass


class _Date(_Pinned, DateLoader):
    pass


class _Interval(_Pinned, IntervalLoader):
    def load(self, data: Buffer) -> timedelta:
        return self._load_postgres(self, data)


_LOADERS: dict[str, Any] = {"timestamptz": _Timestamptz, "timestamp": _Timestamp, "date": _Date, "interval": _Interval}


async def connect(conninfo: str, seconds: float) -> psycopg.AsyncConnection[Any]:
    """Open a connection, to whichever of its addresses answers. Raises psycopg.Error, and TimeoutError if none does
    within `seconds`."""
    async with asyncio.timeout(seconds):
        pg = await psycopg.AsyncConnection.connect(
            conninfo,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=6,  # for each address
            application_name="ebaysync",
            # A text that does not ask for anything is decoded before the first statement can pin the encoding.
            client_encoding="UTF8",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=8000,
        )
    adapt(pg)
    return pg


def adapt(pg: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> None:
    """Let a connection take and give the values of our statements."""
    for name, loader in _LOADERS.items():
        pg.adapters.register_loader(name, loader)
    pg.adapters.register_dumper(dict, JsonbDumper)
    pg.adapters.register_dumper(bytes, _BytesDumper)
    pg.adapters.register_dumper(bytes, BytesBinaryDumper)
    pg.adapters.register_dumper(Documents, _DocumentsDumper)
