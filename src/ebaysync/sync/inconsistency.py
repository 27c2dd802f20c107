"""Remembers slices of which records may be missing, and decides when an answer is believed nevertheless.

The records of an answer that contradicts itself are stored each time. The position stays before such a slice until
three runs in a row have read the same records there; then it moves on, and the note stays visible. A believed slice is
read again after a day. If each run misses another record, the answers of several runs together are complete: as many
records as each of them counts.

A slice that eBay does not answer, or not completely, is a hole (sync/holes). It is noted in the transaction that moves
the position past it, and asked for ever more seldom, until one answer after the other has covered it. Meanwhile the
family is not caught up, unless three reads that are hours apart brought the same records.

A part of the window, such as a message folder, that eBay does not answer has a hole without an end. It is read apart,
from there on, until it has caught up with the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from ebaysync.errors import EbayError
from ebaysync.store.connection import Connection
from ebaysync.sync.holes import MOST_FAILED, NARROWEST
from ebaysync.sync.move import Move
from ebaysync.sync.slices import Slice, SliceRecords
from ebaysync.sync.state import inconsistent_reads
from ebaysync.sync.state.inconsistent_reads import FOREVER, Inconsistent, Known, in_vain, read_again

RECHECKS = 3  # slices per run
MOST_HOLES = 20  # of a family; with more, eBay is the cause


class Consistency:
    """The inconsistent slices and holes of one family of one account. `held`: the current window's position stays
    before one. `found_hole`: this run has found a new one."""

    def __init__(self, account_id: UUID, family: str, known: Known, part: str = "") -> None:
        self._account_id, self._family, self._part = account_id, family, part
        self._known = {slice_: read for (name, slice_), read in known.items() if name == part}
        names = {name for name, _ in known} - {""} if not part else set()
        self.parts = {name: Consistency(account_id, family, known, name) for name in sorted(names)}
        self.until = FOREVER
        """a hole without an end is closed when it is read until then"""
        self.held = False
        self.found_hole = False
        self._noted_last: str | None = None

    @property
    def reason(self) -> str | None:
        """Why a record may be missing: what this run noted last, or an older hole."""
        older = (read.reason for read in self._known.values() if read.is_hole)
        parts = (part.reason for part in self.parts.values())
        return next(filter(None, (self._noted_last, *older, *parts)), None)

    @property
    def is_clean(self) -> bool:
        """Whether nothing that eBay counted may be missing."""
        return not (self._known or self._noted_last) and all(part.is_clean for part in self.parts.values())

    @property
    def has_holes(self) -> bool:
        """Whether eBay has not answered for a slice that the position has passed."""
        own = any(read.is_hole and not read.is_believed for read in self._known.values())
        return own or any(part.has_holes for part in self.parts.values())

    @property
    def holes(self) -> set[Slice]:
        return {slice_ for slice_, read in self._known.items() if read.is_hole}

    @property
    def waiting(self) -> set[Slice]:
        """Holes whose next try is not due."""
        return {slice_ for slice_ in self.holes if not self._known[slice_].due}

    @property
    def apart(self) -> set[str]:
        """Parts that are not read with the others."""
        return {name for name, part in self.parts.items() if any(hole.end == FOREVER for hole in part.holes)}

    @property
    def may_open(self) -> int:
        """How many holes may be added in one walk."""
        return max(0, min(MOST_FAILED, MOST_HOLES - len(self.holes)))

    def of(self, part: str) -> Consistency:
        """The slices of a part that is read alone."""
        return self.parts[part] if part else self

    def begin(self) -> None:
        """Begin another window."""
        self.held = False

    def edges(self) -> Iterable[datetime]:
        """Times at which slices must begin and end, so that an inconsistent slice is read as it was before."""
        return (edge for slice_ in self._known for edge in (slice_.start, slice_.end))

    def due(self) -> list[Slice]:
        """Slices to read again although no window needs them, those that were asked for least often first."""
        due = [slice_ for slice_, read in self._known.items() if read.due]
        return sorted(due, key=lambda slice_: self._known[slice_].attempts)[:RECHECKS]

    def move(
        self, done: SliceRecords, keys: Collection[str | bytes], passed: datetime | None, move: Move | None
    ) -> Move | None:
        """Notes, and `move` unless the position is held, to commit with the records of a slice. `passed` is
        the position so far."""
        return _joined(*self._apart(done), *self._notes(done, keys, passed), None if self.held else move)

    def _notes(self, done: SliceRecords, keys: Collection[str | bytes], passed: datetime | None) -> Iterable[Move]:
        self._noted_last = done.note or self._noted_last
        if done.is_hole:
            if done.partial:
                return self._in_vain(done, done.partial, keys)
            # It waits, and was not asked for. A part of a hole must not shorten it: nobody has read that part.
            return self._around(done.slice) if done.slice in self.holes else ()
        if done.partial:
            return ()
        if done.inconsistent is None:
            return self._read(done.slice)
        slice_ = self._known_as(done.slice)
        read = read_again(self._known.get(slice_), keys, done.excess, done.inconsistent)
        self._known[slice_] = read
        if read.is_complete:
            return (self._settled([slice_]),)
        self._noted_last = done.inconsistent
        # A slice that the position has passed cannot hold it any more.
        if not (read.is_believed or self._is_usual(slice_, read) or (passed and slice_.end <= passed)):
            # Later slices are stored too, but their positions would jump over this one.
            self.held = True
        return (self._noted(slice_, read),)

    def knows(self, done: SliceRecords) -> bool:
        """Whether a slice is, or is in, one of these."""
        return any(known.contains(done.slice) for known in self._known)

    def in_vain(self, hole: Slice, error: EbayError) -> Move:
        """Note that eBay does not answer for any of a hole."""
        return self._noted(hole, in_vain(self._known.get(hole), None, self._why(hole, error)))

    def _apart(self, done: SliceRecords) -> Iterable[Move]:
        """Note since when some parts are not read with the others."""
        for name, error in done.apart.items():
            part = self.parts.setdefault(name, Consistency(self._account_id, self._family, {}, name))
            endless = next((hole for hole in part.holes if hole.end == FOREVER), None)
            slice_ = Slice(done.slice.start, FOREVER)
            if error and endless is None:
                yield part.in_vain(slice_, error)
            elif endless and slice_.start < endless.start:
                yield part._noted(slice_, part._known[endless])
                yield part._settled([endless])

    def _why(self, slice_: Slice, error: EbayError, answers: str = "does not answer") -> str:
        """Why a hole is one."""
        start, end = slice_.start.isoformat(), slice_.end.isoformat()
        part = f" for folder {self._part}" if self._part else ""
        span = f"since {start}" if slice_.end == FOREVER else f"from {start} to {end}"
        return f"eBay {answers}{part} {span}: {error.message}"

    def _in_vain(self, done: SliceRecords, error: EbayError, keys: Collection[str | bytes]) -> Iterable[Move]:
        """Note a hole. If it is the beginning of a known one, the rest of that is another one."""
        around = [hole for hole in self.holes if hole.contains(done.slice)]
        known = min(around, key=lambda hole: hole.width, default=done.slice)
        slice_ = done.slice if known.start == done.slice.start else known
        self._noted_last = self._why(slice_, error, "does not answer completely" if done.records else "does not answer")
        self.found_hole |= not around
        read = in_vain(self._known.get(slice_), keys if done.is_page else None, self._noted_last)
        return [self._noted(slice_, read), *self._around(slice_)]

    def _read(self, span: Slice) -> Iterable[Move]:
        """Close what this span covers. A hole that it covers at the beginning becomes shorter."""
        if covered := [slice_ for slice_ in self._known if span.contains(slice_)]:
            yield self._settled(covered)
        yield from self._around(span)

    def _around(self, span: Slice) -> Iterable[Move]:
        """Shorten the holes that begin in this span, which is read or is a hole of its own."""
        for hole in self.holes:
            if span.start <= hole.start < span.end < hole.end:
                if span.end < self.until or hole.end < FOREVER:
                    yield self._noted(Slice(span.end, hole.end), self._known[hole])
                yield self._settled([hole])

    def _is_usual(self, slice_: Slice, read: Inconsistent) -> bool:
        """Whether eBay's count is wrong by as much in a believed slice of any content: it is wrong everywhere."""
        others = self._known.keys() - self.holes
        wide = (known for known in others if known.width > NARROWEST and slice_.width > NARROWEST)
        return any(self._known[known].is_believed and self._known[known].excess == read.excess for known in wide)

    def _known_as(self, slice_: Slice) -> Slice:
        """The slice under which it is known: a first import begins a little later each time."""
        others = self._known.keys() - self.holes
        ends_there = (known for known in others if known.end == slice_.end and known.contains(slice_))
        return next(ends_there, slice_)

    def _noted(self, slice_: Slice, read: Inconsistent) -> Move:
        async def write(connection: Connection) -> None:
            await inconsistent_reads.note(connection, self._account_id, self._family, self._part, slice_, read)

        return Move(write, lambda: self._known.update({slice_: read}))

    def _settled(self, slices: Sequence[Slice]) -> Move:
        async def write(connection: Connection) -> None:
            await inconsistent_reads.settle(connection, self._account_id, self._family, self._part, slices)

        def stored() -> None:
            for slice_ in slices:
                self._known.pop(slice_, None)

        return Move(write, stored)


def _joined(*moves: Move | None) -> Move | None:
    wanted = [move for move in moves if move]
    if len(wanted) < 2:
        return wanted[0] if wanted else None

    async def write(connection: Connection) -> None:
        for move in wanted:
            await move.write(connection)

    def stored() -> None:
        for move in wanted:
            move.stored()

    return Move(write, stored)
