"""Decides when an answer that contradicts itself is believed.

Its records are stored each time. The position stays before such a slice until three runs in a row have read the same
records there; then it moves on, and the note stays visible. A believed slice is read again after a day. If each run
misses another record, the answers of several runs together are complete: as many records as each of them counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from ebaysync.store.connection import Connection
from ebaysync.sync.move import Move
from ebaysync.sync.state import inconsistent_reads
from ebaysync.sync.state.inconsistent_reads import Inconsistent, read_again
from ebaysync.sync.walk import NARROWEST, Slice, SliceRecords

RECHECKS = 3  # slices per run


class Consistency:
    """The inconsistent slices of one family of one account. `reason` is what this run noted last; `held`:
    the current window's position stays before one, or before a slice that eBay did not answer completely."""

    def __init__(self, account_id: UUID, family: str, known: Mapping[Slice, Inconsistent]) -> None:
        self._account_id, self._family = account_id, family
        self._known = dict(known)
        self.held = False
        self.reason: str | None = None

    @property
    def is_clean(self) -> bool:
        """Whether nothing that eBay counted may be missing."""
        return not self._known and self.reason is None

    def begin(self) -> None:
        """Begin another window."""
        self.held = False

    def edges(self) -> Iterable[datetime]:
        """Times at which slices must begin and end, so that an inconsistent slice is read as it was before."""
        return (edge for slice_ in self._known for edge in (slice_.start, slice_.end))

    def stale(self) -> list[Slice]:
        """Slices to read again although no window needs them."""
        return [slice_ for slice_, read in self._known.items() if read.stale][:RECHECKS]

    def move(
        self, done: SliceRecords, keys: Collection[str | bytes], passed: datetime | None, move: Move | None
    ) -> Move | None:
        """A note, and `move` unless the position is held, to commit with the records of a slice. `passed` is
        the position so far."""
        self.reason = done.note or self.reason
        if done.partial:
            return None if self.held else move
        if done.inconsistent is None:
            consistent = [slice_ for slice_ in self._known if done.slice.contains(slice_)]
            return _joined(self._settled(consistent), None if self.held else move)
        slice_ = self._known_as(done.slice)
        read = self._known[slice_] = read_again(self._known.get(slice_), keys, done.excess)
        if read.is_complete:
            return _joined(self._settled([slice_]), None if self.held else move)
        self.reason = done.inconsistent
        # A slice that the position has passed cannot hold it any more.
        if not (read.is_believed or self._is_usual(slice_, read) or (passed and slice_.end <= passed)):
            # Later slices are stored too, but their positions would jump over this one.
            self.held = True
        return _joined(self._noted(slice_, done.inconsistent, read), None if self.held else move)

    def _is_usual(self, slice_: Slice, read: Inconsistent) -> bool:
        """Whether eBay's count is wrong by as much in a believed slice of any content: it is wrong everywhere."""
        wide = (known for known in self._known if known.width > NARROWEST and slice_.width > NARROWEST)
        return any(self._known[known].is_believed and self._known[known].excess == read.excess for known in wide)

    def _known_as(self, slice_: Slice) -> Slice:
        """The slice under which it is known: a first import begins a little later each time."""
        ends_there = (known for known in self._known if known.end == slice_.end and known.contains(slice_))
        return next(ends_there, slice_)

    def _noted(self, slice_: Slice, reason: str, read: Inconsistent) -> Move:
        async def write(connection: Connection) -> None:
            await inconsistent_reads.note(connection, self._account_id, self._family, slice_, reason, read)

        return Move(write, lambda: None)

    def _settled(self, slices: Sequence[Slice]) -> Move | None:
        if not slices:
            return None

        async def write(connection: Connection) -> None:
            await inconsistent_reads.settle(connection, self._account_id, self._family, slices)

        def stored() -> None:
            for slice_ in slices:
                del self._known[slice_]

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
