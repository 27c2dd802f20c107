"""Counts a keyset's calls in `ebay_api_usage`, and refuses calls that its quotas do not allow.

Calls are counted before they are sent, and stored in the background: every ten seconds, after fifty calls (fewer near a
quota), and at the end. A killed process loses at most that per API, and eBay's own count corrects it within the hour.
When a commit's answer is lost, calls may be counted twice, which does no harm.

eBay's clock decides which day it is. After a 429, Developer Analytics is asked whether the quota is spent, at most once
a minute; run-all asks it once an hour. If it does not answer, the documented quotas apply.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from ebaysync.accounts import application
from ebaysync.accounts import vault as vaults
from ebaysync.accounts.vault import Vault
from ebaysync.ebay import analytics, limits
from ebaysync.ebay.analytics import Report
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.limits import ApiCount, Budget, Usage
from ebaysync.ebay.request import Answer
from ebaysync.ebay.transport import LONGEST_WAIT, Transport
from ebaysync.errors import DatabaseError, EbayBusy, EbayError, EbaysyncError, QuotaSpent, ShareSpent
from ebaysync.settings import Keyset, Settings
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import Database

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two stores
MOST_UNSTORED = 50  # calls of an API, not yet stored
ASK_AGAIN = 60  # seconds between two requests to Analytics after a 429
ASK_HOURLY = 3600
SPENT = b"request limit has been reached"
CAUTIOUS = timedelta(hours=1)


class UsageMeter:
    """The calls of one keyset in this process (implements ebay/transport.CallMeter)."""

    def __init__(self, db: Database, vault: Vault, keyset: Keyset, transport: Transport) -> None:
        self._db, self._vault, self._keyset, self._transport = db, vault, keyset, transport
        self.name = application.keyset_name(keyset)
        self._usage = Usage()
        self._day: date | None = None
        self._unstored: Counter[tuple[date, str]] = Counter()
        self._ended = False
        self._full = asyncio.Event()
        self._asking = asyncio.Lock()
        self._storing = asyncio.Lock()

    @property
    def now(self) -> datetime:
        return self._transport.clock.now()

    def budget(self, api: str) -> Budget:
        """The budget from the stored counts, as far as this process knows them, and its own calls."""
        today = limits.quota_day(self.now)
        if self._day and self._day < today:  # yesterday's counts; a cool-down may last until today
            self._usage = replace(self._usage, counts=_cool_downs(self._usage.counts))
        self._day = today
        own = {api: calls for (day, api), calls in self._unstored.items() if day == today}
        return self._usage.budget(api, self.now, own)

    def admit(self, api: str, share: float, spent: Mapping[str, int], most_sharers: float) -> None:
        """Count a request that is about to be sent (ebay/transport.CallMeter). Raises QuotaSpent, ShareSpent."""
        budget = self.budget(api)
        if cool_down := budget.cool_down(share, self.now):
            raise QuotaSpent(cool_down[1])
        own = sum(calls for name, calls in spent.items() if self._usage.bucket(name) == budget.api)
        if own + 1 > budget.allowance(share, own, max(1.0, min(self._usage.accounts, most_sharers))):
            raise ShareSpent(
                f"{own} calls of {budget.api} are this run's part of what is left today for"
                f" {self._usage.accounts} accounts; it goes on at its next turn"
            )
        key = limits.quota_day(self.now), api
        self._unstored[key] += 1
        # The less is left, the sooner a call is stored: other processes decide by the stored counts.
        if self._unstored[key] >= max(1.0, min(MOST_UNSTORED, budget.remaining(share) / 20)):
            self._full.set()

    def cooling(self, apis: Iterable[str], share: float) -> str | None:
        cool_downs = (self.budget(api).cool_down(share, self.now) for api in apis)
        return next((cool_down[1] for cool_down in cool_downs if cool_down), None)

    async def judged(self, api: str, answer: Answer, error: EbayError) -> EbayError:
        """Decide what a 518, a 429, or a 5xx with a long Retry-After means. If the quota is spent, or eBay asks for a
        long wait, the API cools down for all accounts of the keyset.

        Any other 429 is returned as it is, to be retried.
        """
        if api.startswith(("oauth.", "analytics")):
            return error
        known = self.budget(api).cools_down_until  # another request of this process may have found out
        if known is None or known <= self.now:
            until = await self._spent_until(api, answer, error, certain=isinstance(error, QuotaSpent))
            if until is None:
                return error
            pause = limits.PAUSE if _is_down(error) else ""
            await self._start_cool_down(self._usage.bucket(api), until, pause + error.message)
        cool_down = self.budget(api).cool_down(1.0, self.now)
        reason = cool_down[1] if cool_down else f"the quota of {self._usage.bucket(api)} is spent"
        return QuotaSpent(reason, status=error.status, error_id=error.error_id)

    async def _spent_until(self, api: str, answer: Answer, error: EbayError, *, certain: bool) -> datetime | None:
        """Until when the quota is spent; None if there were only too many calls at once."""
        now = self.now
        if _is_down(error):
            return now + timedelta(seconds=error.retry_after or 0)
        await self._ask(ASK_AGAIN)
        bucket = self._usage.bucket(api)
        known = self._usage.counts.get(bucket)
        budget = self.budget(api)
        fresh = known and known.reported_at and now - known.reported_at < timedelta(seconds=2 * ASK_AGAIN)
        reported = known.reported if known and fresh else None
        if certain or (reported is not None and budget.quota is not None and reported >= budget.quota):
            return budget.resets_at
        if (error.retry_after or 0) > LONGEST_WAIT:  # eBay's report lags behind its answers
            return now + timedelta(seconds=error.retry_after or 0)
        if reported is not None or SPENT not in answer.body.lower():
            return None
        # Only the text is left to judge by, and eBay uses it for both. If our own count makes it likely, the quota is
        # taken as spent for the day, otherwise for a while.
        likely = budget.quota is not None and budget.used >= budget.quota / 2
        return budget.resets_at if likely else min(budget.resets_at, now + CAUTIOUS)

    async def _start_cool_down(self, bucket: str, until: datetime, reason: str) -> None:
        until = min(until, limits.latest_end(limits.quota_day(self.now)))
        log.warning("%s: %s; no more calls of %s until %s", self.name, reason, bucket, until.isoformat())
        count = self._usage.counts.get(bucket, ApiCount(bucket))
        counts = {**self._usage.counts, bucket: replace(count, cools_down_until=until, reason=reason)}
        self._usage = replace(self._usage, counts=counts)
        values = {"keyset": self.name, "api": bucket, "day": limits.quota_day(self.now), "until": until}
        values |= {"reason": reason[:300], "quota": self._usage.quota(bucket), "resets": limits.resets_at(self.now)}
        try:
            await self._db.execute(_REST, **values)
        except DatabaseError as unstored:
            log.warning("that %s rests could not be stored: %s", bucket, unstored)

    # ---- eBay's own figures

    async def ask_hourly(self) -> None:
        """Ask for eBay's own figures, once an hour per keyset; the first process does it."""
        await self._ask(ASK_HOURLY)

    async def _ask(self, at_most_every: float) -> None:
        async with self._asking:
            try:
                if not await self._db.execute(_CLAIM, keyset=self.name, seconds=at_most_every):
                    await self.load()  # another process has just asked
                    return
                transport = self._transport
                reports = await application.ask(
                    self._db, self._vault, transport, self._keyset, partial(analytics.rate_limits, transport)
                )
                # Ours first: what eBay counts beyond them was called elsewhere.
                await self.store()
                await self._reported(reports)
            except EbaysyncError as error:
                log.info("%s: eBay's own call limits could not be had, the documented ones stand: %s", self.name, error)

    async def _reported(self, reports: Sequence[Report]) -> None:
        now = self.now

        async def work(connection: Connection) -> None:
            for report in reports:
                values = {"keyset": self.name, "api": report.api, "day": limits.quota_day(now), "quota": report.limit}
                values |= {"used": report.used, "now": now, "resets": _reset(report, now)}
                await connection.execute(_REPORTED, values)
            known = msgspec.json.encode({report.api: report.limit for report in reports}).decode()
            await connection.execute(_LIMITS, {"keyset": self.name, "limits": known})

        await self._db.transact(work)
        await self.load()

    # ---- the stored counts

    async def load(self) -> None:
        self._usage = (await load(self._db, [self.name], limits.quota_day(self.now)))[self.name]

    async def store(self) -> None:
        """Store the calls that are not stored yet, and read what other processes have stored."""
        async with self._storing:
            reason = Counter({key: calls for key, calls in self._unstored.items() if calls})
            if reason:
                rows = [
                    {"api": api, "day": day.isoformat(), "calls": calls, "quota": self._usage.quota(api)}
                    for (day, api), calls in sorted(reason.items())
                ]
                values = {"rows": msgspec.json.encode(rows).decode(), "resets": limits.resets_at(self.now)}
                await self._db.execute(_ADD, keyset=self.name, **values)
            try:
                if not self._ended:
                    await self.load()
            finally:  # not before, or requests in the meantime would find these calls in neither count
                # Subtracted, not cleared: while the database answered, more calls may have been sent.
                self._unstored -= reason

    async def keep(self) -> None:
        """Store from time to time. A database error does not stop the work: the calls are stored later."""
        while not self._ended:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._full.wait()
            # Cleared before storing, so that a wish which comes meanwhile is not lost.
            self._full.clear()
            await self._store_if_possible()

    async def end(self, keeping: asyncio.Task[None]) -> None:
        """End `keeping`, and store the calls that were sent while it stored the last ones."""
        self._ended = True
        self._full.set()
        await keeping
        if self._unstored.total():
            await self._store_if_possible()

    async def _store_if_possible(self) -> None:
        try:
            await self.store()
        except DatabaseError as error:
            log.warning("calls could not be counted in the database yet: %s", error)


