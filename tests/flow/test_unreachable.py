"""Unreachable is not refused: a night without network delays nothing afterwards."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest

from ebaysync.accounts.tokens import open_api
from ebaysync.ebay import identity
from ebaysync.ebay.hosts import Hosts
from ebaysync.ebay.request import Request
from ebaysync.ebay.rest import check
from ebaysync.ebay.transport import Transport
from ebaysync.errors import (
    AnswerNotUnderstood,
    CertificateInvalid,
    EbayBusy,
    EbayError,
    EbayRejected,
    EbaysyncError,
    EbayUnreachable,
)
from ebaysync.families import discover
from ebaysync.ops import schedule, status
from ebaysync.ops.account import run_families
from ebaysync.sync import cadence
from ebaysync.sync.context import RunOptions
from ebaysync.sync.state import sync_state
from ebaysync.sync.summary import Summary

Benches = Callable[..., Any]
Query = Callable[..., list[Any]]
WAITS = "SELECT extract(epoch FROM retry_at - now()) / 60, failures, retry_kind FROM ebay_sync_state"
HOSTS = Hosts("https://api.ebay.com", "https://apiz.ebay.com", "https://auth.ebay.com")
NAMES = ("orders", "payouts", "returns")  # every 5, 60 and 30 minutes; hosts api, apiz and api


async def run_all(b: Any, account: Any, names: tuple[str, ...] = NAMES) -> dict[str, Summary]:
    """Run the families as an account's process does."""
    families = [discover()[name] for name in names]
    found = run_families(b.settings, b.db, account, families, RunOptions("run-all"), b.stop)
    return {summary.family: summary async for summary in found}


async def due(b: Any, account: Any) -> set[str]:
    return set((schedule.due(await schedule.plan(b.settings, b.db), [account.id], NAMES, now=False))[account.id])


