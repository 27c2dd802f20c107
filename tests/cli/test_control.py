"""The operator's switches and questions, as commands: in this process, since a process of their own adds nothing."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ebaysync.cli.app import main

Query = Callable[..., list[Any]]


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def command(
    program: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """`command("runs", "--json")`: the program's way from its arguments to its exit code."""
    root, ours = logging.getLogger(), logging.getLogger("ebaysync")
    before = root.handlers[:], root.level, ours.level
    monkeypatch.chdir(program.folder)

    def run(*arguments: str, environ: dict[str, str] | None = None) -> Ended:
        with monkeypatch.context() as patch:
            for name, value in {**program.environ, **(environ or {})}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["ebaysync", *arguments])
            capsys.readouterr()
            with pytest.raises(SystemExit) as end:
                main()
            said = capsys.readouterr()
        return Ended(int(end.value.code or 0), said.out, said.err)

    yield run
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.fixture
def names(simulator: Callable[..., Any], program: Any, added: Callable[..., list[str]]) -> list[str]:
    """Two sellers' accounts."""
    sim = simulator(sellers=2, orders_per_seller=3)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_MAX_WINDOW_HOURS": "2400"}
    return added(program, sim)


def test_pause_and_resume_say_what_they_did_and_are_written_down(
    command: Callable[..., Ended], names: list[str], query: Query, complains: Callable[..., None]
) -> None:
    ended = command("pause", "--reason", "moving house")
    assert (ended.code, ended.out, ended.err) == (0, "paused\n", "")
    ran = command("run", "orders", "--account", names[0], "--force", "--json").json
    assert (ran["status"], ran["reason"]) == ("skipped", "paused: moving house")
    assert "everything is paused" in command("families").out
    assert re.search(
        r"everything is paused since 20\d\d-.*Z by \S+@\S+: moving house$", command("status").out, re.MULTILINE
    )
    assert "resumed" in command("resume").out
    assert command("run", "orders", "--account", names[0], "--json").json["status"] == "completed"
    changes = query("SELECT action, reason, changed_by LIKE '%%@%%', database_user FROM ebay_control_log ORDER BY id")
    assert [change[:3] for change in changes] == [("pause", "moving house", True), ("resume", None, True)]
    assert query("SELECT workers_enabled, reason, changed_by = %s FROM ebay_worker_global_config", "x") == [
        (True, None, False)
    ]
    complains(command("pause", "--reason", "two\nlines"), 2, "--reason")


def test_a_cool_down_is_shown_with_the_command_that_lifts_it_for_all_keysets(
    command: Callable[..., Ended], names: list[str], query: Query, complains: Callable[..., None]
) -> None:
    query(
        """INSERT INTO ebay_api_usage (keyset, api, quota_day, calls, quota, resets_at, reported_calls, elsewhere,
            resting_until, resting_reason)
        SELECT keyset, api, (now() AT TIME ZONE 'America/Los_Angeles')::date, 7, 9, now() + interval '1 hour', 9, 2,
            now() + interval '1 hour', 'eBay answered 429 2001'
        FROM unnest('{simulator:simulator,sandbox:other}'::text[]) keyset, unnest('{finances,trading}'::text[]) api"""
    )
    query(
        """INSERT INTO ebay_keysets (keyset, limits)
        VALUES ('simulator:simulator', '{"finances": 9, "fulfillment": 8}')"""
    )
    assert command("run", "payouts", "-a", names[0], "--json").json["status"] == "skipped"
    for shown in (command("status").out, command("doctor", "--offline").out):
        words = " ".join(shown.split())
        assert "finances cools down until 20" in words
        assert "eBay answered 429 2001" in words
        assert "ebaysync resume --api finances" in words
        assert "ebaysync resume --api trading" in words

    ended = command("resume", "--api", "finances", "--reason", "eBay gave us more")
    said = ["finances is called again with sandbox:other", "finances is called again with simulator:simulator"]
    assert (ended.code, ended.out.splitlines(), ended.err) == (0, said, "")
    assert command("run", "payouts", "-a", names[0], "--json").json["status"] == "completed"
    assert command("resume", "--api", "finances").out == "finances does not cool down; these do: trading\n"
    assert "trading is called again" in command("resume", "--api", "trading").out
    assert query("SELECT count(*) FROM ebay_api_usage WHERE resting_until IS NOT NULL") == [(0,)]
    assert query("SELECT limits FROM ebay_keysets") == [({"fulfillment": 8},)]
    log = query("SELECT action, value, reason FROM ebay_control_log ORDER BY id")
    assert log[0] == ("resume --api", "finances", "eBay gave us more")
    assert [value for _, value, _ in log] == ["finances", "finances", "trading"]
    for wrong in ("finance", "", "trading.", "orders", "trading.GetOrders"):
        complains(command("resume", "--api", wrong), 2, "is none of", "finances", "post_order.return", "trading")


