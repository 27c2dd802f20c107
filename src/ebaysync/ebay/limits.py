"""eBay's call limits: which API a request counts for, how many calls a day it has, and when the day ends.

eBay counts per application, over all of its sellers, and starts again at midnight in California. If it reports another
quota (Developer Analytics), that one applies. Nobody could verify whether Trading's 5,000 are per call or for all calls
together. So calls are counted by name, and all share one budget until eBay reports a quota for one. Pure: no I/O, no
clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ebaysync.ebay.quota import Quota

PACIFIC = ZoneInfo("America/Los_Angeles")
TRADING = "trading"
OTHER = "other"
PAUSE = "eBay asks to wait: "  # begins the reason of a cool-down that no quota has caused
GRACE = timedelta(minutes=10)  # after midnight, for a reset that comes late

TARGET_SHARE = 0.80  # the share of a quota that a day's forecast should stay within
# Shares by our own count. Families that run often may use more; a rest stays for calls that we do not see.
USABLE_SHARES = ((5, 0.98), (15, 0.96), (30, 0.95), (60, 0.93))
LEAST_USABLE_SHARE = 0.90

# A run may always make this many calls. To cut 90 days down to one second takes about fifty, so each turn gets further.
LEAST_ALLOWANCE = 50
# A scan cannot go on where it ended, so it may use a quarter of what is left, however many accounts share it. A quarter
# of Trading's 5,000 calls lists 250,000 items.
MOST_SHARERS_OF_SCAN = 4


@cache
def quotas() -> Mapping[str, Quota]:
    """Every API's quota by its name, from the QUOTAS of the modules in ebay/.

    They are collected at the first call, because those modules import the transport, which imports this one.
    """
    package = import_module("ebaysync.ebay")
    modules = [import_module(f"{package.__name__}.{found.name}") for found in iter_modules(package.__path__)]
    return {quota.api: quota for module in modules for quota in getattr(module, "QUOTAS", ())}


@cache
def _paths() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((quota.api, re.compile(quota.path)) for quota in quotas().values())


@cache
def _reports() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((quota.api, re.compile(quota.reported)) for quota in quotas().values() if quota.reported)


def api_of(url: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None) -> str:
    """The API that a request counts for, such as "finances" or "trading.GetMyMessages"."""
    path = urlsplit(url).path
    if path.endswith("/oauth2/token"):
        grant = re.search(rb"(?:^|&)grant_type=(\w+)", body or b"")
        # All grants have one path, but a quota each.
        path = f"{path}#{grant[1].decode() if grant else ''}"
    api = next((api for api, pattern in _paths() if pattern.search(path)), OTHER)
    if api == TRADING:
        return f"{TRADING}.{dict(headers).get('X-EBAY-API-CALL-NAME', OTHER)}"
    return api


def api_of_report(context: str, name: str, resource: str) -> str | None:
    """The API of an entry of getRateLimits; None if it is not used here."""
    if "trading" in f"{context} {name}".lower():
        return TRADING if resource.lower().replace(" ", "") in ("tradingapi", "trading") else f"{TRADING}.{resource}"
    text = f"{context}/{name}/{resource}".lower()
    return next((api for api, pattern in _reports() if pattern.search(text)), None)


def quota_day(now: datetime) -> date:
    return now.astimezone(PACIFIC).date()


def resets_at(now: datetime) -> datetime:
    """The next midnight in California."""
    tomorrow = quota_day(now) + timedelta(days=1)
    # Not now + 24 hours: the quota day has 23 or 25 when California changes its clocks.
    return datetime.combine(tomorrow, time(), PACIFIC).astimezone(UTC)


def latest_end(day: date) -> datetime:
    """The longest that a cool-down which began on a quota day can last, whatever eBay's headers and reports say."""
    return datetime.combine(day + timedelta(days=1), time(), PACIFIC).astimezone(UTC) + GRACE


def usable_share(every_minutes: float) -> float:
    """The share of a quota up to which a family with this interval may make calls."""
    return next((share for minutes, share in USABLE_SHARES if every_minutes <= minutes), LEAST_USABLE_SHARE)


@dataclass(frozen=True)
class ApiCount:
    """A row of `ebay_api_usage`: an API's calls in a quota day."""

    api: str
    calls: int = 0
    elsewhere: int = 0
    reported: int | None = None
    reported_at: datetime | None = None
    resets_at: datetime | None = None
    cools_down_until: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Budget:
    """Today's calls of an API, or of several that share a quota, and their limit."""

    api: str
    quota: int | None
    ours: int
    elsewhere: int
    reported: int | None
    resets_at: datetime
    cools_down_until: datetime | None = None
    reason: str | None = None

    @property
    def used(self) -> int:
        return self.ours + self.elsewhere

    def remaining(self, share: float) -> float:
        """The calls until this share of the quota is used; infinite if no quota is known."""
        return float("inf") if self.quota is None else self.quota * share - self.used

    def allowance(self, share: float, spent: int, sharers: float) -> float:
        """The calls that a run may make in all. `spent` of them are made; `sharers` share what is left."""
        return max(LEAST_ALLOWANCE, (self.remaining(share) + spent) / sharers)

    def cool_down(self, share: float, now: datetime) -> tuple[datetime, str] | None:
        """Until when no call may be made, and why; None if calls may be made."""
        if self.cools_down_until and self.cools_down_until > now:
            until = _minute(self.cools_down_until)
            if (self.reason or "").startswith(PAUSE):
                return self.cools_down_until, f"eBay asks for no call of {self.api} until {until}"
            return self.cools_down_until, f"the quota of {self.api} is spent until {until}"
        if self.remaining(share) < 1:
            text = f"{self.used} of {self.quota} calls of {self.api} are used, the rest is kept back until"
            return self.resets_at, f"{text} {_minute(self.resets_at)}"
        return None


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


@dataclass(frozen=True)
class Usage:
    """One keyset's quota day: counts by API, quotas that eBay has reported, and how many accounts share them."""

    counts: Mapping[str, ApiCount] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    accounts: int = 1

    def bucket(self, api: str) -> str:
        """The API whose quota a call of `api` uses up."""
        return TRADING if api.startswith(f"{TRADING}.") and api not in self.limits else api

    def quota(self, bucket: str) -> int | None:
        documented = quotas().get(bucket)
        return self.limits.get(bucket, documented.daily if documented else None)

    def budget(self, api: str, now: datetime, unstored: Mapping[str, int] | None = None) -> Budget:
        """The budget that `api` belongs to. `unstored` are calls that are not in the counts yet."""
        bucket = self.bucket(api)
        counts = [count for name, count in self.counts.items() if self.bucket(name) == bucket]
        own = self.counts.get(bucket, ApiCount(bucket))
        more = sum(calls for name, calls in (unstored or {}).items() if self.bucket(name) == bucket)
        cooling = max((count.cools_down_until for count in counts if count.cools_down_until), default=None)
        reset = own.resets_at
        if reset is None or not now < reset <= latest_end(quota_day(now)):  # another day's is not believed
            reset = resets_at(now)
        return Budget(
            bucket,
            self.quota(bucket),
            sum(count.calls for count in counts) + more,
            sum(count.elsewhere for count in counts),
            own.reported,
            reset,
            cooling,
            next((count.reason for count in counts if count.cools_down_until == cooling), None) if cooling else None,
        )

    def budgets(self, now: datetime) -> list[Budget]:
        """The budgets of all APIs that were called or reported."""
        return [self.budget(bucket, now) for bucket in sorted({self.bucket(api) for api in self.counts})]
