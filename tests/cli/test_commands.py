"""What the commands print, on which stream, and how they end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from ebaysync.cli.app import app
from ebaysync.families import discover

Query = Callable[..., list[Any]]
Terminal = Callable[..., tuple[list[str], str]]

RUN_KEYS = {
    *("account", "family", "run_id", "status", "reason", "window_from", "window_to", "cursor", "caught_up", "calls"),
    *("fetched", "stored", "unchanged", "removed", "quarantined", "seconds", "error"),
}
FAMILY_KEYS = {
    *("family", "enabled", "cursor", "lag_seconds", "sweep_cursor", "last_run_at", "last_status", "last_error"),
    *("next_due_at", "refused_since", "incomplete_since", "field_notes", "details_due"),
}


@pytest.fixture
def sim(simulator: Callable[..., Any], program: Any) -> Any:
    found = simulator(sellers=3, orders_per_seller=8)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": found.url, "EBAYSYNC_INITIAL_BACKFILL_DAYS": "90"}
    return found


@pytest.fixture
def names(sim: Any, program: Any, added: Callable[..., list[str]]) -> list[str]:
    """The three sellers' accounts."""
    return sorted(added(program, sim))


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        yield from commands(command, (*path, name)) if hasattr(command, "commands") else [(*path, name)]


@pytest.mark.parametrize("command", sorted(commands(typer.main.get_command(app))), ids=" ".join)
def test_the_help_of_every_command_has_an_example(command: tuple[str, ...]) -> None:
    example = next(line for line in help_of(*command) if "Example:" in line)
    assert f"ebaysync {' '.join(command)}" in example


@pytest.mark.parametrize(
    "command", [(), ("accounts",), ("families",), *sorted(commands(typer.main.get_command(app)))], ids=" ".join
)
def test_help_fits_a_terminal_and_names_values_instead_of_types(command: tuple[str, ...]) -> None:
    lines = help_of(*command)
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if re.search(r"[{}]|\[\[|<(str|int|float|list|path|file|directory|%)", line)]


def help_of(*command: str) -> list[str]:
    ended = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"})
    assert (ended.exit_code, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def test_a_command_imports_what_it_needs_and_not_what_others_do(program: Any) -> None:
    """Timers start the program every few minutes, mostly to find that nothing is due."""
    tell = "import atexit, sys; atexit.register(lambda: print(*sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", f"{tell}; from ebaysync.cli.app import main; main()", "run-all", "--json"],
        capture_output=True,
        text=True,
        env=program.environ,
        cwd=program.folder,
        check=True,
    )
    imported = set(ended.stdout.split())
    assert {"ebaysync.cli.run_all", "ebaysync.ops.pool", "sqlalchemy", "psycopg"} <= imported
    assert not imported & {"ebaysync.cli.status", "ebaysync.sync.run", "ebaysync.sim", "lxml", "uvicorn"}
    assert not imported & {"httpx._client", "rich.progress"}


def test_run_answers_with_the_documented_object_and_nothing_else_on_standard_output(
    program: Any, names: list[str], sim: Any, query: Query
) -> None:
    ended = program("--verbose", "run", "orders", "--account", names[0], "--json")
    run = ended.json
    assert (ended.code, set(run)) == (0, RUN_KEYS)
    assert (run["status"], run["caught_up"], run["stored"], run["error"]) == ("completed", True, 8, None)
    assert " debug " in ended.err
    [(stored, status)] = query("SELECT summary_json, status FROM ebay_worker_run WHERE id = %s", run["run_id"])
    assert {key: stored[key] for key in RUN_KEYS - {"seconds"}} == {key: run[key] for key in RUN_KEYS - {"seconds"}}
    assert status == "completed"
    sim.faults.add("html", path="/order$", times=None)
    failed = program("run", "orders", "--account", names[0], "--json")
    assert (failed.code, set(failed.json)) == (13, RUN_KEYS)
    assert set(failed.json["error"]) == {"code", "message", "hint"}
    dry = program("run", "orders", "--account", names[1], "--json", "--dry-run")
    assert (dry.code, set(dry.json)) == (13, RUN_KEYS)


