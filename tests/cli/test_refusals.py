"""What waits for a person fails the run that learns of it, and one a day; between them it is skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Query = Callable[..., list[Any]]
ORDERS = ("run-all", "--now", "--family", "orders")


@pytest.fixture
def sim(simulator: Callable[..., Any], program: Any) -> Any:
    found = simulator(sellers=2, orders_per_seller=2)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = found.url
    return found


@pytest.fixture
def names(sim: Any, program: Any, added: Callable[..., list[str]]) -> list[str]:
    return sorted(added(program, sim))


def seller(sim: Any, name: str) -> Any:
    return next(one for one in sim.world.sellers if one.username == name)


def test_a_dead_consent_fails_run_all_once_a_day_and_heals_by_itself(
    program: Any, names: list[str], sim: Any, query: Query
) -> None:
    dead, well = names
    sim.revoke(seller(sim, dead))
    assert program(*ORDERS).code == 3
    assert program("status", "--check").code == 3
    sim.journal.clear()
    between = program(*ORDERS, "--json")
    assert between.code == 0
    first, second = between.json["accounts"]
    assert (first["status"], first["runs"], second["status"]) == ("skipped", [], "completed")
    assert first["reason"].startswith("the seller must consent again (since ")
    assert {entry.seller for entry in sim.journal} - {None} == {well}
    assert f"{dead}: skipped, the seller must consent again" in program(*ORDERS).out
    assert program("run", "orders", "--account", dead).code == 12
    assert program("backfill", "orders", "--days", "1").code == 0
    assert program("backfill", "orders", "--days", "1", "--account", dead).code == 12
    query("UPDATE ebay_tokens SET retry_at = now() WHERE retry_at IS NOT NULL")
    assert (program(*ORDERS).code, program(*ORDERS).code) == (3, 0)
    sim.unrevoke(seller(sim, dead))
    query("UPDATE ebay_tokens SET retry_at = now() WHERE retry_at IS NOT NULL")
    assert program("run-all").code == 0, "also an account of which nothing else is due"
    assert query("SELECT bool_or(needs_consent) FROM ebay_accounts") == [(False,)]
    assert (program(*ORDERS).code, program("status", "--check").code) == (0, 0)


def test_a_person_can_have_a_dead_consent_tried_at_once(program: Any, names: list[str], sim: Any, query: Query) -> None:
    dead = names[0]
    marked = "SELECT needs_consent FROM ebay_accounts WHERE name = %s"
    for command in (("refresh-tokens", "--force", "--account", dead), ("accounts", "enable", dead)):
        query("UPDATE ebay_tokens SET access_expires_at = now()")
        sim.revoke(seller(sim, dead))
        assert program("refresh-tokens").code == 3
        assert query(marked, dead) == [(True,)]
        still = program(*command)
        assert (still.code, "must consent again" in still.err) == (3 if command[0] == "refresh-tokens" else 0, True)
        sim.unrevoke(seller(sim, dead))
        assert program("refresh-tokens").code == 0
        assert query(marked, dead) == [(True,)], "its daily try is not due"
        assert program(*command).code == 0
        assert query(marked, dead) == [(False,)]
    assert program(*ORDERS).code == 0


def test_another_keyset_ends_with_2_before_any_call_names_the_setting_and_marks_nothing(
    program: Any, names: list[str], sim: Any, query: Query
) -> None:
    query("UPDATE ebay_tokens SET access_expires_at = now()")
    sim.other_keyset("second", "secret")
    sim.journal.clear()
    other = {"EBAYSYNC_SIMULATOR_CLIENT_ID": "second", "EBAYSYNC_SIMULATOR_CLIENT_SECRET": "secret"}
    for command in (("run", "orders", "--account", names[0]), ("run-all",), ("refresh-tokens", "--force")):
        ended = program(*command, environ=other)
        assert (ended.code, "EBAYSYNC_SIMULATOR_CLIENT_ID is second" in ended.err) == (2, True)
        assert len(sim.journal) == 0
    assert query("SELECT bool_or(needs_consent) FROM ebay_accounts") == [(False,)]
    assert query("SELECT count(*) FROM ebay_tokens WHERE refused_since IS NOT NULL") == [(0,)]
    assert program("run-all", "--family", "orders").code == 0


def test_a_refused_family_fails_the_run_that_learns_of_it_and_then_waits(
    program: Any, names: list[str], sim: Any, query: Query
) -> None:
    refused = names[0]
    sim.faults.add("status", path="/order$", status=403, code=1100, seller=refused, times=None)
    run_all = ("run-all", "--family", "orders", "--family", "payouts", "--json")
    ended = program(*run_all)
    statuses = {
        (account["account"], run["family"]): run["status"]
        for account in ended.json["accounts"]
        for run in account["runs"]
    }
    assert ended.code == 3
    assert [key for key, status in statuses.items() if status != "completed"] == [(refused, "orders")]
    query("UPDATE ebay_sync_state SET last_run_at = now() - interval '2 hours'")
    between = program(*run_all)
    ran = {(account["account"], run["family"]) for account in between.json["accounts"] for run in account["runs"]}
    assert (between.code, ran) == (0, {(names[1], "orders"), (refused, "payouts"), (names[1], "payouts")})
    shown = program("status", "--account", refused)
    told = " ".join(shown.out.split())
    assert "refused" in told
    assert f"{refused} orders: eBay refuses orders (" in told
    assert "eBay answered 403 1100); it needs sell.fulfillment.readonly (since 20" in told
    assert program("status", "--check").code == 3
    assert program("doctor").code == 3
    sim.faults.clear()
    assert program("run", "orders", "--account", refused).code == 0, "a person asks at once"
    assert program("status", "--check").code == 0
