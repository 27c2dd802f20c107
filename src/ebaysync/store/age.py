"""What is old, taken out of tables: payloads of rows that nothing will be put together from any more, what tells of a
person; and an account's rows. Composes SQL from names, as `merge` and `erase` do, and needs the owner's rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.store.database import driver
from ebaysync.store.merge import impersonal, of
from ebaysync.store.table import Table


@dataclass(frozen=True)
class Aged:
    """Which rows are old enough for something, and are not needed for anything else any more."""

    table: Table
    condition: sql.Composable
    values: Mapping[str, Any]


def payloads_older(
    table: Table,
    days: int,
    *,
    removed: bool = False,
    final: tuple[str, Sequence[str]] | None = None,
    waiting: str | None = None,
) -> Aged:
    """Rows that have a payload and were not updated for so many days. `removed`: those alone that are marked as such;
    `final`: a column, and the values of which it must have one; `waiting`: a family, of whose records those are left
    out that lack their detail."""
    parts: list[sql.Composable] = [
        sql.SQL("t.updated_at < clock_timestamp() - make_interval(days => %(days)s)"),
        sql.SQL("jsonb_typeof(t.raw_payload) <> 'null'"),
    ]
    if removed:
        parts.append(sql.SQL("t.removed_at IS NOT NULL"))
    if final:
        parts.append(sql.SQL("t.{} = ANY(%(final)s)").format(sql.Identifier(final[0])))
    if waiting:
        parts.append(
            sql.SQL(
                "NOT EXISTS (SELECT FROM ebay_pending_detail p WHERE p.ebay_account_id = t.ebay_account_id"
                " AND p.api_family = %(waiting)s AND p.entity_key = t.{} AND p.attempts > 0)"
            ).format(sql.Identifier(table.key[0]))
        )
    values = {"days": days, "final": list(final[1]) if final else None, "waiting": waiting}
    return Aged(table, sql.SQL(" AND ").join(parts), values)


def persons_older(table: Table, days: int, record: Table | None = None) -> Aged:
    """Rows that tell of a person and are dated before so many days; of a part's table those whose `record` was
    erased."""
    due: sql.Composable
    if record is None:
        assert table.dated
        due = sql.SQL("t.{} < clock_timestamp() - make_interval(days => %(days)s)").format(sql.Identifier(table.dated))
    else:
        due = sql.SQL(
            "EXISTS (SELECT FROM {record} m WHERE m.ebay_account_id = t.ebay_account_id AND ({key}) = ({of})"
            " AND m.personal_erased_at IS NOT NULL)"
        ).format(record=sql.Identifier(record.name), key=of("m", record.key), of=of("t", table.of))
    return Aged(table, sql.SQL("t.personal_erased_at IS NULL AND {}").format(due), {"days": days})


async def count(connection: AsyncConnection, aged: Aged) -> int:
    pg = await driver(connection)
    query = sql.SQL("SELECT count(*) FROM {} t WHERE {}").format(sql.Identifier(aged.table.name), aged.condition)
    row = await (await pg.execute(query, aged.values)).fetchone()
    assert row
    return int(row[0])


async def blocks(connection: AsyncConnection, table: Table) -> int:
    """How many blocks the table's rows fill."""
    pg = await driver(connection)
    query = "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int"
    row = await (await pg.execute(query, (table.name,))).fetchone()
    assert row
    return int(row[0])


async def empty_payloads(connection: AsyncConnection, aged: Aged, start: int, end: int) -> int:
    """Take the payloads out of the rows in some blocks; how many. A row that somebody else writes is left for later."""
    pg = await driver(connection)
    query = sql.SQL("UPDATE {table} t SET raw_payload = 'null' FROM ({rows}) old WHERE t.ctid = old.ctid").format(
        table=sql.Identifier(aged.table.name), rows=_in_blocks(aged)
    )
    return (await pg.execute(query, {**aged.values, "start": f"({start},0)", "end": f"({end},0)"})).rowcount


async def erase_personal(connection: AsyncConnection, aged: Aged, start: int, end: int) -> int:
    """Erase what tells of a person from the rows in some blocks, and from their events; how many rows."""
    pg, table = await driver(connection), aged.table
    personal = [column.name for column in table.columns if column.personal]
    query = sql.SQL(
        """
        WITH erased AS (
            UPDATE {table} t SET {assigned}
            FROM ({rows}) old WHERE t.ctid = old.ctid
            RETURNING t.ebay_account_id, concat_ws('/', {key}) AS entity_key),
        told AS (
            UPDATE ebay_events e SET changes = e.changes - %(names)s::text[]
            FROM erased WHERE e.entity_key = erased.entity_key AND e.ebay_account_id = erased.ebay_account_id
                AND e.table_name = %(table)s AND e.changes ?| %(names)s::text[])
        SELECT count(*) FROM erased
        """
    ).format(
        table=sql.Identifier(table.name),
        rows=_in_blocks(aged),
        key=of("t", table.key),
        assigned=_without_person(table),
    )
    values = {
        **aged.values,
        "start": f"({start},0)",
        "end": f"({end},0)",
        "table": table.name,
        "names": personal + [path[0] for path in table.personal],
    }
    row = await (await pg.execute(query, values)).fetchone()
    assert row
    return int(row[0])


def _without_person(table: Table) -> sql.Composed:
    """What erases a person from a row `t`, as the assignments of an UPDATE."""
    nothing = [sql.SQL("{} = NULL").format(sql.Identifier(column.name)) for column in table.columns if column.personal]
    raw = sql.SQL("raw_payload = {}").format(impersonal(table, sql.SQL("t.raw_payload")))
    return sql.SQL(", ").join([*nothing, raw, sql.SQL("personal_erased_at = clock_timestamp()")])


def _in_blocks(aged: Aged) -> sql.Composed:
    """By the rows' place on disk: what is old needs no index of its own, which every write would have to keep."""
    return sql.SQL(
        "SELECT t.ctid FROM {} t WHERE t.ctid >= %(start)s::tid AND t.ctid < %(end)s::tid AND {} FOR UPDATE SKIP LOCKED"
    ).format(sql.Identifier(aged.table.name), aged.condition)


async def account_tables(connection: AsyncConnection, account_id: UUID) -> dict[str, int]:
    """The tables that hold rows of an account, and how many; what a row carries with it (a run its log) not counted."""
    pg = await driver(connection)
    query = (
        "SELECT relname FROM pg_constraint JOIN pg_class c ON c.oid = conrelid"
        " WHERE confrelid = 'ebay_accounts'::regclass AND contype = 'f' ORDER BY relname"
    )
    found: dict[str, int] = {}
    for (name,) in await (await pg.execute(query)).fetchall():
        rows = sql.SQL("SELECT count(*) FROM {} WHERE ebay_account_id = %s").format(sql.Identifier(name))
        row = await (await pg.execute(rows, (account_id,))).fetchone()
        assert row
        if row[0]:
            found[name] = int(row[0])
    return found


async def delete_of_account(connection: AsyncConnection, table: str, account_id: UUID, limit: int) -> int:
    """Delete some rows of an account; how many."""
    pg = await driver(connection)
    query = sql.SQL(
        "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE ebay_account_id = %s LIMIT %s))"
    ).format(table=sql.Identifier(table))
    return (await pg.execute(query, (account_id, limit))).rowcount
