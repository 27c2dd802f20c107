"""Developer Analytics: getRateLimits. (api host; an application's token, not a seller's.)

A 204 means none. `rates`, and `count` within a rate, may be missing (eBay's answers of 2018 have no count); a `limit`
that is no number and a `reset` that is no date have been seen. Windows shorter than a day limit bursts and are left
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ebaysync.ebay import limits
from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Answered, Count, Text, check
from ebaysync.ebay.transport import Answer, Request, Transport
from ebaysync.log import Secret

QUOTAS = (Quota("analytics", 5_000, r"^/developer/analytics/", r"developer/.*analytics"),)

PATH = "/developer/analytics/v1_beta/rate_limit/"
DEADLINE = 10.0  # seconds; nobody depends on the answer
DAY = 86_400


class _Rate(Answered, frozen=True):
    COUNTS = ("count", "limit", "remaining", "time_window")
    TEXTS = ("reset",)

    count: Count = None
    limit: Count = None
    remaining: Count = None
    reset: Text = None
    time_window: Count = None


class _Resource(Answered, frozen=True):
    TEXTS = ("name",)

    name: Text = None
    rates: tuple[_Rate, ...] | None = None


class _Limit(Answered, frozen=True):
    TEXTS = ("api_context", "api_name")

    api_context: Text = None
    api_name: Text = None
    resources: tuple[_Resource, ...] | None = None


class _Answer(Answered, frozen=True):
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

    def checked(answer: Answer) -> _Answer:
        return _Answer(()) if answer.status == 204 else check(answer, _Answer, transport)

    answered = await transport.send_once(request, checked)
    found: dict[str, Report] = {}
    for report in _reports(answered):
        other = found.get(report.api)
        if other is None or report.remaining < other.remaining:  # of two resources of one API, the one that ends first
            found[report.api] = report
    return sorted(found.values(), key=lambda report: report.api)


def _reports(answered: _Answer) -> list[Report]:
    return [
        Report(api, rate.limit, _used(rate), _remaining(rate), _moment(rate.reset))
        for limit in answered.rate_limits
        for resource in limit.resources or ()
        if (api := limits.api_of_report(limit.api_context or "", limit.api_name or "", resource.name or ""))
        for rate in resource.rates or ()
        if rate.limit and rate.limit > 0 and rate.time_window == DAY
    ]


def _used(rate: _Rate) -> int:
    """The remaining calls. If count and remaining disagree, the smaller value: refused calls may not be counted."""
    return max(0, rate.count or 0, (rate.limit or 0) - _remaining(rate))


def _remaining(rate: _Rate) -> int:
    if rate.remaining is not None:
        return max(0, rate.remaining)
    return max(0, (rate.limit or 0) - (rate.count or 0))


def _moment(text: str | None) -> datetime | None:
    """A time in UTC; None if it is missing or none."""
    try:
        moment = datetime.fromisoformat(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