def test_run_all_says_which_of_three_accounts_failed_and_completes_the_others(
    program: Any, names: list[str], sim: Any, query: Query
) -> None:
    sim.faults.add("html", path="/order$", seller=names[1], times=None)
    ended = program("run-all", "--family", "orders", "--json")
    answer = ended.json
    assert ended.code == 3
    assert (set(answer), answer["status"]) == ({"status", "accounts"}, "partial")
    assert [(part["account"], part["status"]) for part in answer["accounts"]] == [
        (names[0], "completed"),
        (names[1], "error"),
        (names[2], "completed"),
    ]
    for part in answer["accounts"]:
        assert set(part) == {"account", "status", "runs", "error"}
        assert all(set(run) == RUN_KEYS for run in part["runs"])
        assert all(run["account"] == part["account"] for run in part["runs"])
    assert answer["accounts"][1]["runs"][0]["error"]["code"] == "not_understood"
    complaints = [line for line in ended.err.splitlines() if line.startswith("ebaysync: ")]
    assert len(complaints) == 1
    assert names[1] in complaints[0]
    assert query("SELECT count(*) FROM ebay_orders") == [(16,)]


def test_run_all_without_accounts_or_with_nothing_due_is_done(
    program: Any, sim: Any, added: Callable[..., list[str]]
) -> None:
    ended = program("run-all", "--json")
    assert (ended.code, ended.json, ended.err) == (0, {"status": "skipped", "accounts": []}, "")
    [name, *_] = added(program, sim)
    assert program("run-all", "--account", name).code == 0
    sim.journal.clear()
    ended = program("run-all", "--account", name, "--json")
    assert (ended.code, ended.json["accounts"][0]["runs"], ended.json["status"]) == (0, [], "skipped")
    assert len(sim.journal) == 0
    assert "nothing is due" in program("run-all", "--account", name).out
    assert program("run-all", "--account", name, "--now", "--json").json["status"] == "completed"


def test_the_other_commands_answer_in_json_too(program: Any, names: list[str]) -> None:
    for command in (
        ("accounts", "list"),
        ("refresh-tokens",),
        ("backfill", "orders", "--days", "2"),
        ("migrate",),
        ("migrate", "--check"),
    ):
        ended = program("--verbose", *command, "--json")
        assert ended.code == 0, ended.err
        assert isinstance(ended.json, dict)
    assert [account["name"] for account in program("accounts", "list", "--json").json["accounts"]] == names


def test_status_names_missing_details_and_answers_that_contradict_themselves(
    program: Any, names: list[str], query: Query
) -> None:
    assert program("run", "returns", "--account", names[0]).code == 0
    assert "missing" not in program("status").out
    query("UPDATE ebay_sync_state SET incomplete_since = '2026-09-01 10:30Z'")
    query(
        "INSERT INTO ebay_pending_detail (ebay_account_id, api_family, entity_key, attempts, next_at)"
        " SELECT ebay_account_id, 'returns', n::text, 1, now() FROM ebay_sync_state, generate_series(1, 3) AS n"
    )
    shown = program("status").out
    assert f"{names[0]} returns: 3 details are missing; later runs ask again\n" in shown
    since = "since 2026-09-01 10:30Z eBay's answers contradict themselves, so records may be missing"
    assert f"{names[0]} returns: {since}\n" in shown


def test_a_reader_that_closes_the_pipe_is_no_bug(program: Any, names: list[str]) -> None:
    process = program.start("status", "--json")
    process.stdout.close()
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


# --- status -----------------------------------------------------------------------------------------------


def test_status_of_an_empty_database_says_how_to_begin(program: Any) -> None:
    assert program("status", "--json").json == {"paused": False, "accounts": []}
    ended = program("status")
    assert (ended.code, ended.err) == (0, "")
    assert "ebaysync accounts connect" in ended.out


def of_orders(account: dict[str, Any]) -> dict[str, Any]:
    return next(family for family in account["families"] if family["family"] == "orders")


