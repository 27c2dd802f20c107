"""Messages through the folder summary: a quiet mailbox costs one call, and no message is missing for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ebaysync.sim.apis import trading_messages as sim
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.model import Thing
from ebaysync.sync.summary import Summary

Query = Callable[..., list[Any]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SETTLE = 120
ALL = None
"""a call without FolderID"""


@dataclass
class Ran:
    """A run: how many summaries it asked for, and the folders of its calls for headers, of the live window and of the
    sweep."""

    summary: Summary
    summaries: int
    live: list[str | None]
    sweep: list[str | None]
    bodies: int


class Mailbox:
    """The messages of one seller, and the runs of his account."""

    def __init__(self, bench: Any, query: Query, clock: ManualClock) -> None:
        self.bench, self.query, self.clock = bench, query, clock
        self.world = bench.sim.world
        self.account: Any = None
        self._next = 500

    def add(self, folder: int = 0, *, age: float = 3 * 86400, **body: Any) -> Thing:
        """A message that was sent so many seconds ago."""
        self._next += 1
        [seller] = self.world.sellers
        at = self.clock.now() - timedelta(seconds=age)
        drawn = {"folder": folder, "read": False, "flagged": False, "replied": False, "high": False}
        found: Thing = self.world.add_thing(seller, "message", at=at, thing_id=str(self._next), body=drawn | body)
        return found

    def change(self, thing: Thing, **body: Any) -> None:
        self.world.put_thing(thing, (thing.body or {}) | body)

    def quirk(self, **changed: Any) -> None:
        self.world.quirks = replace(self.world.quirks, **changed)

    async def run(self, *, after: float = 600, **asked: Any) -> Ran:
        self.account = self.account or await self.bench.add()
        self.clock.advance(after)
        self.bench.sim.journal.clear()
        summary = await self.bench.run(self.account, "messages", **asked)
        calls = [entry.query for entry in self.bench.sim.journal if entry.query.get("call") == "GetMyMessages"]
        levels = [call["DetailLevel"] for call in calls]
        headers = [call for call in calls if call["DetailLevel"] == "ReturnHeaders"]
        start = summary.window_from or self.clock.now()
        is_live = [datetime.fromisoformat(call["EndTime"]) > start for call in headers]
        return Ran(
            summary,
            levels.count("ReturnSummary"),
            [call.get("FolderID") for call, live in zip(headers, is_live, strict=True) if live],
            [call.get("FolderID") for call, live in zip(headers, is_live, strict=True) if not live],
            levels.count("ReturnMessages"),
        )

    async def settle(self) -> None:
        """Runs until one reads no header."""
        for _ in range(6):
            if not (await self.run()).live:
                return
        raise AssertionError("headers are read again and again")

    def stored(self) -> set[str]:
        return {row[0] for row in self.query("SELECT message_id FROM ebay_messages")}

    def lacks(self) -> set[str]:
        """Messages that eBay has and the table has not as they are."""
        rows = self.query("SELECT message_id, folder_id, read, flagged, replied FROM ebay_messages")
        [seller] = self.world.sellers
        there = {
            (key, str(thing.body["folder"]), thing.body["read"], thing.body["flagged"], thing.body["replied"])
            for key, thing in self.world.things(seller, "message").items()
            if thing.body is not None
        }
        return {row[0] for row in there - set(rows)}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def mailbox(
    bench: Callable[..., Any], query: Query, clock: ManualClock, undocumented: Callable[..., list[Any]]
) -> Iterator[Callable[..., Mailbox]]:
    """`mailbox(0, 1, 2)`: a message of three days ago in each of these folders; the options are the world's."""
    made: list[Mailbox] = []

    def make(*folders: int, **options: Any) -> Mailbox:
        b = bench(sellers=1, orders_per_seller=0, clock=clock, **options).with_settings(settle_seconds=SETTLE)
        made.append(Mailbox(b, query, clock))
        for folder in folders:
            made[-1].add(folder)
        return made[-1]

    yield make
    for each in made:
        assert each.world.undeclared == []
        assert undocumented(each.bench.sim.journal) == []


# ---- nothing has changed


