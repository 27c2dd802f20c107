"""Erased people; checked before every store."""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Collection
from dataclasses import dataclass
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


async def note(db: Database, names: Collection[str], reason: str | None = None) -> datetime:
    """Add people to the list. Returns the time by the database's clock: runs that begin later know of them. Who is on
    the list keeps the reason unless another is given."""
    known = await load(db)
    digests = [known.digest(name) for name in names]

    async def work(connection: Connection) -> None:
        await connection.execute("UPDATE ebay_forgotten_salt SET version = version + 1")
        await connection.execute(text(_NOTE), {"digests": digests, "reason": reason})

    await db.transact(work)
    [row] = await db.rows("SELECT clock_timestamp() AS now")
    return row.now  # type: ignore[no-any-return]


_NOTE = """
INSERT INTO ebay_forgotten (digest, reason) SELECT unnest(CAST(:digests AS bytea[])), CAST(:reason AS text)
ON CONFLICT (digest) DO UPDATE SET reason = coalesce(excluded.reason, ebay_forgotten.reason)
"""


@dataclass(frozen=True)
class Note:
    """An entry of the list: the salted SHA-256 digest of a name in lower case, as hex."""

    digest: str
    forgotten_at: datetime
    reason: str | None


async def noted(db: Database) -> list[Note]:
    """The whole list, the newest last."""
    rows = await db.rows("SELECT encode(digest, 'hex'), forgotten_at, reason FROM ebay_forgotten ORDER BY 2, 1")
    return [Note(*row) for row in rows]


async def undo(db: Database, name_or_digest: str) -> list[Note]:
    """Remove the person with this name from the list, or those whose digest begins with it (at least eight digits).
    Returns what was removed."""
    known = await load(db)
    wanted = name_or_digest.strip().lower()

    async def work(connection: Connection) -> list[Note]:
        rows = await connection.execute(
            text(_UNDO), {"digest": known.digest(wanted), "prefix": wanted if _DIGEST.fullmatch(wanted) else None}
        )
        if rows.rowcount:
            await connection.execute("UPDATE ebay_forgotten_salt SET version = version + 1")
        return [Note(*row) for row in rows]

    return await db.transact(work)


_DIGEST = re.compile("[0-9a-f]{8,64}")
_UNDO = """
DELETE FROM ebay_forgotten
WHERE digest = :digest
    -- a name may look like the beginning of a digest
    OR starts_with(encode(digest, 'hex'), :prefix) AND NOT EXISTS (SELECT FROM ebay_forgotten WHERE digest = :digest)
RETURNING encode(digest, 'hex'), forgotten_at, reason
"""
