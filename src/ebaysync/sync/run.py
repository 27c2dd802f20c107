"""One run: the families of one source of one account.

Start reading ebaysync at `run`. From top to bottom it is the order of the steps:

    refuse    paused, disabled, not in this environment, no quota left: only the summary says so
    lease     one run per account, family and walk at a time
    plan      the window: from the cursor less the overlap (or the first reach) to eBay's now less the settle time
    read      the window in slices, read ahead while earlier ones are stored; or a scan, if eBay has no window
    sweep     a slice of the trailing horizon, because no filter shows a change there
    refetch   by id: records that are not in a final state, and records that lack their detail
    report    the run's row, the family's state, a summary

Hop 4 of a record: a batch of records and the cursor they justify are stored in one transaction, fenced by the lease.

Invariants: the cursor moves in the transaction of the rows that justify it, never past a slice that is not completely
stored, never beyond eBay's now. No transaction waits for eBay. Every write is absolute, so repeating it does no harm.
Nothing is marked as removed without a complete scan.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import uuid4

from ebaysync.accounts import scopes
from ebaysync.ebay import limits
from ebaysync.errors import EbaysyncError, Interrupted
from ebaysync.families.family import Family
from ebaysync.sync import full_scan, outcome, windows
from ebaysync.sync import lease as leases
from ebaysync.sync.context import RunContext, RunOptions
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.sink import LeasedSink
from ebaysync.sync.source_run import SourceRun
from ebaysync.sync.state import run_log, sync_state
from ebaysync.sync.summary import Summary
from ebaysync.sync.walk import PageReader
from ebaysync.sync.watch import watched

log = logging.getLogger(__name__)


async def run(context: RunContext, families: Sequence[Family], options: RunOptions) -> list[Summary]:
    """Bring the families of one source of one account up to date. Errors and bugs end up in the summaries."""
    started = time.monotonic()
    share = limits.usable_share(min(family.every_minutes for family in families))
    context = replace(context, api=context.api.counted(share), stop=context.stop.derived())
    summaries: list[Summary] = []
    admitted: list[FamilyRun] = []
    for family in families:
        summary, family_run = await _refuse(context, family, options)
        summaries.append(summary)
        if family_run:
            admitted.append(family_run)
    async with AsyncExitStack() as stack:
        held = [one for one in admitted if options.dry_run or await _lease(context, one, options, stack)]
        if held:
            await stack.enter_async_context(watched(context.db, held, context.stop))
            try:
                await _read(SourceRun(context, held, options))
            except Exception as error:  # a bug here must not end the account's other families
                await outcome.settle(context, held, error)
            outcome.count(context, [family_run.summary for family_run in held], started)
            if wrong := context.api.transport.clock.disagreement():
                log.warning("%s: %s; windows end by the clocks that agree", context.account.name, wrong)
            for family_run in held:
                family_run.summary.reason = family_run.summary.reason or wrong
                await outcome.report(context, family_run, options.walk)
    outcome.count(context, summaries, started)
    return summaries


async def _refuse(context: RunContext, family: Family, options: RunOptions) -> tuple[Summary, FamilyRun | None]:
    """A family's summary, and its run; no run if there is a reason against it, which the summary then has."""
    summary = Summary(context.account.name, family.name)
    try:
        state = await sync_state.load(context.db, context.account, family)
        context.api.transport.clock.database_is(state.now)
        family_run = FamilyRun(context, family, state, force=options.force)
        summary = family_run.summary
        if reason := await _reason_to_refuse(context, family_run):
            outcome.skip(summary, reason)
        elif missing := await scopes.known_missing(context.db, context.account.id, family.scopes):
            failure = scopes.not_consented(context.account, family.name, missing)
            outcome.skip(summary, f"the seller has not consented to {scopes.short(missing)}", failure)
        else:
            return summary, family_run
    except EbaysyncError as error:
        outcome.fail(summary, error)
    return summary, None


async def _reason_to_refuse(context: RunContext, family_run: FamilyRun) -> str | None:
    if reason := await context.db.transact(family_run.reason_to_stop):
        return reason
    if context.account.environment in family_run.family.absent_in:
        return f"eBay has no {family_run.family.name} in its {context.account.environment}"
    return context.api.transport.cooling(family_run.family.costs)


async def _lease(context: RunContext, family_run: FamilyRun, options: RunOptions, stack: AsyncExitStack) -> bool:
    """Take the family's lease until the stack is closed, and begin a run. False if another run holds the lease."""
    family, account, run_id = family_run.family, context.account, uuid4()
    try:
        held = leases.held(context.db, account.id, family.name, options.walk, run_id)
        family_run.sink = LeasedSink(context.db, await stack.enter_async_context(held))
        family_run.summary.run_id = str(run_id)
        await sync_state.ensure(context.db, account, family)
        await run_log.begin_run(context.db, account, family.name, run_id, options.trigger)
        # Load the state again under the lease: a run that has just ended may have moved the cursor.
        family_run.state = await sync_state.load(context.db, account, family)
        family_run.summary.cursor = family_run.state.cursor
    except EbaysyncError as error:
        outcome.fail(family_run.summary, error)
        return False
    return True


async def _read(group: SourceRun) -> None:
    """Read and store what is due. Raises EbaysyncError. Stored batches stay."""
    # A dead refresh token is found here, before any family wastes a call.
    await group.race(group.context.api.credentials.access_token())
    if any(family_run.state.refused for family_run in group.active):
        await group.race(group.context.api.settle_doubt())  # so that asking again costs one call
    for family_run in group.active:
        await family_run.open(group.calls, group.go_on)
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
    if options.walk == "backfill":
        window = await group.race(windows.backfill(context, group.active, reader, in_future, options.days))
    else:
        window = await group.race(windows.live(context, group.active, reader, in_future))
    await group.each(lambda family_run: family_run.announce(window.span))
    if not await group.walk(window):
        return
    for family_run in group.active:
        family_run.summary.caught_up = not family_run.consistency.held
        family_run.summary.inconsistent = family_run.consistency.reason
    if options.walk == "live" and group.go_on():
        swept = windows.sweep(context, group.active, window.span, group.calls.page_size, options)
        if swept:
            await group.walk(swept)
        for slice_ in {slice_ for family_run in group.active for slice_ in family_run.consistency.stale()}:
            if group.go_on():
                await group.walk(windows.Recheck(slice_, slice_.width))


async def _refetch(group: SourceRun) -> None:
    """Fetch by id what is not final or lacks its detail. Then fill in columns from other families' tables."""
    for family_run in list(group.active):
        if group.go_on() and family_run in group.active:
            await group.guarded(family_run, FamilyRun.refetch_open)
        # A family may have lost its lease meanwhile, so check again before each step.
        if group.go_on() and family_run in group.active:
            await group.guarded(family_run, FamilyRun.enrich)