@pytest.mark.parametrize("counts", ["all", "no priority"])
@pytest.mark.parametrize("folders", [2, 3, 10])
async def test_a_quiet_run_costs_one_call_whatever_the_number_of_folders(
    mailbox: Callable[..., Mailbox], monkeypatch: pytest.MonkeyPatch, folders: int, counts: str
) -> None:
    monkeypatch.setattr(sim, "FOLDERS", {number: f"own {number}" for number in range(2, folders)})
    box = mailbox(*range(folders), messages_counts=counts)
    await box.settle()
    for _ in range(5):
        quiet = await box.run()
        assert (quiet.summaries, quiet.live, quiet.bodies) == (1, [], 0)
        assert quiet.summary.calls == 1 + len(quiet.sweep)
        assert (quiet.summary.status, quiet.summary.caught_up, quiet.summary.stored) == ("completed", True, 0)
        assert quiet.summary.cursor == quiet.summary.window_to == box.clock.now() - timedelta(seconds=SETTLE)


async def test_a_quiet_run_writes_no_memory_and_a_dry_run_none_at_all(mailbox: Callable[..., Mailbox]) -> None:
    box = mailbox(0, 1)
    await box.run(dry_run=True)
    assert box.query("SELECT remembered FROM ebay_sync_state") == []
    await box.settle()
    before = box.query("SELECT remembered FROM ebay_sync_state")
    await box.run()
    box.add(age=SETTLE)
    await box.run(dry_run=True)
    assert box.query("SELECT remembered FROM ebay_sync_state") == before
    assert (await box.run()).summary.stored == 1


