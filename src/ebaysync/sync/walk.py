"""Reads a time span in slices that can be stored one after the other.

A slice counts only if its whole content came in one answer. One answer shows one moment of eBay's index, so there is no
second page that rows could slip past while they move, whatever their order, and whether they enter or leave the window.
A row that leaves was modified, and a later slice finds it; a row that enters late is found by the next run's overlap.
Reading pages from last to first would not be enough: a row that enters near the start pushes another one across a page
boundary into what was already read.

A slice that holds more than a page is cut by its density and asked for again. After one with few records the next is as
wide as a page can be expected to hold, so an empty stretch costs one call. Neighbouring slices share their boundary, so
it does not matter which end of a filter is inclusive. Up to IN_FLIGHT slices are requested at once, and delivered in
order.

If one second alone holds more than a page (eBay's times are whole seconds), it cannot be cut. Then its pages are read,
in turn from either end, until two passes in a row bring nothing new.

An answer with fewer records than its own total is inconsistent. If it stays so, the slice is halved as long as one half
is consistent, so that the rest of the window is not affected, and delivered with the reason (sync/inconsistency decides
when it is believed). Three separate windows that bring the same records prove that eBay ignores the filter.

A slice that eBay does not answer, or not completely, is cut in the same way, as long as it answers for one part. If it
answers for none, each is cut, once or twice. The rest is a hole: it costs itself, and the later slices are read
(sync/holes). If there are several, or eBay answers for nothing else, eBay is the cause.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ebaysync.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    BodyBroken,
    EbayBusy,
    EbayError,
    EbayRejected,
    EbayUnreachable,
    Unauthorized,
)
from ebaysync.sync.holes import MOST_FAILED, NARROWEST, Unanswered
from ebaysync.tasks import cancel

log = logging.getLogger(__name__)

IN_FLIGHT = 6  # as many as the transport lets through
UNREAD = 4  # answers that wait for the caller, beside those in flight
FULL = 0.7  # slices are cut so that they fill this share of a page
FINEST = timedelta(seconds=1)
PASSES = 12  # forwards and backwards in turn
COUNT_RETRIES = 3  # calls for a page that lacks records of its own total
WIDELY_INCONSISTENT = 3  # inconsistent slices per walk; with more, eBay's totals are wrong everywhere
WIDE, FEW_PARTS = 16, 8  # a slice wider than so many clamps is first cut in a few parts
UNREADABLE = 200  # answers per walk that are not XML; one record that breaks its page costs about twenty


@dataclass(frozen=True)
class Slice:
    start: datetime
    end: datetime

    @property
    def width(self) -> timedelta:
        return self.end - self.start

    def touches(self, other: Slice) -> bool:
        return self.start <= other.end and other.start <= self.end

    def contains(self, other: Slice) -> bool:
        return self.start <= other.start and other.end <= self.end

    def cut(self, parts: int) -> list[Slice]:
        """Slices of equal width on whole seconds, each beginning where the one before it ends."""
        step = max(FINEST, timedelta(seconds=math.ceil(self.width.total_seconds() / parts)))
        edges = [self.start]
        while edges[-1] + step < self.end:
            edges.append(edges[-1] + step)
        return [Slice(a, b) for a, b in zip(edges, [*edges[1:], self.end], strict=True)]


@dataclass(frozen=True)
class Page:
    """One answer: the total that eBay states for the window, the page's records, and whether another page follows."""

    total: int
    records: tuple[bytes, ...]
    more: bool
    partial: EbayError | None = None
    """eBay says that this is not everything: the records are good, but the cursor stays"""
    broken: tuple[tuple[bytes, str], ...] = ()
    """records that cannot be decoded, each with the reason"""
    note: str | None = None
    """why something is missing that does not hold up the rest"""
    apart: Mapping[str, EbayError | None] = field(default_factory=dict)
    """parts that are not on this page and are read by themselves, such as message folders: those that eBay did not
    answer now, each with the error, and those that were not asked for"""

    @property
    def came(self) -> int:
        return len(self.records) + len(self.broken)

    def lacks(self, page_size: int) -> bool:
        """Whether there are fewer records than stated on a page that is not full."""
        return self.came < min(self.total, page_size) and not self.more and not self.partial

    def is_all(self, page_size: int) -> bool:
        """Whether this is the whole window: as many records as stated, and no page after a full one."""
        return self.came >= self.total and not (self.more and self.came >= page_size)


