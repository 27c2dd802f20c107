"""Slices that eBay does not answer, or not completely: each costs itself, for a while, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from ebaysync.sync.summary import Summary

from .case_server import Reply, Request, as_json, span_of, stamp
from .player import Player, exit_code

ORDERS = "/sell/fulfillment/v1/order"
ERROR = {"errorId": 30500, "domain": "API_FULFILLMENT", "message": "x"}
STATE = "SELECT failures, retry_at, incomplete_since IS NOT NULL FROM ebay_sync_state WHERE api_family = 'orders'"
HOLES = "SELECT attempts, extract(epoch FROM slice_to - slice_from) <= 60 FROM ebay_inconsistent_read WHERE reads > 0"
A_HANDFUL = 7
"""calls of a run that asks once for a hole: five tries, and the window, which is cut in two after a day"""


class Shop:
    """An order every half hour. eBay does not answer for those of some moments, or not completely."""

    def __init__(self, player: Player, what: str) -> None:
        self.player, self.what, self.bad = player, what, set[str]()
        self.began = player.clocks.ebay.now() - timedelta(hours=5)
        player.ebay.answers.append(self.answer)

    def order(self, at: str, name: str = "o") -> dict[str, Any]:
        lines = [{"lineItemId": f"{name}{at}", "title": "t", "quantity": 1}]
        status = {"orderFulfillmentStatus": "FULFILLED", "orderPaymentStatus": "PAID"}
        cancel = {"cancelStatus": {"cancelState": "NONE_REQUESTED"}}
        return {
            "orderId": f"{name}{at}",
            "creationDate": at,
            "lastModifiedDate": at,
            "lineItems": lines,
            **status,
            **cancel,
        }

    def moments(self) -> list[str]:
        passed = (self.player.clocks.ebay.now() - self.began) // timedelta(minutes=30)
        return [stamp(self.began + number * timedelta(minutes=30)) for number in range(passed + 1)]

    def answer(self, request: Request) -> Reply | None:
        if request.path != ORDERS:
            return None
        start, end = span_of(request) or ("", "9999")
        here = [at for at in self.moments() if start <= at <= end]
        odd = self.bad.intersection(here)
        if odd and self.what == "500":
            return as_json({"errors": [ERROR]}, 500)
        rows = [self.order(at, "neighbour of " if at in odd else "o") for at in here]
        found = {"total": len(rows), "limit": 200, "offset": 0, "orders": rows}
        return as_json(found | {"errors": [ERROR]} if odd else found)

    def missing(self) -> set[str]:
        stored = {row[0] for row in self.player.query("SELECT order_id FROM ebay_orders")}
        return {f"o{at}" for at in self.moments()} - stored

    async def run(self, **later: float) -> tuple[Summary, int]:
        """A run, and the calls that it has made."""
        self.player.later(**later)
        before = len(self.player.ebay.asked)
        found = await self.player.one("orders")
        return found, len(self.player.ebay.asked) - before


@pytest.mark.parametrize("what", ["500", "errors beside the rows"])
async def test_a_minute_that_is_never_answered_costs_itself_and_the_family_keeps_its_cadence(
    what: str, player: Player
) -> None:
    shop = Shop(player, what)
    await shop.run()
    shop.bad = {stamp(shop.began + timedelta(hours=6))}
    player.later(hours=2)
    calls = []
    for _ in range(10):
        summary, asked = await shop.run(minutes=5)
        calls.append(asked)
        assert (exit_code(summary), summary.status, summary.caught_up) == (0, "completed", False)
        assert summary.cursor == summary.window_to
        assert "errors 30500" in (summary.reason or "") or "500" in (summary.reason or "")
        assert shop.missing() == {f"o{at}" for at in shop.bad}
        assert player.query(STATE) == [(0, None, True)]
    assert calls[0] <= 60, "it is halved to a minute"
    assert max(calls[1:]) <= A_HANDFUL
    assert sum(calls[1:]) <= 3 * A_HANDFUL + 9, "ever more seldom"
    assert max([(await shop.run(hours=24))[1] for _ in range(6)]) <= A_HANDFUL
    [(attempts, is_narrow)] = player.query(HOLES)
    assert (attempts > 8, is_narrow) == (True, True), "never given up"
    shop.bad = set()
    summary, _ = await shop.run(hours=24)
    assert (exit_code(summary), summary.caught_up, summary.reason) == (0, True, None)
    assert shop.missing() == set()
    assert player.query(HOLES) == []
    assert player.query(STATE) == [(0, None, False)]


async def test_an_answer_that_is_never_complete_is_believed_after_three_reads_hours_apart(player: Player) -> None:
    shop = Shop(player, "errors beside the rows")
    await shop.run()
    shop.bad = {stamp(shop.began + timedelta(hours=6))}
    caught_up = [(await shop.run(hours=2, minutes=1))[0].caught_up]
    caught_up += [(await shop.run(minutes=30))[0].caught_up for _ in range(3)]
    assert caught_up == [False] * 4, "reads of the same hour prove nothing"
    for _ in range(3):
        summary, _ = await shop.run(hours=7)
    assert summary.caught_up
    assert "30500" in (summary.reason or ""), "the note stays"
    assert player.query(STATE) == [(0, None, True)]
    shop.bad = set()
    summary, _ = await shop.run(hours=25)
    assert (summary.caught_up, summary.reason, shop.missing()) == (True, None, set())


@pytest.mark.parametrize("what", ["500", "errors beside the rows"])
async def test_an_ebay_that_answers_no_slice_leaves_no_hole_and_the_cursor(what: str, player: Player) -> None:
    shop = Shop(player, what)
    before, _ = await shop.run()
    player.later(hours=2)
    shop.bad = set(shop.moments())
    summary, calls = await shop.run()
    assert (summary.status, exit_code(summary), summary.cursor) == ("error", 13, before.cursor)
    assert calls <= 20
    assert player.query(HOLES) == []
    shop.bad = set()
    assert (await shop.run())[0].caught_up
    assert shop.missing() == set()


@pytest.mark.parametrize("what", ["500", "errors beside the rows"])
async def test_several_new_holes_in_a_run_are_ebays_failure(what: str, player: Player) -> None:
    shop = Shop(player, what)
    await shop.run()
    shop.bad = {stamp(shop.began + timedelta(hours=hours)) for hours in (6, 10, 14, 18)}
    summary, _ = await shop.run(hours=20)
    assert (summary.status, exit_code(summary)) == ("error", 13)
    for _ in range(3):
        await shop.run(hours=7)
    assert shop.missing() == {f"o{at}" for at in shop.bad}, "the others are not kept out"
    shop.bad = set()
    for _ in range(3):
        summary, _ = await shop.run(hours=25)
    assert summary.caught_up
    assert shop.missing() == set()


async def test_two_bad_minutes_in_one_slice_cost_two_minutes(player: Player) -> None:
    shop = Shop(player, "500")
    await shop.run()
    shop.bad = {stamp(shop.began + timedelta(hours=hours)) for hours in (6, 7)}
    await shop.run(hours=4)
    assert shop.missing() == {f"o{at}" for at in shop.bad}
    assert [row[1] for row in player.query(HOLES)] == [True, True]


FAIL = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'cut off'; END$$"
CUTS = {
    "the hole": "CREATE TRIGGER cut BEFORE INSERT ON ebay_inconsistent_read FOR EACH ROW EXECUTE FUNCTION fail()",
    "the cursor": "CREATE TRIGGER cut BEFORE UPDATE OF cursor_value ON ebay_sync_state FOR EACH ROW"
    " WHEN (new.cursor_value > '{}') EXECUTE FUNCTION fail()",
}


@pytest.mark.parametrize("cut", CUTS)
async def test_a_hole_and_the_cursor_that_moves_past_it_are_stored_together_or_not_at_all(
    cut: str, player: Player, database_url: str
) -> None:
    shop = Shop(player, "500")
    await shop.run()
    bad = shop.began + timedelta(hours=6)
    shop.bad = {stamp(bad)}
    player.later(hours=3)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(FAIL)
        connection.execute(CUTS[cut].format(stamp(bad)))
        await shop.run()
        assert player.query(HOLES) == []
        [(cursor,)] = player.query("SELECT cursor_value FROM ebay_sync_state WHERE api_family = 'orders'")
        assert datetime.fromisoformat(cursor) <= bad
        connection.execute("DROP FUNCTION fail() CASCADE")
    summary, _ = await shop.run()
    assert (summary.caught_up, len(player.query(HOLES))) == (False, 1)


async def test_families_of_one_source_keep_their_holes_apart(player: Player) -> None:
    """One family joins later: it has to ask for itself."""
    bad = stamp(player.clocks.ebay.now() - timedelta(hours=3))

    def answer(request: Request) -> Reply | None:
        if request.path != "/sell/finances/v1/transaction":
            return None
        start, end = span_of(request) or ("", "9999")
        if answer.fails and start <= bad <= end:
            return Reply(500)
        return Reply(204)

    answer.fails = True  # type: ignore[attr-defined]
    player.ebay.answers.append(answer)
    await player.one("transactions")
    player.later(minutes=1)
    for summary in await player.run("transactions", "refunds"):
        assert (exit_code(summary), summary.caught_up) == (0, False)
    assert [row[0] for row in player.query(HOLES + " ORDER BY api_family")] == [1, 2]
    answer.fails = False  # type: ignore[attr-defined]
    player.later(hours=1)
    assert [summary.caught_up for summary in await player.run("transactions", "refunds")] == [True, True]
