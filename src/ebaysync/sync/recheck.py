"""Reads again slices of which records may be missing: contradicting ones, and holes whose next try is due.

A part that is read apart, such as a message folder, is first asked for its last minute: a folder that is not answered
costs one call, not one for each slice since it was last read.
"""

from __future__ import annotations

from functools import partial

from ebaysync.errors import EbayError
from ebaysync.sync.batch import Listed
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.holes import NARROWEST
from ebaysync.sync.queue import tried
from ebaysync.sync.slices import Slice
from ebaysync.sync.source_run import SourceRun
from ebaysync.sync.state.inconsistent_reads import FOREVER
from ebaysync.sync.windows import Recheck, Window


async def read_again(group: SourceRun, window: Window) -> None:
    """Read what is due after a live window. Raises EbayError, DatabaseError. Stored slices stay."""
    parts = {part for family_run in group.active for part in family_run.consistency.parts}
    for part in ["", *sorted(parts)]:
        due = {slice_ for family_run in group.active for slice_ in family_run.consistency.of(part).due()}
        for slice_ in sorted(due, key=lambda slice_: slice_.start):
            if group.go_on():
                await _read(group, window, slice_, part)


async def _read(group: SourceRun, window: Window, slice_: Slice, part: str) -> None:
    if slice_.end < FOREVER:
        await group.walk(Recheck(slice_, min(slice_.width, window.width)), part)
        return
    span = Slice(slice_.start, window.span.end)
    if span.width < NARROWEST:
        return
    found = await group.race(tried(group.reader_of(part).ask(Slice(span.end - NARROWEST, span.end), 0)))
    if isinstance(found, EbayError):
        await group.each(partial(_in_vain, hole=slice_, error=found, part=part))
        return
    for family_run in group.active:
        family_run.consistency.of(part).until = span.end
    await group.walk(Recheck(span, window.width), part)


async def _in_vain(family_run: FamilyRun, hole: Slice, error: EbayError, part: str) -> None:
    await family_run.store(Listed([]), move=family_run.consistency.of(part).in_vain(hole, error))
