"""The families of one source that a run reads together.

A family that loses its lease or must stop does not affect the others: the run goes on for the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeVar

from ebaysync.errors import EbayError, LeaseLost
from ebaysync.sync import outcome, plan
from ebaysync.sync.batch import Listed
from ebaysync.sync.context import RunContext, RunOptions
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.guard import PageGuard, check_filter
from ebaysync.sync.holes import MOST_FAILED, MOST_SPLITS
from ebaysync.sync.slices import Page, PageReader, Slice, SliceRecords, Slicing, joined
from ebaysync.sync.sources import open_source
from ebaysync.sync.sources.calls import Calls
from ebaysync.sync.stop import StopRequested
from ebaysync.sync.walk import read
from ebaysync.sync.windows import Window
from ebaysync.tasks import OneBehind, cancel

T = TypeVar("T")
REMEMBERED = 1000  # records of which the identity is known: those of a few pages
MOST_TOGETHER = 1000  # records in one transaction, about 2,000 rows
PATIENCE = 5.0  # seconds for which records wait for the next slice before they are stored


class SourceRun:
    """`active` are the families that go on. `reader` asks for windows; None: eBay has none here, so there is a scan.
    `failure`: why eBay did not answer for a slice, or not completely; the run goes on, and ends with it."""

    def __init__(self, context: RunContext, family_runs: Sequence[FamilyRun], options: RunOptions) -> None:
        self.context, self.options = context, options
        self.active = list(family_runs)
        self.family = family_runs[0].family  # families of one source declare the same value
        self.calls: Calls = open_source(self.family, context.api)
        self.guard = PageGuard()
        self.failure: EbayError | None = None
        self.records = self.slices = 0
        """of the last walk"""
        self.reader = self._reader(self.calls.ask) if self.calls.ask else None
        if self.calls.parts:
            self.calls.parts.apart.update(*(family_run.consistency.apart for family_run in family_runs))

    async def race(self, work: Awaitable[T]) -> T:
        """Wait for eBay, but not longer than until the run is to stop. Raises Interrupted, StopRequested."""
        return await self.context.stop.race(work)

    def go_on(self) -> bool:
        """Whether to begin something new. Drops families that are to stop."""
        late = self.options.deadline is not None and time.monotonic() >= self.options.deadline
        self._drop_stopped()
        return self.context.stop.signum is None and not late and bool(self.active)

    def progressed(self) -> None:
        """Keep the leases alive."""
        for family_run in self.active:
            family_run.sink.progressed()

    async def each(self, work: Callable[[FamilyRun], Awaitable[None]]) -> None:
        """Call `work` for every active family. Raises LeaseLost if none is left, and what else `work` raises."""
        for family_run in list(self.active):
            await self.guarded(family_run, work)

    async def guarded(self, family_run: FamilyRun, work: Callable[[FamilyRun], Awaitable[None]]) -> None:
        """Call `work` for one family. Raises LeaseLost if no family is left, and what else `work` raises."""
        try:
            await work(family_run)
        except LeaseLost as lost:
            # `accounts remove` revokes leases too. Then the reason says so.
            family_run.stop_for(await self.context.db.read(family_run.reason_to_stop))
            if not family_run.stopped:
                outcome.fail(family_run.summary, lost)
            self._leave(family_run)
            if not self.active:
                raise
        except StopRequested:
            self._leave(family_run)

    @contextmanager
    def beside_live(self) -> Iterator[Counter[str]]:
        """Count the block's calls, by API, apart from those that the live window needs."""
        transport, calls = self.context.api.transport, Counter[str]()
        before = Counter(transport.spent)
        try:
            yield calls
        finally:
            calls.update(transport.spent - before)
            for family_run in self.active:
                family_run.spent_beside.update(calls)

    async def walk(self, window: Window, part: str = "") -> bool:
        """Read a window's slices, or one part of them alone, and store each with the position it justifies. Returns
        whether the end was reached.

        Raises EbayError, DatabaseError. Stored slices stay.
        """
        reader, known = self.reader_of(part), [one.consistency.of(part) for one in self.active]
        reached, self.records, self.slices = window.span.start, 0, 0
        self.guard.expect(window.span, window.width)
        for consistency in known:
            consistency.begin()
        slicing = Slicing(
            *(window.span, window.width, sorted({edge for one in known for edge in one.edges()})),
            *(window.first_page, window.ahead, plan.sparse(self.family)),
            # Families of one source are read together: nothing is left out that one of them lacks.
            holes=MOST_FAILED if window.again else min(one.may_open for one in known),
            known={window.span} if window.again else {hole for one in known for hole in one.holes},
            waiting=set.intersection(*(one.waiting for one in known)),
            sure=window.again,
            splits=min(1 if window.again else MOST_SPLITS, *(one.may_open for one in known)),
        )
        slices = read(reader, slicing, self.go_on)

        async def store(batch: SliceRecords, listed: Mapping[FamilyRun, Listed]) -> None:
            nonlocal reached
            await self._store(batch, listed, window, part)
            reached = batch.slice.end
            self.records, self.slices = self.records + len(batch.records), self.slices + 1
            for family_run in self.active:
                family_run.progress(None if window.again else reached)

        # Without aclosing, the tasks that read ahead would go on after an error, until garbage collection.
        async with aclosing(slices), aclosing(self._together(slices, window)) as batches, OneBehind() as storing:
            async for batch in batches:
                # Decoded while PostgreSQL stores the batch before.
                listed = {one: await one.details.composer.listed(batch.records, batch.broken) for one in self.active}
                await storing.done()
                self._drop_stopped()
                if not self.active:
                    break
                storing.start(store(batch, listed))
        return reached >= window.span.end

    async def _together(self, slices: AsyncGenerator[SliceRecords], window: Window) -> AsyncGenerator[SliceRecords]:
        """Yields what is stored in one transaction: consecutive slices, at first with one record or more, then with
        twice as many as before, up to MOST_TOGETHER. A slice that is not complete comes alone. If eBay fails or is
        slow, the slices that came before are yielded first."""
        waiting: list[SliceRecords] = []
        wanted = 1
        while True:
            reading = asyncio.ensure_future(anext(slices, None))
            try:
                if waiting and not await self._comes_soon(reading):
                    yield joined(waiting)
                    waiting = []
                read_slice = await self.race(reading)
            except EbayError:
                if waiting:
                    yield joined(waiting)
                raise
            finally:
                await cancel(reading)
            is_whole = read_slice is not None and read_slice.is_whole
            if waiting and not is_whole:
                yield joined(waiting)
                waiting = []
            if read_slice is None:
                return
            waiting.append(read_slice)
            records = sum(len(each.records) for each in waiting)
            # Empty slices cost no transaction, so their position need not wait for records.
            if not is_whole or window.goes_round or records >= wanted or not records:
                yield joined(waiting)
                waiting, wanted = [], min(max(wanted, 2 * records), MOST_TOGETHER)
            if window.until is not None and read_slice.slice.end >= window.until:
                return

    async def _comes_soon(self, reading: asyncio.Future[Any]) -> bool:
        done, _ = await self.race(asyncio.wait({reading}, timeout=PATIENCE))
        return bool(done)

    async def _store(
        self, read_slice: SliceRecords, listed: Mapping[FamilyRun, Listed], window: Window, part: str
    ) -> None:
        assert self.reader
        if window.goes_round:
            # The sweep comes round again to a part that is left out.
            read_slice = replace(read_slice, apart={})
        keys = [] if read_slice.is_whole else [self.reader.key(record) for record in read_slice.records]
        stays = read_slice.partial is not None and not read_slice.is_hole

        async def store(family_run: FamilyRun) -> None:
            consistency = family_run.consistency.of(part)
            if window.again and read_slice.is_hole and not consistency.knows(read_slice):
                return
            if stays and not window.goes_round:
                consistency.held = True
            move = window.move(family_run, read_slice)
            move = consistency.move(read_slice, keys, family_run.state.cursor, move)
            await family_run.store(listed[family_run], read_slice.slice, move)

        await self.each(store)
        if stays:
            self.failure = self.failure or read_slice.partial

    def _drop_stopped(self) -> None:
        self.active = [family_run for family_run in self.active if not family_run.stopped]

    def _leave(self, family_run: FamilyRun) -> None:
        self.active = [other for other in self.active if other is not family_run]

    def reader_of(self, part: str) -> PageReader:
        """Asks for windows, or for one part of them alone."""
        if not part:
            assert self.reader
            return self.reader
        assert self.calls.parts
        return self._reader(partial(self.calls.parts.ask, part))

    def _reader(self, asks: Callable[[Slice, int], Awaitable[Page]]) -> PageReader:
        may_be_later = self.family.window.column == self.family.table.version

        head = lru_cache(REMEMBERED)(self.family.head_of)  # a page's records are told apart several times

        def key(record: bytes) -> str | bytes:
            return head(record)[0] or record

        async def ask(window: Slice, offset: int) -> Page:
            page = await asks(window, offset)
            self.guard.check(map(key, page.records))
            times = [time for _, time in map(head, page.records) if time is not None]
            reach = self.family.window.furthest_reach
            check_filter(window, times, may_be_later=may_be_later, reach=reach)
            self.progressed()
            return page

        return PageReader(ask, key, self.calls.page_size)
