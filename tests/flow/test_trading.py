"""Messages, listings on sale and purchases: whole runs against the simulated Trading API."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ebaysync.ebay import trading_lists as client
from ebaysync.sim.apis import trading, trading_listings, trading_lists, trading_messages
from ebaysync.sim.calls import Answer
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.faults_trading import SPOILERS
from ebaysync.sim.kinds.messages import facts

Query = Callable[..., list[Any]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LOST_PARSERS = ("entity", "ampersand")
BASE_SCOPE = "https://api.ebay.com/oauth/api_scope"
STRIPPED = ("control", "control_reference", "nul_reference", "surrogate_reference", "utf8")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def opened(
    bench: Callable[..., Any], clock: ManualClock, undocumented: Callable[..., list[Any]]
) -> Iterator[Callable[..., Any]]:
    """A bench of one seller without orders. Whatever a test is of: what its runs send is in eBay's documents."""
    made = []

    def make(**options: Any) -> Any:
        made.append(bench(sellers=1, orders_per_seller=0, clock=clock, **options))
        return made[-1]

    yield make
    for each in made:
        assert each.sim.world.undeclared == []
        assert undocumented(each.sim.journal) == []


def calls(b: Any, name: str, **query: str) -> list[Any]:
    """The calls of that name in the journal, with those parameters."""
    found = [entry for entry in b.sim.journal if entry.query.get("call") == name]
    return [entry for entry in found if query.items() <= entry.query.items()]


def events(query: Query, table: str) -> list[tuple[str, str, list[str]]]:
    told = query("SELECT entity_key, event, changes FROM ebay_events WHERE table_name = %s ORDER BY id", table)
    return [(key, event, sorted(changes)) for key, event, changes in told]


def behind(monkeypatch: pytest.MonkeyPatch, name: str, acts: dict[int, Callable[[], Any]]) -> None:
    """Let something happen right after the simulator has answered a call of that name for the n-th time."""
    handler, answered = trading.HANDLERS[name], Counter[str]()

    def handle(*arguments: Any) -> Answer:
        answer = handler(*arguments)
        answered[name] += 1
        acts.get(answered[name], lambda: None)()
        return answer

    monkeypatch.setitem(trading.HANDLERS, name, handle)


def mail(b: Any, count: int, sent: datetime, *, first: int = 500, **body: Any) -> list[str]:
    [seller] = b.sim.world.sellers
    ids = [str(first + number) for number in range(count)]
    for each in ids:
        b.sim.world.add_thing(seller, "message", at=sent, thing_id=each, body=body)
    return ids


# ---- messages


@pytest.mark.parametrize("past_end", ["empty", "last"])
@pytest.mark.parametrize("cap", [25, 50, 200])
async def test_every_message_of_every_folder_is_stored_whatever_a_page_may_hold(
    opened: Callable[..., Any], query: Query, clock: ManualClock, cap: int, past_end: str
) -> None:
    b = opened(things={"message": 300}, messages_page_cap=cap, messages_past_end=past_end)
    b = b.with_settings(initial_backfill_days=364)
    [seller] = b.sim.world.sellers
    mail(b, 60, NOON - timedelta(days=3), folder=0)  # more than a page within one second
    mail(b, cap, NOON - timedelta(days=4), first=900, folder=3)  # a page that is full, and nothing behind it
    account = await b.add()
    clock.advance(60)
    summary = await b.run(account, "messages")
    there = b.sim.world.things(seller, "message")
    assert (summary.status, summary.caught_up, summary.quarantined) == ("completed", True, 0)
    stored = query("SELECT message_id, folder_id, text, content FROM ebay_messages")
    assert {row[0] for row in stored} == set(there)
    assert {row[1] for row in stored} == {"0", "1", "2", "3"}
    assert all(text is not None and content for _, _, text, content in stored)


