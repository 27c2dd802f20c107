"""Hop 5: merges rows into their table, and writes changes to `ebay_events`.

One statement per table and batch (`store/statements`). The columns travel as one JSON parameter, and beside them the
payloads as an array of eBay's own bytes, which PostgreSQL parses once. Unchanged rows are dropped; the others are
upserted. The statement returns the old and the new version of
each changed row, from which the events are made.

A row whose raw_payload was removed (JSON null, see store/age) is compared by its typed columns alone. Values that do
not come now, or come masked, stay, because the payload they came from is gone. A row whose personal data was
erased (store/age) stays without it, whatever comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Json

from ebaysync.store import statements
from ebaysync.store.connection import Connection, Documents
from ebaysync.store.database import Database, RowRefused
from ebaysync.store.payload import without_empty
from ebaysync.store.table import TWIN, Row, Stored, Table

_decode = msgspec.json.Decoder(float_hook=Decimal).decode  # amounts keep their digits in the events
_encode = msgspec.json.Encoder(decimal_format="number").encode
_encode_row = msgspec.json.Encoder().encode

RAW = statements.RAW.name

STATEMENT_BYTES = 2 * 2**20  # bytes of rows per statement; they are in memory several times

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
    for portion, sent in portions(_newest(table, rows)):
        values = {"account": writer.account_id, **sent}
        if real := _real_keys(table, portion):
            named = {"account": writer.account_id, **lists("keys", real, len(table.key) + 1)}
            await writer.connection.send(statements.real_key(table), named)
        events: list[tuple[Key, str, dict[str, Any]]] = []
        for found, was_inserted, old, new in await writer.connection.execute(statements.upsert(table), values):
            key = tuple(found)
            if was_inserted is None:
                stale.add(key)
            elif was_inserted:
                inserted.add(key)
            else:
                updated.add(key)
                events += _changed(table, key, old, new)
        await _write_events(writer, table, events)
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
    return await _mark(writer, table, table.key, keys, [])


async def remove_parts(
    writer: Writer, table: Table, parents: Iterable[Sequence[str]], keep: Iterable[Key] = ()
) -> None:
    """Mark the children of these records as removed, except those to keep."""
    await _mark(writer, table, table.parent_key, parents, keep)


async def _mark(
    writer: Writer, table: Table, names: tuple[str, ...], keys: Iterable[Sequence[str]], keep: Iterable[Key]
) -> int:
    """Mark the rows whose columns `names` are one of `keys`, except those to keep; return their number."""
    if not (keys := list(keys)):
        return 0
    values = {
        "account": writer.account_id,
        **lists("keys", keys, len(names)),
        **lists("keep", list(keep), len(table.key)),
    }
    marked = await writer.connection.execute(statements.removal(table, names), values)
    gone: list[Key] = [tuple(key) for (key,) in marked]
    await _write_events(writer, table, [(key, "removed", {}) for key in gone])
    return len(gone)


async def _write_events(writer: Writer, table: Table, events: Sequence[tuple[Key, str, dict[str, Any]]]) -> None:
    if not events:
        return
    rows = [{"key": "/".join(key), "event": event, "changes": changed} for key, event, changed in events]
    values = {"account": writer.account_id, "family": writer.family, "table": table.name, "run": writer.run_id}
    await writer.connection.send(_EVENTS, values | {"rows": _encode(rows).decode()})


_EVENTS = """
INSERT INTO ebay_events (ebay_account_id, api_family, table_name, entity_key, event, changes, run_id)
SELECT :account, :family, :table, x.key, x.event, x.changes, :run
FROM json_to_recordset(CAST(:rows AS json)) AS x (key text, event text, changes jsonb)
"""


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
    """The payload without its volatile values, and without fields that are null or an empty list."""
    found: Any = payload
    for path in table.volatile:
        found = _without(found, path)
    steady: dict[str, Any] = without_empty(found)
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
    values = {"account": writer.account_id, **lists("keys", keys, len(table.key))}
    rows = await writer.connection.execute(statements.looked_up(table, tuple(columns)), values)
    return {tuple(key): dict(zip(columns, found, strict=True)) for key, *found in rows}


async def stored(
    source: Connection | Database, table: Table, account_id: UUID, keys: Sequence[str]
) -> dict[str, Stored]:
    """The stored rows by key, for tables with a one-column key. The payload of a pruned row is `{}`."""
    values = {"account": account_id, "keys0": list(keys)}
    query = statements.stored(table)
    if isinstance(source, Database):
        found: Iterable[Any] = await source.rows(query, **values)
    else:
        found = await source.execute(query, values)
    return {key: Stored(payload.encode(), has_kept) for key, payload, has_kept in found}


async def unfinished(
    db: Database, table: Table, account_id: UUID, column: str, final: tuple[str, ...], born: str
) -> dict[str, datetime | None]:
    """The keys of rows whose column has none of the final values, each with the time in the column `born`."""
    found = await db.rows(statements.unfinished(table, column, final, born), account=account_id)
    return {row[0]: row[1] for row in found}


async def present(connection: Connection, table: Table, account_id: UUID, after: Key | None) -> list[Key]:
    """Yields keys of rows that are not removed, in order, some at a time, after the given one."""
    query = statements.present(table, is_first=not after)
    return [tuple(found) for found in await connection.execute(query, (account_id, *(after or ())))]


async def keys_of_parts(
    connection: Connection, table: Table, account_id: UUID, column: str, values: Collection[str]
) -> set[Key]:
    """The keys of rows whose column has one of these values."""
    parts = {"account": account_id, "keys0": list(values)}
    found = await connection.execute(statements.keys_of_parts(table, column), parts)
    return {tuple(key) for key in found}


async def analyze(connection: Connection, tables: Sequence[Table]) -> None:
    """Let PostgreSQL count what the tables hold. It skips tables of another owner, with a warning."""
    await connection.execute(statements.analyze(tables))


def lists(name: str, keys: Sequence[Sequence[str]], count: int) -> dict[str, list[str]]:
    """Keys of so many parts as PostgreSQL takes them: a list for each part, named by its place."""
    return {f"{name}{index}": [key[index] for key in keys] for index in range(count)}


def _real_keys(table: Table, rows: Sequence[Row]) -> list[Key]:
    """The rows that come with their real key, and none with the stand-in: the key with the stand-in, then the real
    value."""
    if table.stand_in is None:
        return []
    column, stand_in = table.stand_in
    place = table.key.index(column)
    keys = {table.text_key(row) for row in rows}
    found: dict[Key, str] = {}
    for key in sorted(keys):
        before = (*key[:place], stand_in, *key[place + 1 :])
        if before not in keys and not key[place].startswith(f"{stand_in}{TWIN}"):
            found.setdefault(before, key[place])
    return [(*key, real) for key, real in found.items()]


def _newest(table: Table, rows: Sequence[Row]) -> list[Row]:
    kept: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        known = kept.get(table.key_of(row))
        if known is None or table.version is None or row[table.version] >= known[table.version]:
            kept[table.key_of(row)] = row
    return list(kept.values())


def portions(rows: Sequence[Row]) -> Iterator[tuple[list[Row], Mapping[str, Any]]]:
    """Rows with the values that statements.upsert takes: of STATEMENT_BYTES at most, or of one row."""
    portion: list[Row] = []
    texts: list[bytes] = []
    size = 0
    for row in rows:
        columns = dict(row)
        payload = columns.pop(RAW)
        text = _encode_row(columns)
        more = len(text) + memoryview(payload).nbytes
        if portion and size + more > STATEMENT_BYTES:
            yield portion, _sent(portion, texts)
            portion, texts, size = [], [], 0
        portion.append(row)
        texts.append(text)
        size += more
    if portion:
        yield portion, _sent(portion, texts)


def _sent(rows: Sequence[Row], texts: Sequence[bytes]) -> Mapping[str, Any]:
    typed = b"".join((b"[", b",".join(texts), b"]"))
    return {"typed": Json(typed, _as_it_is), "payloads": Documents(row[RAW] for row in rows)}


def _as_it_is(document: bytes) -> bytes:
    return document
