"""ebay_doubted_scan: complete scans in a row that would have removed too many records."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, LargeBinary, Table, Text, Uuid, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.store.database import CONTROL

DOUBTED_SCAN = Table(
    "ebay_doubted_scan",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("scans", Integer),
    Column("missing", LargeBinary),
    Column("at", DateTime(timezone=True)),
)


@dataclass(frozen=True)
class MissedBefore:
    """How many scans in a row missed too many records, and the digests of the keys that all of them missed."""

    scans: int = 0
    missing: bytes = b""


async def load(connection: AsyncConnection, account_id: UUID, family: str) -> MissedBefore:
    """The scans so far; none if the last one removed what it missed."""
    own = DOUBTED_SCAN.c
    query = select(own.scans, own.missing).where(own.ebay_account_id == account_id, own.api_family == family)
    row = (await connection.execute(query)).one_or_none()
    return MissedBefore(row.scans, bytes(row.missing)) if row else MissedBefore()


async def save(connection: AsyncConnection, account_id: UUID, family: str, missed: MissedBefore) -> None:
    """Replace what is stored."""
    statement = insert(DOUBTED_SCAN).values(
        ebay_account_id=account_id, api_family=family, scans=missed.scans, missing=missed.missing
    )
    new = {"scans": missed.scans, "missing": missed.missing, "at": func.clock_timestamp()}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=("ebay_account_id", "api_family"), set_=new)
    )
