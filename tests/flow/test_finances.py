"""Transactions, fees and refunds: one reading of eBay for three families."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ebaysync.families import discover
from ebaysync.ops.account import by_source
from ebaysync.sim.clock import ManualClock, stamp
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run
from ebaysync.sync.summary import Summary

Query = Callable[..., list[Any]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FAMILIES = ("finances", "transactions", "refunds")
PATH = "/sell/finances/v1/transaction"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def opened(
    bench: Callable[..., Any], clock: ManualClock, undocumented: Callable[..., list[Any]]
) -> Iterator[Callable[..., Any]]:
    made = []

    def make(**options: Any) -> Any:
        made.append(bench(sellers=1, clock=clock, **{"orders_per_seller": 0} | options))
        return made[-1]

    yield make
    for each in made:
        assert undocumented(each.sim.journal) == []


def money(value: str, currency: str = "USD") -> dict[str, str]:
    return {"value": value, "currency": currency}


def enter(b: Any, kind: str, transaction_id: str, amount: str, booking: str, **fields: Any) -> Any:
    at = fields.pop("at", NOON - timedelta(days=2))
    body = {
        "transactionId": transaction_id,
        "transactionType": kind,
        "amount": money(amount),
        "bookingEntry": booking,
        "transactionDate": stamp(at),
        "transactionStatus": "FUNDS_PROCESSING",
    }
    [seller] = b.sim.world.sellers
    return b.sim.world.add_thing(seller, "transaction", at=at, thing_id=f"{transaction_id}/{kind}", body=body | fields)


def line(number: str, **fees: str) -> dict[str, Any]:
    listed = [{"feeType": name, "amount": money(value)} for name, value in fees.items()]
    return {"lineItemId": number, "feeBasisAmount": money("10.0"), "marketplaceFees": listed}


async def all_three(b: Any, account: Any, names: Sequence[str] = FAMILIES, **asked: Any) -> list[Summary]:
    async with b.worker(account) as worker:
        return list(await run(worker, [discover()[name] for name in names], RunOptions("run", **asked)))


async def test_a_debit_is_negative_and_a_credit_positive(opened: Callable[..., Any], query: Query) -> None:
    b = opened()
    enter(b, "SALE", "01-1", "20.5", "CREDIT", orderId="01-1")
    enter(b, "REFUND", "01-1", "20.5", "DEBIT", orderId="01-1")
    enter(b, "NON_SALE_CHARGE", "FEE-1", "3.0", "DEBIT", feeType="AD_FEE")
    enter(b, "NON_SALE_CHARGE", "FEE-2", "1.25", "CREDIT", feeType="AD_FEE")
    enter(b, "REFUND", "R-2", "4.0", "CREDIT")
    account = await b.add()
    assert [s.status for s in await all_three(b, account)] == ["completed"] * 3
    expected = [
        ("01-1", "REFUND", Decimal("-20.5")),
        ("01-1", "SALE", Decimal("20.5")),
        ("FEE-1", "NON_SALE_CHARGE", Decimal("-3.0")),
        ("FEE-2", "NON_SALE_CHARGE", Decimal("1.25")),
        ("R-2", "REFUND", Decimal("4.0")),
    ]
    for table in ("ebay_finances_transactions", "ebay_transactions"):
        assert query(f"SELECT transaction_id, transaction_type, amount FROM {table} ORDER BY 1, 2") == expected
    fees = query("SELECT transaction_id, fee_type, amount FROM ebay_finances_fees ORDER BY 1")
    assert fees == [("FEE-1", "AD_FEE", Decimal("3.0")), ("FEE-2", "AD_FEE", Decimal("-1.25"))]  # what they cost
    given_back = query("SELECT refund_id, refund_amount, currency FROM ebay_refunds ORDER BY 1")
    assert given_back == [("01-1", Decimal("20.5"), "USD"), ("R-2", Decimal("-4.0"), "USD")]


async def test_a_fee_knows_its_order_from_its_references(opened: Callable[..., Any], query: Query) -> None:
    b = opened()
    references = [
        {"referenceId": "350000000001", "referenceType": "ITEM_ID"},
        {"referenceId": "02-2", "referenceType": "ORDER_ID"},
    ]
    enter(b, "NON_SALE_CHARGE", "FEE-1", "3.0", "DEBIT", feeType="AD_FEE", references=references)
    enter(b, "SALE", "01-1", "8.0", "CREDIT", orderId="01-1", orderLineItems=[line("9", FINAL_VALUE_FEE="2.0")])
    account = await b.add()
    await all_three(b, account)
    fees = query("SELECT transaction_id, order_id, item_id, line_item_id FROM ebay_finances_fees ORDER BY 1")
    assert fees == [("01-1", "01-1", None, "9"), ("FEE-1", "02-2", "350000000001", None)]
    assert query("SELECT order_id FROM ebay_transactions WHERE transaction_id = 'FEE-1'") == [("02-2",)]


async def test_a_fee_that_goes_is_removed_and_the_others_keep_their_names(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    lines = [line("9", FINAL_VALUE_FEE="2.0", INTERNATIONAL_FEE="1.0"), line("8", FINAL_VALUE_FEE="0.5")]
    sale = enter(b, "SALE", "01-1", "8.0", "CREDIT", orderId="01-1", orderLineItems=lines)
    account = await b.add()
    await all_three(b, account)
    b.sim.world.put_thing(sale, sale.body | {"orderLineItems": [line("9", INTERNATIONAL_FEE="1.5"), lines[1]]})
    clock.advance(600)
    await all_three(b, account, sweep=True)
    rows = query("SELECT fee_line, amount, removed_at IS NOT NULL FROM ebay_finances_fees ORDER BY 1")
    assert rows == [
        ("8/FINAL_VALUE_FEE", Decimal("0.5"), False),
        ("9/FINAL_VALUE_FEE", Decimal("2.0"), True),
        ("9/INTERNATIONAL_FEE", Decimal("1.5"), False),
    ]
    told = query("SELECT entity_key, event FROM ebay_events WHERE table_name = 'ebay_finances_fees' ORDER BY 1")
    assert told == [
        ("01-1/SALE/9/FINAL_VALUE_FEE", "removed"),
        ("01-1/SALE/9/INTERNATIONAL_FEE", "changed"),
    ]


async def test_a_refund_names_what_it_was_for(opened: Callable[..., Any], query: Query) -> None:
    b = opened()
    kinds = ("ORDER_ID", "RETURN_ID", "CASE_ID", "PAYMENTS_DISPUTE_ID", "CANCELLATION_ID")
    for number, kind in enumerate(kinds):
        references = [{"referenceId": f"ref-{number}", "referenceType": kind}]
        own = {} if kind == "ORDER_ID" else {"orderId": f"01-{number}"}
        enter(b, "REFUND", f"R-{number}", "1.0", "DEBIT", references=references, **own)
    account = await b.add()
    await all_three(b, account)
    rows = query(
        "SELECT order_id, return_id, case_id, dispute_id, cancellation_id FROM ebay_refunds ORDER BY refund_id"
    )
    assert rows == [
        ("ref-0", None, None, None, None),
        ("01-1", "ref-1", None, None, None),
        ("01-2", None, "ref-2", None, None),
        ("01-3", None, None, "ref-3", None),
        ("01-4", None, None, None, "ref-4"),
    ]


async def test_a_converted_amount_keeps_both_currencies(opened: Callable[..., Any], query: Query) -> None:
    b = opened()
    converted = {"convertedFromValue": "106.47", "convertedFromCurrency": "GBP", "exchangeRate": "1.31869"}
    refund = enter(b, "REFUND", "R-1", "140.4", "DEBIT")
    b.sim.world.put_thing(refund, refund.body | {"amount": money("140.4") | converted})
    account = await b.add()
    await all_three(b, account)
    names = "amount, amount_currency, amount_converted_from, amount_converted_from_currency, exchange_rate"
    for table in ("ebay_finances_transactions", "ebay_transactions"):
        row = (Decimal("-140.4"), "USD", Decimal("-106.47"), "GBP", Decimal("1.31869"))
        assert query(f"SELECT {names} FROM {table}") == [row]


async def test_a_debit_that_comes_with_a_minus_is_negative_all_the_same(
    opened: Callable[..., Any], query: Query
) -> None:
    b = opened()
    converted = {"convertedFromValue": "-3.0", "convertedFromCurrency": "GBP"}
    label = enter(b, "SHIPPING_LABEL", "L-1", "-4.0", "DEBIT")
    b.sim.world.put_thing(label, label.body | {"amount": money("-4.0") | converted})
    enter(b, "NON_SALE_CHARGE", "F-1", "-2.5", "CREDIT", feeType="AD_FEE")
    enter(b, "REFUND", "R-1", "-8.0", "DEBIT", orderLineItems=[line("1", FINAL_VALUE_FEE="-1.0")])
    enter(b, "REFUND", "R-2", "-8.0", "CREDIT")
    account = await b.add()
    await all_three(b, account)
    names = "SELECT amount, amount_converted_from FROM"
    for table in ("ebay_finances_transactions", "ebay_transactions"):
        assert query(f"{names} {table} WHERE transaction_id = 'L-1'") == [(Decimal("-4.0"), Decimal("-3.0"))]
    assert query("SELECT transaction_id, amount FROM ebay_finances_fees ORDER BY 1") == [
        ("F-1", Decimal("-2.5")),
        ("R-1", Decimal("-1.0")),
    ]
    assert query("SELECT refund_amount FROM ebay_refunds ORDER BY refund_id") == [(Decimal("8.0"),), (Decimal("-8.0"),)]


@pytest.mark.parametrize("name", ["eBayCollectedTaxAmount", "ebayCollectedTaxAmount"])
async def test_collected_tax_is_found_in_either_spelling(opened: Callable[..., Any], query: Query, name: str) -> None:
    b = opened()
    enter(b, "SALE", "01-1", "8.0", "CREDIT", **{name: money("1.45")})
    account = await b.add()
    await all_three(b, account)
    tax = query("SELECT ebay_collected_tax_amount, ebay_collected_tax_amount_currency FROM ebay_finances_transactions")
    assert tax == [(Decimal("1.45"), "USD")]


async def test_what_changes_in_old_rows_is_found_by_the_sweep(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    rows = [
        enter(b, "SALE", f"01-{number}", "8.0", "CREDIT", at=NOON - timedelta(days=3 * number + 2))
        for number in range(25)
    ]
    account = await b.add()
    await all_three(b, account)
    for row in rows:
        b.sim.world.put_thing(row, row.body | {"transactionStatus": "PAYOUT", "payoutId": "600"})
    for _ in range(8):  # by itself, a piece in each run
        clock.advance(900)
        assert [s.status for s in await all_three(b, account)] == ["completed"] * 3
    for table in ("ebay_finances_transactions", "ebay_transactions"):
        assert query(f"SELECT DISTINCT transaction_status, payout_id FROM {table}") == [("PAYOUT", "600")]
        told = query("SELECT changes FROM ebay_events WHERE table_name = %s", table)
        assert [sorted(changes) for (changes,) in told] == [["payout_id", "transaction_status"]] * 25


async def test_a_row_that_comes_late_with_an_older_date_is_found(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    account = await b.add()
    await all_three(b, account)
    enter(b, "SALE", "01-1", "8.0", "CREDIT", at=NOON - timedelta(hours=20))
    clock.advance(900)
    assert [s.stored for s in await all_three(b, account)] == [1, 1, 0]


async def test_no_content_means_none(opened: Callable[..., Any], query: Query) -> None:
    b = opened()
    account = await b.add()
    summaries = await all_three(b, account)
    assert {entry.status for entry in b.sim.journal.of(PATH)} == {204}
    assert [(s.status, s.caught_up, s.fetched) for s in summaries] == [("completed", True, 0)] * 3
    assert query("SELECT count(*) FROM ebay_sync_state WHERE cursor_value IS NOT NULL") == [(3,)]


async def test_three_families_are_read_once_and_the_calls_are_counted_at_the_first(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened(orders_per_seller=200, things={"transaction": 500}).with_settings(initial_backfill_days=95)
    account = await b.add()
    families = [discover()[name] for name in FAMILIES]
    assert by_source(families) == [families]
    clock.advance(60)
    first, *others = await all_three(b, account)
    assert first.status == "completed"
    assert first.calls >= len(b.sim.journal.of(PATH)) > 0
    told = "read with finances, where the calls are counted"
    assert [(s.calls, s.reason, s.status) for s in others] == [(0, told, "completed")] * 2
    assert query("SELECT summary_json ->> 'reason' FROM ebay_worker_run ORDER BY (summary_json ->> 'calls')::int") == [
        (told,),
        (told,),
        (None,),
    ]
    cursors = query("SELECT api_family, cursor_value FROM ebay_sync_state ORDER BY 1")
    assert [row[0] for row in cursors] == sorted(FAMILIES)
    assert len({row[1] for row in cursors}) == 1
    there = {t.id: t.body for t in b.sim.world.things(b.sim.world.sellers[0], "transaction").values() if t.body}
    refunds = {key for key, body in there.items() if body["transactionType"] == "REFUND"}
    counts = query("SELECT (SELECT count(*) FROM ebay_transactions), (SELECT count(*) FROM ebay_refunds)")
    assert counts == [(len(there), len(refunds))]
    assert first.fetched == len(there)


async def test_a_family_that_lags_behind_is_brought_along_from_the_oldest_cursor(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    for number in range(40):
        enter(b, "SALE", f"01-{number}", "8.0", "CREDIT", at=NOON - timedelta(days=2 * number + 1))
    account = await b.add()
    await all_three(b, account, ["finances"])
    assert query("SELECT count(*) FROM ebay_transactions") == [(0,)]
    clock.advance(900)
    finances, transactions = await all_three(b, account, ["finances", "transactions"])
    assert (finances.stored, transactions.stored) == (0, 40)
    assert finances.window_from == transactions.window_from < NOON - timedelta(days=80)
    assert finances.cursor == transactions.cursor
    assert query("SELECT count(*) FROM ebay_transactions") == [(40,)]
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]


@pytest.mark.parametrize("lines", ["none", ["none"], [{"marketplaceFees": "none"}], [{"marketplaceFees": ["none"]}]])
async def test_fees_that_cannot_be_read_are_left_out_and_their_transaction_is_stored(
    opened: Callable[..., Any], query: Query, lines: Any
) -> None:
    b = opened()
    enter(b, "SALE", "01-1", "20.5", "CREDIT", orderId="01-1", orderLineItems=lines)
    enter(b, "SALE", "01-2", "7.5", "CREDIT", orderId="01-2", orderLineItems=[line("1", FINAL_VALUE_FEE="1.0")])
    account = await b.add()
    done = await all_three(b, account)
    completed = [("completed", 2, 0), ("completed", 2, 0), ("completed", 0, 0)]
    assert [(s.status, s.stored, s.quarantined) for s in done] == completed
    assert [note["field"] for note in done[0].as_dict()["field_notes"]] == ["ebay_finances_fees"]
    assert query("SELECT transaction_id FROM ebay_finances_fees") == [("01-2",)]


async def test_a_line_item_or_fee_that_is_null_is_left_out(opened: Callable[..., Any], query: Query) -> None:
    b = opened()
    lines = [None, {"lineItemId": "1"}, line("2", AD_FEE="1.0")]
    lines[2]["marketplaceFees"].append(None)  # type: ignore[index]
    enter(b, "SALE", "01-1", "20.5", "CREDIT", orderId="01-1", orderLineItems=lines)
    account = await b.add()
    assert [s.quarantined for s in await all_three(b, account)] == [0, 0, 0]
    assert query("SELECT fee_line FROM ebay_finances_fees") == [("2/AD_FEE",)]


async def test_a_fee_has_its_sign_also_where_its_line_item_has_no_number(
    opened: Callable[..., Any], query: Query
) -> None:
    b = opened()
    stand_in = [{"marketplaceFees": [{"feeType": "FINAL_VALUE_FEE", "amount": money("1.5")}]}]
    enter(b, "SALE", "01-1", "20.5", "CREDIT", orderId="01-1", orderLineItems=stand_in)
    enter(b, "REFUND", "R-1", "20.5", "DEBIT", orderId="01-1", orderLineItems=stand_in)
    enter(b, "REFUND", "R-2", "20.5", "CREDIT", orderId="01-1", orderLineItems=stand_in)
    account = await b.add()
    await all_three(b, account)
    expected = [("01-1", "1.5"), ("R-1", "-1.5"), ("R-2", "1.5")]
    assert query("SELECT transaction_id, amount::text FROM ebay_finances_fees ORDER BY 1") == expected
