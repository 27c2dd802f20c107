"""Erases people from stored data, without events or new versions.

It needs the owner's rights.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from ebaysync.store import statements
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database
from ebaysync.store.statements import Composed
from ebaysync.store.table import TEXT, Row, Table

BATCH = 200


@dataclass(frozen=True)
class Mention:
    """A row that contains a name: its account, key, raw_payload, and the columns that do not come from raw_payload."""

    account_id: UUID
    key: Mapping[str, Any]
    raw: bytes
    kept: Mapping[str, Any]


async def mentioning(db: Database, table: Table, names: Collection[str]) -> AsyncIterator[list[Mention]]:
    """Yields batches of rows that contain one of the names, also as part of a word."""
    kept = [column.name for column in table.columns if column.kept]
    width = 2 + len(table.key)  # account, payload, key; then the kept columns
    after: tuple[Any, ...] | None = None
    while True:
        query = statements.mentioning(table, kept, BATCH, is_first=not after)

        async def read(
            connection: Connection, query: Composed = query, after: tuple[Any, ...] = after or ()
        ) -> Sequence[tuple[Any, ...]]:
            return (await connection.execute(query, ([_like(name) for name in names], *after))).rows

        rows = await db.transact(read)
        if not rows:
            return
        after = (rows[-1][0], *rows[-1][2:width])
        yield [
            Mention(
                row[0],
                dict(zip(table.key, row[2:width], strict=True)),
                (row[1] or "null").encode(),
                dict(zip(kept, row[width:], strict=True)),
            )
            for row in rows
        ]


async def rewrite(connection: Connection, table: Table, account_id: UUID, rows: Sequence[Row]) -> int:
    """Overwrite all columns of known rows without an event; return the number of rows found."""
    values = {"account": account_id, "rows": msgspec.json.encode(list(rows)).decode()}
    return (await connection.execute(statements.rewrite(table), values)).rowcount


async def erase_emptied(
    db: Database,
    table: Table,
    names: Collection[str],
    columns: Sequence[str],
    naming: Sequence[str],
    erased: str,
) -> list[tuple[UUID, str]]:
    """In rows without a payload (store/age) with a name in one of the columns `naming`, put `erased` into all `columns`
    that do not hold a seller of ours. Returns account and key of each."""
    query = statements.erase_emptied(table, columns, naming)
    values = {"names": [name.lower() for name in names], "erased": erased}

    async def work(connection: Connection) -> list[tuple[UUID, str]]:
        return [(row[0], row[1]) for row in await connection.execute(query, values)]

    return await db.transact(work)


async def erase_columns(
    db: Database,
    table: Table,
    columns: Sequence[str],
    naming: Sequence[str],
    names: Collection[str],
    erased: str,
) -> int:
    """In rows whose raw_payload was pruned, erase personal data if one of the columns `naming` is one of the names."""
    own = {column.name for column in table.columns if column.type == TEXT and column.name not in table.key}
    some = [name for name in columns if name in own]
    naming = [name for name in some if name in naming]
    if not naming:
        return 0
    query = statements.erase_columns(table, some, naming, erased)

    async def work(connection: Connection) -> int:
        return (await connection.execute(query, {"names": [name.lower() for name in names]})).rowcount

    return await db.transact(work)


async def columns_of_text(db: Database) -> list[tuple[str, str, str]]:
    """Table, column and type of everything that could contain a name: text, jsonb, text[], bytea."""
    rows = await db.rows(_COLUMNS)
    return [(row.relname, row.attname, row.kind) for row in rows]


_COLUMNS = """
SELECT c.relname, a.attname, a.atttypid::regtype::text AS kind
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
    AND (c.relname LIKE 'ebay\\_%' OR c.relname = 'order_line_items')
    AND a.atttypid IN ('text'::regtype, 'jsonb'::regtype)
    AND a.attname NOT IN ('id', 'name') AND c.relname <> 'ebay_accounts'
    AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY(i.indkey))
ORDER BY 1, 2
"""


async def occurring(db: Database, found_in: Callable[[bytes, bool], set[str]]) -> set[str]:
    """Everything that `found_in(value, is_json)` finds in all columns that could contain a name, quarantine included.

    One pass, each table as of one moment.
    """
    columns: dict[str, list[tuple[str, bool]]] = {"ebay_quarantine": [("payload", False)]}
    for table, column, kind in await columns_of_text(db):
        columns.setdefault(table, []).append((column, kind == "jsonb"))
    found: set[str] = set()
    for table, names in columns.items():
        query = statements.occurring(table, [name for name, _ in names])

        async def walk(connection: Connection, query: Composed = query, names: list[tuple[str, bool]] = names) -> None:
            await connection.send(query)
            while rows := (await connection.execute(f"FETCH {BATCH} FROM occurring")).rows:
                for row in rows:
                    for value, (_, json) in zip(row, names, strict=True):
                        if value:
                            found.update(found_in(value if isinstance(value, bytes) else value.encode(), json))

        await db.transact(walk)
    return found


async def replace(
    db: Database, table: str, column: str, kind: str, names: Collection[str], changed: Callable[[str], str]
) -> int:
    """Replace each value of a column in which a name occurs with the result of `changed` (jsonb as text); return their
    number."""
    find, put = statements.found_values(table, column), statements.replace(table, column, kind)

    async def work(connection: Connection) -> int:
        count = 0
        for place, value in await connection.execute(find, ([_like(name) for name in names],)):
            if (new := changed(value)) != value:
                await connection.send(put, (new, place))
                count += 1
        return count

    return await db.transact(work)


async def drop_quarantined(db: Database, mentions: Callable[[bytes], bool]) -> int:
    """Delete quarantined records that mention somebody: their bytes cannot be cleaned with certainty."""

    async def work(connection: Connection) -> int:
        count, after = 0, 0
        query = "SELECT id, payload FROM ebay_quarantine WHERE id > :after ORDER BY id LIMIT 100"
        while rows := (await connection.execute(query, {"after": after})).rows:
            after = rows[-1][0]
            gone = [number for number, payload in rows if mentions(bytes(payload))]
            if gone:
                await connection.send("DELETE FROM ebay_quarantine WHERE id = ANY(:ids)", {"ids": gone})
                count += len(gone)
        return count

    return await db.transact(work)


def _like(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