def test_status_shows_cursors_errors_and_missing_consent(
    program: Any, names: list[str], sim: Any, query: Query
) -> None:
    sim.faults.add("html", path="/order$", seller=names[1], times=None)
    sim.revoke(names[2])
    assert program("run-all", "--family", "orders").code == 3
    answer = program("status", "--json").json
    assert set(answer) == {"paused", "accounts"}
    for account in answer["accounts"]:
        assert set(account) == {"account", "environment", "active", "token", "families"}
        assert set(account["token"]) == {"access_expires_at", "refresh_expires_at", "needs_consent", "missing_scopes"}
        assert all(set(family) == FAMILY_KEYS for family in account["families"])
        assert [family["family"] for family in account["families"]] == list(discover())
    good, failed, revoked = answer["accounts"]
    orders = of_orders(good)
    cursors = dict(
        query("SELECT a.name, cursor_value FROM ebay_sync_state JOIN ebay_accounts a ON a.id = ebay_account_id")
    )
    assert (orders["cursor"], orders["last_status"], orders["last_error"]) == (cursors[names[0]], "completed", None)
    assert 0 <= orders["lag_seconds"] < 600
    assert orders["next_due_at"] > orders["last_run_at"]
    assert (of_orders(failed)["last_status"], of_orders(failed)["cursor"]) == ("error", None)
    assert "/sell/fulfillment/v1/order" in of_orders(failed)["last_error"]
    assert [account["token"]["needs_consent"] for account in answer["accounts"]] == [False, False, True]
    shown = program("status")
    assert (shown.code, shown.err) == (0, "")
    assert f"{names[1]} orders: " in shown.out
    note = f"{names[2]}: the seller must consent again: ebaysync accounts connect {names[2]}"
    assert note in " ".join(shown.out.split())
    one = program("status", "--account", names[0], "--json").json
    assert [account["account"] for account in one["accounts"]] == [names[0]]
    assert revoked["account"] == names[2]


CONSENTS = [
    ("61 days 1 hour", "61 d left", None),
    ("59 days 1 hour", "59 d left", "{name}: the seller's consent ends in 59 days"),
    ("14 days 1 hour", "14 d left", "{name}: the seller's consent ends in 14 days"),
    ("13 days 1 hour", "13 d left", "{name}: the seller's consent ends in 13 days, renew it now: {mend}"),
    ("-1 second", "ended", "{name}: the seller's consent has ended: {mend}"),
    (None, "unknown end", None),
]


@pytest.mark.parametrize(("left", "column", "note"), CONSENTS, ids=lambda value: str(value).partition(":")[0])
def test_status_counts_the_days_of_a_consent_and_tells_how_to_renew_it_in_time(
    program: Any, names: list[str], query: Query, terminal: Terminal, left: str | None, column: str, note: str | None
) -> None:
    query("UPDATE ebay_tokens SET refresh_expires_at = now() + interval '100 days'")
    [(ends,)] = query(
        "UPDATE ebay_tokens SET refresh_expires_at = date_trunc('second', now()) + %s::interval"
        " WHERE ebay_account_id = (SELECT id FROM ebay_accounts WHERE name = %s) RETURNING refresh_expires_at",
        *(left, names[0]),
    )
    token, *others = (account["token"] for account in program("status", "--json").json["accounts"])
    shown = token["refresh_expires_at"]
    assert (datetime.fromisoformat(shown) if shown else None) == ends
    assert (token["needs_consent"], token["missing_scopes"]) == (False, [])
    assert all(other["refresh_expires_at"] != shown for other in others)

    lines, err = terminal("status")
    [row] = [line for line in lines if re.match(rf"{names[0]} +simulator ", line)]
    assert (row.endswith(f"  {column}"), err) == (True, "")
    notes = " ".join(lines[lines.index(row) + len(names) :])
    mend = f"ebaysync accounts connect {names[0]} --environment simulator"
    assert notes == (note or "").format(name=names[0], mend=mend)


def test_status_wraps_a_long_error_for_a_terminal_only(
    program: Any, names: list[str], query: Query, terminal: Terminal
) -> None:
    error = "GET /order: " + "eBay answered nonsense " * 20 + "end"
    assert program("run", "orders", "--account", names[0]).code == 0
    query("UPDATE ebay_sync_state SET last_error = %s, last_status = 'error' RETURNING 1", error)
    assert error in program("status").out
    lines, _ = terminal("status")
    assert error not in "\n".join(lines)
    assert error in " ".join(lines)


