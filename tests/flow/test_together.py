"""An account's families at the same time: one token, one pool of connections, and each family's troubles its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.ops import account as accounts
from ebaysync.store.database import Database
from ebaysync.sync import run as runs
from ebaysync.sync.batch import Composer
from ebaysync.sync.context import RunOptions
from ebaysync.sync.family_run import FamilyRun
from ebaysync.sync.source_run import SourceRun
from ebaysync.sync.summary import Summary

TOKEN_PATH = "/identity/v1/oauth2/token"
Query = Callable[..., list[Any]]


async def run_all(b: Any, account: Any) -> dict[str, Summary]:
    families = list(discover().values())
    found = accounts.run_families(b.settings, b.db, account, families, RunOptions("run-all"), b.stop)
    return {summary.family: summary async for summary in found}


async def test_families_that_meet_a_401_at_once_renew_the_token_once(bench: Callable[..., Any], query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=5, days=5).with_settings(max_window_hours=2400)
    account = await b.add()
    b.sim.journal.clear()
    for path in ("/order$", "/search$", "ws/api.dll", "/transaction$", "/payout$"):
        b.sim.faults.add("slow", path=path, seconds=0.2)
    b.sim.faults.add("expire_tokens", path="/(order|search|transaction|payout)$|ws/api.dll")
    summaries = await run_all(b, account)
    assert {name: summary.status for name, summary in summaries.items()} == dict.fromkeys(discover(), "completed")
    assert len([entry for entry in b.sim.journal if entry.status == 401]) > 1
    assert len(b.sim.journal.of(TOKEN_PATH)) == 1
    renewals = query("SELECT triggered_by FROM ebay_token_refresh_log WHERE triggered_by = 'unauthorized'")
    assert renewals == [("unauthorized",)]
    assert query("SELECT count(*) FROM ebay_lease WHERE token IS NOT NULL") == [(0,)]


async def test_a_bug_in_one_family_ends_none_of_the_others(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench(sellers=1, orders_per_seller=3, days=5).with_settings(max_window_hours=2400)
    account = await b.add()

    original = runs._read

    async def read(group: SourceRun) -> None:
        if group.family.name == "payouts":
            raise ZeroDivisionError("a secret record")
        await original(group)

    monkeypatch.setattr(runs, "_read", read)
    summaries = await run_all(b, account)
    bad = summaries.pop("payouts")
    assert (bad.status, bad.failure and bad.failure.message) == ("error", "unexpected ZeroDivisionError")
    assert {summary.status for summary in summaries.values()} == {"completed"}


async def test_a_pool_of_one_connection_is_enough_for_all(bench: Callable[..., Any], database_url: str) -> None:
    """Whoever holds a connection waits for nobody who needs one."""
    b = bench(sellers=1, orders_per_seller=5, days=5).with_settings(max_window_hours=2400)
    account = await b.add()
    b.db = Database(Secret(database_url), pool_size=1)
    try:
        summaries = await run_all(b, account)
    finally:
        await b.db.close()
    assert {summary.status for summary in summaries.values()} == {"completed"}


async def test_records_are_decoded_while_those_before_them_are_stored(
    bench: Callable[..., Any], narrow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch is stored at a time, in order, and the next one is decoded before its end."""
    told: list[str] = []
    store, listed = FamilyRun.store, Composer.listed

    async def storing(self: FamilyRun, *given: Any) -> None:
        told.append("store")
        await store(self, *given)
        told.append("stored")

    async def decoding(self: Composer, *given: Any) -> Any:
        found = await listed(self, *given)
        told.append("decoded")
        return found

    monkeypatch.setattr(FamilyRun, "store", storing)
    monkeypatch.setattr(Composer, "listed", decoding)
    b = bench(sellers=1, orders_per_seller=40, days=20)
    assert (await b.run(await b.add())).status == "completed"
    batches = told.count("store")
    assert batches > 2
    assert [each for each in told if each != "decoded"] == ["store", "stored"] * batches
    assert any(told[at : at + 3] == ["store", "decoded", "stored"] for at in range(len(told)))
