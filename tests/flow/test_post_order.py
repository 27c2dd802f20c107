"""Cases, inquiries and returns: from the simulator's Post-Order API into the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ebaysync.ebay import postorder
from ebaysync.families import discover
from ebaysync.families.family import AGE, RecordVersions
from ebaysync.sim.clock import ManualClock, stamp
from ebaysync.sim.kinds.postorder import MOVES
from ebaysync.sim.model import Thing
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run
from ebaysync.sync.sources import discover as sources
from ebaysync.sync.sources import post_order

from . import births

Query = Callable[..., list[Any]]
Benches = Callable[..., Any]

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FAMILIES = {"case": "cases", "inquiry": "inquiries", "return": "returns"}
KEYS = {"case": "case_id", "inquiry": "inquiry_id", "return": "return_id"}
STATUSES = {"case": "case_status_enum", "inquiry": "inquiry_status_enum", "return": "state"}
RESOURCES = {"case": postorder.CASES, "inquiry": postorder.INQUIRIES, "return": postorder.RETURNS}
kinds = pytest.mark.parametrize("kind", FAMILIES)
OLD = NOON - timedelta(days=200)
SHARED = ("item_id", "transaction_id", "claim_amount", "respond_by_date", "creation_date", "last_modified_date")
COLUMNS = {
    "case": (*SHARED, "buyer", "seller", "case_status_enum", "case_type", "return_id", "refund_amount"),
    "inquiry": (*SHARED, "buyer", "seller", "inquiry_status_enum", "item_title", "refund_amount"),
    "return": (
        *(*SHARED, "buyer_login_name", "seller_login_name", "order_id", "state", "status", "reason", "case_id"),
        *("current_type", "seller_actual_refund_amount", "return_close_date"),
    ),
}


def shown(at: datetime | None) -> datetime | None:
    """As eBay's JSON has it."""
    return datetime.fromisoformat(stamp(at)) if at else None


def amount(cents: int) -> Decimal | None:
    return Decimal(cents) / 100 if cents else None


def expected(thing: Thing) -> dict[str, Any]:
    """What the columns of COLUMNS must hold, by the world's own truth."""
    body = thing.body
    assert body
    refunded = amount(sum(refund["cents"] for refund in body["refunds"]))
    of_return = thing.kind == "return"
    values = body | {
        "claim_amount": amount(body["cents"]),
        "respond_by_date": shown(body["respond_by"]),
        "creation_date": shown(thing.created),
        "last_modified_date": shown(body["history"][-1]["at"] if of_return else body["modified"]),
        "seller": thing.seller.username,
        "buyer_login_name": body["buyer"],
        "seller_login_name": thing.seller.username,
        "item_title": body["title"],
        "case_type": body["type"] if thing.kind == "case" else None,
        "current_type": body.get("type"),
        "reason": body["reason"][0] if of_return else None,
        "refund_amount": refunded,
        "seller_actual_refund_amount": refunded,
        "return_close_date": shown(body["closed"]),
        "case_status_enum": body["status"],
        "inquiry_status_enum": body["status"],
    }
    return {name: values[name] for name in COLUMNS[thing.kind]}


def stored(query: Query, kind: str) -> dict[str, dict[str, Any]]:
    names = COLUMNS[kind]
    rows = query(f"SELECT {KEYS[kind]}, {', '.join(names)} FROM ebay_{FAMILIES[kind]}")
    return {key: dict(zip(names, values, strict=True)) for key, *values in rows}


def truth(b: Any, kind: str) -> dict[str, dict[str, Any]]:
    [seller] = b.sim.world.sellers
    return {key: expected(thing) for key, thing in b.sim.world.things(seller, kind).items()}


def world(bench: Benches, kind: str, count: int = 0, **options: Any) -> Any:
    return bench(orders_per_seller=0, sellers=1, things={kind: count}, clock=ManualClock(NOON), **options)


