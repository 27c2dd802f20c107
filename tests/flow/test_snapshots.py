"""Snapshots: what of inventory, offers and listings on sale is gone, and what only seems to be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ebaysync.families import discover
from ebaysync.sim.apis import inventory
from ebaysync.sim.calls import Answer
from ebaysync.sim.clock import ManualClock
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run

Query = Callable[..., list[Any]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
KINDS = {
    "inventory": ("inventory_item", "ebay_inventory_items", "delete", "/sell/inventory/v1/inventory_item"),
    "offers": ("offer", "ebay_offers", "vanish", "/sell/inventory/v1/offer"),
    "active_inventory": ("listing", "ebay_active_inventory", "end", "/ws/api.dll"),
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def opened(
    bench: Callable[..., Any], clock: ManualClock, undocumented: Callable[..., list[Any]]
) -> Iterator[Callable[..., Any]]:
    made = []

    def make(**options: Any) -> Any:
        made.append(bench(sellers=1, orders_per_seller=0, clock=clock, **options))
        return made[-1]

    yield make
    for each in made:
        assert each.sim.world.undeclared == []
        assert undocumented(each.sim.journal) == []


def items(b: Any, count: int, *, skus: list[str] | None = None) -> list[Any]:
    """Inventory items with an offer each, or listings without an end of their own."""
    [seller] = b.sim.world.sellers
    names = skus or [f"SKU-{number:04d}" for number in range(count)]
    found = []
    for number, sku in enumerate(names):
        body = {"sku": sku, "product": {"title": f"Nr. {number}"}, "condition": "NEW"}
        found.append(b.sim.world.add_thing(seller, "inventory_item", thing_id=sku, body=body))
        offer = {"offerId": str(9000 + number), "sku": sku, "marketplaceId": "EBAY_US", "status": "UNPUBLISHED"}
        b.sim.world.add_thing(seller, "offer", thing_id=str(9000 + number), body=offer)
        b.sim.world.add_thing(seller, "listing", thing_id=str(270000000000 + number), body={"quantity": 3, "sold": 0})
    return found


def things(b: Any, kind: str) -> list[Any]:
    return list(b.sim.world.things(b.sim.world.sellers[0], kind).values())


def gone(query: Query, table: str) -> int:
    return int(query(f"SELECT count(*) FROM {table} WHERE removed_at IS NOT NULL")[0][0])


def told(query: Query, table: str) -> list[str]:
    return [row[0] for row in query("SELECT event FROM ebay_events WHERE table_name = %s ORDER BY id", table)]


@pytest.mark.parametrize("family", KINDS)
async def test_what_is_gone_is_removed_and_what_is_back_has_returned(
    opened: Callable[..., Any], query: Query, clock: ManualClock, family: str
) -> None:
    kind, table, move, _ = KINDS[family]
    b = opened()
    items(b, 30)
    account = await b.add()
    first = await b.run(account, family)
    assert (first.status, first.stored, first.removed) == ("completed", 30, 0)
    for thing in things(b, kind)[:7]:
        b.sim.world.move_thing(thing, move)
    clock.advance(3600)
    second = await b.run(account, family)
    assert (second.status, second.removed, second.stored, gone(query, table)) == ("completed", 7, 0, 7)
    assert second.cursor > first.cursor
    clock.advance(3600)
    assert (await b.run(account, family)).removed == 0  # told once
    for thing in things(b, kind)[:7]:
        b.sim.world.move_thing(thing)
    clock.advance(3600)
    fourth = await b.run(account, family)
    assert (fourth.status, fourth.stored, gone(query, table)) == ("completed", 7, 0)
    assert told(query, table) == ["removed"] * 7 + ["returned"] * 7


@pytest.mark.parametrize("family", KINDS)
async def test_a_scan_that_fails_on_its_way_removes_nothing(
    opened: Callable[..., Any], query: Query, clock: ManualClock, family: str
) -> None:
    kind, table, move, path = KINDS[family]
    b = opened()
    items(b, 420)
    account = await b.add()
    await b.run(account, family)
    before = query("SELECT cursor_value FROM ebay_sync_state WHERE api_family = %s", family)
    for thing in things(b, kind)[:7]:
        b.sim.world.move_thing(thing, move)
    b.sim.faults.add("status", status=500, path=path, after=2, times=None)
    clock.advance(3600)
    failed = await b.run(account, family)
    assert (failed.status, failed.failure.code, failed.removed, gone(query, table)) == ("error", "busy", 0, 0)
    assert query("SELECT cursor_value FROM ebay_sync_state WHERE api_family = %s", family) == before
    b.sim.faults.clear()
    clock.advance(3600)
    query("UPDATE ebay_pending_detail SET next_at = clock_timestamp() RETURNING 1")
    assert (await b.run(account, family)).removed == 7


@pytest.mark.parametrize("family", KINDS)
async def test_a_scan_that_runs_out_of_time_removes_nothing(
    opened: Callable[..., Any], query: Query, clock: ManualClock, family: str
) -> None:
    kind, table, move, _ = KINDS[family]
    b = opened()
    items(b, 420)
    account = await b.add()
    first = await b.run(account, family)
    for thing in things(b, kind)[:7]:
        b.sim.world.move_thing(thing, move)
    clock.advance(3600)
    late = await b.run(account, family, deadline=time.monotonic())
    assert (late.status, late.caught_up, late.removed, gone(query, table)) == ("completed", False, 0, 0)
    assert late.cursor == first.cursor


@pytest.mark.parametrize("family", KINDS)
async def test_too_much_gone_at_once_is_an_error_until_three_scans_agree(
    opened: Callable[..., Any], query: Query, clock: ManualClock, family: str
) -> None:
    kind, table, move, _ = KINDS[family]
    b = opened()
    items(b, 100)
    account = await b.add()
    first = await b.run(account, family)
    for thing in things(b, kind)[:51]:
        b.sim.world.move_thing(thing, move)
    for _ in range(2):
        clock.advance(3600)
        doubted = await b.run(account, family)
        assert (doubted.status, doubted.failure.code, doubted.failure.exit_code) == ("error", "too_much_gone", 13)
        assert (doubted.removed, gone(query, table), doubted.cursor) == (0, 0, first.cursor)
        assert doubted.caught_up is False
    clock.advance(3600)
    third = await b.run(account, family)
    assert (third.status, third.removed, gone(query, table)) == ("completed", 51, 51)
    assert third.cursor > first.cursor


async def test_the_operator_may_say_that_it_is_true(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    items(b, 100)
    account = await b.add()
    await b.run(account, "inventory")
    for thing in things(b, "inventory_item")[:60]:
        b.sim.world.move_thing(thing, "delete")
    clock.advance(3600)
    assert (await b.run(account, "inventory")).failure.code == "too_much_gone"
    accepted = await b.run(account, "inventory", accept_removals=True)
    assert (accepted.status, accepted.removed) == ("completed", 60)


@pytest.mark.parametrize(("of", "gone_"), [(100, 50), (200, 100)])
async def test_half_of_it_or_fifty_may_go_at_once(
    opened: Callable[..., Any], query: Query, clock: ManualClock, of: int, gone_: int
) -> None:
    b = opened()
    items(b, of)
    account = await b.add()
    await b.run(account, "inventory")
    for thing in things(b, "inventory_item")[:gone_]:
        b.sim.world.move_thing(thing, "delete")
    clock.advance(3600)
    assert (await b.run(account, "inventory")).removed == gone_


async def test_a_good_scan_in_between_begins_the_count_anew(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    items(b, 100)
    account = await b.add()
    await b.run(account, "inventory")
    some = things(b, "inventory_item")[:60]
    codes = []
    for turn in ("go", "same", "back", "go", "same", "same"):
        for thing in some if turn != "same" else ():
            b.sim.world.move_thing(thing, "delete" if turn == "go" else None)
        clock.advance(3600)
        summary = await b.run(account, "inventory")
        codes.append(summary.failure.code if summary.failure else summary.removed)
    doubt = "too_much_gone"
    assert codes == [doubt, doubt, 0, doubt, doubt, 60]


async def test_three_scans_that_miss_different_things_convince_nobody(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    items(b, 200)
    account = await b.add()
    await b.run(account, "inventory")
    all_ = things(b, "inventory_item")
    for start in (0, 90, 0, 90):
        for thing in all_:
            if (thing in all_[start : start + 110]) == (thing.body is not None):
                b.sim.world.move_thing(thing, "delete")
        clock.advance(3600)
        assert (await b.run(account, "inventory")).failure.code == "too_much_gone"
    assert gone(query, "ebay_inventory_items") == 0


@pytest.mark.parametrize("seed", range(4))
async def test_an_item_that_slips_between_pages_while_others_vanish_is_not_removed(
    opened: Callable[..., Any], query: Query, clock: ManualClock, seed: int
) -> None:
    b = opened(seed=seed, things={"inventory_item": 700})
    account = await b.add()
    await b.run(account, "inventory")
    for turn in range(4):
        b.sim.faults.add("stir", path="/inventory_item$", of="inventory_item", by=3, after=turn % 3, times=2)
        clock.advance(3600)
        await b.run(account, "inventory")
        there = {thing.id for thing in things(b, "inventory_item") if thing.body is not None}
        marked = {row[0] for row in query("SELECT sku FROM ebay_inventory_items WHERE removed_at IS NOT NULL")}
        assert marked & there == set()
    clock.advance(3600)
    assert (await b.run(account, "inventory")).status == "completed"
    known = {row[0] for row in query("SELECT sku FROM ebay_inventory_items WHERE removed_at IS NULL")}
    assert known == {thing.id for thing in things(b, "inventory_item") if thing.body is not None}


async def test_the_offers_of_a_sku_that_is_deleted_are_removed_with_it(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    items(b, 20)
    account = await b.add()
    families = [discover()[name] for name in ("inventory", "offers")]
    async with b.worker(account) as worker:
        assert [s.stored for s in await run(worker, families, RunOptions("run"))] == [20, 20]
    for thing in things(b, "inventory_item")[:3]:
        b.sim.world.move_thing(thing, "delete")
    clock.advance(3600)
    async with b.worker(account) as worker:
        assert [s.removed for s in await run(worker, families, RunOptions("run"))] == [3, 3]
    skus = query("SELECT sku FROM ebay_offers WHERE removed_at IS NOT NULL ORDER BY 1")
    assert skus == [("SKU-0000",), ("SKU-0001",), ("SKU-0002",)]


@pytest.mark.parametrize("offset", ["page", "record"])
async def test_an_offset_of_pages_and_one_of_records_both_give_everything(
    opened: Callable[..., Any], query: Query, offset: str
) -> None:
    b = opened(inventory_offset=offset)
    items(b, 650)
    account = await b.add()
    summary = await b.run(account, "inventory")
    assert (summary.status, summary.fetched, summary.stored) == ("completed", 650, 650)
    assert len(b.sim.journal.of("/sell/inventory/v1/inventory_item")) == 4


async def test_a_sku_may_be_any_text(opened: Callable[..., Any], query: Query, clock: ManualClock) -> None:
    skus = [
        "a/b",
        "36162 RDV/J01",
        "Größe №5",
        "50%",
        "50%25",
        "a+b=c&d",
        "李?x#y",
        "..",
        "x;y",
        " lead",
        "%2F",
        "a'b\"c",
    ]
    b = opened()
    items(b, 0, skus=skus)
    account = await b.add()
    families = [discover()[name] for name in ("inventory", "offers")]
    async with b.worker(account) as worker:
        assert [s.stored for s in await run(worker, families, RunOptions("run"))] == [len(skus)] * 2
    assert {row[0] for row in query("SELECT sku FROM ebay_inventory_items")} == set(skus)
    assert {row[0] for row in query("SELECT sku FROM ebay_offers")} == set(skus)
    b.sim.world.move_thing(things(b, "inventory_item")[0], "delete")
    clock.advance(3600)
    async with b.worker(account) as worker:
        assert [s.removed for s in await run(worker, families, RunOptions("run"))] == [1, 1]


async def test_a_next_page_that_leads_back_ends_not_caught_up_and_removes_nothing(
    opened: Callable[..., Any], query: Query, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = opened()
    items(b, 420)
    account = await b.add()
    await b.run(account, "inventory")
    things_ = things(b, "inventory_item")
    b.sim.world.move_thing(things_[0], "delete")
    [route] = [route for route in inventory.ROUTES if route.path.endswith("/inventory_item")]
    answers = route.handler

    def back(*arguments: Any) -> Answer:
        answer = answers(*arguments)
        answer.body = answer.body.replace(b"offset=2", b"offset=0")
        return answer

    object.__setattr__(route, "handler", back)
    try:
        clock.advance(3600)
        summary = await b.run(account, "inventory")
    finally:
        object.__setattr__(route, "handler", answers)
    assert (summary.status, summary.caught_up) == ("completed", False)
    assert "repeats its pages" in summary.reason
    assert summary.calls < 20
    assert gone(query, "ebay_inventory_items") == 0


@pytest.mark.parametrize("family", ["inventory", "offers"])
async def test_a_404_without_ebays_envelope_is_an_error_and_not_the_end_of_everything(
    opened: Callable[..., Any], query: Query, clock: ManualClock, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, table, _, path = KINDS[family]
    b = opened()
    items(b, 20)
    account = await b.add()
    await b.run(account, family)
    [route] = [route for route in inventory.ROUTES if route.path == path]
    answers = route.handler
    object.__setattr__(route, "handler", lambda *arguments: Answer(404))
    try:
        clock.advance(3600)
        summary = await b.run(account, family)
    finally:
        object.__setattr__(route, "handler", answers)
    assert (summary.status, summary.failure.code, gone(query, table)) == ("error", "not_understood", 0)


async def test_a_dry_run_counts_each_change_once_where_something_is_gone(opened: Callable[..., Any]) -> None:
    b = opened()
    items(b, 5)
    account = await b.add()
    await b.run(account, "inventory")
    [seller] = b.sim.world.sellers
    b.sim.world.add_thing(seller, "inventory_item", thing_id="NEW", body={"sku": "NEW"})
    b.sim.world.move_thing(things(b, "inventory_item")[0], "delete")
    dry = await b.run(account, "inventory", dry_run=True)
    assert (dry.status, dry.fetched, dry.stored, dry.removed) == ("completed", 5, 1, 1)
    done = await b.run(account, "inventory")
    assert (done.status, done.stored, done.removed) == ("completed", 1, 1)


@pytest.mark.parametrize("fault", ["no_list", "340", "10007"])
@pytest.mark.parametrize("page", [2, 3])
async def test_while_a_page_of_the_active_list_is_missing_nothing_is_removed_and_the_others_are_stored(
    opened: Callable[..., Any], query: Query, clock: ManualClock, page: int, fault: str
) -> None:
    b = opened()
    items(b, 500)
    account = await b.add()
    first = await b.run(account, "active_inventory")
    for thing in things(b, "listing")[:3]:
        b.sim.world.move_thing(thing, "end")
    struck: dict[str, Any] = {"call": "GetMyeBaySelling", "query": f"<PageNumber>{page}<", "times": None}
    if fault == "no_list":
        b.sim.faults.add("envelope", what="no_list", **struck)
    else:
        b.sim.faults.add("trading_error", code=int(fault), **struck)
    for _ in range(4):
        clock.advance(3600)
        b.sim.world.move_thing(things(b, "listing")[3], "price")
        summary = await b.run(account, "active_inventory")
        assert (summary.status, summary.failure.exit_code, summary.caught_up) == ("error", 13, False)
        assert f"page {page} of the active list is missing" in summary.failure.message
        assert (summary.removed, gone(query, "ebay_active_inventory"), summary.cursor) == (0, 0, first.cursor)
        assert summary.fetched >= 297
    b.sim.faults.clear()
    clock.advance(3600)
    calm = await b.run(account, "active_inventory")
    assert (calm.status, calm.removed, calm.failure) == ("completed", 3, None)


EMPTY = ["<ActiveList/>", "<ActiveList><ItemArray/></ActiveList>", "<ActiveList><PaginationResult/></ActiveList>"]


@pytest.mark.parametrize("empty", EMPTY)
async def test_an_empty_active_list_without_a_count_removes_only_what_the_sellers_list_does_not_count_either(
    opened: Callable[..., Any], query: Query, clock: ManualClock, empty: str
) -> None:
    b = opened()
    items(b, 12)
    account = await b.add()
    await b.run(account, "active_inventory")
    says = f'<{{call}}Response xmlns="urn:ebay:apis:eBLBaseComponents"><Ack>Success</Ack>{empty}</{{call}}Response>'
    b.sim.faults.add("body", call="GetMyeBaySelling", says=says, times=None)
    for _ in range(4):
        clock.advance(3600)
        summary = await b.run(account, "active_inventory")
        assert (summary.status, summary.failure.exit_code, summary.removed) == ("error", 13, 0)
    for thing in things(b, "listing"):
        b.sim.world.move_thing(thing, "end")
    removed = []
    for _ in range(3):
        clock.advance(3600)
        removed.append((await b.run(account, "active_inventory")).removed)
    assert removed == [0, 0, 12]
