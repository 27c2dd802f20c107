"""Decides when a family runs next: the back-off after a failure or a refusal, and the average cost of a run.

A failed family waits for about its interval, then twice as long each time, up to six hours; a success ends that. If
eBay could not be reached, it waits for one interval at most, and not longer than until eBay answers any call of the
account (accounts/reachability). A family that eBay refuses waits for six hours, then for a day each time; a success
or a new consent ends that. There is no back-off if the seller must consent, because that costs no call, or if the
settings are wrong, because they can be fixed at any time.

A first import does not count in the average. A run that was cut short counts only if it cost more than the average.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import SystemRandom
from uuid import UUID

from sqlalchemy import Float, Integer, case, cast, func, literal, or_, select

from ebaysync.errors import ConfigError, ConsentNeeded, DatabaseError, EbaysyncError, EbayUnreachable
from ebaysync.families.family import Family
from ebaysync.rechecks import LONGEST_BACKOFF, REFUSED_FIRST, REFUSED_THEN
from ebaysync.store.connection import Connection
from ebaysync.sync.state.sync_state import SYNC_STATE, default_of, mine, update

LONGEST_MINUTES = LONGEST_BACKOFF / timedelta(minutes=1)  # a family with a longer interval waits for its interval
EARLY = timedelta(minutes=2)  # run-all may begin a minute before its time
JITTER = (0.8, 1.2)  # families that failed together do not come back together
UNREACHABLE, FAILED = "unreachable", "failed"  # values of retry_kind
UNREACHABLE_JITTER = (0.8, 1.0)  # at most the interval: eBay's return is to be noticed soon
WEIGHT = 0.3  # weight of the newest run in the average


async def failed(
    connection: Connection, account_id: UUID, family: Family, error: EbaysyncError | None
) -> datetime | None:
    """Make run-all wait before it runs this family again. Returns until when; None if it does not wait."""
    if isinstance(error, ConsentNeeded | ConfigError | DatabaseError):
        return None
    unreachable = isinstance(error, EbayUnreachable) and error.status is None
    own = SYNC_STATE.c
    set_for_all = select(cast(default_of(family.name, "every_minutes"), Integer)).scalar_subquery()
    every = cast(func.coalesce(own.every_minutes, set_for_all, family.every_minutes), Float)
    # 20: far beyond the longest wait, and a family that fails for years makes no overflow.
    doubled = every * func.power(2, func.least(own.failures, 20))
    longest = func.greatest(literal(LONGEST_MINUTES, Float), every)
    jitter = SystemRandom().uniform(*(UNREACHABLE_JITTER if unreachable else JITTER))
    minutes = func.least(longest, (every if unreachable else doubled) * literal(jitter, Float))
    seconds = minutes * literal(60.0, Float)
    statement = update(account_id, family.name).values(
        failures=own.failures if unreachable else own.failures + 1,
        retry_at=func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds),
        retry_kind=UNREACHABLE if unreachable else FAILED,
    )
    found: datetime | None = await connection.scalar(statement.returning(own.retry_at))
    return found


async def refused(connection: Connection, account_id: UUID, family: Family) -> None:
    """Note that eBay refuses this family's calls. A try before its time does not put off the next one."""
    own, now = SYNC_STATE.c, func.clock_timestamp()
    retry_at = case(
        (own.refused_since.is_(None), now + REFUSED_FIRST),
        (own.retry_at > now + EARLY, own.retry_at),
        else_=now + REFUSED_THEN,
    )
    since = func.coalesce(own.refused_since, now)
    new = {"failures": own.failures + 1, "refused_since": since, "retry_at": retry_at, "retry_kind": FAILED}
    await connection.send(update(account_id, family.name).values(new))


async def succeeded(
    connection: Connection,
    account_id: UUID,
    family: Family,
    per_run: Mapping[str, float],
    per_day: Mapping[str, Mapping[str, float]],
) -> None:
    """End the back-off or the refusal, and store the average calls of a run and those of a day."""
    row, own = mine(account_id, family.name), SYNC_STATE.c
    waits = or_(own.failures > 0, own.retry_kind.is_not(None), own.refused_since.is_not(None))
    recovered = {"failures": 0, "retry_at": None, "retry_kind": None, "refused_since": None}
    await connection.send(SYNC_STATE.update().where(row, waits).values(recovered))
    await connection.send(SYNC_STATE.update().where(row).values(calls_per_run=per_run, calls_per_day=per_day))


def averaged(known: Mapping[str, float], spent: Mapping[str, int]) -> dict[str, float]:
    """An exponential moving average. The first run sets it."""
    # A token is renewed for all families of the account, whichever asks first.
    ours = {api: calls for api, calls in spent.items() if not api.startswith("oauth.")}
    if not known:
        return {api: float(calls) for api, calls in ours.items()}
    mixed = {api: known.get(api, 0.0) * (1 - WEIGHT) + ours.get(api, 0) * WEIGHT for api in sorted({*known, *ours})}
    return {api: round(calls, 2) for api, calls in mixed.items() if calls >= 0.01}


def at_least(known: Mapping[str, float], spent: Mapping[str, int]) -> dict[str, float]:
    """The average after a run that was cut short: its own cost if that is higher."""
    return {api: max(known.get(api, 0.0), float(spent.get(api, 0))) for api in sorted({*known, *spent})}
