"""Which API a request is counted under, when the quota day ends, and what is left of a quota."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ebaysync.ebay import analytics, limits
from ebaysync.ebay.hosts import Hosts
from ebaysync.ebay.limits import ApiCount, Usage, api_of, api_of_report, quota_day, resets_at, usable_share
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.transport import Transport
from ebaysync.errors import EbayError, QuotaSpent
from ebaysync.families import discover
from ebaysync.log import Secret

NOON = datetime(2026, 7, 23, 20, tzinfo=UTC)  # 13:00 in California
MIDNIGHT = datetime(2026, 7, 24, 7, tzinfo=UTC)

REQUESTS = {
    "https://api.ebay.com/sell/fulfillment/v1/order?limit=200": "fulfillment",
    "https://api.ebay.com/sell/fulfillment/v1/order/12-34567-89012": "fulfillment",
    "https://apiz.ebay.com/sell/fulfillment/v1/payment_dispute_summary?limit=200": "dispute_summary",
    "https://apiz.ebay.com/sell/fulfillment/v1/payment_dispute/5000001": "dispute",
    "https://apiz.ebay.com/sell/finances/v1/transaction": "finances",
    "https://apiz.ebay.com/sell/finances/v1/payout": "finances",
    "https://api.ebay.com/sell/inventory/v1/offer?sku=/ws/api.dll": "inventory",
    "https://api.ebay.com/post-order/v2/cancellation/search": "post_order.cancellation",
    "https://api.ebay.com/post-order/v2/casemanagement/search": "post_order.case",
    "https://api.ebay.com/post-order/v2/inquiry/5": "post_order.inquiry",
    "https://api.ebay.com/post-order/v2/return/5": "post_order.return",
    "https://apiz.ebay.com/commerce/identity/v1/user/": "identity",
    "https://api.ebay.com/developer/analytics/v1_beta/rate_limit/": "analytics",
    "https://apiz.ebay.com/developer/key_management/v1/signing_key": "key_management",
    "https://api.ebay.com/sell/feed/v1/task": "other",
}


@pytest.mark.parametrize("url", REQUESTS)
def test_a_request_is_counted_under_its_api(url: str) -> None:
    assert api_of(url) == REQUESTS[url]


def test_no_path_belongs_to_two_quotas() -> None:
    """The quotas stand in many modules, so none may count on being asked before another."""
    for url in REQUESTS:
        path = urlsplit(url).path
        assert len([quota for quota in limits.quotas().values() if re.search(quota.path, path)]) <= 1, url


def test_a_call_of_trading_is_counted_by_its_name_and_a_token_by_its_grant() -> None:
    url = "https://api.ebay.com/ws/api.dll"
    assert api_of(url, [("X-EBAY-API-CALL-NAME", "GetMyMessages")]) == "trading.GetMyMessages"
    url = "https://api.ebay.com/identity/v1/oauth2/token"
    for grant in ("refresh_token", "client_credentials", "authorization_code"):
        assert api_of(url, (), f"a=b&grant_type={grant}&scope=refresh_token".encode()) == f"oauth.{grant}"
    assert api_of(url, (), b"") == "other"


def test_every_family_says_what_it_calls_of_apis_that_are_known() -> None:
    for family in discover().values():
        assert family.costs
        assert all(calls > 0 for calls in family.costs.values())
        assert {api.partition(".")[0] if api.startswith("trading.") else api for api in family.costs} <= set(
            limits.quotas()
        ), family.name
        assert all(other.costs == family.costs for other in discover().values() if other.source == family.source)


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        (NOON, MIDNIGHT),
        (MIDNIGHT, MIDNIGHT + timedelta(days=1)),
        (MIDNIGHT - timedelta(microseconds=1), MIDNIGHT),
        (datetime(2026, 3, 8, 9, tzinfo=UTC), datetime(2026, 3, 9, 7, tzinfo=UTC)),  # 23 hours: the clocks go forward
        (datetime(2026, 11, 1, 8, tzinfo=UTC), datetime(2026, 11, 2, 8, tzinfo=UTC)),  # 25 hours
    ],
)
def test_the_quota_day_ends_at_midnight_in_california(now: datetime, ends: datetime) -> None:
    assert resets_at(now) == ends
    assert quota_day(ends - timedelta(seconds=1)) == quota_day(now)
    assert quota_day(ends) == quota_day(now) + timedelta(days=1)


def test_the_zone_is_there_without_the_systems_files() -> None:
    code = "import zoneinfo; zoneinfo.reset_tzpath([]); import ebaysync.ebay.limits"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_the_more_often_a_family_runs_the_more_of_a_quota_it_may_use() -> None:
    parts = [usable_share(minutes) for minutes in (5, 10, 30, 60, 1440)]
    assert parts == sorted(parts, reverse=True)
    assert parts[-1] > limits.TARGET_SHARE
    assert parts[0] < 1


def test_trading_is_one_quota_until_ebay_reports_one_for_a_call() -> None:
    counts = {f"trading.{name}": ApiCount(f"trading.{name}", calls) for name, calls in (("A", 3000), ("B", 1500))}
    together = Usage(counts).budget("trading.A", NOON)
    assert (together.api, together.quota, together.used) == ("trading", 5000, 4500)
    usage = Usage(counts, {"trading.A": 5000})
    assert (usage.budget("trading.A", NOON).api, usage.budget("trading.A", NOON).used) == ("trading.A", 3000)
    assert (usage.budget("trading.B", NOON).api, usage.budget("trading.B", NOON).used) == ("trading", 1500)


def test_what_others_call_with_the_keyset_counts_too_and_calls_that_are_not_stored_yet() -> None:
    usage = Usage({"finances": ApiCount("finances", calls=100, elsewhere=40, reported=130)})
    budget = usage.budget("finances", NOON, {"finances": 7, "orders": 9})
    assert (budget.used, budget.ours, budget.reported, budget.quota) == (147, 107, 130, 15_000)


def test_an_api_rests_until_its_time_and_when_the_last_part_is_reached() -> None:
    until = NOON + timedelta(hours=1)
    cooling = Usage({"finances": ApiCount("finances", cools_down_until=until)}).budget("finances", NOON)
    assert (cooling.cool_down(1.0, NOON) or [None])[0] == until
    assert cooling.cool_down(1.0, until) is None
    nearly = Usage({"finances": ApiCount("finances", calls=14_300)}).budget("finances", NOON)
    assert nearly.cool_down(0.96, NOON) is None
    assert (nearly.cool_down(0.93, NOON) or [None])[0] == MIDNIGHT
    assert Usage({"identity": ApiCount("identity", calls=10**9)}).budget("identity", NOON).cool_down(0.5, NOON) is None


LONGEST = (MIDNIGHT + timedelta(minutes=10) - NOON).total_seconds()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1800", 1800),
        (str(int(LONGEST)), LONGEST),
        (str(int(LONGEST) + 1), LONGEST),
        ("1000000000", LONGEST),
        ("9" * 20, LONGEST),
        ("9" * 400, LONGEST),
        ("9" * 5000, LONGEST),
        ("-5", None),
        ("1e9", None),
        ("soon", None),
        ("", None),
        ("٣٠", None),
        ("Thu, 23 Jul 2026 20:30:00 GMT", 1800),
        ("Wed, 31 Dec 1969 23:59:59 GMT", 0),
        ("Mon, 01 Jan 2035 00:00:00 GMT", LONGEST),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("Fri, 31 Dec 9999 23:59:59 -1200", None),
    ],
)
def test_a_retry_after_is_believed_up_to_ten_minutes_after_the_quota_day(text: str, seconds: float | None) -> None:
    headers = httpx.Headers([(b"retry-after", text.encode())])
    assert Answer(429, headers, b"", REQUEST).retry_after(NOON) == seconds


@pytest.mark.parametrize("reset", [MIDNIGHT + timedelta(days=1), datetime(2035, 1, 1, tzinfo=UTC), NOON, None])
def test_a_reset_of_another_day_is_not_believed(reset: datetime | None) -> None:
    spent = ApiCount("finances", calls=15_000, resets_at=reset)
    assert Usage({"finances": spent}).budget("finances", NOON).resets_at == MIDNIGHT
    late = replace(spent, resets_at=MIDNIGHT + timedelta(minutes=9))
    assert Usage({"finances": late}).budget("finances", NOON).resets_at == late.resets_at


# ---- getRateLimits


class Spent:
    """A meter that allows nothing, or judges every error as a spent quota."""

    def __init__(self, *, allows: bool) -> None:
        self.allows, self.told = allows, list[str]()

    def admit(self, api: str, share: float, spent: object, most_sharers: float) -> None:
        self.told.append(api)
        if not self.allows:
            raise QuotaSpent("spent")

    def cooling(self, apis: object, share: float) -> str | None:
        return None

    async def judged(self, api: str, answer: Answer, error: EbayError) -> EbayError:
        return QuotaSpent("judged")


HOSTS = Hosts("https://api.ebay.com", "https://apiz.ebay.com", "https://auth.ebay.com")
REQUEST = Request("GET", "https://apiz.ebay.com/sell/finances/v1/payout")


async def test_what_the_meter_refuses_is_not_sent() -> None:
    async with Transport(HOSTS) as transport:
        transport.meter = Spent(allows=False)
        view = transport.counted(0.9)
        with pytest.raises(QuotaSpent):
            await view.send(REQUEST, lambda answer: answer)
        assert (view.calls, transport.meter.told) == (0, ["finances"])


async def test_retries_are_counted_and_an_error_that_is_judged_as_a_spent_quota_is_not_repeated(
    httpx_mock: Any,
) -> None:
    async def no_sleep(seconds: float) -> None:
        return

    httpx_mock.add_exception(httpx.ReadTimeout("slow"))
    httpx_mock.add_response(status_code=429)

    def check(answer: Answer) -> None:
        raise EbayError("429", status=429)

    async with Transport(HOSTS, sleep=no_sleep) as transport:
        transport.meter = Spent(allows=True)
        view = transport.counted()
        with pytest.raises(QuotaSpent, match="judged"):
            await view.send(REQUEST, check)
        assert (view.calls, dict(view.spent), transport.calls) == (2, {"finances": 2}, 0)


async def asked(httpx_mock: Any, **answer: Any) -> list[analytics.Report]:
    httpx_mock.add_response(**answer)
    async with Transport(HOSTS) as transport:
        return await analytics.rate_limits(transport, Secret("application"))


async def test_the_samples_of_get_rate_limits_are_understood(shared: Path, httpx_mock: Any) -> None:
    samples = shared / "ebay/samples/rest"
    constructed = json.loads((samples / "rate_limits_constructed.json").read_text())
    reports = await asked(httpx_mock, json=constructed)
    assert [(r.api, r.limit, r.used, r.remaining) for r in reports] == [
        ("finances", 15_000, 15_000, 0),
        ("fulfillment", 100_000, 120, 99_880),
    ]
    assert reports[0].reset == MIDNIGHT
    assert await asked(httpx_mock, json=json.loads((samples / "rate_limits_old_real.json").read_text())) == []
    assert await asked(httpx_mock, status_code=204) == []


async def test_calls_of_trading_and_missing_counts_and_short_windows_are_understood(httpx_mock: Any) -> None:
    day = {"limit": 5000, "remaining": 4990, "timeWindow": 86400}
    short = {"limit": 300, "remaining": 0, "timeWindow": 15, "count": 300}
    resources = [{"name": "GetMyMessages", "rates": [short, day]}, {"name": "GetItem"}, {"name": "X", "rates": [short]}]
    told = {"rateLimits": [{"apiContext": "tradingapi", "apiName": "tradingapi", "resources": resources}]}
    [report] = await asked(httpx_mock, json=told)
    assert (report.api, report.used, report.remaining, report.reset) == ("trading.GetMyMessages", 10, 4990, None)


async def test_where_nothing_remains_the_quota_is_used_up_whatever_the_count_says(httpx_mock: Any) -> None:
    rate = {"count": 0, "limit": 5000, "remaining": 0, "timeWindow": 86400}
    resources = [{"name": "sell.finances", "rates": [rate]}]
    told = {"rateLimits": [{"apiContext": "sell", "apiName": "finances", "resources": resources}]}
    [report] = await asked(httpx_mock, json=told)
    assert (report.used, report.remaining) == (5000, 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"reset": "soon"},
        {"reset": 17},
        {"reset": ""},
        {"reset": "9999-12-31T23:59:59-12:00"},
        {"count": "many"},
        {"count": "10"},
        {"count": None},
        {"remaining": "4990", "count": 10**400},
        {"limit": "5000"},
        {"timeWindow": "86400"},
    ],
    ids=str,
)
async def test_one_value_that_is_no_number_or_date_does_not_spoil_a_report(
    httpx_mock: Any, odd: dict[str, Any]
) -> None:
    rate = {"limit": 5000, "remaining": 4990, "timeWindow": 86400, "count": 10, "reset": "2026-07-24T07:00:00Z"} | odd
    good = {"limit": 7, "remaining": 7, "timeWindow": 86400}
    told = {
        "rateLimits": [
            {"apiContext": "sell", "apiName": name, "resources": [{"name": f"sell.{name}", "rates": [one]}]}
            for name, one in (("finances", rate), ("fulfillment", good))
        ]
    }
    reports = {report.api: report for report in await asked(httpx_mock, json=told)}
    assert (reports["finances"].limit, reports["finances"].used, reports["finances"].remaining) == (5000, 10, 4990)
    assert reports["fulfillment"].limit == 7


@pytest.mark.parametrize("limit", [0, -5, "x", None, 10**20, "9" * 400])
async def test_a_quota_that_cannot_be_one_is_left_out(httpx_mock: Any, limit: Any) -> None:
    rate = {"limit": limit, "remaining": 4, "timeWindow": 86400}
    told = {
        "rateLimits": [{"apiContext": "sell", "apiName": "finances", "resources": [{"name": "x", "rates": [rate]}]}]
    }
    assert await asked(httpx_mock, json=told) == []


def test_what_ebay_reports_finds_its_api() -> None:
    assert api_of_report("sell", "fulfillment", "sell.fulfillment.payment_dispute_summary") == "dispute_summary"
    assert api_of_report("sell", "Fulfillment", "getPaymentDispute") == "dispute"
    assert api_of_report("sell", "fulfillment", "getOrders") == "fulfillment"
    assert api_of_report("sell", "Fulfillment", "sell.fulfillment") == "fulfillment"
    assert api_of_report("sell", "Fulfillment", "sell.fulfillment.shipping_fulfillment") is None
    assert api_of_report("TradingAPI", "TradingAPI", "TradingAPI") == "trading"
    assert api_of_report("buy", "Browse", "buy.browse") is None
