"""One run of the families of one source of one account, from top to bottom. `run` is the place to begin reading
ebaysync.

    refuse    paused, disabled, not in this environment, no quota left: said, not done
    lease     one run per account, family and walk at a time
    plan      the window: from the cursor less the overlap (or the first reach) to eBay's now less the settle time
    walk      slices of it, read ahead while the ones before are stored; or a scan, where eBay has no window
    sweep     a slice of the trailing horizon, where rows change without any filter showing it
    again     by their ids, the records that are not in a final state, and those that lack their detail
    store     each portion's records and the cursor they justify, in one transaction, fenced by the lease
    tell      the run's row, the family's state, a summary

Invariants: the cursor moves in the transaction of the rows that justify it, never past a slice that is not wholly
stored, never beyond eBay's now; no transaction waits for eBay; every write is absolute, so a repeated one does
no harm; nothing is marked as removed but after a complete scan.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.accounts import scopes
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.tokens import consent_needed, note_refusal
from ebaysync.ebay import limits
from ebaysync.ebay.rest import Api
from ebaysync.errors import (
    ConsentNeeded,
    DatabaseError,
    EbayError,
    EbayRejected,
    EbaysyncError,
    Interrupted,
    LeaseHeld,
    LeaseLost,
    OutOfMemory,
    QuotaSpent,
    ScopeMissing,
    XmlBroken,
)
from ebaysync.families.family import Family
from ebaysync.settings import Settings
from ebaysync.store.database import Database
from ebaysync.sync import cadence, plan
from ebaysync.sync import lease as leases
from ebaysync.sync import state as states
from ebaysync.sync.family_run import FamilyRun, Halted, Move
from ebaysync.sync.halt import Stop, watched
from ebaysync.sync.lease import Walk
from ebaysync.sync.sources import SOURCES, Calls, key_reader
from ebaysync.sync.summary import Summary
from ebaysync.sync.walk import Page, Portion, Slice, Source, first, read

log = logging.getLogger(__name__)

CLOCK_TOLERANCE = timedelta(seconds=5)  # the Date header counts whole seconds


@dataclass(frozen=True)
class RunOptions:
    """What a command asks of a run."""

    trigger: str
    walk: Walk = "live"
    days: int = 0
    sweep: bool = False
    """the whole sweep horizon in this run"""
    dry_run: bool = False
    force: bool = False
    accept_removals: bool = False
    deadline: float | None = None
    """time.monotonic() after which no new slice starts"""


@dataclass(frozen=True)
class RunContext:
    """What a run works with. `progress` is told of every stored slice."""

    settings: Settings
    db: Database
    api: Api
    account: Account
    stop: Stop
    progress: Callable[[Summary], None] = lambda _: None


async def run(context: RunContext, families: Sequence[Family], options: RunOptions) -> list[Summary]:
    """Bring families of one source of one account up to date. Errors end up in the summaries, whose status says so;
    only a bug is raised."""
    started = time.monotonic()
    part = limits.last_part(min(family.every_minutes for family in families))
    context = replace(context, api=context.api.counted(part))
    family_runs: list[FamilyRun] = []
    summaries: list[Summary] = []
    for family in families:
        summary = Summary(context.account.name, family.name)
        try:
            state = await states.load(context.db, context.account, family)
            family_run = FamilyRun(context.db, context.account, family, state, force=options.force)
            summary = family_run.summary
            if reason := await _refusal(context, family_run):
                summary.status, summary.reason = "skipped", reason
            elif missing := await scopes.known_missing(context.db, context.account.id, family.scopes):
                summary.status, summary.reason = "skipped", f"the seller has not consented to {scopes.short(missing)}"
                summary.failure = scopes.refused(context.account, family.name, missing)
            else:
                family_runs.append(family_run)
        except EbaysyncError as error:
            _failed(summary, error)
        summaries.append(summary)
    if family_runs:
        await (_dry if options.dry_run else _leased)(context, family_runs, options)
    _count(context, summaries, started)
    return summaries


def _count(context: RunContext, summaries: Sequence[Summary], started: float) -> None:
    """The calls are counted at the first that was read; the others say so."""
    read_ = [summary for summary in summaries if summary.status != "skipped" or summary.run_id]
    for summary in read_:
        summary.seconds = time.monotonic() - started
        if summary is read_[0]:
            summary.calls = context.api.transport.calls
        else:
            summary.reason = summary.reason or f"read with {read_[0].family}, where the calls are counted"


async def _refusal(context: RunContext, family_run: FamilyRun) -> str | None:
    if reason := await context.db.transact(family_run.may_run):
        return reason
    if context.account.environment in family_run.family.absent_in:
        return f"eBay has no {family_run.family.name} in its {context.account.environment}"
    return context.api.transport.resting(family_run.family.costs)


async def _dry(context: RunContext, family_runs: Sequence[FamilyRun], options: RunOptions) -> None:
    try:
        await _Run(context, family_runs, options).walk()
    except QuotaSpent as spent:
        _all_rest(family_runs, spent)
    except EbaysyncError as error:
        for family_run in family_runs:
            _failed(family_run.summary, error)


async def _leased(context: RunContext, family_runs: Sequence[FamilyRun], options: RunOptions) -> None:
    """Walk under each family's lease, and tell of it whatever happens. A family that another run holds is left out."""
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        mine: list[FamilyRun] = []
        for family_run in family_runs:
            try:
                await _begin(context, family_run, options, stack)
                mine.append(family_run)
            except LeaseHeld as error:
                family_run.summary.status, family_run.summary.reason = "skipped", "held by another run"
                family_run.summary.failure = error
            except EbaysyncError as error:
                _failed(family_run.summary, error)
        if not mine:
            return
        try:
            async with watched(context.db, mine, context.stop) as stop:
                await _Run(replace(context, stop=stop), mine, options).walk()
        except Halted:
            pass  # each family's summary has the reason
        except QuotaSpent as spent:
            _all_rest(mine, spent)
        except EbaysyncError as caught:
            _all_failed(mine, await _learned(context, mine[0].family, caught))
        except Exception as bug:
            _all_failed(mine, unexpected(bug))
        for family_run in mine:
            family_run.summary.caught_up &= not family_run.halted
        _count(context, [family_run.summary for family_run in mine], started)
        for family_run in mine:
            await _tell(context, family_run)