@pytest.fixture
def here(bench: Benches, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bench whose retries do not sleep in a process's work either."""
    b = bench(sellers=2, orders_per_seller=3, things=1)
    monkeypatch.setattr(b.stop, "sleep", b.sleep)
    return b


async def test_six_failures_of_a_night_without_network_delay_by_one_interval(here: Any, query: Query) -> None:
    account = await here.add()
    here.sim.faults.add("drop", times=None)
    for _ in range(6):
        found = await run_all(here, account)
        assert {(one.status, one.failure.code) for one in found.values() if one.failure} == {("error", "unreachable")}
        waits = dict(query("SELECT api_family, extract(epoch FROM retry_at - now()) / 60 FROM ebay_sync_state"))
        for name in NAMES:
            assert 0.7 * discover()[name].every_minutes < waits[name] <= discover()[name].every_minutes
    assert query("SELECT DISTINCT failures, retry_kind FROM ebay_sync_state") == [(0, "unreachable")]
    plan = await schedule.plan(here.settings, here.db)
    assert {plan.entries[account.id, name].reason for name in NAMES} == {"eBay could not be reached"}
    assert await due(here, account) == set()


async def test_the_first_answer_makes_every_family_of_the_account_due_and_of_no_other(here: Any, query: Query) -> None:
    account, other = await here.add(0), await here.add(1)
    assert all(one.status == "completed" for one in (await run_all(here, account)).values())
    fault = here.sim.faults.add("drop", times=None)
    for each in (account, other):
        await run_all(here, each)
    assert (await due(here, account), await due(here, other)) == (set(), set())
    fault.times = 0
    assert (await run_all(here, account, ("orders",)))["orders"].status == "completed"
    assert (await due(here, account), await due(here, other)) == ({"payouts", "returns"}, set())
    assert {one.status for one in (await run_all(here, account)).values()} == {"completed"}
    assert query(f"{WAITS} WHERE ebay_account_id = %s AND api_family <> 'orders'", account.id) == [(None, 0, None)] * 2


async def test_any_call_of_the_account_ends_the_wait_also_one_that_ebay_refuses(here: Any, query: Query) -> None:
    account = await here.add()
    query("UPDATE ebay_tokens SET access_token = NULL")
    fault = here.sim.faults.add("drop", times=None)
    await run_all(here, account)
    assert await due(here, account) == set()
    fault.times = 0
    here.sim.faults.add("status", path="/commerce/identity", status=403, times=None)
    async with open_api(here.settings, here.db, account, "doctor", here.sleep) as (api, _):
        with pytest.raises(EbayError):
            await identity.user(api)
    assert await due(here, account) == set(NAMES)


async def test_a_host_that_alone_is_down_delays_only_its_own_families(here: Any, query: Query) -> None:
    """What fails after the last answer waits; the next answer makes it due again."""
    account = await here.add()
    fault = here.sim.faults.add("drop", path="/sell/finances", times=None)
    found = await run_all(here, account, ("orders",)) | await run_all(here, account, ("payouts",))
    assert (found["orders"].status, found["payouts"].status) == ("completed", "error")
    assert query(f"{WAITS} WHERE api_family = 'orders'") == [(None, 0, None)]
    await run_all(here, account, ("orders",))
    assert "payouts" in await due(here, account)
    fault.times = 0
    assert (await run_all(here, account, ("payouts",)))["payouts"].status == "completed"


def invalid() -> httpx.ConnectError:
    error = httpx.ConnectError("x")
    error.__cause__ = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.__cause__.verify_message = "certificate has expired"
    return error


@pytest.mark.parametrize(
    ("raised", "kind", "calls"),
    [
        (httpx.ConnectError("[Errno -2] Name or service not known"), EbayUnreachable, 5),
        (httpx.ConnectError("[SSL: TLSV1_ALERT_PROTOCOL_VERSION]"), EbayUnreachable, 5),
        (httpx.ConnectTimeout("slow"), EbayUnreachable, 5),
        (httpx.ReadTimeout("slow"), EbayUnreachable, 5),
        (httpx.ReadError("reset"), EbayUnreachable, 5),
        (invalid(), CertificateInvalid, 1),
    ],
    ids=["DNS", "TLS", "no connection", "time-out", "reset", "certificate"],
)
async def test_what_prevents_an_answer_is_unreachable(
    httpx_mock: Any, raised: Exception, kind: type[EbayUnreachable], calls: int
) -> None:
    async def no_sleep(seconds: float) -> None:
        return

    httpx_mock.add_exception(raised, is_reusable=True)
    async with Transport(HOSTS, sleep=no_sleep) as transport:
        with pytest.raises(EbayUnreachable) as caught:
            await transport.send(Request("GET", f"{HOSTS.api}/x"), lambda answer: check(answer, dict, transport))
    assert (type(caught.value), caught.value.status) == (kind, None)
    assert len(httpx_mock.get_requests()) == calls


REQUEST = "GET https://api.ebay.com/x"


@pytest.mark.parametrize(
    ("error", "unreachable"),
    [
        (EbayUnreachable(f"{REQUEST}: ConnectError"), True),
        (CertificateInvalid(f"{REQUEST}: expired"), True),
        (EbayUnreachable(f"{REQUEST}: the JSON is damaged", status=200), False),
        (EbayBusy(f"{REQUEST}: eBay answered 503", status=503), False),
        (EbayRejected(f"{REQUEST}: eBay answered 400", status=400), False),
        (AnswerNotUnderstood(f"{REQUEST}: text/html"), False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_only_what_ebay_answers_is_waited_for_longer_each_time(
    here: Any, query: Query, error: EbaysyncError, unreachable: bool
) -> None:
    account, family = await here.add(), discover()["orders"]
    await here.db.transact(lambda connection: sync_state.ensure(connection, account, [family.name]))
    for n in range(1, 5):
        at = await here.db.transact(lambda connection: cadence.failed(connection, account.id, family, error))
        assert isinstance(at, datetime)
        [(minutes, failures, kind)] = query(WAITS)
        if unreachable:
            assert (3.9 < minutes <= 5, failures, kind) == (True, 0, "unreachable")
        else:
            assert (0.79 * 5 * 2 ** (n - 1) < minutes < 1.21 * 5 * 2 ** (n - 1), failures, kind) == (True, n, "failed")


async def test_an_unreachable_ebay_does_not_end_or_lengthen_the_wait_after_a_refusal(here: Any, query: Query) -> None:
    account, family = await here.add(), discover()["orders"]
    await here.db.transact(lambda connection: sync_state.ensure(connection, account, [family.name]))
    for error in (EbayRejected("400"), EbayRejected("400"), EbayUnreachable("down"), EbayRejected("400")):
        await here.db.transact(lambda connection, e=error: cadence.failed(connection, account.id, family, e))
    [(minutes, failures, kind)] = query(WAITS)
    assert (0.79 * 20 < minutes < 1.21 * 20, failures, kind) == (True, 3, "failed")


@pytest.mark.parametrize("fault", [{"kind": "drop"}, {"kind": "status", "status": 503}], ids=["drop", "503"])
async def test_the_hint_says_when_the_next_try_is_and_how_to_have_it_now(
    here: Any, query: Query, fault: dict[str, Any]
) -> None:
    account = await here.add()
    here.sim.faults.add(path="/sell/", times=None, **fault)
    summary = (await run_all(here, account, ("orders",)))["orders"]
    [(at,)] = query("SELECT retry_at FROM ebay_sync_state WHERE api_family = 'orders'")
    assert summary.failure
    assert summary.failure.hint == (
        f"run-all tries again after {at:%Y-%m-%d %H:%MZ}; to try now: ebaysync run-all --now --account {account.name}"
    )
    [(logged,)] = query("SELECT details -> 'error' ->> 'hint' FROM ebay_api_worker_log WHERE kind = 'error'")
    assert logged == summary.failure.hint
    dry = await here.run(account, dry_run=True)
    assert not re.search("skipped|again", dry.failure.hint)


async def test_status_tells_an_unreachable_ebay_from_a_refusal(here: Any, query: Query) -> None:
    account = await here.add()
    here.sim.faults.add("drop", path="/sell/finances", times=None)
    here.sim.faults.add("status", path="/sell/fulfillment", status=400, times=None)
    await run_all(here, account)
    plan = await schedule.plan(here.settings, here.db)
    assert status.unreachable([account], plan) == {(account.name, "payouts")}
    assert status.unreachable([], plan) == set()
