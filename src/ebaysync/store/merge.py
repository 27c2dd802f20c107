"""Hop 5: merges rows into their table, and writes changes to `ebay_events`.

One statement per table and batch. The rows travel as one JSON parameter (`raw_payload` as eBay's own bytes). Unchanged
rows are dropped; the others are upserted in the order of their keys, so that two writers cannot deadlock. The statement
returns the old and the new version of each changed row: the outer SELECT of a data-modifying CTE sees the table as it
was before. A temporary table instead would leave dead rows in the catalogue at every run.

A row whose raw_payload was removed (JSON null, see store/age) is compared by its typed columns alone. Values that do
not come now, or come masked, stay, because the payload they came from is gone. A row whose personal data was
erased (store/age) stays without it, whatever comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection as Pg
from psycopg import sql

from ebaysync.store.connection import Connection
from ebaysync.store.database import RowRefused, driver
from ebaysync.store.payload import without_nulls
from ebaysync.store.table import Column, Row, Stored, Table

_decode = msgspec.json.Decoder(float_hook=Decimal).decode  # amounts keep their digits in the events
_encode = msgspec.json.Encoder(decimal_format="number").encode

STATEMENT_BYTES = 4 * 2**20  # bytes of rows per statement, roughly; they are in memory several times

TWIN = "#"  # before the suffix in the key of a twin (Table.twins)

Key = tuple[str, ...]


@dataclass(frozen=True)
class Writer:
    """Account and run whose rows are written. The caller's transaction is open on the connection."""

    connection: Connection
    account_id: UUID
    family: str
    run_id: UUID | None


@dataclass(frozen=True)
class Merged:
    """Keys of rows that are new, that have changed, and that are stored in a newer version."""

    inserted: frozenset[Key] = frozenset()
    updated: frozenset[Key] = frozenset()
    stale: frozenset[Key] = frozenset()

    @property
    def touched(self) -> frozenset[Key]:
        return self.inserted | self.updated


async def merge(writer: Writer, table: Table, rows: Sequence[Row]) -> Merged:
    """Store rows. Changes of known rows become events; a removed row that comes again has returned.

    If a key comes twice, the newest version wins, then the later row. Raises RowRefused if PostgreSQL refuses a value.
    """
    inserted: set[Key] = set()
    updated: set[Key] = set()
    stale: set[Key] = set()
    pg = await driver(writer.connection)
    for portion in _portions(_newest(table, rows)):
        values = {"account": writer.account_id, "rows": msgspec.json.encode(portion).decode()}
        if table.stand_in:
            await pg.execute(_naming(table), values)
        cursor = await pg.execute(_statement(table), values)
        events: list[tuple[Key, str, dict[str, Any]]] = []
        for found, was_inserted, old, new in await cursor.fetchall():
            key = tuple(found)
            if was_inserted is None:
                stale.add(key)
            elif was_inserted:
                inserted.add(key)
            else:
                updated.add(key)
                events += _changed(table, key, old, new)
        await _write_events(pg, writer, table, events)
    return Merged(frozenset(inserted), frozenset(updated), frozenset(stale))


async def merge_parts(writer: Writer, table: Table, parents: Iterable[Sequence[str]], rows: Sequence[Row]) -> None:
    """Store the children of some records. Children that a record no longer has are marked as removed."""
    await merge(writer, table, rows)
    if table.removable:
        await remove_parts(writer, table, parents, keep=[table.text_key(row) for row in rows])


async def remove(writer: Writer, table: Table, keys: Iterable[Key], parts: Iterable[Table] = ()) -> int:
    """Mark records and their children as removed; return how many records were not removed yet."""
    keys = list(keys)
    for part in parts:
        await remove_parts(writer, part, keys)
    return await _mark(writer, table, _removal(table, table.key), keys, [])


async def remove_parts(
    writer: Writer, table: Table, parents: Iterable[Sequence[str]], keep: Iterable[Key] = ()
) -> None:
    """Mark the children of these records as removed, except those to keep."""
    await _mark(writer, table, _removal(table, table.parent_key), parents, keep)


