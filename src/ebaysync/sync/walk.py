"""Reads a time span in slices that can be stored one after the other.

A slice counts only if its whole content came in one answer. One answer shows one moment of eBay's index, so there is no
second page that rows could slip past while they move, whatever their order, and whether they enter or leave the window.
A row that leaves was modified, and a later slice finds it; a row that enters late is found by the next run's overlap.
Reading pages from last to first would not be enough: a row that enters near the start pushes another one across a page
boundary into what was already read.

A slice that holds more than a page is cut and asked for again (sync/queue). Neighbouring slices share their boundary,
so it does not matter which end of a filter is inclusive.

If one second alone holds more than a page (eBay's times are whole seconds), it cannot be cut. Then its pages are read,
in turn from either end, until two passes in a row bring nothing new.

An answer with fewer records than its own total is inconsistent. If it stays so, the slice is halved as long as one half
is consistent, so that the rest of the window is not affected, and delivered with the reason (sync/inconsistency decides
when it is believed).

A slice that eBay does not answer, or not completely, is cut in the same way, as long as it answers for one part. If it
answers for none, each is cut, once or twice. The rest is a hole: it costs itself, and the later slices are read
(sync/holes). If there are several, or eBay answers for nothing else, eBay is the cause.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta

from ebaysync.errors import BodyBroken, EbayError
from ebaysync.sync.holes import MOST_FAILED, NARROWEST, Unanswered
from ebaysync.sync.queue import Queue, tried, whole
from ebaysync.sync.slices import FINEST, NOT_ASKED, Page, PageReader, Slice, SliceRecords, Slicing

log = logging.getLogger(__name__)

PASSES = 12  # forwards and backwards in turn
WIDELY_INCONSISTENT = 3  # inconsistent slices per walk; with more, eBay's totals are wrong everywhere
UNREADABLE = 200  # answers per walk that are not XML; one record that breaks its page costs about twenty


async def read(
    reader: PageReader, slicing: Slicing, go_on: Callable[[], bool] = lambda: True
) -> AsyncGenerator[SliceRecords]:
    """Yields the span's slices with their records, in order of time. Stops asking when `go_on` returns false.

    Raises EbayError. Slices delivered before stay valid.
    """
    queue, unanswered = Queue(reader, slicing, go_on), Unanswered(slicing)
    unreadable = inconsistent = 0
    try:
        while queue.has_more():
            slice_, page = await queue.take()
            if page is NOT_ASKED:
                for each in unanswered.passed(SliceRecords(slice_, (), queue.width, is_hole=True)):
                    yield each
                continue
            is_broken = isinstance(page, BodyBroken) and page.by_a_record
            if not is_broken and (isinstance(page, EbayError) or page.partial):
                around = await _around_failed(reader, slice_, page, unanswered)
                queue.put_back(around)
                if not around:
                    failed = _partial(slice_, page, queue.width)
                    for each in unanswered.failed(failed, came=isinstance(page, Page)):
                        yield each
                unanswered.check()
                continue
            for each in unanswered.answered():
                yield each
            if isinstance(page, EbayError):
                assert isinstance(page, BodyBroken)
                unreadable += 1
                halves = _around_broken(page, slice_, unreadable)
                queue.put_back([(half, None) for half in halves])
                if not halves:
                    yield SliceRecords(slice_, (), queue.width, ((page.document or b"", page.message),))
            elif page.lacks(reader.page_size):
                inconsistent += 1
                # If eBay's totals are wrong everywhere, halving every slice would cost hundreds of calls.
                wide = inconsistent > WIDELY_INCONSISTENT
                for share, part in [(slice_, page)] if wide else await _narrowed(reader, slice_, page):
                    yield _contradicting(reader, share, part, queue.width)
            # One answer shows one moment of eBay's index, so a slice that needs a second page is cut, never paged.
            elif page.is_all(reader.page_size):
                queue.widen(slice_, page)
                yield SliceRecords(slice_, page.records, queue.width, page.broken, note=page.note, apart=page.apart)
            elif slice_.width > FINEST:
                queue.cut(slice_, page.total)
            else:
                records, broken, moving = await _dense(reader, slice_)
                yield SliceRecords(slice_, records, queue.width, broken, None, page.note, moving, apart=page.apart)
        for each in unanswered.rest():
            yield each
        unanswered.check()
    finally:
        # The caller may stop reading at any slice. Nobody else would end the calls that are ahead.
        await queue.close()


def _around_broken(error: BodyBroken, slice_: Slice, unreadable: int) -> list[Slice]:
    """The halves to ask for around a record that breaks its answer; none if the slice cannot be halved. Raises
    BodyBroken if no record can be the cause."""
    if slice_.width > FINEST and unreadable <= UNREADABLE:
        return slice_.cut(2)
    if error.document is None or slice_.width > FINEST:
        raise error
    return []


async def _around_failed(
    reader: PageReader, slice_: Slice, page: Page | EbayError, unanswered: Unanswered
) -> list[tuple[Slice, Page | EbayError | None]]:
    """The parts of a slice that eBay does not answer, or not completely, with their answers; none: it is not cut."""
    if slice_.width <= NARROWEST or not unanswered.narrows(page):
        return []
    if unanswered.may_probe():
        return await _probed(reader, slice_, page, unanswered)
    parts: list[tuple[Slice, Page | EbayError | None]] = []
    good = 0
    for part in slice_.cut(unanswered.parts):
        # An error costs several tries. After two, the others may wait until they are needed.
        found = await tried(whole(reader, part)) if len(parts) - good < MOST_FAILED else None
        good += found is not None and _is_good(found)
        parts.append((part, found))
    return parts if good or unanswered.may_split(slice_) else []


async def _probed(
    reader: PageReader, slice_: Slice, page: Page | EbayError, unanswered: Unanswered
) -> list[tuple[Slice, Page | EbayError | None]]:
    """The slice's last minute, which shows whether eBay answers at all, and the rest; none if eBay answers neither."""
    rest, minute = Slice(slice_.start, slice_.end - NARROWEST), Slice(slice_.end - NARROWEST, slice_.end)
    probe = await tried(whole(reader, minute))
    if _is_good(probe):
        unanswered.came = True
        return [(rest, page if isinstance(page, EbayError) else None), (minute, probe)]
    before = await tried(whole(reader, rest))
    return [(rest, before), (minute, probe)] if _is_good(before) else []


