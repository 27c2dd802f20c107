"""The SQLAlchemy Core tables in the code, and the tables in the reference, are those that the migrations make."""

from __future__ import annotations

import pkgutil
import runpy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ebaysync.families import discover
from ebaysync.store.database import CONTROL

TYPES = {
    "uuid": "uuid",
    "text": "text",
    "boolean": "boolean",
    "integer": "integer",
    "big_integer": "bigint",
    "large_binary": "bytea",
    "JSONB": "jsonb",
    "ARRAY": "ARRAY",
    "datetime": "timestamp with time zone",
    "type_decorator": "interval",  # Interval, in SQLAlchemy's words
}


def declared() -> dict[str, dict[str, str]]:
    """Every module is imported, because a table is known once its module is."""
    for package in ("accounts", "sync", "ops"):
        found = import_module(f"ebaysync.{package}")
        for module in pkgutil.walk_packages(found.__path__, f"{found.__name__}."):
            import_module(module.name)
    return {
        table.name: {column.name: TYPES[column.type.__visit_name__] for column in table.c}
        for table in CONTROL.sorted_tables
    }


def test_every_declared_column_is_in_the_schema_with_its_type(query: Callable[..., Any]) -> None:
    tables = declared()
    assert {"ebay_accounts", "ebay_sync_state", "ebay_worker_run", "ebay_lease"} <= set(tables)
    rows = query(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_name = ANY(%s)",
        list(tables),
    )
    there: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        there.setdefault(table, {})[column] = kind
    for name, columns in tables.items():
        assert columns.items() <= there[name].items(), name


def test_the_reference_names_every_table_and_view(query: Callable[..., Any]) -> None:
    generate = runpy.run_path(str(Path(__file__).resolve().parents[2] / "docs" / "generate.py"), run_name="generate")
    rows = query(
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
        " AND relkind IN ('r', 'v')"
    )
    domain = {table.name for family in discover().values() for table in family.tables}
    assert {name for name, kind in rows if kind in ("v", b"v")} == set(generate["VIEWS"])
    assert {name for name, kind in rows if kind in ("r", b"r")} - domain == set(generate["CONTROL_TABLES"])
