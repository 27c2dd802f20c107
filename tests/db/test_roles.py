"""The database's roles: what each may do, asked of PostgreSQL itself, and that the daily commands need no more than
the writer's rights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors, sql

from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.ops.doctor import diagnose
from ebaysync.settings import Settings
from ebaysync.store import migrate
from ebaysync.store.database import HISTORY, Database, PermissionRefused
from ebaysync.sync.stop import Stop

WRITER, READER = "ebaysync_writer", "ebaysync_reader"
SECRET = {"refresh_token", "access_token", "private_key", "payload", "raw_payload"}


@pytest.fixture
async def granted(db: Database, database_url: str) -> str:
    await migrate.grant(db)
    return database_url


@pytest.fixture
def login(database_url: str) -> Iterator[Callable[[str], str]]:
    """`login("ebaysync_writer")`: the URL of a login of this test's own with that role."""
    made: list[str] = []

    def make(role: str) -> str:
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'test' IN ROLE {}").format(*map(sql.Identifier, (name, role)))
            )
        made.append(name)
        parts = urlsplit(database_url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{name}:test@{host}"))

    yield make
    with psycopg.connect(database_url, autocommit=True) as admin:
        for name in made:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def tables(url: str, kinds: str = "r") -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind::text = ANY(%s)",
            [list(kinds)],
        )
        return sorted(row[0] for row in rows)


def rights(url: str, role: str) -> dict[str, set[str]]:
    """What a role may do with each table and view."""
    kinds = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    with psycopg.connect(url) as connection:
        return {
            name: {
                kind
                for kind in kinds
                if connection.execute("SELECT has_table_privilege(%s, %s, %s)", [role, name, kind]).fetchone()
                == (True,)
            }
            for name in tables(url, "rv")
        }


def readable(url: str, role: str) -> set[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
            " AND NOT a.attisdropped WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')"
            " AND has_column_privilege(%s, c.oid, a.attnum, 'SELECT')",
            [role],
        )
        return {(table, column) for table, column in rows}


async def test_the_writer_reads_inserts_and_updates_and_nothing_else(granted: str, login: Callable[[str], str]) -> None:
    found = rights(granted, WRITER)
    only_read = {"ebaysync_schema", "ebay_private_columns", *tables(granted, "v")}
    assert {name for name, kinds in found.items() if kinds == {"SELECT"}} == only_read
    assert {name for name, kinds in found.items() if kinds == {"SELECT", "INSERT"}} == set(HISTORY)
    others = found.keys() - only_read - set(HISTORY)
    assert all(found[name] == {"SELECT", "INSERT", "UPDATE"} for name in others)
    with psycopg.connect(login(WRITER), autocommit=True) as connection:
        for statement in (
            "DELETE FROM ebay_events",
            "TRUNCATE ebay_events",
            "CREATE TABLE own (x int)",
            "ALTER TABLE ebay_orders ADD COLUMN x int",
            "DROP TABLE ebay_orders",
            "UPDATE ebay_events SET changes = '{}'",
            "UPDATE ebay_control_log SET reason = ''",
            "DELETE FROM ebay_control_log",
            "DELETE FROM ebay_worker_run",
            "ALTER TABLE ebay_worker_run DISABLE TRIGGER ALL",
            "SELECT ebay_rebuild_history()",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement)


RUN = """
WITH account AS (
    INSERT INTO ebay_accounts (name, environment, ebay_user_id) VALUES ('a', 'simulator', 'u') RETURNING id)
INSERT INTO ebay_worker_run (ebay_account_id, ebay_user_id, api_family, trigger)
SELECT id, 'u', 'orders', 'x' FROM account
"""


