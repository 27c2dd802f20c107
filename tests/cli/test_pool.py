"""An account's process that hangs, dies or leaves something behind stops none of the others; and the demo."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

Query = Callable[..., list[Any]]


def test_an_account_that_hangs_is_ended_at_its_time_limit_and_the_others_are_complete(
    program: Any, simulator: Any, query: Query
) -> None:
    sim = simulator(sellers=3, orders_per_seller=10)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    hanging, *others = program.add_sellers(sim)
    sim.faults.add("slow", path="/order$", seller=hanging, seconds=120, times=None)
    ended = program("run-all", "--family", "orders", "--json", environ={"EBAYSYNC_ACCOUNT_TIMEOUT": "8"})
    assert ended.code == 3, ended.err
    by_name = {account["account"]: account for account in ended.json["accounts"]}
    assert {name: by_name[name]["status"] for name in others} == dict.fromkeys(others, "completed")
    assert by_name[hanging]["status"] == "error"
    assert "time limit" in by_name[hanging]["error"]["message"]
    families = next(
        account["families"] for account in program("status", "--json").json["accounts"] if account["account"] == hanging
    )
    family = next(family for family in families if family["family"] == "orders")
    assert family["last_status"] == "error"
    assert "time limit" in family["last_error"]
    # The next run takes the dead process's lease over at once.
    sim.faults.clear()
    assert program("run", "orders", "--account", hanging).code == 0
    assert query("SELECT count(*) FROM ebay_worker_run WHERE status = 'running'") == [(0,)]


def test_an_account_whose_process_is_killed_is_named_and_the_others_are_complete(
    program: Any, simulator: Any, query: Query
) -> None:
    sim = simulator(sellers=3, orders_per_seller=10)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    doomed, *others = program.add_sellers(sim)
    sim.faults.add("slow", path="/order$", seller=doomed, seconds=120, times=None)
    running = program.start("run-all", "--family", "orders", "--json")
    victim = None
    deadline = time.monotonic() + 60
    waiting = "SELECT l.holder FROM ebay_lease l JOIN ebay_accounts a ON a.id = l.ebay_account_id WHERE a.name = %s"
    while victim is None and time.monotonic() < deadline:
        held = query(waiting, doomed)
        victim = int(held[0][0].split("|")[3]) if held and held[0][0] else None
    assert victim in {child.pid for child in psutil.Process(running.pid).children(recursive=True)}
    os.kill(victim, 9)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 3, err
    assert "SIGKILL" in err
    assert doomed in err
    for name in others:
        assert f'"account":"{name}"' in out.replace(" ", "").replace("\n", "")
    done = "SELECT count(*) FROM ebay_orders o JOIN ebay_accounts a ON a.id = o.ebay_account_id WHERE a.name = ANY(%s)"
    assert query(done, others) == [(20,)]


@pytest.mark.slow
def test_the_demo_ends_with_status_and_touches_no_home_or_database_of_the_settings(
    program: Any, query: Query, tmp_path: Path
) -> None:
    home = tmp_path / "untouched"
    home.mkdir()
    (program.folder / ".env").write_text("EBAYSYNC_JOBS=nonsense\n")
    ended = program("demo", "--sellers", "2", "--orders", "20", environ={"EBAYSYNC_HOME": str(home), "HOME": str(home)})
    assert ended.code == 0, ended.err
    assert ended.out.count("orders: completed") == 4
    assert "$ ebaysync status" in ended.out
    assert list(home.iterdir()) == []
    assert query("SELECT count(*) FROM ebay_accounts") == [(0,)]


def test_a_backfill_of_one_family_of_one_account_ends_with_the_errors_own_code(program: Any, simulator: Any) -> None:
    sim = simulator(sellers=2, orders_per_seller=3)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    first, _ = program.add_sellers(sim)
    sim.faults.add("html", path="/order$", times=None)
    assert program("backfill", "orders", "--account", first, "--days", "2").code == 13
    assert program("backfill", "orders", "--days", "2").code == 3
    sim.faults.clear()
    ended = program("backfill", "--days", "5000", "--json")
    assert ended.code == 2
    assert "3660" in ended.err
    ended = program("backfill", "orders", "--days", "1000", "--json")
    assert (ended.code, ended.json["status"]) == (0, "completed")
    assert "730 days only" in ended.err
