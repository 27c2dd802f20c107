"""The way of an order: from the simulator's answers into the tables."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from pytest_httpx import HTTPXMock

from ebaysync.families.family import RecordVersions
from ebaysync.families.orders import FAMILY
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.faults import SPOILERS
from ebaysync.sim.quirks import CHOICES
from ebaysync.store.merge import Writer
from ebaysync.sync import batch as batches
from ebaysync.sync import outcome
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run

Query = Callable[..., list[Any]]
Benches = Callable[..., Any]

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def test_every_order_arrives_with_its_fields_and_line_items(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=120, sellers=1)
    summary = await b.run(await b.add())
    truth = b.sim.world.truth(b.sim.world.sellers[0])
    assert (summary.status, summary.stored, summary.caught_up) == ("completed", len(truth), True)
    rows = query(
        "SELECT order_id, raw_payload, last_modified_date, total, total_currency, cancel_state FROM ebay_orders"
    )
    assert {row[0] for row in rows} == set(truth)
    for order_id, raw, modified, total, currency, cancel_state in rows:
        shown = truth[order_id].shown
        expected = shown if cancel_state != "NONE_REQUESTED" else truth[order_id].row
        assert raw == expected
        assert modified == datetime.fromisoformat(shown["lastModifiedDate"])
        assert total == Decimal(shown["pricingSummary"]["total"]["value"])
        assert currency == shown["pricingSummary"]["total"]["currency"]
    lines = {line["lineItemId"]: order_id for order_id, t in truth.items() for line in t.shown["lineItems"]}
    assert dict(query("SELECT line_item_id, order_id FROM order_line_items")) == lines


async def test_the_tables_of_a_large_first_import_are_analysed_once_it_has_caught_up(
    bench: Benches, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed = "SELECT bool_and(reltuples > 0) FROM pg_class WHERE relname IN ('ebay_orders', 'order_line_items')"
    b = bench(orders_per_seller=10, sellers=2)
    await b.run(await b.add(0))
    assert query(analysed) == [(False,)]
    monkeypatch.setattr(outcome, "MANY", 10)
    await b.run(await b.add(1))
    assert query(analysed) == [(True,)]


async def test_cancelled_orders_have_the_cancel_requests_that_the_list_leaves_out(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=200, sellers=1)
    await b.run(await b.add())
    [(cancelled, with_requests)] = query(
        "SELECT count(*), sum((jsonb_array_length(raw_payload #> '{cancelStatus,cancelRequests}') > 0)::int)"
        " FROM ebay_orders WHERE cancel_state <> 'NONE_REQUESTED'"
    )
    assert cancelled == with_requests > 0


@pytest.mark.parametrize("age", [timedelta(days=1), timedelta(days=30)], ids=["young", "without e-mail"])
async def test_a_cancellation_that_was_rejected_is_kept_as_rejected(
    bench: Benches, query: Query, age: timedelta
) -> None:
    """The list says NONE_REQUESTED and shows no request, before it as after it."""
    clock = ManualClock(NOON)
    b = bench(orders_per_seller=0, sellers=1, clock=clock)
    [seller] = b.sim.world.sellers
    order = b.sim.world.add_order(seller, created=NOON - age)
    b.sim.world.touch(seller, order.id, "cancel_ask")
    account = await b.add()
    await b.run(account)
    clock.advance(300)
    b.sim.world.touch(seller, order.id, "cancel_reject")
    for _ in range(3):
        summary = await b.run(account)
        clock.advance(300)
    [(stored,)] = query("SELECT raw_payload FROM ebay_orders")
    assert stored == b.sim.world.truth(seller)[order.id].shown
    assert stored["cancelStatus"]["cancelRequests"][0]["cancelRequestState"] == "REJECTED"
    assert (summary.unchanged, summary.calls) == (1, 1)  # a list, and no detail any more
    [(changes,)] = query("SELECT changes FROM ebay_events WHERE table_name = 'ebay_orders'")
    assert changes["cancel_state"] == ["IN_PROGRESS", "NONE_REQUESTED"]


async def test_a_second_run_over_a_world_that_stands_still_writes_nothing(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=150, sellers=1, clock=ManualClock(NOON), days=0.01)
    account = await b.add()
    first = await b.run(account)
    before = query("SELECT order_id, updated_at, xmin::text FROM ebay_orders ORDER BY 1")
    lines = query("SELECT line_item_id, updated_at, xmin::text FROM order_line_items ORDER BY 1")
    second = await b.run(account)
    assert first.stored == second.unchanged == 150
    assert (second.stored, second.quarantined) == (0, 0)
    assert query("SELECT order_id, updated_at, xmin::text FROM ebay_orders ORDER BY 1") == before
    assert query("SELECT line_item_id, updated_at, xmin::text FROM order_line_items ORDER BY 1") == lines
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]


async def test_a_change_becomes_one_event_with_old_and_new_values(bench: Benches, query: Query) -> None:
    clock = ManualClock(NOON)
    b = bench(orders_per_seller=20, sellers=1, clock=clock)
    account = await b.add()
    await b.run(account)
    clock.advance(600)
    [seller] = b.sim.world.sellers
    unshipped = next(
        k for k, t in b.sim.world.truth(seller).items() if t.shown["orderFulfillmentStatus"] == "NOT_STARTED"
    )
    b.sim.world.touch(seller, unshipped, "ship")
    clock.advance(600)
    for _ in range(2):
        await b.run(account)
    [(key, changes)] = query("SELECT entity_key, changes FROM ebay_events WHERE table_name = 'ebay_orders'")
    assert key == unshipped
    assert changes["order_fulfillment_status"] == ["NOT_STARTED", "FULFILLED"]
    assert changes["last_modified_date"][1].startswith("2026-11-20T12:10:00")
    assert "lineItems" not in changes
    assert query("SELECT count(*) > 0 FROM ebay_events WHERE table_name = 'order_line_items'") == [(True,)]


async def test_windows_reach_from_the_cursor_less_the_overlap_to_now_less_the_settle_time(bench: Benches) -> None:
    clock = ManualClock(NOON)
    b = bench(orders_per_seller=0, sellers=1, clock=clock).with_settings(settle_seconds=120, initial_backfill_days=3)
    account = await b.add()
    summary = await b.run(account)
    assert summary.window_from == NOON - timedelta(days=3)
    assert summary.window_to == summary.cursor == NOON - timedelta(seconds=120)
    clock.advance(300)
    b.sim.journal.clear()
    summary = await b.run(account)
    assert summary.window_from == NOON - timedelta(seconds=120, minutes=30)
    assert summary.cursor == NOON + timedelta(seconds=180)
    [listing] = [entry for entry in b.sim.journal if entry.path.endswith("/order") and entry.status == 200]
    assert listing.query["filter"] == "lastmodifieddate:[2026-11-20T11:28:00.000Z..2026-11-20T12:03:00.000Z]"
    assert listing.query["limit"] == "200"


@pytest.mark.usefixtures("narrow")
async def test_no_slice_that_a_page_may_not_hold_is_wider_than_the_clamp_and_none_is_left_out(bench: Benches) -> None:
    now = datetime.now(UTC).replace(microsecond=0)  # the host's clock is right here
    b = bench(orders_per_seller=50, sellers=1, clock=ManualClock(now)).with_settings(max_window_hours=7)
    await b.run(await b.add())
    spans = []
    for entry in b.sim.journal:
        if entry.path.endswith("/order") and entry.status == 200:
            text = entry.query["filter"].removeprefix("lastmodifieddate:[").removesuffix("]")
            spans.append([datetime.fromisoformat(part) for part in text.split("..")])
    assert max(end - start for start, end in spans) == timedelta(hours=7)
    spans.sort()
    assert timedelta(0) <= spans[0][0] - (now - timedelta(days=90)) < timedelta(seconds=5)  # by the host's clock
    assert spans[-1][1] == now
    assert all(a[1] == b_[0] for a, b_ in itertools.pairwise(spans))


@pytest.mark.parametrize("rows", CHOICES["rows"])
@pytest.mark.parametrize("kind", ["leave", "leave_and_enter"])
async def test_nothing_is_skipped_when_rows_move_after_every_answer(
    bench: Benches, query: Query, rows: str, kind: str
) -> None:
    """The rows that enter late are the index's lag, which the overlap answers for; here they serve to hide a skip."""
    clock = ManualClock(NOON)
    b = bench(orders_per_seller=900, sellers=1, clock=clock, rows=rows, days=2).with_settings(settle_seconds=30)
    [seller] = b.sim.world.sellers
    there = set(b.sim.world.truth(seller))
    b.sim.faults.add(kind, times=None)
    account = await b.add()
    clock.advance(60)
    await b.run(account)
    b.sim.faults.clear()
    clock.advance(60)
    await b.run(account)
    assert there <= {row[0] for row in query("SELECT order_id FROM ebay_orders")}


