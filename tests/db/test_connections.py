"""Connections to PostgreSQL: none is left behind."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any
from uuid import uuid4

from ebaysync.log import Secret
from ebaysync.store.database import Database

SEED = uuid4().int


async def test_a_connection_that_is_given_up_while_it_is_made_is_closed(
    database_url: str, query: Callable[..., list[Any]]
) -> None:
    print(f"seed {SEED}")
    random = Random(SEED)
    gc.disable()  # it would close what was forgotten, some time
    try:
        for _ in range(80):
            db = Database(Secret(database_url))
            asking = asyncio.create_task(db.rows("SELECT 1"))
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(asking), random.random() * 0.02)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await db.close()
        deadline = time.monotonic() + 10
        while (left := query(OTHERS)) and time.monotonic() < deadline:  # a session ends a moment after its client
            pass
    finally:
        gc.enable()
    assert left == []


OTHERS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
