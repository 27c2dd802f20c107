"""schedule, run and run-all with quotas, as a person and as a script see them."""

from __future__ import annotations

from typing import Any

import pytest
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
    query(
        "UPDATE ebay_sync_state SET calls_per_day = %s WHERE api_family = 'returns'", Jsonb({"details": CALLS_PER_DAY})
    )
    told = program("schedule", "--json").json
    families = {family["family"]: family for family in told["accounts"][0]["families"]}
    returns = families["returns"]
    assert 24 < returns["old_rows_within_hours"] <= 24 * 30
    assert (returns["declared_old_rows_within_hours"], returns["calls_per_day"]) == (24, CALLS_PER_DAY)
    assert families["buyer"]["old_rows_within_hours"] is None
    assert f"24 → {returns['old_rows_within_hours']:.0f} h" in program("schedule").out


@pytest.mark.parametrize("odd", [[1], "x", 5, {"sweep": 5, "details": {"post_order.return": "b"}}, {"a": [{}]}])
def test_what_somebody_has_edited_in_the_state_stops_no_plan_and_no_run(
    program: Any, simulator: Any, query: Any, odd: Any
) -> None:
    sim = simulator(sellers=1, orders_per_seller=1, things=2)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    program.add_sellers(sim)
    assert program("run-all", "--now").code == 0
    query("UPDATE ebay_sync_state SET calls_per_run = %s, calls_per_day = %s, remembered = %s", *[Jsonb(odd)] * 3)
    assert program("schedule", "--json").code == 0
    assert program("run-all", "--now").code == 0
    assert query("SELECT jsonb_typeof(calls_per_day -> 'sweep') FROM ebay_sync_state WHERE api_family = 'returns'") == [
        ("object",)
    ]


@pytest.mark.parametrize("accounts", ["1", "200", "100000"])
def test_schedule_says_what_so_many_accounts_would_get_and_what_to_request(
    program: Any, simulator: Any, accounts: str
) -> None:
    sim = simulator(sellers=1, orders_per_seller=1)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    program.add_sellers(sim)
    found = program("schedule", "--accounts", accounts, "--json").json
    assert (found["accounts"], found["typical"]) == (int(accounts), False)
    [keyset] = found["keysets"]
    assert (keyset["keyset"], keyset["present"]) == ("simulator:simulator", 1)
    assert {family["family"] for family in keyset["families"]} >= {"orders", "messages", "buyer"}
    quotas = {quota["api"]: quota for quota in keyset["quotas"]}
    assert quotas["fulfillment"]["wanted"] == int(accounts) * 288
    assert keyset["carries"] == min(quota["carries"] for quota in keyset["quotas"])
    assert (quotas["fulfillment"]["request"] is None) == (int(accounts) * 288 <= 80_000)
    for columns in (80, 140):
        shown = program("schedule", "--accounts", accounts, environ={"COLUMNS": str(columns)}).out
        assert f"the keyset carries {keyset['carries']:,} accounts" in " ".join(shown.split())
        assert ("Application Growth Check" in shown) == any(quota["request"] for quota in keyset["quotas"])


def test_without_accounts_schedule_plans_for_typical_ones_and_says_so(program: Any) -> None:
    ended = program("schedule", "--accounts", "50")
    assert (ended.code, "no account is active yet" in ended.out) == (0, True)
    assert program("schedule", "--accounts", "50", "--json").json["typical"] is True


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--accounts", "0"), "--accounts"),
        (("--accounts", "-5"), "--accounts"),
        (("--accounts", "100001"), "--accounts"),
        (("--accounts", "many"), "--accounts"),
        (("--accounts", "5", "--account", "alice"), "--account and --accounts do not go together"),
    ],
)
def test_a_number_of_accounts_that_makes_no_sense_is_wrong_usage(
    program: Any, arguments: tuple[str, ...], named: str
) -> None:
    ended = program("schedule", *arguments)
    assert (ended.code, named in ended.err) == (2, True)
