"""Begins the runs of an account's families: one transaction reads what they need, takes their leases and logs them.

A family that may not run costs no call, and its summary says why. The lease rows are locked before the states are read,
because a run that has just ended may have moved a cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from ebaysync.accounts import scopes
from ebaysync.errors import DatabaseError, EbaysyncError
from ebaysync.store.connection import Connection
from ebaysync.sync import erased_people, outcome
from ebaysync.sync import lease as leases
from ebaysync.sync.context import RunOptions
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.inconsistency import Consistency
from ebaysync.sync.lease import Asked, Lease
from ebaysync.sync.sink import LeasedSink
from ebaysync.sync.state import inconsistent_reads, pending_details, run_log, sync_state


async def begin(family_runs: Sequence[FamilyRun], options: RunOptions) -> list[FamilyRun]:
    """The runs that begin, of one account. The others' summaries say why they do not."""
    context = family_runs[0].context
    account_id = context.account.id
    own = [Lease(account_id, one.family.name, options.walk, uuid4(), waits=True) for one in family_runs]
    begun: list[FamilyRun] = []
    version: int | None = None

    async def work(connection: Connection) -> None:
        nonlocal version
        begun.clear()
        names = [family_run.family.name for family_run in family_runs]
        locked = None if options.dry_run else await leases.ask(connection, account_id, names, options.walk)
        states = await sync_state.ask(connection, context.account, [family_run.family for family_run in family_runs])
        pending = await pending_details.ask(connection, account_id, names)
        contradictions = await inconsistent_reads.ask(connection, account_id, names)
        erased = await connection.send(erased_people.VERSION)

        version = (await erased.result()).scalar()
        rows = {row.family: row for row in await states.result()}
        details = (await pending.result()).rows
        due, again = pending_details.by_family(details), pending_details.again_by_family(details)
        slices = inconsistent_reads.by_family((await contradictions.result()).rows)
        for family_run in family_runs:
            name = family_run.family.name
            family_run.pending, family_run.again = dict(due.get(name, {})), dict(again.get(name, {}))
            family_run.consistency = Consistency(account_id, name, slices.get(name, {}))
            if _is_admitted(family_run, rows[name]):
                begun.append(family_run)
        if locked and begun:
            await _take(connection, begun, own, locked, options)

    try:
        await context.db.transact(work, commit=not options.dry_run)
        people = await erased_people.load(context.db, version)
    except EbaysyncError as error:
        for family_run in family_runs:
            outcome.fail(family_run.summary, error)
        return []
    for family_run in begun:
        family_run.erased = people
    return begun


def _is_admitted(family_run: FamilyRun, row: Any) -> bool:
    """Whether a family may run. Sets its state; if it may not, its summary says why."""
    context, family, summary = family_run.context, family_run.family, family_run.summary
    context.api.transport.clock.database_is(row.now)
    try:
        family_run.starts_with(sync_state.known(context.account, family, row))
    except DatabaseError as error:
        outcome.fail(summary, error)
        return False
    if reason := _reason_to_refuse(family_run, row):
        outcome.skip(summary, reason)
    elif missing := scopes.lacking(family.scopes, row.scopes):
        failure = scopes.not_consented(context.account, family.name, missing)
        outcome.skip(summary, f"the seller has not consented to {scopes.short(missing)}", failure)
    else:
        return True
    return False


def _reason_to_refuse(family_run: FamilyRun, row: Any) -> str | None:
    context, family = family_run.context, family_run.family
    if reason := family_run.halted_by(row):
        return reason
    if context.account.environment in family.absent_in:
        return f"eBay has no {family.name} in its {context.account.environment}"
    return context.api.transport.cooling(family.costs)


async def _take(
    connection: Connection, begun: list[FamilyRun], own: Sequence[Lease], asked: Asked, options: RunOptions
) -> None:
    """Take the leases and log the runs; drop those whose lease another run holds."""
    account = begun[0].context.account
    by_family = {lease.family: lease for lease in own}
    refused = await leases.take(connection, [by_family[one.family.name] for one in begun], asked)
    for family_run in list(begun):
        lease = by_family[family_run.family.name]
        if lease.family in refused:
            outcome.fail(family_run.summary, refused[lease.family])
            begun.remove(family_run)
        else:
            family_run.sink = LeasedSink(family_run.context.db, lease)
            family_run.summary.run_id = str(lease.run_id)
    if begun:
        await sync_state.ensure(connection, account, [one.family.name for one in begun])
        runs = {one.family.name: by_family[one.family.name].run_id for one in begun}
        await run_log.begin_runs(connection, account, runs, options.trigger)
