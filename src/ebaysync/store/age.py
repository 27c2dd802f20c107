"""Removes old data: payloads that nothing needs any more, personal data, and an account's rows.

It needs the owner's rights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ebaysync.store import statements
from ebaysync.store.connection import Connection
from ebaysync.store.statements import Composed
from ebaysync.store.table import Table


@dataclass(frozen=True)
class Aged:
    """Which rows are old enough, and not needed any more."""

    table: Table
    condition: Composed
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
    condition = statements.payloads_older(
        table, removed=removed, final=final[0] if final else None, waits=bool(waiting)
    )
    values = {"days": days, "final": list(final[1]) if final else None, "waiting": waiting}
    return Aged(table, condition, values)


def persons_older(table: Table, days: int, record: Table | None = None) -> Aged:
    """Rows with personal data, dated before so many days; in a child table, rows whose `record` was erased."""
    return Aged(table, statements.persons_older(table, record), {"days": days})


async def count(connection: Connection, aged: Aged) -> int:
    return int((await connection.execute(statements.count(aged.table, aged.condition), aged.values)).one()[0])


async def blocks(connection: Connection, table: Table) -> int:
    """How many blocks the table's rows fill."""
    query = "SELECT pg_relation_size(CAST(:name AS regclass)) / CAST(current_setting('block_size') AS int)"
    return int((await connection.execute(query, {"name": table.name})).one()[0])


async def empty_payloads(connection: Connection, aged: Aged, start: int, end: int) -> int:
    """Remove the payloads from the rows in some blocks; return the number. Rows that somebody else is writing are left
    for later."""
    query = statements.empty_payloads(aged.table, aged.condition)
    values = {**aged.values, "start": f"({start},0)", "end": f"({end},0)"}
    return (await connection.execute(query, values)).rowcount


async def erase_personal(connection: Connection, aged: Aged, start: int, end: int) -> int:
    """Erase personal data from the rows in some blocks, and from their events; return the number of rows."""
    table = aged.table
    personal = [column.name for column in table.columns if column.personal]
    values = {
        **aged.values,
        "start": f"({start},0)",
        "end": f"({end},0)",
        "table": table.name,
        "names": personal + [path[0] for path in table.personal],
    }
    return int((await connection.execute(statements.erase_personal(table, aged.condition), values)).one()[0])


async def account_tables(connection: Connection, account_id: UUID) -> dict[str, int]:
    """The tables with rows of an account, and their numbers. Rows that go with others (a run's log) are not counted."""
    query = (
        "SELECT relname FROM pg_constraint JOIN pg_class c ON c.oid = conrelid"
        " WHERE confrelid = 'ebay_accounts'::regclass AND contype = 'f' ORDER BY relname"
    )
    found: dict[str, int] = {}
    for (name,) in await connection.execute(query):
        rows = (await connection.execute(statements.count_of_account(name), {"account": account_id})).one()[0]
        if rows:
            found[name] = int(rows)
    return found


async def delete_of_account(connection: Connection, table: str, account_id: UUID, limit: int) -> int:
    """Delete some rows of an account; return the number."""
    values = {"account": account_id, "limit": limit}
    return (await connection.execute(statements.delete_of_account(table), values)).rowcount