async def _mark(
    writer: Writer, table: Table, statement: sql.Composed, keys: Iterable[Sequence[str]], keep: Iterable[Key]
) -> int:
    pg = await driver(writer.connection)
    values = {
        "account": writer.account_id,
        "keys": msgspec.json.encode([list(key) for key in keys]).decode(),
        "keep": msgspec.json.encode([list(key) for key in keep]).decode(),
    }
    gone: list[Key] = [tuple(key) for (key,) in await (await pg.execute(statement, values)).fetchall()]
    await _write_events(pg, writer, table, [(key, "removed", {}) for key in gone])
    return len(gone)


async def _write_events(
    pg: Pg[Any], writer: Writer, table: Table, events: Sequence[tuple[Key, str, dict[str, Any]]]
) -> None:
    if not events:
        return
    rows = [{"key": "/".join(key), "event": event, "changes": changed} for key, event, changed in events]
    await pg.execute(
        "INSERT INTO ebay_events (ebay_account_id, api_family, table_name, entity_key, event, changes, run_id)"
        " SELECT %s, %s, %s, x.key, x.event, x.changes, %s"
        " FROM json_to_recordset(%s::json) AS x (key text, event text, changes jsonb)",
        (writer.account_id, writer.family, table.name, writer.run_id, _encode(rows).decode()),
    )


def _changed(table: Table, key: Key, old: str | None, new: str) -> list[tuple[Key, str, dict[str, Any]]]:
    """The events of a row. Raises RowRefused."""
    try:
        found = list(_told(table, key, _decode(old or "{}"), _decode(new)))
        _encode(found)
    except RecursionError:  # PostgreSQL's stack is deeper than Python's
        raise RowRefused(f"{table.name}: nested too deeply to be compared") from None
    return found


def _told(
    table: Table, key: Key, old: dict[str, Any], new: dict[str, Any]
) -> Iterator[tuple[Key, str, dict[str, Any]]]:
    changed = changes(table, old, new)
    if old.get("removed_at"):
        yield key, "returned", changed
    elif changed:
        yield key, "changed", changed


