"""Secrets and persons are marked, and everything that can go wrong does, at DEBUG: no mark may turn up where it does
not belong. Secrets belong nowhere but into encrypted columns; persons into the domain tables, the changes of events and
the payloads in quarantine, and so onto the standard output of `events` alone, which is there to show them."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest

from ebaysync import settings
from ebaysync.accounts import signing, vault
from ebaysync.families import discover
from ebaysync.sim.apis.oauth import Keyset
from ebaysync.sim.quirks import Quirks
from ebaysync.sim.server import Simulator
from ebaysync.sim.world import World

from .canaries import MAY_HOLD, Canaries, entries, holds_data, persons, private, stored

Added = Callable[..., list[str]]

PASSWORD, CLIENT_SECRET, SECRET_KEY = "canary+Pass%word", "canary-Client/Secret+1", "canary-key/of+32=characters------"
WRONG_PASSWORD, WRONG_CLIENT_SECRET = "canary-wrong-pass", "canary-wrong-client-secret"
UNKNOWN_TOKEN = "v^1.1#canary-unknown/token+1"
US, GB, DE, IT = "us_seller_1", "gb_seller_2", "de_seller_3", "it_seller_4"
POISONED = str(Path(__file__).with_name("poisoned.py"))
QUOTING = "Sorry, {token} of {body} is not for Ivy Smith, 5 Fitzmaurice St."
SERVER = {  # it logs all that it can of statements, and of parameters what the client lets it
    "log_statement": "all",
    "log_min_error_statement": "error",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "-1",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    world = World(1, 4, 6, days=5, things=3, quirks=Quirks(signatures=True))
    with Simulator(world, keyset=Keyset(client_secret=CLIENT_SECRET)) as found:
        yield found


@dataclass
class Watched:
    """The program with marked secrets wherever one can be, on a server of its own that asks for a password, and all
    that was seen of it."""

    program: Any
    sim: Simulator
    server: Any
    url: str
    said: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    """secrets of consents: states, codes and the addresses that had them"""

    def __call__(self, code: int, *arguments: str, given: str = "", environ: dict[str, str] | None = None) -> Any:
        ended = self.program("--verbose", *arguments, given=given, environ=environ)
        assert ended.code == code, f"{arguments}\n{ended.err}"
        self.said.append(ended.err if "events" in arguments else ended.out + ended.err)
        return ended

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = self.program.start("--verbose", *arguments)
        return process

    def end(self, process: subprocess.Popen[str]) -> int:
        self.said += process.communicate(timeout=60)
        return process.returncode

    def fault(self, seller: str, kind: str, path: str = "", **options: Any) -> None:
        self.sim.faults.add(kind, path=path, seller=seller, **options)

    def execute(self, statement: str) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def secrets(self) -> Canaries:
        found = Canaries()
        found.add("password", (PASSWORD, WRONG_PASSWORD))
        found.add("client secret", (CLIENT_SECRET, WRONG_CLIENT_SECRET))
        found.add("basic", (base64.b64encode(f"simulator:{CLIENT_SECRET}".encode()).decode(),))
        found.add("secret key", (SECRET_KEY,))
        found.add("unknown token", (UNKNOWN_TOKEN,))
        found.add("consent", self.given)
        ledger = self.sim.app.ledger
        found.add_tokens("refresh token", ledger.refresh)
        found.add_tokens("access token", ledger.access)
        found.add_tokens("code", ledger.codes)
        return found

    def signing_keys(self) -> Canaries:
        """Of each key what is sent, the JWE, and the private half, which only the stored blob still has."""
        found = Canaries()
        keys = vault.load(settings.load(self.program.environ, env_file=False), may_create=False)
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT client_id, signing_key_id, jwe, private_key FROM ebay_signing_keys")
            for client, key_id, jwe, blob in rows.fetchall():
                private = keys.open(blob, "simulator", client, signing.column(key_id)).reveal()
                found.add("jwe", (jwe,))
                found.add("private key", (private, private[20:], base64.b64decode(private).hex()))
        return found

    def leaks(self) -> dict[str, list[str]]:
        """What turned up where it does not belong, by place."""
        secrets, keys, people = self.secrets(), self.signing_keys(), persons(self.sim)
        people.add("private", private(self.url, self.sim))
        text = "\n".join(self.said)
        found = {"output": secrets.within(text) + keys.within(text) + people.within(text)}
        for (table, column), content in stored(self.url).items():
            of_keys = [] if (table, column) in MAY_HOLD else keys.within(content)
            of_people = [] if holds_data(table, column) else people.within(content)
            found[f"{table}.{column}"] = secrets.within(content) + of_keys + of_people
        for kind, entry in entries(self.server.log.read_text()):
            # DETAIL shows refused rows, which no client can rule; log_error_verbosity = terse does.
            of_people = [] if kind == "DETAIL" else people.within(entry)
            found.setdefault(f"server's {kind}", []).extend(secrets.within(entry) + keys.within(entry) + of_people)
        return {place: leaks for place, leaks in found.items() if leaks}


@pytest.fixture
def watched(program: Any, sim: Simulator, servers: Any, request: pytest.FixtureRequest) -> Iterator[Watched]:
    server = servers.postgres(servers.newest(), PASSWORD, **SERVER | getattr(request, "param", {}))
    url = server.create("ebaysync")
    program.environ |= {
        "EBAYSYNC_DATABASE_URL": url,
        "EBAYSYNC_SIMULATOR_URL": sim.url,
        "EBAYSYNC_SIMULATOR_CLIENT_SECRET": CLIENT_SECRET,
        "EBAYSYNC_SECRET_KEY": SECRET_KEY,
        "EBAYSYNC_INITIAL_BACKFILL_DAYS": "6",
    }
    found = Watched(program, sim, server, url)
    found(0, "migrate", "--grants")
    yield found
    server.stop()


ALL_BUT_TOKENS = "^/(sell|ws|post-order|commerce)"


def refuse_with_quotes(watched: Watched) -> None:
    """One seller's calls are all refused; another's fail for a while; the third's each in their API's way; the fourth's
    answers are wrong in themselves."""
    watched.fault(US, "status", ALL_BUT_TOKENS, status=400, says=QUOTING, times=None)
    watched.fault(GB, "status", "^/sell", status=500, says=QUOTING, times=2)
    watched.fault(GB, "status", "^/post-order", status=503, says=QUOTING, envelope="error", times=1)
    watched.fault(GB, "trading_error", code=10007, says=QUOTING, times=1)
    watched.fault(DE, "status", "^/sell", status=403, says=QUOTING, times=None)
    watched.fault(DE, "status", "^/post-order", status=404, says=QUOTING, envelope="errorMessage", times=None)
    watched.fault(DE, "trading_error", code=37, says=QUOTING, times=None)
    for row in (0, 5):  # one of them may be cancelled: then its detail counts
        watched.fault(IT, "spoil", what="money_person", row=row, times=None)
    watched.fault(IT, "spoil", what="date_person", row=1, times=None)
    watched.fault(IT, "spoil", what="count_person", row=2, times=None)
    watched.fault(IT, "spoil", what="no_id", row=3, times=None)
    watched.fault(IT, "spoil", what="surrogate", row=4, times=None)
    watched.fault(IT, "wrong_shape", "^/sell/finances", times=None)
    watched.fault(IT, "redirect", "^/sell/fulfillment/v1/payment_dispute", to="http://127.0.0.2:9/Ivy", times=None)
    watched.fault(IT, "no_content", "^/sell/inventory", times=None)
    watched.fault(IT, "html", "^/post-order", times=None)
    watched.fault(IT, "xml_spoil", call="GetMyMessages", what="entity", times=None)
    watched.fault(IT, "xml_spoil", call="GetMyeBaySelling", what="doctype", times=None)
    watched.fault(IT, "xml_spoil", call="GetMyeBayBuying", what="html", times=None)


def refuse_for_good(watched: Watched) -> None:
    """One seller's tokens are refused wherever they are used; another's answers are cut, and PostgreSQL refuses its
    rows; the third gets no token; the fourth has not consented to much, and eBay warns."""
    watched.fault(US, "status", "^/(sell|commerce)", status=401, says=QUOTING, times=None)
    watched.fault(US, "status", "^/post-order", status=401, says=QUOTING, envelope="errorMessage", times=None)
    watched.fault(US, "trading_error", code=932, says=QUOTING, times=None)
    watched.fault(GB, "cut", "^/sell", rst=True, times=1)
    watched.fault(GB, "bad_gzip", "^/post-order", times=1)
    watched.fault(GB, "drop", "^/ws", times=1)
    watched.fault(GB, "empty", "^/sell/inventory", times=None)
    watched.fault(GB, "status", "^/sell", status=429, retry_after=0, says=QUOTING, after=2, times=1)
    watched.fault(DE, "status", "/token$", status=400, says=QUOTING, envelope="oauth", times=None)
    watched.fault(IT, "narrow", ALL_BUT_TOKENS, scopes=("https://api.ebay.com/oauth/api_scope",))
    watched.fault(IT, "trading_warning", times=None)
    watched.execute("ALTER TABLE ebay_orders ADD CHECK (order_id = '') NOT VALID")
    watched.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'"
        " USING DETAIL = NEW::text; END $$"
    )
    watched.execute("CREATE TRIGGER no BEFORE INSERT OR UPDATE ON ebay_messages FOR EACH ROW EXECUTE FUNCTION no()")
    watched.execute(
        "UPDATE ebay_sync_state SET cursor_value = NULL, sweep_began_at = NULL WHERE api_family = 'messages'"
    )
    watched.execute(
        "DELETE FROM ebay_messages USING ebay_accounts a WHERE a.id = ebay_account_id AND a.marketplace_id = 'EBAY_GB'"
    )


def test_whatever_goes_wrong_at_ebay_shows_no_secret_and_no_person(watched: Watched, added: Added) -> None:
    sim = watched.sim
    added(watched.program, sim)
    watched(13, "run", "finances", "--account", GB)  # unsigned
    watched(0, "keys", "signing", "create", "-e", "simulator")
    watched(0, "run-all", "--now")
    for seller in sim.world.sellers:
        for order_id in seller.orders:
            sim.world.touch(seller, order_id)
    refuse_with_quotes(watched)
    as_json = {"EBAYSYNC_LOG_FORMAT": "json"}
    ended = watched(3, "run-all", "--now", "--json", environ=as_json)
    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert {line["level"] for line in lines} >= {"debug", "info", "warning"}
    assert all(set(line) == {"at", "level", "logger", "message"} for line in lines)
    sim.faults.clear()
    for seller in sim.world.sellers:
        for order_id in seller.orders:
            sim.world.touch(seller, order_id)
    sim.expire_tokens()
    refuse_for_good(watched)
    watched(3, "run-all", "--now")

    assert watched.leaks() == {}
    text = "\n".join(watched.said)
    assert " debug " in text, "or the test would prove nothing"
    for status in (200, 204, 302, 400, 401, 403, 404, 429, 500):
        assert f"-> {status}" in text, status
    told = {kind for entry in sim.journal for kind in entry.faults}
    assert {"status", "trading_error", "cut", "bad_gzip", "narrow", "trading_warning", "spoil", "xml_spoil"} <= told
    completed = watched.execute("SELECT DISTINCT api_family FROM ebay_worker_run WHERE status = 'completed'")
    assert {family for (family,) in completed} == set(discover())
    codes = {code for (code,) in watched.execute("SELECT summary_json->'error'->>'code' FROM ebay_worker_run")}
    assert codes >= {"access_denied", "not_understood", "rejected", "database"}
    reasons = {reason for (reason,) in watched.execute("SELECT reason FROM ebay_quarantine")}
    for word in ("orderId", "CheckViolation"):
        assert any(word in reason for reason in reasons), reasons
    noted = {field for (field,) in watched.execute("SELECT field FROM ebay_field_notes")}
    assert {"total", "creation_date", "order_line_items.quantity"} <= noted
    log = watched.server.log.read_text()
    assert "Failing row contains" in log
    assert "INSERT INTO ebay_tokens" in log
    people = persons(sim)
    for place in (("ebay_events", "changes"), ("ebay_quarantine", "payload"), ("ebay_messages", "raw_payload")):
        assert people.within(stored(watched.url)[place]), f"{place} has no person: the test would prove nothing"


def test_tokens_keys_codes_and_passwords_that_are_refused_are_not_shown(watched: Watched) -> None:
    sim = watched.sim
    [alice, bob, *_] = sim.world.sellers
    wrong_client = {"EBAYSYNC_SIMULATOR_CLIENT_SECRET": WRONG_CLIENT_SECRET}
    add = ("accounts", "add", "alice", "-e", "simulator", "--refresh-token-stdin")
    watched(12, *add, given=UNKNOWN_TOKEN)
    watched(2, *add, given=f"{UNKNOWN_TOKEN}\n{UNKNOWN_TOKEN}")
    watched(0, *add, given=alice.refresh_token)
    watched(2, "run", "orders", "-a", "alice", environ={"EBAYSYNC_SECRET_KEY": f"canary-other-{SECRET_KEY}"})
    connect(watched, 0, "bob", bob.username)
    connect(watched, 13, "carol", fault="status", envelope="oauth", status=400, says=QUOTING)
    connect(watched, 2, "carol", state="canary-of-another-question")
    sim.faults.add("status", path="/token$", seller=alice.username, status=401, says=QUOTING, envelope="oauth")
    sim.faults.add("html", path="/token$", seller=bob.username)
    watched(3, "refresh-tokens", "--force", "--json")
    sim.faults.clear()
    sim.faults.add("status", path="key_management", status=403, says=QUOTING)
    watched(13, "keys", "signing", "create", "-e", "simulator")
    watched(0, "keys", "signing", "create", "-e", "simulator", "--json")
    rotated = {"EBAYSYNC_SECRET_KEY": f"canary-new-key/{SECRET_KEY},{SECRET_KEY}"}
    watched(0, "keys", "rotate", environ=rotated)
    watched.program.environ |= rotated
    watched(2, "refresh-tokens", "--force", environ=wrong_client)
    sim.revoke(bob)
    watched(3, "run-all", "--now", "--family", "orders")
    watched(10, "status", environ={"EBAYSYNC_DATABASE_URL": watched.server.url(password=WRONG_PASSWORD)})

    leaks = watched.leaks()
    watched.server.stop()
    for command in ("run-all", "doctor"):
        watched(10, command)
    assert leaks == {}
    assert watched.secrets().within("\n".join(watched.said)) == []
    assert any(grant.seller is None for grant in sim.app.ledger.access.values()), "no token of the application's own"
    assert len(sim.app.ledger.codes) == 3


def connect(watched: Watched, code: int, name: str, seller: str = GB, *, state: str = "", **fault: Any) -> None:
    """`accounts connect`, answered with the address where eBay's page leads. What it asks for shows its state, to whom
    has to see it."""
    process = subprocess.Popen(
        watched.program.command("--verbose", "accounts", "connect", name, "--environment", "simulator"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=watched.program.environ,
        cwd=watched.program.folder,
    )
    assert process.stdout
    asked = httpx.URL(process.stdout.readline().strip())
    led = httpx.get(asked, params={**asked.params, "seller": seller}).headers["location"]
    if fault:
        watched.sim.faults.add(fault.pop("fault"), path="/token$", **fault)
    fields = parse_qs(urlsplit(led).query)
    watched.given += [fields["state"][0], fields["code"][0], led]
    out, err = process.communicate(led.replace(fields["state"][0], state) if state else led, timeout=60)
    watched.sim.faults.clear()
    assert process.returncode == code, err
    watched.said += [out, err]


@pytest.mark.parametrize(
    "watched", [{"log_parameter_max_length": "-1", "log_min_error_statement": "debug5"}], indirect=True
)
def test_a_server_that_logs_each_statement_with_its_parameters_gets_secrets_only_encrypted(
    watched: Watched,
) -> None:
    sim = watched.sim
    alice, bob, *_ = sim.world.sellers
    add = ("accounts", "add", "alice", "-e", "simulator", "--refresh-token-stdin")
    watched(0, *add, given=alice.refresh_token)
    connect(watched, 0, "bob", bob.username)
    connect(watched, 13, "carol", fault="status", envelope="oauth", status=400, says=QUOTING)
    sim.faults.add("status", path="/identity/v1/user", status=500, times=None)
    connect(watched, 13, "dave", IT)  # its consent is kept until its seller is known
    sim.faults.clear()
    watched(0, "keys", "signing", "create", "-e", "simulator")
    watched(0, "run-all", "--now")
    watched(0, "refresh-tokens", "--force")
    rotated = {"EBAYSYNC_SECRET_KEY": f"canary-new-key/{SECRET_KEY},{SECRET_KEY}"}
    watched(0, "keys", "rotate", environ=rotated)
    watched.program.environ |= rotated
    watched.execute("ALTER TABLE ebay_tokens ADD CHECK (client_id = 'x') NOT VALID")
    assert watched.program("refresh-tokens", "--force").code != 0, "PostgreSQL refuses what holds a token"

    secrets, keys = watched.secrets(), watched.signing_keys()
    log = watched.server.log.read_text()
    for statement in ("ebay_tokens", "ebay_signing_keys", "ebay_pending_consents", "ebay_keysets"):
        assert re.search(rf"(?s)(INTO|UPDATE) {statement}\b.*?Parameters: .{{9}}", log, re.IGNORECASE), statement
    assert "violates check constraint" in log
    assert all(blob.hex() in log for (blob,) in watched.execute("SELECT refresh_token FROM ebay_tokens"))
    assert secrets.within(log) == []
    private = {each for each in keys.within(log) if not each.startswith("jwe")}
    assert private == set()


def test_what_crashes_is_killed_or_is_interrupted_tells_no_secret_and_no_person_of_it(
    watched: Watched, added: Added, until: Callable[..., Any], descendants: Callable[[int], list[int]]
) -> None:
    sim = watched.sim
    added(watched.program, sim)
    poisons = json.dumps({US: "segfault", GB: "bug", DE: "burst"})
    for environ in ({}, {"EBAYSYNC_LOG_FORMAT": "json"}):
        ended = subprocess.run(
            [sys.executable, POISONED, poisons, "--verbose", "run-all", "--now", "--family", "orders"],
            capture_output=True,
            text=True,
            env=watched.program.environ | environ,
            cwd=watched.program.folder,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 3, ended.stderr
        assert "unexpected RuntimeError" in ended.stderr
        assert "unexpected KeyError" in ended.stderr
        watched.said += [ended.stdout, ended.stderr]
    errors = " ".join(error for (error,) in watched.execute("SELECT last_error FROM ebay_sync_state") if error)
    assert "SIGSEGV" in errors
    assert "KeyError" in errors

    sim.faults.add("slow", path="/order$", seconds=60, times=4)
    process = watched.start("run-all", "--now", "--family", "orders")
    until(lambda: sum("slow" in entry.faults for entry in sim.journal) == 4, "four accounts at work")
    secrets = watched.secrets()
    children = descendants(process.pid)
    assert len(children) >= 4
    for pid in children:
        shown = ("cmdline", "environ")[: 1 + (os.geteuid() == 0)]  # only root may read the latter
        seen = b"\n".join((Path("/proc") / str(pid) / name).read_bytes() for name in shown)
        assert b"ebaysync" in seen
        assert secrets.within(seen.decode(errors="replace")) == []
        assert b"EBAYSYNC_" not in seen
    assert secrets.within(Path(f"/proc/{process.pid}/cmdline").read_text()) == []
    process.terminate()
    assert watched.end(process) == 143
    assert watched.leaks() == {}


def test_commands_that_read_or_tidy_up_show_no_secret_and_no_person(watched: Watched, added: Added) -> None:
    sim = watched.sim
    added(watched.program, sim)
    [seller, *_] = sim.world.sellers
    sim.faults.add("spoil", what="money_person", seller=US, times=None)
    sim.faults.add("xml_spoil", what="control", call="GetMyMessages", seller=DE, times=None)
    watched(0, "run-all", "--now", "--family", "orders", "--family", "messages")
    sim.faults.clear()
    for order_id in seller.orders:
        sim.world.touch(seller, order_id)
    watched(0, "run", "orders", "--account", US, "--dry-run", "--json")
    sim.faults.add("status", path="/order$", seller=GB, status=400, says=QUOTING, times=None)
    watched(3, "backfill", "orders", "cases", "--days", "2", "--json")
    watched(0, "run", "orders", "--account", US)
    [[failed], *_] = watched.execute("SELECT id::text FROM ebay_worker_run WHERE status = 'error'")
    for command in (
        *(("status",), ("runs", "--json"), ("logs", failed), ("events",), ("schedule",), ("families",)),
        *(("accounts", "list"), ("accounts", "show", GB), ("keys", "signing", "list")),
        ("prune", "--dry-run", "--keep-runs", "1", "--keep-addresses", "1", "--keep-raw", "90"),
    ):
        watched(0, *command)
    assert "no signing key" in watched(3, "doctor").out

    buyer = next(iter(seller.orders.values())).body()["buyer"]["username"]
    assert buyer in "\n".join(stored(watched.url).values())
    forgotten = watched(0, "forget", buyer)
    assert "ebay_orders" in forgotten.out
    watched(2, "forget", "Ivy Smith")
    assert watched.leaks() == {}
    assert buyer not in "\n".join(stored(watched.url).values())
    assert buyer.encode().hex() not in "\n".join(stored(watched.url).values())


@pytest.fixture
def without_privileges() -> list[str]:
    """A command's beginning that takes root's right to look into processes: two such processes see of each other what
    two of another user see."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is missing, and root may look into everything")
    return ["setpriv", "--bounding-set=-sys_ptrace,-sys_admin,-perfmon"]


