"""Removes old data: payloads that nothing needs any more, personal data, and an account's rows.

It composes SQL from names, as `merge` and `erase` do, and needs the owner's rights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import sql

from ebaysync.store.connection import Connection
from ebaysync.store.database import driver
from ebaysync.store.merge import columns_of, impersonal
from ebaysync.store.table import Table


@dataclass(frozen=True)
class Aged:
    """Which rows are old enough, and not needed any more."""

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
    """Rows with a payload that were not updated for so many days.

    `removed`: only removed ones. `final`: only rows whose column has one of these values. `waiting`: a family whose
    records without their detail are left out.
    """
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
                " AND p.api_family = %(waiting)s AND p.entity_key = t.{} AND p.next_at IS NOT NULL)"
            ).format(sql.Identifier(table.key[0]))
        )
    values = {"days": days, "final": list(final[1]) if final else None, "waiting": waiting}
    return Aged(table, sql.SQL(" AND ").join(parts), values)


def persons_older(table: Table, days: int, record: Table | None = None) -> Aged:
    """Rows with personal data, dated before so many days; in a child table, rows whose `record` was erased."""
    due: sql.Composable
    if record is None:
        assert table.dated_by
        due = sql.SQL("coalesce(t.{}, t.first_seen_at) < clock_timestamp() - make_interval(days => %(days)s)").format(
            sql.Identifier(table.dated_by)
        )
    else:
        due = sql.SQL(
            "EXISTS (SELECT FROM {record} m WHERE m.ebay_account_id = t.ebay_account_id AND ({key}) = ({of})"
            " AND m.personal_erased_at IS NOT NULL)"
        ).format(
            record=sql.Identifier(record.name),
            key=columns_of("m", record.key),
            of=columns_of("t", table.parent_key),
        )
    return Aged(table, sql.SQL("t.personal_erased_at IS NULL AND {}").format(due), {"days": days})


async def count(connection: Connection, aged: Aged) -> int:
    pg = await driver(connection)
    query = sql.SQL("SELECT count(*) FROM {} t WHERE {}").format(sql.Identifier(aged.table.name), aged.condition)
    row = await (await pg.execute(query, aged.values)).fetchone()
    assert row
    return int(row[0])


async def blocks(connection: Connection, table: Table) -> int:
    """How many blocks the table's rows fill."""
    pg = await driver(connection)
    query = "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int"
    row = await (await pg.execute(query, (table.name,))).fetchone()
    assert row
    return int(row[0])


async def empty_payloads(connection: Connection, aged: Aged, start: int, end: int) -> int:
    """Remove the payloads from the rows in some blocks; return the number. Rows that somebody else is writing are left
    for later."""
    pg = await driver(connection)
    query = sql.SQL("UPDATE {table} t SET raw_payload = 'null' FROM ({rows}) old WHERE t.ctid = old.ctid").format(
        table=sql.Identifier(aged.table.name), rows=_in_blocks(aged)
    )
    return (await pg.execute(query, {**aged.values, "start": f"({start},0)", "end": f"({end},0)"})).rowcount


async def erase_personal(connection: Connection, aged: Aged, start: int, end: int) -> int:
    """Erase personal data from the rows in some blocks, and from their events; return the number of rows."""
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
        key=columns_of("t", table.key),
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
    """The assignments of an UPDATE that erase personal data from a row `t`."""
    nothing = [sql.SQL("{} = NULL").format(sql.Identifier(column.name)) for column in table.columns if column.personal]
    raw = sql.SQL("raw_payload = {}").format(impersonal(table, sql.SQL("t.raw_payload")))
    return sql.SQL(", ").join([*nothing, raw, sql.SQL("personal_erased_at = clock_timestamp()")])


def _in_blocks(aged: Aged) -> sql.Composed:
    """Select rows by their place on disk. Old rows then need no index of their own, which every write would have to
    maintain."""
    return sql.SQL(
        "SELECT t.ctid FROM {} t WHERE t.ctid >= %(start)s::tid AND t.ctid < %(end)s::tid AND {} FOR UPDATE SKIP LOCKED"
    ).format(sql.Identifier(aged.table.name), aged.condition)


async def account_tables(connection: Connection, account_id: UUID) -> dict[str, int]:
    """The tables with rows of an account, and their numbers. Rows that go with others (a run's log) are not counted."""
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


async def delete_of_account(connection: Connection, table: str, account_id: UUID, limit: int) -> int:
    """Delete some rows of an account; return the number."""
    pg = await driver(connection)
    query = sql.SQL(
        "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE ebay_account_id = %s LIMIT %s))"
    ).format(table=sql.Identifier(table))
    return (await pg.execute(query, (account_id, limit))).rowcount
