"""ebay_doubted_scan: scans in a row that are not believed at once, and what they missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, LargeBinary, Table, Text, Uuid, func, select
from sqlalchemy.dialects.postgresql import insert

from ebaysync.rechecks import INDEPENDENT
from ebaysync.store.connection import Connection
from ebaysync.store.database import CONTROL

DOUBTED_SCAN = Table(
    "ebay_doubted_scan",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("scans", Integer),
    Column("seen", LargeBinary),
    Column("missing", LargeBinary),
    Column("at", DateTime(timezone=True)),
)


@dataclass(frozen=True)
class MissedBefore:
    """How many doubtful scans in a row saw the same keys, their digest, and by the digest of each missing key how
    many in a row missed it. `recent`: the last one was so soon before that another one proves nothing."""

    scans: int = 0
    seen: bytes = b""
    missing: Mapping[bytes, int] = field(default_factory=dict)
    recent: bool = False


async def load(connection: Connection, account_id: UUID, family: str) -> MissedBefore:
    """The doubtful scans so far; none if the last scan was believed."""
    own = DOUBTED_SCAN.c
    recent = (own.at > func.clock_timestamp() - INDEPENDENT).label("recent")
    query = select(own.scans, own.seen, own.missing, recent)
    row = (
        await connection.execute(query.where(own.ebay_account_id == account_id, own.api_family == family))
    ).one_or_none()
    return MissedBefore(row.scans, bytes(row.seen), _counts(bytes(row.missing)), row.recent) if row else MissedBefore()


def _counts(stored: bytes) -> dict[bytes, int]:
    """Eight bytes of digest and one of the count for each key."""
    return {stored[start : start + 8]: stored[start + 8] for start in range(0, len(stored), 9)}


async def save(connection: Connection, account_id: UUID, family: str, missed: MissedBefore) -> None:
    """Replace what is stored."""
    # A byte is enough: a count ends at SCANS_THAT_CONVINCE.
    packed = b"".join(digest + bytes([count]) for digest, count in sorted(missed.missing.items()))
    statement = insert(DOUBTED_SCAN).values(
        ebay_account_id=account_id, api_family=family, scans=missed.scans, seen=missed.seen, missing=packed
    )
    new = {"scans": missed.scans, "seen": missed.seen, "missing": packed, "at": func.clock_timestamp()}
    await connection.send(statement.on_conflict_do_update(index_elements=("ebay_account_id", "api_family"), set_=new))
