"""No statement's cost grows with the table: every plan finds rows by an index, whatever is known of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.store import connection, statements
from ebaysync.store.merge import lists, portions
from ebaysync.store.table import BOOL, INTEGER, NUMERIC, TIME, Table

ROWS = 5_000  # of two accounts; the larger a table, the less a sequential scan tempts the planner
FAMILIES = discover().values()
TABLES = [table for family in FAMILIES for table in family.tables]
VALUES = {TIME: "now()", NUMERIC: "i", INTEGER: "i", BOOL: "true"}
PARTS = {family.table.name: family.part_column for family in FAMILIES if family.part_column}

Asked = tuple[str, bytes, Any, Sequence[str]]
"""The statement's name, its SQL and values, and the columns by which it may find rows besides the account's."""


def statements_of(table: Table, account: UUID, number: int) -> Iterator[Asked]:
    """The statements that store a batch of `number` records."""
    keys = [[f"{name}{i}" for name in table.key] for i in range(number)]
    rows = [
        {column.name: _value(column.type, i) for column in table.columns}
        | dict(zip(table.key, key, strict=True))
        | {"raw_payload": b'{"number": %d}' % i}
        for i, key in enumerate(keys)
    ]
    [(_, written)] = portions(rows)
    of_keys = {"account": account} | lists("keys", keys, len(table.key))
    yield "upsert", statements.upsert(table), {"account": account, **written}, table.key
    yield "looked_up", statements.looked_up(table, (table.columns[-1].name,)), of_keys, table.key
    if table.stand_in:
        real = {"account": account} | lists("keys", [(*key, "real") for key in keys], len(table.key) + 1)
        yield "real_key", statements.real_key(table), real, table.key
    if len(table.key) == 1:
        yield "stored", statements.stored(table), of_keys, table.key
    if table.removable:
        nothing = lists("keep", [], len(table.key))
        yield "removal by key", statements.removal(table, table.key), of_keys | nothing, table.key
    if table.removable and table.parent_key:
        parents = [[f"{name}{i}" for name in table.parent_key] for i in range(number)]
        values = (
            {"account": account} | lists("keys", parents, len(table.parent_key)) | lists("keep", keys, len(table.key))
        )
        yield "removal by parent", statements.removal(table, table.parent_key), values, table.parent_key
    if column := PARTS.get(table.name):
        values = {"account": account} | lists("keys", [[key] for [key] in keys], 1)
        yield "keys_of_parts", statements.keys_of_parts(table, column), values, [column]


def _value(kind: str, i: int) -> Any:
    return {TIME: "2026-11-20T12:00:00Z", NUMERIC: i, INTEGER: i, BOOL: True}.get(kind, f"v{i % 7}")


def fill(pg: psycopg.Connection[Any], accounts: Sequence[UUID], table: Table) -> None:
    """Rows with their keys in no order; nothing is known of them."""
    chosen = {column.name: SQL(VALUES.get(column.type, "'v' || i % 7")) for column in table.columns}
    for name in table.parent_key:
        chosen[name] = SQL("{} || i / 4").format(Literal(name))
    for name in table.key:
        if name not in table.parent_key:
            chosen[name] = SQL("{} || i").format(Literal(name))
    if column := PARTS.get(table.name):
        chosen[column] = SQL("{} || i").format(Literal(column))
    pg.execute(
        SQL(
            "ALTER TABLE {table} SET (autovacuum_enabled = off);"
            " INSERT INTO {table} (ebay_account_id, raw_payload, {names})"
            " SELECT ({accounts}::uuid[])[1 + i % 2], jsonb_build_object('x', repeat('x', 200)), {chosen}"
            " FROM generate_series(1, {rows}) AS i ORDER BY i * 7919 % {rows}"
        ).format(
            table=Identifier(table.name),
            names=SQL(", ").join(map(Identifier, chosen)),
            accounts=Literal([str(each) for each in accounts]),
            chosen=SQL(", ").join(chosen.values()),
            rows=Literal(ROWS),
        )
    )


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def wrong(pg: psycopg.Connection[Any], table: Table, asked: Asked) -> list[str]:
    """The steps of the plan that may read more of the table than the rows they look for."""
    name, statement, values, columns = asked
    [[[found]]] = pg.execute(b"EXPLAIN (FORMAT JSON) " + statement, values).fetchall()
    steps = [
        node
        for node in nodes(found["Plan"])
        if node.get("Relation Name") == table.name and node["Node Type"].endswith("Scan")
    ]
    assert steps, f"{name} of {table.name} does not read it"
    # A bitmap's condition stands in its child.
    conditions = [
        (step, " ".join(each.get("Index Cond", "") for each in nodes(step)) if step["Node Type"] != "Seq Scan" else "")
        for step in steps
    ]
    return [
        f"{name} of {table.name}: {step['Node Type']} {condition}"
        for step, condition in conditions
        if not any(all(column in condition for column in by) for by in (columns, table.key))
    ]


@pytest.fixture
def accounts() -> list[UUID]:
    return [uuid4(), uuid4()]


@pytest.fixture
def pg(
    databases: Callable[[str], AbstractContextManager[str]], template: str, accounts: list[UUID]
) -> Iterator[psycopg.Connection[Any]]:
    with databases(template) as url, psycopg.connect(url, autocommit=True) as pg:
        connection.adapt(pg)
        for each in accounts:
            pg.execute(
                "INSERT INTO ebay_accounts (id, name, environment, ebay_user_id) VALUES (%s, %s, 'simulator', %s)",
                [each, str(each), str(each)],
            )
        yield pg


def all_wrong(pg: psycopg.Connection[Any], account: UUID) -> list[str]:
    return [
        f"{number} keys, {each}"
        for table in TABLES
        for number in (1, 200)
        for asked in statements_of(table, account, number)
        for each in wrong(pg, table, asked)
    ]


def test_rows_are_found_by_an_index_whatever_is_known_of_the_table(
    pg: psycopg.Connection[Any], accounts: list[UUID]
) -> None:
    """Every statement is planned when it is sent, so an empty table may be read as a whole."""
    all_wrong(pg, accounts[0])  # the statements fit the tables
    for table in TABLES:
        fill(pg, accounts, table)
    assert all_wrong(pg, accounts[0]) == [], "without statistics"
    pg.execute("ANALYZE")
    assert all_wrong(pg, accounts[0]) == [], "with statistics"


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.detail and family.detail.open_column])
def test_open_records_are_found_by_an_index_of_open_records_alone(
    pg: psycopg.Connection[Any], accounts: list[UUID], family: Family
) -> None:
    table, detail = family.table, family.detail
    assert detail
    assert detail.open_column
    fill(pg, accounts, table)
    closed = SQL("UPDATE {} SET {} = {} WHERE random() < 0.99").format(
        Identifier(table.name), Identifier(detail.open_column), Literal(detail.final[-1])
    )
    pg.execute(closed)
    pg.execute("ANALYZE")
    statement = statements.unfinished(table, detail.open_column, detail.final, detail.born_column)
    [[[found]]] = pg.execute(b"EXPLAIN (FORMAT JSON) " + statement, {"account": accounts[0]}).fetchall()
    [name] = {index for node in nodes(found["Plan"]) if (index := node.get("Index Name"))}
    [(condition,)] = pg.execute(
        "SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = %s::regclass", [name]
    )
    assert detail.open_column in (condition or "")