def changes(table: Table, old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    """{field: [old, new]} for two versions of a row.

    It covers the typed columns, and the top-level fields of raw_payload that have neither a column nor a table of their
    own. Volatile values are left out.
    """
    names = [column.name for column in table.columns]
    kept = {column.name for column in table.columns if column.kept}
    found = {
        name: [old.get(name), new[name]]
        for name in names
        if old.get(name) != new[name] and not (name in kept and None in (old.get(name), new[name]))
    }
    if old.get("raw_payload") is None:
        return found
    before, after = steady(table, old["raw_payload"]), steady(table, new["raw_payload"])
    columns = {name.replace("_", "") for name in names} | {name.lower() for name in table.in_own_table}
    for name in {**before, **after}:
        if before.get(name) != after.get(name) and name.replace("_", "").lower() not in columns:
            found[name] = [before.get(name), after.get(name)]
    return found


def steady(table: Table, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload without its volatile values, and without fields that are null."""
    found: Any = payload
    for path in table.volatile:
        found = _without(found, path)
    steady: dict[str, Any] = without_nulls(found)
    return steady


def _without(node: Any, path: Sequence[str]) -> Any:
    if path[0] == "*":
        return [_without(each, path[1:]) for each in node] if isinstance(node, list) else node
    if not isinstance(node, dict) or path[0] not in node:
        return node
    if len(path) == 1:
        return {name: value for name, value in node.items() if name != path[0]}
    return {**node, path[0]: _without(node[path[0]], path[1:])}


async def looked_up(writer: Writer, table: Table, keys: Sequence[Key], columns: Sequence[str]) -> dict[Key, Row]:
    """These columns of the stored rows with these keys."""
    pg = await driver(writer.connection)
    query = sql.SQL(
        "SELECT ARRAY[{key}], {columns} FROM {table} t WHERE t.ebay_account_id = %(account)s"
        " AND ({key}) IN (SELECT {elements} FROM json_array_elements(%(keys)s::json) AS k)"
    ).format(
        key=columns_of("t", table.key),
        columns=columns_of("t", columns),
        table=sql.Identifier(table.name),
        elements=_elements(len(table.key)),
    )
    values = {"account": writer.account_id, "keys": msgspec.json.encode(keys).decode()}
    rows = await (await pg.execute(query, values)).fetchall()
    return {tuple(key): dict(zip(columns, found, strict=True)) for key, *found in rows}


async def stored(connection: Connection, table: Table, account_id: UUID, keys: Sequence[str]) -> dict[str, Stored]:
    """The stored rows by key, for tables with a one-column key. The payload of a pruned row is `{}`."""
    pg = await driver(connection)
    kept = [sql.SQL("{} IS NOT NULL").format(sql.Identifier(column.name)) for column in table.columns if column.kept]
    query = sql.SQL(
        "SELECT {key}, CASE WHEN jsonb_typeof(raw_payload) = 'null' THEN '{{}}' ELSE raw_payload::text END, {kept}"
        " FROM {table} WHERE ebay_account_id = %s AND {key} = ANY(%s)"
    ).format(
        key=sql.Identifier(table.key[0]),
        kept=sql.SQL(" OR ").join(kept) if kept else sql.SQL("false"),
        table=sql.Identifier(table.name),
    )
    found = await (await pg.execute(query, (account_id, list(keys)))).fetchall()
    return {key: Stored(payload.encode(), has_kept) for key, payload, has_kept in found}


async def unfinished(
    connection: Connection, table: Table, account_id: UUID, column: str, final: Sequence[str]
) -> list[str]:
    """The keys of rows whose column has none of the final values, the last written first."""
    pg = await driver(connection)
    query = sql.SQL(
        "SELECT {key} FROM {table} WHERE ebay_account_id = %s AND ({column} = ANY(%s)) IS NOT TRUE"
        " ORDER BY updated_at DESC"
    ).format(key=sql.Identifier(table.key[0]), table=sql.Identifier(table.name), column=sql.Identifier(column))
    return [key for (key,) in await (await pg.execute(query, (account_id, list(final)))).fetchall()]


async def present(connection: Connection, table: Table, account_id: UUID, after: Key | None) -> list[Key]:
    """Yields keys of rows that are not removed, in order, some at a time, after the given one."""
    pg = await driver(connection)
    key = sql.SQL(", ").join(map(sql.Identifier, table.key))
    query = sql.SQL(
        "SELECT {texts} FROM {table} WHERE ebay_account_id = %s AND removed_at IS NULL {after}"
        " ORDER BY {key} LIMIT 5000"
    ).format(
        texts=sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in table.key),
        table=sql.Identifier(table.name),
        key=key,
        after=sql.SQL("AND ({}) > ({})").format(key, sql.SQL(", ").join(sql.Placeholder() * len(table.key)))
        if after
        else sql.SQL(""),
    )
    return [tuple(found) for found in await (await pg.execute(query, (account_id, *(after or ())))).fetchall()]


async def keys_of_parts(
    connection: Connection, table: Table, account_id: UUID, column: str, values: Collection[str]
) -> set[Key]:
    """The keys of rows whose column has one of these values."""
    pg = await driver(connection)
    query = sql.SQL("SELECT {texts} FROM {table} WHERE ebay_account_id = %s AND {column} = ANY(%s)").format(
        texts=sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in table.key),
        table=sql.Identifier(table.name),
        column=sql.Identifier(column),
    )
    return {tuple(found) for found in await (await pg.execute(query, (account_id, list(values)))).fetchall()}


def _newest(table: Table, rows: Sequence[Row]) -> list[Row]:
    kept: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        known = kept.get(table.key_of(row))
        if known is None or table.version is None or row[table.version] >= known[table.version]:
            kept[table.key_of(row)] = row
    return list(kept.values())


def _portions(rows: Sequence[Row]) -> Iterator[list[Row]]:
    portion: list[Row] = []
    size = 0
    for row in rows:
        texts = (bytes(row["raw_payload"]), *row.values())
        more = sum(len(text) for text in texts if isinstance(text, str | bytes))
        if portion and size + more > STATEMENT_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += more
    if portion:
        yield portion


def _record(table: Table) -> sql.Composed:
    """The column definition list for json_to_recordset."""
    types = {column.name: column.type for column in table.columns} | {"raw_payload": "jsonb"}
    return sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(kind)) for n, kind in types.items())


@cache
def _statement(table: Table) -> sql.Composed:
    names = [column.name for column in table.columns] + ["raw_payload"]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    key = sql.SQL(", ").join(map(sql.Identifier, table.key))
    written = [name for name in names if name not in table.key]
    typed = [name for name in written if name != "raw_payload"]
    changed = sql.SQL("CASE WHEN {emptied} THEN {some} ELSE ({old}) IS DISTINCT FROM ({new}) END").format(
        emptied=_EMPTIED,
        some=sql.SQL("({}) IS DISTINCT FROM ({})").format(
            columns_of("t", typed), sql.SQL(", ").join(_remaining(name, table) for name in typed)
        )
        if typed
        else sql.SQL("false"),
        old=_compared("t", written, table),
        new=_compared("", written, table),
    )
    if table.removable:
        changed = sql.SQL("({} OR t.removed_at IS NOT NULL)").format(changed)
    return sql.SQL(
        """
        WITH s AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s::json) AS x ({record})),
        touched AS (
            INSERT INTO {table} AS t (ebay_account_id, {columns})
            SELECT %(account)s, {columns} FROM s ORDER BY {key}
            ON CONFLICT (ebay_account_id, {key}) DO UPDATE SET ({written}) = (
                SELECT {assigned} FROM (SELECT {emptied} AS emptied OFFSET 0) was),
                updated_at = clock_timestamp() {returned}
            WHERE {changed} {guard}
            RETURNING {key}, (xmax = 0) AS inserted, CASE WHEN xmax <> 0 THEN to_jsonb(t)::text END AS now)
        SELECT ARRAY[{key_text}], touched.inserted,
            CASE WHEN NOT touched.inserted THEN to_jsonb(o)::text END, touched.now
        FROM s LEFT JOIN touched USING ({key})
        LEFT JOIN {table} o ON o.ebay_account_id = %(account)s AND ({old_key}) = ({s_key})
        WHERE touched.inserted IS NOT NULL OR {stale}
        """
    ).format(
        record=_record(table),
        table=sql.Identifier(table.name),
        columns=columns,
        key=key,
        written=sql.SQL(", ").join(map(sql.Identifier, written)),
        emptied=_EMPTIED,
        assigned=sql.SQL(", ").join(
            sql.SQL("CASE WHEN was.emptied THEN {} ELSE {} END").format(_remaining(name, table), _incoming(name, table))
            for name in written
        ),
        returned=sql.SQL(", removed_at = NULL" if table.removable else ""),
        changed=changed,
        guard=sql.SQL("AND (t.{0} IS NULL OR excluded.{0} >= t.{0})").format(sql.Identifier(table.version))
        if table.version
        else sql.SQL(""),
        stale=sql.SQL("s.{0} < o.{0}").format(sql.Identifier(table.version)) if table.version else sql.SQL("false"),
        key_text=sql.SQL(", ").join(sql.SQL("s.{}::text").format(sql.Identifier(name)) for name in table.key),
        old_key=columns_of("o", table.key),
        s_key=columns_of("s", table.key),
    )


_EMPTIED = sql.SQL("jsonb_typeof(t.raw_payload) = 'null'")


def columns_of(alias: str, names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.Identifier(alias), sql.Identifier(name)) for name in names)


def _incoming(name: str, table: Table) -> sql.Composable:
    """The new value of a column: the incoming one, or for a kept column the stored one if nothing comes."""
    column = next((column for column in table.columns if column.name == name), None)
    form = "coalesce(excluded.{0}, t.{0})" if column and column.kept else "excluded.{0}"
    return _unless_erased(table, column, sql.SQL(form).format(sql.Identifier(name)))


def _remaining(name: str, table: Table) -> sql.Composable:
    """The new value of a column in a row whose payload was removed."""
    column = next((column for column in table.columns if column.name == name), None)
    if column is None:
        return _incoming(name, table)
    form = "coalesce(excluded.{0}, t.{0})"
    if column.personal:  # no mask: asterisks, an e-mail without @, a phone without digits
        form = """coalesce(CASE WHEN excluded.{0} NOT LIKE '%%*%%' AND excluded.{0} ~ '[[:alnum:]]'
            AND (t.{0} LIKE '%%@%%' AND excluded.{0} NOT LIKE '%%@%%') IS NOT TRUE
            AND (t.{0} ~ '^[0-9 ()+./-]+$' AND excluded.{0} !~ '[0-9]') IS NOT TRUE
            THEN excluded.{0} END, t.{0})"""
    return _unless_erased(table, column, sql.SQL(form).format(sql.Identifier(name)))


def _unless_erased(table: Table, column: Column | None, value: sql.Composable) -> sql.Composable:
    """A personal column's value, or (None) raw_payload, as far as it may be stored."""
    if column is None and table.personal:
        return sql.SQL("CASE WHEN t.personal_erased_at IS NULL THEN {} ELSE {} END").format(
            value, impersonal(table, value)
        )
    if column and column.personal:
        return sql.SQL("CASE WHEN t.personal_erased_at IS NULL THEN {} END").format(value)
    return value