NOT_ASKED = Page(0, (), more=False)
"""stands for the answer for a hole that waits for its next try"""


@dataclass(frozen=True)
class PageReader:
    """How to ask for a window's pages. `key` tells records apart; a record without a key is told apart by its bytes."""

    ask: Callable[[Slice, int], Awaitable[Page]]
    key: Callable[[bytes], str | bytes]
    page_size: int


@dataclass(frozen=True)
class SliceRecords:
    """A slice with all of its records. `broken` are records that cannot be decoded, and answers that cannot be read
    even for one second, each with the reason. `width` is how wide the next slice may be. `partial`: the error that eBay
    states beside the records, or instead of them: the position stays before this slice, unless it is a hole. `note`:
    see Page. `inconsistent`: why these may not be all records."""

    slice: Slice
    records: tuple[bytes, ...]
    width: timedelta
    broken: tuple[tuple[bytes, str], ...] = ()
    partial: EbayError | None = None
    note: str | None = None
    inconsistent: str | None = None
    excess: int = 0
    """how many records eBay counts and does not send"""
    apart: Mapping[str, EbayError | None] = field(default_factory=dict)
    """see Page"""
    is_hole: bool = False
    """the position may move past it, since later runs ask for it; without `partial`, it was not asked for now"""
    is_page: bool = False
    """with `partial`: the records are a whole page, so that several reads may agree"""

    @property
    def is_whole(self) -> bool:
        """Whether this is all there is."""
        return not (self.partial or self.inconsistent or self.is_hole)


def joined(slices: Sequence[SliceRecords]) -> SliceRecords:
    """Consecutive slices as one."""
    first, last = slices[0], slices[-1]
    if first is last:
        return first
    return replace(
        last,
        slice=Slice(first.slice.start, last.slice.end),
        records=tuple(record for each in slices for record in each.records),
        broken=tuple(broken for each in slices for broken in each.broken),
        note=next((each.note for each in reversed(slices) if each.note), None),
        apart={part: error for each in reversed(slices) for part, error in each.apart.items()},
    )


class FilterIgnored(AnswerNotUnderstood):
    """eBay answers every window with the same records."""

    code = "filter_ignored"


class _Repeats:
    """Proves that eBay ignores the filter: three answers with the same records, for windows that do not overlap.

    Two windows may touch, because a record on their common boundary belongs to both. One record may move once between
    two windows while they are read.
    """

    def __init__(self, reader: PageReader) -> None:
        self._reader = reader
        self._slices: dict[frozenset[str | bytes], list[Slice]] = {}

    def check(self, slice_: Slice, page: Page) -> None:
        """Raises FilterIgnored."""
        keys = frozenset(map(self._reader.key, page.records))
        if not keys:
            return
        # Taken out and put in again: the dict is in the order of last use, and the oldest is dropped.
        slices = [known for known in self._slices.pop(keys, ()) if not known.contains(slice_)]
        slices = [*slices, slice_][-4:]
        self._slices[keys] = slices
        while len(self._slices) > 16:
            del self._slices[next(iter(self._slices))]
        if len(slices) > 2 and not all(one.touches(other) for one in slices for other in slices):
            raise FilterIgnored(f"eBay answers every window with the same {len(keys)} records: the filter does nothing")


@dataclass(frozen=True)
class Slicing:
    """How a span is cut: into slices no wider than `widest`, none across one of the `edges`, `ahead` of them requested
    at once. `first_page` is the answer for the first slice, if there is one already. `sparse`: how wide slices may
    become where a page holds them; None: no wider than `widest`.

    `holes`: how many new holes this walk may leave; 0: the position stays before each. `known` holes do not count.
    Those that wait are not asked for. `sure`: eBay is known to answer. `splits`: how many slices may be cut although
    eBay answers for no part of them."""

    span: Slice
    widest: timedelta
    edges: Sequence[datetime] = ()
    first_page: Page | EbayError | None = None
    ahead: int = IN_FLIGHT
    sparse: timedelta | None = None
    holes: int = 0
    known: Collection[Slice] = ()
    waiting: Collection[Slice] = ()
    sure: bool = False
    splits: int = 0