def test_no_core_is_written_and_no_other_process_of_the_user_looks_into_one_that_has_read_secrets(
    program: Any,
    simulator: Any,
    added: Added,
    until: Callable[..., Any],
    without_privileges: list[str],
    descendants: Callable[[int], list[int]],
) -> None:
    sim = simulator(sellers=1, orders_per_seller=1)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_SECRET_KEY": SECRET_KEY}
    added(program, sim)
    sim.faults.add("slow", path="/order$", seconds=60, times=None)
    process = subprocess.Popen(
        [*without_privileges, *program.command("run-all", "--now", "--family", "orders")],
        env=program.environ,
        cwd=program.folder,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: any("slow" in entry.faults for entry in sim.journal), "an account at work")
        family = [process.pid, *descendants(process.pid)]
        assert len(family) == 3, "the command, the forkserver, an account's process"
        for pid in family:
            for name in ("environ", "mem", "maps"):
                look = [*without_privileges, "head", "-c", "1", f"/proc/{pid}/{name}"]
                seen = subprocess.run(look, capture_output=True, text=True, check=False)
                assert "Permission denied" in seen.stderr, (pid, name, seen)
            # 1, not 0: if core_pattern names a program, the kernel ignores every other limit.
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size +1 +1 ", limits), limits
    finally:
        process.kill()
        process.wait()