def impersonal(table: Table, document: sql.Composable) -> sql.Composable:
    """A payload without personal data."""
    for path in table.personal:
        document = sql.SQL("ebay_without({}, {})").format(document, sql.Literal(list(path)))
    return document


def _compared(alias: str, names: Sequence[str], table: Table) -> sql.Composed:
    """The columns whose change counts, with volatile paths removed from raw_payload."""
    parts: list[sql.Composable] = []
    for name in names:
        part = sql.SQL("{}.{}").format(sql.Identifier(alias), sql.Identifier(name)) if alias else _incoming(name, table)
        parts.append(_steady(table, part) if name == "raw_payload" else part)
    return sql.SQL(", ").join(parts)


def _steady(table: Table, document: sql.Composable) -> sql.Composable:
    """A payload as `steady` leaves it: whether a field is null or missing is no difference."""
    for path in table.volatile:
        form = "ebay_without({}, {})" if "*" in path else "{} #- {}"
        document = sql.SQL(form).format(document, sql.Literal(list(path)))
    return sql.SQL("jsonb_strip_nulls({})").format(document)


@cache
def _removal(table: Table, names: tuple[str, ...]) -> sql.Composed:
    """Mark rows whose columns `names` are among %(keys)s and whose key is not among %(keep)s (lists of lists of text).
    Rows are locked in the order of the key."""
    return sql.SQL(
        """
        WITH gone AS (
            SELECT {key} FROM {table} t
            WHERE t.ebay_account_id = %(account)s AND t.removed_at IS NULL
                AND ({names}) IN (SELECT {elements} FROM json_array_elements(%(keys)s::json) AS k)
                AND ({key_text}) NOT IN (SELECT {key_elements} FROM json_array_elements(%(keep)s::json) AS k)
            ORDER BY {key} FOR UPDATE)
        UPDATE {table} t SET removed_at = clock_timestamp(), updated_at = clock_timestamp()
        FROM gone WHERE t.ebay_account_id = %(account)s AND ({t_key}) = ({gone_key})
        RETURNING ARRAY[{key_text}]
        """
    ).format(
        table=sql.Identifier(table.name),
        key=sql.SQL(", ").join(map(sql.Identifier, table.key)),
        names=_texts(names),
        elements=_elements(len(names)),
        key_text=_texts(table.key),
        key_elements=_elements(len(table.key)),
        t_key=columns_of("t", table.key),
        gone_key=columns_of("gone", table.key),
    )


