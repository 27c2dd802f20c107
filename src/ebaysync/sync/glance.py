"""Passes over a live window if one cheap call of the source says that nothing has changed.

The sweep, holes that are due and pending details do not depend on it. Something that is known to be missing makes the
run read the window.
"""

from __future__ import annotations

from datetime import datetime

from ebaysync.sync.batch import Listed
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.slices import Slice
from ebaysync.sync.source_run import SourceRun
from ebaysync.sync.windows import cursor_to


async def nothing_new(group: SourceRun) -> bool:
    """Whether the live window need not be read. Raises EbayError."""
    glance = group.calls.glance
    if glance is None or group.options.walk != "live":
        return False
    cursors = [one.state.cursor for one in group.active if one.consistency.is_clean and not one.state.refused]
    known = [cursor for cursor in cursors if cursor is not None]
    cursor = min(known) if len(known) == len(group.active) else None
    found = await group.race(glance.nothing_new(group.active[0].state.remembered, cursor))
    # Also for a run that fails: the next one must not take what it sees for what was read.
    _remember(group, None)
    return found and not group.options.sweep


async def pass_over(group: SourceRun, span: Slice) -> bool:
    """Commit the cursor as if the window had been read. Returns whether its end was reached. Raises DatabaseError."""

    async def store(family_run: FamilyRun) -> None:
        await family_run.store(Listed([]), span, cursor_to(family_run, span.end))
        family_run.progress(span.end)

    await group.each(store)
    return True


def remember(group: SourceRun, span: Slice | None) -> None:
    """Note what the source remembers after a run that has read this window; None: it has passed over it."""
    whole = not group.failure and all(one.consistency.is_clean for one in group.active)
    # If a clock is wrong, the cursor is behind the window's end.
    cursors = [one.state.cursor for one in group.active if one.state.cursor is not None]
    _remember(group, min([span.end, *cursors]) if span and whole else None)


def _remember(group: SourceRun, read_until: datetime | None) -> None:
    if group.calls.glance is None or not group.active:
        return
    first = group.active[0]
    found = group.calls.glance.remembered(read_until, first.summary.inserted)
    first.remembers = found if found != first.state.remembered else None
