"""How cost grows with rows and with accounts, 1×, 10×, 100×: python -m benchmarks.growth

The exponent is the slope of log(CPU or round trips) over log(size): 0 stays the same, 1 grows in proportion.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import postgres
from benchmarks.proxy import Proxy
from benchmarks.run import Bench, Program, fill, get, write

FACTORS = (1, 10, 100)
ROWS, ACCOUNTS = 10_000, 10
COPY = """
INSERT INTO ebay_accounts (name, environment, ebay_user_id, username, marketplace_id)
SELECT name || copy, environment, ebay_user_id || copy, username, marketplace_id
FROM ebay_accounts, generate_series(2, {number}) AS copy WHERE name = 'bench'
"""
STATES = """
INSERT INTO ebay_sync_state (ebay_account_id, ebay_user_id, api_family, cursor_type, cursor_value, last_run_at,
    last_status)
SELECT a.id, a.ebay_user_id, s.api_family, s.cursor_type, s.cursor_value, s.last_run_at, s.last_status
FROM ebay_accounts a, ebay_sync_state s WHERE a.name <> 'bench'
"""


def exponent(costs: Sequence[float]) -> float:
    x, y = [math.log(factor) for factor in FACTORS], [math.log(max(cost, 1e-6)) for cost in costs]
    middle, high = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle) * (b - high) for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def cost(program: Program, *arguments: str) -> tuple[float, float, float]:
    """Seconds, CPU seconds and round trips."""
    with Proxy(program.database) as proxy:
        program(*arguments, database=proxy.url)
        trips = proxy.taken().round_trips
    done = min((program(*arguments) for _ in range(3)), key=lambda each: each.cpu)
    return done.seconds, done.cpu, trips


def rows(bench: Bench) -> None:
    """Of one account's stored orders."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for factor in FACTORS:
        with bench.pages(1_000) as pages:
            program = Program(bench.database(), pages, "bench\n")
            program.orders()
            for table in ("ebay_orders", "order_line_items"):
                fill(program, table, ROWS * factor)
            get(f"{pages}/touch?n=500")
            found.setdefault("`run orders`, 500 changed, then quiet", []).append(
                cost(program, "run", "orders", "--account", "bench")
            )
            found.setdefault("`status`", []).append(cost(program, "status"))
    told(bench, f"rows, {ROWS:,} to {ROWS * FACTORS[-1]:,}", found)


def accounts(bench: Bench) -> None:
    """Accounts of which nothing is due."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for factor in FACTORS:
        with bench.seller() as program:
            program("run-all", "--now")
            program.sql(COPY.format(number=ACCOUNTS * factor))
            program.sql(STATES)
            for command in ("status", "run-all"):
                found.setdefault(f"`{command}`", []).append(cost(program, command))
    told(bench, f"accounts, {ACCOUNTS:,} to {ACCOUNTS * FACTORS[-1]:,}", found)


def told(bench: Bench, what: str, found: dict[str, list[tuple[float, float, float]]]) -> None:
    for command, costs in found.items():
        _, cpu, trips = zip(*costs, strict=True)
        shown = f"CPU {' → '.join(f'{each:.2f}' for each in cpu)} s, exponent {exponent(cpu):.2f}; "
        shown += f"round trips {' → '.join(str(each) for each in trips)}, exponent {exponent(trips):.2f}"
        bench.row(f"growth of {command} with {what}", "round trips 0", shown, costs=costs)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ebaysync-bench-") as folder:
        Path(folder).chmod(0o711)
        tempfile.tempdir = folder
        with postgres() as server:
            bench = Bench(server, runs=3, orders=0)
            for measure in (accounts, rows):
                measure(bench)
                write(bench.found)


if __name__ == "__main__":
    main()
