"""A limit is hit once: how many calls are refused, however many are waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from pytest_httpx import HTTPXMock

from ebaysync.ebay.hosts import Hosts
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.rest import check
from ebaysync.ebay.transport import ATTEMPTS, IN_FLIGHT, Transport
from ebaysync.errors import EbayBusy, EbayError, QuotaSpent, RateLimited
from ebaysync.tasks import cancel

HOSTS = Hosts("https://api.ebay.com", "https://apiz.ebay.com", "https://auth.ebay.com")
RETURNS = "https://api.ebay.com/post-order/v2/return/"
CASES = "https://api.ebay.com/post-order/v2/casemanagement/"
MOST = IN_FLIGHT + ATTEMPTS - 1
"""refused calls of one limit: those in flight, and the further attempts of one"""


class Ebay:
    """Answers side by side, as eBay does. `allows(n)` says whether it takes the n-th call; else it answers 429."""

    def __init__(self, allows: Callable[[int], bool], headers: dict[str, str] | None = None) -> None:
        self.allows, self.headers = allows, headers or {}
        self.calls = self.refused = self.waiting = self.most = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if "/return/" not in request.url.path:
            return httpx.Response(200, json={})
        self.calls += 1
        number = self.calls
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        for _ in range(5):
            await asyncio.sleep(0)
        self.waiting -= 1
        if self.allows(number):
            return httpx.Response(200, json={})
        self.refused += 1
        return httpx.Response(429, json={"errors": [{"errorId": 2001}]}, headers=self.headers)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
async def transport(waits: list[float]) -> Any:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    async with Transport(HOSTS, sleep=sleep) as made:
        yield made


def ask(transport: Transport, url: str) -> Awaitable[Any]:
    return transport.send(Request("GET", url), lambda answer: check(answer, dict, transport))


async def results(transport: Transport, urls: list[str]) -> list[Any]:
    return await asyncio.gather(*(ask(transport, url) for url in urls), return_exceptions=True)


def details(number: int) -> list[str]:
    return [f"{RETURNS}{n}" for n in range(number)]


async def test_a_limit_that_stays_costs_ten_refused_calls_of_a_hundred_and_twenty(
    transport: Transport, httpx_mock: HTTPXMock
) -> None:
    ebay = Ebay(lambda number: number <= 50)
    httpx_mock.add_callback(ebay, is_reusable=True)
    found = await results(transport, details(120))
    assert sum(each == {} for each in found) == 50
    assert {type(each) for each in found if each != {}} == {RateLimited}
    assert MOST == 10
    assert ATTEMPTS <= ebay.refused <= MOST
    assert ebay.calls == 50 + ebay.refused
    again = await results(transport.counted(), details(120))
    assert (ebay.calls, {type(each) for each in again}) == (50 + ebay.refused, {RateLimited}), "no other view asks"


async def test_a_limit_that_passes_loses_nothing_and_the_calls_then_go_one_at_a_time(
    transport: Transport, httpx_mock: HTTPXMock, waits: list[float]
) -> None:
    ebay = Ebay(lambda number: not 50 < number <= 56)
    httpx_mock.add_callback(ebay, is_reusable=True)
    assert await results(transport, details(120)) == [{}] * 120
    assert (ebay.calls, ebay.refused, ebay.most) == (126, 6, IN_FLIGHT)
    assert 1 <= len(waits) < ATTEMPTS, "one waits for all"
    ebay.most = 0
    assert await results(transport, details(20)) == [{}] * 20
    assert ebay.most == 1


async def test_a_limit_that_comes_back_costs_one_refused_call_each_time(
    transport: Transport, httpx_mock: HTTPXMock
) -> None:
    """Every fifth call is too many, from the sixth on."""
    ebay = Ebay(lambda number: number <= 6 or number % 5 > 0)
    httpx_mock.add_callback(ebay, is_reusable=True)
    assert await results(transport, details(120)) == [{}] * 120
    assert ebay.refused <= 120 / 4 + IN_FLIGHT


async def test_other_apis_go_on_side_by_side_while_one_waits(httpx_mock: HTTPXMock) -> None:
    ebay = Ebay(lambda number: number > 1)
    httpx_mock.add_callback(ebay, is_reusable=True)
    going = asyncio.Event()

    async def sleep(seconds: float) -> None:
        going.set()
        await asyncio.Event().wait()

    async with Transport(HOSTS, sleep=sleep) as transport:
        held = [asyncio.ensure_future(ask(transport, url)) for url in details(50)]
        await going.wait()
        for _ in range(200):
            await asyncio.sleep(0)
        before = ebay.calls
        assert before <= IN_FLIGHT
        assert await results(transport, [f"{CASES}{n}" for n in range(50)]) == [{}] * 50
        assert ebay.calls == before
        await cancel(*held)


@pytest.mark.parametrize(("asked", "least", "most"), [("7", 7, 9.1), ("60", 60, 62.1), ("0", 0, 2.1), ("-5", 0, 8.1)])
async def test_a_short_retry_after_is_waited_for_by_one(
    transport: Transport, httpx_mock: HTTPXMock, waits: list[float], asked: str, least: float, most: float
) -> None:
    ebay = Ebay(lambda number: number > IN_FLIGHT, {"retry-after": asked})
    httpx_mock.add_callback(ebay, is_reusable=True)
    assert await results(transport, details(30)) == [{}] * 30
    assert ebay.refused == IN_FLIGHT
    assert 1 <= len(waits) < ATTEMPTS
    assert all(least <= wait <= most for wait in waits)


async def test_a_retry_after_of_a_minute_or_more_ends_the_attempts_of_all(
    transport: Transport, httpx_mock: HTTPXMock, waits: list[float]
) -> None:
    ebay = Ebay(lambda number: False, {"retry-after": "61"})
    httpx_mock.add_callback(ebay, is_reusable=True)
    assert {type(each) for each in await results(transport, details(120))} == {RateLimited}
    assert (ebay.refused, waits) == (IN_FLIGHT, [])


async def test_a_503_that_asks_for_more_than_a_minute_ends_the_attempts_of_all(
    transport: Transport, httpx_mock: HTTPXMock, waits: list[float]
) -> None:
    httpx_mock.add_response(status_code=503, headers={"retry-after": "3600"}, is_reusable=True)
    assert {type(each) for each in await results(transport, details(120))} == {EbayBusy}
    assert len(httpx_mock.get_requests()) <= IN_FLIGHT
    assert waits == []


class Meter:
    """Judges the first refusal as a spent quota, and admits nothing from then on."""

    def __init__(self) -> None:
        self.judgements = 0

    def admit(self, api: str, share: float, spent: object, most_sharers: float) -> None:
        if self.judgements:
            raise QuotaSpent("spent")

    def cooling(self, apis: object, share: float) -> str | None:
        return None

    async def judged(self, api: str, answer: Answer, error: EbayError) -> EbayError:
        for _ in range(100):  # eBay is asked for its own figures meanwhile
            await asyncio.sleep(0)
        self.judgements += 1
        return QuotaSpent("spent")


async def test_nothing_is_sent_while_a_refusal_is_being_judged_nor_after_it_was_a_spent_quota(
    transport: Transport, httpx_mock: HTTPXMock
) -> None:
    ebay = Ebay(lambda number: number <= 50)
    httpx_mock.add_callback(ebay, is_reusable=True)
    transport.meter = Meter()
    found = await results(transport, details(120))
    assert sum(each == {} for each in found) == 50
    assert {type(each) for each in found if each != {}} == {QuotaSpent}
    assert ebay.refused <= IN_FLIGHT


async def test_trouble_at_ebay_is_no_limit_and_closes_nothing(transport: Transport, httpx_mock: HTTPXMock) -> None:
    for _ in range(2):
        httpx_mock.add_response(status_code=503)
    httpx_mock.add_response(json={}, is_reusable=True)
    assert await results(transport, details(30)) == [{}] * 30
    httpx_mock.reset()
    httpx_mock.add_response(status_code=503, is_reusable=True)
    with pytest.raises(EbayBusy):
        await ask(transport, RETURNS)
    assert len(httpx_mock.get_requests()) == ATTEMPTS
