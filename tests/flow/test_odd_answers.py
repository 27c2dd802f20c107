"""One odd answer that stays costs one record, call or folder, and nothing else: whole runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ebaysync.accounts import adding, vault
from ebaysync.accounts.adding import Consent, KeysetContext
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.transport import Transport
from ebaysync.errors import UsageError
from ebaysync.log import Secret
from ebaysync.sim.apis import trading
from ebaysync.sim.apis.trading_requests import Request
from ebaysync.sim.calls import Answer, Call
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.faults_json import SPOILERS
from ebaysync.sim.model import Seller
from ebaysync.sim.trading_xml import Failed
from ebaysync.sim.world import World

Benches = Callable[..., Any]
Query = Callable[..., list[Any]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


async def test_a_200_with_errors_moves_no_cursor_past_rows_that_were_not_seen(
    bench: Benches, query: Query, clock: ManualClock
) -> None:
    b = bench(sellers=1, orders_per_seller=0, clock=clock).with_settings(initial_backfill_days=120)
    account, [seller] = await b.add(), b.sim.world.sellers
    for days in (100, 5):
        b.sim.world.add_thing(seller, "transaction", at=NOON - timedelta(days=days))
    errors = [{"errorId": 135000, "domain": "ACCESS", "category": "REQUEST", "message": "internal"}]
    b.sim.faults.add("body", path="/transaction$", says=json.dumps({"errors": errors}), times=None)
    failed = await b.run(account, "finances")
    assert (failed.status, failed.failure.exit_code, failed.failure.error_id) == ("error", 13, 135000)
    b.sim.faults.clear()
    expected = len(b.sim.world.things(seller, "transaction"))
    done = await b.run(account, "finances")
    assert (done.status, done.caught_up, done.stored) == ("completed", True, expected)


async def test_rows_beside_errors_are_stored_and_the_cursor_stays(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=10, clock=ManualClock(NOON), days=0.01).with_settings(
        initial_backfill_days=1
    )
    account = await b.add()
    b.sim.faults.add("errors_too", times=None)
    failed = await b.run(account)
    assert (failed.status, failed.failure.code, failed.stored, failed.cursor) == ("error", "not_understood", 10, None)
    b.sim.faults.clear()
    done = await b.run(account)
    assert (done.status, done.caught_up, done.stored) == ("completed", True, 0)


SUCCESS = (
    "<?xml version='1.0' encoding='UTF-8'?><GetMyeBaySellingResponse xmlns=\"urn:ebay:apis:eBLBaseComponents\">"
    "<Ack>Success</Ack><Version>1271</Version></GetMyeBaySellingResponse>"
)


async def test_a_success_without_the_active_list_removes_no_listing(
    bench: Benches, query: Query, clock: ManualClock
) -> None:
    b = bench(sellers=1, orders_per_seller=0, things={"listing": 12}, clock=clock)
    account = await b.add()
    first = await b.run(account, "active_inventory")
    b.sim.faults.add("body", path="^/ws", call="GetMyeBaySelling", says=SUCCESS, times=None)
    for _ in range(4):
        clock.advance(3600)
        summary = await b.run(account, "active_inventory")
        assert (summary.status, summary.failure.exit_code, summary.removed) == ("error", 13, 0)
    assert query("SELECT count(*) FROM ebay_active_inventory WHERE removed_at IS NULL") == [(first.stored,)]
    b.sim.faults.clear()
    assert (await b.run(account, "active_inventory")).status == "completed"


async def test_a_return_whose_detail_cannot_be_decoded_is_stored_as_listed(
    bench: Benches, query: Query, clock: ManualClock
) -> None:
    b = bench(sellers=1, orders_per_seller=0, clock=clock)
    account, [seller] = await b.add(), b.sim.world.sellers
    ids = [b.sim.world.add_thing(seller, "return", at=NOON - timedelta(days=1)).id for _ in range(3)]
    b.sim.faults.add("json_spoil", path=f"/return/{ids[1]}$", what="control", times=None)
    summary = await b.run(account, "returns")
    assert (summary.status, summary.stored, summary.quarantined, summary.incomplete) == ("completed", 3, 1, 1)
    [(reason, payload)] = query("SELECT reason, payload FROM ebay_quarantine")
    assert "the JSON is broken" in reason
    assert SPOILERS["control"] in payload
    detailed = "SELECT return_id FROM ebay_returns WHERE raw_payload ? 'detail'"
    assert {key for (key,) in query(detailed)} == {ids[0], ids[2]}
    assert query("SELECT entity_key FROM ebay_pending_detail WHERE next_at IS NOT NULL") == [(ids[1],)]


@pytest.mark.parametrize("what", sorted(SPOILERS))
async def test_whatever_is_in_one_order_the_others_are_stored_and_the_cursor_moves(
    bench: Benches, query: Query, what: str
) -> None:
    b = bench(sellers=1, orders_per_seller=10, clock=ManualClock(NOON), days=0.01).with_settings(
        initial_backfill_days=1
    )
    account = await b.add()
    b.sim.faults.add("json_spoil", path="/order$", what=what, row=3, times=None)
    summary = await b.run(account)
    storable = what in ("surrogate", "nul", "utf8", "half_deep")
    assert (summary.failure, summary.status, summary.caught_up) == (None, "completed", True)
    assert (summary.stored, summary.quarantined) == ((10, 0) if storable else (9, 1))
    if not storable:
        assert summary.failure is None
        [(payload,)] = query("SELECT payload FROM ebay_quarantine")
        assert SPOILERS[what] in payload
    again = await b.run(account)
    assert (again.status, again.stored, again.failure) == ("completed", 0, None)


async def test_a_deeply_nested_order_that_changes_stops_no_other(bench: Benches, query: Query) -> None:
    clock = ManualClock(NOON)
    b = bench(sellers=1, orders_per_seller=10, clock=clock, days=0.01)
    account, [seller] = await b.add(), b.sim.world.sellers
    keys = sorted(b.sim.world.truth(seller))
    b.sim.faults.add("json_spoil", path="/order$", what="half_deep", of=keys[3], times=None)
    await b.run(account)
    clock.advance(60)
    for key in keys[2:5]:
        b.sim.world.touch(seller, key)
    summary = await b.run(account)
    assert (summary.status, summary.caught_up, summary.stored) == ("completed", True, 3)


async def test_a_marketplace_that_is_none_is_refused_before_an_account_is_stored(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0)
    seller = b.sim.world.sellers[0]
    keys, keyset = vault.load(b.settings, may_create=True), b.settings.keyset("simulator")
    async with Transport(hosts(b.settings, "simulator"), sleep=b.sleep) as transport:
        context, token = KeysetContext(b.db, keys, transport, keyset), Secret(seller.refresh_token)
        with pytest.raises(UsageError, match="is no marketplace id"):
            await adding.add(context, "x", token, Consent(marketplace_id="EBAY_MÜNCHEN"))
    assert query("SELECT count(*) FROM ebay_accounts") == [(0,)]


async def test_a_refused_folder_stops_no_mailbox_and_is_read_when_it_is_not_refused_any_more(
    bench: Benches, query: Query, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench(sellers=1, orders_per_seller=0, clock=clock)
    account, [seller] = await b.add(), b.sim.world.sellers
    for folder in (0, 1, 3):
        body = {"folder": folder}
        b.sim.world.add_thing(seller, "message", at=NOON - timedelta(days=2), thing_id=f"5{folder}", body=body)
    handler = trading.HANDLERS["GetMyMessages"]
    refused = {3}

    def handle(world: World, seller: Seller, call: Call, request: Request) -> Answer:
        if request.values.get("FolderID") and int(request.values["FolderID"][0]) in refused:
            raise Failed(20128)
        return handler(world, seller, call, request)

    monkeypatch.setitem(trading.HANDLERS, "GetMyMessages", handle)
    first = await b.run(account, "messages")
    assert (first.status, first.caught_up, first.stored) == ("completed", True, 2)
    assert first.cursor is not None
    refused.clear()
    clock.advance(3600)
    await b.run(account, "messages", sweep=True)
    assert query("SELECT count(*) FROM ebay_messages") == [(3,)]
