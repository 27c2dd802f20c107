"""The spans that a run reads: live window, backfill, part of the sweep. Each knows how to commit the position after a
slice.

A position is an absolute value, written in the transaction of the rows that justify it, so repeating the write does no
harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from ebaysync.ebay.transport import IN_FLIGHT
from ebaysync.errors import EbayError
from ebaysync.families.family import PLENTY, Family
from ebaysync.sync import plan
from ebaysync.sync.context import RunContext, RunOptions
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.move import Move
from ebaysync.sync.queue import tried
from ebaysync.sync.slices import Page, PageReader, Slice, SliceRecords, first
from ebaysync.sync.state import sync_state
from ebaysync.sync.state.backfill import move as move_backfill
from ebaysync.sync.state.backfill import open_backfill
from ebaysync.sync.state.sync_state import SweepPosition

log = logging.getLogger(__name__)

CLOCK_TOLERANCE = timedelta(seconds=5)  # the Date header has whole seconds


class Window(Protocol):
    """A span to read. `width` is the width of its first slice, `first_page` the answer for that slice if there is one
    already. `ahead` slices are requested at once. Later runs read the part after `until`. `goes_round`: each
    slice is read again in the next round, so the position need not stay before one that eBay does not answer. `again`:
    eBay did not answer it before, so an error says nothing about others."""

    span: Slice
    width: timedelta
    first_page: Page | EbayError | None
    ahead: int
    until: datetime | None
    goes_round: bool
    again: bool

    def move(self, family_run: FamilyRun, done: SliceRecords) -> Move | None:
        """How a family commits the position after this slice; None if it has nothing to commit."""


@dataclass
class Live:
    """The live window: from the oldest cursor less the overlap to eBay's now less the settle time. `narrower`: how far
    it trails next time, because a page did not have all of its trailing part."""

    context: RunContext
    span: Slice
    width: timedelta
    first_page: Page | EbayError | None = None
    ahead: int = IN_FLIGHT
    until: datetime | None = None
    goes_round: bool = False
    again: bool = False
    narrower: timedelta | None = None

    def move(self, family_run: FamilyRun, done: SliceRecords) -> Move | None:
        return cursor_to(family_run, done.slice.end)


@dataclass
class Backfill:
    """The last days, read again, or the rest of an interrupted backfill. The live cursor does not move."""

    context: RunContext
    span: Slice
    width: timedelta
    first_page: Page | EbayError | None = None
    ahead: int = IN_FLIGHT
    until: datetime | None = None
    goes_round: bool = False
    again: bool = False

    def move(self, family_run: FamilyRun, done: SliceRecords) -> Move | None:
        account_id, name, position = self.context.account.id, family_run.family.name, done.slice.end
        return Move(lambda c: move_backfill(c, account_id, name, position), lambda: None)


@dataclass
class Sweep:
    """A part of the horizon before the live window, or all of it, because no filter shows changes there.

    The position goes round and round. A slice that left most of its page empty makes the next one wider.
    """

    context: RunContext
    span: Slice
    width: timedelta
    horizon: datetime
    began: datetime
    page_size: int
    ahead: int
    until: datetime | None
    first_page: Page | EbayError | None = None
    goes_round: bool = True
    again: bool = False

    def move(self, family_run: FamilyRun, done: SliceRecords) -> Move | None:
        """None if the slice does not begin at this family's own position."""
        family, end, own = family_run.family, done.slice.end, family_run.state.sweep
        # Families of one source sweep together, but each has its own position. A slice that would leave a gap is
        # skipped. A position that the live window has passed has ended its round.
        if not done.slice.start <= (own if own and self.horizon < own < self.span.end else self.horizon) <= end:
            return None
        width = plan.next_sweep_width(self.context.settings, family, done.width, len(done.records), self.page_size)
        account_id, position = self.context.account.id, SweepPosition(end, self.began, width, done=end >= self.span.end)

        def stored() -> None:
            family_run.state = replace(family_run.state, sweep=end)

        return Move(lambda c: sync_state.move_sweep(c, account_id, family.name, position), stored)

    def calls_per_day(self, family: Family, calls: Mapping[str, int], slices: int) -> Mapping[str, float]:
        """The calls of a day by API, if those for some slices were so many."""
        of_round = max(1.0, (self.span.end - self.horizon) / self.width)
        of_day = of_round * (timedelta(days=1) / plan.round_takes(family, of_round))
        return {api: round(number / max(1, slices) * of_day, 2) for api, number in sorted(calls.items())}


