"""One seller of a server of the test's own, and runs for it in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ebaysync.families import discover
from ebaysync.ops.account import by_source
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run
from ebaysync.sync.summary import Summary

from .case_server import CaseServer
from .clocks import Clocks

Query = Callable[..., list[Any]]


class Player:
    """One seller of a server of the test's own, in this process. Nothing sleeps."""

    def __init__(self, bench: Any, ebay: CaseServer, query: Query, clocks: Clocks) -> None:
        self.bench, self.ebay, self.query, self.clocks = bench, ebay, query, clocks
        self.account: Any = None

    async def add(self) -> None:
        self.account = await self.bench.add()

    async def run(self, *families: str) -> list[Summary]:
        """The families together, as `run-all` does, or one, as `run` does."""
        if self.account is None:
            await self.add()
        found: list[Summary] = []
        async with self.bench.worker(self.account) as worker:
            for group in by_source([discover()[name] for name in families]):
                found += await run(worker, group, RunOptions("run"))
        assert self.ebay.wrong == [], "eBay has no such call"
        return found

    async def one(self, family: str) -> Summary:
        [found] = await self.run(family)
        return found

    def later(self, **span: float) -> None:
        self.clocks.advance(**span)

    def value(self, sql: str) -> str:
        return "|".join(str(value) for value in self.query(sql)[0])


def exit_code(summary: Summary) -> int:
    """As `run` ends."""
    return summary.failure.exit_code if summary.failure else 0
