"""Reads again what may have changed although no window shows it: records that are not final, and details that are due.

The live window and the sweep show the summaries of many records for one call, and a summary that changed has brought
its detail. Open records that they did not show come with eBay's list of all that is open, or with a search around their
births, if that costs less than each by its id. Others are read by id. A detail may change although the summary does
not, so it is read again at an age (sync/details).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta

from ebaysync.errors import EbayError
from ebaysync.sync import plan
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.queue import may_be_of_its_slice
from ebaysync.sync.slices import Page, Slice
from ebaysync.sync.source_run import SourceRun

WORTH_A_LIST = 2  # records that one call may show
BY_ID = 10  # records that no list shows are read in one run, those first whose detail is oldest
AROUND = timedelta(minutes=1)


async def read_again(group: SourceRun, family_run: FamilyRun) -> None:
    """Raises EbayError, LeaseLost, StopRequested, DatabaseError."""
    details = family_run.details
    born = await details.still_open()
    if len(details.not_listed(born)) >= WORTH_A_LIST and group.calls.open_list:
        await _list(group, family_run, group.calls.open_list())
    if group.reader:
        widest = plan.widest(group.context.settings, family_run.family)
        for span in spans([time for key in details.not_listed(born) if (time := born[key])], widest):
            await _list(group, family_run, group.reader.ask(span, 0))
    await family_run.refetch([*details.due(), *details.not_listed(born)[:BY_ID]])
    with group.beside_live():
        await family_run.refetch(details.aged(born))


def spans(births: Sequence[datetime], widest: timedelta) -> list[Slice]:
    """Spans no wider than this, around several of these times each. A time that would be alone in its span has none."""
    found: list[list[datetime]] = []
    for time in sorted(births):
        if found and time - found[-1][0] <= widest - 2 * AROUND:
            found[-1].append(time)
        else:
            found.append([time])
    whole = plan.whole_seconds
    return [Slice(whole(times[0] - AROUND), whole(times[-1] + AROUND)) for times in found if len(times) >= WORTH_A_LIST]


async def _list(group: SourceRun, family_run: FamilyRun, asked: Awaitable[Page]) -> None:
    """Store a page of records. An error that may be of this call alone costs only the page: its records are read by
    id."""
    try:
        page = await group.race(asked)
    except EbayError as error:
        if not may_be_of_its_slice(error):
            raise
        family_run.summary.caught_up = False
        family_run.summary.reason = family_run.summary.reason or f"open records are read by id: {error.message}"
        return
    await family_run.store(await family_run.details.composer.listed(page.records, page.broken))
