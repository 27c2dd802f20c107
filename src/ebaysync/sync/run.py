"""One run of one family of one account, from top to bottom. `run` is the place to begin reading ebaysync.

    refuse    paused, disabled: said, not done
    lease     one run per account, family and walk at a time
    plan      the window: from the cursor less the overlap (or the first reach) to eBay's now less the settle time
    walk      slices of it, read ahead while the ones before are stored
    store     each slice's records and the cursor they justify, in one transaction, fenced by the lease
    tell      the run's row, the family's state, a summary

Invariants: the cursor moves in the transaction of the rows that justify it, never past a slice that is not wholly
stored, never beyond eBay's now; no transaction waits for eBay; every write is absolute, so a repeated one does
no harm.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.accounts.accounts import Account
from ebaysync.ebay.rest import Api
from ebaysync.errors import DatabaseError, EbayRejected, EbaysyncError, Interrupted, LeaseHeld, LeaseLost
from ebaysync.families.base import Family
from ebaysync.settings import Settings
from ebaysync.store.database import Database, RowRefused
from ebaysync.sync import batch as batches
from ebaysync.sync import lease as leases
from ebaysync.sync import state as states
from ebaysync.sync.lease import Lease, Walk
from ebaysync.sync.sources import SOURCES, Calls, windowed
from ebaysync.sync.walk import Page, Portion, Slice, Source, first, read

log = logging.getLogger(__name__)

T = TypeVar("T")
Status = Literal["completed", "error", "skipped", "interrupted"]
REACH_MARGIN = timedelta(hours=1)  # so that a long walk's first slice does not slip out of eBay's reach
CLOCK_TOLERANCE = timedelta(seconds=5)  # the Date header counts whole seconds


class Stop(Protocol):
    """Whether SIGINT or SIGTERM has come."""

    @property
    def signum(self) -> int | None: ...

    async def race(self, work: Awaitable[T]) -> T: ...


@dataclass(frozen=True)
class Asked:
    """What a command asks of a run."""

    trigger: str
    walk: Walk = "live"
    days: int = 0
    dry_run: bool = False
    force: bool = False
    deadline: float | None = None
    """time.monotonic() after which no new slice starts"""


@dataclass
class Summary:
    """What a run has done: the object that `run --json` prints, and `summary_json` of its row."""

    account: str
    family: str
    run_id: str | None = None
    status: Status = "completed"
    reason: str | None = None
    window_from: datetime | None = None
    window_to: datetime | None = None
    cursor: datetime | None = None
    caught_up: bool = False
    calls: int = 0
    fetched: int = 0
    stored: int = 0
    unchanged: int = 0
    removed: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    failure: EbaysyncError | None = field(default=None, repr=False)
    reached: datetime | None = field(default=None, repr=False)

    @property
    def share(self) -> float:
        """How much of the window is stored, 0 to 1."""
        if not (self.window_from and self.window_to and self.reached and self.window_to > self.window_from):
            return 0.0
        return (self.reached - self.window_from) / (self.window_to - self.window_from)

    def as_dict(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "family": self.family,
            "run_id": self.run_id,
            "status": self.status,
            "reason": self.reason,
            "window_from": states.iso(self.window_from),
            "window_to": states.iso(self.window_to),
            "cursor": states.iso(self.cursor),
            "caught_up": self.caught_up,
            "calls": self.calls,
            "fetched": self.fetched,
            "stored": self.stored,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "quarantined": self.quarantined,
            "seconds": round(self.seconds, 3),
            "error": self.failure.as_dict() if self.failure else None,
        }


@dataclass(frozen=True)
class Worker:
    """What a run works with. `progress` is told of every stored slice."""

    settings: Settings
    db: Database
    api: Api
    account: Account
    stop: Stop
    progress: Callable[[Summary], None] = lambda _: None


async def run(worker: Worker, family: Family, asked: Asked) -> Summary:
    """Bring one family of one account up to date. Errors end up in the summary, whose status says so; only a bug is
    raised."""
    summary = Summary(worker.account.name, family.name)
    started, calls = time.monotonic(), worker.api.transport.calls
    try:
        state = await states.load(worker.db, worker.account, family)
        summary.cursor = state.cursor
        if reason := await _refusal(worker, state, asked):
            summary.status, summary.reason = "skipped", reason
        elif asked.dry_run:
            await _Run(worker, family, asked, summary, state, None).walk()
        else:
            await _leased(worker, family, asked, summary, state)
    except LeaseHeld as error:
        summary.status, summary.reason, summary.failure = "skipped", "held by another run", error
    except EbaysyncError as error:
        _failed(summary, error)
    summary.calls = worker.api.transport.calls - calls
    summary.seconds = time.monotonic() - started
    return summary


async def _refusal(worker: Worker, state: states.State, asked: Asked) -> str | None:
    if reason := await worker.db.transact(states.paused):
        return reason
    if not asked.force and not worker.account.is_active:
        return "the account is disabled"
    if not asked.force and not state.enabled:
        return "the family is disabled for this account"
    return None


async def _leased(worker: Worker, family: Family, asked: Asked, summary: Summary, state: states.State) -> None:
    """Walk under a lease, and tell of it whatever happens."""
    run_id = uuid4()
    account = worker.account
    calls, started = worker.api.transport.calls, time.monotonic()
    async with leases.held(worker.db, account.id, family.name, asked.walk, run_id) as lease:
        summary.run_id = str(run_id)
        await states.ensure(worker.db, account, family)
        await states.begin_run(worker.db, account, family.name, run_id, asked.trigger)
        state = await states.load(worker.db, account, family)  # as the run before us left it
        error: EbaysyncError | None = None
        try:
            await _Run(worker, family, asked, summary, state, lease).walk()
        except EbaysyncError as caught:
            error = caught
        except Exception as bug:
            error = _bug(bug)
        if error:
            _failed(summary, error)
        summary.calls = worker.api.transport.calls - calls
        summary.seconds = time.monotonic() - started
        await _tell(worker, summary, run_id, family, lease, error)


def _failed(summary: Summary, error: EbaysyncError) -> None:
    summary.failure = error
    summary.status = "interrupted" if isinstance(error, Interrupted) else "error"


async def _tell(
    worker: Worker, summary: Summary, run_id: UUID, family: Family, lease: Lease, error: EbaysyncError | None
) -> None:
    live = lease.walk == "live" and not isinstance(error, LeaseLost)

    async def work(connection: AsyncConnection) -> None:
        if live:
            await lease.fence(connection)
        kind = "error" if summary.status == "error" else "done"
        facts = summary.as_dict()
        await states.note(connection, run_id, kind, facts)
        said = error.message if error and summary.status == "error" else None
        await states.end_run(connection, worker.account.id, family.name, run_id, summary.status, said, facts, live=live)

    try:
        await worker.db.transact(work)
    except LeaseLost as lost:
        if error is None:
            _failed(summary, lost)
    except DatabaseError as untold:
        log.warning("%s: how the run ended could not be stored: %s", summary.family, untold)


def _bug(error: Exception) -> EbaysyncError:
    """An unexpected error, told without its text, which may quote a record."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected %s\n%s", type(error).__name__, frames)
    return EbaysyncError(f"unexpected {type(error).__name__}", hint="this is a bug of ebaysync; the log has the place")