async def _begin(context: RunContext, family_run: FamilyRun, options: RunOptions, stack: AsyncExitStack) -> None:
    family, account, run_id = family_run.family, context.account, uuid4()
    held = leases.held(context.db, account.id, family.name, options.walk, run_id)
    family_run.lease = await stack.enter_async_context(held)
    family_run.summary.run_id = str(run_id)
    await states.ensure(context.db, account, family)
    await states.begin_run(context.db, account, family.name, run_id, options.trigger)
    family_run.state = await states.load(context.db, account, family)  # as the run before us left it
    family_run.summary.cursor = family_run.state.cursor


def _failed(summary: Summary, error: EbaysyncError) -> None:
    summary.failure = error
    summary.status = "interrupted" if isinstance(error, Interrupted) else "error"


def _all_failed(family_runs: Sequence[FamilyRun], error: EbaysyncError) -> None:
    for family_run in family_runs:
        if family_run.summary.failure is None and not family_run.halted:
            _failed(family_run.summary, error)


def _all_rest(family_runs: Sequence[FamilyRun], spent: QuotaSpent) -> None:
    """The day's calls are used up: no failure. What was stored stays, and so does the cursor."""
    for summary in (family_run.summary for family_run in family_runs if family_run.summary.failure is None):
        moved = summary.window_from and summary.reached and summary.reached > summary.window_from
        summary.status = "completed" if summary.fetched or moved else "skipped"
        summary.reason = spent.message