def born(b: Any, kind: str, at: datetime = NOON - timedelta(days=1), *, closed: bool = False) -> Thing:
    [seller] = b.sim.world.sellers
    return births.born(b.sim.world, seller, kind, at, closed=closed)


def details(b: Any) -> list[str]:
    return [entry.path for entry in b.sim.journal.of("/post-order") if not entry.path.endswith("/search")]


def searches(b: Any) -> list[Any]:
    return [entry for entry in b.sim.journal.of("/post-order") if entry.path.endswith("/search")]


@kinds
async def test_a_first_run_and_the_next_one_over_a_world_that_stands_still(
    bench: Benches, query: Query, kind: str
) -> None:
    """The world's truth in the columns; then no row is written, and one search is enough for what is young. Older open
    records come with a list or a search; one that would be alone there is read by its id."""
    b = bench(orders_per_seller=30, sellers=1, things={kind: 40})
    account, family = await b.add(), FAMILIES[kind]
    async with b.worker(account) as worker:
        [first] = await run(worker, [discover()[family]], RunOptions("run"))
        there = truth(b, kind)
        assert (first.status, first.stored, first.quarantined) == ("completed", len(there), 0)
        assert stored(query, kind) == there
        rows = f"SELECT {KEYS[kind]}, updated_at, xmin::text FROM ebay_{family} ORDER BY 1"
        before = query(rows)
        b.sim.journal.clear()
        [second] = await run(worker, [discover()[family]], RunOptions("run"))
    final = discover()[family].detail.final
    still_open = [key for key, row in there.items() if row[STATUSES[kind]] not in final]
    assert 0 < len(still_open) < len(there)
    old = {key for key in still_open if there[key]["creation_date"] < b.sim.world.now() - timedelta(days=90)}
    assert old
    by_id = {path.rpartition("/")[2] for path in details(b)}
    assert (second.stored, second.quarantined, second.calls) == (0, 0, len(searches(b)) + len(by_id))
    assert by_id <= old
    assert len(searches(b)) + len(by_id) <= 1 + len(old)
    assert query(rows) == before
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]


@kinds
async def test_a_run_counts_what_is_normalized_in_full_and_in_part(bench: Benches, query: Query, kind: str) -> None:
    b = world(bench, kind)
    whole, odd = born(b, kind), born(b, kind)
    b.sim.world.put_thing(odd, odd.body | {"over": {"search": {"buyer": None, "buyerLoginName": None}}})
    over = {"buyerLoginName": None, "creationDate": {"value": "yesterday"}, "inquiryDetails": [1], "itemDetail": 7}
    b.sim.world.put_thing(whole, whole.body | {"over": {"detail": over}})
    facts = (await b.run(await b.add(), FAMILIES[kind])).facts()
    assert facts["normalized_full"] + facts["normalized_partial"] == 2
    assert facts["normalized_partial"] == (kind != "return"), "a return's answer by id names the buyer, too"
    assert facts["normalization_errors"] == facts["quarantined"] == facts["incomplete"] == 0, "odd fields are no errors"
    assert query("SELECT count(*) FROM ebay_quarantine") == [(0,)]
    assert set(stored(query, kind)) == {whole.id, odd.id}


@pytest.mark.parametrize(("kind", "move"), [(kind, move) for kind in FAMILIES for move in sorted(MOVES[kind])])
async def test_every_move_becomes_one_event_and_the_newest_truth(
    bench: Benches, query: Query, kind: str, move: str
) -> None:
    b = world(bench, kind, 3)
    thing = born(b, kind, NOON - timedelta(days=60), closed=True) if move == "appeal" else born(b, kind)
    account, family = await b.add(), FAMILIES[kind]
    await b.run(account, family)
    b.sim.world.clock.advance(600)
    b.sim.world.move_thing(thing, move)
    for _ in range(2):
        assert (await b.run(account, family)).status == "completed"
    if (kind, move) == ("return", "message"):  # an entry in the history alone, which no list shows
        b.sim.world.clock.advance(AGE.total_seconds())
        await b.run(account, family)
    assert stored(query, kind) == truth(b, kind)
    assert query("SELECT count(*) FROM ebay_events WHERE entity_key = %s", thing.id) == [(1,)]


