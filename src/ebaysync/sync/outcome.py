"""Decides what an error means for the families of a run, and records the end of the run.

An error goes into the summaries. It is also remembered if it would only come again: a dead consent costs no further
calls, a refused family, a spent quota and any other failure make a family wait (sync/cadence, rechecks).
"""

from __future__ import annotations

import copy
import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from ebaysync.accounts import scopes
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.tokens import consent_needed, note_refusal
from ebaysync.errors import (
    AccessDenied,
    ConsentNeeded,
    DatabaseError,
    EbayBusy,
    EbaysyncError,
    EbayUnreachable,
    Interrupted,
    LeaseHeld,
    LeaseLost,
    NothingNew,
    OutOfMemory,
    QuotaSpent,
    ShareSpent,
    TokenRefused,
    is_denied,
)
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database
from ebaysync.store.merge import analyze
from ebaysync.sync import cadence
from ebaysync.sync import lease as leases
from ebaysync.sync.context import RunContext
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.lease import Walk
from ebaysync.sync.state import run_log, sync_state
from ebaysync.sync.stop import StopRequested
from ebaysync.sync.summary import SHARED_CALLS, Summary

MANY = 1_000  # stored records, after which PostgreSQL's own ANALYZE may be long in coming
log = logging.getLogger(__name__)


def fail(summary: Summary, error: EbaysyncError) -> None:
    """Write to a summary that its family failed, was held by another run, or was interrupted."""
    summary.failure = error
    if isinstance(error, LeaseHeld):
        summary.status, summary.reason = "skipped", "held by another run"
    else:
        summary.status = "interrupted" if isinstance(error, Interrupted) else "error"


def skip(summary: Summary, reason: str, failure: EbaysyncError | None = None) -> None:
    """Write to a summary why its family is not read."""
    summary.status, summary.reason, summary.failure = "skipped", reason, failure


async def settle(context: RunContext, family_runs: Sequence[FamilyRun], error: Exception) -> None:
    """Write the error that ended a run to the summaries of its families."""
    if isinstance(error, StopRequested):
        return  # each family's summary already has the reason
    if isinstance(error, QuotaSpent):
        # eBay counts calls per keyset. The account did nothing wrong, so there is no back-off.
        _quota_spent(family_runs, error)
        return
    if isinstance(error, NothingNew):
        for summary in (family_run.summary for family_run in family_runs if family_run.summary.failure is None):
            summary.caught_up, summary.backs_off, summary.reason = False, True, error.message
        return
    failure = error if isinstance(error, EbaysyncError) else unexpected(error)
    failure.about(context.account.word, context.account.environment)
    for family_run in family_runs:
        if family_run.summary.failure is None and not family_run.stopped:
            fail(family_run.summary, await _remember(context, family_run, failure))


def _quota_spent(family_runs: Sequence[FamilyRun], spent: QuotaSpent) -> None:
    """The quota is spent, or the run's part of it, which is no failure. Stored data and the cursor stay."""
    for summary in (family_run.summary for family_run in family_runs if family_run.summary.failure is None):
        moved = summary.window_from and summary.reached and summary.reached > summary.window_from
        # A run that has spent its part waits for its next turn, whatever it has reached.
        ran = summary.fetched or moved or isinstance(spent, ShareSpent)
        summary.status = "completed" if ran else "skipped"
        summary.reason = spent.message


async def _remember(context: RunContext, family_run: FamilyRun, error: EbaysyncError) -> EbaysyncError:
    """Store what an error says about the account's consent, and note whether it refuses the family. Returns the error
    to report."""
    account, family = context.account, family_run.family
    try:
        if isinstance(error, AccessDenied) and is_denied(error):
            family_run.summary.refused = True
            return await scopes.denied(context.db, account, family.name, family.scopes, error)
        if isinstance(error, TokenRefused) and family_run.sink.keeps:
            if await note_refusal(context.db, account, family.name, family.scopes, certain=error.dead):
                needed = consent_needed(account)
                context.api.credentials.give_up(needed)
                return ConsentNeeded(f"{needed.message} ({error.message})", hint=needed.hint)
            family_run.summary.refused = True
    except DatabaseError as not_stored:
        log.warning("%s: what eBay says of the consent could not be stored: %s", account.name, not_stored)
    return error


def unexpected(error: Exception) -> EbaysyncError:
    """Turn a bug into an error without its text, which may quote a record. The log gets the place."""
    if isinstance(error, MemoryError):
        return OutOfMemory("the memory that an account's process may take is not enough")
    # An exception's text may quote a record, and so a person. Frames quote only our own source.
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected %s\n%s", type(error).__name__, frames)
    return EbaysyncError(f"unexpected {type(error).__name__}", hint="this is a bug of ebaysync; the log has the place")


def count(context: RunContext, summaries: Sequence[Summary], started: float) -> None:
    """Write calls and seconds to the summaries. `started` is time.monotonic().

    Families that are read together share their calls: the first summary has the number, the others refer to it.
    """
    read = [summary for summary in summaries if summary.status != "skipped" or summary.run_id]
    for summary in read:
        summary.seconds = time.monotonic() - started
        if summary is read[0]:
            summary.calls = context.api.transport.calls
        else:
            summary.reason = summary.reason or SHARED_CALLS.format(read[0].family)