async def _learned(context: RunContext, family: Family, error: EbaysyncError) -> EbaysyncError:
    """Keep what an error says about the account's consent, so that no further call is spent. The error to tell."""
    account = context.account
    try:
        if isinstance(error, ScopeMissing):
            return await scopes.learn(context.db, account, family.name, family.scopes, error)
        if isinstance(error, ConsentNeeded) and await note_refusal(context.db, account, family.name, family.scopes):
            needed = consent_needed(account)
            context.api.credentials.give_up(needed)
            return ConsentNeeded(f"{needed.message} ({error.message})", hint=needed.hint)
    except DatabaseError as untold:
        log.warning("%s: what eBay says of the consent could not be stored: %s", account.name, untold)
    return error


async def _tell(context: RunContext, family_run: FamilyRun) -> None:
    summary, lease, error = family_run.summary, family_run.lease, family_run.summary.failure
    assert lease
    if isinstance(error, LeaseLost):
        return  # whoever took over has told of it
    live = lease.walk == "live"

    async def work(connection: AsyncConnection) -> None:
        kind = "error" if summary.status == "error" else "done"
        facts = summary.facts()
        await states.note(connection, lease.run_id, kind, facts)
        said = error.message if error and summary.status == "error" else None
        name, account_id = family_run.family.name, context.account.id
        rests = summary.status == "skipped"  # a run was begun, and found the quota spent: it stays due
        status = "completed" if rests else summary.status
        await states.end_run(connection, account_id, name, lease.run_id, status, said, facts, live=live and not rests)
        if live and summary.status == "completed":
            spent = {} if family_run.imports else context.api.transport.spent
            await cadence.succeeded(
                connection, account_id, family_run.family, spent, whole=summary.caught_up and bool(spent)
            )
        elif live and summary.status == "error":
            await cadence.failed(connection, account_id, family_run.family, error)

    try:
        await lease.transact(context.db, work)
    except LeaseLost as lost:
        if error is None and not family_run.halted:
            _failed(summary, lost)
    except DatabaseError as untold:
        log.warning("%s: how the run ended could not be stored: %s", summary.family, untold)


def unexpected(error: Exception) -> EbaysyncError:
    """An unexpected error, told without its text, which may quote a record."""
    if isinstance(error, MemoryError):
        return OutOfMemory("the memory that an account's process may take is not enough")
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected %s\n%s", type(error).__name__, frames)
    return EbaysyncError(f"unexpected {type(error).__name__}", hint="this is a bug of ebaysync; the log has the place")