class _Query:
    """A slice in the queue, with the task that asks for it once it is near the front."""

    def __init__(self, slice_: Slice, page: Page | EbayError | None = None) -> None:
        self.slice = slice_
        self.page = page
        self.task: asyncio.Task[Page] | None = None
        self._checked = False

    def start(self, reader: PageReader, then: Callable[[object], None]) -> None:
        if self.task is None and self.page is None:
            self.task = asyncio.create_task(_whole(reader, self.slice))
            self.task.add_done_callback(then)

    @property
    def is_answered(self) -> bool:
        return self.page is not None or (self.task is not None and self.task.done())

    def came(self) -> Page | None:
        """The answer, if it has come. Its error is raised by `answer`, in the order of time."""
        if self.task is None or not self.task.done() or self.task.cancelled() or self.task.exception():
            return self.page if isinstance(self.page, Page) else None
        return self.task.result()

    def unchecked(self) -> Page | None:
        """The answer, if it was asked for, has come and was not returned here before."""
        page = None if self._checked or self.task is None else self.came()
        self._checked |= page is not None
        return page

    async def answer(self) -> Page | EbayError:
        """The answer, or the error if only this slice may be its cause. Raises any other EbayError."""
        if self.page is None:
            assert self.task is not None
            self.page = await tried(self.task)
        return self.page


async def tried(asked: Awaitable[Page]) -> Page | EbayError:
    """The answer, or the error if only its slice may be the cause. Raises any other EbayError."""
    try:
        return await asked
    except EbayError as error:
        if not may_be_of_its_slice(error):
            raise
        return error


def may_be_of_its_slice(error: EbayError) -> bool:
    """Whether eBay may answer for another span: what it says is not about the token, a limit, or the way to it."""
    if isinstance(error, Unauthorized | AccessDenied | FilterIgnored):
        return False
    if isinstance(error, EbayBusy | EbayUnreachable):
        return error.status is not None and error.status != 429 and not error.retry_after
    return isinstance(error, EbayRejected | AnswerNotUnderstood)


@dataclass
class _Rest:
    """A span in the queue, of which slices of this width are taken one by one."""

    slice: Slice
    width: timedelta


