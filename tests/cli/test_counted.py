"""Every call that a command sends is counted, to the last one: `ebay_api_usage` against the simulator's journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ebaysync.ebay import limits

Query = Callable[..., list[Any]]


def sent(sim: Any) -> Counter[str]:
    """The journal's calls by API. It does not keep the grant of a token, nor do we compare it."""
    found: Counter[str] = Counter()
    for entry in sim.journal:
        if entry.path.endswith("/oauth2/token"):
            found["oauth"] += 1
        else:
            headers = [("X-EBAY-API-CALL-NAME", entry.query.get("call", ""))]
            found[limits.api_of(f"https://api.ebay.com{entry.path}", headers)] += 1
    return found


def counted(query: Query) -> Counter[str]:
    found: Counter[str] = Counter()
    for api, calls in query("SELECT api, sum(calls)::int FROM ebay_api_usage GROUP BY api"):
        found["oauth" if api.startswith("oauth.") else api] += calls
    return +found


@pytest.fixture
def sim(simulator: Callable[..., Any], program: Any) -> Any:
    made = simulator(sellers=2, orders_per_seller=6, things=3)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": made.url, "EBAYSYNC_MAX_WINDOW_HOURS": "2400"}
    return made


def test_every_command_counts_every_call(program: Any, sim: Any, query: Query) -> None:
    names = program.add_sellers(sim)
    assert counted(query) == sent(sim), "accounts add"
    a, b = names
    commands: dict[tuple[str, ...], int] = {
        ("run", "orders", "-a", a, "--dry-run"): 0,
        ("run", "orders", "-a", a): 0,
        ("run", "returns", "-a", a): 0,
        ("run", "offers", "-a", a): 0,
        ("run", "active_inventory", "-a", a): 0,
        ("refresh-tokens", "--force"): 0,
        ("doctor",): 0,
        ("doctor", "--account", b): 0,
        ("run-all", "--now"): 0,
        ("run-all",): 0,
        ("backfill", "orders", "--days", "3"): 0,
    }
    for arguments, code in commands.items():
        before = len(sim.journal)
        ended = program(*arguments)
        assert ended.code == code, ended.err
        assert counted(query) == sent(sim), " ".join(arguments)
        assert len(sim.journal) > before or arguments == ("run-all",), " ".join(arguments)


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 400}, {"kind": "html"}], ids=["400", "html"])
def test_the_calls_of_a_run_that_fails_are_counted_too(
    program: Any, sim: Any, query: Query, fault: dict[str, Any], added: Callable[..., list[str]]
) -> None:
    name = added(program, sim)[0]
    sim.journal.clear()
    sim.faults.add(path="/sell/fulfillment/v1/order", times=None, **fault)
    for arguments in (("run", "orders", "-a", name, "--dry-run"), ("run", "orders", "-a", name), ("run-all", "--now")):
        assert program(*arguments).code != 0
        assert counted(query) == sent(sim), " ".join(arguments)
