"""The simulated Sell Inventory API, call by call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from ebaysync.sim.quirks import Quirks

Simulate = Callable[..., Any]
ITEMS = "/sell/inventory/v1/inventory_item"
OFFERS = "/sell/inventory/v1/offer"


@pytest.fixture
def seller(simulate: Simulate) -> Callable[..., Any]:
    def start(**options: Any) -> Any:
        caller = simulate(**{"orders_per_seller": 0, "things": {"inventory_item": 60, "offer": 60}, **options})
        caller.http.headers["accept-language"] = "en-US"
        return caller

    return start


def walk(caller: Any, path: str = ITEMS, **parameters: Any) -> list[dict[str, Any]]:
    page = caller.get(path, **parameters).json()
    rows: list[dict[str, Any]] = page["inventoryItems" if path == ITEMS else "offers"]
    while "next" in page:
        page = caller.http.get(page["next"]).json()
        rows += page["inventoryItems" if path == ITEMS else "offers"]
    return rows


def items(caller: Any) -> dict[str, Any]:
    found: dict[str, Any] = caller.sim.world.things(caller.seller, "inventory_item")
    return found


def offers_of(caller: Any, sku: str) -> list[Any]:
    offers = caller.sim.world.things(caller.seller, "offer").values()
    return [offer for offer in offers if offer.body and offer.body["sku"] == sku]


def refused(caller: Any, path: str, **parameters: Any) -> tuple[int, int]:
    answer = caller.get(path, **parameters)
    return answer.status_code, answer.json()["errors"][0]["errorId"]


@pytest.mark.parametrize("reading", ["page", "record"])
def test_following_next_gives_every_item_once(reading: str, seller: Simulate) -> None:
    caller = seller(inventory_offset=reading)
    assert sorted(row["sku"] for row in walk(caller, limit="7")) == sorted(items(caller))
    asked = [entry.query.get("offset") for entry in caller.sim.journal.of(ITEMS)]
    step = 1 if reading == "page" else 7
    assert asked == [None, *(str(step * number) for number in range(1, len(asked)))]


def test_offset_is_a_page_unless_the_world_says_a_record(seller: Simulate) -> None:
    pages, records = seller(), seller(inventory_offset="record")
    rows = [row["sku"] for row in walk(pages)]
    assert [row["sku"] for row in pages.get(ITEMS, limit="5", offset="2").json()["inventoryItems"]] == rows[10:15]
    assert [row["sku"] for row in records.get(ITEMS, limit="5", offset="2").json()["inventoryItems"]] == rows[2:7]
    with pytest.raises(ValueError, match="inventory_offset"):
        Quirks(inventory_offset="row")


def test_a_page_has_25_items_unasked_and_says_how_many_pages_there_are(seller: Simulate) -> None:
    caller = seller()
    page = caller.get(ITEMS).json()
    assert (len(page["inventoryItems"]), page["limit"], page["size"], page["total"]) == (25, 25, 3, len(items(caller)))
    assert "offset" not in page
    assert caller.sim.journal.of(ITEMS)[0].rows == tuple((row["sku"], 1) for row in page["inventoryItems"])


@pytest.mark.parametrize("path", [ITEMS, f"{ITEMS}/x", f"{OFFERS}?sku=x"])
@pytest.mark.parametrize("language", [None, "english", "en_US"])
def test_without_a_language_nothing_is_told(path: str, language: str | None, seller: Simulate) -> None:
    caller = seller()
    del caller.http.headers["accept-language"]
    if language:
        caller.http.headers["accept-language"] = language
    assert refused(caller, path) == (400, 25709)


@pytest.mark.parametrize("parameters", [{"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"offset": "-1"}])
def test_pages_that_cannot_be_are_refused(parameters: dict[str, str], seller: Simulate) -> None:
    assert refused(seller(), ITEMS, **parameters) == (400, 25706)


def test_every_sku_is_found_by_its_name_and_only_when_encoded(seller: Simulate) -> None:
    caller = seller()
    skus = list(items(caller))
    for character in ("/", " ", "%", "+", "ß", "&", "?"):
        assert any(character in sku for sku in skus), character
    assert max(map(len, skus)) == 50
    for sku in skus:
        assert caller.get(f"{ITEMS}/{quote(sku, safe='')}").json()["sku"] == sku
    slashed = next(sku for sku in skus if "/" in sku)
    assert refused(caller, f"{ITEMS}/{quote(slashed)}") == (404, 2002)
    assert refused(caller, f"{ITEMS}/no-such-sku") == (404, 25710)


def test_offers_are_told_for_one_sku_at_a_time(seller: Simulate) -> None:
    caller = seller()
    counts = set()
    for sku in items(caller):
        there = {offer.id for offer in offers_of(caller, sku)}
        counts.add(len(there))
        if not there:
            assert refused(caller, OFFERS, sku=sku) == (404, 25713)
            continue
        page = caller.get(OFFERS, sku=sku).json()
        assert {row["offerId"] for row in page["offers"]} == there
        assert (page["limit"], page["size"], page["total"]) == (100, len(there), len(there))
    assert {0, 1, 2} <= counts


def test_two_offers_of_a_sku_are_of_two_marketplaces_and_fill_two_pages(seller: Simulate) -> None:
    caller = seller()
    sku = next(sku for sku in items(caller) if len(offers_of(caller, sku)) > 1)
    rows = walk(caller, OFFERS, sku=sku, limit="1")
    assert len({row["marketplaceId"] for row in rows}) == len(rows) == len(offers_of(caller, sku))
    one = caller.get(OFFERS, sku=sku, marketplace_id=rows[0]["marketplaceId"]).json()
    assert one["offers"] == rows[:1]


def test_offers_want_a_sku_that_is_known(seller: Simulate) -> None:
    caller = seller()
    assert refused(caller, OFFERS) == (400, 25707)
    assert refused(caller, OFFERS, sku="x" * 51) == (400, 25707)
    assert refused(caller, OFFERS, sku="no-such-sku") == (404, 25713)
    plus = next(sku for sku in items(caller) if "+" in sku and offers_of(caller, sku))
    assert caller.http.get(f"{OFFERS}?sku={quote(plus, safe='+')}").status_code == 404  # the plus became a blank


def test_available_quantity_is_not_always_there(seller: Simulate) -> None:
    caller = seller()
    bodies = [offer.body for offer in caller.sim.world.things(caller.seller, "offer").values()]
    assert {"availableQuantity" in body for body in bodies} == {True, False}


def test_the_offers_of_a_deleted_sku_go_with_it_and_do_not_return_without_it(seller: Simulate) -> None:
    caller = seller()
    world = caller.sim.world
    sku = next(sku for sku in items(caller) if len(offers_of(caller, sku)) > 1)
    item, offers = items(caller)[sku], offers_of(caller, sku)
    world.move_thing(item, "delete")
    world.move_thing(offers[0])
    assert all(offer.body is None for offer in offers)
    assert sku not in {row["sku"] for row in walk(caller)}
    assert refused(caller, OFFERS, sku=sku) == (404, 25713)
    world.move_thing(item)
    world.move_thing(offers[0])
    assert sku in {row["sku"] for row in walk(caller)}
    assert [row["offerId"] for row in walk(caller, OFFERS, sku=sku)] == [offers[0].id]


def test_a_deleted_sku_moves_the_rows_behind_it(seller: Simulate) -> None:
    caller = seller()
    rows = [row["sku"] for row in walk(caller)]
    first = caller.get(ITEMS, limit="10").json()
    caller.sim.world.move_thing(items(caller)[rows[0]], "delete")
    second = caller.http.get(first["next"]).json()
    assert [row["sku"] for row in second["inventoryItems"]][:2] == rows[11:13]


def test_an_offer_withdrawn_and_published_has_another_listing(seller: Simulate) -> None:
    caller = seller()
    world = caller.sim.world
    offer = next(t for t in world.things(caller.seller, "offer").values() if t.body["status"] == "PUBLISHED")
    before = offer.body["listing"]["listingId"]
    world.move_thing(offer, "republish")
    [row] = [row for row in walk(caller, OFFERS, sku=offer.body["sku"]) if row["offerId"] == offer.id]
    assert row["status"] == "UNPUBLISHED"
    assert "listing" not in row
    world.move_thing(offer, "republish")
    world.move_thing(offer, "sell")
    [row] = [row for row in walk(caller, OFFERS, sku=offer.body["sku"]) if row["offerId"] == offer.id]
    assert row["status"] == "PUBLISHED"
    assert row["listing"]["listingId"] != before
    assert row["listing"]["soldQuantity"] > 0


@pytest.mark.parametrize("move", ["quantity", "title"])
def test_an_item_changes_without_a_word_of_when(move: str, seller: Simulate) -> None:
    caller = seller()
    item = next(iter(items(caller).values()))
    before = item.body
    caller.sim.world.move_thing(item, move)
    [row] = [row for row in walk(caller) if row["sku"] == item.id]
    assert row != before
    assert not [name for name in row if "date" in name.lower() or "time" in name.lower()]


def test_no_inventory_is_an_empty_page(seller: Simulate) -> None:
    page = seller(things=0).get(ITEMS).json()
    assert (page["total"], page["size"], page["inventoryItems"]) == (0, 0, [])


def test_the_inventory_lives_at_api(seller: Simulate) -> None:
    caller = seller(split=True)
    assert caller.get(ITEMS).status_code == 200
    assert caller.http.get(f"{caller.sim.apiz_url}{ITEMS}").status_code == 404
