"""Bad input ends in one clear line and the documented exit code, and nothing is written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

Query = Callable[..., list[Any]]
Complains = Callable[..., None]
Content = Callable[..., dict[str, str]]

# Tables that tell of a run that failed; nothing else may change by it.
ASKED = ("ebay_api_usage", "ebay_keysets")  # run-all asks eBay for its quotas, as the application, with no key
TELLING = ("ebay_worker_run", "ebay_api_worker_log", "ebay_sync_state", "ebay_lease", "ebay_token_refresh_log")


@pytest.fixture
def sim(simulator: Callable[..., Any], program: Any) -> Any:
    """A simulator with two small sellers, known to the program."""
    found = simulator(sellers=2, orders_per_seller=5)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = found.url
    return found


@pytest.fixture
def alice(sim: Any, program: Any, added: Callable[..., list[str]]) -> Any:
    """The first seller, added as alice, and nobody else."""
    [seller, _] = sim.world.sellers
    added(program, sim)
    with psycopg.connect(program.environ["EBAYSYNC_DATABASE_URL"]) as connection:
        connection.execute("DELETE FROM ebay_accounts WHERE ebay_user_id <> %s", [seller.user_id])
        connection.execute("UPDATE ebay_accounts SET name = 'alice'")
    sim.journal.clear()
    return seller


ADD = ("accounts", "add", "alice", "-e", "simulator", "--refresh-token-stdin")
RUN = ("run", "orders", "--account", "alice")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "ordres", "--account", "a"), ("'ordres'", "orders")),
        (("run", "orders", "--account", "nobody"), ("'nobody'", "accounts list")),
        (("run", "orders"), ("--account",)),
        (("run", "orders", "--account", "a", "--frce"), ("--frce",)),
        (("run", "orders", "--account", "a", "--time-limit", "soon"), ("--time-limit",)),
        (("run", "orders", "--account", "a", "--time-limit", "nan"), ("--time-limit",)),
        (("run-all", "--family", "ordres"), ("'ordres'",)),
        (("run-all", "--jobs", "0"), ("--jobs",)),
        (("backfill", "orders"), ("--days",)),
        (("backfill", "orders", "--days", "99999999"), ("--days",)),
        (("backfill", "ordres", "--days", "3"), ("'ordres'",)),
        (("status", "--account", "nobody"), ("'nobody'",)),
        (("stauts",), ("stauts",)),
        (("accounts", "add", "alice"), ("--environment",)),
        (("accounts", "add", "alice", "-e", "simulator"), ("--refresh-token-stdin",)),
        (("accounts", "add", "alice", "-e", "live", "--refresh-token-stdin"), ("--environment", "'live'", "sandbox")),
        (("accounts", "add", "", "-e", "simulator", "--refresh-token-stdin"), ("NAME",)),
        ((*ADD, "--consented-on", "yesterday"), ("--consented-on", "yesterday")),
        (("--nonsense",), ("--nonsense",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_argument_is_named(
    program: Any, complains: Complains, content: Content, database_url: str, arguments: Any, words: Any
) -> None:
    before = content(database_url)
    complains(program(*arguments, environ={"EBAYSYNC_SIMULATOR_URL": "http://127.0.0.1:9"}), 2, *words)
    assert content(database_url) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EBAYSYNC_DATABASE_URL", "nonsense"),
        ("EBAYSYNC_DATABASE_URL", "mysql://u:hidden-word@h/db"),
        ("EBAYSYNC_DATABASE_URL", "postgresql://u:hidden-word@[::1/db"),
        ("EBAYSYNC_DATABASE_URL", "postgresql://u:hidden-word@h:99999/db"),
        ("EBAYSYNC_DATABASE_URL", "postgresql://u:hidden-word@127.0.0.1:9/db?ssl=hidden-word"),
        ("EBAYSYNC_DATABASE_URL", "postgresql://u:hidden%word@127.0.0.1:9/db"),
        ("EBAYSYNC_JOBS", "many"),
        ("EBAYSYNC_JOBS", "0"),
        ("EBAYSYNC_JOBS", "1.5"),
        ("EBAYSYNC_JOBS", "9" * 5000),
        ("EBAYSYNC_ACCOUNT_TIMEOUT", "-1"),
        ("EBAYSYNC_OVERLAP_MINUTES", "99999999999999"),
        ("EBAYSYNC_SETTLE_SECONDS", "99999999999999"),
        ("EBAYSYNC_MAX_WINDOW_HOURS", "99999999999999"),
        ("EBAYSYNC_INITIAL_BACKFILL_DAYS", "99999999999999"),
        ("EBAYSYNC_LOG_FORMAT", "xml"),
        ("EBAYSYNC_SIMULATOR_URL", "http://203.0.113.7:8090"),
        ("EBAYSYNC_SIMULATOR_URL", "127.0.0.1:8090"),
        ("EBAYSYNC_SIMULATOR_URL", "http://127.0.0.1:port"),
        ("EBAYSYNC_SIMULATOR_URL", "http://[::1"),
        ("EBAYSYNC_ENV_FILE", "/nonexistent/ebaysync.env"),
        ("EBAYSYNC_ENV_FILE", "~nobody-of-that-name/env"),
        ("EBAYSYNC_HOME", "~nobody-of-that-name/home"),
    ],
)
def test_a_wrong_setting_is_named(program: Any, complains: Complains, name: str, value: str) -> None:
    ended = program("status", environ={name: value})
    complains(ended, 2, name)
    assert "hidden" not in ended.err
    assert len(ended.err) < 500


def in_env_file(program: Any) -> Path:
    path: Path = program.folder / ".env"
    path.write_text("EBAY_CLIENT_SECRET=a-word-of-ours\n")
    path.chmod(0o600)
    program.environ["EBAYSYNC_ENV_FILE"] = ".env"  # root does not read it by itself
    return path


def test_an_env_file_that_others_can_read_is_refused_only_while_it_holds_secrets(
    program: Any, complains: Complains
) -> None:
    path = in_env_file(program)
    assert program("status").code == 0
    path.chmod(0o604)
    ended = program("status")
    complains(ended, 2, ".env", "0604", "chmod 600")
    assert "a-word-of-ours" not in ended.err
    path.write_text("EBAYSYNC_JOBS=3\n")
    assert program("status").code == 0


def test_an_env_file_that_is_a_directory_or_no_text_is_named(program: Any, complains: Complains) -> None:
    path = in_env_file(program)
    path.write_bytes(b"EBAY_CLIENT_SECRET=\xff\xfe")
    complains(program("status"), 2, ".env", "UTF-8")
    path.unlink()
    path.mkdir()
    complains(program("status"), 2, ".env")
    complains(program("status", environ={"EBAYSYNC_ENV_FILE": str(path)}), 2, ".env")


def test_an_env_file_that_cannot_be_read_is_named(program: Any, complains: Complains) -> None:
    path = in_env_file(program)
    path.chmod(0)
    if os.geteuid() == 0:  # root without the right to read everything
        fewer = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if not shutil.which("setpriv") or subprocess.run([*fewer, "true"], check=False).returncode:
            pytest.skip("root can read every file, and setpriv does not help")
        program.command = lambda *arguments: [*fewer, *type(program).command(*arguments)]
    complains(program("status"), 2, ".env", "Permission denied")


def test_a_setting_of_the_environment_goes_before_the_env_file(program: Any, complains: Complains) -> None:
    in_env_file(program).write_text("EBAYSYNC_JOBS=nonsense\n")
    complains(program("status"), 2, "EBAYSYNC_JOBS in .env: 'nonsense' is not usable")
    assert program("status", environ={"EBAYSYNC_JOBS": "2"}).code == 0


# --- the database -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("migrate",), ("run-all",), RUN])
def test_a_database_that_is_down_ends_with_10(program: Any, complains: Complains, command: tuple[str, ...]) -> None:
    closed = {"EBAYSYNC_DATABASE_URL": "postgresql://u:hidden-word@127.0.0.1:9/db"}
    ended = program(*command, environ=closed)
    complains(ended, 10, "127.0.0.1:9/db", "EBAYSYNC_DATABASE_URL")
    assert "hidden" not in ended.err


def test_a_database_that_does_not_exist_ends_with_10(program: Any, complains: Complains, own_server: Any) -> None:
    complains(program("status", environ={"EBAYSYNC_DATABASE_URL": own_server.url("nowhere")}), 10, "does not exist")


def test_a_wrong_password_ends_with_10_and_is_not_shown(program: Any, complains: Complains, own_server: Any) -> None:
    wrong = own_server.url(password="hidden-word")
    ended = program("status", environ={"EBAYSYNC_DATABASE_URL": wrong})
    complains(ended, 10, "refused", "EBAYSYNC_DATABASE_URL")
    assert "hidden" not in ended.err


@pytest.mark.parametrize("command", [("run-all",), RUN, ("migrate", "--check")])
def test_a_database_without_schema_ends_with_10_and_names_migrate(
    program: Any, complains: Complains, content: Content, empty_database_url: str, command: tuple[str, ...]
) -> None:
    ended = program(*command, environ={"EBAYSYNC_DATABASE_URL": empty_database_url})
    complains(ended, 10, "ebaysync migrate", "0001")
    assert content(empty_database_url) == {}


def test_a_schema_that_is_behind_newer_or_edited_ends_with_10(program: Any, complains: Complains, query: Query) -> None:
    last = query("SELECT max(version) FROM ebaysync_schema")[0][0]
    [(name, checksum)] = query("SELECT name, checksum FROM ebaysync_schema WHERE version = %s", last)
    query("UPDATE ebaysync_schema SET checksum = 'other' WHERE version = %s", last)
    for command in ("status", "migrate"):
        complains(program(command), 10, f"{name}.sql", "was changed")
    query("UPDATE ebaysync_schema SET checksum = %s WHERE version = %s", checksum, last)
    query("INSERT INTO ebaysync_schema VALUES (9999, '9999_later', 'x')")
    for command in ("status", "migrate"):
        complains(program(command), 10, "9999", "upgrade")
    query("DELETE FROM ebaysync_schema WHERE version >= %s", last)
    complains(program("status"), 10, "ebaysync migrate", name)


# --- keys and tokens --------------------------------------------------------------------------------------


def test_a_key_that_does_not_fit_the_stored_tokens_ends_with_2_and_changes_none(
    program: Any, complains: Complains, alice: Any, query: Query, content: Content, database_url: str
) -> None:
    before = content(database_url, *TELLING, *ASKED)
    other = {"EBAYSYNC_SECRET_KEY": "another-key-of-32-characters-----"}
    for command in (RUN, ("run-all", "--now"), ("refresh-tokens",)):
        ended = program(*command, environ=other)
        complains(ended, 2, "EBAYSYNC_SECRET_KEY", out=True)
        assert content(database_url, *TELLING, *ASKED) == before
    assert query("SELECT needs_consent FROM ebay_accounts") == [(False,)]
    assert program(*RUN).code == 0
    both = (Path(program.environ["EBAYSYNC_HOME"]) / "secret.key").read_text().strip()
    assert program(*RUN, environ={"EBAYSYNC_SECRET_KEY": f"{other['EBAYSYNC_SECRET_KEY']},{both}"}).code == 0


def test_a_key_file_that_is_missing_short_or_open_to_others_ends_with_2(
    program: Any, complains: Complains, alice: Any, content: Content, database_url: str
) -> None:
    key = Path(program.environ["EBAYSYNC_HOME"]) / "secret.key"
    before, text = content(database_url), key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    complains(program(*RUN), 2, "secret.key", "0644", "chmod 600")
    key.unlink()
    for command in (RUN, ADD):
        complains(program(*command, given=alice.refresh_token), 2, "secret.key", "does not exist")
        assert not key.exists()
    key.write_text("short")
    key.chmod(0o600)
    complains(program(*RUN), 2, "secret.key", "16")
    complains(program(*RUN, environ={"EBAYSYNC_SECRET_KEY_FILE": "/nonexistent/key"}), 2, "/nonexistent/key")
    assert content(database_url) == before
    key.write_text(text)
    assert program(*RUN).code == 0


def test_a_keyset_that_is_not_set_is_named(program: Any, complains: Complains, query: Query) -> None:
    arguments = ("accounts", "add", "alice", "-e", "production", "--refresh-token-stdin")
    complains(program(*arguments, given="token"), 2, "EBAY_CLIENT_ID")
    half = {"EBAY_CLIENT_ID": "x"}
    complains(program(*arguments, given="token", environ=half), 2, "EBAY_CLIENT_SECRET")
    complains(program(*ADD, given="token"), 2, "EBAYSYNC_SIMULATOR_URL")
    query("INSERT INTO ebay_accounts (name, environment, ebay_user_id) VALUES ('alice', 'production', 'u')")
    complains(program(*RUN), 2, "EBAY_CLIENT_ID")


def test_a_keyset_that_ebay_does_not_accept_ends_with_2_and_marks_no_account(
    program: Any, complains: Complains, alice: Any, query: Query
) -> None:
    query("UPDATE ebay_tokens SET access_expires_at = now()")
    wrong = {"EBAYSYNC_SIMULATOR_CLIENT_SECRET": "hidden-word"}
    for command in (RUN, ("run-all", "--now"), ("refresh-tokens",), ADD):
        ended = program(*command, environ=wrong, given=alice.refresh_token)
        complains(ended, 2, "client id and secret", out=True)
        assert "hidden" not in ended.err + ended.out
    assert query("SELECT needs_consent FROM ebay_accounts") == [(False,)]
    assert query("SELECT error_code FROM ebay_token_refresh_log WHERE NOT success") == [("keyset",)] * 3
    assert program(*RUN).code == 0


def test_a_revoked_consent_ends_with_12_and_names_the_account(
    program: Any, complains: Complains, alice: Any, sim: Any, query: Query
) -> None:
    sim.revoke(alice)
    complains(program(*ADD, given=alice.refresh_token), 12, "alice")
    assert query("SELECT needs_consent FROM ebay_accounts") == [(False,)], "the token on standard input was refused"
    for _ in range(2):
        complains(program(*RUN), 12, "alice", "consent", out=True)
        asked = len(sim.journal.of("/identity"))
    assert query("SELECT needs_consent FROM ebay_accounts") == [(True,)]
    between = program("refresh-tokens")
    assert (between.code, "alice: skipped, the seller must consent again" in between.out) == (0, True)
    assert len(sim.journal.of("/identity")) == asked, "eBay is not asked again"


# --- eBay -------------------------------------------------------------------------------------------------


def test_an_ebay_that_answers_html_ends_with_13(
    program: Any, complains: Complains, alice: Any, sim: Any, query: Query
) -> None:
    sim.faults.add("html", path="/order$", times=None)
    complains(program(*RUN), 13, "/sell/fulfillment/v1/order", "text/html", out=True)
    assert query("SELECT cursor_value, last_status FROM ebay_sync_state") == [(None, "error")]
    assert query("SELECT count(*) FROM ebay_orders") == [(0,)]
    sim.faults.clear()
    query("UPDATE ebay_tokens SET access_expires_at = now()")
    sim.faults.add("html", path="/token$", times=None)
    complains(program(*RUN), 13, "/identity/v1/oauth2/token", out=True)
    complains(program(*ADD, given=alice.refresh_token), 13, "/identity/v1/oauth2/token")
    assert query("SELECT needs_consent FROM ebay_accounts") == [(False,)]


def test_an_ebay_that_is_down_ends_with_13(
    program: Any, complains: Complains, alice: Any, content: Content, database_url: str
) -> None:
    tells = (*TELLING, "ebay_api_usage")  # calls without an answer may have reached eBay
    before = content(database_url, *tells)
    down = {"EBAYSYNC_SIMULATOR_URL": "http://127.0.0.1:9"}
    complains(program(*RUN, environ=down), 13, "http://127.0.0.1:9/", out=True)
    assert content(database_url, *tells) == before


# --- accounts add -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    ["", "\n", "  \t \n", "one\ntwo\n", "one two\n"],
    ids=["none", "newline", "blank", "two lines", "two words"],
)
def test_standard_input_that_is_not_one_token_is_refused(
    program: Any, sim: Any, complains: Complains, content: Content, database_url: str, given: str
) -> None:
    before = content(database_url)
    complains(program(*ADD, given=given), 2, "standard input")
    assert content(database_url) == before
    assert len(sim.journal) == 0


def test_standard_input_that_is_no_text_is_refused(
    program: Any, sim: Any, complains: Complains, tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"v^1.1\xff\xfe\n")
    with (tmp_path / "binary").open() as given:
        ended = subprocess.run(
            program.command(*ADD), stdin=given, capture_output=True, text=True, env=program.environ, check=False
        )
    assert (ended.returncode, len(sim.journal)) == (2, 0), ended.stderr
    assert "standard input" in ended.stderr


def test_a_name_or_seller_that_is_taken_is_refused_and_named(
    program: Any, complains: Complains, alice: Any, sim: Any, content: Content, database_url: str
) -> None:
    [_, other] = sim.world.sellers
    before = content(database_url, *ASKED)
    complains(program(*ADD, given=other.refresh_token), 2, "'alice'", alice.user_id, other.user_id)
    again = ("accounts", "add", "bob", *ADD[3:])
    complains(program(*again, given=alice.refresh_token), 2, "'alice'")
    wrong = ("accounts", "add", "bob", *ADD[3:], "--ebay-user-id", alice.user_id)
    complains(program(*wrong, given=other.refresh_token), 2, alice.user_id, other.user_id)
    assert content(database_url, *ASKED) == before
    assert program(*ADD, given=alice.refresh_token).code == 0, "the same seller under the same name: renewed"


def test_a_token_that_ebay_does_not_know_ends_with_12_and_adds_nothing(
    program: Any, sim: Any, complains: Complains, content: Content, database_url: str
) -> None:
    before = content(database_url, *ASKED)
    complains(program(*ADD, given="v^1.1#i^1#hidden-word"), 12, "alice")
    assert content(database_url, *ASKED) == before


# --- what keeps a run from starting -----------------------------------------------------------------------


def test_another_run_that_holds_the_lease_is_said_and_left_alone(
    program: Any, complains: Complains, alice: Any, sim: Any, query: Query, until: Callable[..., Any]
) -> None:
    sim.faults.add("slow", path="/order$", seconds=60, after=1)
    process = program.start(*RUN)
    until(lambda: len(sim.journal.of("/sell/fulfillment")) > 1, "the slow answer")
    complains(program(*RUN), 11, "orders", out=True)
    ended = program("run-all", "--now", "--family", "orders", "--json")
    assert (ended.code, ended.json["status"]) == (0, "skipped"), ended.err
    [[run]] = [account["runs"] for account in ended.json["accounts"]]
    assert (run["status"], run["error"]["code"]) == ("skipped", "held")
    assert query("SELECT count(*) FROM ebay_worker_run") == [(1,)]
    sim.stop()  # cuts the slow answer
    process.terminate()
    process.communicate()


def test_a_port_that_is_none_or_taken_is_one_line_of_wrong_usage(program: Any, sim: Any) -> None:
    taken = sim.url.rpartition(":")[2]
    for port in ("99999", "-1", taken):
        ended = program("simulator", "--sellers", "1", "--orders", "0", "--port", port)
        assert (ended.code, ended.out) == (2, "")
        assert "--port" in ended.err.splitlines()[0]
        assert "Traceback" not in ended.err


def test_while_everything_is_paused_nothing_runs_even_with_force(
    program: Any, alice: Any, sim: Any, query: Query, content: Content, database_url: str
) -> None:
    query("UPDATE ebay_worker_global_config SET workers_enabled = false, reason = 'moving house'")
    before = content(database_url, "ebay_sync_state")
    sim.journal.clear()
    for extra in ((), ("--force",)):
        ended = program(*RUN, "--json", *extra)
        assert (ended.code, ended.json["status"]) == (0, "skipped"), ended.err
        assert "moving house" in ended.json["reason"]
    ended = program("run-all", "--now", "--json")
    assert (ended.code, ended.json["status"]) == (0, "skipped"), ended.err
    renewed = program("refresh-tokens", "--force", "--json").json["accounts"]
    assert [(one["refreshed"], one["reason"]) for one in renewed] == [(False, "paused: moving house")]
    assert content(database_url, "ebay_sync_state") == before
    assert len(sim.journal.of("/")) == 0, "nor is eBay asked for a token or its call limits"
    assert program("status", "--json").json["paused"] is True


def test_a_disabled_family_runs_only_with_force(program: Any, alice: Any, query: Query) -> None:
    query(
        "INSERT INTO ebay_sync_state (ebay_account_id, ebay_user_id, api_family, cursor_type, enabled)"
        " SELECT id, ebay_user_id, 'orders', 'window', false FROM ebay_accounts"
    )
    ended = program(*RUN, "--json")
    assert (ended.code, ended.json["status"], ended.json["calls"]) == (0, "skipped", 0), ended.err
    assert "disabled" in ended.json["reason"]
    ended = program("run-all", "--now", "--family", "orders", "--json")
    assert (ended.code, ended.json["accounts"][0]["runs"]) == (0, []), ended.err
    assert program(*RUN, "--force", "--json").json["status"] == "completed"


def test_a_disabled_account_runs_only_with_force(program: Any, alice: Any, query: Query) -> None:
    query("UPDATE ebay_accounts SET is_active = false")
    ended = program(*RUN, "--json")
    assert (ended.code, ended.json["status"]) == (0, "skipped"), ended.err
    assert program("run-all", "--now", "--json").json == {"status": "skipped", "accounts": []}
    assert program(*RUN, "--force", "--json").json["status"] == "completed"


# --- an installation in use -------------------------------------------------------------------------------


def test_a_database_that_goes_away_in_the_middle_of_a_run_ends_with_10_and_loses_nothing(
    program: Any, sim: Any, servers: Any, added: Callable[..., list[str]], until: Callable[..., Any]
) -> None:
    server = servers.postgres(servers.newest())
    program.environ["EBAYSYNC_DATABASE_URL"] = server.create("ebaysync")
    assert program("migrate").code == 0
    added(program, sim)
    name = sim.world.sellers[0].username
    sim.faults.add("slow", path="/order$", seconds=1.5, after=1)
    process = program.start("run", "orders", "--account", name)
    until(lambda: any("slow" in entry.faults for entry in sim.journal), "the slow answer")
    server.stop()
    _, err = process.communicate(timeout=60)
    lines = [line for line in err.splitlines() if line.startswith("ebaysync: ")]
    assert process.returncode == 10, err
    assert len(lines) == 1, err
    assert "Traceback" not in err
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url())
