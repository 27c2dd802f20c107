"""The schema: applied once, checked by each command, and what the families declare is what is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ebaysync.errors import DatabaseError, SchemaBehind
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.store import migrate
from ebaysync.store.database import Database


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Database]:
    db = Database(Secret(empty_database_url))
    yield db
    await db.close()


async def test_a_schema_that_is_behind_names_the_command_and_is_not_touched(empty: Database) -> None:
    with pytest.raises(SchemaBehind) as caught:
        await migrate.require_current(empty)
    assert "ebaysync migrate" in str(caught.value.hint)
    assert await empty.rows("SELECT FROM pg_tables WHERE schemaname = 'public'") == []


async def test_each_file_is_applied_once_though_many_try_at_once(empty: Database) -> None:
    applied = await asyncio.gather(*(migrate.migrate(empty) for _ in range(4)))
    assert sum(len(each) for each in applied) == len(migrate.available())
    assert await migrate.migrate(empty) == []
    await migrate.require_current(empty)


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(empty: Database) -> None:
    await migrate.migrate(empty)
    await empty.execute("UPDATE ebaysync_schema SET checksum = 'other' WHERE version = 2")
    with pytest.raises(DatabaseError, match=r"0002_orders\.sql was changed"):
        await migrate.require_current(empty)


async def test_two_files_with_the_same_number_are_refused_by_name(
    empty: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("0001_control", "0002_orders", "0002_other"):
        (tmp_path / f"{name}.sql").write_text("SELECT 1")
    monkeypatch.setattr(migrate, "_folder", lambda: tmp_path)
    with pytest.raises(DatabaseError, match=r"0002_orders\.sql and sql/0002_other\.sql have the same number"):
        await migrate.migrate(empty)
    assert await empty.rows("SELECT FROM pg_tables WHERE schemaname = 'public'") == []


async def test_a_schema_of_a_newer_program_is_refused(empty: Database) -> None:
    await migrate.migrate(empty)
    await empty.execute("INSERT INTO ebaysync_schema (version, name, checksum) VALUES (9999, 'x', 'x')")
    with pytest.raises(DatabaseError, match="newer"):
        await migrate.require_current(empty)


async def test_a_file_that_fails_leaves_nothing_behind(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    good = migrate.available()
    bad = migrate.Migration(9000, "9000_bad", "CREATE TABLE half (x int); SELECT 1/0")
    monkeypatch.setattr(migrate, "available", lambda: [*good, bad])
    with pytest.raises(Exception, match=r"22012|DivisionByZero"):
        await migrate.migrate(empty)
    assert await empty.rows("SELECT to_regclass('half')") == [(None,)]
    assert (await empty.rows("SELECT max(version) FROM ebaysync_schema"))[0][0] == good[-1].version


def test_every_declared_column_is_there_with_its_type(query: Callable[..., list[Any]]) -> None:
    types = {"timestamptz": "timestamp with time zone"}
    for family in discover().values():
        for table in family.tables:
            found = dict(
                query(
                    "SELECT column_name, data_type FROM information_schema.columns"
                    " WHERE table_schema = 'public' AND table_name = %s",
                    table.name,
                )
            )
            declared = {column.name: types.get(column.type, column.type) for column in table.columns}
            extra = {
                "ebay_account_id": "uuid",
                "raw_payload": "jsonb",
                "first_seen_at": types["timestamptz"],
                "updated_at": types["timestamptz"],
            }
            if table.removable:
                extra["removed_at"] = types["timestamptz"]
            if table.personal:
                extra["personal_erased_at"] = types["timestamptz"]
            assert found == declared | extra, table.name
            key = query(
                "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
                " AND a.attnum = ANY(i.indkey) WHERE i.indrelid = %s::regclass AND i.indisprimary",
                table.name,
            )
            assert {name for (name,) in key} == {"ebay_account_id", *table.key}, table.name


def test_exactly_the_required_columns_are_not_null(query: Callable[..., list[Any]]) -> None:
    """If SQL demands a value that the declaration does not, a record without it fails in PostgreSQL."""
    for table in (table for family in discover().values() for table in family.tables):
        rows = query(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_nullable = 'NO'",
            table.name,
        )
        required = {column.name for column in table.columns if column.required}
        always = {"ebay_account_id", *table.key, *table.parent_key, "raw_payload", "first_seen_at", "updated_at"}
        assert {name for (name,) in rows} == required | always, table.name


def test_the_wheel_carries_the_schema_and_nothing_else_of_its_folder() -> None:
    names = [migration.name for migration in migrate.available()]
    assert names == sorted(names)
    assert [migration.version for migration in migrate.available()] == list(range(1, len(names) + 1))
