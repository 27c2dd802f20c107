"""Counts each command's round trips to PostgreSQL with a proxy; benchmarks/proxy.py says what counts. Lower a bound
when a command gets cheaper; never raise one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.machine import process
from benchmarks.proxy import Counts, Proxy


@dataclass(frozen=True)
class Bound:
    round_trips: int
    commits: int


# Where a command takes seconds, a busy machine adds renewals of leases: 102 and 61 when it is idle.
QUIET_ORDERS = Bound(13, 3)
QUIET_RUN_ALL = Bound(100, 24)  # all families; a slow machine records their ends in up to three transactions
FIRST_IMPORT = Bound(66, 15)  # 20 pages of orders
NOTHING_DUE = Bound(6, 0)
STATUS = Bound(4, 0)  # any number of accounts


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    with Proxy(database_url) as running:
        yield running


@pytest.fixture
def ask(program: Any, proxy: Proxy) -> Callable[..., Counts]:
    """`ask("status")`: what the command asked of PostgreSQL."""

    def run(*arguments: str) -> Counts:
        proxy.taken()
        ended = program(*arguments, environ={"EBAYSYNC_DATABASE_URL": proxy.url})
        assert ended.code == 0, ended.err
        return proxy.taken()

    return run


def within(found: Counts, bound: Bound) -> bool:
    """Show the figures of each test: pytest -s."""
    print(found)
    return found.round_trips <= bound.round_trips and found.commits <= bound.commits


def test_a_quiet_run_of_one_family_and_of_all_and_one_with_nothing_due_stay_within_their_round_trips(
    program: Any, simulator: Any, added: Callable[..., list[str]], ask: Callable[..., Counts]
) -> None:
    sim = simulator(sellers=1, orders_per_seller=150, things=5)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    [name] = added(program, sim)
    for _ in range(2):  # the second one asks once more for what the first one has opened
        ask("run-all", "--now")
    assert within(ask("run", "orders", "-a", name), QUIET_ORDERS)
    assert within(ask("run-all", "--now"), QUIET_RUN_ALL)
    assert within(ask("run-all"), NOTHING_DUE)


@pytest.mark.parametrize("accounts", [1, 20])
def test_status_stays_within_its_round_trips_whatever_the_number_of_accounts(
    program: Any, simulator: Any, added: Callable[..., list[str]], ask: Callable[..., Counts], accounts: int
) -> None:
    sim = simulator(sellers=accounts, orders_per_seller=1)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    added(program, sim)
    assert within(ask("status"), STATUS)


def test_a_first_import_stays_within_its_round_trips(program: Any, ask: Callable[..., Counts]) -> None:
    with process("benchmarks.pages", "--orders", "4000", "--days", "14") as said:
        program.environ["EBAYSYNC_SIMULATOR_URL"] = f"http://127.0.0.1:{said.readline().strip()}"
        added = program("accounts", "add", "bench", "-e", "simulator", "--refresh-token-stdin", given="bench\n")
        assert added.code == 0, added.err
        assert within(ask("run", "orders", "-a", "bench"), FIRST_IMPORT)