@dataclass
class Recheck:
    """A slice that was inconsistent, or a hole, read again although no window needs it."""

    span: Slice
    width: timedelta
    first_page: Page | EbayError | None = None
    ahead: int = 1
    until: datetime | None = None
    goes_round: bool = False
    again: bool = True

    def move(self, family_run: FamilyRun, done: SliceRecords) -> Move | None:
        return None


def edges(family_runs: Sequence[FamilyRun]) -> list[datetime]:
    """Times at which the slices of a window must begin and end."""
    return sorted({edge for family_run in family_runs for edge in family_run.consistency.edges()})


def cursor_to(family_run: FamilyRun, end: datetime) -> Move:
    """Commit a cursor, no further than the earliest of the three clocks. It never moves back, unless it is beyond all
    of them (a database restored from elsewhere)."""
    cursor, clock = family_run.state.cursor, family_run.context.api.transport.clock
    # A cursor in the future would skip orders once the clocks have passed it.
    position = plan.whole_seconds(min(end, clock.earliest()))
    if cursor is not None and cursor <= clock.latest():
        position = max(position, cursor)
    account_id, name = family_run.context.account.id, family_run.family.name
    return Move(
        lambda connection: sync_state.move_cursor(connection, account_id, name, position),
        lambda: family_run.cursor_stored(position),
    )


async def live(
    context: RunContext, family_runs: Sequence[FamilyRun], reader: PageReader, in_future: int | None, *, trails: bool
) -> Live:
    """Plan the live window. Raises EbayError. `in_future`: the errorId for a window that ends after eBay's now.
    `trails`: with its trailing part, if one page has all of it."""
    family = family_runs[0].family  # families of one source declare the same value
    cursors, at = [(one.family, one.state.cursor) for one in family_runs], edges(family_runs)
    width = plan.widest(context.settings, family)
    trailing = narrower = plan.trailing(context.settings, family, [one.state for one in family_runs])

    def span_at(now: datetime) -> Slice:
        return plan.live(context.settings, cursors, now)

    def wide_at(now: datetime) -> Slice:
        return plan.live(context.settings, cursors, now, trailing)

    is_clean = all(one.consistency.is_clean and not one.state.refused for one in family_runs)
    now = context.api.transport.clock.now()
    if trails and is_clean and all(cursor for _, cursor in cursors) and wide_at(now).start < span_at(now).start:
        span, page = await _by_ebays_clock(context, reader, wide_at, lambda span: span, in_future)
        if page is None:
            page = await tried(reader.ask(span, 0))
        if isinstance(page, Page) and page.partial is None and page.is_all(reader.page_size):
            return Live(context, span, span.width, page)
        # The window alone is read as if nothing had been asked for, and the sweep reads the rest.
        narrower = plan.narrower(trailing, page, reader.page_size)
    span, page = await _by_ebays_clock(context, reader, span_at, lambda span: first(span, width, at), in_future)
    # If eBay refused the family before, the first answer shows whether it still does.
    ahead = 1 if any(one.state.refused for one in family_runs) else IN_FLIGHT
    return Live(context, span, width, page, ahead, narrower=narrower if narrower < trailing else None)