class _Queue:
    """The slices to read next, in order of time, with what is left of the span. The first ones are asked for at once,
    and others as soon as one is answered, while those before them are stored."""

    def __init__(self, reader: PageReader, slicing: Slicing, go_on: Callable[[], bool]) -> None:
        self._reader, self._slicing, self._go_on = reader, slicing, go_on
        self._line: deque[_Query | _Rest] = deque()
        self._repeats = _Repeats(reader)
        self._is_open = True
        self._was_cut, self._answered = False, 0
        self._grows = slicing.sparse is not None
        """the next slice of a rest may be wider than those before it, or nobody knows yet how wide it may be"""
        if slicing.span.start < slicing.span.end:
            self._line.append(_Rest(slicing.span, slicing.widest))
            if slicing.first_page is not None:
                self._split(0, slicing.first_page)

    def has_more(self) -> bool:
        """Whether there is a slice to read."""
        return bool(self._line) and self._go_on()

    async def take(self) -> tuple[Slice, Page | EbayError]:
        """Take the first slice, when its answer has come, or an error that only this slice may be the cause of. Raises
        any other EbayError."""
        self._start()
        query = self._line[0]
        assert isinstance(query, _Query)
        page = await query.answer()
        self._answered += isinstance(page, Page) and page is not NOT_ASKED
        self._grows = False
        for each in self._line:
            if isinstance(each, _Query) and (found := each.unchecked()) is not None:
                self._repeats.check(each.slice, found)
        self._line.popleft()
        return query.slice, page

    def put_back(self, parts: Sequence[tuple[Slice, Page | EbayError | None]]) -> None:
        """Read these first: the parts of the slice that was taken last, with their answers as far as they came."""
        # extendleft puts its last element first.
        self._line.extendleft(_Query(*part) for part in reversed(parts))

    def cut(self, slice_: Slice, total: int) -> None:
        """Put a slice back that has more than a page, to be read in parts by its density."""
        # The total may be missing.
        pages = max(1.5, total / (self._reader.page_size * FULL))
        if slice_.width > self._slicing.widest * WIDE:
            # It may be nearly empty and dense in one place, so a few parts show where.
            self.put_back([(part, None) for part in slice_.cut(min(FEW_PARTS, math.ceil(pages)))])
        else:
            width = math.ceil(slice_.width.total_seconds() / math.ceil(pages))
            self._line.appendleft(_Rest(slice_, max(FINEST, timedelta(seconds=width))))
        # The following slices are probably as dense.
        follows = timedelta(seconds=int(slice_.width.total_seconds() / pages))
        for each in self._line:
            if isinstance(each, _Rest):
                each.width = max(FINEST, min(each.width, self._slicing.widest, follows))
        self._was_cut, self._grows = True, slice_.width > self._slicing.widest

    def widen(self, done: Slice, page: Page) -> None:
        """Widen the next slices after one that was less than half as full as it may be: to what a page will hold at the
        same density, or twofold if one of this walk was too full."""
        room = self._reader.page_size * FULL
        rest = next((each for each in self._line if isinstance(each, _Rest)), None)
        if rest is None or done.width < rest.width or page.total * 2 >= room:
            return
        most = self._slicing.sparse or self._slicing.widest
        doubles = self._was_cut or most == self._slicing.widest
        times = 2 if doubles else room / page.total / 2 if page.total else math.inf
        seconds = min(done.width.total_seconds() * times, most.total_seconds())
        wider = timedelta(seconds=int(seconds))
        self._grows = wider > rest.width
        rest.width = max(rest.width, wider)

    @property
    def width(self) -> timedelta:
        """How wide the next slice may be."""
        return next((each.width for each in self._line if isinstance(each, _Rest)), self._slicing.widest)

    async def close(self) -> None:
        self._is_open = False
        await cancel(*(each.task for each in self._line if isinstance(each, _Query) and each.task))

    def _start(self, _: object = None) -> None:
        """Ask for the first slices."""
        # One call shows whether eBay answers at all.
        at_once = min(self._slicing.ahead, 1 + self._answered)
        most = at_once if at_once == 1 else at_once + UNREAD
        place = asked = 0
        while self._is_open and place < min(len(self._line), most) and asked < at_once:
            if place and not self._go_on():
                return
            query = self._line[place]
            if isinstance(query, _Rest):
                if place and self._grows:
                    return
                query = self._split(place)
            query.start(self._reader, self._start)
            asked += not query.is_answered
            page = query.came()
            if query.is_answered and (page is None or not page.is_all(self._reader.page_size)):
                return  # the slices that come instead of this one will show how wide the next ones may be
            place += 1

    def _split(self, place: int, page: Page | EbayError | None = None) -> _Query:
        """Take the next slice, which was answered with `page` or is to be asked for, from a rest."""
        rest = self._line[place]
        assert isinstance(rest, _Rest)
        slice_ = first(rest.slice, rest.width, self._slicing.edges)
        if page is None and any(hole.contains(slice_) for hole in self._slicing.waiting):
            page = NOT_ASKED
        query = _Query(slice_, page)
        if query.slice.end < rest.slice.end:
            rest.slice = Slice(query.slice.end, rest.slice.end)
            self._line.insert(place, query)
        else:
            self._line[place] = query
        return query


