"""Decides which time span a run reads. Pure: eBay's now, states and settings go in, a span comes out.

A live window begins at the oldest cursor of its families, less the overlap. It ends at eBay's now, less the settle
time, because eBay's index lags behind. No span begins before eBay's reach. Every bound is a whole second, like eBay's
times.

A page of 200 records costs as much as a page of one. So where no filter shows a change, the live window begins earlier,
as far back as one page holds: the *trailing* part. The sweep reads the rest of the horizon, in the fewest slices that
show a change in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ebaysync.errors import EbayError
from ebaysync.families.family import PLENTY, Family
from ebaysync.settings import Settings
from ebaysync.sync.slices import Page, Slice
from ebaysync.sync.state.sync_state import State

REACH_MARGIN = timedelta(hours=1)  # so that the first slice of a long walk stays within eBay's reach
SPARSE = timedelta(days=90)  # eBay takes two years at once; an order's is the only window without a limit of its own
ROOMY = 3  # a slice may widen if it fills less than this fraction of a page
NEARLY_FULL, HALF_FULL = 0.9, 0.5  # of a page: above this share the trailing part is narrowed, to this one
NEVER = datetime.min.replace(tzinfo=UTC)
PUNCTUAL = 0.9  # a round ends before its time, because a run may come late


def live(
    settings: Settings,
    families: Sequence[tuple[Family, datetime | None]],
    now: datetime,
    trailing: timedelta = timedelta(0),
) -> Slice:
    """The window of families that share a source, from each one's cursor (None: it never ran), and at least the
    trailing part before eBay's now."""
    end = _end(settings, now)
    # eBay may list a change late, with its earlier time. The overlap reads that time again.
    start = min(_start(settings, family, cursor, now, end) for family, cursor in families)
    return Slice(whole_seconds(_within_reach(families[0][0], min(start, end - trailing), now)), end)


def trailing(settings: Settings, family: Family, states: Sequence[State]) -> timedelta:
    """How far before its end a live window begins at least: as far as one page is expected to hold."""
    if family.window.sweep is None:
        return timedelta(0)
    widest_at_once = min(family.window.sweep, widest(settings, family))
    return min([widest_at_once, *(state.trailing for state in states if state.trailing is not None)])


def next_trailing(settings: Settings, family: Family, window: Slice, records: int, page_size: int) -> timedelta:
    """The same for the next run, after a window that had so many records."""
    assert family.window.sweep
    fits = window.width
    if records * ROOMY < page_size:
        fits *= 2
    elif records > page_size * NEARLY_FULL:
        fits *= page_size * HALF_FULL / records
    return timedelta(seconds=int(min(fits, family.window.sweep, widest(settings, family)).total_seconds()))


def narrower(trailing: timedelta, answer: Page | EbayError, page_size: int) -> timedelta:
    """The same after an answer that is not all of the trailing part."""
    total = answer.total if isinstance(answer, Page) else 0
    share = page_size * HALF_FULL / total if total > page_size else 0.5
    return timedelta(seconds=int((trailing * share).total_seconds()))


def _start(settings: Settings, family: Family, cursor: datetime | None, now: datetime, end: datetime) -> datetime:
    if cursor is None:
        return now - (family.window.first_reach or timedelta(days=settings.initial_backfill_days))
    # A cursor in the future, of a database that was restored from elsewhere, must not make the window empty for ever.
    return min(cursor, end) - (family.window.overlap or timedelta(minutes=settings.overlap_minutes))


def backfill(settings: Settings, family: Family, days: int, now: datetime) -> Slice:
    """The last `days` days, as far as eBay reaches back."""
    start = _within_reach(family, now - timedelta(days=days), now)
    return Slice(whole_seconds(start), _end(settings, now))


@dataclass(frozen=True)
class SweepPlan:
    """The part of the horizon from the position to the live window, the width of the first slice, when the round began,
    and the time that this run has to reach."""

    span: Slice
    width: timedelta
    began: datetime
    until: datetime


def sweep(
    settings: Settings, family: Family, states: Sequence[State], window: Slice, *, whole: bool, patience: float = PLENTY
) -> SweepPlan | None:
    """The part of the trailing horizon to read again before a live window.

    It begins at the position that is furthest behind, or at the start of the horizon if the `whole` horizon is wanted
    or a new round is due. None if the family has no sweep, the window covers the horizon, or the round is in time: a
    round takes `patience` times the declared bound, and each slice is read when its time has come.
    """
    if (start := horizon(family, window)) is None:
        return None
    end, most = window.start, widest(settings, family)
    if whole:
        return SweepPlan(Slice(start, end), most, window.end, end)
    # Families of one source share the sweep's calls. The slowest one decides; the others skip what they have.
    slowest = min(states, key=_how_far)
    width = min(slowest.sweep_width or most, most)
    takes = round_takes(family, (end - start) / width) * patience
    began, position = slowest.sweep_began, slowest.sweep
    # A time beyond now is of a database that was restored from elsewhere.
    since = window.end - began if began is not None and began <= window.end else None
    if position is None or position >= end:
        # The round is complete.
        is_due = since is None or since >= takes
        return SweepPlan(Slice(start, end), width, window.end, start) if is_due else None
    if since is None:
        began, since = window.end, timedelta(0)
    # The horizon moves on with time, and may have passed the position.
    position = whole_seconds(max(start, position))
    target = start + (end - start) * min(1.0, since / takes)
    return SweepPlan(Slice(position, end), width, began or window.end, target) if position <= target else None


def round_takes(family: Family, slices: float) -> timedelta:
    """How long a round of so many slices may take, so that each row is read again within the declared bound. The
    slices of the next round begin elsewhere, so a row may come up to a slice later than a round before."""
    bound = family.window.seen_within * PUNCTUAL
    return bound / (1 + 1 / slices) if slices > 1 else bound


def _how_far(state: State) -> tuple[int, datetime]:
    """Sorts those that never began a round before those in one, and these before those that have ended one."""
    if state.sweep_began is None:
        return 0, state.sweep or NEVER
    return (1, state.sweep) if state.sweep else (2, state.sweep_began)


def horizon(family: Family, window: Slice) -> datetime | None:
    """The beginning of the sweep; None if the family has none, or the window covers it."""
    if family.window.sweep is None:
        return None
    start = whole_seconds(_within_reach(family, window.end - family.window.sweep, window.end))
    return start if start < window.start else None


def widest(settings: Settings, family: Family) -> timedelta:
    """The widest slice to ask for at once."""
    return family.window.widest or timedelta(hours=settings.max_window_hours)


def sparse(family: Family) -> timedelta | None:
    """How wide a slice may be that a page holds; None: as wide as `widest`."""
    return SPARSE if family.window.widest is None else None


def next_sweep_width(settings: Settings, family: Family, width: timedelta, records: int, page_size: int) -> timedelta:
    """The next width: doubled if a slice left most of its page empty, up to the widest."""
    return min(width * 2 if records * ROOMY < page_size else width, widest(settings, family))


def whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _end(settings: Settings, now: datetime) -> datetime:
    return whole_seconds(now - timedelta(seconds=settings.settle_seconds))


def _within_reach(family: Family, start: datetime, now: datetime) -> datetime:
    if family.window.furthest_reach is None:
        return start
    return max(start, whole_seconds(now - family.window.furthest_reach + REACH_MARGIN))
