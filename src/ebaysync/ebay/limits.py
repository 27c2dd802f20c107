"""eBay's call limits: which API a request is counted under, how many calls a day it has, and when the day ends.

eBay counts for an application, over all of its sellers, and begins anew at midnight in California. Where it reports
another quota (Developer Analytics), that one holds. Whether Trading's 5,000 are for each call or for all of them nobody
could verify: each call is counted by its name, and all are budgeted together until eBay reports a quota for one. Pure:
no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

PACIFIC = ZoneInfo("America/Los_Angeles")
TRADING = "trading"
OTHER = "other"

GOAL = 0.80  # of a quota: what a day's forecast is kept within
# Of a quota, by our own count: the last part is for what runs most often, and some of it for what we do not see.
LAST_PARTS = ((5, 0.98), (15, 0.96), (30, 0.95), (60, 0.93))
LAST_PART = 0.90


@dataclass(frozen=True)
class Quota:
    """An API as eBay counts it. `reported` is searched in getRateLimits' apiContext/apiName/resource."""

    api: str
    daily: int | None
    path: str
    reported: str = ""


# In this order: the first whose path fits counts. The numbers: eBay's page API Call Limits, as of 2026-09-26. Its row
# of Trading was empty: 5,000 is what getRateLimits shows for single calls. Identity and Key Management are not in it.
QUOTAS = (
    Quota("dispute_summary", 250_000, r"^/sell/fulfillment/v1/payment_dispute_summary", r"fulfil\w*/.*dispute.*summar"),
    Quota("dispute", 250_000, r"^/sell/fulfillment/v1/payment_dispute/", r"fulfil\w*/.*dispute"),
    Quota("fulfillment", 100_000, r"^/sell/fulfillment/", r"fulfil\w*/(.*order|(\w+\.)?fulfil\w*$)"),
    Quota("finances", 15_000, r"^/sell/finances/", r"/finances?/"),
    Quota("inventory", 2_000_000, r"^/sell/inventory/", r"^sell/inventory/"),
    Quota("post_order.case", 5_000, r"^/post-order/v2/casemanagement/", r"post.?order/.*case"),
    Quota("post_order.inquiry", 5_000, r"^/post-order/v2/inquiry/", r"post.?order/.*inquir"),
    Quota("post_order.return", 5_000, r"^/post-order/v2/return/", r"post.?order/.*return"),
    Quota(TRADING, 5_000, r"^/ws/api\.dll$"),
    Quota("oauth.refresh_token", 50_000, r"^/identity/v1/oauth2/token#.*\brefresh_token\b"),
    Quota("oauth.client_credentials", 1_000, r"^/identity/v1/oauth2/token#.*\bclient_credentials\b"),
    Quota("oauth.authorization_code", 10_000, r"^/identity/v1/oauth2/token#.*\bauthorization_code\b"),
    Quota("identity", None, r"^/commerce/identity/", r"commerce/identity/"),
    Quota("key_management", None, r"^/developer/key_management/", r"developer/.*key.?management"),
    Quota("analytics", 5_000, r"^/developer/analytics/", r"developer/.*analytics"),
    Quota(OTHER, None, r""),
)
DOCUMENTED = {quota.api: quota.daily for quota in QUOTAS}
_OF_REPORTS = tuple((quota.api, re.compile(quota.reported)) for quota in QUOTAS if quota.reported)
_OF_PATHS = tuple((quota.api, re.compile(quota.path)) for quota in QUOTAS)


def api_of(url: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None) -> str:
    """The API that a request is counted under, such as "finances" or "trading.GetMyMessages"."""
    path = urlsplit(url).path
    if path.endswith("/oauth2/token"):
        grant = re.search(rb"(?:^|&)grant_type=(\w+)", body or b"")
        path = f"{path}#{grant[1].decode() if grant else ''}"
    api = next(api for api, pattern in _OF_PATHS if pattern.search(path))
    if api == TRADING:
        return f"{TRADING}.{dict(headers).get('X-EBAY-API-CALL-NAME', OTHER)}"
    return api