def _is_good(page: Page | EbayError) -> bool:
    return isinstance(page, Page) and page.partial is None


def _partial(slice_: Slice, page: Page | EbayError, width: timedelta) -> SliceRecords:
    """A slice that eBay does not answer, or not completely."""
    if isinstance(page, EbayError):
        return SliceRecords(slice_, (), width, partial=page)
    records, error, is_page = page.records, page.partial, not page.more
    return SliceRecords(slice_, records, width, page.broken, error, page.note, apart=page.apart, is_page=is_page)


async def _narrowed(reader: PageReader, slice_: Slice, page: Page) -> list[tuple[Slice, Page]]:
    """An inconsistent slice, halved as long as exactly one half is inconsistent. In order of time."""
    if slice_.width <= NARROWEST:
        return [(slice_, page)]
    halves = [(half, await reader.ask(half, 0)) for half in slice_.cut(2)]
    good = [found.is_all(reader.page_size) for _, found in halves]
    if not any(good):
        return [(slice_, page)]
    return [
        each
        for half, is_good in zip(halves, good, strict=True)
        # In order of time: positions are committed one after the other.
        for each in ([half] if is_good else await _narrowed(reader, *half))
    ]


def _contradicting(reader: PageReader, slice_: Slice, page: Page, width: timedelta) -> SliceRecords:
    reason = _inconsistency(reader, slice_, page)
    excess = page.total - page.came if reason else 0
    return SliceRecords(slice_, page.records, width, page.broken, None, page.note, reason, excess, page.apart)


def _inconsistency(reader: PageReader, slice_: Slice, page: Page) -> str | None:
    if not page.lacks(reader.page_size):
        return None
    span = f"{slice_.start.isoformat()} to {slice_.end.isoformat()}"
    return f"eBay counts {page.total} records from {span} and sends {page.came}"


async def _dense(
    reader: PageReader, slice_: Slice
) -> tuple[tuple[bytes, ...], tuple[tuple[bytes, str], ...], str | None]:
    """All records of a slice that cannot be cut, and the broken ones: read its pages until two passes in a row bring
    nothing new. Also why they may not be all."""
    found: dict[str | bytes, bytes] = {}
    broken: dict[bytes, str] = {}
    quiet = 0
    log.info("more than a page within one second at %s: reading it page by page", slice_.start.isoformat())
    # Rows move between pages during the reading. It is complete after two passes with nothing new and as many records
    # as stated.
    for turn in range(PASSES):
        before = len(found) + len(broken)
        total = await _one_pass(reader, slice_, found, broken, backwards=turn % 2 == 1)
        came = len(found) + len(broken)
        quiet = quiet + 1 if came == before and came >= total else 0
        if quiet == 2 or (turn > 0 and quiet and came == total):
            return tuple(found.values()), tuple(broken.items()), None
    moving = f"the records of {slice_.start.isoformat()} kept moving through {PASSES} passes"
    return tuple(found.values()), tuple(broken.items()), moving


async def _one_pass(
    reader: PageReader,
    slice_: Slice,
    found: dict[str | bytes, bytes],
    broken: dict[bytes, str],
    *,
    backwards: bool,
) -> int:
    page = await reader.ask(slice_, 0)
    total, step = page.total, page.came
    found.update((reader.key(record), record) for record in page.records)
    broken.update(page.broken)
    if not step:
        return total
    # Reading forwards misses rows that move to the front, backwards those that move to the end. So passes take turns.
    offset = (total - 1) // step * step if backwards else step
    while 0 < offset < total and page.came:
        page = await reader.ask(slice_, offset)
        total = max(total, page.total)
        found.update((reader.key(record), record) for record in page.records)
        broken.update(page.broken)
        offset += -step if backwards else step
    return total
