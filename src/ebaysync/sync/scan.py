"""Reads a list without a window, page by page, until nothing can have been missed.

Rows that vanish or appear during the reading shift others across page boundaries. A pass counts as complete if every
page reported the same total and that many different records came; otherwise the list is read again, at most PASSES
times, or until two passes are the same. A list that stays inconsistent is not believed at once (sync/snapshot).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ebaysync.ebay.xml_repair import BrokenRecord
from ebaysync.errors import AnswerNotUnderstood, EbayError

PASSES = 4  # readings of the whole list; its rows may move during each
MOST_EMPTY = 3  # pages without a record in a row, although another one is announced


@dataclass(frozen=True)
class ScanPage:
    """Records of a scan, and those that cannot be read. `incomplete`: eBay's own word that this is not everything.
    `inconsistent`: why the list may have more records than it showed, although eBay does not say so.

    For a family with a `part_column`: `parts` were read, `failed` were not, each for a reason, `unasked` were not asked
    for; `ended_by` is why, if it passes by itself.
    """

    records: Sequence[bytes]
    broken: Sequence[BrokenRecord] = ()
    incomplete: EbayError | None = None
    inconsistent: str | None = None
    unlikely: EbayError | None = None
    """why the list is taken for empty although eBay did not send it: an error, unless three scans in a row agree"""
    parts: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    unasked: Sequence[str] = ()
    ended_by: EbayError | None = None


@dataclass(frozen=True)
class NumberedPage:
    """A page of a list. `total` is the number of records in the whole list (None: unknown), `next` names the next page
    (None: there is none). `incomplete`: why this is not the whole page."""

    records: tuple[bytes, ...]
    total: int | None
    next: str | None
    broken: tuple[BrokenRecord, ...] = ()
    incomplete: EbayError | None = None
    unlikely: EbayError | None = None
    """see ScanPage"""


BEHIND_THE_LAST = NumberedPage((), None, None)
"""There is no such page: the list ended with the page before. The totals tell whether that was everything."""


async def numbered(
    ask: Callable[[str], Awaitable[NumberedPage]], key: Callable[[bytes], str | None], first: str
) -> AsyncGenerator[ScanPage]:
    """Yields the list's pages without records that came before in the same pass; at last a page with the reason if no
    pass was complete.

    Raises AnswerNotUnderstood if eBay counts records and never sends one.
    """
    before: tuple[set[str | bytes], set[int]] | None = None
    for _ in range(PASSES):
        seen: set[str | bytes] = set()
        totals: set[int] = set()
        incomplete: EbayError | None = None
        name: str | None = first
        names: set[str] = set()
        empty = 0
        while name is not None:
            page = await ask(name)
            totals |= set() if page.total is None else {page.total}
            incomplete = incomplete or page.incomplete
            names.add(name)
            fresh = {key(record) or record: record for record in page.records}
            broken = {each.key or each.document: each for each in page.broken}
            # Two different records of one key on one page are both stored (sync/twins).
            yield ScanPage(
                [record for record in dict.fromkeys(page.records) if (key(record) or record) not in seen],
                [each for found, each in broken.items() if found not in seen],
                page.incomplete,
                unlikely=page.unlikely,
            )
            came = fresh.keys() | broken.keys()
            empty = 0 if came else empty + 1
            # An endless list: its next page was read already, or its pages bring only known records, or none.
            if page.next in names or (came and came <= seen) or empty > MOST_EMPTY:
                totals.add(-1)  # this pass does not count
                break
            seen |= came
            name = page.next
        # A list without any total is complete when its last page was read.
        if incomplete or totals <= {len(seen)}:
            return
        if before == (seen, totals):
            break
        before = seen, totals
    reason = f"eBay's list kept moving or repeats its pages: {len(seen)} records came, {max(totals)} were announced"
    if not seen:
        raise AnswerNotUnderstood(reason)
    yield ScanPage([], inconsistent=reason)
