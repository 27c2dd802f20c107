"""What eBay refuses (403) concerns one family of one account, for a while: it is asked again and heals by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ebaysync.families import discover
from ebaysync.ops import schedule
from ebaysync.ops.status import look, unwell
from ebaysync.rechecks import REFUSED_FIRST, REFUSED_THEN
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run

Query = Callable[..., list[Any]]
Benches = Callable[..., Any]
TOKEN_PATH = "/identity/v1/oauth2/token"
LISTS: dict[str, dict[str, Any]] = {
    "orders": {"path": "/sell/fulfillment/v1/order$"},
    "finances": {"path": "/sell/finances/v1/transaction$"},
    "payouts": {"path": "/sell/finances/v1/payout$"},
    "disputes": {"path": "/payment_dispute_summary$"},
    "inventory": {"path": "/inventory_item$"},
    "messages": {"call": "GetMyMessages"},
    "active_inventory": {"call": "GetMyeBaySelling"},
    "buyer": {"call": "GetMyeBayBuying"},
    "inquiries": {"path": "/inquiry/search$", "envelope": "errorMessage"},
    "cases": {"path": "/casemanagement/search$", "envelope": "errorMessage"},
    "returns": {"path": "/return/search$", "envelope": "error"},
    "cancellations": {"path": "/cancellation/search$"},
}
REFUSED = "SELECT api_family FROM ebay_sync_state WHERE refused_since IS NOT NULL ORDER BY 1"
WAIT = "SELECT extract(epoch FROM retry_at - now()) FROM ebay_sync_state WHERE api_family = %s"


def test_the_lists_of_all_sources_are_tried() -> None:
    sources = {discover()[family].source for family in LISTS}
    assert sources == {family.source for family in discover().values()}


def about(query: Query, family: str, expected: timedelta) -> bool:
    return abs(float(query(WAIT, family)[0][0]) - expected.total_seconds()) < 60


def renewals(b: Any) -> int:
    return len(b.sim.journal.of(TOKEN_PATH))


def deny(b: Any, family: str, code: int = 1100, **options: Any) -> None:
    b.sim.faults.add("status", status=403, code=code, times=None, **LISTS[family], **options)


@pytest.mark.parametrize(
    ("family", "error_id"), [*((family, 1100) for family in LISTS), ("orders", 2004), ("messages", 2004)]
)
async def test_a_refused_family_fails_alone_and_heals_by_itself(
    bench: Benches, query: Query, family: str, error_id: int
) -> None:
    b = bench(sellers=1, orders_per_seller=2, things=2)
    account = await b.add()
    deny(b, family, code=error_id)
    refused = await b.run(account, family)
    assert refused.status == "error"
    assert (refused.failure.code, refused.failure.exit_code) == (
        ("missing_scope", 12) if error_id == 1100 else ("access_denied", 13)
    )
    assert (refused.calls, str(error_id) in refused.failure.message, family in refused.failure.message) == (
        2,
        True,
        True,
    )
    assert f"ebaysync run {family} -a {account.name}" in refused.failure.hint
    assert query(REFUSED) == [(family,)]
    assert query("SELECT needs_consent FROM ebay_accounts") == [(False,)]
    other = "messages" if family == "orders" else "orders"
    assert (await b.run(account, other)).status == "completed"
    b.sim.faults.clear()
    assert (await b.run(account, family)).status == "completed"
    assert query("SELECT count(*) FROM ebay_sync_state WHERE failures > 0 OR retry_at > now()") == [(0,)]
    assert query(REFUSED) == []


@pytest.mark.parametrize("family", LISTS)
async def test_a_403_for_an_expired_token_costs_one_renewal(bench: Benches, query: Query, family: str) -> None:
    b = bench(sellers=1, orders_per_seller=2, things=2)
    account = await b.add()
    b.sim.journal.clear()
    deny(b, family, first_token=True)
    assert (await b.run(account, family)).status == "completed"
    assert (renewals(b), query(REFUSED)) == (1, [])


async def test_families_of_the_same_scope_go_on_until_they_are_refused_themselves(bench: Benches, query: Query) -> None:
    """Returns are refused once. Orders, with the same scope, are read on: a new one is stored."""
    b = bench(sellers=1, orders_per_seller=2, things=2)
    account = await b.add()
    same = [family.name for family in discover().values() if family.scopes == discover()["returns"].scopes]
    assert len(same) > 1
    deny(b, "returns")
    assert (await b.run(account, "returns")).status == "error"
    b.sim.faults.clear()
    for family in ("orders", *(name for name in same if name != "returns")):
        assert (await b.run(account, family)).status == "completed"
    assert (query(REFUSED), query("SELECT count(*) FROM ebay_orders")) == ([("returns",)], [(2,)])


async def test_a_process_renews_the_token_once_however_many_families_are_refused(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    b.sim.journal.clear()
    b.sim.faults.add("status", status=403, times=None, path="^/(sell|post-order|ws)/")
    async with b.worker(account) as worker:
        for number, family in enumerate(LISTS):
            [summary, *_] = await run(worker, [discover()[family]], RunOptions("run"))
            assert summary.status == "error"
            assert summary.calls == (2 if number == 0 else 1)
    assert renewals(b) == 1
    assert [family for (family,) in query(REFUSED)] == sorted(LISTS)


async def test_families_that_are_read_together_are_refused_together(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    together = [family for family in discover().values() if family.source == "transactions"]
    deny(b, "finances")
    async with b.worker(account) as worker:
        summaries = await run(worker, together, RunOptions("run-all"))
    assert [summary.calls for summary in summaries] == [2, 0, 0]
    for summary in summaries:
        assert f"eBay refuses {summary.family} (" in summary.failure.message
    assert [family for (family,) in query(REFUSED)] == sorted(family.name for family in together)


async def test_a_refused_family_is_asked_again_with_one_call_after_six_hours_then_daily(
    bench: Benches, query: Query
) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    deny(b, "returns")

    async def due() -> bool:
        found = schedule.due(await schedule.plan(b.settings, b.db), [account.id], ["returns"], now=False)
        return found[account.id] == ["returns"]

    assert await due()
    await b.run(account, "returns")
    assert (about(query, "returns", REFUSED_FIRST), await due()) == (True, False)
    since = query("SELECT refused_since FROM ebay_sync_state")
    for _ in range(2):
        await b.run(account, "returns")  # a person asks at once, which does not put off the next try
        assert about(query, "returns", REFUSED_FIRST)
    for _ in range(2):
        query("UPDATE ebay_sync_state SET retry_at = now(), last_run_at = now() - interval '1 day'")
        assert await due()
        b.sim.journal.clear()
        await b.run(account, "returns")
        assert (len(b.sim.journal.of("/post-order/v2/return/search")), renewals(b)) == (1, 1)
        assert (about(query, "returns", REFUSED_THEN), await due()) == (True, False)
    assert query("SELECT refused_since FROM ebay_sync_state") == since


async def test_asking_again_costs_one_call_of_each_refused_family(bench: Benches, query: Query) -> None:
    """Also where eBay's time is known and the window is wide, so that slices could be read ahead."""
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    b.sim.faults.add("status", status=403, times=None, path="^/(sell|post-order|ws)/")
    for _ in range(2):
        b.sim.journal.clear()
        async with b.worker(account) as worker:
            calls = [(await run(worker, [discover()[family]], RunOptions("run")))[0].calls for family in LISTS]
    assert (calls, renewals(b)) == ([1] * len(LISTS), 1)