async def read(
    reader: PageReader, slicing: Slicing, go_on: Callable[[], bool] = lambda: True
) -> AsyncGenerator[SliceRecords]:
    """Yields the span's slices with their records, in order of time. Stops asking when `go_on` returns false.

    Raises EbayError. Slices delivered before stay valid.
    """
    queue, unanswered = _Queue(reader, slicing, go_on), Unanswered(slicing)
    unreadable = inconsistent = 0
    try:
        while queue.has_more():
            slice_, page = await queue.take()
            if page is NOT_ASKED:
                for each in unanswered.passed(SliceRecords(slice_, (), queue.width, is_hole=True)):
                    yield each
                continue
            is_broken = isinstance(page, BodyBroken) and page.by_a_record
            if not is_broken and (isinstance(page, EbayError) or page.partial):
                around = await _around_failed(reader, slice_, page, unanswered)
                queue.put_back(around)
                if not around:
                    failed = _partial(slice_, page, queue.width)
                    for each in unanswered.failed(failed, came=isinstance(page, Page)):
                        yield each
                unanswered.check()
                continue
            for each in unanswered.answered():
                yield each
            if isinstance(page, EbayError):
                assert isinstance(page, BodyBroken)
                unreadable += 1
                halves = _around_broken(page, slice_, unreadable)
                queue.put_back([(half, None) for half in halves])
                if not halves:
                    yield SliceRecords(slice_, (), queue.width, ((page.document or b"", page.message),))
            elif page.lacks(reader.page_size):
                inconsistent += 1
                # If eBay's totals are wrong everywhere, halving every slice would cost hundreds of calls.
                wide = inconsistent > WIDELY_INCONSISTENT
                for share, part in [(slice_, page)] if wide else await _narrowed(reader, slice_, page):
                    yield _contradicting(reader, share, part, queue.width)
            # One answer shows one moment of eBay's index, so a slice that needs a second page is cut, never paged.
            elif page.is_all(reader.page_size):
                queue.widen(slice_, page)
                yield SliceRecords(slice_, page.records, queue.width, page.broken, note=page.note, apart=page.apart)
            elif slice_.width > FINEST:
                queue.cut(slice_, page.total)
            else:
                records, broken, moving = await _dense(reader, slice_)
                yield SliceRecords(slice_, records, queue.width, broken, None, page.note, moving, apart=page.apart)
        for each in unanswered.rest():
            yield each
        unanswered.check()
    finally:
        # The caller may stop reading at any slice. Nobody else would end the calls that are ahead.
        await queue.close()


def _around_broken(error: BodyBroken, slice_: Slice, unreadable: int) -> list[Slice]:
    """The halves to ask for around a record that breaks its answer; none if the slice cannot be halved. Raises
    BodyBroken if no record can be the cause."""
    if slice_.width > FINEST and unreadable <= UNREADABLE:
        return slice_.cut(2)
    if error.document is None or slice_.width > FINEST:
        raise error
    return []


async def _around_failed(
    reader: PageReader, slice_: Slice, page: Page | EbayError, unanswered: Unanswered
) -> list[tuple[Slice, Page | EbayError | None]]:
    """The parts of a slice that eBay does not answer, or not completely, with their answers; none: it is not cut."""
    if slice_.width <= NARROWEST or not unanswered.narrows(page):
        return []
    if unanswered.may_probe():
        return await _probed(reader, slice_, page, unanswered)
    parts: list[tuple[Slice, Page | EbayError | None]] = []
    good = 0
    for part in slice_.cut(unanswered.parts):
        # An error costs several tries. After two, the others may wait until they are needed.
        found = await tried(_whole(reader, part)) if len(parts) - good < MOST_FAILED else None
        good += found is not None and _is_good(found)
        parts.append((part, found))
    return parts if good or unanswered.may_split(slice_) else []


async def _probed(
    reader: PageReader, slice_: Slice, page: Page | EbayError, unanswered: Unanswered
) -> list[tuple[Slice, Page | EbayError | None]]:
    """The slice's last minute, which shows whether eBay answers at all, and the rest; none if eBay answers neither."""
    rest, minute = Slice(slice_.start, slice_.end - NARROWEST), Slice(slice_.end - NARROWEST, slice_.end)
    probe = await tried(_whole(reader, minute))
    if _is_good(probe):
        unanswered.came = True
        return [(rest, page if isinstance(page, EbayError) else None), (minute, probe)]
    before = await tried(_whole(reader, rest))
    return [(rest, before), (minute, probe)] if _is_good(before) else []


def _is_good(page: Page | EbayError) -> bool:
    return isinstance(page, Page) and page.partial is None