class _Run:
    """The walks of one run: what is read, for which families, and where it stands."""

    def __init__(self, context: RunContext, family_runs: Sequence[FamilyRun], options: RunOptions) -> None:
        self.context, self.options = context, options
        self.family_runs = list(family_runs)
        self.family = family_runs[0].family  # what families of one source declare of it is the same
        self.calls: Calls = SOURCES[self.family.source](context.api)
        self.source = self._windows()

    def _windows(self) -> Source | None:
        calls = self.calls
        if calls.ask is None:
            return None
        read_key = key_reader(self.family)

        async def ask(window: Slice, offset: int) -> Page:
            assert calls.ask
            page = await calls.ask(window, offset)
            self._progressed()
            return page

        return Source(ask, lambda record: read_key(record) or record, calls.page_size)

    async def walk(self) -> None:
        """Read what is due, store it. Raises EbaysyncError; what was stored stays."""
        stop = self.context.stop
        await stop.race(self.context.api.credentials.access_token())
        for family_run in self.family_runs:
            await family_run.open(self.calls)
        if self.source is None:
            await self._scan()
        else:
            await self._live(self.source)
        if self.options.walk == "live":
            for family_run in list(self.family_runs):
                if self._go_on() and family_run in self.family_runs:
                    await self._guarded(family_run, family_run.refetch_open(stop.race))
                if self._go_on() and family_run in self.family_runs:
                    await self._guarded(family_run, family_run.enrich())
        if stop.signum is not None:
            raise Interrupted(stop.signum)

    async def _live(self, source: Source) -> None:
        """The window, then a piece of the sweep."""
        span, known = await self.context.stop.race(self._plan(source))
        if self.options.walk == "backfill" and any(family_run.lease for family_run in self.family_runs):
            fresh = span
            span = await self._resumed(fresh)
            known = known if span == fresh else None
        await self._announce(span)
        reached = span.start
        async with aclosing(read(source, span, self._widest(), self._go_on, known)) as portions:
            while (portion := await self.context.stop.race(anext(portions, None))) is not None:
                await self._store(portion)
                reached = portion.slice.end
                self._reached(reached)
        if reached >= span.end:
            for family_run in self.family_runs:
                family_run.summary.caught_up = True
            if self.options.walk == "live" and self._go_on():
                await self._sweep(source, span)

    async def _announce(self, span: Slice) -> None:
        for family_run in list(self.family_runs):
            summary = family_run.summary
            summary.window_from, summary.window_to, summary.reached = span.start, span.end, span.start
            facts = {"from": states.iso(span.start), "to": states.iso(span.end)}
            await self._guarded(family_run, family_run.note("start", facts))

    def _reached(self, position: datetime) -> None:
        for family_run in self.family_runs:
            family_run.summary.reached = position
            self.context.progress(family_run.summary)

    async def _store(self, portion: Portion) -> None:
        """A portion for each family, with its cursor. A family whose lease was lost is left behind."""
        now, end = self.context.api.transport.clock.now(), portion.slice.end
        for family_run in list(self.family_runs):
            if self.options.walk == "live":
                position, move = family_run.cursor_to(end, now)
            else:
                position, move = end, self._backfill_to(family_run, end)
            await self._take(family_run, portion, None if portion.partial else move)
            if self.options.walk == "live" and not portion.partial and family_run in self.family_runs:
                family_run.moved(position)
        if portion.partial:
            raise portion.partial

    async def _take(self, family_run: FamilyRun, portion: Portion, move: Move | None) -> None:
        race = self.context.stop.race
        await self._guarded(family_run, family_run.store(portion.records, portion.slice, move, race, portion.broken))

    def _backfill_to(self, family_run: FamilyRun, position: datetime) -> Move:
        account_id, name = self.context.account.id, family_run.family.name
        return lambda connection: states.move_backfill(connection, account_id, name, position)

    async def _guarded(self, family_run: FamilyRun, work: Awaitable[None]) -> None:
        """What happens to one family is no matter of the others: its lease was lost, or it was told to stop."""
        try:
            await work
        except LeaseLost as lost:
            family_run.halt(
                await self.context.db.transact(family_run.may_run)
            )  # taken away, where the account is removed
            if not family_run.halted:
                _failed(family_run.summary, lost)
            self._leave(family_run)
            if not self.family_runs:
                raise
        except Halted:
            self._leave(family_run)

    def _leave(self, family_run: FamilyRun) -> None:
        self.family_runs = [other for other in self.family_runs if other is not family_run]

    def _go_on(self) -> bool:
        """Whether to begin something new. Families that were told to stop are left behind."""
        late = self.options.deadline is not None and time.monotonic() >= self.options.deadline
        self.family_runs = [family_run for family_run in self.family_runs if not family_run.halted]
        return self.context.stop.signum is None and not late and bool(self.family_runs)

    def _progressed(self) -> None:
        for family_run in self.family_runs:
            family_run.progressed()

    def _widest(self) -> timedelta:
        return plan.widest(self.context.settings, self.family)

    async def _plan(self, source: Source) -> tuple[Slice, Page | None]:
        """The span of this run by eBay's clock. Until eBay has answered once only the host's clock is there: then
        the first slice is asked for by it, and should the answer's Date say otherwise, the plan is made anew."""
        clock = self.context.api.transport.clock
        assumed = clock.now()
        span = self._span(assumed)
        if clock.known or span.width <= timedelta(0):
            return span, None
        began, query = time.monotonic(), first(span, self._widest())
        page: Page | None = None
        try:
            page = await source.ask(query, 0)
        except XmlBroken:
            pass  # the walk asks again, for less at once
        except EbayRejected as error:
            if error.error_id != self.calls.in_future:
                raise
        skew = assumed + timedelta(seconds=time.monotonic() - began) - clock.now()
        span_by_ebay = self._span(clock.now())
        if abs(skew) > CLOCK_TOLERANCE:
            log.warning("this host's clock is off by %.0f s; eBay's is used", skew.total_seconds())
        elif page is not None and query.end <= span_by_ebay.end:
            return Slice(span.start, min(span.end, span_by_ebay.end)), page
        return span_by_ebay, None

    async def _resumed(self, fresh: Slice) -> Slice:
        """What is left of the unfinished backfills of as many days, or new ones of this span."""
        context, days = self.context, self.options.days
        kept = [
            await states.open_backfill(context.db, context.account, family_run.family, days, fresh.start, fresh.end)
            for family_run in self.family_runs
        ]
        return Slice(max(min(one.position for one in kept), fresh.start), max(one.end for one in kept))

    def _span(self, now: datetime) -> Slice:
        """What this run reads, were it `now` at eBay."""
        settings = self.context.settings
        if self.options.walk == "backfill":
            return plan.backfill(settings, self.family, self.options.days, now)
        return plan.live(settings, [(one.family, one.state.cursor) for one in self.family_runs], now)

    async def _sweep(self, source: Source, window: Slice) -> None:
        """Read a slice of the trailing horizon before the live window again; all of it with `--sweep`."""
        whole, settings = self.options.sweep, self.context.settings
        states_ = [family_run.state for family_run in self.family_runs]
        planned = plan.sweep(settings, self.family, states_, window, whole=whole)
        if planned is None:
            return
        span, width = planned
        async with aclosing(read(source, span, width, self._go_on, ahead=4 if whole else 1)) as portions:
            while (portion := await self.context.stop.race(anext(portions, None))) is not None:
                done, count = portion.slice.end >= span.end, len(portion.records)
                wider = plan.next_sweep_width(settings, self.family, portion.width, count, self.calls.page_size)
                for family_run in list(self.family_runs):
                    move = family_run.sweep_to(portion.slice, wider, done=done)
                    await self._take(family_run, portion, None if portion.partial else move)
                if portion.partial:
                    raise portion.partial
                if not whole:
                    return

    async def _scan(self) -> None:
        """All there is, and what of a snapshot is gone. Before anything is marked as removed (never in a dry run) the
        list is read a second time, because a row may have slipped from one page to another while it was read."""
        scan, clock = self.calls.scan, self.context.api.transport.clock
        assert scan
        started = time.monotonic()
        for turn in range(2):
            if not await self._one_scan():
                return
            began = plan.whole_seconds(clock.now() - timedelta(seconds=time.monotonic() - started))
            snapshots = [family_run for family_run in self.family_runs if family_run.family.cursor_type == "snapshot"]
            if turn or self.options.dry_run or not [family_run for family_run in snapshots if await family_run.gone()]:
                break
        for family_run in list(self.family_runs):
            try:
                await self._guarded(family_run, family_run.finish_scan(began, accept=self.options.accept_removals))
                family_run.summary.caught_up = True
            except EbayError as error:  # of this family alone: the others' scan was complete
                _failed(family_run.summary, error)

    async def _one_scan(self) -> bool:
        """Whether all of it was read."""
        assert self.calls.scan
        names = [family_run.family.name for family_run in self.family_runs]
        async with aclosing(self.calls.scan(names)) as portions:
            while (found := await self.context.stop.race(anext(portions, None))) is not None:
                for family_run in list(self.family_runs):
                    if own := found.get(family_run.family.name):
                        await self._guarded(family_run, family_run.store_scan(own, self.context.stop.race))
                    self.context.progress(family_run.summary)
                self._progressed()
                if not self._go_on():
                    return False
        return True


__all__ = ["RunContext", "RunOptions", "Stop", "Summary", "run", "unexpected"]