async def test_a_refused_family_is_shown_with_its_age_its_reason_and_its_next_try(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    deny(b, "returns")
    refused = await b.run(account, "returns")
    plan = await schedule.plan(b.settings, b.db)
    assert "refused by eBay since 20" in str(plan.entries[account.id, "returns"].reason)
    found = (await look(b.settings, b.db, [account])).found
    [shown] = [family for family in found["accounts"][0]["families"] if family["family"] == "returns"]
    [(since, retry_at)] = query("SELECT refused_since, retry_at FROM ebay_sync_state")
    assert shown["refused_since"][:19] == since.isoformat()[:19]
    assert shown["next_due_at"][:19] == retry_at.isoformat()[:19]
    assert (shown["last_status"], shown["last_error"]) == ("error", refused.failure.message)
    assert unwell(found) == [f"{account.name} returns: refused by eBay since {shown['refused_since']}"]
    query("UPDATE ebay_sync_state SET enabled = false")
    assert unwell((await look(b.settings, b.db, [account])).found) == []


async def test_a_refused_family_takes_no_part_in_the_days_forecast(bench: Benches) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    wanted = {one.budget.api: one.wanted for one in (await schedule.plan(b.settings, b.db)).forecasts}
    deny(b, "orders")
    await b.run(account, "orders")
    after = {one.budget.api: one.wanted for one in (await schedule.plan(b.settings, b.db)).forecasts}
    assert after["fulfillment"] < wanted["fulfillment"] / 2


DETAILS = {
    "returns": r"/post-order/v2/return/\d+$",
    "inquiries": r"/post-order/v2/inquiry/\d+$",
    "cases": r"/post-order/v2/casemanagement/\d+$",
    "disputes": r"/payment_dispute/\w+$",
}


@pytest.mark.parametrize("family", DETAILS)
async def test_a_refused_detail_concerns_its_record_only(bench: Benches, query: Query, family: str) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=4)
    account = await b.add()
    b.sim.faults.add("status", status=403, times=None, path=DETAILS[family])
    summary = await b.run(account, family)
    assert (summary.status, summary.stored > 0) == ("completed", True)
    assert len(b.sim.journal.of("/")) < 40
    assert query(REFUSED) == []