def _partial(slice_: Slice, page: Page | EbayError, width: timedelta) -> SliceRecords:
    """A slice that eBay does not answer, or not completely."""
    if isinstance(page, EbayError):
        return SliceRecords(slice_, (), width, partial=page)
    records, error, is_page = page.records, page.partial, not page.more
    return SliceRecords(slice_, records, width, page.broken, error, page.note, apart=page.apart, is_page=is_page)


def first(span: Slice, clamp: timedelta, edges: Sequence[datetime] = ()) -> Slice:
    """The span's first slice, up to the next edge."""
    return Slice(span.start, min(span.start + clamp, span.end, *(edge for edge in edges if edge > span.start)))


async def _whole(reader: PageReader, slice_: Slice) -> Page:
    """The first page of a slice. If it lacks records, ask again: eBay's count and list may be of different moments."""
    for _ in range(COUNT_RETRIES):
        page = await reader.ask(slice_, 0)
        if not page.lacks(reader.page_size):
            break
    return page


async def _narrowed(reader: PageReader, slice_: Slice, page: Page) -> list[tuple[Slice, Page]]:
    """An inconsistent slice, halved as long as exactly one half is inconsistent. In order of time."""
    if slice_.width <= NARROWEST:
        return [(slice_, page)]
    halves = [(half, await reader.ask(half, 0)) for half in slice_.cut(2)]
    good = [found.is_all(reader.page_size) for _, found in halves]
    if not any(good):
        return [(slice_, page)]
    return [
        each
        for half, is_good in zip(halves, good, strict=True)
        # In order of time: positions are committed one after the other.
        for each in ([half] if is_good else await _narrowed(reader, *half))
    ]


def _contradicting(reader: PageReader, slice_: Slice, page: Page, width: timedelta) -> SliceRecords:
    reason = _inconsistency(reader, slice_, page)
    excess = page.total - page.came if reason else 0
    return SliceRecords(slice_, page.records, width, page.broken, None, page.note, reason, excess, page.apart)


def _inconsistency(reader: PageReader, slice_: Slice, page: Page) -> str | None:
    if not page.lacks(reader.page_size):
        return None
    span = f"{slice_.start.isoformat()} to {slice_.end.isoformat()}"
    return f"eBay counts {page.total} records from {span} and sends {page.came}"


async def _dense(
    reader: PageReader, slice_: Slice
) -> tuple[tuple[bytes, ...], tuple[tuple[bytes, str], ...], str | None]:
    """All records of a slice that cannot be cut, and the broken ones: read its pages until two passes in a row bring
    nothing new. Also why they may not be all."""
    found: dict[str | bytes, bytes] = {}
    broken: dict[bytes, str] = {}
    quiet = 0
    log.info("more than a page within one second at %s: reading it page by page", slice_.start.isoformat())
    # Rows move between pages during the reading. It is complete after two passes with nothing new and as many records
    # as stated.
    for turn in range(PASSES):
        before = len(found) + len(broken)
        total = await _one_pass(reader, slice_, found, broken, backwards=turn % 2 == 1)
        came = len(found) + len(broken)
        quiet = quiet + 1 if came == before and came >= total else 0
        if quiet == 2 or (turn > 0 and quiet and came == total):
            return tuple(found.values()), tuple(broken.items()), None
    moving = f"the records of {slice_.start.isoformat()} kept moving through {PASSES} passes"
    return tuple(found.values()), tuple(broken.items()), moving


async def _one_pass(
    reader: PageReader,
    slice_: Slice,
    found: dict[str | bytes, bytes],
    broken: dict[bytes, str],
    *,
    backwards: bool,
) -> int:
    page = await reader.ask(slice_, 0)
    total, step = page.total, page.came
    found.update((reader.key(record), record) for record in page.records)
    broken.update(page.broken)
    if not step:
        return total
    # Reading forwards misses rows that move to the front, backwards those that move to the end. So passes take turns.
    offset = (total - 1) // step * step if backwards else step
    while 0 < offset < total and page.came:
        page = await reader.ask(slice_, offset)
        total = max(total, page.total)
        found.update((reader.key(record), record) for record in page.records)
        broken.update(page.broken)
        offset += -step if backwards else step
    return total