def api_of_report(context: str, name: str, resource: str) -> str | None:
    """The same of an entry of getRateLimits; None: one that is not used here."""
    if "trading" in f"{context} {name}".lower():
        return TRADING if resource.lower().replace(" ", "") in ("tradingapi", "trading") else f"{TRADING}.{resource}"
    said = f"{context}/{name}/{resource}".lower()
    return next((api for api, pattern in _OF_REPORTS if pattern.search(said)), None)


def quota_day(now: datetime) -> date:
    return now.astimezone(PACIFIC).date()


def resets_at(now: datetime) -> datetime:
    """The next midnight in California."""
    tomorrow = quota_day(now) + timedelta(days=1)
    return datetime.combine(tomorrow, time(), PACIFIC).astimezone(UTC)


def last_part(every_minutes: float) -> float:
    """The share of a quota that a family with this interval may bring the count to."""
    return next((part for minutes, part in LAST_PARTS if every_minutes <= minutes), LAST_PART)


@dataclass(frozen=True)
class Count:
    """A row of `ebay_api_usage`: an API's calls in a quota day."""

    api: str
    calls: int = 0
    elsewhere: int = 0
    reported: int | None = None
    reported_at: datetime | None = None
    resets_at: datetime | None = None
    resting_until: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Budget:
    """What is left to call today of an API, or of several that have one quota together."""

    api: str
    quota: int | None
    ours: int
    elsewhere: int
    reported: int | None
    resets_at: datetime
    resting_until: datetime | None = None
    reason: str | None = None

    @property
    def used(self) -> int:
        return self.ours + self.elsewhere

    def left(self, part: float) -> float:
        """Calls until `part` of the quota is used; infinite where no quota is known."""
        return float("inf") if self.quota is None else self.quota * part - self.used

    def rest(self, part: float, now: datetime) -> tuple[datetime, str] | None:
        """Until when no call is to be made, and why; None: calls may be made."""
        if self.resting_until and self.resting_until > now:
            return self.resting_until, f"the quota of {self.api} is spent until {_minute(self.resting_until)}"
        if self.left(part) < 1:
            said = f"{self.used} of {self.quota} calls of {self.api} are used, the rest is kept back until"
            return self.resets_at, f"{said} {_minute(self.resets_at)}"
        return None


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


@dataclass(frozen=True)
class Usage:
    """One keyset's quota day: the counts by API, and the quotas that eBay has reported."""

    counts: Mapping[str, Count] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)

    def bucket(self, api: str) -> str:
        """The API whose quota a call of `api` uses up."""
        return TRADING if api.startswith(f"{TRADING}.") and api not in self.limits else api

    def quota(self, bucket: str) -> int | None:
        return self.limits.get(bucket, DOCUMENTED.get(bucket))

    def budget(self, api: str, now: datetime, unsaid: Mapping[str, int] | None = None) -> Budget:
        """Of the bucket that `api` belongs to; `unsaid` are calls that are not in the counts yet."""
        bucket = self.bucket(api)
        members = [count for name, count in self.counts.items() if self.bucket(name) == bucket]
        own = self.counts.get(bucket, Count(bucket))
        more = sum(calls for name, calls in (unsaid or {}).items() if self.bucket(name) == bucket)
        resting = max((m.resting_until for m in members if m.resting_until), default=None)
        reset = own.resets_at if own.resets_at and own.resets_at > now else resets_at(now)
        return Budget(
            bucket,
            self.quota(bucket),
            sum(member.calls for member in members) + more,
            sum(member.elsewhere for member in members),
            own.reported,
            reset,
            resting,
            next((m.reason for m in members if m.resting_until == resting), None) if resting else None,
        )

    def budgets(self, now: datetime) -> list[Budget]:
        """Of every API that was called or is reported about."""
        return [self.budget(bucket, now) for bucket in sorted({self.bucket(api) for api in self.counts})]
