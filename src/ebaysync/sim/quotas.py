"""An application's calls of the day and its quotas, as getRateLimits shows them.

eBay's page API Call Limits has the numbers; the names are those of the samples of getRateLimits, where there are any.
Trading is counted for each call, as a live answer of getRateLimits shows it. The day begins at midnight in California.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ebaysync.sim import trading_xml
from ebaysync.sim.calls import Call, Refusal, refuse
from ebaysync.sim.clock import stamp

CALIFORNIA = ZoneInfo("America/Los_Angeles")
DAY = 86_400
TRADING = "/ws/api.dll"
TRADING_QUOTA = 5_000


@dataclass(frozen=True, slots=True)
class Resource:
    name: str
    context: str
    api: str
    version: str
    path: str
    limit: int


RESOURCES = (
    Resource("sell.fulfillment.order", "sell", "fulfillment", "v1", r"/sell/fulfillment/v1/order\b", 100_000),
    Resource(
        "sell.fulfillment.payment_dispute_summary",
        "sell",
        "fulfillment",
        "v1",
        r"/sell/fulfillment/v1/payment_dispute_summary\b",
        250_000,
    ),
    Resource(
        "sell.fulfillment.payment_dispute",
        "sell",
        "fulfillment",
        "v1",
        r"/sell/fulfillment/v1/payment_dispute/",
        250_000,
    ),
    Resource("sell.finances", "sell", "finances", "v1", r"/sell/finances/", 15_000),
    Resource("sell.inventory", "sell", "inventory", "v1", r"/sell/inventory/", 2_000_000),
    Resource("postorder.cancellation", "sell", "postorder", "v2", r"/post-order/v2/cancellation\b", 5_000),
    Resource("postorder.case", "sell", "postorder", "v2", r"/post-order/v2/casemanagement\b", 5_000),
    Resource("postorder.inquiry", "sell", "postorder", "v2", r"/post-order/v2/inquiry\b", 5_000),
    Resource("postorder.return", "sell", "postorder", "v2", r"/post-order/v2/return\b", 5_000),
    Resource("commerce.notification", "commerce", "notification", "v1", r"/commerce/notification/", 10_000),
    Resource("developer.analytics", "developer", "analytics", "v1_beta", r"/developer/analytics/", 5_000),
)


@dataclass
class Quotas:
    """`limits` are other quotas than eBay's, by the resource's name; Trading's by the name of the call, or "Trading"
    for all of them together, which then have one count. `count_missing` as in eBay's answers of 2018. `reset` is shown
    instead of midnight: stored answers have some that are no date."""

    limits: dict[str, int] = field(default_factory=dict)
    count_missing: bool = False
    reset: str | None = None
    spent: Counter[str] = field(default_factory=Counter)
    day: date | None = None

    def __post_init__(self) -> None:
        known = {resource.name for resource in RESOURCES} | {"Trading"}
        if wrong := [name for name in self.limits if name not in known and not re.fullmatch(r"Get\w+", name)]:
            raise ValueError(
                f"no resource {', '.join(wrong)}; there are {', '.join(sorted(known))} and Trading's calls"
            )

    def count(self, call: Call) -> None:
        """One more call. Raises Refusal when the day's are used up: 518 of Trading, 429 of all others."""
        self._roll(call.now)
        found = self._name_and_limit(call)
        if found is None:
            return
        name, limit = found
        if self.spent[name] >= limit:
            raise self._refusal(call)
        self.spent[name] += 1

    def _roll(self, now: datetime) -> None:
        day = now.astimezone(CALIFORNIA).date()
        if day != self.day:
            self.day = day
            self.spent.clear()

    def _name_and_limit(self, call: Call) -> tuple[str, int] | None:
        if call.path == TRADING:
            name = "Trading" if "Trading" in self.limits else call.headers.get("x-ebay-api-call-name", "")
            return name, self.limits.get(name, TRADING_QUOTA)
        for resource in RESOURCES:
            if re.match(resource.path, call.path):
                return resource.name, self.limits.get(resource.name, resource.limit)
        return None

    @staticmethod
    def _refusal(call: Call) -> Refusal:
        if call.path == TRADING:
            name = call.headers.get("x-ebay-api-call-name", "")
            return trading_xml.Failed(518).refusal(name if re.fullmatch(r"\w+", name) else "", call.now, german=False)
        long = "The request limit has been reached for the resource."
        return refuse(429, 2001, "ACCESS", "Too many requests.", long=long)

    def shown(self, now: datetime, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
        """The rateLimits of getRateLimits, filtered by api_name and api_context."""
        self._roll(now)
        listed = [(r.context, r.api, r.version, r.name, self.limits.get(r.name, r.limit)) for r in RESOURCES]
        calls = [name for name in self.spent if name.startswith("Get")]
        names = ["Trading"] if "Trading" in self.limits else sorted({*calls, *self._trading_limits()})
        listed += [("tradingapi", "tradingapi", "v1", n, self.limits.get(n, TRADING_QUOTA)) for n in names]
        apis: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for context, api, version, name, limit in listed:
            if wanted.get("api_name", api) == api and wanted.get("api_context", context) == context:
                apis.setdefault((context, api, version), []).append(self._resource(name, limit, now))
        return [
            {"apiContext": context, "apiName": api, "apiVersion": version, "resources": resources}
            for (context, api, version), resources in apis.items()
        ]

    def _trading_limits(self) -> list[str]:
        return [name for name in self.limits if name.startswith("Get")]

    def _resource(self, name: str, limit: int, now: datetime) -> dict[str, Any]:
        if name == "developer.analytics":  # eBay shows resources without rates, too
            return {"name": name}
        midnight = datetime.combine(now.astimezone(CALIFORNIA).date() + timedelta(days=1), time(), CALIFORNIA)
        rate: dict[str, Any] = {
            "count": self.spent[name],
            "limit": limit,
            "remaining": max(0, limit - self.spent[name]),
            "reset": stamp(midnight.astimezone(UTC)) if self.reset is None else self.reset,
            "timeWindow": DAY,
        }
        if self.count_missing:
            del rate["count"]
        return {"name": name, "rates": [rate]}
