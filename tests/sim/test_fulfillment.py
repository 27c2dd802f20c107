"""getOrders and getOrder: strict in what they take, exact in what they give."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from ebaysync.sim.clock import ManualClock

Simulate = Callable[..., Any]
Span = Callable[..., str]
START = datetime(2026, 7, 1, 12, tzinfo=UTC)
ORDERS = "/sell/fulfillment/v1/order"
DAY = timedelta(days=1)

REFUSED = {
    "limit=201": ({"limit": "201"}, 31100),
    "limit=0": ({"limit": "0"}, 31100),
    "limit=-1": ({"limit": "-1"}, 31100),
    "limit=ten": ({"limit": "ten"}, 31100),
    "limit=": ({"limit": ""}, 31100),
    "offset=-1": ({"offset": "-1"}, 31000),
    "offset=1.5": ({"offset": "1.5"}, 31000),
    "fieldGroups=ALL": ({"fieldGroups": "ALL"}, 32800),
    "camel case": ({"filter": "lastModifiedDate:[2026-06-01T00:00:00.000Z..]"}, 30700),
    "an unknown filter": ({"filter": "buyer:{me}"}, 30700),
    "an empty filter": ({"filter": ""}, 30700),
    "a blank after the comma": (
        {"filter": "creationdate:[2026-06-01T00:00:00.000Z..], orderfulfillmentstatus:{SENT}"},
        30700,
    ),
    "no brackets": ({"filter": "creationdate:2026-06-01T00:00:00.000Z"}, 30800),
    "one date": ({"filter": "creationdate:[2026-06-01T00:00:00.000Z]"}, 30800),
    "an unknown status": ({"filter": "orderfulfillmentstatus:{SENT}"}, 30800),
    "one status": ({"filter": "orderfulfillmentstatus:{NOT_STARTED}"}, 30800),
    "no milliseconds": ({"filter": "creationdate:[2026-06-01T00:00:00Z..]"}, 30810),
    "an offset instead of Z": ({"filter": "creationdate:[2026-06-01T00:00:00.000+00:00..]"}, 30810),
    "a date without a time": ({"filter": "creationdate:[2026-06-01..]"}, 30810),
    "a day that is none": ({"filter": "creationdate:[2026-02-30T00:00:00.000Z..]"}, 30810),
    "no start": ({"filter": "creationdate:[..2026-06-01T00:00:00.000Z]"}, 30820),
    "a start out of reach": ({"filter": "creationdate:[2024-06-30T00:00:00.000Z..]"}, 30830),
    "an old span": ({"filter": "creationdate:[2023-01-01T00:00:00.000Z..2023-02-01T00:00:00.000Z]"}, 30830),
    "start after end": (
        {"filter": "lastmodifieddate:[2026-06-02T00:00:00.000Z..2026-06-01T00:00:00.000Z]"},
        30840,
    ),
    "an end in the future": (
        {"filter": "lastmodifieddate:[2026-06-02T00:00:00.000Z..2026-07-01T12:00:00.001Z]"},
        30850,
    ),
    "a start in the future": ({"filter": "lastmodifieddate:[2026-07-01T12:00:01.000Z..]"}, 30850),
    "51 ids": ({"orderIds": ",".join(f"01-00000-{number:05d}" for number in range(51))}, 30900),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_request_is_refused_with_its_number(name: str, simulate: Simulate) -> None:
    parameters, error_id = REFUSED[name]
    answer = simulate().get(ORDERS, **parameters)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["errorId"], error["domain"], error["category"]) == (error_id, "API_FULFILLMENT", "REQUEST")


@pytest.mark.parametrize(("query", "status"), [("%5B{}..%5D", 200), ("[{}..]", 400)])
def test_brackets_must_be_encoded(query: str, status: int, simulate: Simulate) -> None:
    caller = simulate()
    path = f"{ORDERS}?filter=creationdate:" + query.format("2026-06-01T00:00:00.000Z")
    connection = HTTPConnection(caller.sim.url.removeprefix("http://"), timeout=5)  # encodes nothing by itself
    with closing(connection):
        connection.request("GET", path, headers={"Authorization": caller.http.headers["authorization"]})
        assert connection.getresponse().status == status


@pytest.mark.parametrize(
    ("header", "status", "error_id"),
    [(None, 401, 1002), ("Bearer nonsense", 401, 1001), ("IAF {token}", 401, 1001), ("{token}", 401, 1001)],
)
def test_a_call_without_a_good_token_is_refused(
    header: str | None, status: int, error_id: int, simulate: Simulate
) -> None:
    caller = simulate()
    token = caller.http.headers["authorization"].removeprefix("Bearer ")
    headers = {"Authorization": header.format(token=token)} if header else {}
    answer = httpx.get(caller.sim.url + ORDERS, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["errorId"]) == (status, error_id)


def test_a_missing_scope_is_refused(simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.narrow(caller.seller, "https://api.ebay.com/oauth/api_scope/commerce.identity.readonly")
    answer = caller.get(ORDERS)
    assert (answer.status_code, answer.json()["errors"][0]["errorId"]) == (403, 1100)
    assert caller.get("/commerce/identity/v1/user/").status_code == 200


def test_unknown_parameters_are_ignored(simulate: Simulate) -> None:
    caller = simulate()
    assert caller.ids(sort="creationDate", limit="200", filters="x") == caller.ids(limit="200")


def test_both_bounds_belong_to_the_window(simulate: Simulate, span: Span) -> None:
    caller = simulate(orders_per_seller=0)
    begin, end = START - 5 * DAY, START - 4 * DAY
    for number, at in enumerate((begin - DAY / 86400, begin, end, end + DAY / 86400)):
        caller.sim.world.add_order(caller.seller, order_id=f"01-00000-0000{number}", created=at)
    for name in ("creationdate", "lastmodifieddate"):
        found = caller.ids(filter=span(begin, end, name))
        assert sorted(found) == ["01-00000-00001", "01-00000-00002"]
    assert caller.ids(filter=span(begin + timedelta(milliseconds=1), end)) == ["01-00000-00002"]


def test_a_modified_order_moves_to_another_window(simulate: Simulate, clock: ManualClock, span: Span) -> None:
    caller = simulate(orders_per_seller=0)
    order = caller.sim.world.add_order(caller.seller, created=START - DAY)
    clock.advance(60)
    caller.sim.world.touch(caller.seller, order.id)
    assert caller.ids(filter=span(START - 2 * DAY, START)) == []
    assert caller.ids(filter=span(START, None)) == [order.id]
    assert caller.ids(filter=span(START - 2 * DAY, START, "creationdate")) == [order.id]


def test_of_two_date_filters_the_creation_date_wins(simulate: Simulate, span: Span) -> None:
    caller = simulate(orders_per_seller=0)
    order = caller.sim.world.add_order(caller.seller, created=START - 9 * DAY)
    modified = span(START - 30 * DAY, START - 20 * DAY)
    created = span(START - 10 * DAY, START - 8 * DAY, "creationdate")
    assert caller.ids(filter=f"{modified},{created}") == [order.id]


def test_without_a_filter_the_orders_created_in_90_days_come(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=0)
    young = caller.sim.world.add_order(caller.seller, created=START - 89 * DAY)
    old = caller.sim.world.add_order(caller.seller, created=START - 91 * DAY)
    caller.sim.world.touch(caller.seller, old.id)
    assert caller.ids() == [young.id]


def test_orders_older_than_two_years_are_out_of_reach_even_when_they_change(simulate: Simulate, span: Span) -> None:
    caller = simulate(orders_per_seller=0)
    old = caller.sim.world.add_order(caller.seller, created=START - 731 * DAY)
    caller.sim.world.touch(caller.seller, old.id)
    assert caller.ids(filter=span(START - DAY, None)) == []
    assert caller.ids(orderIds=old.id) == []


def test_the_status_filter_narrows_a_window(simulate: Simulate, span: Span) -> None:
    caller = simulate(orders_per_seller=60, days=30)
    wanted = {"NOT_STARTED", "IN_PROGRESS"}
    truth = caller.sim.world.truth(caller.seller)
    expected = {key for key, value in truth.items() if value.full["orderFulfillmentStatus"] in wanted}
    assert 0 < len(expected) < 60
    query = f"{span(START - 60 * DAY, None)},orderfulfillmentstatus:{{NOT_STARTED|IN_PROGRESS}}"
    assert set(caller.ids(filter=query, limit="200")) == expected


def test_ids_win_over_everything_else(simulate: Simulate) -> None:
    caller = simulate()
    wanted = list(caller.seller.orders)[:3]
    asked = ",".join([*wanted, wanted[0], "99-99999-99999"])
    page = caller.page(orderIds=asked, filter="nonsense", limit="0", offset="x")
    assert [row["orderId"] for row in page["orders"]] == wanted
    assert page["total"] == 3


def test_pages_follow_each_other_by_absolute_links(simulate: Simulate, span: Span) -> None:
    caller = simulate(orders_per_seller=25)
    first = caller.page(filter=span(START - 90 * DAY, None), limit="10")
    assert (first["total"], first["limit"], first["offset"]) == (25, 10, 0)
    assert "prev" not in first
    assert first["next"].startswith(f"{caller.sim.url}{ORDERS}?filter=lastmodifieddate:%5B")
    second = caller.get(first["next"]).json()
    last = caller.get(second["next"]).json()
    assert "next" not in last
    assert "next" not in caller.page(filter=span(START - 90 * DAY, None), limit="5", offset="20")
    assert caller.get(last["prev"]).json()["orders"] == second["orders"]
    ids = [row["orderId"] for page in (first, second, last) for row in page["orders"]]
    assert sorted(ids) == sorted(caller.seller.orders)


def test_a_page_behind_the_end_is_empty_and_not_an_error(simulate: Simulate) -> None:
    page = simulate(orders_per_seller=3).page(offset="50")
    assert (page["total"], page["orders"]) == (3, [])
    assert "next" not in page


@pytest.mark.parametrize("rows", ["modified", "-modified", "created", "-created", "id", "hash"])
def test_rows_come_in_the_order_that_the_world_was_given(rows: str, simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=40, rows=rows)
    orders = caller.page(limit="200")["orders"]
    field = {"m": "lastModifiedDate", "c": "creationDate", "i": "orderId"}.get(rows.lstrip("-")[0])
    if field:
        values = [order[field] for order in orders]
        assert values == sorted(values, reverse=rows.startswith("-"))
    else:
        for name in ("lastModifiedDate", "creationDate", "orderId"):
            values = [order[name] for order in orders]
            assert values not in (sorted(values), sorted(values, reverse=True))
        assert orders == caller.page(limit="200")["orders"]


def test_only_a_single_order_shows_its_cancel_requests_and_the_tax_id(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=0)
    identifier = {"taxpayerId": "X", "taxIdentifierType": "VATIN", "issuingCountry": "DE"}
    order = caller.sim.world.add_order(caller.seller, created=START - DAY, buyer={"taxIdentifier": identifier})
    caller.sim.world.touch(caller.seller, order.id, "cancel_ask")
    caller.sim.world.touch(caller.seller, order.id, "cancel")
    (row,) = caller.page()["orders"]
    single = caller.get(f"{ORDERS}/{order.id}").json()
    assert row["cancelStatus"]["cancelState"] == single["cancelStatus"]["cancelState"] == "CANCELED"
    assert row["cancelStatus"]["cancelRequests"] == []
    assert single["cancelStatus"]["cancelRequests"][0]["cancelRequestState"] == "COMPLETED"
    assert "taxIdentifier" not in row["buyer"]
    assert single["buyer"]["taxIdentifier"] == identifier


def test_a_refused_cancel_request_stays_on_record(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=0)
    order = caller.sim.world.add_order(caller.seller)
    for kind in ("cancel_ask", "cancel_reject"):
        caller.sim.world.touch(caller.seller, order.id, kind)
    status = caller.get(f"{ORDERS}/{order.id}").json()["cancelStatus"]
    assert status["cancelState"] == "NONE_REQUESTED"
    assert [request["cancelRequestState"] for request in status["cancelRequests"]] == ["REJECTED"]


def test_persons_vanish_from_old_orders(simulate: Simulate, clock: ManualClock) -> None:
    caller = simulate(orders_per_seller=0)
    order = caller.sim.world.add_order(caller.seller, created=START)

    def contact() -> dict[str, Any]:
        shown = caller.get(f"{ORDERS}/{order.id}").json()
        ship_to: dict[str, Any] = shown["fulfillmentStartInstructions"][0]["shippingStep"]["shipTo"]
        assert shown["buyer"]["buyerRegistrationAddress"].keys() == ship_to.keys()
        return ship_to

    assert {"fullName", "primaryPhone", "email"} <= contact().keys()
    clock.advance(14 * 86400 + 1)
    caller.login()
    assert "email" not in contact()
    assert {"fullName", "primaryPhone"} <= contact().keys()
    clock.advance(76 * 86400)
    caller.login()
    assert contact().keys() == {"contactAddress"}
    assert contact()["contactAddress"].keys() == {"city", "stateOrProvince", "postalCode", "countryCode"}
    assert "fullName" in caller.sim.world.truth(caller.seller)[order.id].full["buyer"]["buyerRegistrationAddress"]


def test_gift_messages_vanish_with_the_persons(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=150, days=180)
    shown = {True: set[str](), False: set[str]()}
    for row in caller.page(filter="creationdate:[2026-01-01T00:00:00.000Z..]", limit="200")["orders"]:
        for item in row["lineItems"]:
            old = row["creationDate"] < "2026-04-02T12:00:00.000Z"
            shown[old] |= item.get("giftDetails", {}).keys()
    assert shown == {True: set(), False: {"message", "recipientEmail", "senderName"}}


def test_what_is_served_is_the_truth(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=150, days=300)
    truth = caller.sim.world.truth(caller.seller)
    for row in caller.page(limit="200")["orders"]:
        assert row == truth[row["orderId"]].row
    for order_id in list(truth)[:10]:
        assert caller.get(f"{ORDERS}/{order_id}").json() == truth[order_id].shown


def test_the_tax_breakdown_changes_the_totals(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=30)
    plain = {row["orderId"]: row for row in caller.page(limit="200")["orders"]}
    apart = {row["orderId"]: row for row in caller.page(limit="200", fieldGroups="TAX_BREAKDOWN")["orders"]}
    taxed = [key for key, row in plain.items() if row.get("ebayCollectAndRemitTax")]
    assert taxed
    for key in taxed:
        assert "tax" not in plain[key]["pricingSummary"]
        assert float(apart[key]["pricingSummary"]["tax"]["value"]) > 0
        assert float(apart[key]["lineItems"][0]["total"]["value"]) > float(plain[key]["lineItems"][0]["total"]["value"])


@pytest.mark.parametrize(("order_id", "status"), [("nonsense", 400), ("1-2-3", 400), ("99-99999-99999", 404)])
def test_an_order_that_is_not_there_is_refused_with_an_envelope(order_id: str, status: int, simulate: Simulate) -> None:
    answer = simulate().get(f"{ORDERS}/{order_id}")
    assert (answer.status_code, answer.json()["errors"][0]["errorId"]) == (status, 32100)


def test_the_filters_learn_of_a_change_only_after_the_index_lag(
    simulate: Simulate, clock: ManualClock, span: Span
) -> None:
    caller = simulate(orders_per_seller=1, index_lag=300)
    (order_id,) = caller.seller.orders
    order = caller.sim.world.touch(caller.seller, order_id)
    lag = (order.changes[-1].indexed - START).total_seconds()
    assert 0 < lag <= 300
    assert caller.ids(filter=span(START, None)) == []
    (stale,) = caller.page()["orders"]
    assert stale["lastModifiedDate"] < "2026-07-01T12:00:00.000Z"
    assert caller.get(f"{ORDERS}/{order_id}").json()["lastModifiedDate"] == "2026-07-01T12:00:00.000Z"
    assert not caller.sim.world.truth(caller.seller)[order_id].indexed
    clock.advance(lag)
    assert caller.ids(filter=span(START, None)) == [order_id]


def test_identity_needs_its_trailing_slash(simulate: Simulate) -> None:
    caller = simulate()
    answer = caller.get("/commerce/identity/v1/user")
    assert (answer.status_code, answer.json()["errors"][0]["errorId"]) == (404, 2002)
