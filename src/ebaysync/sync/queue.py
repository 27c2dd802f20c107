"""The slices that a walk reads next, and when they are asked for.

A slice that holds more than a page is cut by its density and asked for again. After one with few records the next is as
wide as a page can be expected to hold, so an empty stretch costs one call. Up to IN_FLIGHT slices are requested at
once, and delivered in order. Three separate windows that bring the same records prove that eBay ignores the filter.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ebaysync.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    EbayBusy,
    EbayError,
    EbayRejected,
    EbayUnreachable,
    Unauthorized,
)
from ebaysync.sync.slices import FINEST, NOT_ASKED, Page, PageReader, Slice, Slicing, first
from ebaysync.tasks import cancel

UNREAD = 4  # answers that wait for the caller, beside those in flight
FULL = 0.7  # slices are cut so that they fill this share of a page
WIDE, FEW_PARTS = 16, 8  # a slice wider than so many clamps is first cut in a few parts
COUNT_RETRIES = 3  # calls for a page that lacks records of its own total


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


class _Query:
    """A slice in the queue, with the task that asks for it once it is near the front."""

    def __init__(self, slice_: Slice, page: Page | EbayError | None = None) -> None:
        self.slice = slice_
        self.page = page
        self.task: asyncio.Task[Page] | None = None
        self._checked = False

    def start(self, reader: PageReader, then: Callable[[object], None]) -> None:
        if self.task is None and self.page is None:
            self.task = asyncio.create_task(whole(reader, self.slice))
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


class Queue:
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


async def whole(reader: PageReader, slice_: Slice) -> Page:
    """The first page of a slice. If it lacks records, ask again: eBay's count and list may be of different moments."""
    for _ in range(COUNT_RETRIES):
        page = await reader.ask(slice_, 0)
        if not page.lacks(reader.page_size):
            break
    return page