def _is_down(error: EbayError) -> bool:
    """Whether eBay says for how long it does not answer, whatever the quota."""
    return isinstance(error, EbayBusy) and (error.status or 0) >= 500


def _reset(report: Report, now: datetime) -> datetime:
    """When a reported quota day ends: eBay's time if it can be true, else midnight in California."""
    midnight, latest = limits.resets_at(now), limits.latest_end(limits.quota_day(now))
    return report.reset if report.reset and now < report.reset <= latest else midnight


@asynccontextmanager
async def metered(db: Database, vault: Vault, keyset: Keyset, transport: Transport) -> AsyncIterator[UsageMeter]:
    """Count what is sent through this transport and its views."""
    meter = UsageMeter(db, vault, keyset, transport)
    await meter.load()
    # Before any view of the transport is made: a view is a copy, and keeps what it was made with.
    transport.meter = meter
    keeping = asyncio.create_task(meter.keep())
    try:
        yield meter
    finally:
        await meter.end(keeping)


async def ask_hourly(
    settings: Settings, db: Database, environment: str, sleep: Callable[[float], Awaitable[None]]
) -> bool:
    """Ask for eBay's own figures of an environment's keyset. False if somebody did within the hour.

    Raises ConfigError, DatabaseError.
    """
    keyset = settings.keyset(environment)
    if await db.rows(_ASKED, keyset=application.keyset_name(keyset), seconds=ASK_HOURLY):
        return False
    vault = vaults.load(settings, may_create=False)  # an account at work has tokens
    async with (
        Transport(hosts(settings, environment), sleep=sleep) as transport,
        metered(db, vault, keyset, transport) as meter,
    ):
        await meter.ask_hourly()
    return True


