"""What a run over all families costs when there is nothing new: the calls that docs/quotas.md names, and not a row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ebaysync.families import discover
from ebaysync.ops.account import by_source
from ebaysync.sim.clock import ManualClock
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run
from ebaysync.sync.summary import Summary

from .births import born

Query = Callable[..., list[Any]]


async def run_all(b: Any, account: Any) -> list[Summary]:
    """Every family, those of one source together."""
    async with b.worker(account) as worker:
        done = [
            summary
            for together in by_source(list(discover().values()))
            for summary in await run(worker, together, RunOptions("run-all"))
        ]
    assert {summary.status for summary in done} == {"completed"}
    return done


# Calls of a run that finds nothing new, by family; one that is read with another has 0.
QUIET = {
    "orders": 1,
    "finances": 1,
    "transactions": 0,
    "refunds": 0,
    "payouts": 1,
    "disputes": 1,
    "inventory": 2 + 205,
    "offers": 0,
    "messages": 1,
    "active_inventory": 2,
    "buyer": 1,
    "cancellations": 1,
    "cases": 1,
    "inquiries": 1,
    "returns": 1,
}
OPEN = {"return": 30, "case": 2, "inquiry": 2, "dispute": 2}
FAMILIES = {"return": "returns", "case": "cases", "inquiry": "inquiries", "dispute": "disputes"}
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
async def shop(bench: Callable[..., Any]) -> Any:
    """A seller with 205 SKUs and listings, three folders of messages and some open records; all of it is stored."""
    things = dict.fromkeys(OPEN, 0) | {
        "inventory_item": 205,
        "listing": 205,
        "message": 90,
        "transaction": 150,
        "payout": 12,
        "purchase": 20,
    }
    b = bench(seed=2, sellers=1, orders_per_seller=40, things=things, clock=ManualClock(NOON))
    [seller] = b.sim.world.sellers
    for kind, number in OPEN.items():
        for index in range(number):
            born(b.sim.world, seller, kind, NOON - timedelta(days=80 * index / number + 1))
    account = await b.add()
    for _ in range(3):  # the counts of messages are believed when they have lasted
        await run_all(b, account)
        b.sim.world.clock.advance(1200)
    return b, account


def test_every_family_has_its_quiet_calls() -> None:
    assert QUIET.keys() == discover().keys()


async def test_a_quiet_run_of_all_families_takes_twelve_calls_beside_inventory_and_writes_no_domain_row(
    shop: Any, query: Query
) -> None:
    b, account = shop
    tables = [table.name for family in discover().values() for table in family.tables]
    before = [query(f"SELECT ctid::text, xmin::text FROM {name} ORDER BY ctid") for name in tables]
    events = query("SELECT count(*) FROM ebay_events")
    b.sim.journal.clear()
    done = await run_all(b, account)
    entries = [entry for entry in b.sim.journal if not entry.path.startswith("/identity")]
    assert {summary.family: summary.calls for summary in done} == QUIET
    assert sum(summary.calls for summary in done) == len(entries)
    assert [query(f"SELECT ctid::text, xmin::text FROM {name} ORDER BY ctid") for name in tables] == before
    assert query("SELECT count(*) FROM ebay_events") == events
    for kind, number in OPEN.items():
        family = discover()[FAMILIES[kind]]
        assert family.detail
        still_open = f"SELECT count(*) FROM {family.table.name} WHERE {family.detail.open_column} <> ALL(%s)"
        assert query(still_open, list(family.detail.final)) == [(number,)], "or the test would prove nothing"


@pytest.mark.slow
async def test_a_quiet_day_takes_at_most_1300_calls_beside_inventory_with_sweeps_and_details(
    shop: Any, query: Query
) -> None:
    """Each family at its interval. Details are read again because of their age, and the sweep comes round."""
    b, account = shop
    groups = [group for group in by_source(list(discover().values())) if group[0].source != "inventory"]
    b.sim.journal.clear()
    for minute in range(0, 1440, 5):
        b.sim.world.clock.advance(300)
        due = [group for group in groups if minute % min(family.every_minutes for family in group) == 0]
        async with b.worker(account) as worker:
            for group in due:
                summaries = await run(worker, group, RunOptions("run-all"))
                assert {summary.status for summary in summaries} == {"completed"}
    by_path: Counter[str] = Counter()
    for entry in b.sim.journal:
        if not entry.path.startswith("/identity") and entry.status != 401:  # the token's hours are the database's
            by_path[entry.query.get("call") or re.sub(r"/[\d*-]+$", "/{id}", entry.path)] += 1
    print(sum(by_path.values()), dict(by_path))
    assert sum(by_path.values()) <= 1300
    assert query("SELECT count(*) FROM ebay_pending_detail WHERE again_at IS NOT NULL") == [(sum(OPEN.values()),)]
    assert by_path["/post-order/v2/return/{id}"] >= OPEN["return"]
