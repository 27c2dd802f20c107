"""All families, signed calls and a consent, through every kind of failure at DEBUG: secrets stand in their encrypted
columns alone, and what tells of a buyer in the tables of data, in `ebay_events` and in quarantined payloads."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest

from ebaysync import settings
from ebaysync.accounts import signing, vault
from ebaysync.families import discover
from ebaysync.sim.apis.oauth import Keyset
from ebaysync.sim.server import Simulator
from ebaysync.sim.world import World

PASSWORD, CLIENT_SECRET, SECRET_KEY = "canary+Pass%word", "canary-Client/Secret+1", "canary-key/of+32=characters------"
SHORTEST = 8  # characters: shorter personal values are ordinary words somewhere
REST, TRADING = r"^/(sell|post-order|commerce)/", r"^/ws/api\.dll$"

# By turns for the sellers: what happens to each call of a round. A round is one run-all.
ROUNDS: tuple[tuple[tuple[str, str, dict[str, Any]], ...], ...] = (
    (("status", REST, {"status": 401}), ("status", REST, {"status": 403}), ("status", REST, {"status": 404})),
    (("html", REST, {}), ("redirect", REST, {}), ("wrong_shape", REST, {})),
    (("empty", REST, {}), ("cut", REST, {"times": 1}), ("status", REST, {"status": 500, "times": 2})),
    (("drop", REST, {"times": 1}), ("bad_gzip", REST, {"times": 1}), ("status", REST, {"status": 400})),
    (("trading_error", "", {"code": 931}), ("trading_error", "", {"code": 10007}), ("html", TRADING, {})),
    (("xml_spoil", "", {"what": "doctype"}), ("xml_spoil", "", {"what": "control"}), ("cut", TRADING, {"times": 1})),
    (("spoil", "", {"what": "money_text"}), ("spoil", "", {"what": "no_id"}), ("spoil", "", {"what": "surrogate"})),
)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    world = World(4, 3, 8, days=5, things=8, signatures=True)
    with Simulator(world, keyset=Keyset(client_secret=CLIENT_SECRET)) as found:
        yield found


@pytest.fixture
def place(program: Any, sim: Simulator, servers: Any) -> Any:
    """The program on a server that asks for a password and logs every statement."""
    server = servers.postgres(servers.newest(), PASSWORD)
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET log_statement = 'all'")
        admin.execute("SELECT pg_reload_conf()")
    program.environ |= {
        "EBAYSYNC_DATABASE_URL": server.create("ebaysync"),
        "EBAYSYNC_SIMULATOR_URL": sim.url,
        "EBAYSYNC_SIMULATOR_CLIENT_SECRET": CLIENT_SECRET,
        "EBAYSYNC_SECRET_KEY": SECRET_KEY,
        "EBAYSYNC_INITIAL_BACKFILL_DAYS": "6",
    }
    return SimpleNamespace(
        program=program, log=servers.folders[-1] / "log", url=program.environ["EBAYSYNC_DATABASE_URL"]
    )


def test_secrets_and_buyers_are_found_nowhere_but_where_they_belong(
    place: Any, sim: Simulator, added: Callable[..., list[str]], until: Callable[..., Any]
) -> None:
    program, said = place.program, []

    def run(codes: set[int], *arguments: str, given: str = "", environ: dict[str, str] | None = None) -> Any:
        ended = program("--verbose", *arguments, given=given, environ=environ)
        assert ended.code in codes, f"{arguments}\n{ended.err[-4000:]}"
        said.append(f"{arguments[0]}\n{ended.out}{ended.err}")
        return ended

    def sql(statement: str) -> list[Any]:
        with psycopg.connect(place.url) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    run({0}, "migrate", "--grants")
    secrets = connect(program, said)
    names = added(program, sim)
    run({0}, "keys", "signing", "create", "-e", "simulator")
    run({0}, "run-all")
    personal = buyers(place.url, sim)
    assert len(personal) > 60

    for number, faults in enumerate(ROUNDS):
        sql("UPDATE ebay_sync_state SET cursor_value = NULL WHERE api_family IN ('orders', 'messages')")
        for turn, seller in enumerate(sim.world.sellers):
            kind, path, options = faults[(turn + number) % len(faults)]
            own = {"path": path} if path else {}
            if kind == "status":  # an answer that quotes what it was sent, as some do
                own["says"] = f"No way with {[*sim.app.ledger.access][-1]} of {seller.refresh_token}"
            sim.faults.add(kind, seller=seller.username, **{"times": None, **own, **options})
        run({0, 3}, "run-all", "--now", environ={"EBAYSYNC_LOG_FORMAT": ("text", "json")[number % 2]})
        sim.faults.clear()
        sql("UPDATE ebay_accounts SET needs_consent = false")
    assert {code for (code,) in sql("SELECT last_error_code FROM (SELECT summary_json->'error'->>'code' FROM"
                                    " ebay_worker_run) AS r (last_error_code) WHERE last_error_code IS NOT NULL")} >= {
        "access_denied", "not_understood", "rejected",
    }  # fmt: skip
    assert sql("SELECT count(*) FROM ebay_quarantine")[0][0] > 0

    # What PostgreSQL refuses it quotes: a record (which goes to quarantine), and all of a table.
    sql("ALTER TABLE ebay_orders ADD CHECK (buyer_username = '') NOT VALID")
    sql("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no: %', NEW; END $$")
    sql("CREATE TRIGGER no BEFORE INSERT OR UPDATE ON ebay_messages FOR EACH ROW EXECUTE FUNCTION no()")
    sql("UPDATE ebay_sync_state SET cursor_value = NULL WHERE api_family = 'messages'")
    sql("DELETE FROM ebay_orders")
    sql("DELETE FROM ebay_messages")
    run({0, 3}, "run-all", "--now")
    run({0, 3, 10}, "backfill", "--days", "3", "--account", names[0])
    sql("DROP TRIGGER no ON ebay_messages")
    run({0}, "run", "returns", "--account", names[1], "--dry-run")

    run({0, 3}, "refresh-tokens", "--force")
    run({2}, "run", "orders", "-a", names[1], environ={"EBAYSYNC_SECRET_KEY": f"canary-other-{SECRET_KEY}"})
    run({0}, "keys", "rotate", environ={"EBAYSYNC_SECRET_KEY": f"canary-other-{SECRET_KEY},{SECRET_KEY}"})
    run({0}, "keys", "rotate", environ={"EBAYSYNC_SECRET_KEY": f"{SECRET_KEY},canary-other-{SECRET_KEY}"})
    [(failed,)] = sql("SELECT id::text FROM ebay_worker_run WHERE status = 'error' ORDER BY started_at LIMIT 1")
    for command in (
        *(("status",), ("runs",), ("logs", failed), ("schedule",), ("families",), ("prune", "--dry-run")),
        *(("accounts", "list"), ("accounts", "show", names[1]), ("keys", "signing", "list"), ("doctor",)),
    ):
        run({0, 3}, *command)
    name = sql("SELECT buyer FROM ebay_inquiries WHERE buyer IS NOT NULL ORDER BY 1 LIMIT 1")[0][0]
    erased = program("--verbose", "forget", name)
    assert erased.code == 0, erased.err
    said.append(terminated(program, sim, until))

    secrets |= keys(program, sim)
    text = "\n".join(said)
    assert found_in(text, secrets) == []
    assert found_in(text, personal) == []
    assert " debug " in text
    assert '"level": "debug"' in text
    stored, elsewhere = dumped(place.url)
    assert found_in(stored, secrets) == []
    assert found_in(elsewhere, personal) == []
    assert len(found_in(stored, personal)) > len(personal) / 2
    statements = without_details(place.log.read_text(errors="replace"))
    assert "UPDATE ebay_tokens" in statements
    assert found_in(statements, secrets) == []
    assert [what for what in found_in(statements, personal) if what != name] == []


def connect(program: Any, said: list[str]) -> set[str]:
    """The consent of the first seller, from page to account; its state and code."""
    command = program.command("--verbose", "accounts", "connect", "first", "-e", "simulator")
    process = subprocess.Popen(
        command, stdin=-1, stdout=-1, stderr=-1, text=True, env=program.environ, cwd=program.folder
    )
    assert process.stdout
    url = process.stdout.readline().strip()
    landed = httpx.get(url).headers["location"]
    out, err = process.communicate(f"{landed}\n", timeout=60)
    assert process.returncode == 0, err
    said.append(out + err)
    with psycopg.connect(program.environ["EBAYSYNC_DATABASE_URL"]) as connection:
        connection.execute("UPDATE ebay_accounts SET name = username")  # and the fixture finds it
    return {parse_qs(urlsplit(url).query)["state"][0], parse_qs(urlsplit(landed).query)["code"][0], landed}


def keys(program: Any, sim: Simulator) -> set[str]:
    """What must not be seen: the settings' secrets, every token that was ever given, the private signing key."""
    found = {PASSWORD, CLIENT_SECRET, SECRET_KEY, *sim.app.ledger.refresh, *sim.app.ledger.access}
    configured = settings.load(program.environ, env_file=False)
    with psycopg.connect(program.environ["EBAYSYNC_DATABASE_URL"]) as connection:
        rows = connection.execute("SELECT client_id, signing_key_id, private_key FROM ebay_signing_keys").fetchall()
    for client, key_id, blob in rows:
        opened = vault.load(configured, may_create=False).open(blob, "simulator", client, signing.column(key_id))
        found |= {opened.reveal(), opened.reveal()[-40:]}
    assert rows
    return found | {token[-24:] for token in (*sim.app.ledger.refresh, *sim.app.ledger.access)}