async def test_a_body_is_asked_for_once_and_ten_at_a_time(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened(things={"message": 95}, messages_inbox_summary=True).with_settings(initial_backfill_days=364)
    account = await b.add()
    clock.advance(60)
    await b.run(account, "messages")
    bodies = [len(entry.rows) for entry in calls(b, "GetMyMessages", DetailLevel="ReturnMessages")]
    assert (sum(bodies), max(bodies), len(bodies) < 13) == (95, 10, True)
    for _ in range(2):
        clock.advance(600)
        again = await b.run(account, "messages", sweep=True)
        assert (again.stored, again.unchanged > 0) == (0, True)
    assert len(calls(b, "GetMyMessages", DetailLevel="ReturnMessages")) == len(bodies)


async def test_a_body_that_is_missing_is_asked_for_again_ever_more_seldom_and_never_given_up(
    opened: Callable[..., Any], query: Query, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = opened()
    ids, hidden = mail(b, 5, NOON - timedelta(hours=1)), {"502"}
    wanted = trading_messages._wanted

    def shown(thing: Any, seller: Any, request: Any) -> bool:
        return wanted(thing, seller, request) and not ("MessageIDs.MessageID" in request.values and thing.id in hidden)

    monkeypatch.setattr(trading_messages, "_wanted", shown)
    account = await b.add()
    clock.advance(60)
    first = await b.run(account, "messages")
    assert (first.status, first.stored, first.incomplete) == ("completed", 5, 1)
    assert query("SELECT message_id FROM ebay_messages WHERE text IS NULL") == [("502",)]
    assert query("SELECT entity_key, attempts FROM ebay_pending_detail") == [("502", 1)]
    await b.run(account, "messages")  # too early
    assert query("SELECT attempts FROM ebay_pending_detail") == [(1,)]
    asked = []
    for _ in range(12):
        clock.advance(7200)
        query("UPDATE ebay_pending_detail SET next_at = now() - interval '1 s' WHERE next_at IS NOT NULL")
        await b.run(account, "messages", sweep=True)
        asked.append(query("SELECT attempts FROM ebay_pending_detail")[0][0])
    assert asked == [*range(2, 14)]
    assert {row[0] for row in query("SELECT message_id FROM ebay_messages")} == set(ids)


async def test_a_body_that_comes_later_is_stored_and_the_rest_of_the_message_stays(
    opened: Callable[..., Any], query: Query, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ItemID among it, which eBay documents for headers alone."""
    b = opened()
    mail(b, 3, NOON - timedelta(hours=1), item="270000000000", type="AskSellerQuestion")
    wanted, hidden = trading_messages._wanted, {"501"}

    def shown(thing: Any, seller: Any, request: Any) -> bool:
        return wanted(thing, seller, request) and not ("MessageIDs.MessageID" in request.values and thing.id in hidden)

    monkeypatch.setattr(trading_messages, "_wanted", shown)
    account = await b.add()
    clock.advance(60)
    await b.run(account, "messages")
    hidden.clear()
    clock.advance(6 * 3600)  # beyond the overlap
    query("UPDATE ebay_pending_detail SET next_at = now() - interval '1 s'")
    second = await b.run(account, "messages")
    assert second.stored == 1
    rows = query("SELECT item_id, raw_payload ->> 'ItemID', text IS NULL FROM ebay_messages")
    assert rows == [("270000000000", "270000000000", False)] * 3
    assert query("SELECT attempts FROM ebay_pending_detail") == [(0,)]
    assert events(query, "ebay_messages") == []


async def test_flags_and_moves_are_found_by_the_sweep_with_one_event_each(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    ids = mail(b, 6, NOON - timedelta(days=40), folder=0, read=False, flagged=False, replied=False, high=False)
    [seller] = b.sim.world.sellers
    account = await b.add()
    clock.advance(60)
    await b.run(account, "messages")
    things = b.sim.world.things(seller, "message")
    for each, move in zip(ids, ("flag", "read", "reply", "move", "delete"), strict=False):
        b.sim.world.move_thing(things[each], move)
    clock.advance(6 * 3600)
    await b.run(account, "messages", sweep=True)
    await b.run(account, "messages", sweep=True)
    assert sorted(events(query, "ebay_messages")) == [
        ("500", "changed", ["flagged"]),
        ("501", "changed", ["read"]),
        ("502", "changed", ["read", "replied"]),
        ("503", "changed", ["Folder", "folder_id"]),
    ]
    assert query("SELECT count(*) FROM ebay_messages WHERE text IS NOT NULL") == [(6,)]  # the deleted one stays, too
    assert len(calls(b, "GetMyMessages", DetailLevel="ReturnMessages")) == 1


async def test_without_asking_the_sweep_comes_round_by_itself(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened(things={"message": 400})
    [seller] = b.sim.world.sellers
    account = await b.add()
    clock.advance(60)
    await b.run(account, "messages")
    young = {
        key: thing
        for key, thing in b.sim.world.things(seller, "message").items()
        if NOON - thing.created < timedelta(days=85) and not facts(key, thing.body, seller)["high"]  # flagged by itself
    }
    for thing in young.values():
        b.sim.world.move_thing(thing, "flag")
    for _ in range(20):
        clock.advance(600)
        await b.run(account, "messages")
    assert {key for key, _, _ in events(query, "ebay_messages")} == set(young)


@pytest.mark.slow
def test_bodies_of_two_megabytes_take_bounded_memory(program: Any, simulator: Callable[..., Any], query: Query) -> None:
    """Bodies are stored ten at a time: four times as many messages take hardly more memory."""
    peaks = {}
    for count in (10, 40):
        sim = simulator(seed=count, sellers=1, orders_per_seller=0, message_size=2_000_000)
        seller = sim.world.rename(sim.world.sellers[0], f"seller_of_{count}")
        for number in range(count):
            at = sim.world.began - timedelta(hours=number + 1)
            sim.world.add_thing(seller, "message", at=at, thing_id=str(500 + number), body={"folder": 0})
        program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
        [name] = program.add_sellers(sim)
        telling = "import runpy, sys\ntry:\n    runpy.run_module('ebaysync', run_name='__main__', alter_sys=True)\n"
        telling += "finally:\n    print(open('/proc/self/status').read(), file=sys.stderr)"
        ended = subprocess.run(
            [sys.executable, "-c", telling, "run", "messages", "--account", name],
            capture_output=True,
            text=True,
            env=program.environ,
            cwd=program.folder,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        peaks[count] = int(re.findall(r"VmHWM:\s+(\d+) kB", ended.stderr)[0])
        sim.stop()
    assert query("SELECT count(*) FROM ebay_messages WHERE length(text) >= 2000000") == [(50,)]
    assert peaks[40] < 1.5 * peaks[10], peaks
    assert peaks[40] < 512 * 1024, peaks


# ---- active_inventory


async def test_what_moves_by_itself_makes_no_write(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    """TimeLeft, WatchCount and the converted price differ in every answer of the simulator."""
    b = opened(things={"listing": 230})
    account = await b.add()
    await b.run(account, "active_inventory")
    before = query("SELECT item_id, updated_at, raw_payload FROM ebay_active_inventory ORDER BY 1")
    clock.advance(3600)
    again = await b.run(account, "active_inventory")
    assert (again.status, again.stored, again.unchanged, again.removed) == ("completed", 0, 230, 0)
    assert query("SELECT item_id, updated_at, raw_payload FROM ebay_active_inventory ORDER BY 1") == before
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]


async def test_a_listing_that_ends_is_removed_and_returns_when_it_is_listed_again(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened(things={"listing": 30})
    [seller] = b.sim.world.sellers
    account = await b.add()
    await b.run(account, "active_inventory")
    listing = next(t for t in b.sim.world.things(seller, "listing").values() if trading_listings.rolls(t))
    b.sim.world.move_thing(listing, "end")
    clock.advance(3600)
    assert (await b.run(account, "active_inventory")).removed == 1
    assert query("SELECT item_id FROM ebay_active_inventory WHERE removed_at IS NOT NULL") == [(listing.id,)]
    b.sim.world.move_thing(listing)
    clock.advance(3600)
    assert (await b.run(account, "active_inventory")).status == "completed"
    assert query("SELECT count(*) FROM ebay_active_inventory WHERE removed_at IS NOT NULL") == [(0,)]
    told = [(key, event) for key, event, _ in events(query, "ebay_active_inventory")]
    assert told == [(listing.id, "removed"), (listing.id, "returned")]


async def test_a_variation_that_goes_is_removed_and_one_that_comes_is_there(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened()
    [seller] = b.sim.world.sellers
    rows = [
        {"sku": sku, "price": 100, "quantity": 3, "sold": 0, "specifics": {"Colour": colour}}
        for sku, colour in (("A", "red"), ("B", "blue"), (None, "green"))
    ]
    listing = b.sim.world.add_thing(seller, "listing", thing_id="270000000001", body={"variations": rows[:2]})
    account = await b.add()
    await b.run(account, "active_inventory")
    for shown in (rows[1:], rows):
        b.sim.world.put_thing(listing, {"variations": shown})
        clock.advance(3600)
        await b.run(account, "active_inventory")
    there = query("SELECT variation_key, removed_at IS NULL FROM ebay_active_inventory_variations ORDER BY 1")
    assert there == [("A", True), ("B", True), ("Colour=green", True)]
    told = [(key, event) for key, event, _ in events(query, "ebay_active_inventory_variations")]
    assert told == [("270000000001/A", "removed"), ("270000000001/A", "returned")]


async def test_a_list_that_is_capped_is_read_by_the_listings_ends(
    opened: Callable[..., Any], query: Query, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (client.ACTIVE_CAP, trading_lists.MOST_ENTRIES) == (25_000, 25_000)
    monkeypatch.setattr(client, "ACTIVE_CAP", 400)
    monkeypatch.setattr(trading_lists, "MOST_ENTRIES", 400)
    monkeypatch.setattr(trading_lists, "MOST_PAGES", 2)
    b = opened(things={"listing": 950})
    [seller] = b.sim.world.sellers
    account = await b.add()
    clock.advance(3600.5)
    summary = await b.run(account, "active_inventory")
    there = {
        k
        for k, t in b.sim.world.things(seller, "listing").items()
        if trading_listings.ends(t, clock.now()) > clock.now()
    }
    assert (summary.status, summary.fetched) == ("completed", len(there))
    assert {row[0] for row in query("SELECT item_id FROM ebay_active_inventory")} == there
    assert len(calls(b, "GetMyeBaySelling")) == 1
    shown = query("SELECT count(*) FROM ebay_active_inventory WHERE sku IS NULL OR start_time IS NULL OR title IS NULL")
    assert shown[0][0] < len(there) / 2  # a granularity level would have brought no SKU at all


async def test_listings_that_end_while_the_list_is_read_are_no_error_and_no_other_is_removed(
    opened: Callable[..., Any], query: Query, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the second page five are gone, and the third page with them: eBay says that there is no such page. What
    this run has seen is removed by the next."""
    b = opened(things={"listing": 402})
    [seller] = b.sim.world.sellers
    account = await b.add()
    await b.run(account, "active_inventory")
    ending = [t for t in b.sim.world.things(seller, "listing").values() if trading_listings.rolls(t)][:5]
    behind(monkeypatch, "GetMyeBaySelling", {2: lambda: [b.sim.world.move_thing(t, "end") for t in ending]})
    clock.advance(3600)
    summary = await b.run(account, "active_inventory")
    assert (summary.status, summary.removed) == ("completed", 0)
    assert (await b.run(account, "active_inventory")).removed == 5
    assert {row[0] for row in query("SELECT item_id FROM ebay_active_inventory WHERE removed_at IS NOT NULL")} == {
        t.id for t in ending
    }


async def test_a_listing_that_slips_to_another_page_while_the_list_is_read_is_not_removed(
    opened: Callable[..., Any], query: Query, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the first page ends after it was read and another begins: the count stays, and a row slips through. Of
    what this run has seen nothing is removed before the next."""
    b = opened(things={"listing": 450})
    [seller] = b.sim.world.sellers
    account = await b.add()
    await b.run(account, "active_inventory")
    listed = sorted(b.sim.world.things(seller, "listing").values(), key=lambda t: (trading_listings.starts(t), t.id))
    first = next(t for t in listed if trading_listings.rolls(t))

    def slip() -> None:
        b.sim.world.move_thing(first, "end")
        b.sim.world.add_thing(seller, "listing", thing_id="999999999999", body={"quantity": 5})

    behind(monkeypatch, "GetMyeBaySelling", {1: slip})
    clock.advance(3600)
    for removed in (0, 1):
        summary = await b.run(account, "active_inventory")
        assert (summary.status, summary.removed) == ("completed", removed)
    assert query("SELECT item_id FROM ebay_active_inventory WHERE removed_at IS NOT NULL") == [(first.id,)]
    assert [row[:2] for row in events(query, "ebay_active_inventory")] == [(first.id, "removed")]
    assert query("SELECT count(*) FROM ebay_active_inventory") == [(451,)]


# ---- buyer


@pytest.mark.parametrize("shape", ["transaction", "order", "mixed"])
async def test_what_was_bid_on_and_is_won_is_one_row_with_one_event(
    opened: Callable[..., Any], query: Query, clock: ManualClock, shape: str
) -> None:
    b = opened(won_shape=shape)
    [seller] = b.sim.world.sellers
    world, end = b.sim.world, NOON + timedelta(hours=1)
    for number in range(6):
        bid = {"state": "bid", "auction": True, "end": end, "winning": True}
        world.add_thing(seller, "purchase", thing_id=str(310000000000 + number), body=bid)
        offer = {"state": "offer", "auction": False, "transaction": str(8000000000001 + number)}
        world.add_thing(seller, "purchase", thing_id=str(320000000000 + number), body=offer)
    account = await b.add()
    await b.run(account, "buyer")
    assert query("SELECT list, transaction_id, count(*) FROM ebay_buyer GROUP BY 1, 2 ORDER BY 1") == [
        ("BestOfferList", "0", 6),
        ("BidList", "0", 6),
    ]
    clock.advance(7200)
    for thing in world.things(seller, "purchase").values():
        if not thing.body["auction"]:
            world.move_thing(thing, "win")
    await b.run(account, "buyer")
    await b.run(account, "buyer")
    rows = query("SELECT item_id, transaction_id, list, order_id IS NOT NULL FROM ebay_buyer ORDER BY 1")
    expected = [(str(310000000000 + n), "0") for n in range(6)]
    expected += [(str(320000000000 + n), str(8000000000001 + n)) for n in range(6)]
    assert [row[:2] for row in rows] == expected
    assert {row[2] for row in rows} == {"WonList"}
    if shape != "mixed":
        assert {row[3] for row in rows} == {shape == "order"}
    told = Counter(key.partition("/")[0] for key, event, changed in events(query, "ebay_buyer") if "list" in changed)
    assert told == Counter({row[0]: 1 for row in rows})
    assert len(events(query, "ebay_buyer")) == 12


async def test_of_purchases_nothing_is_ever_removed(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened(things={"purchase": 60}, won_shape="mixed")
    account = await b.add()
    first = await b.run(account, "buyer")
    assert first.stored > 20
    clock.advance(70 * 86_400)  # eBay shows 60 days
    query("UPDATE ebay_tokens SET access_expires_at = now()")
    later = await b.run(account, "buyer")
    assert (later.status, later.removed, later.fetched) == ("completed", 0, 0)
    assert query("SELECT count(*) FROM ebay_buyer") == [(first.stored,)]
    assert query("SELECT count(*) FROM ebay_events WHERE event = 'removed'") == [(0,)]


@pytest.mark.parametrize("fault", ["no_list", "10007"])
async def test_a_page_of_purchases_that_is_missing_costs_no_other_and_is_asked_for_again(
    opened: Callable[..., Any], query: Query, clock: ManualClock, fault: str
) -> None:
    b = opened(won_shape="transaction")
    [seller] = b.sim.world.sellers
    for number in range(450):
        body = {"state": "won", "auction": False, "transaction": str(8000000000001 + number)}
        b.sim.world.add_thing(seller, "purchase", thing_id=str(310000000000 + number), body=body)
    account = await b.add()
    struck: dict[str, Any] = {"call": "GetMyeBayBuying", "query": "<PageNumber>2<", "times": None}
    if fault == "no_list":
        b.sim.faults.add("envelope", what="no_list", **struck)
    else:
        b.sim.faults.add("trading_error", code=10007, **struck)
    for _ in range(3):
        clock.advance(3600)
        summary = await b.run(account, "buyer")
        assert (summary.status, summary.failure.exit_code, summary.cursor) == ("error", 13, None)
        assert "page 2 of WonList is missing" in summary.failure.message
        assert query("SELECT count(*) FROM ebay_buyer") == [(250,)]
    b.sim.faults.clear()
    clock.advance(3600)
    calm = await b.run(account, "buyer")
    assert (calm.status, calm.stored, query("SELECT count(*) FROM ebay_buyer")) == ("completed", 200, [(450,)])


# ---- XML that no parser takes


@pytest.mark.parametrize("what", STRIPPED)
@pytest.mark.parametrize(
    ("family", "kind", "table"),
    [("messages", "message", "ebay_messages"), ("active_inventory", "listing", "ebay_active_inventory")],
)
async def test_characters_that_xml_forbids_are_taken_out_and_everything_is_stored(
    opened: Callable[..., Any], query: Query, clock: ManualClock, family: str, kind: str, table: str, what: str
) -> None:
    b = opened(things={kind: 30})
    b.sim.faults.add("xml_spoil", what=what, times=None, row=3)
    account = await b.add()
    clock.advance(60)
    summary = await b.run(account, family)
    assert (summary.status, summary.quarantined, summary.stored) == ("completed", 0, summary.fetched)
    assert query(f"SELECT count(*) FROM {table}") == [(summary.fetched,)]
    assert summary.fetched > 5


@pytest.mark.parametrize("what", LOST_PARSERS)
async def test_a_header_that_breaks_its_page_is_quarantined_alone(
    opened: Callable[..., Any], query: Query, clock: ManualClock, what: str
) -> None:
    b = opened()
    ids = [mail(b, 1, NOON - timedelta(hours=number), first=500 + number)[0] for number in range(1, 61)]
    b.sim.faults.add("xml_spoil", what=what, times=None, of="530")
    account = await b.add()
    clock.advance(60)
    summary = await b.run(account, "messages")
    assert (summary.status, summary.caught_up, summary.stored) == ("completed", True, 59)
    assert summary.quarantined in (1, 2)  # where two seconds meet it is in both
    assert {row[0] for row in query("SELECT message_id FROM ebay_messages")} == set(ids) - {"530"}
    [(reason, payload)] = query("SELECT reason, payload FROM ebay_quarantine")
    assert "not well-formed" in reason
    assert payload.startswith(b"<Message>")
    assert payload.endswith(b"</Message>")
    assert b"<MessageID>530</MessageID>" in payload
    await b.run(account, "messages")
    assert query("SELECT count(*) FROM ebay_quarantine") == [(1,)]
    b.sim.faults.clear()
    clock.advance(600)
    await b.run(account, "messages", sweep=True)
    assert query("SELECT count(*) FROM ebay_messages WHERE text IS NOT NULL") == [(60,)]


async def test_a_body_that_breaks_its_answer_leaves_the_others_theirs(
    opened: Callable[..., Any], query: Query, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = opened()
    mail(b, 20, NOON - timedelta(hours=1), text="fine")
    handler = trading.HANDLERS["GetMyMessages"]

    def handle(*arguments: Any) -> Answer:
        answer = handler(*arguments)
        if b"<MessageID>507<" in answer.body and b"<Text>" in answer.body:
            SPOILERS["entity"](answer, [key for key, _ in answer.rows].index("507"))
        return answer

    monkeypatch.setitem(trading.HANDLERS, "GetMyMessages", handle)
    account = await b.add()
    clock.advance(60)
    summary = await b.run(account, "messages")
    assert (summary.status, summary.stored, summary.incomplete) == ("completed", 20, 1)
    assert query("SELECT message_id FROM ebay_messages WHERE text IS NULL") == [("507",)]
    [(payload,)] = query("SELECT payload FROM ebay_quarantine")
    assert b"<MessageID>507</MessageID>" in payload
    asked = [len(entry.rows) for entry in calls(b, "GetMyMessages", DetailLevel="ReturnMessages")]
    assert sorted(asked) == [1] * 10 + [10, 10]


@pytest.mark.parametrize("what", LOST_PARSERS)
async def test_a_listing_that_breaks_its_page_is_quarantined_alone_and_not_removed(
    opened: Callable[..., Any], query: Query, clock: ManualClock, what: str
) -> None:
    b = opened(things={"listing": 430})
    [seller] = b.sim.world.sellers
    account = await b.add()
    await b.run(account, "active_inventory")
    listed = sorted(b.sim.world.things(seller, "listing").values(), key=lambda t: (trading_listings.starts(t), t.id))
    broken, ended = listed[277], listed[300]
    b.sim.world.move_thing(ended, "end")
    b.sim.world.move_thing(listed[278], "price")
    b.sim.faults.add("xml_spoil", what=what, times=None, of=broken.id)
    clock.advance(3600)
    summary = await b.run(account, "active_inventory")
    assert (summary.status, summary.removed, summary.quarantined, summary.reason) == ("completed", 1, 1, None)
    assert query("SELECT item_id FROM ebay_active_inventory WHERE removed_at IS NOT NULL") == [(ended.id,)]
    [(reason, payload)] = query("SELECT reason, payload FROM ebay_quarantine")
    assert "not well-formed" in reason
    assert payload.startswith(b"<Item>")
    assert payload.count(b"<Item>") == 1
    assert f"<ItemID>{broken.id}</ItemID>".encode() in payload
    assert (listed[278].id, "changed") in [row[:2] for row in events(query, "ebay_active_inventory")]


async def test_the_only_listing_that_breaks_its_page_is_quarantined(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened(things={"listing": 1})
    [broken] = b.sim.world.things(b.sim.world.sellers[0], "listing")
    account = await b.add()
    await b.run(account, "active_inventory")
    b.sim.faults.add("xml_spoil", what="entity", times=None)
    clock.advance(3600)
    summary = await b.run(account, "active_inventory")
    assert (summary.status, summary.removed, summary.quarantined) == ("completed", 0, 1)
    assert query("SELECT item_id, removed_at FROM ebay_active_inventory") == [(broken, None)]


async def test_while_a_broken_listing_cannot_be_told_nothing_is_removed(
    opened: Callable[..., Any], query: Query, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = opened(things={"listing": 40})
    listed = list(b.sim.world.things(b.sim.world.sellers[0], "listing").values())
    account = await b.add()
    await b.run(account, "active_inventory")
    b.sim.world.move_thing(listed[3], "end")
    handler, tag = trading.HANDLERS["GetMyeBaySelling"], f"<ItemID>{listed[9].id}</ItemID>".encode()

    def handle(*arguments: Any) -> Answer:
        answer = handler(*arguments)
        answer.body = answer.body.replace(tag, b"<ItemID>&nbsp;</ItemID>")
        return answer

    monkeypatch.setitem(trading.HANDLERS, "GetMyeBaySelling", handle)
    clock.advance(3600)
    summary = await b.run(account, "active_inventory")
    assert (summary.status, summary.removed) == ("completed", 0)
    assert "nothing is marked as removed" in summary.reason
    assert query("SELECT count(*) FROM ebay_active_inventory WHERE removed_at IS NULL") == [(40,)]


async def test_a_purchase_that_breaks_its_answer_is_quarantined_alone(
    opened: Callable[..., Any], query: Query, clock: ManualClock
) -> None:
    b = opened(won_shape="order")
    [seller] = b.sim.world.sellers
    for number in range(50):
        body = {"state": ("bid", "won")[number % 2], "auction": True, "end": NOON + timedelta(days=number % 2 * -3 + 1)}
        b.sim.world.add_thing(seller, "purchase", thing_id=str(310000000000 + number), body=body)
    b.sim.faults.add("xml_spoil", what="entity", times=None, of="310000000004")
    account = await b.add()
    summary = await b.run(account, "buyer")
    assert (summary.status, summary.quarantined) == ("completed", 1)
    stored = {row[0] for row in query("SELECT item_id FROM ebay_buyer")}
    assert stored == {str(310000000000 + number) for number in range(50)} - {"310000000004"}
    assert b"<ItemID>310000000004</ItemID>" in query("SELECT payload FROM ebay_quarantine")[0][0]


@pytest.mark.parametrize("family", ["messages", "active_inventory", "buyer"])
@pytest.mark.parametrize("what", ["truncated", "html", "doctype"])
async def test_an_answer_that_is_no_xml_is_asked_for_again_or_fails_and_costs_no_record(
    opened: Callable[..., Any], query: Query, clock: ManualClock, family: str, what: str
) -> None:
    b = opened(things={"message": 40, "listing": 40, "purchase": 40})
    account = await b.add()
    clock.advance(60)
    whole = await b.run(account, family)
    stored = query(f"SELECT count(*) FROM ebay_{family}")
    assert (whole.status, stored) == ("completed", [(whole.fetched,)])
    b.sim.faults.add("xml_spoil", what=what, times=1)
    clock.advance(3600)
    once = await b.run(account, family)
    # A window is halved then, and each list of purchases is asked for alone.
    if what == "html" and family == "active_inventory":
        assert (once.status, once.failure.code) == ("error", "not_understood")
    else:
        assert (once.status, once.quarantined) == ("completed", 0)
    b.sim.faults.clear()
    b.sim.faults.add("xml_spoil", what=what, times=None)
    clock.advance(3600)
    always = await b.run(account, family, sweep=True)
    codes = {"truncated": "unreachable", "html": "not_understood", "doctype": "bad_xml"}
    assert (always.status, always.failure.code, always.failure.exit_code) == ("error", codes[what], 13)
    assert (always.calls < 40, always.quarantined) == (True, 0)  # no record is to blame, so none is looked for
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]
    assert query(f"SELECT count(*) FROM ebay_{family}") == stored


# ---- errors


CALLS = {"messages": "GetMyMessages", "active_inventory": "GetMyeBaySelling", "buyer": "GetMyeBayBuying"}


@pytest.mark.parametrize("family", CALLS)
async def test_a_spent_quota_ends_the_family_and_is_not_asked_again(
    opened: Callable[..., Any], query: Query, family: str
) -> None:
    b = opened(things=20)
    account = await b.add()
    b.sim.faults.add("trading_error", code=518, times=None)
    summary = await b.run(account, family)
    assert (summary.status, summary.failure) == ("skipped", None)
    assert "the quota of trading is spent until" in (summary.reason or "")
    assert len(calls(b, CALLS[family])) == 1
    assert query("SELECT cursor_value, last_error, last_run_at FROM ebay_sync_state") == [(None, None, None)]


@pytest.mark.parametrize("family", CALLS)
async def test_an_internal_error_of_ebays_is_asked_again(
    opened: Callable[..., Any], query: Query, clock: ManualClock, family: str
) -> None:
    b = opened(things=20)
    account = await b.add()
    clock.advance(60)
    b.sim.faults.add("trading_error", code=10007, times=3)
    summary = await b.run(account, family)
    assert (summary.status, summary.stored > 0) == ("completed", True)
    b.sim.faults.add("trading_error", code=10007, times=None)
    clock.advance(3600)
    assert (await b.run(account, family)).failure.code == "busy"


@pytest.mark.parametrize("code", [931, 932, 16110, 17470, 21916984, 21917053])
async def test_a_token_that_is_refused_is_renewed_once_and_a_second_refusal_is_a_matter_of_consent(
    opened: Callable[..., Any], query: Query, clock: ManualClock, code: int
) -> None:
    b = opened(things=20)
    account = await b.add()
    clock.advance(60)
    await b.run(account, "active_inventory")
    b.sim.faults.add("trading_error", code=code, times=1)
    clock.advance(60)
    before = len(b.sim.journal.of("/identity"))
    assert (await b.run(account, "active_inventory")).status == "completed"
    assert len(b.sim.journal.of("/identity")) == before + 1
    b.sim.faults.add("trading_error", code=code, times=None)
    clock.advance(60)
    asked = len(calls(b, "GetMyeBaySelling"))
    refused = await b.run(account, "active_inventory")
    assert (refused.status, refused.failure.code, refused.failure.exit_code) == ("error", "needs_consent", 12)
    assert str(code) in refused.failure.message
    assert len(b.sim.journal.of("/identity")) == before + 2
    assert len(calls(b, "GetMyeBaySelling")) == asked + 2
    assert query("SELECT needs_consent FROM ebay_accounts") == [(True,)]


async def test_a_dead_token_is_certain_whatever_was_read_before(opened: Callable[..., Any], query: Query) -> None:
    b = opened(things=2)
    account = await b.add()
    b.sim.journal.clear()
    b.sim.faults.add("trading_error", code=16110, times=None)
    refused = await b.run(account, "active_inventory")
    assert (refused.failure.code, refused.failure.exit_code) == ("needs_consent", 12)
    assert "accounts connect" in refused.failure.hint
    assert (len(b.sim.journal.of("/identity")), len(calls(b, "GetMyeBaySelling"))) == (1, 2)
    assert query("SELECT needs_consent FROM ebay_accounts") == [(True,)]


@pytest.mark.parametrize(
    ("scopes", "code", "certain"),
    [
        (None, "needs_consent", False),
        ([f"{BASE_SCOPE}/sell.inventory"], "missing_scope", False),
        ([BASE_SCOPE], "needs_consent", True),
    ],
)
async def test_a_token_that_may_lack_the_scope_says_nothing_of_the_sellers_consent(
    opened: Callable[..., Any], query: Query, scopes: list[str] | None, code: str, certain: bool
) -> None:
    """eBay refuses it with the same code: what needs other scopes goes on."""
    b = opened(things=20)
    account = await b.add()
    query("UPDATE ebay_authorizations SET scopes = %s RETURNING 1", scopes)
    b.sim.faults.add("trading_error", code=21916984, times=None)
    refused = await b.run(account, "active_inventory")
    assert (refused.failure.code, refused.failure.exit_code) == (code, 12)
    assert query("SELECT needs_consent FROM ebay_accounts") == [(certain,)]
    if not certain:
        assert (await b.run(account, "inventory")).status == "completed"


@pytest.mark.parametrize("family", CALLS)
async def test_an_answer_with_a_warning_is_data(
    opened: Callable[..., Any], query: Query, clock: ManualClock, family: str
) -> None:
    b = opened(things=20)
    account = await b.add()
    clock.advance(60)
    b.sim.faults.add("trading_warning", times=None)
    summary = await b.run(account, family)
    assert (summary.status, summary.stored, summary.stored > 0) == ("completed", summary.fetched, True)
