"""Erased people; checked before every store."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection
from datetime import datetime
from weakref import WeakKeyDictionary

from sqlalchemy import text

from ebaysync.families.personal_data import HEAD_BYTES, ErasedPeople
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database

_known: WeakKeyDictionary[Database, tuple[int, ErasedPeople]] = WeakKeyDictionary()


async def load(db: Database, version: int | None = None) -> ErasedPeople:
    """Load the list. `version`: the newest one, if it is known already."""
    if version is None:
        version = (await db.rows(VERSION))[0].version
    known = _known.get(db)
    if known is None or known[0] != version:
        # The version comes with the list: since the first query, more people may have been added.
        [row] = await db.rows(_LOAD, head=HEAD_BYTES)
        # The first 8 bytes of each digest, big-endian, sorted by PostgreSQL: one array, searched by bisection.
        heads = array("Q", bytes(row.heads))
        if sys.byteorder == "little":
            heads.byteswap()
        known = _known[db] = row.version, ErasedPeople(bytes(row.salt), heads)
    return known[1]


VERSION = "SELECT version FROM ebay_forgotten_salt"
_LOAD = """
SELECT version, salt,
    (SELECT coalesce(string_agg(substr(digest, 1, :head), '' ORDER BY digest), '') FROM ebay_forgotten) AS heads
FROM ebay_forgotten_salt
"""


async def note(db: Database, names: Collection[str]) -> datetime:
    """Add people to the list. Returns the time by the database's clock: runs that begin later know of them."""
    known = await load(db)
    digests = [known.digest(name) for name in names]

    async def work(connection: Connection) -> None:
        await connection.execute("UPDATE ebay_forgotten_salt SET version = version + 1")
        await connection.execute(
            text("INSERT INTO ebay_forgotten (digest) SELECT unnest(CAST(:digests AS bytea[])) ON CONFLICT DO NOTHING"),
            {"digests": digests},
        )

    await db.transact(work)
    [row] = await db.rows("SELECT clock_timestamp() AS now")
    return row.now  # type: ignore[no-any-return]
