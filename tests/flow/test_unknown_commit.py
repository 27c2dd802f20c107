"""The connection to PostgreSQL is lost at a COMMIT: before it arrives, or when it was carried out but not answered.
What the run tells must be what the tables hold, and nothing is there twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.proxy import Proxy, Strike
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.store.database import Database
from ebaysync.sync.context import RunContext, RunOptions
from ebaysync.sync.run import run

Query = Callable[..., list[Any]]


@pytest.mark.parametrize("carried_out", [False, True], ids=["lost on its way", "carried out and not answered"])
async def test_every_figure_row_event_and_log_line_is_right_wherever_a_commit_is_cut_off(
    bench: Callable[..., Any], query: Query, database_url: str, carried_out: bool
) -> None:
    b = bench(seed=9, sellers=1, orders_per_seller=6, days=1).with_settings(initial_backfill_days=1)
    account = await b.add()
    await b.run(account)
    [seller] = b.sim.world.sellers
    with Proxy(database_url) as proxy:
        db = Database(Secret(proxy.url))

        async def touched(cut_at: int) -> tuple[Any, Strike]:
            """Two orders change and are read through the proxy; the run, and how many commits it took."""
            for order_id in sorted(seller.orders)[:2]:
                b.sim.world.touch(seller, order_id)
            strike = proxy.strike = Strike(cut_at, carried_out, containing=b"COMMIT", cut=True)
            async with b.worker(account) as worker:
                own = RunContext(worker.settings, db, worker.api, account, worker.stop)
                return (await run(own, [discover()["orders"]], RunOptions("run")))[0], strike

        await touched(0)  # reads the list of erased people, which the process knows from then on
        clean, strike = await touched(0)
        commits = strike.seen
        assert clean.stored == 2
        assert commits >= 3
        lines = "SELECT kind, count(*) FROM ebay_api_worker_log WHERE run_id = %s GROUP BY kind ORDER BY kind"
        expected = query(lines, clean.run_id)
        told = (
            "SELECT entity_key, count(*) FROM ebay_events WHERE run_id = %s AND table_name = 'ebay_orders'"
            " GROUP BY entity_key ORDER BY entity_key"
        )
        for cut_at in range(1, commits + 1):
            summary, strike = await touched(cut_at)
            assert strike.done.is_set()
            found = (summary.status, summary.stored, summary.fetched, summary.quarantined)
            assert found == ("completed", 2, clean.fetched, 0), f"commit {cut_at}: {summary.as_dict()}"
            assert query(told, summary.run_id) == [(key, 1) for key in sorted(seller.orders)[:2]], f"commit {cut_at}"
            assert query(lines, summary.run_id) == expected, f"commit {cut_at}"
            stored = query("SELECT status FROM ebay_worker_run WHERE id = %s", summary.run_id)
            assert stored == [("completed",)], f"commit {cut_at}"
        await db.close()
    assert query("SELECT count(*) FROM ebay_lease WHERE token IS NOT NULL") == [(0,)]