async def test_the_writer_ends_a_run_and_cannot_change_it_afterwards(granted: str, login: Callable[[str], str]) -> None:
    with psycopg.connect(login(WRITER), autocommit=True) as writer:
        writer.execute(RUN)
        writer.execute("UPDATE ebay_worker_run SET heartbeat_at = now()")
        writer.execute("UPDATE ebay_worker_run SET status = 'error', summary_json = '{}'")
        for change in ("status = 'completed'", "status = 'running'", "summary_json = NULL", "started_at = now()"):
            with pytest.raises(errors.InsufficientPrivilege, match="finished run"):
                writer.execute(f"UPDATE ebay_worker_run SET {change}")
    with psycopg.connect(granted) as owner:
        assert owner.execute("UPDATE ebay_worker_run SET summary_json = NULL").rowcount == 1


async def test_the_reader_may_select_everything_of_views_without_private_columns(
    granted: str, db: Database, login: Callable[[str], str]
) -> None:
    with psycopg.connect(granted) as owner:
        private = set(owner.execute("SELECT table_name, column_name FROM ebay_private_columns").fetchall())
    views = [name for name in tables(granted, "v") if name.endswith("_shared")]
    assert {f"{t}_shared" for t, c in private if c != "*"} <= set(views)

    def columns(view: str) -> set[str]:
        with psycopg.connect(login(READER)) as reader:
            cursor = reader.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view)))
            assert cursor.description
            return {column.name for column in cursor.description}

    for view in views:
        table = view.removesuffix("_shared")
        found = columns(view)
        assert not {(table, name) for name in found} & private
        assert found == {name for where, name in readable(granted, READER) if where == table}
    assert "total" in columns("ebay_orders_shared")
    with psycopg.connect(granted) as owner:
        owner.execute("INSERT INTO ebay_private_columns VALUES ('ebay_orders', 'total')")
    await migrate.grant(db)
    assert "total" not in columns("ebay_orders_shared")


async def test_the_readers_views_are_not_in_the_way_of_a_migration(
    granted: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = migrate.Migration(9000, "9000_change", "ALTER TABLE ebay_buyer ALTER buyer_paid_status TYPE varchar")
    known = [*migrate.available(), change]
    monkeypatch.setattr(migrate, "available", lambda: known)
    before = tables(granted, "v")
    await migrate.migrate(db)
    await migrate.grant(db)
    assert tables(granted, "v") == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("REVOKE ebaysync_writer FROM {login}", "the owner runs: GRANT ebaysync_writer TO {login}"),
        (
            "GRANT ebaysync_writer TO {login} WITH INHERIT FALSE",
            "the owner runs: GRANT ebaysync_writer TO {login} WITH INHERIT TRUE",
        ),
    ],
)
async def test_a_login_without_its_rights_is_told_the_grant(
    granted: str, login: Callable[[str], str], program: Any, change: str, expected: str
) -> None:
    url = login(WRITER)
    name = str(urlsplit(url).username)
    with psycopg.connect(granted, autocommit=True) as owner:
        owner.execute(change.format(login=name))
    for words in (("status",), ("doctor",)):
        ended = program(*words, environ={"EBAYSYNC_DATABASE_URL": url})
        assert ended.code == 10
        said = " ".join((ended.out + ended.err).split())
        assert expected.format(login=name) in said
        assert "ebaysync migrate" not in said


async def test_a_login_that_lacks_rights_on_one_table_is_told_so_by_the_command_that_needs_it(
    granted: str, login: Callable[[str], str], program: Any
) -> None:
    with psycopg.connect(granted) as owner:
        owner.execute("REVOKE INSERT ON ebay_control_log FROM ebaysync_writer")
    ended = program("pause", environ={"EBAYSYNC_DATABASE_URL": login(WRITER)})
    assert ended.code == 10
    assert "the owner runs: ebaysync migrate --grants (ebay_control_log)" in ended.err


async def test_the_reader_sees_neither_secrets_nor_persons_and_writes_nothing(
    granted: str, login: Callable[[str], str]
) -> None:
    assert not any(rights(granted, READER)[name] - {"SELECT"} for name in tables(granted, "rv"))
    seen = readable(granted, READER)
    assert not {column for _, column in seen} & SECRET
    assert not {column for table, column in seen if table == "ebay_tokens"}
    for column in ("buyer_username", "ship_to_full_name", "ship_to_email", "ship_to_address_line1"):
        assert ("ebay_orders", column) not in seen
    assert {("ebay_orders", "order_id"), ("ebay_orders", "total"), ("ebay_order_profit", "profit")} <= seen
    with psycopg.connect(login(READER), autocommit=True) as connection:
        connection.execute("SELECT order_id, total FROM ebay_orders").fetchall()
        connection.execute("SELECT kind, status, total FROM ebay_problem_orders").fetchall()
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT buyer_username FROM ebay_orders")


