"""Rules on the client's modules that import-linter cannot check."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "src" / "ebaysync"
SOURCES = {
    name: path.read_text()
    for path in sorted(CLIENT.rglob("*.py"))
    if not (name := path.relative_to(CLIENT).as_posix()).startswith("sim/")
}
COMPOSES = re.compile(r"psycopg\.sql\b|^\s*from psycopg import (\([^)]*|.*)\bsql\b", re.MULTILINE)


def test_sql_is_composed_from_names_in_one_module() -> None:
    assert {name for name, source in SOURCES.items() if COMPOSES.search(source)} == {"store/statements.py"}


@pytest.mark.parametrize(
    "source",
    [
        "from psycopg import sql",
        "from psycopg import errors, sql as s",
        "from psycopg import (\n    errors,\n    sql,\n)",
        "from psycopg.sql import SQL",
        "import psycopg.sql",
    ],
)
def test_the_test_sees_every_way_to_import_it(source: str) -> None:
    assert COMPOSES.search(source)


def test_every_class_of_the_client_has_a_name_of_its_own() -> None:
    """An underscore makes no other name."""
    places = defaultdict(list)
    for module, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(module)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
