"""Records that are not final: which calls a run makes for them, and when a change of them is seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ebaysync.families import discover
from ebaysync.families.family import AGE, AGE_IF_DUE
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.model import Thing
from ebaysync.sync.open_records import BY_ID, spans
from ebaysync.sync.slices import Slice

from .births import born, is_closed

Query = Callable[..., list[Any]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FAMILIES = {"case": "cases", "inquiry": "inquiries", "return": "returns", "dispute": "disputes"}
BY_ID_PATHS = ("/post-order/v2/", "/sell/fulfillment/v1/payment_dispute/")
HALF_HOUR = 1800


class Shop:
    """One seller of one kind of record, and the calls of the last run."""

    def __init__(self, bench: Any, account: Any, kind: str) -> None:
        self.bench, self.account, self.kind = bench, account, kind
        self.world = bench.sim.world
        self.known: Mapping[str, int] = {}

    def born(self, at: datetime) -> Thing:
        [seller] = self.world.sellers
        return born(self.world, seller, self.kind, at)

    def change(self, thing: Thing, **body: Any) -> None:
        self.world.put_thing(thing, thing.body | body)

    async def run(self, seconds: float = HALF_HOUR) -> Any:
        self.world.clock.advance(seconds)
        self.bench.sim.journal.clear()
        return await self.bench.run(self.account, FAMILIES[self.kind])

    @property
    def asked(self) -> Counter[str]:
        """The calls of the last run, without those that a new token repeats: searches, lists of what is open, and
        calls by id."""
        found: Counter[str] = Counter()
        for entry in (entry for entry in self.bench.sim.journal.of("/") if entry.status != 401):
            if not entry.path.endswith(("/search", "_summary")):
                found[entry.path.rpartition("/")[2]] += entry.path.startswith(BY_ID_PATHS)
            elif {"return_state", "payment_dispute_status"} & entry.query.keys():
                found["open"] += 1
            else:
                found["search"] += 1
        return +found


@pytest.fixture
def shop(bench: Callable[..., Any]) -> Callable[..., Any]:
    async def make(kind: str, **options: Any) -> Shop:
        b = bench(orders_per_seller=1, sellers=1, clock=ManualClock(NOON), **options)
        return Shop(b, await b.add(), kind)

    return make


kinds = pytest.mark.parametrize("kind", FAMILIES)


@kinds
async def test_open_records_of_the_last_90_days_cost_no_call_of_their_own(shop: Any, kind: str) -> None:
    s = await shop(kind)
    for number in range(30):
        s.born(NOON - number * 2 * DAY)
    first = await s.run()
    assert first.calls >= 31
    summary = await s.run()
    assert s.asked == {"search": 1}
    assert (summary.calls, summary.stored, summary.caught_up) == (1, 0, True)


@kinds
@pytest.mark.parametrize("days", [10, 200])
async def test_a_change_that_a_list_shows_brings_the_detail_in_the_same_run(
    shop: Any, query: Query, kind: str, days: int
) -> None:
    s = await shop(kind)
    things = [s.born(NOON - days * DAY - number * DAY) for number in range(3)]
    await s.run()
    s.world.move_thing(things[1], "need" if kind == "dispute" else "advance")
    await s.run()
    assert s.asked[things[1].id] == 1
    assert not {things[0].id, things[2].id} & s.asked.keys()
    assert query("SELECT entity_key FROM ebay_events") == [(things[1].id,)]


@pytest.mark.parametrize("kind", ["return", "dispute"])
async def test_older_open_records_come_with_the_list_of_what_is_open(shop: Any, kind: str) -> None:
    s = await shop(kind)
    for number in range(12):
        s.born(NOON - (100 + 30 * number) * DAY)
    await s.run()
    summary = await s.run()
    assert s.asked == {"search": 1, "open": 1}
    assert summary.stored == 0


@pytest.mark.parametrize("kind", ["case", "inquiry"])
async def test_without_such_a_list_a_search_shows_several_and_one_alone_is_read_by_id(shop: Any, kind: str) -> None:
    s = await shop(kind)
    for days in (100, 150, 180, 300, 350):
        s.born(NOON - days * DAY)
    alone = s.born(NOON - 450 * DAY)
    await s.run()
    await s.run()
    assert s.asked == {"search": 3, alone.id: 1}


async def test_one_older_open_record_is_read_by_id_for_it_costs_the_same(shop: Any) -> None:
    s = await shop("return")
    old = s.born(NOON - 200 * DAY)
    await s.run()
    await s.run()
    assert s.asked == {"search": 1, old.id: 1}


async def test_an_open_record_that_the_list_no_longer_has_is_read_at_once(shop: Any, query: Query) -> None:
    s = await shop("return")
    things = [s.born(NOON - (200 + number) * DAY) for number in range(3)]
    await s.run()
    s.change(things[0], closed=NOON, state="CLOSED", status="CLOSED", respond_by=None)
    await s.run()
    assert s.asked == {"search": 1, "open": 1, things[0].id: 1}
    assert query("SELECT return_id FROM ebay_returns WHERE state = 'CLOSED'") == [(things[0].id,)]
    await s.run()
    assert s.asked == {"search": 1, "open": 1}


@pytest.mark.parametrize("shows", ["started", "ignored"])
async def test_whatever_the_list_means_no_open_record_is_forgotten(shop: Any, query: Query, shows: str) -> None:
    s = await shop("return", open_returns=shows)
    things = [s.born(NOON - (200 + number) * DAY) for number in range(2 * BY_ID)]
    await s.run()
    for thing in things:
        s.change(thing, status="WAITING_FOR_RETURN_LABEL", state="RETURN_LABEL_PENDING")
    await s.run()
    assert query("SELECT DISTINCT state FROM ebay_returns") == [("RETURN_LABEL_PENDING",)]
    await s.run()
    assert s.asked == {"search": 1 + (shows == "started"), "open": 1}, (
        "what the list leaves out, a search around it shows"
    )


async def test_what_no_list_shows_is_read_by_id_some_in_each_run(shop: Any, query: Query) -> None:
    s = await shop("case")
    things = [s.born(NOON - (200 + number) * DAY) for number in range(2 * BY_ID)]
    await s.run()
    s.bench.sim.faults.add("status", path="casemanagement/search$", query="2026-0[45]", status=500, times=None)
    for thing in things:
        s.change(thing, status="WAITING_CS", modified=s.world.now())
    seen: set[str] = set()
    for _ in range(2):
        summary = await s.run()
        assert (summary.status, summary.caught_up) == ("completed", False), "the search around them fails"
        by_id = s.asked.keys() - {"search"}
        assert len(by_id) == BY_ID
        seen |= by_id
    assert seen == {thing.id for thing in things}
    assert query("SELECT DISTINCT case_status_enum FROM ebay_cases") == [("WAITING_CS",)]


async def test_a_list_that_fails_costs_no_record_and_is_told(shop: Any, query: Query) -> None:
    s = await shop("return")
    things = [s.born(NOON - (200 + number) * DAY) for number in range(3)]
    await s.run()
    s.world.move_thing(things[2], "advance")
    s.bench.sim.faults.add("status", path="/return/search$", query="return_state", status=500, times=None)
    summary = await s.run()
    assert (summary.status, summary.caught_up) == ("completed", False)
    assert summary.reason.startswith("open records are read by id: ")
    assert s.asked[things[2].id] == 1
    [(state,)] = query("SELECT state FROM ebay_returns WHERE return_id = %s", things[2].id)
    assert state == things[2].body["state"]


# -- what no list shows


def hidden(s: Shop, thing: Thing, mark: str) -> None:
    """A change of the detail alone."""
    if s.kind == "dispute":
        s.change(thing, note=mark)
    else:
        s.change(thing, over={"detail": {"newField": mark}})


@kinds
@pytest.mark.parametrize("must_act", [True, False])
async def test_a_change_that_no_list_shows_is_seen_when_the_detail_has_its_age(
    shop: Any, query: Query, kind: str, must_act: bool
) -> None:
    s = await shop(kind)
    thing = s.born(NOON - 10 * DAY)
    if kind == "dispute":
        s.change(thing, paymentDisputeStatus="ACTION_NEEDED" if must_act else "OPEN")
        s.world.put_thing(thing, {k: v for k, v in thing.body.items() if must_act or k != "respondByDate"})
        if must_act:
            s.change(thing, respondByDate="2026-12-20T12:00:00.000Z")
    else:
        s.change(thing, respond_by=NOON + 30 * DAY if must_act else None)
    await s.run()
    hidden(s, thing, "seen?")
    age, runs = AGE_IF_DUE if must_act else AGE, 0
    while not query("SELECT 1 FROM ebay_events") and runs < 100:
        await s.run()
        runs += 1
    assert 0.5 <= runs * timedelta(seconds=HALF_HOUR) / age <= 1 + timedelta(seconds=HALF_HOUR) / age
    assert s.asked[thing.id] == 1


async def test_a_detail_is_read_again_when_a_time_in_the_record_has_passed(shop: Any, query: Query) -> None:
    s = await shop("case")
    thing = s.born(NOON - 10 * DAY)
    s.change(thing, respond_by=NOON + timedelta(minutes=95))
    await s.run()
    hidden(s, thing, "seen?")
    for _ in range(2):
        await s.run()
        assert s.asked == {"search": 1}
    await s.run()
    assert s.asked == {"search": 1, thing.id: 1}
    assert len(query("SELECT 1 FROM ebay_events")) == 1


async def test_details_that_were_read_together_are_read_again_spread_over_the_runs(shop: Any) -> None:
    s = await shop("return")
    things = [s.born(NOON - number * 2 * DAY) for number in range(30)]
    for thing in things:
        s.change(thing, respond_by=None)
    await s.run()
    calls: list[Counter[str]] = []
    for _ in range(48):
        await s.run()
        calls.append(s.asked)
    by_id = [sum(count for name, count in asked.items() if name != "search") for asked in calls]
    assert max(by_id) <= 5
    assert {name for asked in calls for name in asked} == {"search", *(thing.id for thing in things)}


async def test_patience_lets_details_become_older(shop: Any) -> None:
    s = await shop("return")
    thing = s.born(NOON - 10 * DAY)
    s.change(thing, respond_by=None)
    await s.bench.run(s.account, "returns", patience={"returns": 2})
    runs = 0
    while runs < 200 and (thing.id not in s.asked or not runs):
        await s.run()
        runs += 1
    assert 1 <= runs * timedelta(seconds=HALF_HOUR) / AGE <= 2 + timedelta(seconds=HALF_HOUR) / AGE


# -- what is kept for the plan


async def test_the_state_has_the_calls_of_a_run_apart_from_those_of_a_day(shop: Any, query: Query) -> None:
    s = await shop("return")
    for number in range(6):
        s.change(s.born(NOON - number * 2 * DAY), respond_by=NOON + 30 * DAY if number < 2 else None)
    for _ in range(3):
        await s.run(60)
        query("UPDATE ebay_pending_detail SET again_at = '2020-01-01Z'")
    assert sum(s.asked.values()) == 7
    [(per_run, per_day)] = query("SELECT calls_per_run, calls_per_day FROM ebay_sync_state")
    assert per_run == {"post_order.return": 1.0}
    assert per_day == {"sweep": {}, "details": {"post_order.return": 2 * 4 + 4}}


@kinds
async def test_a_closed_record_is_read_again_no_more(shop: Any, query: Query, kind: str) -> None:
    s = await shop(kind)
    thing = s.born(NOON - 10 * DAY)
    await s.run()
    assert query("SELECT again_at IS NOT NULL FROM ebay_pending_detail") == [(True,)]
    for _ in range(20):
        if not is_closed(thing):
            s.world.move_thing(thing, "close" if kind == "dispute" else "advance")
    await s.run()
    column = discover()[FAMILIES[kind]].detail.open_column
    assert query(f"SELECT {column} FROM ebay_{FAMILIES[kind]}") != [("OPEN",)]
    assert query("SELECT again_at, next_at FROM ebay_pending_detail") == [(None, None)]
    await s.run(2 * AGE.total_seconds())
    assert s.asked == {"search": 1}


def test_spans_hold_several_births_each_and_leave_out_one_that_is_alone() -> None:
    at, minute, wide = NOON, timedelta(minutes=1), 90 * DAY
    assert spans([], wide) == spans([at], wide) == []
    assert spans([at, at - 50 * DAY], wide) == [Slice(at - 50 * DAY - minute, at + minute)]
    assert spans([at, at - 90 * DAY], wide) == []
    many = [at - days * DAY for days in (0, 10, 100, 120, 400)]
    assert spans(many, wide) == [
        Slice(at - 120 * DAY - minute, at - 100 * DAY + minute),
        Slice(at - 10 * DAY - minute, at + minute),
    ]
    assert all(span.width <= wide for span in spans([at - hours * timedelta(hours=1) for hours in range(5000)], wide))


async def test_a_detail_that_was_read_by_a_wrong_clock_is_read_again(shop: Any, query: Query) -> None:
    s = await shop("case")
    thing = s.born(NOON - 10 * DAY)
    await s.run()
    query(
        "UPDATE ebay_pending_detail SET read_at = read_at + interval '1 year', again_at = again_at + interval '1 year'"
    )
    await s.run()
    assert s.asked == {"search": 1, thing.id: 1}
    await s.run()
    assert s.asked == {"search": 1}