@pytest.mark.parametrize("return_detail", ["both", "only_detail"])
@pytest.mark.parametrize(("kind", "move"), [(k, m) for k in FAMILIES for m in ("advance", "refund")])
async def test_an_open_row_that_the_search_no_longer_shows_stays_true(
    bench: Benches, query: Query, kind: str, move: str, return_detail: str
) -> None:
    b = world(bench, kind, return_detail=return_detail)
    thing = born(b, kind, OLD)
    account, family = await b.add(), FAMILIES[kind]
    await b.run(account, family)
    for _ in range(4):
        b.sim.world.clock.advance(600)
        b.sim.world.move_thing(thing, move)
        summary = await b.run(account, family)
        assert (summary.status, summary.incomplete) == ("completed", 0)
        assert stored(query, kind) == truth(b, kind)
        if thing.body["closed"]:
            break
    assert (await b.run(account, family)).stored == 0
    [(raw,)] = query(f"SELECT raw_payload FROM ebay_{family}")
    assert "detail" in raw


@kinds
async def test_where_a_detail_fails_the_search_is_believed_until_it_comes(
    bench: Benches, query: Query, kind: str
) -> None:
    b = world(bench, kind)
    thing, other = born(b, kind), born(b, kind)
    account, family = await b.add(), FAMILIES[kind]
    await b.run(account, family)
    b.sim.world.clock.advance(600)
    b.sim.world.move_thing(thing, "advance")
    b.sim.faults.add("status", path=f"/{thing.id}$", status=500, times=None)
    summary = await b.run(account, family)
    assert (summary.status, summary.incomplete) == ("completed", 1)
    now, there = stored(query, kind)[thing.id], truth(b, kind)
    for name in ("respond_by_date", STATUSES[kind]):
        assert now[name] == there[thing.id][name]
    [(raw,)] = query(f"SELECT raw_payload FROM ebay_{family} WHERE {KEYS[kind]} = %s", thing.id)
    assert raw["earlier"]["detail"]
    b.sim.faults.clear()
    b.sim.journal.clear()
    await b.run(account, family)
    assert not [path for path in details(b) if path.endswith(thing.id)], "its time has not come"
    query("UPDATE ebay_pending_detail SET next_at = now() RETURNING 1")
    await b.run(account, family)
    assert stored(query, kind) == truth(b, kind)
    assert set(there) == {thing.id, other.id}
    [(raw,)] = query(f"SELECT raw_payload FROM ebay_{family} WHERE {KEYS[kind]} = %s", thing.id)
    assert "earlier" not in raw


@kinds
@pytest.mark.parametrize("counts", ["row", "page"])
async def test_more_than_a_page_at_once_comes_whole_however_ebay_counts(
    bench: Benches, query: Query, kind: str, counts: str
) -> None:
    """240 within an hour are cut in time; 230 of one second are paged."""
    b = world(bench, kind, post_order_offset=counts)
    [seller] = b.sim.world.sellers
    for number in range(240):
        b.sim.world.add_thing(seller, kind, at=OLD + timedelta(seconds=15 * number))
    for _ in range(230 if kind == "case" else 0):
        b.sim.world.add_thing(seller, kind, at=OLD - timedelta(days=5))
    summary = await b.run(await b.add(), FAMILIES[kind])
    assert summary.status == "completed"
    assert set(stored(query, kind)) == set(truth(b, kind))