async def backfill(
    context: RunContext, family_runs: Sequence[FamilyRun], reader: PageReader, in_future: int | None, days: int
) -> Backfill:
    """Plan a backfill of some days: the rest of an unfinished one, or a new one. Raises EbayError, DatabaseError."""
    family = family_runs[0].family
    width, at = plan.widest(context.settings, family), edges(family_runs)
    fresh, page = await _by_ebays_clock(
        context,
        reader,
        lambda now: plan.backfill(context.settings, family, days, now),
        lambda span: first(span, width, at),
        in_future,
    )
    kept = [
        await open_backfill(context.db, context.account, one.family, days, fresh.start, fresh.end)
        for one in family_runs
    ]
    # An unfinished backfill continues where it stopped, but eBay's reach has moved meanwhile.
    span = Slice(max(min(one.position for one in kept), fresh.start), max(one.end for one in kept))
    # The page is the answer for the start of the fresh span, so it is of no use to another one.
    return Backfill(context, span, width, page if span == fresh else None)


def learn_trailing(family_runs: Sequence[FamilyRun], window: Live, records: int, page_size: int) -> None:
    """Store how far before its end the next live window begins, after one that had so many records."""
    family, context = family_runs[0].family, window.context
    if family.window.sweep is None:
        return
    before = plan.trailing(context.settings, family, [one.state for one in family_runs])
    if (found := window.narrower) is None:
        if window.span.width < before:
            return  # it did not trail, so nothing is learned
        found = plan.next_trailing(context.settings, family, window.span, records, page_size)
    for family_run in family_runs:
        if found != family_run.state.trailing:
            set_trailing = partial(sync_state.set_trailing, trailing=found)
            account_id, name = context.account.id, family_run.family.name
            family_run.sink.later(partial(set_trailing, account_id=account_id, family=name))


def sweep(
    context: RunContext, family_runs: Sequence[FamilyRun], after: Slice, page_size: int, options: RunOptions
) -> Sweep | None:
    """Plan the part of the sweep that follows a live window. None if nothing is due."""
    family, known = family_runs[0].family, [one.state for one in family_runs]
    patience = options.patience.get(family.source, PLENTY)
    planned = plan.sweep(context.settings, family, known, after, whole=options.sweep, patience=patience)
    horizon = plan.horizon(family, after)
    if planned is None or horizon is None:
        return None
    until = None if options.sweep else planned.until
    ahead = IN_FLIGHT if options.sweep else 1
    return Sweep(context, planned.span, planned.width, horizon, planned.began, page_size, ahead, until)


def sweep_is_done(family_run: FamilyRun, window: Slice) -> None:
    """Note that a live window was a whole round of the sweep."""
    width = family_run.state.sweep_width or plan.widest(family_run.context.settings, family_run.family)
    position = SweepPosition(window.end, window.end, width, done=True)
    move = partial(sync_state.move_sweep, to=position)
    family_run.sink.later(partial(move, account_id=family_run.context.account.id, family=family_run.family.name))


async def _by_ebays_clock(
    context: RunContext,
    reader: PageReader,
    span_at: Callable[[datetime], Slice],
    first_of: Callable[[Slice], Slice],
    in_future: int | None,
) -> tuple[Slice, Page | EbayError | None]:
    """The span by eBay's clock.

    Before eBay's first answer, only this host's clock is known, so the first slice is requested by that. If eBay's Date
    disagrees, plan again; if not, the answer is used.
    """
    clock = context.api.transport.clock
    assumed = clock.now()
    span = span_at(assumed)
    if clock.known or span.width <= timedelta(0):
        return span, None
    began, query = time.monotonic(), first_of(span)
    page: Page | EbayError | None = await tried(reader.ask(query, 0))
    if isinstance(page, EbayError) and page.error_id is not None and page.error_id == in_future:
        page = None
    # The first answer brought eBay's Date. How far off was this host's clock when the span was planned?
    skew = assumed + timedelta(seconds=time.monotonic() - began) - clock.now()
    span_by_ebay = span_at(clock.now())
    if abs(skew) > CLOCK_TOLERANCE:
        log.warning("this host's clock is off by %.0f s; eBay's is used", skew.total_seconds())
    elif page is not None and query.end <= span_by_ebay.end:
        return Slice(span.start, min(span.end, span_by_ebay.end)), page
    return span_by_ebay, None
