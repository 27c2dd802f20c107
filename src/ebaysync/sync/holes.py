"""Decides what becomes of a slice that eBay does not answer, or not completely.

The walk cuts it, until what is left is narrow. That is a hole if eBay answers for other slices: the position moves
past it, and later runs ask for it (sync/inconsistency). Until eBay has answered another slice after it, a hole is held
back: if eBay answers nothing more, the position must stay before it. With several new holes in one walk, eBay is the
cause: reading ends with its error, or goes on without moving the position if there are records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from ebaysync.errors import EbayError
from ebaysync.sync.slices import Page, Slice, SliceRecords, Slicing

NARROWEST = timedelta(minutes=1)  # a slice is not cut further
FEW_MINUTES = 4 * NARROWEST  # not cut if eBay answers for no part
MOST_FAILED = 2  # new holes per walk; with more, eBay is the cause
MOST_SPLITS = 2  # see Slicing


class Unanswered:
    """The slices of a walk that eBay does not answer, or not completely. Methods return the slices to deliver now, in
    order of time. `came`: eBay has answered something."""

    def __init__(self, slicing: Slicing) -> None:
        self._slicing = slicing
        self._most = slicing.holes or MOST_FAILED
        self._held: list[SliceRecords] = []
        self.came = self._answers = slicing.sure
        self._new = self._splits = 0
        self._probed = False
        self._failure: EbayError | None = None

    def narrows(self, page: Page | EbayError) -> bool:
        """Whether to cut the slice with this answer. Cutting every incomplete answer would cost hundreds of calls."""
        return isinstance(page, EbayError) or 0 < self._slicing.holes >= self._new

    @property
    def parts(self) -> int:
        """In how many parts to cut a slice. An answer costs a call and an error several, so four are cheaper than two,
        unless all may fail."""
        return 4 if self.came and not self._slicing.sure else 2

    def may_probe(self) -> bool:
        """Whether to learn first, once, whether eBay answers at all."""
        may_probe = not (self.came or self._probed) and self._slicing.splits > 0
        self._probed |= may_probe
        return may_probe

    def may_split(self, slice_: Slice) -> bool:
        """Whether to cut the parts of a slice, although eBay answers for none."""
        # A few minutes may wait for their next try. Their parts would cost as many calls as those of a day.
        is_worth_it = self.came and (self._slicing.sure or slice_.width > FEW_MINUTES)
        self._splits += is_worth_it
        return is_worth_it and self._splits <= self._slicing.splits

    def answered(self) -> Sequence[SliceRecords]:
        """eBay has answered a slice."""
        self.came = self._answers = True
        return self._released(are_holes=self._slicing.holes > 0)

    def passed(self, waiting: SliceRecords) -> Sequence[SliceRecords]:
        """A hole was not asked for."""
        if not self._held:
            return [waiting]
        self._held.append(waiting)
        return []

    def failed(self, slice_: SliceRecords, *, came: bool) -> Sequence[SliceRecords]:
        """A slice is not cut further. `came`: eBay has answered it, but not completely."""
        may_open = self._slicing.holes > 0
        self.came |= came
        if may_open or not came:
            self._new += not any(hole.contains(slice_.slice) for hole in self._slicing.known)
        self._held.append(slice_)
        if self._new > self._most:
            self._failure = None if came else slice_.partial
            return self._released(are_holes=False)
        is_narrow = self._answers and slice_.slice.width <= FEW_MINUTES
        if len(self._held) == 1 and may_open and (self._slicing.sure or is_narrow):
            return self._released(are_holes=True)
        return [] if may_open or not self.came else self._released(are_holes=False)

    def rest(self) -> Sequence[SliceRecords]:
        """The span ends."""
        failed = [each.partial for each in self._held if each.partial]
        if failed and not self.came:
            self._failure = failed[0]
            return []
        return self._released(are_holes=False)

    def check(self) -> None:
        """Raise the EbayError that ends the walk, after the last slices were delivered."""
        if self._failure:
            raise self._failure

    def _released(self, *, are_holes: bool) -> Sequence[SliceRecords]:
        released, self._held = self._held, []
        return [replace(each, is_hole=True) if are_holes else each for each in released]
