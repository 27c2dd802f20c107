"""The link to the database is cut at a COMMIT: before it arrives, or when it was carried out but not answered.
What the run tells must be what the tables hold, and nothing is there twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.store.database import Database
from ebaysync.sync.context import RunContext, RunOptions
from ebaysync.sync.run import run

Query = Callable[..., list[Any]]


class Link:
    """A proxy on loopback before PostgreSQL. `cut_at` the COMMIT of that number, once, when it was `carried_out` or
    before it gets there."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.folder = parse_qs(parts.query).get("host", [parts.hostname])[0]
        self.port_there = parse_qs(parts.query).get("port", [str(parts.port or 5432)])[0]
        self.user, self.database = parts.username or "ebaysync", parts.path
        self.commits, self.cuts, self.cut_at, self.carried_out = 0, 0, 0, False
        self.writers: list[asyncio.StreamWriter] = []

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if str(self.folder).startswith("/"):
            return await asyncio.open_unix_connection(f"{self.folder}/.s.PGSQL.{self.port_there}")
        return await asyncio.open_connection(self.folder, int(self.port_there))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await self.open()
        self.writers += [writer, to_there]
        answering = asyncio.create_task(self._answers(there, writer))
        try:
            while data := await reader.read(65536):
                if b"COMMIT" in data:
                    self.commits += 1
                    if self.commits == self.cut_at:
                        self.cuts += 1
                        if not self.carried_out:
                            return
                        answering.cancel()
                        await asyncio.gather(answering, return_exceptions=True)
                        to_there.write(data)
                        await to_there.drain()
                        await self._until_done(there)
                        return
                to_there.write(data)
                await to_there.drain()
        except ConnectionError:
            return
        finally:
            answering.cancel()
            to_there.close()
            writer.close()

    @staticmethod
    async def _until_done(there: asyncio.StreamReader) -> None:
        """ReadyForQuery, idle: the transaction is over."""
        seen = b""
        while b"Z\x00\x00\x00\x05I" not in seen:
            seen += await there.read(65536)

    @staticmethod
    async def _answers(there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await there.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        writer.close()


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[tuple[Link, Database]]:
    link = Link(url)
    server = await asyncio.start_server(link.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    db = Database(Secret(f"postgresql://{link.user}@127.0.0.1:{port}{link.database}?sslmode=disable"))
    try:
        yield link, db
    finally:
        await db.close()
        server.close()


@pytest.mark.parametrize("carried_out", [False, True], ids=["lost on its way", "carried out and not answered"])
async def test_every_figure_row_event_and_log_line_is_right_wherever_a_commit_is_cut_off(
    bench: Callable[..., Any], query: Query, database_url: str, carried_out: bool
) -> None:
    b = bench(seed=9, sellers=1, orders_per_seller=6, days=1).with_settings(initial_backfill_days=1)
    account = await b.add()
    await b.run(account)
    [seller] = b.sim.world.sellers
    async with linked(database_url) as (link, db):
        link.carried_out = carried_out

        async def touched(cut_at: int) -> tuple[Any, int]:
            """Two orders change and are read through the link; the run, and how many commits it took."""
            for order_id in sorted(seller.orders)[:2]:
                b.sim.world.touch(seller, order_id)
            link.commits, link.cut_at = 0, cut_at
            async with b.worker(account) as worker:
                own = RunContext(worker.settings, db, worker.api, account, worker.stop)
                return (await run(own, [discover()["orders"]], RunOptions("run")))[0], link.commits

        await touched(0)  # reads the list of erased people, which the process knows from then on
        clean, commits = await touched(0)
        assert clean.stored == 2
        assert commits >= 3
        lines = "SELECT kind, count(*) FROM ebay_api_worker_log WHERE run_id = %s GROUP BY kind ORDER BY kind"
        expected = query(lines, clean.run_id)
        told = (
            "SELECT entity_key, count(*) FROM ebay_events WHERE run_id = %s AND table_name = 'ebay_orders'"
            " GROUP BY entity_key ORDER BY entity_key"
        )
        for cut_at in range(1, commits + 1):
            summary, _ = await touched(cut_at)
            found = (summary.status, summary.stored, summary.fetched, summary.quarantined)
            assert found == ("completed", 2, clean.fetched, 0), f"commit {cut_at}: {summary.as_dict()}"
            assert query(told, summary.run_id) == [(key, 1) for key in sorted(seller.orders)[:2]], f"commit {cut_at}"
            assert query(lines, summary.run_id) == expected, f"commit {cut_at}"
            stored = query("SELECT status FROM ebay_worker_run WHERE id = %s", summary.run_id)
            assert stored == [("completed",)], f"commit {cut_at}"
        assert link.cuts == commits
    assert query("SELECT count(*) FROM ebay_lease WHERE token IS NOT NULL") == [(0,)]