async def test_every_private_column_is_there_and_the_reader_sees_all_others(granted: str) -> None:
    """A column that is new, or has another name, is noticed here."""
    with psycopg.connect(granted) as connection:
        private = set(connection.execute("SELECT table_name, column_name FROM ebay_private_columns").fetchall())
    everything = readable(granted, "ebaysync_owner")
    assert {pair for pair in private if pair[1] != "*"} <= everything
    whole = {table for table, column in private if column == "*"}
    assert whole <= {table for table, _ in everything}
    hidden = {(t, c) for t, c in everything if t in whole or (t, c) in private or c == "raw_payload"}
    assert readable(granted, READER) == everything - hidden


async def test_the_columns_that_tell_of_a_person_are_those_that_the_families_declare(granted: str) -> None:
    declared = {(t.name, c.name) for f in discover().values() for t in f.tables for c in t.columns if c.private}
    domain = {table.name for family in discover().values() for table in family.tables}
    with psycopg.connect(granted) as connection:
        listed = set(connection.execute("SELECT table_name, column_name FROM ebay_private_columns").fetchall())
    assert {(table, column) for table, column in listed if table in domain} == declared


# Words in a column's name that make one ask whether it tells of a person, and columns that have one and do not.
PERSONAL = re.compile(
    "buyer|seller|user|name|mail|phone|address|street|city|county|postal|note|comment|text|memo|login|contact|person"
)
NOT_PERSONAL = {
    "ebay_buyer.buyer_paid_status": "a state",
    "ebay_cases.buyer_closure_reason": "a code",
    "ebay_cases.seller_closure_reason": "a code",
    "ebay_disputes.seller_response": "a code",
    "ebay_finances_fees.fee_memo": "eBay's own text",
    "ebay_finances_transactions.transaction_memo": "eBay's own text",
    "ebay_orders.seller_id": "the account's own",
    "ebay_returns.buyer_activity_due": "a code",
    "ebay_transactions.transaction_memo": "eBay's own text",
}


def test_a_column_that_sounds_like_a_person_is_private_or_on_the_list_with_a_reason() -> None:
    found = {
        f"{table.name}.{column.name}"
        for family in discover().values()
        for table in family.tables
        for column in table.columns
        if PERSONAL.search(column.name)
        and column.type == "text"
        and not column.private
        and not column.name.endswith("_currency")
    }
    assert found == set(NOT_PERSONAL)


async def test_a_column_of_bytes_is_never_the_readers(granted: str) -> None:
    """Tokens, keys and payloads are bytea: a new one must be made private. Digests are not secret."""
    with psycopg.connect(granted) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'bytea'"
        ).fetchall()
    digests = {("ebay_doubted_scan", "missing"), ("ebay_doubted_scan", "seen"), ("ebay_inconsistent_read", "digest")}
    assert readable(granted, READER) & set(rows) <= digests


async def test_nobody_else_may_look_at_anything(granted: str) -> None:
    with psycopg.connect(granted) as connection:
        rows = connection.execute(
            "SELECT c.relname FROM pg_class c, aclexplode(c.relacl) g"
            " WHERE c.relnamespace = 'public'::regnamespace AND g.grantee = 0"
        ).fetchall()
    assert rows == []


