"""The list of people who were erased: who is on it is asked before a record is stored."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.families.persons import Forgotten
from ebaysync.store.database import Database


async def load(db: Database) -> Forgotten:
    rows = await db.rows("SELECT salt, ARRAY(SELECT digest FROM ebay_forgotten) AS digests FROM ebay_forgotten_salt")
    return Forgotten(bytes(rows[0].salt), frozenset(bytes(digest) for digest in rows[0].digests))


async def note(db: Database, names: Collection[str]) -> datetime:
    """Put people on the list; when, by the database's clock."""
    known = await load(db)
    digests = [known.digest(name) for name in names]

    async def work(connection: AsyncConnection) -> datetime:
        await connection.execute(
            text("INSERT INTO ebay_forgotten (digest) SELECT unnest(CAST(:digests AS bytea[])) ON CONFLICT DO NOTHING"),
            {"digests": digests},
        )
        now: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
        return now

    return await db.transact(work)
