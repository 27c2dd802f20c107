"""What a run takes of memory: the same for a large seller as for a small one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ebaysync.sim.server import Simulator

# The program, telling at its end the most memory it ever had: that of the process alone. What getrusage tells of a
# child has the parent's peak in it, because a child begins with its parent's memory.
TELLING = """
import runpy, sys
try:
    runpy.run_module("ebaysync", run_name="__main__", alter_sys=True)
finally:
    print(open("/proc/self/status").read(), file=sys.stderr)
"""


def peak(program: Any, *arguments: str) -> int:
    """The most memory, in KiB, that the program took for a command that ends well."""
    ended = subprocess.run(
        [sys.executable, "-c", TELLING, *arguments],
        capture_output=True,
        text=True,
        env=program.environ,
        cwd=program.folder,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = re.search(r"^VmHWM:\s+(\d+) kB$", ended.stderr, re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.slow
def test_20000_listings_take_no_more_memory_than_1000(
    program: Any, simulator: Callable[..., Simulator], query: Callable[..., list[Any]]
) -> None:
    peaks = {}
    for count in (1_000, 20_000):
        sim = simulator(seed=count, sellers=1, orders_per_seller=0, things={"listing": count})
        program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
        sim.world.rename(sim.world.sellers[0], f"seller_of_{count}")
        [name] = program.add_sellers(sim)
        peaks[count] = peak(program, "run", "active_inventory", "--account", name)
        assert len(sim.journal.of("/ws/api.dll")) < count / 200 * 2, "more than two calls for each full page"
        sim.stop()
    stored = query("SELECT count(*) FROM ebay_active_inventory GROUP BY ebay_account_id ORDER BY 1")
    assert stored == [(1_000,), (20_000,)]
    assert peaks[20_000] < 1.2 * peaks[1_000], peaks
