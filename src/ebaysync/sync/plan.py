"""Decides which time span a run reads. Pure: eBay's now, states and settings go in, a span comes out.

A live window begins at the oldest cursor of its families, less the overlap. It ends at eBay's now, less the settle
time, because eBay's index lags behind. No span begins before eBay's reach. Every bound is a whole second, like eBay's
times.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ebaysync.families.family import Family
from ebaysync.settings import Settings
from ebaysync.sync.slices import Slice
from ebaysync.sync.state.sync_state import State

REACH_MARGIN = timedelta(hours=1)  # so that the first slice of a long walk stays within eBay's reach
SPARSE = timedelta(days=90)  # eBay takes two years at once; an order's is the only window without a limit of its own
ROOMY = 3  # a sweep's slice may widen if it fills less than this fraction of a page


def live(settings: Settings, families: Sequence[tuple[Family, datetime | None]], now: datetime) -> Slice:
    """The window of families that share a source, from each one's cursor (None: it never ran)."""
    end = _end(settings, now)
    # eBay may list a change late, with its earlier time. The overlap reads that time again.
    start = min(_start(settings, family, cursor, now, end) for family, cursor in families)
    return Slice(whole_seconds(_within_reach(families[0][0], start, now)), end)


def _start(settings: Settings, family: Family, cursor: datetime | None, now: datetime, end: datetime) -> datetime:
    if cursor is None:
        return now - (family.window.first_reach or timedelta(days=settings.initial_backfill_days))
    # A cursor in the future, of a database that was restored from elsewhere, must not make the window empty for ever.
    return min(cursor, end) - (family.window.overlap or timedelta(minutes=settings.overlap_minutes))


def backfill(settings: Settings, family: Family, days: int, now: datetime) -> Slice:
    """The last `days` days, as far as eBay reaches back."""
    start = _within_reach(family, now - timedelta(days=days), now)
    return Slice(whole_seconds(start), _end(settings, now))


def sweep(
    settings: Settings, family: Family, states: Sequence[State], window: Slice, *, whole: bool
) -> tuple[Slice, timedelta] | None:
    """The part of the trailing horizon to read again before a live window, and the width of its first slice.

    It begins at the position that is furthest behind, or at the start of the horizon if the last round is complete or
    the `whole` horizon is wanted. None if the family has no sweep, or the window covers the horizon.
    """
    if family.window.sweep is None:
        return None
    horizon, end = _within_reach(family, window.end - family.window.sweep, window.end), window.start
    if horizon >= end:
        return None
    if whole:
        return Slice(whole_seconds(horizon), end), widest(settings, family)
    # Families of one source share the sweep's calls. The slowest one decides; the others skip what they have.
    furthest_behind = min(states, key=lambda state: state.sweep or horizon)
    # The horizon moves on with time, and may have passed the position.
    start = max(horizon, furthest_behind.sweep or horizon)
    width = min(furthest_behind.sweep_width or widest(settings, family), widest(settings, family))
    # At its end, the round begins again.
    return Slice(whole_seconds(start if start < end else horizon), end), width


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
