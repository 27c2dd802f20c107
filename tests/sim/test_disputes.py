"""The simulated payment disputes, call by call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

Simulate = Callable[..., Any]
START = datetime(2026, 7, 1, 12, tzinfo=UTC)
SUMMARY = "/sell/fulfillment/v1/payment_dispute_summary"
DISPUTE = "/sell/fulfillment/v1/payment_dispute"


def stamp(days_ago: float) -> str:
    return (START - timedelta(days=days_ago)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@pytest.fixture
def caller(simulate: Simulate) -> Any:
    return simulate(things={"dispute": 150}, orders_per_seller=30)


def walk(caller: Any, **parameters: Any) -> list[dict[str, Any]]:
    page = caller.get(SUMMARY, **parameters).json()
    rows: list[dict[str, Any]] = page["paymentDisputeSummaries"]
    while "next" in page:
        page = caller.http.get(page["next"]).json()
        rows += page["paymentDisputeSummaries"]
    assert len(rows) == page["total"]
    return rows


def some(caller: Any, status: str) -> Any:
    there = caller.sim.world.things(caller.seller, "dispute").values()
    return next(thing for thing in there if thing.body["paymentDisputeStatus"] == status)


def test_windows_of_ninety_days_give_every_dispute_once(caller: Any) -> None:
    rows = []
    for age in range(90, 541, 90):
        rows += walk(caller, open_date_from=stamp(age), open_date_to=stamp(age - 90), limit="7")
    there = caller.sim.world.things(caller.seller, "dispute")
    assert sorted(row["paymentDisputeId"] for row in rows) == sorted(there)
    assert min(row["openDate"] for row in rows) < stamp(450)
    assert {row["paymentDisputeStatus"] for row in rows} == {"OPEN", "ACTION_NEEDED", "CLOSED"}


def test_the_journal_names_disputes_and_versions(caller: Any) -> None:
    page = caller.get(SUMMARY).json()
    there = caller.sim.world.things(caller.seller, "dispute")
    ids = [row["paymentDisputeId"] for row in page["paymentDisputeSummaries"]]
    assert caller.sim.journal.of(SUMMARY)[0].rows == tuple((name, there[name].version) for name in ids)
    assert (page["limit"], page["offset"]) == (200, 0)


def test_unasked_the_old_closed_ones_are_missing(caller: Any) -> None:
    rows = walk(caller)
    there = caller.sim.world.things(caller.seller, "dispute").values()
    open_ones = {thing.id for thing in there if thing.body["paymentDisputeStatus"] != "CLOSED"}
    assert open_ones <= {row["paymentDisputeId"] for row in rows}
    assert len(rows) < len(there)
    assert {row["paymentDisputeId"] for row in walk(caller, payment_dispute_status=["OPEN", "ACTION_NEEDED"])} == (
        open_ones
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": "201"},
        {"limit": "0"},
        {"offset": "-1"},
        {"payment_dispute_status": "OPEN,CLOSED"},
        {"payment_dispute_status": "DONE"},
        {"open_date_from": "2026-06-01"},
        {"open_date_from": stamp(91), "open_date_to": stamp(0)},
        {"open_date_from": stamp(550), "open_date_to": stamp(500)},
        {"open_date_from": stamp(1), "open_date_to": stamp(2)},
        {"open_date_from": stamp(-1)},
    ],
)
def test_what_the_documentation_forbids_is_refused(parameters: dict[str, str], caller: Any) -> None:
    answer = caller.get(SUMMARY, **parameters)
    assert (answer.status_code, answer.json()["errors"][0]["errorId"]) == (400, 33001)


def test_a_missing_end_is_ninety_days_off(caller: Any) -> None:
    expected = walk(caller, open_date_from=stamp(200), open_date_to=stamp(110))
    assert walk(caller, open_date_from=stamp(200)) == expected == walk(caller, open_date_to=stamp(110)) != []


def test_an_order_can_have_two_disputes_and_its_filter_ignores_the_others(caller: Any) -> None:
    orders = [thing.body["orderId"] for thing in caller.sim.world.things(caller.seller, "dispute").values()]
    twice = next(order for order in orders if orders.count(order) > 1)
    assert len(walk(caller, order_id=twice, payment_dispute_status="DONE")) == orders.count(twice)
    assert walk(caller, order_id="no-such-order") == []


def test_no_summary_tells_of_a_revision(caller: Any) -> None:
    thing = some(caller, "OPEN")
    before, detail = walk(caller), caller.get(f"{DISPUTE}/{thing.id}").json()
    caller.sim.world.move_thing(thing, "revise")
    assert walk(caller) == before
    after = caller.get(f"{DISPUTE}/{thing.id}").json()
    assert after["revision"] == detail["revision"] + 1
    assert after != detail | {"revision": after["revision"]}


def test_a_dispute_goes_from_open_over_action_to_closed(caller: Any) -> None:
    thing, world = some(caller, "OPEN"), caller.sim.world
    for move, status in (("need", "ACTION_NEEDED"), ("contest", "OPEN"), ("close", "CLOSED")):
        world.move_thing(thing, move)
        [row] = [row for row in walk(caller) if row["paymentDisputeId"] == thing.id]
        detail = caller.get(f"{DISPUTE}/{thing.id}").json()
        assert row["paymentDisputeStatus"] == detail["paymentDisputeStatus"] == status
        assert ("availableChoices" in detail) == ("respondByDate" in row) == (status == "ACTION_NEEDED")
        assert ("resolution" in detail) == ("closedDate" in row) == (status == "CLOSED")


def test_an_unknown_dispute_is_not_found(caller: Any) -> None:
    answer = caller.get(f"{DISPUTE}/1")
    assert (answer.status_code, answer.json()["errors"][0]["errorId"]) == (404, 33001)


def test_no_dispute_is_an_empty_page(simulate: Simulate) -> None:
    page = simulate().get(SUMMARY).json()
    assert (page["total"], page["paymentDisputeSummaries"]) == (0, [])


def test_disputes_live_at_apiz(simulate: Simulate) -> None:
    answer = simulate(split=True).get(SUMMARY)
    assert (answer.status_code, answer.content) == (404, b"")