def test_a_terminal_shows_a_long_name_whole(names: list[str], query: Query, terminal: Terminal) -> None:
    long = "a-seller-whose-name-is-as-long-as-ebay-lets-it-be-of-sixty-four"
    query("UPDATE ebay_accounts SET name = %s WHERE name = %s", long, names[0])
    lines, _ = terminal("status", "--account", long)
    gap = lines.index("")
    assert "".join(line.partition("  ")[0].strip() for line in lines[1:gap]) == long * len(discover())


# --- refresh-tokens ---------------------------------------------------------------------------------------


def refreshes(sim: Any) -> int:
    return len(sim.journal.of("/identity/v1/oauth2/token"))


def test_refresh_tokens_renews_what_ends_within_15_minutes_or_all_by_force(
    program: Any, names: list[str], sim: Any, query: Query
) -> None:
    sim.journal.clear()
    ended = program("refresh-tokens", "--json")
    assert (ended.code, refreshes(sim)) == (0, 0)
    assert [account["refreshed"] for account in ended.json["accounts"]] == [False] * 3
    query("UPDATE ebay_tokens SET access_expires_at = now() + interval '16 min'")
    query(
        "UPDATE ebay_tokens SET access_expires_at = now() + interval '14 min'"
        " WHERE ebay_account_id = (SELECT id FROM ebay_accounts WHERE name = %s)",
        names[1],
    )
    ended = program("refresh-tokens", "--json")
    assert [account["refreshed"] for account in ended.json["accounts"]] == [False, True, False]
    assert [entry.seller for entry in sim.journal] == [names[1]]
    assert program("refresh-tokens", "--force", "--account", names[0]).code == 0
    assert [entry.seller for entry in sim.journal] == [names[1], names[0]]
    log = "SELECT triggered_by, success FROM ebay_token_refresh_log WHERE triggered_by <> 'accounts add'"
    assert query(log) == [("refresh-tokens", True)] * 2


def test_refresh_tokens_goes_on_after_an_account_that_fails(program: Any, names: list[str], sim: Any) -> None:
    sim.revoke(names[0])
    ended = program("refresh-tokens", "--force", "--json")
    assert ended.code == 3
    assert [account["refreshed"] for account in ended.json["accounts"]] == [False, True, True]
    assert ended.json["accounts"][0]["error"]["code"] == "needs_consent"
    complaints = [line for line in ended.err.splitlines() if line.startswith("ebaysync: ")]
    assert len(complaints) == 1
    assert names[0] in complaints[0]


