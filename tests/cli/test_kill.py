"""kill -9 at any moment: what was committed stays, the next run goes on from there, and nothing is counted twice."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ebaysync.sim.clock import ManualClock
from ebaysync.sim.world import World

Query = Callable[..., list[Any]]
HOUR = 3_600
KILLS = 20
FREE = ("first_seen_at", "updated_at", "ebay_account_id")


def domain(url: str) -> dict[str, list[Any]]:
    """The domain tables without what may differ between two ways to the same state."""
    with psycopg.connect(url) as connection:
        found = {}
        for table in ("ebay_orders", "order_line_items"):
            shown = f"SELECT to_jsonb(t) - %s::text[] FROM {table} t ORDER BY 1"
            found[table] = [_as_listed(row[0]) for row in connection.execute(shown, [list(FREE)])]
        return found


def _as_listed(row: dict[str, Any]) -> dict[str, Any]:
    """Of an order whose cancel request was rejected, only who saw the request knows of it: a clean import, which reads
    the list alone, does not."""
    if row.get("cancel_state") == "NONE_REQUESTED":
        row["raw_payload"]["cancelStatus"]["cancelRequests"] = []
        row["raw_payload"]["buyer"].pop("taxIdentifier", None)
    return row


def differences(found: list[Any], expected: list[Any]) -> list[str]:
    """Field by field, so that a failure can be read."""
    if len(found) != len(expected):
        return [f"{len(found)} rows, {len(expected)} expected"]
    pairs = zip(found, expected, strict=True)
    return [
        f"{key}: {one.get(key)} != {other[key]}" for one, other in pairs for key in other if one.get(key) != other[key]
    ]


class Moment:
    """When to kill: a condition drawn from the seed, looked at from outside, so that no clock decides."""

    def __init__(self, draw: random.Random, url: str, sim: Any) -> None:
        self.kind = draw.choice(
            ["request", "page", "row", "token", "at the beginning", "in a transaction", "at the end"]
        )
        self.count = draw.randint(1, 3)
        self.url, self.sim = url, sim
        self.before = self.facts()

    def __str__(self) -> str:
        return f"{self.kind} {self.count}"

    def facts(self) -> dict[str, int]:
        with psycopg.connect(self.url) as connection:
            counted = "SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {}), (SELECT count(*) FROM {})"
            names = ("ebay_api_worker_log", "ebay_orders", "ebay_events")
            pages, orders, events = connection.execute(counted.format(*names)).fetchone()  # type: ignore[misc]
        return {"request": len(self.sim.journal), "page": pages, "row": orders + events}

    def has_come(self) -> bool:
        if self.kind == "request":
            return len(self.sim.journal) >= self.before["request"] + self.count
        return self.facts()[self.kind] >= self.before[self.kind] + self.count


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
# Where a transaction is made to wait: before the line items, after the orders have been merged; while the tokens
# are looked at; when the lease is there and the run's row is not yet.
HELD = {
    "in a transaction": ("order_line_items", "SHARE ROW EXCLUSIVE"),
    "token": ("ebay_tokens", "ACCESS EXCLUSIVE"),  # a token that lasts is only read
    "at the beginning": ("ebay_worker_run", "SHARE ROW EXCLUSIVE"),
}
# Where the run's outcome is told: its log may be written, its row may not.
LAST_ROW = "SELECT status FROM ebay_worker_run ORDER BY started_at DESC LIMIT 1 FOR NO KEY UPDATE"


def kill_at(moment: Moment, process: subprocess.Popen[str], until: Callable[..., Any]) -> bool:
    """Kill the process at that moment; False where it was done before it came."""
    with psycopg.connect(moment.url) as holder, psycopg.connect(moment.url, autocommit=True) as eye:

        def shown(query: str, *values: str) -> Any:
            return (eye.execute(query, values).fetchone() or [None])[0]

        def come() -> bool:
            if moment.kind in HELD:
                return shown(WAITING) > 0
            if moment.kind == "at the end":
                if not holder.info.transaction_status and shown(LAST_ROW) == "running":
                    holder.execute(LAST_ROW)
                return shown(WAITING) > 0
            return moment.has_come()

        if moment.kind in HELD:
            holder.execute("LOCK TABLE {} IN {} MODE".format(*HELD[moment.kind]))
        until(lambda: process.poll() is not None or come(), f"{moment} of the run", 60)
        process.kill()
        process.wait()
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stderr.close()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_twenty_kills_at_random_moments_leave_what_one_clean_run_would(
    program: Any,
    simulator: Callable[..., Any],
    added: Callable[..., list[str]],
    database_url: str,
    empty_database_url: str,
    until: Callable[..., Any],
) -> None:
    seed = int(os.environ.get("EBAYSYNC_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"EBAYSYNC_TEST_SEED={seed}")
    draw = random.Random(seed)
    # Not more than an hour behind the clocks of the host and the database, which would contradict eBay's.
    clock = ManualClock(datetime.now(UTC) - timedelta(minutes=55))
    sim = simulator(World(seed, 1, 250, clock, days=5))  # younger than the age at which eBay begins to hide the e-mail
    [seller] = sim.world.sellers
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_INITIAL_BACKFILL_DAYS": "10"}
    program.environ |= {"EBAYSYNC_MAX_WINDOW_HOURS": "6"}
    [name] = added(program, sim)

    told, killed = [], 0
    for _ in range(3 * KILLS):
        moment = Moment(draw, database_url, sim)
        killed += kill_at(moment, program.start("run", "orders", "--account", name), until)
        told.append(str(moment))
        if killed == KILLS:
            break
        clock.advance(draw.randint(1, 2 * HOUR // (3 * KILLS)))
        for order_id in draw.sample(sorted(seller.orders), 25):
            sim.world.touch(seller, order_id)
        clock.advance(1)
    print(", ".join(told))
    assert killed == KILLS
    assert program("run", "orders", "--account", name).code == 0
    for order_id in draw.sample(sorted(seller.orders), 25):  # so that there are events, whatever the kills left unread
        sim.world.touch(seller, order_id)
    clock.advance(HOUR // 6)
    calm = program("run", "orders", "--account", name, "--json")
    assert calm.code == 0, calm.err
    assert calm.json["caught_up"]

    clean = {"EBAYSYNC_DATABASE_URL": empty_database_url}
    assert program("migrate", environ=clean).code == 0
    environ = program.environ
    program.environ = environ | clean
    added(program, sim)
    assert program("run", "orders", "--account", name).code == 0
    assert len(domain(empty_database_url)["ebay_orders"]) == len(seller.orders)
    for table, rows in domain(empty_database_url).items():
        assert differences(domain(database_url)[table], rows) == [], table

    with psycopg.connect(database_url) as connection:
        columns = "table_name, entity_key, event, changes"
        doubles = f"SELECT {columns} FROM ebay_events GROUP BY {columns} HAVING count(*) > 1"
        assert connection.execute(doubles).fetchall() == []
        chain = "SELECT entity_key, changes->'last_modified_date' FROM ebay_events WHERE table_name = 'ebay_orders'"
        last: dict[str, str] = {}
        for key, (old, new) in connection.execute(f"{chain} ORDER BY id").fetchall():
            assert last.get(key, old) == old, f"order {key}: an event does not follow the one before it"
            last[key] = new
        assert last, "the world moved, so there are events"
        stuck = "SELECT count(*) FROM ebay_worker_run WHERE status = 'running'"
        assert connection.execute(stuck).fetchone() == (0,)


def test_a_dead_runs_lease_is_taken_over_at_once_and_the_run_is_marked(
    program: Any,
    simulator: Callable[..., Any],
    added: Callable[..., list[str]],
    query: Query,
    until: Callable[..., Any],
) -> None:
    sim = simulator(sellers=1, orders_per_seller=20)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    [name] = added(program, sim)
    sim.faults.add("slow", path="/order$", seconds=60, after=1)
    process = program.start("run", "orders", "--account", name)
    until(lambda: len(sim.journal.of("/sell/fulfillment")) > 1, "the slow answer")
    [(run_id, status)] = query("SELECT id, status FROM ebay_worker_run")
    assert status == "running"
    assert program("run", "orders", "--account", name).code == 11, "the holder lives: nobody takes over"
    process.kill()
    process.communicate()
    sim.faults.clear()
    assert query("SELECT lease_until > now() + interval '20 s' FROM ebay_lease") == [(True,)]
    ended = program("run", "orders", "--account", name)
    assert ended.code == 0, ended.err
    assert str(run_id) in ended.err
    assert query("SELECT status, finished_at IS NOT NULL FROM ebay_worker_run ORDER BY started_at") == [
        ("interrupted", True),
        ("completed", True),
    ]


def test_a_killed_run_all_leaves_no_process_and_nothing_that_the_next_one_waits_for(
    program: Any,
    simulator: Callable[..., Any],
    added: Callable[..., list[str]],
    query: Query,
    until: Callable[..., Any],
    descendants: Callable[[int], list[int]],
) -> None:
    sim = simulator(sellers=3, orders_per_seller=20)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    added(program, sim)
    for seller in sim.world.sellers:
        sim.faults.add("slow", path="/order$", seller=seller.username, seconds=60, after=1)
    process = subprocess.Popen(
        program.command("run-all", "--family", "orders"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=program.environ,
        cwd=program.folder,
        start_new_session=True,
    )
    until(lambda: sum("slow" in entry.faults for entry in sim.journal) == 3, "three accounts at work")
    children = descendants(process.pid)
    assert len(children) >= 3
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not any(alive(child) for child in children), "the accounts' processes to go with their parent")
    sim.faults.clear()
    ended = program("run-all", "--family", "orders", "--json")
    assert ended.code == 0, ended.err
    assert [account["status"] for account in ended.json["accounts"]] == ["completed"] * 3
    assert query("SELECT status, count(*) FROM ebay_worker_run GROUP BY 1 ORDER BY 1") == [
        ("completed", 3),
        ("interrupted", 3),
    ]
    assert query("SELECT count(*) FROM ebay_orders") == [(60,)]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return not re.search(r"\) [ZX] ", stat.read())
    except OSError:
        return False