def buyers(url: str, sim: Simulator) -> set[str]:
    """Every value of the columns that the reader may not see: names, addresses, texts; of long texts each line."""
    own = {text for seller in sim.world.sellers for text in (seller.username, seller.user_id)}
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT p.table_name, p.column_name FROM ebay_private_columns p JOIN information_schema.columns c"
            " USING (table_name, column_name) JOIN information_schema.tables t USING (table_name)"
            " WHERE c.data_type = 'text' AND t.table_type = 'BASE TABLE'"
        ).fetchall()
        values = {
            value
            for table, column in columns
            for (value,) in connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL")
        }
    assert {table for table, _ in columns} >= {"ebay_orders", "ebay_messages", "ebay_returns", "ebay_cases"}
    lines = {line.strip() for value in values for line in value.splitlines()}
    return {line for line in lines if len(line) >= SHORTEST and line not in own}


def found_in(text: str, marks: set[str]) -> list[str]:
    return sorted(mark for mark in marks if mark in text or mark.encode().hex() in text)


def dumped(url: str) -> tuple[str, str]:
    """The whole database as text; and what of it is no data: without the families' tables, events and payloads."""
    data = {table.name for family in discover().values() for table in family.tables} | {"ebay_events"}
    everything, elsewhere = [], []
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            rows = [row[0] for row in connection.execute(f"SELECT t::text FROM {table} t")]
            if table == "ebay_quarantine":
                payloads = connection.execute("SELECT reason, payload FROM ebay_quarantine").fetchall()
                rows += [bytes(payload).decode(errors="replace") for _, payload in payloads]
                elsewhere += [reason for reason, _ in payloads]
            elif table not in data:
                elsewhere += rows
            everything += rows
    return "\n".join(everything), "\n".join(elsewhere)


def without_details(log: str) -> str:
    """PostgreSQL's log without DETAIL and CONTEXT, which hold parameters and rows: the server's own settings rule them.
    An entry's further lines begin with a tab."""
    entries = re.split(r"\n(?!\t)", log)
    return "\n".join(entry for entry in entries if not re.search(r"\] (DETAIL|CONTEXT|ERROR): ", entry[:80]))


def terminated(program: Any, sim: Simulator, until: Callable[..., Any]) -> str:
    """What a run says that is ended by SIGTERM while eBay is slow."""
    sim.journal.clear()
    sim.faults.add("slow", path="/order$", seconds=30, times=None)
    process = program.start("--verbose", "run-all", "--now", "--family", "orders")
    until(lambda: any("slow" in entry.faults for entry in sim.journal), "a run at work")
    process.send_signal(signal.SIGTERM)
    sim.faults.clear()
    sim.stop()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    return str(out + err)
