"""Secrets are marked, and everything that can go wrong does, at DEBUG: no mark may turn up where it does not belong."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from ebaysync.sim.apis.oauth import Keyset
from ebaysync.sim.server import Simulator
from ebaysync.sim.world import World

Added = Callable[..., list[str]]

PASSWORD, CLIENT_SECRET, SECRET_KEY = "canary+Pass%word", "canary-Client/Secret+1", "canary-key/of+32=characters------"
WRONG_PASSWORD, WRONG_CLIENT_SECRET = "canary-wrong-pass", "canary-wrong-client-secret"
UNKNOWN_TOKEN = "v^1.1#canary-unknown/token+1"
NAMES = ("alice", "bob", "carol")


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(World(1, 3, 6, days=5), keyset=Keyset(client_secret=CLIENT_SECRET)) as found:
        yield found


@pytest.fixture
def guarded(program: Any, sim: Simulator, servers: Any) -> Any:
    """The program with a marked secret wherever one can be, on a server that asks for a password."""
    server = servers.postgres(servers.newest(), PASSWORD)
    program.server = server
    program.environ |= {
        "EBAYSYNC_DATABASE_URL": server.create("ebaysync"),
        "EBAYSYNC_SIMULATOR_URL": sim.url,
        "EBAYSYNC_SIMULATOR_CLIENT_SECRET": CLIENT_SECRET,
        "EBAYSYNC_SECRET_KEY": SECRET_KEY,
        "EBAYSYNC_INITIAL_BACKFILL_DAYS": "6",
    }
    return program


def marks(sim: Simulator) -> dict[str, str]:
    """Every spelling of every secret, by what it is. Of the tokens, whose heads are alike, the last characters too."""
    found = {
        "password": PASSWORD,
        "client secret": CLIENT_SECRET,
        "secret key": SECRET_KEY,
        "wrong password": WRONG_PASSWORD,
        "wrong client secret": WRONG_CLIENT_SECRET,
        "unknown token": UNKNOWN_TOKEN,
        "basic": base64.b64encode(f"simulator:{CLIENT_SECRET}".encode()).decode(),
    }
    for number, token in enumerate((*sim.app.ledger.refresh, *sim.app.ledger.access)):
        found |= {f"token {number}": token, f"end of token {number}": token[-24:]}
    spelled = {}
    for what, value in found.items():
        for spelling in {value, quote(value), quote(value, safe=""), json.dumps(value)[1:-1]}:
            spelled[spelling] = what
    return spelled


def leaks(text: str, sim: Simulator) -> list[str]:
    """What of the secrets is in a text, also as the hexadecimal digits that a bytea prints as."""
    return sorted({what for mark, what in marks(sim).items() if mark in text or mark.encode().hex() in text})


def everything(url: str) -> str:
    """The whole database as text."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "\n".join(row[0] for (name,) in names for row in connection.execute(f"SELECT t::text FROM {name} t"))


