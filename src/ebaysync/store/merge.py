"""Hop 5: rows into their table, and what changed into `ebay_events`. The only module that composes SQL from names.

One statement per table and batch: the rows travel as one JSON parameter (`raw_payload` as eBay's own bytes), what
is unchanged is dropped, the rest is upserted in the order of the key (so that two writers cannot deadlock), and
the statement's answer is the old and new version of each row that was touched: old, because the outer SELECT of a
data-modifying CTE sees the table as it was before. Unlike a temporary stage table this leaves no dead rows in the
catalogue, which a timer firing for years would pile up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.store.database import driver
from ebaysync.store.table import Row, Table

_decode = msgspec.json.Decoder(float_hook=Decimal).decode  # amounts keep their digits in the events
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class Merged:
    """Keys of the rows that are new, that have changed, and that are stored in a newer version."""

    inserted: frozenset[tuple[str, ...]]
    updated: frozenset[tuple[str, ...]]
    stale: frozenset[tuple[str, ...]] = frozenset()

    @property
    def touched(self) -> frozenset[tuple[str, ...]]:
        return self.inserted | self.updated


async def merge(
    connection: AsyncConnection,
    table: Table,
    account_id: UUID,
    rows: Sequence[Row],
    *,
    family: str,
    run_id: UUID | None,
) -> Merged:
    """Store rows of one account inside the caller's transaction; changes of known rows become events.

    Where a key comes twice, the newest version wins, then the later row. Raises RowRefused through the
    transaction's seam when PostgreSQL refuses a value.
    """
    rows = _newest(table, rows)
    if not rows:
        return Merged(frozenset(), frozenset())
    pg = await driver(connection)
    document = msgspec.json.encode(rows).decode()
    cursor = await pg.execute(_statement(table), {"account": account_id, "rows": document})
    inserted, updated, stale, events = set(), set(), set(), []
    for key, was_inserted, old, new in await cursor.fetchall():
        if was_inserted is None:
            stale.add(tuple(key))
            continue
        if was_inserted:
            inserted.add(tuple(key))
            continue
        updated.add(tuple(key))
        if change := changes(table, _decode(old or "{}"), _decode(new)):
            events.append((tuple(key), change))
    if events:
        async with pg.cursor() as writing:
            await writing.executemany(
                "INSERT INTO ebay_events (ebay_account_id, api_family, table_name, entity_key, event, changes, run_id)"
                " VALUES (%s, %s, %s, %s, 'changed', %s, %s)",
                [
                    (account_id, family, table.name, "/".join(key), Jsonb(change, _encode), run_id)
                    for key, change in events
                ],
            )
    return Merged(frozenset(inserted), frozenset(updated), frozenset(stale))


def changes(table: Table, old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    """{field: [old, new]} of two versions of a row: the typed columns, and of raw_payload those top-level fields
    that neither a column nor a table of their own stands for."""
    found = {name: [old.get(name), new[name]] for name in new if name != "raw_payload" and old.get(name) != new[name]}
    before, after = old.get("raw_payload") or {}, new["raw_payload"]
    columns = {name.replace("_", "") for name in new} | {name.lower() for name in table.elsewhere}
    for name in {**before, **after}:
        if before.get(name) != after.get(name) and name.replace("_", "").lower() not in columns:
            found[name] = [before.get(name), after.get(name)]
    return found


async def stored(connection: AsyncConnection, table: Table, account_id: UUID, keys: Sequence[str]) -> dict[str, bytes]:
    """The stored raw_payload of rows by key (of tables with a one-column key), as JSON text."""
    pg = await driver(connection)
    query = sql.SQL(
        "SELECT {key}, raw_payload::text FROM {table} WHERE ebay_account_id = %s AND {key} = ANY(%s)"
    ).format(key=sql.Identifier(table.key[0]), table=sql.Identifier(table.name))
    found = await (await pg.execute(query, (account_id, list(keys)))).fetchall()
    return {key: payload.encode() for key, payload in found}


def _newest(table: Table, rows: Sequence[Row]) -> list[Row]:
    kept: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        known = kept.get(table.key_of(row))
        if known is None or table.version is None or row[table.version] >= known[table.version]:
            kept[table.key_of(row)] = row
    return list(kept.values())


@cache
def _statement(table: Table) -> sql.Composed:
    names = [column.name for column in table.columns] + ["raw_payload"]
    types = {column.name: column.type for column in table.columns} | {"raw_payload": "jsonb"}
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    key = sql.SQL(", ").join(map(sql.Identifier, table.key))
    written = [name for name in names if name not in table.key]
    return sql.SQL(
        """
        WITH s AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s::json) AS x ({record})),
        touched AS (
            INSERT INTO {table} AS t (ebay_account_id, {columns})
            SELECT %(account)s, {columns} FROM s ORDER BY {key}
            ON CONFLICT (ebay_account_id, {key}) DO UPDATE SET {assignments}, updated_at = clock_timestamp()
            WHERE ({ours}) IS DISTINCT FROM ({theirs}) {guard}
            RETURNING {key}, (xmax = 0) AS inserted)
        SELECT ARRAY[{key_text}], touched.inserted, to_jsonb(o)::text, to_jsonb(s)::text
        FROM s LEFT JOIN touched USING ({key})
        LEFT JOIN {table} o ON o.ebay_account_id = %(account)s AND ({old_key}) = ({s_key})
        WHERE touched.inserted IS NOT NULL OR {stale}
        """
    ).format(
        record=sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(types[n])) for n in names),
        table=sql.Identifier(table.name),
        columns=columns,
        key=key,
        assignments=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in written),
        ours=_compared("t", written, table),
        theirs=_compared("excluded", written, table),
        guard=sql.SQL("AND (t.{0} IS NULL OR excluded.{0} >= t.{0})").format(sql.Identifier(table.version))
        if table.version
        else sql.SQL(""),
        stale=sql.SQL("s.{0} < o.{0}").format(sql.Identifier(table.version)) if table.version else sql.SQL("false"),
        key_text=sql.SQL(", ").join(sql.SQL("s.{}::text").format(sql.Identifier(name)) for name in table.key),
        old_key=sql.SQL(", ").join(sql.SQL("o.{}").format(sql.Identifier(name)) for name in table.key),
        s_key=sql.SQL(", ").join(sql.SQL("s.{}").format(sql.Identifier(name)) for name in table.key),
    )


def _compared(alias: str, names: Sequence[str], table: Table) -> sql.Composed:
    """The columns whose change counts, with the paths that move by themselves taken out of raw_payload."""
    parts: list[sql.Composable] = []
    for name in names:
        part: sql.Composable = sql.SQL("{}.{}").format(sql.Identifier(alias), sql.Identifier(name))
        if name == "raw_payload":
            for path in table.volatile:
                part = sql.SQL("{} #- {}").format(part, sql.Literal("{" + ",".join(path) + "}"))
        parts.append(part)
    return sql.SQL(", ").join(parts)
