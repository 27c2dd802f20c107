"""ebay_pending_detail: details that eBay could not deliver yet, each with its own back-off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, Table, Text, Uuid, func, null, select
from sqlalchemy.dialects.postgresql import insert

from ebaysync.store.database import CONTROL, Database
from ebaysync.store.merge import Writer

FIRST_WAIT = timedelta(minutes=5)
GIVE_UP = 8  # attempts per detail; the waits between them add up to ten hours

PENDING_DETAIL = Table(
    "ebay_pending_detail",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("entity_key", Text),
    Column("attempts", Integer),
    Column("next_at", DateTime(timezone=True)),
    Column("reason", Text),
)
_KEY = ("ebay_account_id", "api_family", "entity_key")


@dataclass(frozen=True)
class Pending:
    """A failed detail. `waits`: it is not due yet, or was given up."""

    attempts: int
    reason: str | None
    waits: bool


async def load(db: Database, account_id: UUID, family: str) -> dict[str, Pending]:
    """The pending details of a family by the record's key."""
    own = PENDING_DETAIL.c
    waits = (own.next_at <= func.clock_timestamp()).is_not(True).label("waits")
    rows = await db.rows(
        select(own.entity_key, own.attempts, own.reason, waits).where(
            own.ebay_account_id == account_id, own.api_family == family, own.attempts > 0
        )
    )
    return {row.entity_key: Pending(row.attempts, row.reason, row.waits) for row in rows}


async def note(writer: Writer, notes: Mapping[str, tuple[int, str | None]]) -> None:
    """Store each record's failed attempts and the last reason. 0 attempts: the detail has arrived."""
    for key, (attempts, reason) in notes.items():
        wait = (FIRST_WAIT * 2 ** (attempts - 1)).total_seconds() if 0 < attempts < GIVE_UP else None
        # make_interval(years, months, weeks, days, hours, mins, secs)
        next_at = null() if wait is None else func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, wait)
        statement = insert(PENDING_DETAIL).values(
            ebay_account_id=writer.account_id,
            api_family=writer.family,
            entity_key=key,
            attempts=attempts,
            next_at=next_at,
            reason=reason,
        )
        new = {name: statement.excluded[name] for name in ("attempts", "next_at", "reason")}
        await writer.connection.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=new))
