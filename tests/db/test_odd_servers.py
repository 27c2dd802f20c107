"""Servers that other people configured: settings, encodings, strangers' tables, no TLS, no answer."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from ebaysync.errors import DatabaseError
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.store import database, migrate
from ebaysync.store.conninfo import conninfo
from ebaysync.store.database import Database, TransientDatabaseError

TIME = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
TEXT = "München \\ 'quoted' \\n 日本 🎈"
ASKED = """
SELECT CAST(:time AS timestamptz) AS time, CAST(:time AS date) AS day, :text AS text, CAST(:bytes AS bytea) AS bytes,
    CAST(:span AS interval) AS span, -CAST(:span AS interval) AS back, 0.1::float8 + 0.2 AS sum, '\\x' AS two,
    CAST(ARRAY[CAST(:time AS timestamptz)] AS text) AS written, current_setting('search_path') AS path
"""
SPAN = timedelta(days=3, hours=4, microseconds=5)
EXPECTED = (TIME, date(2026, 3, 4), TEXT, b"\x00\\x\xff", SPAN, -SPAN, 0.1 + 0.2, "\\x")


async def test_values_are_exact_on_a_server_of_odd_settings(
    empty_database_url: str, odd: Callable[[str], None]
) -> None:
    odd(empty_database_url)
    db = Database(Secret(empty_database_url))
    values = {"time": TIME, "text": TEXT, "bytes": b"\x00\\x\xff", "span": SPAN}
    for _ in range(2):  # the second transaction knows the schema
        [row] = await db.rows(ASKED, **values)
        assert row[:-2] == EXPECTED
        assert row[-2:] == ('{"2026-03-04 05:06:07.000089+00"}', "public, pg_temp")
        [row] = (await db.transact(lambda connection: connection.execute(ASKED, values))).rows
        assert row[:-2] == EXPECTED
        asked = "SELECT unnest(CAST(:several AS bytea[])) AS bytes"
        assert await db.rows(asked, several=[b"\x00\\x\xff"]) == [(b"\x00\\x\xff",)]
    await db.close()


async def test_the_schema_is_made_and_found_beside_other_peoples_tables_of_our_names(
    empty_database_url: str, odd: Callable[[str], None]
) -> None:
    odd(empty_database_url)
    db = Database(Secret(empty_database_url))
    assert len(await migrate.migrate(db)) == len(migrate.available())
    await migrate.require_current(db)
    await db.close()
    with psycopg.connect(empty_database_url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert found is not None
        assert found[0] > len(discover())
        assert connection.execute("SELECT count(*) FROM somebody.ebaysync_schema").fetchone() == (0,)


async def test_tables_may_be_in_another_schema_of_the_logins_search_path(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA our_own")
        admin.execute(f'ALTER DATABASE "{admin.info.dbname}" SET search_path = nowhere, our_own, public')
    db = Database(Secret(empty_database_url))
    await migrate.migrate(db)
    await migrate.require_current(db)
    asked = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'ebay%' AND schemaname <> 'somebody'"
    assert await db.rows(asked) == [("our_own",)]
    await db.close()


async def test_a_temporary_table_hides_nothing(db: Database) -> None:
    async def work(connection: Any) -> Any:
        await connection.send("CREATE TEMPORARY TABLE ebay_accounts (theirs int) ON COMMIT DROP")
        return await connection.execute("SELECT name FROM ebay_accounts")

    assert (await db.transact(work)).rows == []


async def test_tables_that_only_somebody_else_owns_are_refused(
    empty_database_url: str, odd: Callable[[str], None]
) -> None:
    odd(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{admin.info.dbname}" SET search_path = somebody')
    db = Database(Secret(empty_database_url))
    for work in (migrate.migrate, migrate.require_current):
        with pytest.raises(DatabaseError, match="belongs to ebaysync_test_somebody"):
            await work(db)
    await db.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_of_another_encoding_is_refused_by_every_command(server: str, encoding: str) -> None:
    name = f"test_encoding_{encoding.lower()}_{id(encoding)}"
    url = conninfo_to_dict(server)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
        db = Database(Secret(psycopg.conninfo.make_conninfo(**url | {"dbname": name})))
        for work in (migrate.migrate, migrate.require_current, migrate.pending):
            with pytest.raises(DatabaseError, match=f"keeps text as {encoding}") as caught:
                await work(db)
            assert "createdb -E UTF8 -T template0" in str(caught.value.hint)
        assert (await db.rows("SELECT :text AS text", text="plain"))[0].text == "plain"
        await db.close()
        admin.execute(f"DROP DATABASE {name}")


REMOTE = "postgresql://u:p@db.example.org/x"


@pytest.mark.parametrize(
    ("url", "environ", "mode"),
    [
        (REMOTE, {}, "require"),
        ("postgresql+psycopg://u@10.0.0.1/x", {}, "require"),
        ("host=db.example.org dbname=x", {}, "require"),
        ("postgresql://u@/x?host=db.example.org", {}, "require"),
        ("postgresql://localhost/x?hostaddr=10.0.0.1", {}, "require"),
        ("postgresql://127.0.0.1,db.example.org/x", {}, "require"),
        ("postgresql://[2001:db8::1]/x", {}, "require"),
        ("postgresql:///x", {"PGHOST": "db.example.org"}, "require"),
        ("postgresql://localhost/x", {"PGHOSTADDR": "10.0.0.1"}, "require"),
        (f"{REMOTE}?sslrootcert=/ca.pem", {}, "verify-full"),
        (REMOTE, {"PGSSLROOTCERT": "system"}, "verify-full"),
        ("service=far", {}, "require"),
        ("dbname=x", {"PGSERVICE": "far"}, "require"),
        ("service=plain", {}, None),
        ("service=far host=localhost", {}, None),
        (f"{REMOTE}?sslmode=disable", {}, "disable"),
        (f"{REMOTE}?sslmode=prefer&sslrootcert=/ca.pem", {}, "prefer"),
        (REMOTE, {"PGSSLMODE": "allow"}, None),
        ("postgresql:///x", {}, None),
        ("postgresql://u:p@localhost:5432/x", {}, None),
        ("postgresql://127.1.2.3/x", {}, None),
        ("postgresql://[::1]/x", {}, None),
        ("postgresql://%2Frun%2Fpostgresql/x", {}, None),
        ("postgresql://db.example.org/x?hostaddr=127.0.0.1", {}, None),
        ("postgresql://localhost,127.0.0.1/x", {}, None),
    ],
)
def test_tls_is_demanded_of_a_server_elsewhere_unless_the_user_says_otherwise(
    url: str, environ: dict[str, str], mode: str | None, tmp_path: Path
) -> None:
    (tmp_path / ".pg_service.conf").write_text("# ours\n[far]\nhost=db.example.org\n[plain]\nhost=x\nsslmode=prefer\n")
    assert conninfo_to_dict(conninfo(url, {"HOME": str(tmp_path)} | environ)).get("sslmode") == mode


def test_a_root_certificate_in_the_home_directory_is_used(tmp_path: Path) -> None:
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql/root.crt").touch()
    assert conninfo_to_dict(conninfo(REMOTE, {"HOME": str(tmp_path)}))["sslmode"] == "verify-full"


@contextmanager
def fake(answer: bytes = b"") -> Iterator[tuple[int, list[bytes]]]:
    """A server on loopback that answers everything with the same bytes, or with nothing. Its port, and what it was sent
    by each connection."""
    heard: list[bytes] = []
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                    held.append(peer)
                    first = peer.recv(4096)
                    if first.endswith(b"\x04\xd2\x16\x2f"):  # SSLRequest: no
                        peer.sendall(b"N")
                        first = peer.recv(4096)
                    heard.append(first)
                    if answer and first:
                        peer.sendall(answer)
                        heard[-1] += peer.recv(4096)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], heard
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    for peer in held:
        peer.close()


ASKS_FOR_THE_PASSWORD = b"R\x00\x00\x00\x08\x00\x00\x00\x03"


async def test_a_server_elsewhere_without_tls_never_gets_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake(ASKS_FOR_THE_PASSWORD) as (port, heard):
        url = f"postgresql://u:s3cret@db.example.org:{port}/x"
        away = conninfo(url).replace("db.example.org", "127.0.0.1")  # what a name resolver would say
        with pytest.raises(psycopg.OperationalError, match="does not support SSL"):
            await psycopg.AsyncConnection.connect(away)
        monkeypatch.setattr(database, "conninfo", lambda url: away)
        db = Database(Secret(url))
        with pytest.raises(DatabaseError, match="offers no TLS") as caught:
            await db.rows("SELECT 1")
        assert "?sslmode=disable" in str(caught.value.hint)
        assert not any(b"s3cret" in each for each in heard)
        monkeypatch.undo()
        # The same server gets it where the URL says so: the fake works.
        with pytest.raises((psycopg.OperationalError, TimeoutError)):
            async with asyncio.timeout(0.5):
                await psycopg.AsyncConnection.connect(f"{away} sslmode=disable")
        assert b"s3cret" in heard[-1]


@pytest.mark.parametrize("addresses", [1, 3])
async def test_all_attempts_together_wait_for_a_silent_server_as_long_as_one(addresses: int) -> None:
    with fake() as (port, heard):
        hosts = ",".join([f"127.0.0.1:{port}"] * addresses)
        db = Database(Secret(f"postgresql://u@{hosts}/x?sslmode=disable"), patience=0.2)
        with pytest.raises(TransientDatabaseError):
            await db.rows("SELECT 1")
        assert len(heard) <= 1


def test_no_command_waits_longer_than_15_seconds_for_a_connection() -> None:
    pauses = sum(database.SHORTEST_WAIT * 2**n for n in range(database.ATTEMPTS - 1))
    assert database.PATIENCE + pauses <= 15


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("FATAL:  Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen", "28P01"),
        ("FATAL:  Datenbank »x« existiert nicht", "3D000"),
        ("FATAL:  Rolle »u« existiert nicht", "28000"),
        ("FATAL:  tut mir leid, schon zu viele Verbindungen", "53300"),
        ("FATAL:  das Datenbanksystem startet", "57P03"),
        ('ВАЖНО:  база данных "x" не существует', ""),
    ],
)
def test_a_refusal_in_german_is_understood_and_others_are_retried(said: str, state: str) -> None:
    assert database._state_of_refusal(f"connection failed: {said}") == state