@kinds
async def test_a_filter_that_ebay_does_not_know_is_an_error_and_stores_nothing(
    bench: Benches, query: Query, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    b = world(bench, kind, 20)
    account, family = await b.add(), FAMILIES[kind]
    misspelt = replace(RESOURCES[kind], since="item_creation_date_range_from", until="item_creation_date_range_to")
    monkeypatch.setitem(sources(), family, lambda api: post_order.search(api, misspelt))
    summary = await b.run(account, family)
    assert (summary.status, summary.failure.code) == ("error", "not_understood")
    assert "does not know the filter" in summary.failure.message
    assert stored(query, kind) == {}
    assert query("SELECT cursor_value FROM ebay_sync_state") == [(None,)]


@kinds
@pytest.mark.parametrize("now", [datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 8, 31, 12, tzinfo=UTC)])
async def test_a_first_run_reaches_back_nearly_18_months_in_slices_of_90_days(
    bench: Benches, query: Query, kind: str, now: datetime
) -> None:
    """The simulator refuses what is wider or older; 18 months are 546 days on the first of March."""
    b = bench(orders_per_seller=0, sellers=1, clock=ManualClock(now))
    edge = born(b, kind, now - timedelta(days=544))
    account = await b.add()
    assert (await b.run(account, FAMILIES[kind])).status == "completed"
    assert set(stored(query, kind)) == {edge.id}
    assert {entry.status for entry in searches(b)} == {200}
    assert len(searches(b)) <= 10
    assert (await b.run(account, FAMILIES[kind], walk="backfill", days=900)).status == "completed"


@kinds
@pytest.mark.parametrize("envelope", ["errorMessage", "error", "errors"])
async def test_a_record_that_is_gone_is_told_in_any_envelope_and_stops_no_other(
    bench: Benches, query: Query, kind: str, envelope: str
) -> None:
    b = world(bench, kind, post_order_errors=envelope)
    gone, other = born(b, kind, OLD), born(b, kind)
    account, family = await b.add(), FAMILIES[kind]
    await b.run(account, family)
    b.sim.world.clock.advance(600)
    b.sim.world.put_thing(gone, None)
    b.sim.world.move_thing(other, "advance")
    summary = await b.run(account, family)
    assert (summary.status, summary.incomplete) == ("completed", 1)
    [(key, reason)] = query("SELECT entity_key, reason FROM ebay_pending_detail WHERE next_at IS NOT NULL")
    assert key == gone.id
    assert reason.endswith(f"/{gone.id}: eBay answered 404 1404")
    assert stored(query, kind)[other.id] == expected(other)


@kinds
async def test_the_sandbox_is_skipped_and_says_why(bench: Benches, kind: str) -> None:
    b = world(bench, kind)
    async with b.worker(replace(await b.add(), environment="simulator")) as worker:
        sandbox = replace(worker, account=replace(worker.account, environment="sandbox"))
        [summary] = await run(sandbox, [discover()[FAMILIES[kind]]], RunOptions("run"))
    assert (summary.status, summary.reason) == ("skipped", f"eBay has no {FAMILIES[kind]} in its sandbox")
    assert searches(b) == []


@kinds
async def test_a_record_with_an_unreadable_date_goes_to_quarantine_and_stops_no_other(
    bench: Benches, query: Query, kind: str
) -> None:
    b = world(bench, kind)
    bad, good = born(b, kind), born(b, kind)
    never = {"value": "2026-02-30T25:61:00.000Z"}
    over = {"creationInfo": {"creationDate": never}} if kind == "return" else {"creationDate": never}
    b.sim.world.put_thing(bad, bad.body | {"over": {"search": over}})
    summary = await b.run(await b.add(), FAMILIES[kind])
    assert (summary.status, summary.stored, summary.quarantined) == ("completed", 1, 1)
    assert set(stored(query, kind)) == {good.id}
    [(reason, payload)] = query("SELECT reason, payload FROM ebay_quarantine")
    assert "creationDate" in reason
    assert bad.id.encode() in bytes(payload)


