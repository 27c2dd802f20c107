"""One run at a time, as processes: many at once, and one that was stopped and wakes when another has taken over."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

Query = Callable[..., list[Any]]
Added = Callable[[Any, Any], list[str]]


def rows(query: Query) -> list[Any]:
    """Where each row is, and who wrote it last: any write moves it."""
    names = ("ebay_orders", "order_line_items", "ebay_events", "ebay_sync_state")
    return [query(f"SELECT ctid::text, xmin::text FROM {name} ORDER BY ctid") for name in names]


def test_a_stopped_process_whose_lease_was_taken_over_writes_nothing_when_it_wakes(
    program: Any, simulator: Any, query: Query, added: Added, until: Callable[..., Any], complains: Callable[..., None]
) -> None:
    sim = simulator(sellers=1, orders_per_seller=1500)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    [name] = added(program, sim)
    command = ("run", "orders", "--account", name)
    sim.faults.add("slow", path="/order$", after=20, times=None, seconds=10)
    stopped = program.start(*command, "--json")
    try:
        until(lambda: any("slow" in entry.faults for entry in sim.journal), "a run that waits for eBay")

        def is_all_stored() -> bool:
            windows = [entry.query["filter"].partition("[")[2] for entry in sim.journal if "slow" in entry.faults]
            return bool(query("SELECT cursor_value FROM ebay_sync_state") == [(min(windows).partition("..")[0],)])

        until(is_all_stored, "all that came is stored, and no transaction open")
        stopped.send_signal(signal.SIGSTOP)
        sim.faults.clear()
        # It is alive, so that it is not taken for gone; its time is not over, so that it holds.
        complains(program(*command), 11, "another run holds", out=True)
        assert query(
            "UPDATE ebay_lease SET lease_until = now() - interval '1 second' RETURNING holder IS NOT NULL"
        ) == [(True,)]
        assert program(*command).code == 0
        before = rows(query)
        [old] = query("SELECT id FROM ebay_worker_run WHERE status = 'interrupted'")
        pages = query("SELECT count(*) FROM ebay_api_worker_log WHERE run_id = %s", old[0])
        stopped.send_signal(signal.SIGCONT)
        out, err = stopped.communicate(timeout=60)
        assert stopped.returncode == 11, err
        assert '"code": "lease_lost"' in out
        assert rows(query) == before
        assert query("SELECT count(*) FROM ebay_api_worker_log WHERE run_id = %s", old[0]) == pages
        assert query("SELECT status FROM ebay_worker_run WHERE id = %s", old[0]) == [("interrupted",)]
    finally:
        stopped.kill()
        stopped.communicate()


@pytest.mark.slow
def test_of_twenty_run_alls_at_once_over_ten_accounts_each_account_is_read_by_one_at_a_time(
    program: Any, simulator: Any, query: Query, added: Added
) -> None:
    """By the simulator's journal: what two runs of an account asked for does not overlap in time, and what had been
    read when one ended is not read again from its beginning by the next."""
    sim = simulator(sellers=10, orders_per_seller=4, days=1)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_INITIAL_BACKFILL_DAYS": "2"}
    names = added(program, sim)
    running = [program.start("run-all", "--family", "orders", "--jobs", "2", "--json") for _ in range(20)]
    ended = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0] * 20, [err for _, err in ended]

    done = query("SELECT count(*), count(DISTINCT ebay_account_id) FROM ebay_worker_run WHERE status = 'completed'")
    assert done[0][1] == 10
    assert query("SELECT count(*) FROM ebay_worker_run WHERE status <> 'completed'") == [(0,)]
    overlapping = query(
        "SELECT count(*) FROM ebay_worker_run a JOIN ebay_worker_run b ON a.id < b.id"
        " AND (a.ebay_account_id, a.api_family) = (b.ebay_account_id, b.api_family)"
        " AND tstzrange(a.started_at, a.finished_at) && tstzrange(b.started_at, b.finished_at)"
    )
    assert overlapping == [(0,)]
    for name in names:
        asked = [
            entry.query["filter"] for entry in sim.journal if entry.seller == name and entry.path.endswith("/order")
        ]
        starts = [text.partition("[")[2].partition("..")[0] for text in asked]
        [[runs]] = query(
            "SELECT count(*) FROM ebay_worker_run r JOIN ebay_accounts a ON a.id = r.ebay_account_id WHERE a.name = %s",
            name,
        )
        # The first import begins two days ago, once; a later run asks from the cursor less the overlap.
        assert starts.count(min(starts)) == 1, (name, asked)
        assert len(asked) <= 3 + runs, (name, runs, asked)
    assert query("SELECT count(*) FROM ebay_orders") == [(sum(len(seller.orders) for seller in sim.world.sellers),)]
