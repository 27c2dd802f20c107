"""Pages of lists without a window that eBay does not answer, or not completely: each costs its records."""

from __future__ import annotations

from typing import Any

import pytest

from .case_server import Reply, Request, as_json, trading
from .player import Player, exit_code

ERROR = {"errorId": 25001, "domain": "API_INVENTORY", "message": "x"}
ITEMS = "/sell/inventory/v1/inventory_item"
STORED = "SELECT count(*), count(removed_at) FROM ebay_inventory_items"


class Items:
    """600 items in three pages, which eBay counts as pages or as records. It never answers for the `bad` pages."""

    def __init__(self, player: Player, counts: str) -> None:
        self.player, self.step = player, 1 if counts == "pages" else 200
        self.count, self.bad = 600, set[int]()
        self.offers: list[str] = []
        player.ebay.answers.append(self.answer)

    def answer(self, request: Request) -> Reply | None:
        if request.path == "/sell/inventory/v1/offer":
            self.offers.append(request.query["sku"])
            return None
        if request.path != ITEMS:
            return None
        page = int(request.query["offset"]) // self.step
        if page in self.bad:
            return as_json({"errors": [ERROR]}, 500)
        numbers = range(page * 200, min(self.count, page * 200 + 200))
        rows = [{"sku": f"s{number}", "product": {"title": "t"}} for number in numbers]
        found: dict[str, Any] = {"total": self.count, "size": len(rows), "limit": 200, "inventoryItems": rows}
        if (page + 1) * 200 < self.count:
            found["next"] = f"{ITEMS}?limit=200&offset={(page + 1) * self.step}"
        return as_json(found)


@pytest.mark.parametrize("bad", [1, 2], ids=["the second page", "the last page"])
@pytest.mark.parametrize("counts", ["pages", "records"])
async def test_a_page_that_is_never_answered_costs_its_records_and_nothing_is_removed(
    counts: str, bad: int, player: Player
) -> None:
    items = Items(player, counts)
    items.bad = {bad}
    for _ in range(2):
        before = len(player.ebay.of(ITEMS))
        summary = await player.one("inventory")
        assert (summary.status, exit_code(summary), summary.cursor) == ("error", 13, None)
        assert player.query(STORED) == [(400, 0)]
        assert len(player.ebay.of(ITEMS)) - before <= 8, "five tries, and the other pages"
        player.later(hours=7)
    items.bad = set()
    summary = await player.one("inventory")
    assert (exit_code(summary), summary.caught_up) == (0, True)
    assert player.query(STORED) == [(600, 0)]
    items.bad, items.count = {1}, 590
    await player.one("inventory")
    assert player.query(STORED) == [(600, 0)]


async def test_the_offers_of_the_items_that_came_are_read_and_none_is_removed(player: Player) -> None:
    items = Items(player, "pages")
    items.bad = {1}
    for summary in await player.run("inventory", "offers"):
        assert (summary.status, exit_code(summary)) == ("error", 13)
    assert set(items.offers) == {f"s{number}" for number in (*range(200), *range(400, 600))}


@pytest.mark.parametrize("bad", [{0}, {1, 2, 3, 4}], ids=["the first page", "the rest of the list"])
async def test_an_ebay_that_does_not_answer_a_list_is_given_up_after_a_few_calls(bad: set[int], player: Player) -> None:
    items = Items(player, "pages")
    items.bad, items.count = bad, 1000
    summary = await player.one("inventory")
    assert (summary.status, exit_code(summary)) == ("error", 13)
    assert len(player.ebay.of(ITEMS)) <= 16


def listed(*numbers: int) -> str:
    start = "<ListingDetails><StartTime>2026-01-01T00:00:00.000Z</StartTime></ListingDetails>"
    items = "".join(f"<Item><ItemID>{number}</ItemID><Title>t</Title>{start}</Item>" for number in numbers)
    counts = f"<TotalNumberOfPages>1</TotalNumberOfPages><TotalNumberOfEntries>{len(numbers)}</TotalNumberOfEntries>"
    content = f"<ItemArray>{items}</ItemArray><PaginationResult>{counts}</PaginationResult>"
    return f"<ActiveList>{content}</ActiveList>"


async def test_a_list_that_is_never_complete_is_believed_after_three_scans_hours_apart(player: Player) -> None:
    odd = "<Errors><ErrorCode>12345</ErrorCode><SeverityCode>Error</SeverityCode></Errors>"
    replies = [trading("GetMyeBaySelling", listed(*range(12)))]
    player.ebay.answers.append(lambda request: replies[-1] if request.call == "GetMyeBaySelling" else None)
    await player.one("active_inventory")
    replies.append(trading("GetMyeBaySelling", odd + listed(*range(1, 13)), ack="PartialFailure"))
    removed = "SELECT item_id FROM ebay_active_inventory WHERE removed_at IS NOT NULL"
    for later in (7, 0.5, 0.5, 7):
        player.later(hours=later)
        summary = await player.one("active_inventory")
        assert (exit_code(summary), player.query(removed)) == (13, [])
    player.later(hours=7)
    summary = await player.one("active_inventory")
    assert (exit_code(summary), summary.removed, player.query(removed)) == (0, 1, [("0",)])
    assert "12345" in (summary.reason or ""), "the note stays"
    noted = "SELECT incomplete_since IS NOT NULL, failures FROM ebay_sync_state WHERE api_family = 'active_inventory'"
    assert player.query(noted) == [(True, 0)]
    replies.append(trading("GetMyeBaySelling", listed(*range(1, 13))))
    player.later(hours=1)
    await player.one("active_inventory")
    assert player.query(noted) == [(False, 0)]