def test_families_are_shown_disabled_and_given_another_interval(
    command: Callable[..., Ended], names: list[str], query: Query, complains: Callable[..., None]
) -> None:
    one, other = names
    assert command("families", "every", "orders", "10").out == "orders of all accounts: every 10 min\n"
    assert command("families", "every", "orders", "20", "--account", one).out == f"orders of {one}: every 20 min\n"
    assert command("families", "disable", "messages", "--reason", "elsewhere").code == 0
    enabled = command("families", "enable", "messages", "--account", one)
    assert "disabled for all accounts" in enabled.out
    found = {family["family"]: family for family in command("families", "--json").json["families"]}
    assert (found["orders"]["every_minutes"], found["messages"]["enabled"]) == (10, False)
    assert found["orders"]["accounts"] == [{"account": one, "enabled": True, "every_minutes": 20}]
    mine = {f["family"]: f for f in command("families", "--account", one, "--json").json["families"]}
    assert (mine["orders"]["every_minutes"], mine["orders"]["every_from"]) == (20, "account")
    assert (mine["messages"]["enabled"], mine["messages"]["enabled_for_account"]) == (False, True)
    assert command("families", "every", "orders", "default", "-a", one).out == f"orders of {one}: every 10 min\n"
    ran = command("run", "messages", "--account", other, "--json")
    assert (ran.code, ran.json["reason"]) == (0, "the family is disabled for all accounts")
    complains(command("families", "every", "orders", "0"), 2, "MINUTES", "default")
    complains(command("families", "disable", "nothing"), 2, "no family", "orders")
    complains(command("families", "--account", one, "disable", "orders"), 2, "after the command")
    assert query("SELECT count(*) FROM ebay_control_log WHERE api_family IS NOT NULL") == [(5,)]


def test_an_account_is_shown_disabled_and_removed(
    command: Callable[..., Ended], names: list[str], query: Query, complains: Callable[..., None], server: str
) -> None:
    one, other = names
    assert command("run", "orders", "--account", one).code == 0
    assert command("accounts", "disable", one, "--reason", "on holiday").out == f"{one}: disabled\n"
    shown = command("accounts", "show", one, "--json").json
    assert (shown["account"]["is_active"], shown["refreshes"][0]["triggered_by"]) == (False, "accounts add")
    assert shown["changes"][0]["reason"] == "on holiday"
    assert "accounts add" in command("accounts", "show", one).out
    complains(command("accounts", "remove", one), 2, "--yes")
    assert query("SELECT count(*) FROM ebay_orders") == [(3,)]
    # The everyday login need not be able to delete: the admin's is taken.
    ended = command(
        *("accounts", "remove", one, "--yes"),
        environ={"EBAYSYNC_ADMIN_DATABASE_URL": server.rpartition("/")[0] + "/nowhere"} if "?" not in server else {},
    )
    if "?" not in server:
        complains(ended, 10, "does not exist")
        ended = command("accounts", "remove", one, "--yes")
    assert ended.code == 0, ended.err
    assert "ebay_orders" in ended.err
    assert f"{one} is removed" in ended.out
    assert query("SELECT name FROM ebay_accounts") == [(other,)]
    assert query("SELECT count(*) FROM ebay_orders") == [(0,)]
    complains(command("accounts", "show", one), 2, "no account", other)


def test_runs_logs_and_events_answer_people_and_scripts(
    command: Callable[..., Ended], names: list[str], query: Query, complains: Callable[..., None]
) -> None:
    one, _ = names
    assert command("runs").out == "no such runs\n"
    run = command("run", "orders", "--account", one, "--json").json["run_id"]
    query("UPDATE ebay_orders SET buyer_username = 'Mr. \x1b[2J' || order_id RETURNING 1")
    assert command("backfill", "orders", "--account", one, "--days", "89").code == 0
    found = command("runs", "--account", one, "--json").json["runs"]
    assert [each["trigger"] for each in found] == ["backfill", "run"]
    assert found[1]["run_id"] == run
    lines = command("runs").out.splitlines()
    assert len(lines) == 3
    assert "3 of 3 stored" in lines[2]
    log = command("logs", run[:8])
    assert [line.split()[1] for line in log.out.splitlines()[1:]] == ["start", "page", "done"]
    assert [line["kind"] for line in command("logs", run, "--json").json["lines"]] == ["start", "page", "done"]
    events = command("events", "--table", "ebay_orders", "--since", "1h")
    assert events.out.count("buyer_username: Mr. ") == 3
    assert "\x1b" not in events.out
    key = command("events", "--json").json["events"][0]["key"]
    assert [each["key"] for each in json.loads(command("events", "-k", key, "--json").out)["events"]] == [key]
    complains(command("logs", "nonsense"), 2, "nonsense")
    complains(command("runs", "--status", "good"), 2, "completed")
    complains(command("events", "--table", "orders"), 2, "ebay_orders")
    complains(command("events", "--since", "soon"), 2, "12h")


def test_prune_says_what_it_would_do_does_it_and_keeps_what_the_sweep_needs(
    command: Callable[..., Ended], names: list[str], query: Query
) -> None:
    assert command("run", "orders", "--account", names[0]).code == 0
    assert command("prune").out == "nothing is older than the settings allow\n"
    query("UPDATE ebay_worker_run SET started_at = started_at - interval '91 days' RETURNING 1")
    query("UPDATE ebay_orders SET updated_at = updated_at - interval '91 days' RETURNING 1")
    announced = command("prune", "--dry-run", "--keep-raw", "1", "--json")
    assert "90 days" in announced.err
    assert announced.json["keep_days"] == {"runs": 90, "logs": 30, "events": None, "raw": 1, "addresses": None}
    assert (announced.json["pruned"]["runs"], announced.json["pruned"]["payloads"]) == (1, 3)
    assert query("SELECT count(*) FROM ebay_worker_run") == [(1,)]
    ended = command("prune", environ={"EBAYSYNC_KEEP_RAW_DAYS": "90", "EBAYSYNC_KEEP_ADDRESSES_DAYS": "36000"})
    assert (ended.code, ended.err) == (0, "")
    assert "other runs deleted" in ended.out
    assert "3  payloads emptied" in ended.out
    assert query("SELECT count(*) FROM ebay_worker_run") == [(0,)]
