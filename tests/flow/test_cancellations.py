"""Requests to cancel an order: from the simulator's Post-Order API into `ebay_cancellations`.

test_all_families compares every column with the world's truth, move by move; here are the family's own traps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ebaysync.ebay import postorder
from ebaysync.families import discover
from ebaysync.sim.clock import ManualClock
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run
from ebaysync.sync.sources import discover as sources
from ebaysync.sync.sources import post_order

Query = Callable[..., list[Any]]
Benches = Callable[..., Any]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
KIND, FAMILY = "cancellation", "cancellations"


def world(bench: Benches, count: int = 0, **options: Any) -> Any:
    return bench(orders_per_seller=0, sellers=1, things={KIND: count}, clock=ManualClock(NOON), **options)


def requested(b: Any, at: datetime = NOON - timedelta(days=1)) -> Any:
    return b.sim.world.add_thing(b.sim.world.sellers[0], KIND, at=at)


def states(query: Query) -> dict[str, str]:
    return dict(query("SELECT cancel_id, cancel_state FROM ebay_cancellations"))


async def test_a_first_run_reaches_back_545_days_and_the_next_one_writes_nothing(bench: Benches, query: Query) -> None:
    b = world(bench)
    there = [requested(b, NOON - timedelta(days=days)) for days in (1, 89, 300, 544)]
    requested(b, NOON - timedelta(days=546))
    account = await b.add()
    first = await b.run(account, FAMILY)
    assert (first.status, first.stored) == ("completed", 4)
    assert states(query) == {thing.id: thing.body["state"] for thing in there}
    rows = query("SELECT cancel_id, xmin::text FROM ebay_cancellations ORDER BY 1")
    assert (await b.run(account, FAMILY)).stored == 0
    assert query("SELECT cancel_id, xmin::text FROM ebay_cancellations ORDER BY 1") == rows


async def test_the_sweep_sees_what_no_filter_shows(bench: Benches, query: Query) -> None:
    b = world(bench)
    thing = requested(b, NOON - timedelta(days=80))
    account = await b.add()
    await b.run(account, FAMILY)
    b.sim.world.clock.advance(3600)
    b.sim.world.move_thing(thing, "recoup")
    assert (await b.run(account, FAMILY)).status == "completed"
    [(amount,)] = query("SELECT amount_to_recoup FROM ebay_cancellations")
    assert amount == Decimal(thing.body["recoup"]["cents"]) / 100
    [(event, changes)] = query("SELECT event, changes FROM ebay_events")
    assert event == "changed"
    assert changes["amount_to_recoup"][0] is None


async def test_a_record_without_the_date_of_its_request_is_stored(bench: Benches, query: Query) -> None:
    b = world(bench)
    thing = requested(b)
    b.sim.world.put_thing(thing, thing.body | {"over": {"search": {"cancelRequestDate": None}}})
    assert (await b.run(await b.add(), FAMILY)).stored == 1
    assert query("SELECT cancel_request_date FROM ebay_cancellations") == [(None,)]


@pytest.mark.parametrize("moment", ["0001-01-01", "1970-01-01", "1999-01-01", "9999-01-01"])
async def test_two_odd_dates_stop_no_other_record(bench: Benches, query: Query, moment: str) -> None:
    b = world(bench)
    odd, good = [requested(b) for _ in range(2)], [requested(b) for _ in range(3)]
    for thing in odd:
        over = {"cancelRequestDate": {"value": f"{moment}T00:00:00.000Z"}}
        b.sim.world.put_thing(thing, thing.body | {"over": {"search": over}})
    assert (await b.run(await b.add(), FAMILY)).stored == 5
    assert set(states(query)) == {thing.id for thing in [*odd, *good]}


@pytest.mark.parametrize("counts", ["row", "page"])
async def test_more_than_a_page_at_once_comes_whole_however_ebay_counts(
    bench: Benches, query: Query, counts: str
) -> None:
    """240 within an hour are cut in time; 230 of one second are paged."""
    b = world(bench, post_order_offset=counts)
    made = [requested(b, NOON - timedelta(days=200) + timedelta(seconds=15 * number)) for number in range(240)]
    made += [requested(b, NOON - timedelta(days=205)) for _ in range(230)]
    assert (await b.run(await b.add(), FAMILY)).status == "completed"
    assert set(states(query)) == {thing.id for thing in made}


async def test_a_filter_that_ebay_does_not_know_is_an_error_and_stores_nothing(
    bench: Benches, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = world(bench, 30)
    account = await b.add()
    misspelt = replace(postorder.CANCELLATIONS, since="cancel_date_range_from", until="cancel_date_range_to")
    monkeypatch.setitem(sources(), FAMILY, lambda api: post_order.search(api, misspelt))
    summary = await b.run(account, FAMILY)
    assert (summary.status, summary.failure.code) == ("error", "not_understood")
    assert (states(query), query("SELECT cursor_value FROM ebay_sync_state")) == ({}, [(None,)])


async def test_the_sandbox_is_skipped_and_says_why(bench: Benches) -> None:
    b = world(bench)
    async with b.worker(replace(await b.add(), environment="simulator")) as worker:
        sandbox = replace(worker, account=replace(worker.account, environment="sandbox"))
        [summary] = await run(sandbox, [discover()[FAMILY]], RunOptions("run"))
    assert (summary.status, summary.reason) == ("skipped", "eBay has no cancellations in its sandbox")
    assert b.sim.journal.of("/post-order") == []


async def test_a_refund_gets_the_reason_of_the_cancellation_it_refers_to(bench: Benches, query: Query) -> None:
    b = world(bench)
    [seller] = b.sim.world.sellers
    thing = requested(b)
    b.sim.world.put_thing(thing, thing.body | {"reason": "OUT_OF_STOCK_OR_CANNOT_FULFILL"})
    account = await b.add()
    await b.run(account, FAMILY)
    await b.run(account, "refunds")
    reference = [{"referenceId": thing.id, "referenceType": "CANCELLATION_ID"}]
    while not query("SELECT 1 FROM ebay_refunds WHERE cancellation_id = %s", thing.id):
        sale = b.sim.world.add_thing(seller, "transaction", at=NOON)
        body = sale.body | {"transactionType": "REFUND", "bookingEntry": "DEBIT", "references": reference}
        body["transactionDate"] = "2026-11-20T11:30:00.000Z"
        b.sim.world.put_thing(sale, {name: value for name, value in body.items() if name != "orderId"})
        await b.run(account, "refunds")
    found = query("SELECT refund_reason FROM ebay_refunds WHERE cancellation_id = %s", thing.id)
    assert found == [("OUT_OF_STOCK_OR_CANNOT_FULFILL",)]


def test_every_sample_record_of_ebay_becomes_a_row(shared: Path) -> None:
    sample = json.loads((shared / "ebay/samples/trading-postorder/post-order-cancellation-search.json").read_text())
    found = [discover()[FAMILY].rows(json.dumps(record).encode()) for record in sample["cancellations"]]
    rows = [row for rows in found for row in rows["ebay_cancellations"]]
    assert [row["cancel_reason"] for row in rows] == ["OUT_OF_STOCK_OR_CANNOT_FULFILL", None, None]
    assert [row["request_refund_amount"] for row in rows] == [Decimal(0), Decimal("1.23"), None]
    assert rows[1]["seller_response_due_date"] == datetime(2015, 5, 30, 6, tzinfo=UTC)
    assert (rows[2]["cancel_request_date"], rows[2]["legacy_order_id"]) == (None, None)
