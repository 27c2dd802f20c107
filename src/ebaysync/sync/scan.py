"""Reads a list without a window, page by page, until nothing can have been missed.

Rows that vanish or appear during the reading shift others across page boundaries. A pass counts as complete if every
page reported the same total and that many different records came; otherwise the list is read again, at most PASSES
times, or until two passes are the same. A list that stays inconsistent is not believed at once (sync/snapshot).

A page that eBay does not answer costs its records, not those of the later pages: their names go on as those before it
did. The list then counts as read in part. With several such pages in a row, eBay is the cause.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ebaysync.ebay.xml_repair import BrokenRecord
from ebaysync.errors import AnswerNotUnderstood, EbayError
from ebaysync.sync.queue import may_be_of_its_slice

PASSES = 4  # readings of the whole list; its rows may move during each
MOST_EMPTY = 3  # pages without a record in a row, although another one is announced
MOST_IN_A_ROW, MOST_UNANSWERED = 2, 10  # pages of a pass that eBay does not answer


@dataclass(frozen=True)
class ScanPage:
    """Records of a scan, and those that cannot be read. `incomplete`: why some of the list could not be read.
    `partial`: eBay's own word that this is not everything; an error, unless three scans that are hours apart agree.
    `inconsistent`: why the list may have more records than it showed, although eBay does not say so.

    For a family with a `part_column`: `parts` were read, `failed` were not, each for a reason, `unasked` were not asked
    for; `ended_by` is why, if it passes by itself. `rested` have their turn in a later run. `in_turn`: how many calls
    were made only because parts had theirs.
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
    partial: EbayError | None = None
    rested: Sequence[str] = ()
    in_turn: int = 0


@dataclass(frozen=True)
class NumberedPage:
    """A page of a list. `total` is the number of records in the whole list (None: unknown), `next` names the next page
    (None: there is none). `incomplete`: why the page is missing. `partial`: eBay's own word that this is not the whole
    page."""

    records: tuple[bytes, ...]
    total: int | None
    next: str | None
    broken: tuple[BrokenRecord, ...] = ()
    incomplete: EbayError | None = None
    partial: EbayError | None = None
    unlikely: EbayError | None = None
    """see ScanPage"""


BEHIND_THE_LAST = NumberedPage((), None, None)
"""There is no such page: the list ended with the page before. The totals tell whether that was everything."""


async def numbered(
    ask: Callable[[str], Awaitable[NumberedPage]], key: Callable[[bytes], str | None], first: str
) -> AsyncGenerator[ScanPage]:
    """Yields the list's pages without records that came before in the same pass; at last a page with the reason if no
    pass was complete.

    Raises EbayError; AnswerNotUnderstood if eBay counts records and never sends one.
    """
    before: tuple[set[str | bytes], set[int]] | None = None
    for _ in range(PASSES):
        seen: set[str | bytes] = set()
        totals: set[int] = set()
        incomplete: EbayError | None = None
        name: str | None = first
        names: list[str] = []
        failed_pages = _FailedPages()
        empty = 0
        while name is not None:
            names.append(name)
            try:
                page = await ask(name)
            except EbayError as error:
                name = failed_pages.next_name(error, names, max(totals, default=0))
                continue
            failed_pages.answered(page)
            totals |= set() if page.total is None else {page.total}
            incomplete = incomplete or page.incomplete or page.partial
            fresh = {key(record) or record: record for record in page.records}
            broken = {each.key or each.document: each for each in page.broken}
            # Two different records of one key on one page are both stored (sync/twins).
            yield ScanPage(
                [record for record in dict.fromkeys(page.records) if (key(record) or record) not in seen],
                [each for found, each in broken.items() if found not in seen],
                page.incomplete,
                partial=page.partial,
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
        if failed_pages.failure:
            yield ScanPage([], incomplete=failed_pages.failure)
            return
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


class _FailedPages:
    """The pages of one pass that eBay does not answer. `failure`: the first one's error."""

    def __init__(self) -> None:
        self.failure: EbayError | None = None
        self._in_a_row = self._count = self._page_size = 0

    def answered(self, page: NumberedPage) -> None:
        self._in_a_row = 0
        self._page_size = max(self._page_size, len(page.records) + len(page.broken))

    def next_name(self, error: EbayError, names: Sequence[str], total: int) -> str | None:
        """The name of the page after the last of these, which eBay does not answer; None if there is none. Raises
        EbayError if no name follows from those before, or eBay is the cause."""
        if not may_be_of_its_slice(error):
            raise error
        self.failure = self.failure or error
        self._in_a_row, self._count = self._in_a_row + 1, self._count + 1
        too_many = self._in_a_row > MOST_IN_A_ROW or self._count > MOST_UNANSWERED
        if too_many or len(names) < 2 or not all(map(str.isdecimal, names[-2:])):
            raise self.failure
        if len(names) * self._page_size >= total:
            return None
        # eBay counts pages or records.
        return str(2 * int(names[-1]) - int(names[-2]))
