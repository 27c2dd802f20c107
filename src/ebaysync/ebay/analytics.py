"""Developer Analytics: getRateLimits. (api host; an application's token, not a seller's.)

A 204 means none. `rates`, and `count` within a rate, may be missing (eBay's answers of 2018 have no count), and stored
answers have values that are no number or no date: those count as missing. Windows shorter than a day limit bursts and
are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ebaysync.ebay import limits
from ebaysync.ebay.quota import Quota
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.rest import Answered, Text, check
from ebaysync.ebay.transport import Transport
from ebaysync.log import Secret

QUOTAS = (Quota("analytics", 5_000, r"^/developer/analytics/", r"developer/.*analytics"),)

PATH = "/developer/analytics/v1_beta/rate_limit/"
DEADLINE = 10.0  # seconds; nobody depends on the answer
DAY = 86_400


class _Rate(Answered, frozen=True):
    """Numbers, which may be text, and `reset`, a time as text."""

    count: Any = None
    limit: Any = None
    remaining: Any = None
    reset: Any = None
    time_window: Any = None


class _Resource(Answered, frozen=True):
    TEXTS = ("name",)

    name: Text = None
    rates: tuple[_Rate, ...] | None = None


class _Limit(Answered, frozen=True):
    TEXTS = ("api_context", "api_name")

    api_context: Text = None
    api_name: Text = None
    resources: tuple[_Resource, ...] | None = None


class _RateLimits(Answered, frozen=True):
    rate_limits: tuple[_Limit, ...]


@dataclass(frozen=True)
class Report:
    """eBay's report on an API's quota day."""

    api: str
    limit: int
    used: int
    remaining: int
    reset: datetime | None


async def rate_limits(transport: Transport, token: Secret) -> list[Report]:
    """Ask for the reports on the APIs that are used here, by one request. Raises EbayError."""
    headers = (("Authorization", f"Bearer {token.reveal()}"), ("Accept", "application/json"))
    request = Request("GET", transport.hosts.api + PATH, (), headers, None, DEADLINE)

    def checked(answer: Answer) -> _RateLimits:
        return _RateLimits(()) if answer.status == 204 else check(answer, _RateLimits, transport)

    answered = await transport.send_once(request, checked)
    found: dict[str, Report] = {}
    for report in _reports(answered):
        other = found.get(report.api)
        if other is None or report.remaining < other.remaining:  # of two resources of one API, the one that ends first
            found[report.api] = report
    return sorted(found.values(), key=lambda report: report.api)


def _reports(answered: _RateLimits) -> list[Report]:
    found = (
        _report(api, rate)
        for limit in answered.rate_limits
        for resource in limit.resources or ()
        if (api := limits.api_of_report(limit.api_context or "", limit.api_name or "", resource.name or ""))
        for rate in resource.rates or ()
        if _number(rate.time_window) == DAY
    )
    return [report for report in found if report]


def _report(api: str, rate: _Rate) -> Report | None:
    quota, count, remaining = _number(rate.limit) or 0, _number(rate.count) or 0, _number(rate.remaining)
    if quota <= 0:
        return None
    left = max(0, quota - count if remaining is None else remaining)
    # If count and remaining disagree, the larger use counts: refused calls may not be in the count.
    return Report(api, quota, max(0, count, quota - left), left, _time(rate.reset))


def _number(value: Any) -> int | None:
    """A number of calls or seconds, also as text; None if it cannot be one."""
    if isinstance(value, str) and re.fullmatch(" *-?[0-9]{1,12} *", value):
        return int(value)
    return value if isinstance(value, int) and abs(value) < 10**12 else None


def _time(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
