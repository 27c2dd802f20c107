"""One run: the families of one source of one account.

Start reading ebaysync at `run`. From top to bottom it is the order of the steps:

    refuse    paused, disabled, not in this environment, no quota left: only the summary says so
    lease     one run per account, family and walk at a time
    glance    whether anything may have changed, if one cheap call of the source can tell
    plan      the window: from the cursor less the overlap (or the first reach) to eBay's now less the settle time
    read      the window in slices, read ahead while earlier ones are stored; or a scan, if eBay has no window
    sweep     a slice of the trailing horizon, if it is due, because no filter shows a change there
    refetch   records that are not in a final state, by a list or by id, and records that lack their detail
    report    the run's row, the family's state, a summary

Hop 4 of a record: a batch of records and the cursor they justify are stored in one transaction, fenced by the lease.

Invariants: the cursor moves in the transaction of the rows that justify it, never past a slice that is not completely
stored, never beyond eBay's now. No transaction waits for eBay. Every write is absolute, so repeating it does no harm.
Nothing is marked as removed without a complete scan.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from ebaysync.ebay import limits
from ebaysync.errors import EbaysyncError, Interrupted
from ebaysync.families.family import Family
from ebaysync.sync import full_scan, glance, open_records, outcome, plan, recheck, windows
from ebaysync.sync.begin import begin
from ebaysync.sync.context import RunContext, RunOptions
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.lease import kept
from ebaysync.sync.slices import PageReader, Slice
from ebaysync.sync.source_run import SourceRun
from ebaysync.sync.summary import Summary
from ebaysync.sync.watch import watched
from ebaysync.tasks import cancel

SOURCES_AT_ONCE = 4  # they share the account's limit of IN_FLIGHT requests to eBay
SOON = 3.0  # seconds after which the end of a run is recorded
log = logging.getLogger(__name__)


async def run(context: RunContext, families: Sequence[Family], options: RunOptions) -> list[Summary]:
    """Bring the families of one source of one account up to date. Errors and bugs end up in the summaries."""
    async with aclosing(run_sources(context, [families], options)) as summaries:
        return [summary async for summary in summaries]


async def run_sources(
    context: RunContext, sources: Sequence[Sequence[Family]], options: RunOptions
) -> AsyncGenerator[Summary]:
    """Bring the families of some sources of one account up to date; several sources are read at once. Yields a summary
    for each family, soon after its end. Errors and bugs end up in the summaries.

    While one source waits for eBay, another stores. They share the account's connections, token and call limit.
    """
    groups = [_family_runs(context, families, options) for families in sources]
    begun = await begin([family_run for group in groups for family_run in group], options) if groups else []
    leases = [family_run.sink.lease for family_run in begun if family_run.sink.lease]
    slots = asyncio.Semaphore(SOURCES_AT_ONCE)

    async def read(group: Sequence[FamilyRun]) -> Sequence[FamilyRun]:
        async with slots:
            await _read_source([family_run for family_run in group if family_run in begun], options)
        return group

    async with kept(context.db, leases), watched(context.db, begun):
        tasks = [asyncio.create_task(read(group)) for group in groups]
        try:
            async with aclosing(_some_at_a_time(tasks)) as finished:
                async for ended in finished:
                    await outcome.report(context.db, [one for one in ended if one in begun], options.walk)
                    for family_run in ended:
                        yield family_run.summary
        finally:
            await cancel(*tasks)


def _family_runs(context: RunContext, families: Sequence[Family], options: RunOptions) -> list[FamilyRun]:
    """The runs of one source's families. They share a count of calls, and a stop."""
    share = limits.usable_share(min(family.every_minutes for family in families))
    sharers = math.inf if families[0].cursor_type == "window" else limits.MOST_SHARERS_OF_SCAN
    own = replace(context, api=context.api.counted(share, sharers), stop=context.stop.derived())
    return [FamilyRun(own, family, force=options.force) for family in families]


async def _some_at_a_time(tasks: Sequence[asyncio.Task[Sequence[FamilyRun]]]) -> AsyncGenerator[list[FamilyRun]]:
    """Yields the runs of finished sources: those that finish within SOON together, so that one transaction is enough to
    record them."""
    pending, ended, deadline = set(tasks), list[FamilyRun](), 0.0
    while pending:
        timeout = max(0.0, deadline - time.monotonic()) if ended else None
        done, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if done and not ended:
            deadline = time.monotonic() + SOON
        ended += [family_run for task in done for family_run in task.result()]
        if ended and (not pending or time.monotonic() >= deadline):
            yield ended
            ended = []