def test_two_who_refresh_the_same_token_at_the_same_instant_ask_ebay_once(
    program: Any, names: list[str], sim: Any, query: Query, database_url: str, until: Callable[..., Any]
) -> None:
    query("UPDATE ebay_tokens SET access_expires_at = now()")
    sim.journal.clear()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM ebay_tokens FOR UPDATE")
        both = [program.start("refresh-tokens", "--account", names[0], "--json") for _ in range(2)]
        until(lambda: query(waiting) == [(2,)], "both at the token")
    ended = [json.loads(process.communicate()[0])["accounts"][0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(account["refreshed"] for account in ended) == [False, True]
    assert refreshes(sim) == 1


@pytest.mark.parametrize(
    "command", [("run-all", "--family", "orders"), ("refresh-tokens",)], ids=lambda words: words[0]
)
def test_timers_are_told_in_one_line_of_the_consents_that_end_within_14_days(
    program: Any, names: list[str], query: Query, command: tuple[str, ...]
) -> None:
    program.environ["COLUMNS"] = "80"
    query("UPDATE ebay_tokens SET refresh_expires_at = now() + interval '14 days 1 hour'")
    ended = program(*command, "--json")
    assert (ended.code, ended.err) == (0, "")
    for name, left in zip(names, ("13 days 23 hours", "-1 second", None), strict=True):
        query(
            "UPDATE ebay_tokens SET refresh_expires_at = now() + %s::interval"
            " WHERE ebay_account_id = (SELECT id FROM ebay_accounts WHERE name = %s)",
            *(left, name),
        )
    ended = program(*command, "--json")
    assert ended.code == 0, ended.err
    [line] = ended.err.splitlines()
    first, second = f"{names[1]} (ended)", f"{names[0]} (13 days)"
    mend = f"renew it: ebaysync accounts connect {names[1]} --environment simulator"
    assert line.endswith(f"the seller's consent ends soon: {first}, {second}; {mend}")
    assert " warning " in line
    assert {account["account"] for account in ended.json["accounts"]} == set(names)
    assert program(*command, "--account", names[2]).err == ""


# --- signals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda signum: signum.name)
@pytest.mark.parametrize("command", ["run", "run-all"])
def test_a_signal_ends_the_work_after_the_current_slice(
    program: Any,
    names: list[str],
    sim: Any,
    query: Query,
    until: Callable[..., Any],
    descendants: Callable[[int], list[int]],
    command: str,
    signum: signal.Signals,
) -> None:
    count = 1 if command == "run" else 3
    for name in names:
        sim.faults.add("slow", path="/order$", seller=name, seconds=1, after=1)
    arguments = ("orders", "--account", names[0]) if command == "run" else ("--family", "orders")
    process = program.start(command, *arguments, "--json")
    until(lambda: sum("slow" in entry.faults for entry in sim.journal) == count, "the slow answers")
    children = descendants(process.pid)
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signum, err
    assert "Traceback" not in err
    answer = json.loads(out)
    runs = [answer] if command == "run" else [run for part in answer["accounts"] for run in part["runs"]]
    assert [(run["status"], run["caught_up"]) for run in runs] == [("interrupted", False)] * count
    assert not [child for child in children if child in descendants(1)]
    told = "SELECT status, finished_at IS NOT NULL FROM ebay_worker_run"
    assert query(told) == [("interrupted", True)] * count
    assert query("SELECT DISTINCT last_status, last_error, cursor_value IS NOT NULL FROM ebay_sync_state") == [
        ("interrupted", None, True)
    ]
    assert query("SELECT count(*) FROM ebay_lease WHERE token IS NOT NULL") == [(0,)]
    assert program("run", "orders", "--account", names[0], "--json").json["caught_up"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_while_the_first_is_answered_gives_the_code_of_one(signum: signal.Signals) -> None:
    program = f"""
import os
from ebaysync.cli.session import Session
async def work(stop):
    os.kill(os.getpid(), {signum:d})
    await stop.wait()
Session().go(work)
os.kill(os.getpid(), {signum:d})
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (128 + signum, b"")


def test_the_simulator_says_where_it_is_and_ends_by_a_signal(program: Any) -> None:
    process = subprocess.Popen(
        program.command("simulator", "--port", "0", "--sellers", "2", "--orders", "3"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=program.environ,
        cwd=program.folder,
    )
    assert process.stdout
    said = [process.stdout.readline() for _ in range(3)]
    assert said[0].startswith("export EBAYSYNC_SIMULATOR_URL=http://127.0.0.1:")
    url = said[0].strip().partition("=")[2]
    name, _, token = said[1].split()
    added = program(
        *("accounts", "add", name, "-e", "simulator", "--refresh-token-stdin", "--json"),
        given=token,
        environ={"EBAYSYNC_SIMULATOR_URL": url},
    )
    assert (added.code, added.json["name"]) == (0, name), added.err
    process.terminate()
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err.strip()) == (143, "", "ebaysync: interrupted by SIGTERM")


def test_status_and_runs_say_which_field_was_odd_and_in_how_many_records(
    program: Any, names: list[str], sim: Any
) -> None:
    [seller] = [each for each in sim.world.sellers if each.username == names[0]]
    calm = next(order for order in seller.orders.values() if order.phase == "paid")  # so no detail comes, without fault
    sim.faults.add("spoil", what="money_text", of=calm.id, times=None)
    [note] = program("run", "orders", "--account", names[0], "--json").json["field_notes"]
    assert note == {"field": "total", "reason": "not a number", "count": 1}
    told = "total: not a number (1 record"
    assert f"{names[0]} orders: {told}" in program("status").out
    assert told in program("runs").out