@kinds
@pytest.mark.parametrize("moment", ["0001-01-01", "1970-01-01", "1999-01-01", "9999-01-01"])
async def test_two_odd_creation_dates_stop_no_other_record(
    bench: Benches, query: Query, kind: str, moment: str
) -> None:
    b = world(bench, kind)
    odd, good = [born(b, kind) for _ in range(2)], [born(b, kind) for _ in range(3)]
    created = {"value": f"{moment}T00:00:00.000Z"}
    over = {"creationInfo": {"creationDate": created}} if kind == "return" else {"creationDate": created}
    for thing in odd:
        b.sim.world.put_thing(thing, thing.body | {"over": {"search": over}})
    summary = await b.run(await b.add(), FAMILIES[kind])
    assert (summary.status, summary.stored + summary.quarantined) == ("completed", 5)
    assert set(stored(query, kind)) >= {each.id for each in good}


def put(family: str, **versions: Any) -> dict[str, Any]:
    given = {name: json.dumps(part).encode() for name, part in versions.items()}
    made: dict[str, Any] = json.loads(discover()[family].merge.compose(RecordVersions(**given)))
    return made


def test_a_null_or_missing_part_overwrites_nothing() -> None:
    listed, summary, detail = {"returnId": "1", "state": "A"}, {"returnId": 1, "state": "A"}, {"files": []}
    known = put("returns", listed=listed, detail={"summary": summary, "detail": detail})
    assert known == {"listed": listed, "summary": summary, "detail": detail}
    assert put("returns", stored=known, detail={"summary": None, "detail": {"files": [1]}}) == known | {
        "detail": {"files": [1]}
    }
    assert put("returns", stored=known, detail={"summary": summary}) == known
    assert put("returns", stored=known, listed=listed) == known
    assert put("returns", stored=known, listed=listed | {"state": "B"}) == {
        "listed": listed | {"state": "B"},
        "earlier": {"summary": summary, "detail": detail},
    }
    only = put("returns", stored=known, listed=listed | {"state": "B"}, detail={"detail": {"files": [2]}})
    assert only == {"listed": listed | {"state": "B"}, "detail": {"files": [2]}, "earlier": {"summary": summary}}


SAMPLES = (
    ("cases", "post-order-case-search.json", "post-order-case-detail.synthetic.json"),
    ("inquiries", "post-order-inquiry-search.json", "post-order-inquiry-detail-1.json"),
    ("inquiries", "post-order-search-empty-sentinel.synthetic.json", "post-order-inquiry-detail-2.json"),
    ("returns", "post-order-return-search.json", "post-order-return-detail.json"),
    (
        *("returns", "post-order-search-empty-sentinel.synthetic.json"),
        "post-order-return-detail-open-with-closeInfo.synthetic.json",
    ),
)


def test_every_sample_record_of_ebay_becomes_a_row(shared: Path) -> None:
    folder, found = shared / "ebay" / "samples" / "trading-postorder", []
    for name, search, detail in SAMPLES:
        family = discover()[name]
        members = json.loads((folder / search).read_text())["members"]
        given = [RecordVersions(listed=json.dumps(member).encode()) for member in members]
        for versions in (*given, RecordVersions(detail=(folder / detail).read_bytes())):
            [row] = family.rows(family.merge.compose(versions))[family.table.name]
            assert row["creation_date"]
            assert row["item_id"]
            assert row[family.detail.open_column]
            found.append((name, row))
    assert [name for name, _ in found] == ["cases"] * 2 + ["inquiries"] * 3 + ["returns"] * 5
    closed = found[-2][1]
    assert (closed["state"], closed["seller_actual_refund_amount"]) == ("CLOSED", Decimal("58.67"))
    assert closed["last_modified_date"] == closed["return_close_date"] == datetime(2020, 8, 14, 23, 17, 10, tzinfo=UTC)
    assert found[-1][1]["return_close_date"] is None
    assert (found[0][1]["claim_amount"], found[1][1]["claim_amount"]) == (Decimal("81.0"), Decimal("42.50"))