async def _read_source(begun: Sequence[FamilyRun], options: RunOptions) -> None:
    """Read the families of one source that have begun. Errors and bugs end up in their summaries."""
    if not begun:
        return
    context, started = begun[0].context, time.monotonic()
    for family_run in begun:
        if family_run.sink.lease:
            family_run.sink.lease.waits = False
            family_run.sink.progressed()
    try:
        await _read(SourceRun(context, begun, options))
    except Exception as error:  # a bug here must not end the account's other families
        await outcome.settle(context, begun, error)
    outcome.count(context, [family_run.summary for family_run in begun], started)
    if wrong := context.api.transport.clock.disagreement():
        log.warning("%s: %s; windows end by the clocks that agree", context.account.name, wrong)
    for family_run in begun:
        family_run.summary.reason = family_run.summary.reason or wrong


async def _read(group: SourceRun) -> None:
    """Read and store what is due. Raises EbaysyncError. Stored batches stay."""
    if (signum := group.context.stop.signum) is not None:
        raise Interrupted(signum)
    # A dead refresh token is found here, before any family wastes a call.
    await group.race(group.context.api.credentials.access_token())
    if any(family_run.state.refused for family_run in group.active):
        await group.race(group.context.api.settle_doubt())  # so that asking again costs one call
    patience = group.options.patience.get(group.family.source, 1.0)
    for family_run in group.active:
        family_run.open(group.calls, group.go_on, patience)
    if group.reader:
        await _read_windows(group, group.reader)
    else:
        await full_scan.scan(group)
    if group.options.walk == "live":
        await _refetch(group)
    for family_run in group.active:
        family_run.summary.reason = family_run.summary.reason or family_run.summary.inconsistent
        try:
            family_run.settle_details()
        except EbaysyncError as error:
            await outcome.settle(group.context, [family_run], error)
    if group.failure:
        raise group.failure
    if (signum := group.context.stop.signum) is not None:
        raise Interrupted(signum)


async def _read_windows(group: SourceRun, reader: PageReader) -> None:
    """Read the live window, then a part of the sweep; or a backfill."""
    context, options, in_future = group.context, group.options, group.calls.in_future
    window: windows.Window
    nothing_new = await glance.nothing_new(group)
    if options.walk == "backfill":
        window = await group.race(windows.backfill(context, group.active, reader, in_future, options.days))
    else:
        window = await group.race(windows.live(context, group.active, reader, in_future, trails=not nothing_new))
    for family_run in group.active:
        family_run.announce(window.span)
    if not await (glance.pass_over(group, window.span) if nothing_new else group.walk(window)):
        return
    if isinstance(window, windows.Live) and not nothing_new:
        windows.learn_trailing(group.active, window, group.records, group.calls.page_size)
    for family_run in group.active:
        family_run.reached_end = True
        family_run.summary.caught_up = not family_run.consistency.held
    if options.walk == "live" and group.go_on():
        # Reading around a hole costs tens of calls. If it is in the way of the sweep, too, that waits for the next run.
        if options.sweep or not any(family_run.consistency.found_hole for family_run in group.active):
            await _sweep(group, window.span)
        await recheck.read_again(group, window)
    for family_run in group.active:
        family_run.summary.caught_up &= not family_run.consistency.has_holes
        family_run.summary.inconsistent = family_run.consistency.reason
    glance.remember(group, None if nothing_new else window.span)


async def _sweep(group: SourceRun, after: Slice) -> None:
    """Read the part of the horizon before the live window that is due."""
    if plan.horizon(group.family, after) is None:
        for family_run in group.active:
            if group.calls.glance is None:
                family_run.sweep_calls = {}
            elif family_run.family.window.sweep:  # the next run may pass over its window
                windows.sweep_is_done(family_run, after)
        return
    window = windows.sweep(group.context, group.active, after, group.calls.page_size, group.options)
    if window is None:
        return
    with group.beside_live() as calls:
        await group.walk(window)
    for family_run in group.active:
        family_run.sweep_calls = window.calls_per_day(family_run.family, calls, group.slices)


async def _refetch(group: SourceRun) -> None:
    """Read again what is not final or lacks its detail. Then fill in columns from other families' tables."""
    for family_run in list(group.active):
        if group.go_on() and family_run in group.active:
            await group.guarded(family_run, partial(open_records.read_again, group))
        # A family may have lost its lease meanwhile, so check again before each step.
        if group.go_on() and family_run in group.active:
            await group.guarded(family_run, FamilyRun.enrich)