async def load(db: Database, keysets: Sequence[str], day: date) -> dict[str, Usage]:
    """The counts of a quota day by keyset, and cool-downs that last into it."""
    asked = await db.read(lambda connection: ask(connection, keysets, day))
    return await usages(asked, day)


async def ask(connection: Connection, keysets: Sequence[str], day: date | None = None) -> tuple[Sent, Sent]:
    """Read the counts of a quota day, by default today's by the database's clock. See `usages`."""
    counted = await connection.send(_READ, {"keysets": list(keysets), "day": day})
    return counted, await connection.send(_KNOWN, {"keysets": list(keysets)})


async def usages(asked: tuple[Sent, Sent], day: date) -> dict[str, Usage]:
    """The answer of `ask`, by keyset."""
    counted, known = [(await sent.result()).rows for sent in asked]
    counts: dict[str, dict[str, ApiCount]] = {row.keyset: {} for row in known}
    for row in counted:
        before, count = counts[row.keyset].get(row.api), _count(row, day)
        if before and before.cools_down_until and not count.cools_down_until:  # yesterday's cool-down lasts into today
            count = replace(count, cools_down_until=before.cools_down_until, reason=before.reason)
        counts[row.keyset][row.api] = count
    return {row.keyset: Usage(counts[row.keyset], row.limits, row.accounts) for row in known}


