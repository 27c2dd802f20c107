"""The simulated Sell Finances API, call by call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import process_time
from typing import Any

import pytest

from ebaysync.sim.clock import ManualClock
from ebaysync.sim.quirks import Rates
from ebaysync.sim.world import World

Simulate = Callable[..., Any]
START = datetime(2026, 7, 1, 12, tzinfo=UTC)
TRANSACTION = "/sell/finances/v1/transaction"
PAYOUT = "/sell/finances/v1/payout"
EVERYTHING = {"transaction": 300, "payout": 20, "dispute": 5}


@pytest.fixture
def seller(simulate: Simulate) -> Callable[..., Any]:
    def start(**options: Any) -> Any:
        caller = simulate(**{"orders_per_seller": 150, "things": EVERYTHING, **options})
        caller.http.headers["x-ebay-c-marketplace-id"] = "EBAY_US"
        return caller

    return start


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def dates(start: datetime, end: datetime, name: str = "transactionDate") -> str:
    return f"{name}:[{stamp(start)}..{stamp(end)}]"


def walk(caller: Any, path: str = TRANSACTION, **parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    answer = caller.get(path, limit="200", **parameters)
    while answer.status_code == 200:
        rows += answer.json()[path.rpartition("/")[2] + "s"]
        if "next" not in answer.json():
            return rows
        answer = caller.http.get(answer.json()["next"])
    assert answer.status_code == 204, answer.text
    return rows


def key(row: dict[str, Any]) -> str:
    return f"{row['transactionId']}/{row['transactionType']}"


def refused(caller: Any, path: str = TRANSACTION, **parameters: Any) -> int:
    answer = caller.get(path, **parameters)
    assert answer.status_code == 400, answer.text
    number: int = answer.json()["errors"][0]["errorId"]
    return number


def test_following_next_gives_every_transaction_once_newest_first(seller: Simulate) -> None:
    caller = seller()
    rows = walk(caller)
    there = caller.sim.world.things(caller.seller, "transaction")
    assert sorted(map(key, rows)) == sorted(there)
    assert len(rows) == 300
    times = [row["transactionDate"] for row in rows]
    assert times == sorted(times, reverse=True)
    ascending = [row["transactionDate"] for row in walk(caller, sort="transactionDate")]
    assert ascending == sorted(times)
    first = caller.sim.journal.of(TRANSACTION)[0]
    assert first.rows == tuple((key(row), there[key(row)].version) for row in rows[:200])


def test_twenty_rows_come_unasked(seller: Simulate) -> None:
    page = seller().get(TRANSACTION).json()
    assert (page["limit"], len(page["transactions"]), page["offset"], page["total"]) == (20, 20, 0, 300)
    assert page["next"].startswith("http://")


@pytest.mark.parametrize("path", [TRANSACTION, PAYOUT])
def test_nothing_is_204_without_a_body(path: str, seller: Simulate) -> None:
    answer = seller(things=0).get(path)
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("market", [None, "EBAY-US", "US", "EBAY_XX"])
def test_the_marketplace_must_be_named_with_an_underscore(market: str | None, seller: Simulate) -> None:
    caller = seller()
    del caller.http.headers["x-ebay-c-marketplace-id"]
    if market:
        caller.http.headers["x-ebay-c-marketplace-id"] = market
    assert caller.get(TRANSACTION).status_code == 400
    assert caller.get(PAYOUT).status_code == 400


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"limit": "201"}, 135003),
        ({"limit": "0"}, 135003),
        ({"limit": "ten"}, 135003),
        ({"offset": "-1"}, 135003),
        ({"offset": "5000"}, 135003),
        ({"sort": "-transactionDate"}, 135005),
        ({"filter": "transactionType:{BARTER}"}, 135006),
        ({"filter": "transactionType:SALE"}, 135006),
        ({"filter": "transactionStatus:{PAID}"}, 135007),
        ({"filter": "transactiondate:[2026-06-01T00:00:00.000Z..2026-06-02T00:00:00.000Z]"}, 135008),
        ({"filter": "transactionDate:[2026-06-01T00:00:00Z..2026-06-02T00:00:00Z]"}, 135008),
        ({"filter": "transactionDate:[2026-06-01T00:00:00.000Z..]"}, 135008),
        ({"filter": "transactionDate:[2026-06-02T00:00:00.000Z..2026-06-01T00:00:00.000Z]"}, 135008),
        ({"filter": "transactionId:{1}"}, 135009),
        ({"filter": ["transactionType:{SALE}", "transactionType:{REFUND}"]}, 135008),
        ({"filter": dates(START - timedelta(days=5 * 365 + 3), START - timedelta(days=1500))}, 135015),
        ({"filter": dates(START - timedelta(days=3 * 365 + 3), START)}, 135016),
    ],
)
def test_what_the_documentation_forbids_is_refused(parameters: dict[str, Any], error: int, seller: Simulate) -> None:
    assert refused(seller(), **parameters) == error


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"limit": "201"}, 135003),
        ({"sort": "payoutStatus"}, 135005),
        ({"filter": "payoutStatus:{DONE}"}, 135002),
        ({"filter": dates(START - timedelta(days=2), START, "lastAttemptedPayoutDate")}, 135002),
        ({"filter": "payoutDate:[yesterday..today]"}, 135004),
        ({"filter": dates(START - timedelta(days=5 * 365 + 3), START - timedelta(days=1500), "payoutDate")}, 135013),
        ({"filter": dates(START - timedelta(days=3 * 365 + 3), START, "payoutDate")}, 135014),
    ],
)
def test_payouts_are_as_strict(parameters: dict[str, Any], error: int, seller: Simulate) -> None:
    assert refused(seller(), PAYOUT, **parameters) == error


def test_filters_joined_by_commas_or_repeated_mean_the_same(seller: Simulate) -> None:
    caller = seller()
    window, kind = dates(START - timedelta(days=40), START - timedelta(days=5)), "transactionType:{SALE}"
    joined = walk(caller, filter=f"{window},{kind}")
    assert joined == walk(caller, filter=[window, kind])
    inside = [row for row in walk(caller) if stamp(START - timedelta(days=40)) <= row["transactionDate"]]
    inside = [row for row in inside if row["transactionDate"] <= stamp(START - timedelta(days=5))]
    assert joined == [row for row in inside if row["transactionType"] == "SALE"] != []


def test_a_date_that_bounds_the_window_is_inside(seller: Simulate) -> None:
    caller = seller(things=0)
    body = {"transactionDate": stamp(START), "transactionId": "1", "transactionType": "SALE"}
    caller.sim.world.add_thing(caller.seller, "transaction", thing_id="1/SALE", body=body)
    assert walk(caller, filter=dates(START, START)) == [body]


def test_a_sale_is_of_an_order_and_shares_its_id_with_other_types(seller: Simulate) -> None:
    caller = seller()
    rows = walk(caller)
    sales = {row["transactionId"] for row in rows if row["transactionType"] == "SALE"}
    assert sales <= set(caller.seller.orders)
    others = {row["transactionId"] for row in rows if row["transactionType"] == "REFUND"}
    assert sales & others
    one = min(sales & others)
    found = walk(caller, filter=[f"transactionId:{{{one}}}", "transactionType:{REFUND}"])
    assert [key(row) for row in found] == [f"{one}/REFUND"]
    assert len(walk(caller, filter=f"orderId:{{{one}}}")) >= 2


def test_a_fee_names_its_order_only_among_its_references(seller: Simulate) -> None:
    caller = seller()
    fees = [row for row in walk(caller) if row["transactionType"] == "NON_SALE_CHARGE"]
    assert {row["bookingEntry"] for row in fees} == {"CREDIT", "DEBIT"}
    assert not any("orderId" in row for row in fees)
    of = next(row for row in fees if row.get("references", [{}])[-1].get("referenceType") == "ORDER_ID")
    found = walk(caller, filter=f"orderId:{{{of['references'][-1]['referenceId']}}}")
    assert key(of) not in map(key, found)


def test_the_status_filter_knows_sales_alone(seller: Simulate) -> None:
    caller = seller()
    assert {row["transactionType"] for row in walk(caller, filter="transactionStatus:{PAYOUT}")} == {"SALE"}


def test_what_a_sale_brings_is_its_basis_less_its_fees(seller: Simulate) -> None:
    converted = 0
    for row in walk(seller()):
        if row["transactionType"] != "SALE":
            continue
        lines = [fee["amount"] for line in row["orderLineItems"] for fee in line["marketplaceFees"]]
        fees = sum(Decimal(amount["value"]) for amount in lines)
        assert Decimal(row["totalFeeAmount"]["value"]) == fees
        net = row["amount"].get("convertedFromValue", row["amount"]["value"])
        assert Decimal(net) == Decimal(row["totalFeeBasisAmount"]["value"]) - fees
        if "exchangeRate" in row["amount"]:
            converted += 1
            assert row["amount"]["currency"] != row["totalFeeAmount"]["currency"]
    assert converted


def test_every_type_and_both_spellings_of_the_tax_occur(seller: Simulate) -> None:
    rows = walk(seller(things={"transaction": 1500}, orders_per_seller=900))
    assert {row["transactionType"] for row in rows} == {
        *("SALE", "REFUND", "CREDIT", "DISPUTE", "SHIPPING_LABEL", "TRANSFER", "NON_SALE_CHARGE"),
        *("ADJUSTMENT", "WITHDRAWAL", "LOAN_REPAYMENT", "PURCHASE"),
    }
    named = {name for row in rows for name in row if "Tax" in name}
    assert named == {"ebayCollectedTaxAmount", "eBayCollectedTaxAmount"}
    references = {each["referenceType"] for row in rows for each in row.get("references", ())}
    assert {"ORDER_ID", "RETURN_ID", "CASE_ID", "PAYMENTS_DISPUTE_ID", "CANCELLATION_ID"} <= references


def test_a_transaction_may_be_served_days_after_its_date(seller: Simulate) -> None:
    caller = seller()
    things = caller.sim.world.things(caller.seller, "transaction").values()
    late = [thing.created - datetime.fromisoformat(thing.body["transactionDate"]) for thing in things]
    assert min(late) >= timedelta()
    assert timedelta(days=1) < max(late) <= timedelta(days=2)


def test_no_filter_of_dates_shows_that_a_transaction_was_paid_out(seller: Simulate, clock: ManualClock) -> None:
    caller = seller(things={"transaction": 40})
    world = caller.sim.world
    thing = next(t for t in world.things(caller.seller, "transaction").values() if t.id.endswith("/SALE"))
    clock.advance(30 * 86400)
    world.move_thing(thing, "available")
    assert thing.body["transactionStatus"] in ("FUNDS_AVAILABLE_FOR_PAYOUT", "PAYOUT")
    world.move_thing(thing, "pay")
    caller.login()
    assert walk(caller, filter=dates(START + timedelta(seconds=1), clock.now())) == []
    [paid] = [row for row in walk(caller) if key(row) == thing.id]
    assert paid["transactionStatus"] == "PAYOUT"
    assert [key(row) for row in walk(caller, filter=f"payoutId:{{{paid['payoutId']}}}")] == [thing.id]
    assert caller.get(f"{PAYOUT}/{paid['payoutId']}").json()["transactionCount"] == 1


def test_a_fee_may_leave_the_list_and_a_transaction_may_leave_and_return(seller: Simulate) -> None:
    caller = seller()
    world = caller.sim.world
    sale = next(t for t in world.things(caller.seller, "transaction").values() if t.id.endswith("/SALE"))
    before = sum(len(line["marketplaceFees"]) for line in sale.body["orderLineItems"])
    while sum(len(line["marketplaceFees"]) for line in sale.body["orderLineItems"]) == before:
        world.move_thing(sale, "fee")
    assert sale.body in walk(caller)
    last = sale.body
    world.move_thing(sale, "vanish")
    assert sale.id not in map(key, walk(caller))
    world.move_thing(sale)
    assert last in walk(caller)


def test_most_payouts_count_the_transactions_that_name_them(seller: Simulate) -> None:
    caller = seller(things={"transaction": 300, "payout": 12})
    named = Counter(row.get("payoutId") for row in walk(caller))
    payouts = walk(caller, PAYOUT)
    true = [row for row in payouts if row["transactionCount"] == named[row["payoutId"]]]
    assert len(true) > len(payouts) / 2
    assert [row["payoutDate"] for row in payouts] == sorted((row["payoutDate"] for row in payouts), reverse=True)


def test_a_payout_changes_after_its_date(seller: Simulate) -> None:
    caller = seller(things={"payout": 3})
    world, there = caller.sim.world, caller.sim.world.things(caller.seller, "payout")
    payout = next(iter(there.values()))
    for move, status in (("fail", "RETRYABLE_FAILED"), ("succeed", "SUCCEEDED"), ("reverse", "REVERSED")):
        world.move_thing(payout, move)
        one = caller.get(f"{PAYOUT}/{payout.id}").json()
        assert one in walk(caller, PAYOUT, filter=f"payoutStatus:{{{status}}}")
        assert ("lastAttemptedPayoutDate" in one) == (status == "RETRYABLE_FAILED")
    assert caller.get(f"{PAYOUT}/1").status_code == 404
    assert caller.get(f"{PAYOUT}/1").json()["errors"][0]["errorId"] == 135001


def test_failed_payouts_are_found_by_their_last_attempt(seller: Simulate) -> None:
    caller = seller(things={"payout": 3})
    payout = next(iter(caller.sim.world.things(caller.seller, "payout").values()))
    caller.sim.world.move_thing(payout, "fail")
    attempt = dates(START - timedelta(days=1), START, "lastAttemptedPayoutDate")
    found = walk(caller, PAYOUT, filter=f"{attempt},payoutStatus:{{RETRYABLE_FAILED}}")
    assert [row["payoutId"] for row in found] == [payout.id]


def test_sellers_of_the_kingdom_and_the_union_must_sign_where_the_world_says_so(seller: Simulate) -> None:
    caller = seller(sellers=2, signatures=True)
    assert caller.get(TRANSACTION).status_code == 200
    caller.seller = caller.sim.world.sellers[1]
    caller.login()
    assert caller.get(TRANSACTION).json()["errors"][0]["errorId"] == 215001
    names = ("x-ebay-signature-key", "signature-input", "signature")
    caller.http.headers.update(dict.fromkeys(names, "x"))
    assert caller.get(TRANSACTION).json()["errors"][0]["errorId"] == 215120


def test_the_api_lives_at_apiz(simulate: Simulate) -> None:
    caller = simulate(split=True)
    answer = caller.get(TRANSACTION)
    assert (answer.status_code, answer.content) == (404, b"")


def test_five_thousand_transactions_are_there_at_once() -> None:
    begin = process_time()
    world = World(1, 1, 5000, ManualClock(START), things={"transaction": 5000, "payout": 100})
    assert len(world.things(world.sellers[0], "transaction")) == 5000
    assert process_time() - begin < 5


def test_the_same_seed_gives_the_same_transactions() -> None:
    one, other = (
        World(3, 1, 50, ManualClock(START), things=60, rates=Rates(new_things_per_hour=4, thing_changes_per_hour=30))
        for _ in range(2)
    )
    for world in (one, other):
        world.clock.advance(36_000)  # type: ignore[attr-defined]
    for kind in ("transaction", "payout"):
        histories = [
            {thing.id: thing.versions for thing in world.things(world.sellers[0], kind).values()}
            for world in (one, other)
        ]
        assert histories[0] == histories[1]
        assert any(len(versions) > 2 for versions in histories[0].values())
