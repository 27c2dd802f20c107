"""Holes: what a walk leaves of what eBay does not answer, and what closes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from ebaysync.errors import AnswerNotUnderstood, EbayBusy, EbayError
from ebaysync.sync.inconsistency import MOST_HOLES, Consistency
from ebaysync.sync.move import Move
from ebaysync.sync.slices import Page, PageReader, Slice, SliceRecords, Slicing
from ebaysync.sync.state.inconsistent_reads import FOREVER, Inconsistent, wait
from ebaysync.sync.walk import read

START = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BUSY = EbayBusy("500", status=500)
MOVE = Move(lambda connection: _nothing(), lambda: None)


async def _nothing() -> None:
    pass


def span(first: float, last: float) -> Slice:
    """In minutes."""
    return Slice(START + first * MINUTE, START + last * MINUTE)


# ---- what a walk leaves


class Index:
    """A row every hour. eBay does not answer for the `bad` moments, or says that its answer is not complete."""

    def __init__(self, *bad: datetime, partial: bool = False) -> None:
        self.bad, self.partial = bad, partial
        self.rows = [START + number * HOUR for number in range(24 * 10)]
        self.asked: list[Slice] = []

    async def ask(self, window: Slice, offset: int) -> Page:
        self.asked.append(window)
        here = tuple(str(at).encode() for at in self.rows if window.start <= at <= window.end)
        odd = any(window.start <= at <= window.end for at in self.bad)
        if odd and not self.partial:
            raise BUSY
        return Page(len(here), here, more=False, partial=BUSY if odd else None)

    async def walk(self, slicing: Slicing, into: list[SliceRecords] | None = None) -> list[SliceRecords]:
        parts = [] if into is None else into
        async for part in read(PageReader(self.ask, lambda record: record, 100), slicing):
            parts.append(part)
        return parts


def days(count: int, **more: object) -> Slicing:
    return Slicing(Slice(START, START + count * DAY), DAY, **{"holes": 2, "splits": 2, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("partial", [False, True], ids=["no answer", "an incomplete one"])
async def test_several_bad_minutes_of_one_slice_are_narrow_holes_and_everything_else_is_read(partial: bool) -> None:
    bad = START + 5 * HOUR + MINUTE / 2, START + 17 * HOUR + MINUTE / 2
    index = Index(*bad, partial=partial)
    parts = await index.walk(days(2))
    holes = [part for part in parts if part.is_hole]
    assert [part.slice.width <= MINUTE for part in holes] == [True, True]
    assert all(part.slice.start <= at <= part.slice.end for part, at in zip(holes, bad, strict=True))
    assert all(a.slice.end == b.slice.start for a, b in pairwise(parts))
    came = {record for part in parts for record in part.records}
    assert came == {str(at).encode() for at in index.rows[: 2 * 24 + 1]}
    assert len(index.asked) < 60


async def test_a_hole_that_waits_is_not_asked_for_and_its_neighbours_are() -> None:
    hole = Slice(START + 5 * HOUR, START + 5 * HOUR + MINUTE)
    index = Index(hole.start + MINUTE / 2)
    parts = await index.walk(days(1, edges=[hole.start, hole.end], known=[hole], waiting=[hole]))
    assert [(part.slice, part.partial) for part in parts if part.is_hole] == [(hole, None)]
    assert hole not in index.asked
    assert all(a.slice.end == b.slice.start for a, b in pairwise(parts))


async def test_a_slice_is_no_hole_until_ebay_has_answered_a_later_one() -> None:
    index = Index(*(START + 2 * DAY + (1 + number) * MINUTE for number in range(8 * 24 * 60)))
    parts: list[SliceRecords] = []
    with pytest.raises(EbayBusy):
        await index.walk(days(10), parts)
    assert {part.slice.end <= START + 2 * DAY for part in parts if part.is_whole} == {True}
    assert not any(part.is_hole for part in parts)


async def test_known_holes_are_not_counted_as_new_ones() -> None:
    holes = [Slice(START + at * HOUR, START + at * HOUR + MINUTE) for at in (3, 6, 9, 12, 15)]
    index = Index(*(hole.start + MINUTE / 2 for hole in holes))
    edges = [edge for hole in holes for edge in (hole.start, hole.end)]
    parts = await index.walk(days(1, edges=edges, known=holes))
    assert [part.slice for part in parts if part.is_hole] == holes


async def test_answers_that_are_never_complete_hold_the_position_and_bring_their_records() -> None:
    index = Index(*(START + number * MINUTE for number in range(10 * 24 * 60)), partial=True)
    parts = await index.walk(days(10))
    assert not any(part.is_hole for part in parts)
    assert all(part.partial for part in parts)
    assert {record for part in parts for record in part.records} == {str(at).encode() for at in index.rows}
    assert len(index.asked) < 30


# ---- what closes one


def consistency(*holes: Slice, part: str = "") -> Consistency:
    known = {(part, hole): Inconsistent("why", 1, 0, b"", due=True, attempts=3) for hole in holes}
    return Consistency(UUID(int=0), "orders", known)


def good(slice_: Slice) -> SliceRecords:
    return SliceRecords(slice_, (), DAY)


def bad(slice_: Slice, error: EbayError = BUSY) -> SliceRecords:
    return SliceRecords(slice_, (), DAY, partial=error, is_hole=True)


def after(found: Consistency, *slices: SliceRecords, keys: Iterable[str] = ()) -> set[Slice]:
    for slice_ in slices:
        if move := found.move(slice_, keys, None, MOVE):
            move.stored()
    return found.holes


CLOSED: dict[str, tuple[list[SliceRecords], list[Slice]]] = {
    "the whole span": ([good(span(10, 20))], []),
    "more than that": ([good(span(0, 30))], []),
    "the middle": ([good(span(12, 15))], [span(10, 20)]),
    "the end": ([good(span(15, 20))], [span(10, 20)]),
    "the beginning": ([good(span(10, 14))], [span(14, 20)]),
    "in two steps": ([good(span(0, 14)), good(span(14, 30))], []),
    "with a gap": ([good(span(10, 14)), good(span(15, 20))], [span(14, 20)]),
    "all but a minute": (
        [good(span(10, 14)), bad(span(14, 15)), good(span(15, 20))],
        [span(14, 15)],
    ),
    "all but its first minute": ([bad(span(10, 11)), good(span(11, 20))], [span(10, 11)]),
    "nothing": ([bad(span(10, 20))], [span(10, 20)]),
    "nothing of its end": ([bad(span(15, 20))], [span(10, 20)]),
}


@pytest.mark.parametrize("answered", CLOSED)
def test_a_hole_is_closed_by_good_answers_for_its_whole_span_only(answered: str) -> None:
    slices, left = CLOSED[answered]
    assert after(consistency(span(10, 20)), *slices) == set(left)


def test_the_position_moves_past_a_hole_and_stays_before_what_is_none() -> None:
    found = consistency()
    assert found.move(bad(span(0, 1)), (), None, MOVE) is not None
    assert not found.held
    found.held = True
    stays = SliceRecords(span(1, 2), (), DAY, partial=BUSY)
    assert found.move(stays, (), None, MOVE) is None


def test_a_family_with_many_holes_may_open_no_more() -> None:
    assert consistency().may_open == 2
    assert consistency(*(span(at, at + 1) for at in range(MOST_HOLES))).may_open == 0


def test_a_part_is_read_apart_until_it_has_caught_up() -> None:
    found = consistency()
    failed = SliceRecords(span(0, 30), (), DAY, apart={"7": AnswerNotUnderstood("no")})
    left_out = SliceRecords(span(30, 60), (), DAY, apart={"7": None})
    after(found, failed, left_out)
    assert (found.apart, found.has_holes, found.holes) == ({"7"}, True, set())
    part = found.of("7")
    assert part.holes == {Slice(START, FOREVER)}
    part.until = span(0, 60).end
    assert after(part, good(span(0, 30))) == {Slice(START + 30 * MINUTE, FOREVER)}
    assert found.apart == {"7"}
    after(part, good(span(30, 60)))
    assert (found.apart, found.has_holes, found.is_clean) == (set(), False, True)


def test_a_part_that_was_left_out_of_an_older_slice_is_read_from_there_on() -> None:
    found = consistency(Slice(START + HOUR, FOREVER), part="7")
    after(found, SliceRecords(span(0, 30), (), DAY, apart={"7": None}))
    assert found.of("7").holes == {Slice(START, FOREVER)}


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 5), (2, 10), (5, 80), (20, 24 * 60), (10**6, 24 * 60)])
def test_a_hole_is_asked_for_ever_more_seldom_and_at_least_once_a_day(attempts: int, minutes: int) -> None:
    assert wait(attempts) == timedelta(minutes=minutes)


READS: dict[str, tuple[Callable[[SliceRecords], SliceRecords], bool]] = {
    "a page": (lambda done: SliceRecords(done.slice, (b"1",), DAY, partial=BUSY, is_hole=True, is_page=True), True),
    "the first of several pages": (
        lambda done: SliceRecords(done.slice, (b"1",), DAY, partial=BUSY, is_hole=True),
        False,
    ),
    "no answer": (lambda done: done, False),
}


@pytest.mark.parametrize("what", READS)
def test_only_a_page_that_is_three_times_the_same_is_believed(what: str) -> None:
    made, believed = READS[what]
    found = consistency()
    for number in range(3):
        assert found.has_holes is (number > 0)
        after(found, made(bad(span(0, 1))), keys=["1"])
    assert found.has_holes is not believed
    assert found.reason


# ---- a hole that waits


@pytest.mark.parametrize(
    ("widest", "edge"),
    [(5 * MINUTE, None), (7 * MINUTE, None), (DAY, 5), (DAY, 19), (3 * MINUTE, 8)],
    ids=["slices", "uneven slices", "an edge", "an edge near its end", "both"],
)
async def test_a_hole_that_waits_stays_whole_however_slices_pass_it(widest: timedelta, edge: float | None) -> None:
    """Nobody has read any of it: neither narrow slices nor the edge of another odd slice may shorten it."""
    hole, waits = span(60, 80), Inconsistent("500", 1, 0, b"", due=False, attempts=2)
    known = {("", hole): waits}
    if edge is not None:
        known["", span(50, 60 + edge)] = Inconsistent("eBay counts one more", 1, 1, b"")
    consistency = Consistency(UUID(int=1), "orders", known)
    index = Index()
    slicing = Slicing(
        span(0, 24 * 60), widest, sorted(set(consistency.edges())), known=consistency.holes, waiting=consistency.waiting
    )
    for part in await index.walk(slicing):
        if move := consistency.move(part, (), None, MOVE):
            move.stored()
    assert hole in consistency.holes
    inside = [each for each in index.asked if hole.start < each.end and each.start < hole.end]
    assert all(not hole.contains(each) for each in inside)