def _count(row: Any, day: date) -> ApiCount:
    until = min(row.resting_until, limits.latest_end(row.quota_day)) if row.resting_until else None
    if row.quota_day != day:  # only its cool-down is still of interest
        return ApiCount(row.api, cools_down_until=until, reason=row.resting_reason)
    return ApiCount(
        row.api,
        row.calls,
        row.elsewhere,
        row.reported_calls,
        row.reported_at,
        row.resets_at,
        until,
        row.resting_reason,
    )


def _cool_downs(counts: Mapping[str, ApiCount]) -> dict[str, ApiCount]:
    found = {api: ApiCount(api, cools_down_until=c.cools_down_until, reason=c.reason) for api, c in counts.items()}
    return {api: count for api, count in found.items() if count.cools_down_until}


_READ = """
SELECT keyset, api, quota_day, calls, elsewhere, reported_calls, reported_at,
    -- a time that somebody wrote may be one that Python does not have, such as infinity
    CASE WHEN resets_at BETWEEN day - 3 AND day + 3 THEN resets_at END AS resets_at,
    CASE WHEN resting_until > day + 3 THEN day + 3 WHEN resting_until > day - 3 THEN resting_until END AS resting_until,
    resting_reason
FROM ebay_api_usage,
    coalesce(CAST(:day AS date), CAST(timezone('America/Los_Angeles', clock_timestamp()) AS date)) AS day
WHERE keyset = ANY(:keysets) AND (quota_day = day OR (quota_day = day - 1 AND resting_until IS NOT NULL))
ORDER BY quota_day
"""
_KNOWN = """
SELECT keyset, coalesce(k.limits, '{}') AS limits, (
    SELECT count(*) FROM ebay_accounts a
    WHERE a.environment = split_part(keyset, ':', 1) AND a.is_active AND NOT a.needs_consent
) AS accounts
FROM unnest(CAST(:keysets AS text[])) AS keyset LEFT JOIN ebay_keysets k USING (keyset)
"""
# A sum, unlike most writes: every process adds its own calls. In order, so that two of them cannot deadlock.
_ADD = """
INSERT INTO ebay_api_usage AS u (keyset, api, quota_day, calls, quota, resets_at)
SELECT :keyset, r.api, r.day, r.calls, r.quota, :resets
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r (api text, day date, calls bigint, quota bigint)
ORDER BY r.api, r.day
ON CONFLICT (keyset, api, quota_day) DO UPDATE SET calls = u.calls + excluded.calls, quota = excluded.quota,
    updated_at = clock_timestamp()
"""
_REST = """
INSERT INTO ebay_api_usage (keyset, api, quota_day, quota, resets_at, resting_until, resting_reason)
VALUES (:keyset, :api, :day, :quota, :resets, :until, :reason)
ON CONFLICT (keyset, api, quota_day) DO UPDATE SET resting_until = excluded.resting_until,
    resting_reason = excluded.resting_reason, updated_at = clock_timestamp()
"""
_ASKED = """
SELECT FROM ebay_keysets
WHERE keyset = :keyset AND limits_asked_at > clock_timestamp() - make_interval(secs => :seconds)
"""
# Changes a row for one process only: that one asks eBay.
_CLAIM = """
INSERT INTO ebay_keysets AS k (keyset, limits_asked_at) VALUES (:keyset, clock_timestamp())
ON CONFLICT (keyset) DO UPDATE SET limits_asked_at = excluded.limits_asked_at
WHERE k.limits_asked_at IS NULL OR k.limits_asked_at < clock_timestamp() - make_interval(secs => :seconds)
"""
_REPORTED = """
INSERT INTO ebay_api_usage AS u (keyset, api, quota_day, quota, resets_at, reported_calls, elsewhere, reported_at)
VALUES (:keyset, :api, :day, :quota, :resets, :used, :used, :now)
ON CONFLICT (keyset, api, quota_day) DO UPDATE SET quota = excluded.quota, resets_at = excluded.resets_at,
    reported_calls = excluded.reported_calls, reported_at = excluded.reported_at,
    elsewhere = greatest(0, excluded.reported_calls - u.calls), updated_at = clock_timestamp()
"""
_LIMITS = "UPDATE ebay_keysets SET limits = CAST(:limits AS jsonb) WHERE keyset = :keyset"