async def test_granting_again_changes_nothing_and_a_later_table_gets_its_rights(granted: str, db: Database) -> None:
    before = rights(granted, WRITER), readable(granted, READER)
    assert await migrate.granted(db)
    await migrate.grant(db)
    assert (rights(granted, WRITER), readable(granted, READER)) == before
    await db.execute("CREATE TABLE ebay_later (id int PRIMARY KEY, raw_payload jsonb)")
    await migrate.grant(db)
    assert rights(granted, WRITER)["ebay_later"] == {"SELECT", "INSERT", "UPDATE"}
    assert ("ebay_later", "id") in readable(granted, READER)
    assert ("ebay_later", "raw_payload") not in readable(granted, READER)


async def test_a_login_that_may_not_grant_is_told_so_in_one_line(granted: str, login: Callable[[str], str]) -> None:
    writer = Database(Secret(login(WRITER)))
    with pytest.raises(PermissionRefused, match="may not create the roles"):
        await migrate.grant(writer)
    await writer.close()


async def test_a_login_that_may_not_look_into_the_schema_is_told_that_and_not_to_migrate(
    granted: str, db: Database, login: Callable[[str], str]
) -> None:
    if os.environ.get("EBAYSYNC_TEST_DATABASE") == "odd":
        pytest.skip("the login sees another schema there")
    await db.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC, ebaysync_writer")
    writer = Database(Secret(login(WRITER)))
    for work in (migrate.require_current, migrate.migrate):
        with pytest.raises(PermissionRefused, match="no USAGE on any schema of its search_path") as caught:
            await work(writer)
        assert str(caught.value.hint).endswith("the owner runs: ebaysync migrate --grants (schema public)")
    await migrate.grant(db)
    await migrate.require_current(writer)
    await writer.close()


async def test_the_daily_commands_run_with_the_writers_rights(
    granted: str, login: Callable[[str], str], program: Any, simulator: Any
) -> None:
    sim = simulator(sellers=1, orders_per_seller=5, things=30)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_DATABASE_URL": login(WRITER)}
    [name] = program.add_sellers(sim)
    ended = program("run-all", "--json")
    assert ended.code == 0, ended.err
    [account] = ended.json["accounts"]
    assert {run["family"]: run["status"] for run in account["runs"]} == dict.fromkeys(discover(), "completed")
    for words in (
        ("run", "orders", "--account", name),
        ("backfill", "orders", "--days", "2"),
        ("refresh-tokens", "--force"),
        ("status",),
        ("accounts", "list"),
    ):
        ended = program(*words)
        assert ended.code == 0, (words, ended.err)
    ended = program("accounts", "remove", name, "--yes")
    assert (ended.code, ended.out) == (10, ""), ended.err
    assert "EBAYSYNC_ADMIN_DATABASE_URL" in ended.err.splitlines()[-1]
    ended = program("run", "orders", "--account", name, "--json")
    assert (ended.code, ended.json["status"]) == (0, "completed"), "a refused removal changes nothing"
    for words in (
        ("pause",),
        ("resume",),
        ("families", "disable", "buyer"),
        ("families", "every", "orders", "7", "--account", name),
        ("accounts", "disable", name),
        ("schedule",),
        ("events",),
    ):
        ended = program(*words)
        assert ended.code == 0, (words, ended.err)


async def test_the_doctor_names_what_a_login_may_not_write(
    granted: str, login: Callable[[str], str], tmp_path: Path
) -> None:
    url = login(WRITER)
    db = Database(Secret(url))

    async def complaints(**more: Any) -> list[tuple[str, str]]:
        found = await diagnose(Settings(home=tmp_path, **more), db, [], Stop(), online=False)
        return [(one.subject, one.message) for one in found if one.check == "database" and one.status != "ok"]

    try:
        assert await complaints(admin_database_url=Secret(granted)) == []
        [(subject, message)] = await complaints(admin_database_url=Secret(url))
        assert (subject, "does not own the tables" in message) == ("EBAYSYNC_ADMIN_DATABASE_URL", True)
        with psycopg.connect(granted) as owner:
            owner.execute(f"REVOKE INSERT ON ebay_orders, ebay_events FROM {WRITER}")
        [(subject, message)] = await complaints()
        assert (subject, message.partition(" may not write ")[2]) == ("rights", "ebay_events, ebay_orders")
    finally:
        await db.close()