@pytest.mark.usefixtures("narrow")
async def test_what_a_run_stored_stays_when_a_later_slice_fails(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=200, sellers=1, clock=ManualClock(NOON))
    account = await b.add()
    b.sim.faults.add("html", path="/order$", after=40, times=None)
    summary = await b.run(account)
    assert summary.status == "error"
    assert summary.failure.code == "not_understood"
    [(cursor, error)] = query("SELECT cursor_value, last_error FROM ebay_sync_state")
    assert cursor == iso_of(summary.cursor)
    assert "/sell/fulfillment/v1/order" in error
    stored = query("SELECT count(*) FROM ebay_orders")[0][0]
    assert stored == summary.stored > 0
    b.sim.faults.clear()
    again = await b.run(account)
    assert again.window_from == summary.cursor - timedelta(minutes=30)
    assert again.status == "completed"
    assert query("SELECT count(*) FROM ebay_orders") == [(200,)]


def iso_of(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@pytest.mark.parametrize("kind", ["html", "empty", "no_content", "wrong_shape", "redirect", "endless"])
async def test_an_answer_that_is_not_understood_is_an_error_and_never_no_data(
    bench: Benches, query: Query, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebaysync.ebay.body.WIRE_CAP", 2_000_000)
    b = bench(orders_per_seller=5, sellers=1)
    account = await b.add()
    b.sim.faults.add(kind, path="/order$", times=None)
    summary = await b.run(account)
    assert summary.status == "error"
    assert summary.failure.exit_code == 13
    assert query("SELECT cursor_value, last_error IS NOT NULL FROM ebay_sync_state") == [(None, True)]


@pytest.mark.parametrize("kind", ["drop", "cut", "short", "bad_gzip"])
async def test_a_transient_fault_heals_inside_the_run(bench: Benches, kind: str) -> None:
    b = bench(orders_per_seller=30, sellers=1)
    account = await b.add()
    b.sim.faults.add(kind, path="/order$", after=3, times=3)
    summary = await b.run(account)
    assert (summary.status, summary.stored) == ("completed", 30)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_busy_ebay_is_asked_again_and_given_up_after_a_bounded_number_of_calls(
    bench: Benches, status: int
) -> None:
    b = bench(orders_per_seller=30, sellers=1)
    account = await b.add()
    b.sim.faults.add("status", path="/order$", status=status, times=2)
    assert (await b.run(account)).status == "completed"
    b.sim.faults.add("status", path="/order$", status=status, times=None)
    b.sim.journal.clear()
    summary = await b.run(account)
    assert (summary.status, summary.failure.code) == ("error", "busy")
    assert len(b.sim.journal) <= 20


@pytest.mark.usefixtures("narrow")
async def test_retry_after_is_obeyed(bench: Benches) -> None:
    b = bench(orders_per_seller=3, sellers=1)
    account = await b.add()
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    b.sleep = sleep
    b.sim.faults.add("status", path="/order$", status=429, retry_after=17)
    b.sim.faults.add("status", path="/order$", status=429, retry_after=23, as_date=True, after=40)
    assert (await b.run(account)).status == "completed"
    assert 17 <= waited[0] <= 19
    assert 20 <= waited[1] <= 25
    b.sim.faults.add("status", path="/order$", status=429, retry_after=86_400, times=None)
    waited.clear()
    for calls in (1, 0):  # a day is waited for by nobody, and no failure: nothing more is asked until then
        left = await b.run(account)
        assert (left.status, left.failure, left.calls) == ("skipped", None, calls)
        assert "no more calls" in (left.reason or "") or "spent" in (left.reason or "")
    assert waited == []


@pytest.mark.usefixtures("narrow")
async def test_a_refused_token_is_renewed_once_and_the_run_goes_on(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=100, sellers=1)
    account = await b.add()
    b.sim.faults.add("expire_tokens", path="/order$", after=5)
    summary = await b.run(account)
    assert (summary.status, summary.stored) == ("completed", 100)
    assert query("SELECT triggered_by, success FROM ebay_token_refresh_log ORDER BY id") == [
        ("accounts add", True),
        ("unauthorized", True),
    ]


async def test_a_revoked_consent_marks_the_account_and_stops_asking(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=3, sellers=1)
    account = await b.add()
    b.sim.revoke(b.sim.world.sellers[0])
    summary = await b.run(account)
    assert (summary.status, summary.failure.exit_code) == ("error", 12)
    assert query("SELECT needs_consent FROM ebay_accounts") == [(True,)]
    assert query("SELECT success, error_code FROM ebay_token_refresh_log ORDER BY id DESC LIMIT 1") == [
        (False, "needs_consent")
    ]
    b.sim.journal.clear()
    query("UPDATE ebay_tokens SET access_expires_at = now() RETURNING 1")
    assert (await b.run(account)).failure.exit_code == 12
    assert len(b.sim.journal) == 0


# What becomes of each record that the simulator spoils: stored (cleaned, or a value that is no error), stored and
# noted, or in quarantine.
STORED = {"nul", "surrogate", "unknown_enum", "duplicate", "null_buyer", "other_seller"}
NOTED = {
    "ancient_date": "creation_date",
    "date_person": "creation_date",
    "money_nan": "total",
    "money_text": "total",
    "money_person": "total",
    "count_person": "order_line_items.quantity",
}


@pytest.mark.parametrize("what", sorted(SPOILERS))
async def test_a_spoiled_record_is_stored_clean_or_quarantined_and_stops_no_other(
    bench: Benches, query: Query, what: str
) -> None:
    b = bench(orders_per_seller=40, sellers=1, clock=ManualClock(NOON), days=0.01)
    account = await b.add()
    b.sim.faults.add("spoil", what=what, row=3, times=None)
    summary = await b.run(account)
    assert summary.status == "completed"
    assert summary.fetched == summary.stored + summary.unchanged + summary.quarantined
    assert summary.quarantined == (0 if what in STORED | NOTED.keys() else 1)
    assert [field for field, _ in summary.notes] == ([NOTED[what]] if what in NOTED else [])
    [(stored, readable)] = query("SELECT count(*), count(raw_payload::text) FROM ebay_orders")
    assert stored == readable == 40 - summary.quarantined
    quarantine = query("SELECT reason, payload FROM ebay_quarantine")
    assert len(quarantine) == summary.quarantined
    assert all(reason and payload for reason, payload in quarantine)
    again = await b.run(account)
    assert again.stored == 0
    assert query("SELECT reason, payload FROM ebay_quarantine") == quarantine


def cancelled(b: Any) -> list[str]:
    truth = b.sim.world.truth(b.sim.world.sellers[0])
    return [k for k, t in truth.items() if t.shown["cancelStatus"]["cancelState"] == "CANCELED"]


async def test_one_order_whose_detail_cannot_be_had_does_not_keep_the_others_out(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=200, sellers=1)
    account = await b.add()
    bad = cancelled(b)[0]
    b.sim.faults.add("status", path=f"/order/{bad}$", status=500, times=None)
    summary = await b.run(account)
    assert (summary.status, summary.stored, summary.incomplete) == ("completed", 200, 1)
    [(key, attempts, reason)] = query("SELECT entity_key, attempts, reason FROM ebay_pending_detail")
    assert (key, attempts) == (bad, 1)
    assert bad in reason


async def test_a_detail_that_could_not_be_had_is_asked_for_again_when_its_time_has_come(
    bench: Benches, query: Query
) -> None:
    b = bench(orders_per_seller=200, sellers=1)
    account = await b.add()
    bad = cancelled(b)[0]
    b.sim.faults.add("status", path=f"/order/{bad}$", status=500, times=None)
    await b.run(account)
    assert not await cancel_requests(query, bad)
    b.sim.faults.clear()
    b.sim.journal.clear()
    await b.run(account)
    assert not [entry for entry in b.sim.journal if entry.path.endswith(bad)], "its time has not come"
    query("UPDATE ebay_pending_detail SET next_at = now() RETURNING 1")
    summary = await b.run(account)
    assert (summary.status, summary.stored, summary.incomplete) == ("completed", 1, 0)
    assert await cancel_requests(query, bad)
    b.sim.journal.clear()
    await b.run(account)
    assert not [entry for entry in b.sim.journal if entry.path.endswith(bad)], "once is enough"


async def test_a_detail_that_ebay_refuses_is_asked_for_once_a_day_in_the_end(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=200, sellers=1)
    account = await b.add()
    bad = cancelled(b)[0]
    b.sim.faults.add("status", path=f"/order/{bad}$", status=400, times=None)
    for _ in range(12):
        await b.run(account)
        await b.run(account)  # too early
        [(wait,)] = query(
            "UPDATE ebay_pending_detail SET next_at = now() RETURNING (SELECT o.next_at - now() FROM"
            " ebay_pending_detail o WHERE o.entity_key = ebay_pending_detail.entity_key)"
        )
    assert len([entry for entry in b.sim.journal if entry.path.endswith(bad)]) == 12
    assert timedelta(hours=23) < wait <= timedelta(days=1)


async def cancel_requests(query: Query, order_id: str) -> list[Any]:
    [(requests,)] = query(
        "SELECT raw_payload #> '{cancelStatus,cancelRequests}' FROM ebay_orders WHERE order_id = %s", order_id
    )
    return requests


async def test_where_ebay_refuses_all_details_the_orders_are_stored_and_a_dead_consent_is_an_error(
    bench: Benches, query: Query
) -> None:
    b = bench(orders_per_seller=200, sellers=1, clock=ManualClock(NOON), days=0.9)
    account = await b.add()
    for status in (429, 500):
        b.sim.faults.add("status", path=r"/order/[\d-]+$", status=status, times=None)
        summary = await b.run(account)
        assert (summary.status, summary.caught_up) == ("completed", False)
        assert "details are missing" in summary.reason
        assert query("SELECT count(*) FROM ebay_orders") == [(200,)]
        b.sim.faults.clear()
    b.sim.narrow(b.sim.world.sellers[0], "https://api.ebay.com/oauth/api_scope")
    assert (await b.run(account)).failure.exit_code == 12


async def test_cancel_requests_that_are_stored_stay_when_the_detail_cannot_be_had(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=100, sellers=1)
    account = await b.add()
    await b.run(account)
    bad = cancelled(b)[0]
    requests = "SELECT raw_payload #> '{cancelStatus,cancelRequests}' FROM ebay_orders WHERE order_id = %s"
    before = query(requests, bad)
    assert before[0][0]
    b.sim.world.touch(b.sim.world.sellers[0], bad, "refund_all")
    b.sim.faults.add("status", path=f"/order/{bad}$", status=500, times=None)
    assert (await b.run(account)).stored == 1
    assert query(requests, bad) == before


async def test_of_a_refusal_only_the_number_is_told_whatever_its_text_has_in_it(
    bench: Benches, query: Query, httpx_mock: HTTPXMock
) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    tokens = {"access_token": "v^1.1#i^1#x", "expires_in": 7200}
    httpx_mock.add_response(url=re.compile(".*/oauth2/token"), json=tokens)
    httpx_mock.add_response(url=re.compile(".*/user/"), json={"userId": "u"})
    refusal = {"errors": [{"errorId": 1, "message": "bad \x00\x1b[31m thing v^1.1#i^1#x"}]}
    httpx_mock.add_response(url=re.compile(r".*/order\?.*"), status_code=400, json=refusal, is_reusable=True)
    summary = await b.run(await b.add())
    [(status, error)] = query("SELECT r.status, s.last_error FROM ebay_worker_run r, ebay_sync_state s")
    assert (summary.failure.code, status) == ("rejected", "error")
    assert error.endswith("eBay answered 400 1")


async def test_an_account_that_is_removed_in_mid_run_ends_the_run_with_that_reason(
    bench: Benches, query: Query
) -> None:
    b = bench(orders_per_seller=50, sellers=1)
    account = await b.add()
    async with b.worker(account) as worker:
        removing = replace(worker, progress=lambda _: query("DELETE FROM ebay_accounts RETURNING 1") and None)
        [summary] = await run(removing, [FAMILY], RunOptions("run"))
    assert (summary.status, summary.caught_up, summary.reason) == ("completed", False, "the account was removed")
    assert query("SELECT count(*) FROM ebay_orders") == [(0,)]


async def test_an_old_order_that_comes_masked_keeps_its_name_and_street(bench: Benches, query: Query) -> None:
    clock = ManualClock(NOON)
    b = bench(orders_per_seller=30, sellers=1, clock=clock, days=30)
    account = await b.add()
    await b.run(account)
    columns = "ship_to_full_name, ship_to_address_line1, ship_to_email, ship_to_primary_phone"
    before = {row[0]: row[1:] for row in query(f"SELECT order_id, {columns} FROM ebay_orders")}
    clock.advance(100 * 86400)
    [seller] = b.sim.world.sellers
    for order_id in before:
        b.sim.world.touch(seller, order_id)
    clock.advance(600)
    summary = await b.run(account)
    assert summary.stored == 30
    shown = b.sim.world.truth(seller)
    assert all("fullName" not in str(t.shown["fulfillmentStartInstructions"]) for t in shown.values())
    rows = query(f"SELECT order_id, last_modified_date, raw_payload, {columns} FROM ebay_orders")
    for order_id, modified, raw, *personal in rows:
        assert tuple(personal) == before[order_id]
        assert modified >= NOON + timedelta(days=99)
        contact = raw["fulfillmentStartInstructions"][0]["shippingStep"]["shipTo"]
        assert contact["fullName"] == personal[0]
        for line in raw["lineItems"]:
            expected = next(x for x in shown[order_id].shown["lineItems"] if x["lineItemId"] == line["lineItemId"])
            assert line["lineItemFulfillmentStatus"] == expected["lineItemFulfillmentStatus"]
    again = await b.run(account)
    assert again.stored == 0


@pytest.mark.parametrize(
    "off",
    [timedelta(days=-300), timedelta(minutes=-40), timedelta(seconds=-3), timedelta(minutes=40), timedelta(days=300)],
)
async def test_a_host_clock_that_is_wrong_moves_no_window(bench: Benches, query: Query, off: timedelta) -> None:
    now = (datetime.now(UTC) + off).replace(microsecond=0)
    clock = ManualClock(now)
    b = bench(orders_per_seller=20, sellers=1, clock=clock, days=30)
    account = await b.add()
    summary = await b.run(account)
    assert (summary.status, summary.stored) == ("completed", 20)
    assert abs(summary.cursor - now) < timedelta(seconds=5)
    clock.advance(3600)
    later = await b.run(account)
    assert abs(later.cursor - now - timedelta(hours=1)) < timedelta(seconds=5)


async def test_a_time_limit_ends_the_run_early_and_the_next_one_goes_on(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=50, sellers=1, clock=ManualClock(NOON))
    account = await b.add()
    summary = await b.run(account, deadline=0.0)
    assert (summary.status, summary.caught_up, summary.stored) == ("completed", False, 0)
    assert (await b.run(account)).caught_up


async def test_a_dry_run_says_what_would_change_and_writes_nothing(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=25, sellers=1)
    account = await b.add()
    summary = await b.run(account, dry_run=True)
    assert summary.stored == 25
    tables = ("ebay_orders", "order_line_items", "ebay_worker_run", "ebay_lease", "ebay_events", "ebay_sync_state")
    for table in tables:
        assert query(f"SELECT count(*) FROM {table}") == [(0,)]


async def test_a_backfill_walks_beside_the_live_cursor(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=100, sellers=1, clock=ManualClock(NOON), days=200).with_settings(
        initial_backfill_days=5
    )
    account = await b.add()
    live = await b.run(account)
    [(cursor,)] = query("SELECT cursor_value FROM ebay_sync_state")
    summary = await b.run(account, walk="backfill", days=250)
    assert (summary.status, summary.caught_up) == ("completed", True)
    assert live.stored + summary.stored == 100
    assert query("SELECT cursor_value FROM ebay_sync_state") == [(cursor,)]
    assert query("SELECT finished_at IS NOT NULL FROM ebay_backfill") == [(True,)]


@pytest.mark.usefixtures("narrow")
async def test_an_interrupted_backfill_goes_on_where_it_stopped(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=100, sellers=1, clock=ManualClock(NOON), days=80)
    account = await b.add()
    b.sim.faults.add("status", status=500, path="/order$", after=30, times=None)
    first = await b.run(account, walk="backfill", days=90)
    assert first.status == "error"
    assert first.stored > 0
    [(position,)] = query("SELECT position FROM ebay_backfill")
    b.sim.faults.clear()
    b.sim.world.clock.advance(86_400)  # a day later: the rest, and up to now
    second = await b.run(account, walk="backfill", days=90)
    assert (second.window_from, second.status) == (position, "completed")
    assert second.window_to == NOON + timedelta(days=1)
    assert position > NOON - timedelta(days=90)
    assert query("SELECT count(*) FROM ebay_orders") == [(100,)]


async def test_an_older_page_sets_neither_an_order_nor_its_line_items_back(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=1, sellers=1)
    account = await b.add()
    [seller] = b.sim.world.sellers
    [order_id] = seller.orders
    await b.run(account)
    old = msgspec.json.encode(b.sim.world.truth(seller)[order_id].shown)
    b.sim.world.touch(seller, order_id)
    await b.run(account)
    new = query("SELECT raw_payload FROM order_line_items ORDER BY line_item_id")
    events = query("SELECT count(*) FROM ebay_events")
    composer = batches.Composer(FAMILY)
    batch = batches.Batch([composer.record(RecordVersions(listed=old))])
    stored = await b.db.transact(
        lambda c: batches.store(b.db, Writer(c, account.id, "orders", None), composer, batch, one_by_one=False)
    )
    assert (stored.stored, stored.unchanged) == (0, 1)
    assert query("SELECT raw_payload FROM order_line_items ORDER BY line_item_id") == new
    assert query("SELECT count(*) FROM ebay_events") == events


async def test_an_order_that_had_no_cancel_status_can_be_cancelled(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=3, sellers=1)
    account = await b.add()
    await b.run(account)
    query("UPDATE ebay_orders SET raw_payload = raw_payload - 'cancelStatus' RETURNING 1")
    [seller] = b.sim.world.sellers
    for order_id in list(seller.orders):
        b.sim.world.touch(seller, order_id, "cancel_ask")
        b.sim.world.touch(seller, order_id, "cancel")
    summary = await b.run(account)
    assert summary.status == "completed"


async def test_a_signal_ends_the_wait_for_a_slow_answer(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=10, sellers=1)
    account = await b.add()
    b.sim.faults.add("slow", path="/order$", seconds=40, after=1, times=None)
    async with b.worker(account) as worker:
        # The first slice is stored, the next ones are being waited for.
        stopping = replace(worker, progress=lambda summary: b.stop.request(15))
        [summary] = await asyncio.wait_for(run(stopping, [FAMILY], RunOptions("run")), 20)
    assert (summary.status, summary.failure.exit_status) == ("interrupted", 143)
    assert query("SELECT status FROM ebay_worker_run") == [("interrupted",)]
    assert query("SELECT cursor_value IS NOT NULL FROM ebay_sync_state") == [(True,)]


async def test_a_pause_ends_a_run_after_its_slice(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=10, sellers=1)
    account = await b.add()
    pause = "UPDATE ebay_worker_global_config SET workers_enabled = %s, reason = 'stocktaking' RETURNING 1"
    async with b.worker(account) as worker:
        pausing = replace(worker, progress=lambda summary: query(pause, False) and None)
        [summary] = await run(pausing, [FAMILY], RunOptions("run"))
    assert (summary.status, summary.caught_up, summary.reason) == ("completed", False, "paused: stocktaking")
    assert query("SELECT count(*) FROM ebay_api_worker_log WHERE kind = 'page'") == [(1,)]
    assert (await b.run(account, force=True)).status == "skipped"
    query(pause, True)
    assert (await b.run(account)).caught_up