async def test_a_body_that_is_due_comes_although_no_header_is_read(
    mailbox: Callable[..., Mailbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    box, wanted, hidden = mailbox(0, 1), sim._wanted, {"501"}

    def shown(thing: Any, seller: Any, request: Any) -> bool:
        return wanted(thing, seller, request) and not ("MessageIDs.MessageID" in request.values and thing.id in hidden)

    monkeypatch.setattr(sim, "_wanted", shown)
    await box.settle()
    assert box.query("SELECT message_id FROM ebay_messages WHERE text IS NULL") == [("501",)]
    hidden.clear()
    box.query("UPDATE ebay_pending_detail SET next_at = now() - interval '1 s' RETURNING 1")
    found = await box.run()
    assert (found.live, found.bodies) == ([], 1)
    assert box.query("SELECT message_id FROM ebay_messages WHERE text IS NULL") == []


# ---- something has changed


CHANGES: dict[str, Callable[[Mailbox, Thing], None]] = {
    "a new message in Inbox": lambda box, thing: box.add(0, age=SETTLE) and None,
    "a new message in Sent": lambda box, thing: box.add(1, age=SETTLE, read=True) and None,
    "a new message in an own folder": lambda box, thing: box.add(3, age=SETTLE) and None,
    "read": lambda box, thing: box.change(thing, read=True),
    "flagged": lambda box, thing: box.change(thing, flagged=True),
    "moved": lambda box, thing: box.change(thing, folder=2),
}


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_the_counts_show_is_seen_in_the_next_run(
    mailbox: Callable[..., Mailbox], change: str, listed: bool
) -> None:
    box = mailbox(0, 1, 2, messages_inbox_summary=listed)
    await box.settle()
    young = box.add(0, age=SETTLE)
    await box.settle()
    CHANGES[change](box, young)
    found = await box.run(after=60)
    assert (found.summaries, bool(found.live), box.lacks()) == (1, True, set())
    await box.settle()


async def test_a_message_that_is_deleted_lets_headers_be_read(mailbox: Callable[..., Mailbox]) -> None:
    box = mailbox(0, 0, 1)
    await box.settle()
    box.world.put_thing(box.add(age=0), None)
    assert not (await box.run()).live
    box.world.move_thing(box.world.things(box.world.sellers[0], "message")["501"], "delete")
    assert (await box.run()).live


@pytest.mark.parametrize("lag", [0, 60, 600, 800])
async def test_a_message_that_is_counted_before_a_window_shows_it_is_found_by_a_later_run(
    mailbox: Callable[..., Mailbox], lag: int
) -> None:
    """The counts do not change again."""
    box = mailbox(0, 1, messages_headers_lag=lag)
    await box.settle()
    late = box.add(age=-590)  # ten seconds old at the next run, and so younger than the settle time
    first = await box.run()
    assert (bool(first.live), first.summary.stored, box.lacks()) == (True, 0, {late.id})
    for _ in range(3):
        await box.run(after=300)
    found = box.query("SELECT 1 FROM ebay_messages WHERE message_id = %s", late.id)
    assert found == [(1,)]
    await box.settle()


async def test_counts_that_change_again_begin_the_wait_again(mailbox: Callable[..., Mailbox]) -> None:
    box = mailbox(0, 1, messages_headers_lag=800)
    await box.settle()
    for _ in range(4):
        box.add(age=-590)
        assert (await box.run()).live
    assert len(box.lacks()) == 2
    await box.settle()
    assert box.lacks() == set()


# ---- counts that do not tell everything


@pytest.mark.parametrize("counts", ["none", "own folders"])
async def test_without_usable_counts_headers_are_read_in_each_run(mailbox: Callable[..., Mailbox], counts: str) -> None:
    """Nobody could verify whether the counts of all folders have the messages of Inbox and Sent."""
    box = mailbox(0, 1, 2, messages_counts=counts)
    for number in range(6):
        box.add(number % 2, age=SETTLE)
        found = await box.run()
        assert (found.summaries, bool(found.live), box.lacks()) == (1, True, set())
    assert (await box.run()).live


async def test_what_cancels_out_in_the_counts_is_found_by_the_sweep(mailbox: Callable[..., Mailbox]) -> None:
    box = mailbox(0, 0, 1)
    replied = box.add(read=True)
    await box.settle()
    [old, *_] = box.world.things(box.world.sellers[0], "message").values()
    box.world.put_thing(old, None)
    new = box.add(age=0)
    box.change(replied, replied=True)
    assert (await box.run()).live == []
    assert box.lacks() <= {new.id, replied.id}
    while new.id not in box.stored():
        found = await box.run(after=7200)
        assert box.clock.now() < NOON + timedelta(days=1)
    assert (found.live, box.lacks()) == ([], set())


async def test_counts_that_hid_a_message_are_not_trusted_for_a_day(mailbox: Callable[..., Mailbox]) -> None:
    box = mailbox(0, 1, messages_headers_lag=3000)
    await box.settle()
    late = box.add(age=0)
    await box.settle()
    assert box.lacks() == {late.id}, "or the test would prove nothing"
    while box.lacks():
        found = await box.run(after=3600)
    assert found.live == [], "it was the sweep"
    doubted = box.clock.now()
    while box.clock.now() < doubted + timedelta(hours=23):
        assert (await box.run(after=3600)).live
    await box.run(after=7200)
    assert not (await box.run()).live


async def test_a_conclusion_from_a_clock_that_was_far_ahead_does_not_last(mailbox: Callable[..., Mailbox]) -> None:
    box = mailbox(0, 1)
    await box.settle()
    new = "remembered - 'read_until' || %s::jsonb"
    beyond = '{"doubted_until": "2031-01-01T00:00:00Z", "since": "2031-01-01T00:00:00Z"}'
    box.query(f"UPDATE ebay_sync_state SET remembered = {new} RETURNING 1", beyond)
    await box.settle()


@pytest.mark.parametrize("memory", ["[]", "5", '{"counts": 5}', '{"counts": {"": [2, 2]}, "since": "x"}'])
async def test_a_memory_that_cannot_be_read_is_none(mailbox: Callable[..., Mailbox], memory: str) -> None:
    box = mailbox(0, 1)
    await box.settle()
    box.query("UPDATE ebay_sync_state SET remembered = %s::jsonb RETURNING 1", memory)
    found = await box.run()
    assert (found.summary.status, bool(found.live)) == ("completed", True)
    await box.settle()


@pytest.mark.parametrize("cursor", [None, "2026-11-17T00:00:00Z"])
async def test_a_cursor_that_was_set_back_is_read_from(mailbox: Callable[..., Mailbox], cursor: str | None) -> None:
    box = mailbox(0, 1)
    await box.settle()
    box.query("DELETE FROM ebay_messages RETURNING 1")
    box.query("UPDATE ebay_sync_state SET cursor_value = %s RETURNING 1", cursor)
    assert (await box.run()).summary.stored == 2


async def test_a_sweep_that_is_asked_for_reads_headers_whatever_the_counts_are(
    mailbox: Callable[..., Mailbox],
) -> None:
    box = mailbox(0, 1)
    await box.settle()
    found = await box.run(sweep=True)
    assert found.live
    assert found.summary.window_from <= box.clock.now() - timedelta(days=90), "one page has the whole horizon"


# ---- failures between the counts and what they count


HEADERS, WITHOUT_FOLDER = "ReturnHeaders", r"(?s)^(?!.*FolderID).*ReturnHeaders"
FAIL = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'cut off'; END$$"
CUTS = {
    "the messages": "CREATE TRIGGER cut BEFORE INSERT ON ebay_pending_detail FOR EACH ROW EXECUTE FUNCTION fail()",
    "the end of the run": "CREATE TRIGGER cut BEFORE UPDATE OF remembered ON ebay_sync_state FOR EACH ROW"
    " EXECUTE FUNCTION fail()",
}


@pytest.mark.parametrize("code", [10007, 20128])
async def test_headers_that_ebay_did_not_send_are_read_by_the_next_run(
    mailbox: Callable[..., Mailbox], code: int
) -> None:
    box = mailbox(0, 1)
    await box.settle()
    late = box.add(age=SETTLE)
    box.bench.sim.faults.add("trading_error", code=code, call="GetMyMessages", query=HEADERS, times=None)
    await box.run()
    assert box.lacks() == {late.id}
    box.bench.sim.faults.clear()
    for _ in range(3):
        await box.run()
    assert box.lacks() == set()
    await box.settle()


async def test_a_change_that_a_failed_run_has_counted_is_read_although_the_counts_go_back(
    mailbox: Callable[..., Mailbox],
) -> None:
    box = mailbox(0, 0, 1)
    await box.settle()
    box.add(age=SETTLE)
    box.bench.sim.faults.add("trading_error", code=10007, call="GetMyMessages", query=HEADERS, times=None)
    assert (await box.run()).summary.status == "error"
    box.bench.sim.faults.clear()
    box.world.put_thing(box.world.things(box.world.sellers[0], "message")["501"], None)
    found = await box.run()
    assert (bool(found.live), box.lacks()) == (True, set())


@pytest.mark.parametrize("cut", CUTS)
async def test_what_a_killed_run_has_counted_and_not_stored_is_read_again(
    mailbox: Callable[..., Mailbox], database_url: str, cut: str
) -> None:
    box = mailbox(0, 1)
    await box.settle()
    box.add(age=SETTLE)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(FAIL)
        connection.execute(CUTS[cut])
        await box.run()
        connection.execute("DROP FUNCTION fail() CASCADE")
    connection.close()
    box.query("DELETE FROM ebay_lease RETURNING 1")
    found = await box.run()
    assert (bool(found.live), box.lacks()) == (True, set())


async def test_a_folder_that_is_not_answered_is_read_as_ever_although_the_counts_stay(
    mailbox: Callable[..., Mailbox],
) -> None:
    box = mailbox(0, 1, 2)
    await box.settle()
    late = box.add(1, age=SETTLE)
    for query in ("<FolderID>1<", WITHOUT_FOLDER):
        box.bench.sim.faults.add("trading_error", code=10007, call="GetMyMessages", query=query, times=None)
    found = await box.run()
    assert (found.summary.status, found.summary.caught_up, box.lacks()) == ("completed", False, {late.id})
    for _ in range(3):
        found = await box.run()
        assert (bool(found.live), found.summary.caught_up) == (True, False)
    box.bench.sim.faults.clear()
    box.query("UPDATE ebay_inconsistent_read SET next_at = now() - interval '1 s' RETURNING 1")
    await box.run()
    assert box.lacks() == set()
    await box.settle()


async def test_while_a_folder_is_known_to_be_missing_headers_are_read_whatever_the_counts_are(
    mailbox: Callable[..., Mailbox],
) -> None:
    box = mailbox(0, 1, 2)
    await box.settle()
    [[before]] = box.query("SELECT remembered::text FROM ebay_sync_state")
    late = box.add(1, age=SETTLE)
    for query in ("<FolderID>1<", WITHOUT_FOLDER):
        box.bench.sim.faults.add("trading_error", code=10007, call="GetMyMessages", query=query, times=None)
    await box.run()
    box.bench.sim.faults.clear()
    box.world.put_thing(late, None)
    box.query("UPDATE ebay_sync_state SET remembered = %s::jsonb RETURNING 1", before)
    assert (await box.run()).live


# ---- all folders with one call


async def test_a_run_after_a_change_costs_two_calls_once_all_folders_are_seen_to_come_together(
    mailbox: Callable[..., Mailbox],
) -> None:
    box = mailbox(0, 1, 2, 3)
    first = await box.run(after=60)
    assert first.live == ["0", "1", "2", "3", ALL]
    await box.settle()
    for folder in (0, 1, 2, 3):
        box.add(folder, age=SETTLE)
    found = await box.run()
    assert (found.summaries, found.live, found.summary.stored, box.lacks()) == (1, [ALL], 4, set())


@pytest.mark.parametrize(
    ("answers", "days", "most"),
    [
        ("inbox", 20, 0),
        ("inbox and sent", 20, 0),
        ("everything", 200, 0),  # the first window shows that its span is ignored
        ("everything", 20, 1),  # a later one does
    ],
)
async def test_one_call_that_does_not_bring_all_folders_of_its_window_alone_is_not_used(
    mailbox: Callable[..., Mailbox], answers: str, days: int, most: int
) -> None:
    box = mailbox(0, 1, 2, 3, messages_without_folder=answers)
    old = {box.add(0, age=days * 86400).id for _ in range(2)}
    first = await box.run(after=60)
    assert first.live == ["0", "1", "2", "3", ALL], "the comparison"
    used = first.sweep.count(ALL)
    for number in range(12):
        box.add(number % 4, age=SETTLE)
        found = await box.run()
        assert (found.summary.status, box.lacks()) == ("completed", old if days > 90 else set())
        used += (found.live + found.sweep).count(ALL)
    assert used == most


async def test_a_folder_that_was_empty_when_folders_were_compared_is_read_beside(
    mailbox: Callable[..., Mailbox],
) -> None:
    box = mailbox(0, 1, messages_without_folder="inbox and sent")
    await box.settle()
    box.add(2, age=SETTLE)
    found = await box.run()
    assert (set(found.live) >= {"2"}, box.lacks()) == (True, set())
    box.add(1, age=SETTLE)
    box.add(2, age=SETTLE)
    await box.run()
    assert box.lacks() == set()


async def test_a_folder_beside_that_is_missing_in_the_one_call_lets_the_same_run_read_them_one_by_one(
    mailbox: Callable[..., Mailbox],
) -> None:
    box = mailbox(0, 1)
    await box.settle()
    box.quirk(messages_without_folder="inbox")
    box.add(1, age=SETTLE)
    box.add(2, age=SETTLE)
    found = await box.run()
    assert (found.live, box.lacks()) == ([ALL, "2", "0", "1", "3"], set())


async def test_after_a_day_the_folders_are_compared_again_and_read_one_by_one_if_they_differ(
    mailbox: Callable[..., Mailbox],
) -> None:
    box = mailbox(0, 1, 2)
    await box.settle()
    again = await box.run(after=25 * 3600)
    assert (again.sweep.count(ALL), set(again.sweep)) == (1, {ALL, "0", "1", "2", "3"})
    box.quirk(messages_without_folder="inbox")
    differs = await box.run(after=25 * 3600)
    assert (differs.sweep.count(ALL), set(differs.sweep)) == (1, {ALL, "0", "1", "2", "3"})
    box.add(1, age=SETTLE)
    box.add(0, age=SETTLE)
    found = await box.run()
    assert (found.live, box.lacks()) == (["0", "1", "2", "3"], set())
    box.quirk(messages_without_folder="all")
    await box.run(after=25 * 3600)
    box.add(0, age=SETTLE)
    assert (await box.run()).live[0] is ALL


@pytest.mark.parametrize("code", [10007, 20128, 931])
async def test_if_the_call_for_all_folders_fails_they_are_read_one_by_one_for_a_day(
    mailbox: Callable[..., Mailbox], code: int
) -> None:
    box = mailbox(0, 1, 2)
    await box.settle()
    box.bench.sim.faults.add("trading_error", code=code, call="GetMyMessages", query=WITHOUT_FOLDER, times=None)
    box.add(1, age=SETTLE)
    found = await box.run()
    assert (found.summary.status, found.summary.caught_up, box.lacks()) == ("completed", True, set())
    assert found.live[0] is ALL
    box.add(1, age=SETTLE)
    assert (await box.run()).live == ["0", "1", "2", "3"]
    box.bench.sim.faults.clear()
    await box.run(after=25 * 3600)
    box.add(1, age=SETTLE)
    assert (await box.run()).live[0] is ALL


async def test_while_a_folder_is_refused_the_others_are_read_one_by_one(mailbox: Callable[..., Mailbox]) -> None:
    box = mailbox(0, 1, 2)
    box.bench.sim.faults.add("trading_error", code=20128, call="GetMyMessages", query="<FolderID>2<", times=None)
    for _ in range(4):
        found = await box.run()
        assert (ALL in found.live, found.live[:2]) == (False, ["0", "1"])


async def test_a_page_for_all_folders_that_may_be_cut_is_cut(mailbox: Callable[..., Mailbox]) -> None:
    box = mailbox(0, 1, 2, messages_page_cap=25)
    await box.settle()
    for number in range(60):
        box.add(number % 3, age=SETTLE + number)
    found = await box.run()
    assert (found.summary.status, found.summary.stored, box.lacks()) == ("completed", 60, set())
    assert set(found.live) == {ALL}
