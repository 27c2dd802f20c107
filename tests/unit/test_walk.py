"""The walk, over a model of eBay's index that moves whenever it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest

from ebaysync.ebay.transport import IN_FLIGHT
from ebaysync.errors import AnswerNotUnderstood, EbayBusy, EbayError, EbayRejected, Unauthorized
from ebaysync.sync.queue import FULL, UNREAD, FilterIgnored
from ebaysync.sync.slices import Page, PageReader, Slice, SliceRecords, Slicing
from ebaysync.sync.walk import read

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Index:
    """Rows with the time they were modified; both ends of a window are inclusive."""

    rows: dict[str, datetime]
    order: Callable[[str], object] = lambda key: key
    page_size: int = 20
    moved: Callable[[Index, Slice], None] = lambda index, window: None
    asked: list[Slice] = field(default_factory=list)

    async def ask(self, window: Slice, offset: int) -> Page:
        self.asked.append(window)
        found = sorted((k for k, at in self.rows.items() if window.start <= at <= window.end), key=self.order)
        page = found[offset : offset + self.page_size]
        self.moved(self, window)
        return Page(len(found), tuple(key.encode() for key in page), more=offset + len(page) < len(found))

    @property
    def source(self) -> PageReader:
        return PageReader(self.ask, lambda record: record, self.page_size)


async def everything(index: Index, span: Slice, clamp: timedelta = DAY) -> list[SliceRecords]:
    return [portion async for portion in read(index.source, Slicing(span, clamp))]


def keys(portions: list[SliceRecords]) -> set[str]:
    return {record.decode() for portion in portions for record in portion.records}


def some_rows(random: Random, count: int, span: Slice) -> dict[str, datetime]:
    seconds = int(span.width.total_seconds())
    return {f"{random.random():.12f}": span.start + timedelta(seconds=random.randrange(seconds)) for _ in range(count)}


async def test_slices_follow_each_other_without_a_gap_and_cover_the_span() -> None:
    span = Slice(START, START + 5 * DAY + timedelta(hours=3))
    portions = await everything(Index(some_rows(Random(1), 900, span)), span)
    assert portions[0].slice.start == span.start
    assert portions[-1].slice.end == span.end
    assert all(a.slice.end == b.slice.start for a, b in pairwise(portions))
    assert all(len(p.records) <= 20 and p.slice.width <= DAY for p in portions)


async def test_an_empty_span_asks_nothing() -> None:
    index = Index({})
    assert await everything(index, Slice(START, START)) == []
    assert index.asked == []


async def test_a_quiet_span_costs_one_call_for_each_clamp() -> None:
    index = Index({"a": START + DAY})
    await everything(index, Slice(START, START + 3 * DAY))
    assert len(index.asked) == 3


QUARTER = Slice(START, START + 90 * DAY)


def evenly(count: int, span: Slice) -> dict[str, datetime]:
    return {
        f"{n:05}": span.start + timedelta(seconds=int(span.width.total_seconds() * n / count)) for n in range(count)
    }


@pytest.mark.parametrize(
    ("rows", "calls"),
    [
        pytest.param({}, 2, id="empty"),
        pytest.param({"a": START + 89 * DAY}, 2, id="one at the end"),
        pytest.param(evenly(20, QUARTER), 4, id="a page"),
        pytest.param(evenly(60, QUARTER), 10, id="three pages"),
        pytest.param(evenly(20, Slice(START + 80 * DAY, QUARTER.end)), 2, id="an empty stretch and a busy one"),
        pytest.param(evenly(60, Slice(START + 80 * DAY, QUARTER.end)), 18, id="and one of three pages"),
    ],
)
async def test_a_sparse_stretch_costs_a_call_for_each_page_not_for_each_day(
    rows: dict[str, datetime], calls: int
) -> None:
    index = Index(rows)
    portions = [each async for each in read(index.source, Slicing(QUARTER, DAY, sparse=90 * DAY))]
    assert keys(portions) == rows.keys()
    assert [a.slice.end for a in portions[:-1]] == [b.slice.start for b in portions[1:]]
    assert (portions[0].slice.start, portions[-1].slice.end) == (QUARTER.start, QUARTER.end)
    assert all(each.start.microsecond == each.end.microsecond == 0 for each in index.asked)
    assert len(index.asked) == calls


async def test_a_dense_stretch_is_never_asked_for_in_wider_slices_than_the_clamp() -> None:
    index = Index(evenly(90 * 15, QUARTER))
    await everything(index, QUARTER)
    before = len(index.asked)
    index.asked.clear()
    assert [each async for each in read(index.source, Slicing(QUARTER, DAY, sparse=90 * DAY))]
    assert max(each.width for each in index.asked) == DAY
    assert len(index.asked) == before


@pytest.mark.parametrize("per_day", [10, 100, 1000])
async def test_a_dense_span_costs_about_a_call_for_each_page_however_much_denser_it_is_than_the_clamp(
    per_day: int,
) -> None:
    span = Slice(START, START + 30 * DAY)
    index = Index(evenly(30 * per_day, span))
    portions = [each async for each in read(index.source, Slicing(span, DAY, sparse=90 * DAY))]
    assert keys(portions) == index.rows.keys()
    assert len(index.asked) <= 30 * per_day / (index.page_size * FULL) * 1.15 + 12


async def test_one_slice_is_asked_for_alone_and_the_next_ones_while_the_caller_is_busy() -> None:
    index, span = Index(evenly(30 * 10, Slice(START, START + 30 * DAY))), Slice(START, START + 30 * DAY)
    walk = read(index.source, Slicing(span, DAY))
    await anext(walk)
    assert len(index.asked) == 1
    await anext(walk)
    for _ in range(50):  # the caller stores
        await asyncio.sleep(0)
    assert IN_FLIGHT < len(index.asked) <= 2 + IN_FLIGHT + UNREAD
    await walk.aclose()
    asked = len(index.asked)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(index.asked) == asked


async def test_a_source_that_is_read_one_slice_at_a_time_is_never_read_ahead() -> None:
    index = Index(evenly(300, Slice(START, START + 30 * DAY)))
    walk = read(index.source, Slicing(Slice(START, START + 30 * DAY), DAY, ahead=1))
    for number in range(1, 6):
        await anext(walk)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(index.asked) == number
    await walk.aclose()


async def test_rows_on_a_common_boundary_are_found() -> None:
    edge = START + DAY
    portions = await everything(Index({"on": edge, "before": START, "end": edge + DAY}), Slice(START, edge + DAY))
    assert keys(portions) == {"on", "before", "end"}


@pytest.mark.parametrize("seed", range(60))
async def test_no_row_is_missed_while_rows_leave_and_enter_in_any_order_of_rows(seed: int) -> None:
    random = Random(seed)
    span = Slice(START, START + DAY)
    there = some_rows(random, 400, span)
    shuffled = {key: random.random() for key in there}
    order = random.choice([lambda k: k, lambda k: shuffled.get(k, 0.5), lambda k: there.get(k, START)])

    def move(index: Index, window: Slice) -> None:
        inside = [key for key, at in index.rows.items() if window.start <= at <= window.end]
        for key in random.sample(inside, min(len(inside), 2)):
            index.rows[key] = span.end + DAY  # modified now: it leaves every window of the past
        late = f"late {random.random()}"
        index.rows[late] = window.start + (window.end - window.start) * random.random()

    index = Index(dict(there), order, moved=move)
    seen = keys(await everything(index, span))
    later = {key for key, at in index.rows.items() if at > span.end}  # the next run's window has them
    assert there.keys() <= seen | later, f"seed {seed}"
    assert len(index.asked) < 200


@pytest.mark.parametrize("seed", range(20))
async def test_more_than_a_page_within_one_second_is_read_whole_though_rows_move(seed: int) -> None:
    random = Random(seed)
    second = START + timedelta(hours=5)
    there = {f"{random.random():.9f}": second for _ in range(150)}
    leaving = random.sample(sorted(there), 12)

    def move(index: Index, window: Slice) -> None:
        if leaving and window.width <= timedelta(seconds=1):
            index.rows[leaving.pop()] = START + 2 * DAY
            index.rows[f"{random.random():.9f} late"] = second

    index = Index(dict(there), moved=move)
    seen = keys(await everything(index, Slice(START, START + DAY)))
    later = {key for key, at in index.rows.items() if at > START + DAY}
    assert there.keys() <= seen | later, f"seed {seed}"


async def test_a_second_that_never_comes_to_rest_is_delivered_as_inconsistent() -> None:
    def move(index: Index, window: Slice) -> None:
        index.rows[f"new {len(index.rows)}"] = START

    index = Index({str(n): START for n in range(50)}, moved=move)
    [found] = await everything(index, Slice(START, START + timedelta(seconds=1)))
    assert found.inconsistent
    assert "kept moving" in found.inconsistent
    assert len(found.records) >= 50


@pytest.mark.parametrize(("said", "sent"), [(5, 3), (3, 0)])
async def test_a_count_that_no_window_fulfils_is_delivered_as_inconsistent(said: int, sent: int) -> None:
    calls = 0

    async def ask(window: Slice, offset: int) -> Page:
        nonlocal calls
        calls += 1
        return Page(said, tuple(str(n).encode() for n in range(sent)), more=False)

    [found] = [each async for each in read(PageReader(ask, lambda r: r, 20), Slicing(Slice(START, START + DAY), DAY))]
    assert found.inconsistent
    assert found.inconsistent.startswith(f"eBay counts {said} records")
    assert (found.slice, len(found.records), calls) == (Slice(START, START + DAY), sent, 5)


async def test_a_record_that_is_counted_and_never_sent_leaves_all_but_its_minute_consistent() -> None:
    rows = {f"{n}".encode(): START + timedelta(minutes=7 * n) for n in range(12)}
    hidden = START + timedelta(minutes=33, seconds=20)

    async def ask(window: Slice, offset: int) -> Page:
        found = tuple(key for key, at in rows.items() if window.start <= at <= window.end)
        return Page(len(found) + (window.start <= hidden <= window.end), found, more=False)

    found = [each async for each in read(PageReader(ask, lambda r: r, 20), Slicing(Slice(START, START + DAY), DAY))]
    assert {record for each in found for record in each.records} == set(rows)
    assert [each.slice.end for each in found] == sorted(each.slice.end for each in found)
    [odd] = [each.slice for each in found if each.inconsistent]
    assert odd.start <= hidden <= odd.end
    assert odd.width <= timedelta(minutes=1)


async def test_a_filter_that_does_nothing_is_proven_by_a_handful_of_answers() -> None:
    calls = 0

    async def ask(window: Slice, offset: int) -> Page:
        nonlocal calls
        calls += 1
        return Page(25, tuple(str(n).encode() for n in range(20)), more=True)

    with pytest.raises(FilterIgnored, match="same 20 records"):
        async for _ in read(PageReader(ask, lambda r: r, 20), Slicing(Slice(START, START + DAY), DAY)):
            pass
    assert calls <= 8


async def test_records_on_the_boundary_of_two_slices_do_not_prove_that_the_filter_does_nothing() -> None:
    rows = {f"{n}": START + DAY / 2 for n in range(30)} | {f"late {n}": START + DAY / 2 + DAY / 3 for n in range(5)}
    portions = await everything(Index(rows), Slice(START, START + DAY))
    assert keys(portions) == set(rows)


async def test_a_count_that_is_wrong_once_is_asked_again() -> None:
    answers = [Page(2, (b"a",), more=False), Page(2, (b"a", b"b"), more=False)]

    async def ask(window: Slice, offset: int) -> Page:
        return answers.pop(0)

    source = PageReader(ask, lambda record: record, 20)
    portions = [p async for p in read(source, Slicing(Slice(START, START + DAY), DAY))]
    assert keys(portions) == {"a", "b"}


async def test_more_rows_than_the_count_says_are_all_taken() -> None:
    async def ask(window: Slice, offset: int) -> Page:
        return Page(1, (b"a", b"b"), more=False)

    portions = [p async for p in read(PageReader(ask, lambda r: r, 20), Slicing(Slice(START, START + DAY), DAY))]
    assert keys(portions) == {"a", "b"}


async def test_slices_grow_again_after_a_busy_time() -> None:
    rows = {f"{n}": START + timedelta(seconds=n) for n in range(1000)}
    index = Index(rows)
    portions = await everything(index, Slice(START, START + 30 * DAY))
    assert portions[-2].slice.width == DAY
    assert len(index.asked) < 30 + 1000 / 20 * 4


async def test_the_walk_stops_between_slices_when_it_is_told_to() -> None:
    index = Index({})
    seen: list[SliceRecords] = []
    walk = read(index.source, Slicing(Slice(START, START + 30 * DAY), DAY), go_on=lambda: len(seen) < 5)
    async for portion in walk:
        seen.append(portion)  # noqa: PERF401 - the walk looks at it meanwhile
    assert len(seen) == 5
    assert len(index.asked) <= 5 + 4


def refusing(index: Index, odd: Callable[[Slice], bool], error: EbayError) -> PageReader:
    """An eBay that answers some windows with an error, always."""

    async def ask(window: Slice, offset: int) -> Page:
        page = await index.ask(window, offset)
        if odd(window):
            raise error
        return page

    return PageReader(ask, lambda record: record, index.page_size)


async def test_an_error_of_a_later_slice_leaves_the_earlier_ones_valid() -> None:
    index = Index({})
    reader = refusing(index, lambda window: window.end > START + 3 * DAY, Unauthorized("no"))
    walk = read(reader, Slicing(Slice(START, START + 9 * DAY), DAY))
    seen = [await anext(walk) for _ in range(3)]
    assert seen[-1].slice.end == START + 3 * DAY
    with pytest.raises(Unauthorized):
        await anext(walk)


@pytest.mark.parametrize("error", [EbayBusy("500", status=500), EbayRejected("400"), AnswerNotUnderstood("{}")])
async def test_a_window_that_ebay_never_answers_costs_its_minute_alone(error: EbayError) -> None:
    rows = {f"{number}": START + number * timedelta(hours=5, seconds=7) for number in range(20)}
    index, bad = Index(rows), rows["7"]
    reader = refusing(index, lambda window: window.start <= bad <= window.end, error)
    portions = [p async for p in read(reader, Slicing(Slice(START, START + 5 * DAY), DAY))]
    assert keys(portions) == rows.keys() - {"7"}
    [partial] = [portion for portion in portions if portion.partial]
    assert partial.partial is error
    assert partial.slice.width <= timedelta(minutes=1)
    assert partial.slice.start <= bad <= partial.slice.end
    assert all(a.slice.end == b.slice.start for a, b in pairwise(portions))
    assert len(index.asked) < 35


async def test_an_ebay_that_answers_no_window_is_given_up_after_a_few() -> None:
    index = Index({})
    reader = refusing(index, lambda window: True, EbayBusy("500", status=500))
    with pytest.raises(EbayBusy):
        [p async for p in read(reader, Slicing(Slice(START, START + 90 * DAY), DAY))]
    assert len(index.asked) <= 12


async def test_an_answer_that_is_known_already_is_not_asked_for_again() -> None:
    index = Index({})
    known = Page(1, (b"x",), more=False)
    portions = [p async for p in read(index.source, Slicing(Slice(START, START + 2 * DAY), DAY, first_page=known))]
    assert keys(portions) == {"x"}
    assert len(index.asked) == 1


def page_of(total: int, rows: int, broken: int = 0, note: str | None = None) -> Page:
    some = tuple((b"broken %d" % number, "reason") for number in range(broken))
    return Page(total, tuple(b"%d" % number for number in range(rows)), more=False, broken=some, note=note)


async def test_broken_records_count_as_come_and_are_handed_on_with_the_note() -> None:
    async def ask(window: Slice, offset: int) -> Page:
        return page_of(5, 3, 2, "a folder is left out")

    [portion] = [each async for each in read(PageReader(ask, bytes, 5), Slicing(Slice(START, START + DAY), DAY))]
    assert (len(portion.records), [reason for _, reason in portion.broken]) == (3, ["reason", "reason"])
    assert (portion.note, portion.partial) == ("a folder is left out", None)


async def test_broken_records_of_one_second_are_read_page_by_page_with_the_others() -> None:
    rows = [b"%d" % number for number in range(25)]
    asked = 0

    async def ask(window: Slice, offset: int) -> Page:
        nonlocal asked
        asked += 1
        some = rows[offset : offset + 10]
        good = tuple(row for row in some if not row.endswith(b"7"))
        broken = tuple((row, "odd") for row in some if row.endswith(b"7"))
        return Page(25, good, more=offset + 10 < 25, broken=broken)

    second = Slicing(Slice(START, START + timedelta(seconds=1)), DAY)
    [portion] = [each async for each in read(PageReader(ask, bytes, 10), second)]
    assert {*portion.records, *(document for document, _ in portion.broken)} == set(rows)
    assert len(portion.broken) == 2
    assert asked == 1 + 2 * 3


@pytest.mark.parametrize("rows", [0, 10])
async def test_a_total_beyond_all_reason_is_inconsistent_and_no_endless_reading(rows: int) -> None:
    asked = 0

    async def ask(window: Slice, offset: int) -> Page:
        nonlocal asked
        asked += 1
        return page_of(9_999_999_999, 0 if offset else rows)

    second = Slice(START, START + timedelta(seconds=1))
    [found] = [each async for each in read(PageReader(ask, bytes, 10), Slicing(second, DAY))]
    assert (len(found.records), found.inconsistent is None) == (rows, False)
    assert asked <= 30