def test_a_debug_run_of_everything_that_can_go_wrong_shows_no_secret(guarded: Any, sim: Simulator) -> None:
    said: list[str] = []

    def run(code: int, *arguments: str, given: str = "", environ: dict[str, str] | None = None) -> None:
        ended = guarded("--verbose", *arguments, given=given, environ=environ)
        assert ended.code == code, f"{arguments}\n{ended.err}"
        said.append(ended.out + ended.err)

    def add(name: str) -> tuple[str, ...]:
        return ("accounts", "add", name, "-e", "simulator", "--refresh-token-stdin")

    run(0, "migrate")
    run(2, *add("alice"), given="x", environ={"EBAYSYNC_SIMULATOR_CLIENT_SECRET": WRONG_CLIENT_SECRET})
    run(12, *add("alice"), given=UNKNOWN_TOKEN)
    run(2, *add("alice"), given=f"{UNKNOWN_TOKEN}\n{UNKNOWN_TOKEN}")
    for name, seller in zip(NAMES, sim.world.sellers, strict=True):
        run(0, *add(name), given=seller.refresh_token)
    [alice, bob, carol] = sim.world.sellers
    for kind, code, options in (
        ("expire_tokens", 0, {"after": 1}),
        ("status", 13, {"status": 401, "times": None}),
        ("status", 13, {"status": 403, "times": None}),
        ("status", 0, {"status": 429, "retry_after": 0, "times": 2}),
        ("status", 0, {"status": 500, "times": 2}),
        ("html", 13, {"times": None}),
        ("cut", 0, {"times": 2}),
        ("redirect", 13, {"times": None}),
        ("spoil", 0, {"what": "money_text", "times": None}),
    ):
        path = "/order$"
        sim.faults.add(kind, path=path, seller=alice.username, **options)
        run(code, "run", "orders", "--account", "alice", "--json")
        sim.faults.clear()
    for kind, code, options in (
        ("status", 3, {"status": 401}),
        ("html", 3, {}),
        ("wrong_shape", 3, {}),
        ("cut", 0, {}),
    ):
        sim.faults.add(kind, path="/token$", **options)
        run(code, "refresh-tokens", "--account", "alice", "--force")
        sim.faults.clear()
    run(2, "refresh-tokens", "--force", environ={"EBAYSYNC_SIMULATOR_CLIENT_SECRET": WRONG_CLIENT_SECRET})
    run(2, "run", "orders", "-a", "bob", environ={"EBAYSYNC_SECRET_KEY": f"canary-other-{SECRET_KEY}"})
    sim.revoke(bob)
    sim.faults.add("status", path="/order", status=403, seller=carol.username, times=None)
    run(3, "run-all", "--now")
    run(3, "backfill", "orders", "--days", "2")
    for command in (("status",), ("accounts", "list", "--json"), ("status", "--json")):
        run(0, *command)
    run(10, "status", environ={"EBAYSYNC_DATABASE_URL": guarded.server.url(password=WRONG_PASSWORD)})
    guarded.server.stop()
    run(10, "run-all")
    run(10, "migrate")

    text = "\n".join(said)
    assert leaks(text, sim) == []
    assert " debug " in text, "or the test would prove nothing"
    assert "-> 401" in text
    assert len(sim.app.ledger.access) >= 5


def test_the_database_keeps_no_secret_readable(guarded: Any, sim: Simulator, added: Added) -> None:
    assert guarded("migrate").code == 0
    added(guarded, sim)
    [alice, bob, _] = sim.world.sellers
    sim.faults.add("status", path="/order$", seller=alice.username, status=401, times=None)
    sim.revoke(bob)
    assert guarded("--verbose", "run-all").code == 3
    wrong = {"EBAYSYNC_SIMULATOR_CLIENT_SECRET": WRONG_CLIENT_SECRET}
    assert guarded("refresh-tokens", "--force", environ=wrong).code == 3
    stored = everything(guarded.environ["EBAYSYNC_DATABASE_URL"])
    assert alice.user_id in stored
    assert "invalid_client" in stored
    assert leaks(stored, sim) == []


def test_the_json_log_is_json_and_shows_no_secret(guarded: Any, sim: Simulator, added: Added) -> None:
    guarded.environ["EBAYSYNC_LOG_FORMAT"] = "json"
    assert guarded("migrate").code == 0
    added(guarded, sim)
    sim.expire_tokens()
    sim.faults.add("status", path="/order$", status=500, times=1)
    ended = guarded("--verbose", "run-all", "--json")
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert {line["level"] for line in lines} >= {"debug", "info"}
    assert all(set(line) == {"at", "level", "logger", "message"} for line in lines)
    assert leaks(ended.out + ended.err, sim) == []


def test_no_secret_is_in_arguments_or_environment_of_the_accounts_processes(
    guarded: Any,
    sim: Simulator,
    added: Added,
    until: Callable[..., Any],
    descendants: Callable[[int], list[int]],
) -> None:
    assert guarded("migrate").code == 0
    added(guarded, sim)
    sim.faults.add("slow", path="/order$", seconds=60, times=3)
    process = guarded.start("run-all", "--family", "orders")
    until(lambda: sum("slow" in entry.faults for entry in sim.journal) == 3, "three accounts at work")
    children = descendants(process.pid)
    assert len(children) >= 3
    for pid in children:
        seen = b"\n".join((Path("/proc") / str(pid) / name).read_bytes() for name in ("cmdline", "environ"))
        assert b"ebaysync" in seen
        assert leaks(seen.decode(errors="replace"), sim) == []
        assert b"EBAYSYNC_" not in seen
    arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
    assert leaks(arguments, sim) == []
    sim.stop()
    process.terminate()
    process.communicate()
