"""Requests to cancel an order: what eBay's pages and its community specification say of cancellation/search."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ebaysync.sim.clock import ManualClock
from ebaysync.sim.kinds.cancellations import MOVES
from ebaysync.sim.model import Thing
from ebaysync.sim.quirks import Rates
from ebaysync.sim.world import World

Simulate = Callable[..., Any]
START = datetime(2026, 7, 1, 12, tzinfo=UTC)
PATH = "/post-order/v2/cancellation/search"
HEADERS = {"Accept": "application/json", "Content-Type": "application/json", "X-EBAY-C-MARKETPLACE-ID": "EBAY_US"}


@pytest.fixture
def search(simulate: Simulate) -> Callable[..., Any]:
    """`search(things=…)`: a caller that is signed in as the API wants it."""

    def start(**options: Any) -> Any:
        caller = simulate(**options)
        caller.login()
        authorization = caller.http.headers["authorization"].replace("Bearer", "IAF")
        caller.http.headers.update({**HEADERS, "Authorization": authorization})
        return caller

    return start


def page(caller: Any, **parameters: Any) -> dict[str, Any]:
    answer = caller.get(PATH, **parameters)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def ids(caller: Any, **parameters: Any) -> list[str]:
    return [str(row["cancelId"]) for row in page(caller, **parameters).get("cancellations", [])]


def moved(caller: Any, thing: Thing, move: str, times: int = 1) -> dict[str, Any]:
    for _ in range(times):
        caller.sim.world.move_thing(thing, move)
    assert thing.body
    return thing.body


def test_ten_come_unless_more_are_asked_for_and_500_are_the_most(search: Simulate) -> None:
    caller = search(things={"cancellation": 30})
    assert len(ids(caller)) == 10
    assert len(ids(caller, limit=500)) == 30
    assert caller.get(PATH, limit=501).status_code == 400


def test_rows_come_newest_first_unless_asked_otherwise(search: Simulate) -> None:
    caller = search(things={"cancellation": 30})
    things = caller.sim.world.things(caller.seller, "cancellation")
    newest = sorted(things, key=lambda number: (things[number].created, number), reverse=True)
    assert ids(caller, limit=200) == newest
    assert ids(caller, limit=200, sort="CANCEL_REQUEST_DATE") == newest[::-1]
    assert ids(caller, limit=200, sort="-CANCEL_ID") == sorted(newest, reverse=True)
    assert caller.get(PATH, sort="Ascending").status_code == 400


def test_a_seller_sees_requests_about_own_sales_by_id_item_order_and_role(search: Simulate) -> None:
    caller = search(sellers=2, orders_per_seller=30, things={"cancellation": 12})
    rows = page(caller, limit=200)["cancellations"]
    assert {row["sellerLoginName"] for row in rows} == {caller.seller.username}
    [row, *_] = [row for row in rows if row.get("legacyOrderId")]
    item = row["lineItems"][0]
    found = [
        ids(caller, cancel_id=row["cancelId"]),
        ids(caller, legacy_order_id=row["legacyOrderId"]),
        ids(caller, item_id=item["itemId"], transaction_id=item["transactionId"]),
        ids(caller, cancel_id=row["cancelId"], role="SELLER"),
    ]
    assert found == [[str(row["cancelId"])]] * 4
    assert ids(caller, role="BUYER") == []
    assert caller.get(PATH, transaction_id="1").status_code == 400


def test_a_request_goes_on_until_it_is_closed_and_can_change_even_then(search: Simulate, clock: ManualClock) -> None:
    caller = search(things=0)
    for _ in range(30):
        thing = caller.sim.world.add_thing(caller.seller, "cancellation")
        clock.advance(3600)
        body = moved(caller, thing, "advance", 4)
        assert (body["state"], bool(body["closed"])) == ("CLOSED", True)
        closed = dict(body)
        assert moved(caller, thing, "recoup")["recoup"]
        assert moved(caller, thing, "advance")["closed"] == closed["closed"]


def test_the_seller_may_get_longer_to_answer(search: Simulate) -> None:
    caller = search(things=0)
    things = [caller.sim.world.add_thing(caller.seller, "cancellation") for _ in range(12)]
    asked = [thing for thing in things if thing.body["respond_by"]]
    assert 0 < len(asked) < len(things)
    for thing in asked:
        before = thing.body["respond_by"]
        assert moved(caller, thing, "longer")["respond_by"] > before


def test_every_move_and_every_birth_follows_the_seed(clock: ManualClock) -> None:
    one, two = (
        World(5, 1, 20, ManualClock(START), things=10, rates=Rates(new_things_per_hour=5, thing_changes_per_hour=20))
        for _ in range(2)
    )
    for world in (one, two):
        world.clock.advance(20 * 3600)  # type: ignore[attr-defined]
    made = [{t.id: t.versions for t in w.things(w.sellers[0], "cancellation").values()} for w in (one, two)]
    assert made[0] == made[1]
    assert any(len(versions) > 1 for versions in made[0].values())


def test_answers_follow_the_specification_and_have_all_of_its_fields(search: Simulate, shared: Path) -> None:
    """But for ids, which eBay writes as numbers or as text, amounts as text, and nulls."""
    components = json.loads((shared / "ebay/specs/post-order-cancellation-search.openapi.json").read_text())[
        "components"
    ]
    for schema in components["schemas"].values():
        schema["additionalProperties"] = False
        schema["properties"] = {
            name: {"anyOf": [rule, {"type": ["integer", "number", "string", "null"]}]}
            for name, rule in schema["properties"].items()
        }
    caller = search(things={"cancellation": 60})
    for thing in caller.sim.world.things(caller.seller, "cancellation").values():
        for move in (*MOVES, "advance"):
            caller.sim.world.move_thing(thing, move)
    document = page(caller, limit=200)
    check = Draft202012Validator({"$ref": "#/components/schemas/FindCancelResponse", "components": components})
    assert [f"{error.json_path}: {error.message}" for error in check.iter_errors(document)] == []
    shown = {name for row in document["cancellations"] for name in row}
    unknown_cause = {"lastModifiedDate", "partialOrderType"}  # in that specification alone, in no sample
    assert set(components["schemas"]["CancelSummary"]["properties"]) - shown == unknown_cause
    sample = json.loads((shared / "ebay/samples/trading-postorder/post-order-cancellation-search.json").read_text())
    assert {name for row in sample["cancellations"] for name in row} <= shown


def test_some_rows_have_no_date_no_order_or_the_old_form_of_its_id(search: Simulate) -> None:
    """eBay's sample has a record without both; today's answers were seen with the old form."""
    rows = page(search(things={"cancellation": 90}), limit=200)["cancellations"]
    assert {bool(row.get("cancelRequestDate")) for row in rows} == {True, False}
    forms = {str(row.get("legacyOrderId") or "").count("-") for row in rows}
    assert forms == {0, 1, 2}  # none, itemId-transactionId, today's