async def report(db: Database, family_runs: Sequence[FamilyRun], walk: Walk) -> None:
    """Record the end of the runs of some families of one account in one transaction: log, row, state, lease. A run that
    lost its lease records nothing."""
    for family_run in family_runs:
        family_run.summary.caught_up &= not family_run.stopped
    ended = [one for one in family_runs if one.sink.lease and not isinstance(one.summary.failure, LeaseLost)]
    if not ended:
        return
    mark, own = uuid4(), [one.sink.lease for one in ended if one.sink.lease]

    async def work(connection: Connection) -> set[str] | None:
        families = [family_run.family for family_run in ended]
        permissions = await sync_state.ask(connection, ended[0].context.account, families)
        kept = await leases.fence_all(connection, own, mark)
        if kept is None:
            return None
        rows = {row.family: row for row in await permissions.result()}
        for family_run in ended:
            # `accounts remove` revokes leases too. Then the reason says so.
            family_run.stop_for(family_run.halted_by(rows[family_run.family.name]))
            family_run.summary.caught_up &= not family_run.stopped
            if family_run.family.name in kept:
                await family_run.sink.write_waiting(connection)
                await _record(connection, family_run, live=walk == "live")
        await leases.release(connection, own, mark)
        return kept

    try:
        kept = await db.transact(work)
    except DatabaseError as not_stored:
        if len(ended) > 1:  # one of them may be to blame
            for family_run in ended:
                await report(db, [family_run], walk)
        else:
            log.warning("%s: how the run ended could not be stored: %s", ended[0].family.name, not_stored)
        return
    for lease, family_run in zip(own, ended, strict=True):
        lease.released = True
        # The run that took over has closed this run's row, so it must not be overwritten.
        if kept is not None and lease.family not in kept and not (family_run.summary.failure or family_run.stopped):
            fail(family_run.summary, leases.lost(lease.family))
    for family_run in ended:
        await _analyze(db, family_run)


async def _analyze(db: Database, family_run: FamilyRun) -> None:
    """Analyze the family's tables after a first import, so that queries are planned well. A failure is only logged."""
    family, summary = family_run.family, family_run.summary
    if family_run.is_first and summary.caught_up and summary.stored >= MANY:
        try:
            await db.read(lambda connection: analyze(connection, family.tables))
        except DatabaseError as refused:
            log.debug("%s: its tables could not be analysed: %s", family.name, refused)


async def _record(connection: Connection, family_run: FamilyRun, *, live: bool) -> None:
    context, summary, family, run_id = family_run.context, family_run.summary, family_run.family, family_run.sink.run_id
    account_id = context.account.id
    assert run_id
    failed = summary.status == "error"
    if live and (failed or summary.backs_off):
        if summary.refused:
            await cadence.refused(connection, account_id, family)
        else:
            retry_at = await cadence.failed(connection, account_id, family, summary.failure)
            summary.failure = _with_next_try(summary.failure, context.account, retry_at)
    facts = summary.facts()
    await family_run.sink.note(connection, "error" if failed else "done", facts)
    message = summary.failure.message if summary.failure and failed else None
    # A run that found the quota spent is completed, and its family stays due.
    quota_spent = summary.status == "skipped"
    status = "completed" if quota_spent else summary.status
    await run_log.end_run(connection, run_id, status, facts)
    if summary.inconsistent or (summary.caught_up and family_run.consistency.is_clean):
        await sync_state.note_incomplete(connection, account_id, family.name, summary.inconsistent)
    if live and family_run.remembers is not None:
        await sync_state.remember(connection, account_id, family.name, family_run.remembers)
    if live and not quota_spent:
        ended = run_log.Ended(status, message, changed=bool(summary.stored or summary.removed))
        await run_log.end_live_run(connection, account_id, family.name, run_id, ended)
    if live and summary.status == "completed" and not summary.backs_off:
        await _succeeded(connection, family_run)


def _with_next_try(error: EbaysyncError | None, account: Account, at: datetime | None) -> EbaysyncError | None:
    """The same error. If it may pass by itself, the hint says when the next try is and how to have it now."""
    if at is None or not isinstance(error, EbayUnreachable | EbayBusy):
        return error
    own = vars(error).get("hint")  # such as the proxy's
    # A copy: the same error may stand in the summaries of other families, which wait for another time.
    told = copy.copy(error)
    now = f"ebaysync run-all --now --account {account.word}"
    told.hint = f"{own}; " if own else ""
    told.hint += f"run-all tries again after {at.astimezone(UTC):%Y-%m-%d %H:%MZ}; to try now: {now}"
    return told


async def _succeeded(connection: Connection, family_run: FamilyRun) -> None:
    context, known = family_run.context, family_run.state.calls_per_run
    spent = {} if family_run.is_import else context.api.transport.spent - family_run.spent_beside
    # A hole stays for a while, and the run's cost meanwhile is its usual cost.
    read = family_run.summary.caught_up or (family_run.reached_end and family_run.consistency.has_holes)
    counted = cadence.averaged(known, spent) if read and spent else cadence.at_least(known, spent)
    await cadence.succeeded(connection, context.account.id, family_run.family, counted, _per_day(family_run))


def _per_day(family_run: FamilyRun) -> Mapping[str, Mapping[str, float]]:
    """The calls of a day, by API, that no live run needs."""
    known, detail = family_run.state.calls_per_day, family_run.family.detail
    swept = known.get("sweep", {}) if family_run.sweep_calls is None else family_run.sweep_calls
    calls = sum(timedelta(days=1) / again.every for again in family_run.again.values())
    return {"sweep": swept, "details": {detail.api: round(calls, 2)} if detail and calls else {}}
