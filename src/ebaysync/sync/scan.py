"""Reads a list that has no window: page after page, until it can be believed that nothing was missed.

Rows that vanish or appear while we read shift the others over the pages' edges. A pass is believed when every page
told the same total and as many different records came; else the list is read again, at most PASSES times. What is
no longer there is decided from such passes alone (sync/snapshot).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from ebaysync.ebay.xml_repair import BrokenRecord
from ebaysync.errors import AnswerNotUnderstood, EbayError

PASSES = 4


@dataclass(frozen=True)
class ScanPage:
    """Records of a scan, and those that cannot be read. `incomplete`: why this is not all there is."""

    records: Sequence[bytes]
    broken: Sequence[BrokenRecord] = ()
    incomplete: EbayError | None = None


@dataclass(frozen=True)
class NumberedPage:
    """A page of a list: its records, how many the whole list is said to have (None: not said), and the next page's
    name (None: none). `incomplete`: why this is not all of the page."""

    records: tuple[bytes, ...]
    total: int | None
    next: str | None
    broken: tuple[BrokenRecord, ...] = ()
    incomplete: EbayError | None = None


BEHIND_THE_LAST = NumberedPage((), None, None)
"""There is no such page: the list ended with the one before. Whether that was all, the pages' totals say."""


async def numbered(
    ask: Callable[[str], Awaitable[NumberedPage]], key: Callable[[bytes], str | None], first: str
) -> AsyncGenerator[ScanPage]:
    """The list's pages; a record that comes a second time in a pass is left out. Raises AnswerNotUnderstood when no
    pass was whole."""
    for _ in range(PASSES):
        seen: set[str | bytes] = set()
        totals: set[int] = set()
        incomplete: EbayError | None = None
        name: str | None = first
        names: set[str] = set()
        while name is not None:
            page = await ask(name)
            totals |= set() if page.total is None else {page.total}
            incomplete = incomplete or page.incomplete
            names.add(name)
            fresh = {key(record) or record: record for record in page.records}
            broken = {each.key or each.document: each for each in page.broken}
            yield ScanPage(
                [record for found, record in fresh.items() if found not in seen],
                [each for found, each in broken.items() if found not in seen],
                page.incomplete,
            )
            came = fresh.keys() | broken.keys()
            # A list that never ends: its next page was read already, or brings only what came before.
            if page.next in names or (came and came <= seen):
                totals.add(-1)  # a page that leads back, or repeats what came before it: this pass is worth nothing
                break
            seen |= came
            name = page.next
        if incomplete or totals <= {len(seen)}:
            return
    raise AnswerNotUnderstood(
        f"eBay's list kept moving or repeats its pages: {len(seen)} records came, {max(totals)} were announced",
        hint="what came is stored; the next run reads it again",
    )