def _texts(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in names)


def _elements(count: int) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("k->>{}").format(sql.Literal(index)) for index in range(count))


@cache
def _naming(table: Table) -> sql.Composed:
    """Give the real key to rows that have the stand-in, if a row with the real one comes and none with the stand-in."""
    assert table.stand_in
    column, stand_in = table.stand_in
    others = [name for name in table.key if name != column]
    return sql.SQL(
        """
        WITH s AS (SELECT * FROM json_to_recordset(%(rows)s::json) AS x ({record}))
        UPDATE {table} t SET {column} = n.{column}
        FROM (SELECT DISTINCT ON ({others}) {others}, {column} FROM s
            WHERE {column} <> {stand_in} AND NOT starts_with({column}, {twins})
            ORDER BY {others}, {column}) n
        WHERE t.ebay_account_id = %(account)s AND ({t_others}) = ({n_others}) AND t.{column} = {stand_in}
            AND NOT EXISTS (SELECT FROM s WHERE ({s_others}) = ({t_others}) AND s.{column} = {stand_in})
            AND NOT EXISTS (SELECT FROM {table} o WHERE o.ebay_account_id = %(account)s
                AND ({o_others}) = ({t_others}) AND o.{column} = n.{column})
        """
    ).format(
        record=_record(table),
        table=sql.Identifier(table.name),
        column=sql.Identifier(column),
        stand_in=sql.Literal(stand_in),
        twins=sql.Literal(f"{stand_in}{TWIN}"),
        others=sql.SQL(", ").join(map(sql.Identifier, others)),
        t_others=columns_of("t", others),
        n_others=columns_of("n", others),
        s_others=columns_of("s", others),
        o_others=columns_of("o", others),
    )
