"""Offers of very many SKUs: those of changed items are read in each run, the others in turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from ebaysync.families import discover
from ebaysync.families.family import PLENTY
from ebaysync.sim.clock import ManualClock
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run
from ebaysync.sync.sources import inventory

Query = Callable[..., list[Any]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = 3600
SKUS = 60
BOTH = ("inventory", "offers")


class Shop:
    def __init__(self, bench: Any, account: Any) -> None:
        self.bench, self.account, self.world = bench, account, bench.sim.world
        [self.seller] = self.world.sellers

    async def run(
        self, *, hours: float = 1, patience: float = 1.0, families: tuple[str, ...] = BOTH
    ) -> tuple[dict[str, Any], set[str]]:
        """A run after so many hours: its summaries, and the SKUs whose offers were asked for."""
        self.world.clock.advance(hours * HOUR)
        self.bench.sim.journal.clear()
        options = RunOptions("run-all", patience={"inventory": patience})
        async with self.bench.worker(self.account) as worker:
            done = await run(worker, [discover()[name] for name in families], options)
        assert {(summary.status, summary.caught_up) for summary in done} == {("completed", True)}
        asked = {
            entry.query["sku"] for entry in self.bench.sim.journal.of("/sell/inventory/v1/offer") if entry.status != 401
        }
        return {summary.family: summary for summary in done}, asked


@pytest.fixture
async def shop(bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(inventory, "ALL_AT_ONCE", SKUS - 1)
    b = bench(sellers=1, orders_per_seller=1, things={"inventory_item": SKUS, "offer": SKUS}, clock=ManualClock(NOON))
    return Shop(b, await b.add())


async def test_each_sku_has_its_turn_within_the_bound_and_nothing_is_removed(shop: Shop, query: Query) -> None:
    _, first = await shop.run()
    [(items,)] = query("SELECT count(*) FROM ebay_inventory_items")
    assert len(first) == items == SKUS
    before = query("SELECT count(*) FROM ebay_offers WHERE removed_at IS NULL")
    turns: dict[str, list[int]] = {sku: [0] for sku in first}
    for hour in range(1, 61):
        done, asked = await shop.run()
        assert len(asked) < SKUS / 4
        assert done["offers"].removed == 0
        for sku in asked:
            turns[sku].append(hour)
    assert max(b - a for hours in turns.values() for a, b in pairwise([*hours, 61])) <= 24
    assert query("SELECT count(*) FROM ebay_offers WHERE removed_at IS NULL") == before
    assert query("SELECT count(*) FROM ebay_pending_detail") == [(0,)]


async def test_however_irregular_the_runs_are_no_sku_misses_its_turn(shop: Shop) -> None:
    _, first = await shop.run()
    seen: set[str] = set()
    for hours in (0.3, 7, 0.1, 2.9, 5, 0.01, 6.5):
        seen |= (await shop.run(hours=hours))[1]
    assert seen == first, "21.8 hours are a round"
    _, asked = await shop.run(hours=40)
    assert asked == first


async def test_the_offers_of_a_changed_or_new_item_are_read_at_once(shop: Shop, query: Query) -> None:
    await shop.run()
    await shop.run(hours=0.001)
    things = list(shop.world.things(shop.seller, "inventory_item").values())
    changed = things[7]
    shop.world.put_thing(changed, changed.body | {"condition": "USED_ACCEPTABLE"})
    new = shop.world.add_thing(shop.seller, "inventory_item")
    _, asked = await shop.run(hours=0.001)
    assert {changed.id, new.id} <= asked
    assert len(asked) < 6


async def test_an_offer_that_is_gone_is_removed_when_its_sku_has_its_turn(shop: Shop, query: Query) -> None:
    await shop.run()
    gone = next(thing for thing in shop.world.things(shop.seller, "offer").values() if thing.body)
    shop.world.put_thing(gone, None)
    for _ in range(24):
        await shop.run()
    assert query("SELECT offer_id FROM ebay_offers WHERE removed_at IS NOT NULL") == [(gone.id,)]


async def test_offers_of_a_removed_item_are_removed_at_once(shop: Shop, query: Query) -> None:
    await shop.run()
    [(sku, offers)] = query("SELECT sku, count(*) FROM ebay_offers GROUP BY 1 ORDER BY 1 LIMIT 1")
    things = shop.world.things(shop.seller, "inventory_item")
    for thing in shop.world.things(shop.seller, "offer").values():
        if thing.body and thing.body["sku"] == sku:
            shop.world.put_thing(thing, None)
    shop.world.put_thing(things[sku], None)
    shop.world.add_thing(shop.seller, "inventory_item")
    done, _ = await shop.run(hours=0.001)
    assert (done["inventory"].removed, done["offers"].removed) == (1, offers)


async def test_without_the_items_nothing_tells_which_changed_so_all_offers_are_read(shop: Shop) -> None:
    _, first = await shop.run()
    _, asked = await shop.run(families=("offers",))
    assert asked == first


@pytest.mark.parametrize(("patience", "least", "most"), [(PLENTY, 20, 45), (2.0, 0, 6)])
async def test_the_quota_decides_how_long_a_round_takes(shop: Shop, patience: float, least: int, most: int) -> None:
    await shop.run()
    _, asked = await shop.run(patience=patience)
    assert least <= len(asked) <= most


async def test_up_to_so_many_skus_all_offers_are_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "ALL_AT_ONCE", SKUS)
    _, first = await shop.run()
    assert (await shop.run())[1] == first


async def test_the_state_has_the_calls_of_the_turns_apart(shop: Shop, query: Query) -> None:
    await shop.run()
    for _ in range(12):
        await shop.run()
    state = "SELECT calls_per_run -> 'inventory', calls_per_day FROM ebay_sync_state WHERE api_family = 'offers'"
    [(per_run, per_day)] = query(state)
    assert per_run < 4, "the list of items, and what a new token repeats"
    assert per_day == {"sweep": {"inventory": round(SKUS / 0.9, 2)}, "details": {}}
