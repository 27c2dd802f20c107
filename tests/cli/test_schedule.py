"""schedule, run and run-all with quotas, as a person and as a script see them."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

CALLS_PER_DAY = {"post_order.return": 10**9}


def test_schedule_shows_the_plan_and_the_quotas_and_a_spent_one_is_no_failure(program: Any, simulator: Any) -> None:
    sim = simulator(sellers=1, orders_per_seller=3, things=2)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    [name] = program.add_sellers(sim)
    sim.quotas.limits["Trading"] = 0
    ended = program("run-all", "--family", "buyer", "--family", "orders", "--json")
    assert ended.code == 0, ended.err
    [account] = ended.json["accounts"]
    assert {run["family"]: run["status"] for run in account["runs"]} == {"orders": "completed", "buyer": "skipped"}
    assert len(sim.journal.of("/developer/analytics")) == 1, "once, though it was asked for twice"
    assert program("run", "buyer", "--account", name).code == 0

    told = program("schedule", "--json").json
    families = {family["family"]: family for family in told["accounts"][0]["families"]}
    assert families["orders"]["next_due_at"] > told["now"]
    assert "the quota of trading is spent" in families["buyer"]["reason"]
    quotas = {quota["api"]: quota for quota in told["quotas"]}
    assert (quotas["fulfillment"]["quota"], quotas["fulfillment"]["used_by_us"] > 0) == (100_000, True)
    assert quotas["trading"]["resting_until"] == quotas["trading"]["resets_at"] > told["now"]
    due = {
        family["family"]: family["next_due_at"]
        for family in program("status", "--json").json["accounts"][0]["families"]
    }
    assert due == {family: one["next_due_at"] for family, one in families.items()}
    shown = program("schedule", environ={"COLUMNS": "80"})
    assert (shown.code, "calls today with the keyset simulator:simulator" in shown.out) == (0, True)


def test_schedule_shows_how_soon_old_rows_are_seen_and_that_they_wait_when_a_quota_is_short(
    program: Any, simulator: Any, query: Any
) -> None:
    sim = simulator(sellers=1, orders_per_seller=1)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    [name] = program.add_sellers(sim)
    assert program("run", "returns", "--account", name).code == 0
    assert program("run", "buyer", "--account", name).code == 0
    shown = program("schedule").out
    assert [line.split()[4:6] for line in shown.splitlines() if "returns" in line] == [["24", "h"]]
    query("UPDATE ebay_sync_state SET calls_per_day = %s WHERE api_family = 'returns'", Jsonb(CALLS_PER_DAY))
    told = program("schedule", "--json").json
    families = {family["family"]: family for family in told["accounts"][0]["families"]}
    returns = families["returns"]
    assert 24 < returns["old_rows_within_hours"] <= 24 * 30
    assert (returns["declared_old_rows_within_hours"], returns["calls_per_day"]) == (24, CALLS_PER_DAY)
    assert families["buyer"]["old_rows_within_hours"] is None
    assert f"24 → {returns['old_rows_within_hours']:.0f} h" in program("schedule").out
