"""The views for the people who query, over what runs have stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ebaysync.accounts import accounts
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.sim.server import Simulator
from ebaysync.sim.world import World
from ebaysync.store.database import Database

Query = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(World(orders_per_seller=40, sellers=1, things=30)) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def template(
    template: str,
    databases: Callable[[str], AbstractContextManager[str]],
    bench_of: Callable[..., Any],
    home: Path,
    sim: Simulator,
) -> Iterator[str]:
    """One import of everything, that each test's database is cloned from."""

    async def fill(url: str) -> None:
        db = Database(Secret(url))
        b = bench_of(home, db, url, sim)
        account = await b.add()
        for name in discover():
            summary = await b.run(account, name)
            assert summary.status == "completed", summary
        await db.close()

    with databases(template) as url:
        asyncio.run(fill(url))
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
async def world(bench_of: Callable[..., Any], home: Path, db: Database, database_url: str, sim: Simulator) -> Any:
    b = bench_of(home, db, database_url, sim)
    [b.account] = await accounts.every(db)
    return b


async def test_each_case_inquiry_return_and_dispute_is_one_line_with_its_order(world: Any, query: Query) -> None:
    tables = {"case": "ebay_cases", "inquiry": "ebay_inquiries", "return": "ebay_returns", "dispute": "ebay_disputes"}
    for kind, table in tables.items():
        [(lines, rows)] = query(
            f"SELECT (SELECT count(*) FROM ebay_problem_orders WHERE kind = %s), (SELECT count(*) FROM {table})", kind
        )
        assert lines == rows > 0
    named = "SELECT kind, count(*) FROM ebay_problem_orders WHERE order_creation_date IS NOT NULL GROUP BY 1"
    assert {kind for kind, _ in query(named)} == set(tables), "each kind has one whose order is stored"
    wrong = """SELECT count(*) FROM ebay_problem_orders p JOIN order_line_items i
        ON i.line_item_id = p.transaction_id AND i.legacy_item_id = p.item_id AND i.order_id <> p.order_id"""
    assert query(wrong) == [(0,)]


async def test_the_profit_of_an_order_is_the_sum_of_what_names_it(world: Any, query: Query) -> None:
    different = """SELECT o.order_id, o.profit, t.total FROM ebay_order_profit o JOIN LATERAL (
            SELECT sum(CASE booking_entry WHEN 'DEBIT' THEN -1 ELSE 1 END * (raw_payload #>> '{amount,value}')::numeric)
                AS total
            FROM ebay_finances_transactions t
            WHERE t.order_id = o.order_id AND t.amount_currency = o.currency) t ON true
        WHERE o.profit IS DISTINCT FROM t.total"""
    assert query(different) == []
    [(lines, sold)] = query("SELECT count(*), count(sales) FROM ebay_order_profit")
    assert lines >= 40
    assert sold > 0
    net = "SELECT count(*) FROM ebay_order_profit WHERE sales IS NOT NULL AND fees IS NULL"
    assert query(net) == [(0,)], "a sale has fees"


async def test_the_inventory_overview_has_one_row_for_each_sku_and_its_sums_are_right(world: Any, query: Query) -> None:
    query(
        "INSERT INTO ebay_offers (ebay_account_id, offer_id, sku, marketplace_id, price, price_currency,"
        " available_quantity, sold_quantity, listing_id, raw_payload) SELECT ebay_account_id, 'second/' || offer_id,"
        " sku, 'EBAY_AT', price + 1, price_currency, 3, 1, '1', '{}' FROM ebay_offers WHERE price IS NOT NULL"
    )
    sums = "SELECT count(*), count(DISTINCT sku), sum(quantity), sum(available_quantity), sum(offers) FROM"
    there = "SELECT count(*), count(DISTINCT sku), sum(quantity) FROM ebay_inventory_items WHERE removed_at IS NULL"
    offered = """SELECT sum(available_quantity), count(*) FROM ebay_offers o WHERE removed_at IS NULL
        AND EXISTS (SELECT FROM ebay_inventory_items i WHERE i.sku = o.sku AND i.removed_at IS NULL)"""
    assert query(f"{sums} ebay_inventory_overview") == [(*query(there)[0], *query(offered)[0])]
    of_two = """SELECT DISTINCT price, max_price - min_price, price_currency IS NULL, '1' = ANY(listing_ids),
        'EBAY_AT' = ANY(marketplace_ids) FROM ebay_inventory_overview WHERE offers = 2"""
    assert query(of_two) == [(None, 1, False, True, True)]
    query("UPDATE ebay_offers SET price_currency = 'CHF' WHERE offer_id LIKE 'second/%'")
    priced = "SELECT count(*) FROM ebay_inventory_overview WHERE offers = 2 AND (min_price, price_currency) IS NOT NULL"
    assert query(priced) == [(0,)], "prices of two currencies are not compared"
    on_sale = """SELECT count(*) FROM ebay_inventory_overview v WHERE is_on_sale <> EXISTS (
        SELECT FROM ebay_active_inventory WHERE item_id = ANY(v.listing_ids) AND removed_at IS NULL)"""
    assert query(on_sale) == [(0,)]


VIEWS = ("ebay_order_profit", "ebay_inventory_overview", "ebay_problem_orders", "ebay_payout_check", "ebay_history")


@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_names_the_account_and_says_what_one_row_is(world: Any, query: Query, view: str) -> None:
    assert query(f"SELECT DISTINCT account FROM {view}") == [(world.account.name,)]
    [(comment,)] = query("SELECT obj_description(%s::regclass)", view)
    assert comment.startswith("One row per ")


async def test_history_tells_the_first_sight_of_every_row_and_every_event(world: Any, query: Query) -> None:
    [seller] = world.sim.world.sellers
    item = next(thing for thing in world.sim.world.things(seller, "inventory_item").values() if thing.body)
    world.sim.world.move_thing(item, "quantity")
    await world.run(world.account, "inventory")
    for family in discover().values():
        for table in family.tables:
            counted = f"SELECT (SELECT count(*) FROM {table.name}), (SELECT count(*) FROM ebay_history"
            [(rows, sights)] = query(f"{counted} WHERE table_name = %s AND event = 'first_seen')", table.name)
            assert rows == sights, table.name
    assert query("SELECT event FROM ebay_history WHERE entity_key = %s ORDER BY at", item.id) == [
        ("first_seen",),
        ("changed",),
    ]


async def test_a_payout_whose_transactions_are_stored_is_complete(world: Any, query: Query) -> None:
    different = """SELECT payout_id FROM ebay_payout_check c WHERE stored_count <>
        (SELECT count(*) FROM ebay_finances_transactions t WHERE t.payout_id = c.payout_id)
        OR is_complete <> (stored_count = transaction_count)"""
    assert query(different) == []
    assert query("SELECT count(*) > 0 FROM ebay_payout_check WHERE is_complete") == [(True,)]
