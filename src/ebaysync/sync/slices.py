"""The parts of a walk over time: slices, eBay's pages for them, and the records that come out."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ebaysync.ebay.transport import IN_FLIGHT
from ebaysync.errors import EbayError

FINEST = timedelta(seconds=1)


@dataclass(frozen=True)
class Slice:
    start: datetime
    end: datetime

    @property
    def width(self) -> timedelta:
        return self.end - self.start

    def touches(self, other: Slice) -> bool:
        return self.start <= other.end and other.start <= self.end

    def contains(self, other: Slice) -> bool:
        return self.start <= other.start and other.end <= self.end

    def cut(self, parts: int) -> list[Slice]:
        """Slices of equal width on whole seconds, each beginning where the one before it ends."""
        step = max(FINEST, timedelta(seconds=math.ceil(self.width.total_seconds() / parts)))
        edges = [self.start]
        while edges[-1] + step < self.end:
            edges.append(edges[-1] + step)
        return [Slice(a, b) for a, b in zip(edges, [*edges[1:], self.end], strict=True)]


@dataclass(frozen=True)
class Page:
    """One answer: the total that eBay states for the window, the page's records, and whether another page follows."""

    total: int
    records: tuple[bytes, ...]
    more: bool
    partial: EbayError | None = None
    """eBay says that this is not everything: the records are good, but the cursor stays"""
    broken: tuple[tuple[bytes, str], ...] = ()
    """records that cannot be decoded, each with the reason"""
    note: str | None = None
    """why something is missing that does not hold up the rest"""
    apart: Mapping[str, EbayError | None] = field(default_factory=dict)
    """parts that are not on this page and are read by themselves, such as message folders: those that eBay did not
    answer now, each with the error, and those that were not asked for"""

    @property
    def came(self) -> int:
        return len(self.records) + len(self.broken)

    def lacks(self, page_size: int) -> bool:
        """Whether there are fewer records than stated on a page that is not full."""
        return self.came < min(self.total, page_size) and not self.more and not self.partial

    def is_all(self, page_size: int) -> bool:
        """Whether this is the whole window: as many records as stated, and no page after a full one."""
        return self.came >= self.total and not (self.more and self.came >= page_size)


NOT_ASKED = Page(0, (), more=False)
"""stands for the answer for a hole that waits for its next try"""


@dataclass(frozen=True)
class PageReader:
    """How to ask for a window's pages. `key` tells records apart; a record without a key is told apart by its bytes."""

    ask: Callable[[Slice, int], Awaitable[Page]]
    key: Callable[[bytes], str | bytes]
    page_size: int


@dataclass(frozen=True)
class SliceRecords:
    """A slice with all of its records. `broken` are records that cannot be decoded, and answers that cannot be read
    even for one second, each with the reason. `width` is how wide the next slice may be. `partial`: the error that eBay
    states beside the records, or instead of them: the position stays before this slice, unless it is a hole. `note`:
    see Page. `inconsistent`: why these may not be all records."""

    slice: Slice
    records: tuple[bytes, ...]
    width: timedelta
    broken: tuple[tuple[bytes, str], ...] = ()
    partial: EbayError | None = None
    note: str | None = None
    inconsistent: str | None = None
    excess: int = 0
    """how many records eBay counts and does not send"""
    apart: Mapping[str, EbayError | None] = field(default_factory=dict)
    """see Page"""
    is_hole: bool = False
    """the position may move past it, since later runs ask for it; without `partial`, it was not asked for now"""
    is_page: bool = False
    """with `partial`: the records are a whole page, so that several reads may agree"""

    @property
    def is_whole(self) -> bool:
        """Whether this is all there is."""
        return not (self.partial or self.inconsistent or self.is_hole)


def joined(slices: Sequence[SliceRecords]) -> SliceRecords:
    """Consecutive slices as one."""
    first, last = slices[0], slices[-1]
    if first is last:
        return first
    return replace(
        last,
        slice=Slice(first.slice.start, last.slice.end),
        records=tuple(record for each in slices for record in each.records),
        broken=tuple(broken for each in slices for broken in each.broken),
        note=next((each.note for each in reversed(slices) if each.note), None),
        apart={part: error for each in reversed(slices) for part, error in each.apart.items()},
    )


@dataclass(frozen=True)
class Slicing:
    """How a span is cut: into slices no wider than `widest`, none across one of the `edges`, `ahead` of them requested
    at once. `first_page` is the answer for the first slice, if there is one already. `sparse`: how wide slices may
    become where a page holds them; None: no wider than `widest`.

    `holes`: how many new holes this walk may leave; 0: the position stays before each. `known` holes do not count.
    Those that wait are not asked for. `sure`: eBay is known to answer. `splits`: how many slices may be cut although
    eBay answers for no part of them."""

    span: Slice
    widest: timedelta
    edges: Sequence[datetime] = ()
    first_page: Page | EbayError | None = None
    ahead: int = IN_FLIGHT
    sparse: timedelta | None = None
    holes: int = 0
    known: Collection[Slice] = ()
    waiting: Collection[Slice] = ()
    sure: bool = False
    splits: int = 0


def first(span: Slice, clamp: timedelta, edges: Sequence[datetime] = ()) -> Slice:
    """The span's first slice, up to the next edge."""
    return Slice(span.start, min(span.start + clamp, span.end, *(edge for edge in edges if edge > span.start)))