async def test_without_a_renewed_token_a_403_proves_nothing(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    deny(b, "returns")
    b.sim.faults.add("status", path=TOKEN_PATH, status=503, times=None)
    summary = await b.run(account, "returns")
    assert (summary.failure.code, query(REFUSED)) == ("busy", [])


async def test_a_failure_of_another_kind_leaves_the_refusal_until_a_success(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    deny(b, "returns")
    await b.run(account, "returns")
    b.sim.faults.clear()
    b.sim.faults.add("status", status=503, times=None, path="/return/search$")
    assert (await b.run(account, "returns")).failure.code == "busy"
    assert query(REFUSED) == [("returns",)]
    b.sim.faults.clear()
    await b.run(account, "returns")
    assert query(REFUSED) == []


async def test_a_dry_run_remembers_no_refusal(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    deny(b, "returns")
    assert (await b.run(account, "returns", dry_run=True)).failure.code == "missing_scope"
    assert query(REFUSED) == []


async def test_a_token_of_trading_that_may_lack_the_scope_refuses_the_family(bench: Benches, query: Query) -> None:
    """The scopes are not known, and nothing was read before: what needs other scopes goes on."""
    b = bench(sellers=1, orders_per_seller=1, things=2)
    account = await b.add()
    b.sim.faults.add("trading_error", code=21916984, times=None)
    summary = await b.run(account, "messages")
    assert (summary.failure.code, summary.failure.exit_code) == ("needs_consent", 12)
    assert (query(REFUSED), about(query, "messages", REFUSED_FIRST)) == ([("messages",)], True)
    assert query("SELECT needs_consent FROM ebay_accounts") == [(False,)]
    assert (await b.run(account, "orders")).status == "completed"


async def test_a_new_consent_makes_refused_families_due_at_once(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0, things=2)
    account = await b.add()
    deny(b, "returns")
    await b.run(account, "returns")
    await b.add()
    assert query("SELECT failures, retry_at, refused_since FROM ebay_sync_state") == [(0, None, None)]