class _Run:
    """The walk of one run: what it reads with and where it stands."""

    def __init__(
        self,
        worker: Worker,
        family: Family,
        asked: Asked,
        summary: Summary,
        state: states.State,
        lease: Lease | None,
    ) -> None:
        self.worker, self.family, self.asked, self.summary, self.state = worker, family, asked, summary, state
        self.lease = lease
        self.calls: Calls = SOURCES[family.source]
        self.source: Source = windowed(self.calls, worker.api, family, lease.progressed if lease else lambda: None)
        self.clamp = timedelta(hours=worker.settings.max_window_hours)

    async def walk(self) -> None:
        """Read the window in slices, store each. Raises EbaysyncError; what was stored stays."""
        stop = self.worker.stop
        await stop.race(self.worker.api.credentials.access_token())
        span, known = await stop.race(self._plan())
        if self.asked.walk == "backfill" and self.lease:
            fresh = span
            span = await self._resumed(fresh)
            known = known if span == fresh else None
        self.summary.window_from, self.summary.window_to = span.start, span.end
        if self.lease:
            await self._note("start", {"from": states.iso(span.start), "to": states.iso(span.end)})
        self.summary.reached = span.start
        async with aclosing(read(self.source, span, self.clamp, self._go_on, known)) as portions:
            while (portion := await stop.race(anext(portions, None))) is not None:
                await self._store(portion.slice, await stop.race(self._prepared(portion)))
                self.summary.reached = portion.slice.end
                self.worker.progress(self.summary)
        self.summary.caught_up = self.summary.reached >= span.end
        if stop.signum is not None:
            raise Interrupted(stop.signum)

    async def _prepared(self, portion: Portion) -> batches.Batch:
        worker = self.worker
        progressed = self.lease.progressed if self.lease else lambda: None
        return await batches.prepare(
            worker.db, worker.api, self.family, self.calls, worker.account.id, portion.records, progressed
        )

    def _go_on(self) -> bool:
        late = self.asked.deadline is not None and time.monotonic() >= self.asked.deadline
        return self.worker.stop.signum is None and not late and self.summary.reason is None

    async def _plan(self) -> tuple[Slice, Page | None]:
        """The span of this run by eBay's clock. Until eBay has answered once only the host's clock is there: then
        the first slice is asked for by it, and should the answer's Date say otherwise, the plan is made anew."""
        clock = self.worker.api.transport.clock
        assumed = clock.now()
        span = self._span(assumed)
        if clock.known or span.width <= timedelta(0):
            return span, None
        began, asked = time.monotonic(), first(span, self.clamp)
        page: Page | None = None
        try:
            page = await self.source.ask(asked, 0)
        except EbayRejected as error:
            if error.error_id != self.calls.in_future:
                raise
        skew = assumed + timedelta(seconds=time.monotonic() - began) - clock.now()
        span_by_ebay = self._span(clock.now())
        if abs(skew) > CLOCK_TOLERANCE:
            log.warning("this host's clock is off by %.0f s; eBay's is used", skew.total_seconds())
        elif page is not None and asked.end <= span_by_ebay.end:
            return Slice(span.start, min(span.end, span_by_ebay.end)), page
        return span_by_ebay, None

    async def _resumed(self, fresh: Slice) -> Slice:
        """What is left of the unfinished backfill of as many days, or a new one of this span."""
        worker, days = self.worker, self.asked.days
        kept = await states.open_backfill(worker.db, worker.account, self.family, days, fresh.start, fresh.end)
        return Slice(max(kept.position, fresh.start), kept.end)

    def _earliest(self, now: datetime) -> datetime | None:
        reach = self.family.furthest_reach
        return _whole_seconds(now - reach + REACH_MARGIN) if reach else None

    def _span(self, now: datetime) -> Slice:
        """From where to where this run reads, were it `now` at eBay."""
        family, settings, cursor = self.family, self.worker.settings, self.state.cursor
        end = _whole_seconds(now - timedelta(seconds=settings.settle_seconds))
        earliest = self._earliest(now)
        if self.asked.walk == "backfill":
            return Slice(_whole_seconds(_after(now - timedelta(days=self.asked.days), earliest)), end)
        if cursor is None:
            start = now - (family.first_reach or timedelta(days=settings.initial_backfill_days))
        else:
            overlap = family.overlap or timedelta(minutes=settings.overlap_minutes)
            start = min(cursor, end) - overlap
        return Slice(_whole_seconds(_after(start, earliest)), end)

    async def _store(self, slice_: Slice, batch: batches.Batch) -> None:
        """The slice's records, its log line and the position after it: one transaction, fenced."""
        worker, summary = self.worker, self.summary
        position = self._position(slice_.end)

        async def work(connection: AsyncConnection, *, one_by_one: bool) -> batches.Stored:
            run_id = None
            if self.lease:
                await self.lease.fence(connection)
                run_id = self.lease.run_id
            stored = await batches.store(
                worker.db, connection, self.family, worker.account.id, run_id, batch, one_by_one=one_by_one
            )
            if self.lease:
                await self._move(connection, position)
                await states.note(connection, self.lease.run_id, "page", _page_facts(slice_, batch, stored))
                summary.reason = await states.paused(connection)
            return stored

        commit = self.lease is not None
        try:
            stored = await worker.db.transact(lambda c: work(c, one_by_one=False), commit=commit)
        except RowRefused as refused:
            log.warning("%s: PostgreSQL refused a row (%s); looking for it", self.family.name, refused)
            stored = await worker.db.transact(lambda c: work(c, one_by_one=True), commit=commit)
        summary.fetched += batch.fetched
        summary.stored += stored.stored
        summary.unchanged += stored.unchanged
        summary.quarantined += stored.quarantined
        if self.asked.walk == "live" and self.lease:
            self.state = replace(self.state, cursor=position)
            summary.cursor = position

    def _position(self, end: datetime) -> datetime:
        """The cursor after a slice: never back, but from beyond eBay's now (a database restored from elsewhere)."""
        cursor = self.state.cursor
        return end if cursor is None or cursor > self.worker.api.transport.clock.now() else max(end, cursor)

    async def _move(self, connection: AsyncConnection, position: datetime) -> None:
        assert self.lease
        move = states.move_cursor if self.asked.walk == "live" else states.move_backfill
        await move(connection, self.worker.account.id, self.family.name, position)

    async def _note(self, kind: str, details: dict[str, Any]) -> None:
        assert self.lease
        run_id = self.lease.run_id
        await self.worker.db.transact(lambda connection: states.note(connection, run_id, kind, details))


def _page_facts(slice_: Slice, batch: batches.Batch, stored: batches.Stored) -> dict[str, Any]:
    return {
        "from": states.iso(slice_.start),
        "to": states.iso(slice_.end),
        "fetched": batch.fetched,
        "stored": stored.stored,
        "unchanged": stored.unchanged,
        "quarantined": stored.quarantined,
    }


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _after(moment: datetime, earliest: datetime | None) -> datetime:
    return moment if earliest is None else max(moment, earliest)
