"""The simulator's quotas and getRateLimits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from ebaysync.sim.calls import Call, Refusal
from ebaysync.sim.quotas import Quotas

AT = datetime(2026, 7, 23, 20, tzinfo=UTC)
NEXT_DAY = datetime(2026, 7, 24, 7, tzinfo=UTC)


def call(path: str, now: datetime = AT, headers: Mapping[str, str] | None = None) -> Call:
    return Call("GET", path, "", {}, headers or {}, b"", "http://127.0.0.1", now)


def test_a_spent_quota_is_a_429_until_midnight_in_california() -> None:
    quotas = Quotas({"sell.finances": 2})
    for _ in range(2):
        quotas.count(call("/sell/finances/v1/payout"))
    with pytest.raises(Refusal) as refused:
        quotas.count(call("/sell/finances/v1/transaction"))
    assert refused.value.answer.status == 429
    quotas.count(call("/sell/fulfillment/v1/order"))
    [finances] = [api for api in quotas.shown(AT, {"api_context": "sell"}) if api["apiName"] == "finances"]
    [rate] = finances["resources"][0]["rates"]
    assert (rate["count"], rate["limit"], rate["remaining"]) == (2, 2, 0)
    assert rate["reset"] == "2026-07-24T07:00:00.000Z"
    quotas.count(call("/sell/finances/v1/payout", NEXT_DAY))
    assert quotas.spent["sell.finances"] == 1


def test_trading_answers_518_for_each_call_or_for_all_together() -> None:
    for limits, other in (({"GetUser": 1}, False), ({"Trading": 1}, True)):
        quotas = Quotas(limits)
        quotas.count(call("/ws/api.dll", headers={"x-ebay-api-call-name": "GetUser"}))
        with pytest.raises(Refusal) as refused:
            quotas.count(call("/ws/api.dll", headers={"x-ebay-api-call-name": "GetUser"}))
        assert (refused.value.answer.status, b"<ErrorCode>518<" in refused.value.answer.body) == (200, True)
        if not other:
            quotas.count(call("/ws/api.dll", headers={"x-ebay-api-call-name": "GetMyMessages"}))


def test_filters_that_leave_nothing_show_nothing_and_unknown_resources_are_refused() -> None:
    assert Quotas().shown(AT, {"api_context": "buy"}) == []
    with pytest.raises(ValueError, match="no resource sell"):
        Quotas({"sell.nothing": 1})
