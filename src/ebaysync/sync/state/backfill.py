"""ebay_backfill: the span of a family's newest backfill, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, Table, Text, Uuid, and_, case, func, null
from sqlalchemy.dialects.postgresql import insert

from ebaysync.accounts.accounts import Account
from ebaysync.families.family import Family
from ebaysync.store.connection import Connection
from ebaysync.store.database import CONTROL, Database

BACKFILL = Table(
    "ebay_backfill",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("days", Integer),
    Column("span_from", DateTime(timezone=True)),
    Column("span_to", DateTime(timezone=True)),
    Column("position", DateTime(timezone=True)),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
)


@dataclass(frozen=True)
class BackfillProgress:
    """A backfill's span and how far it has come."""

    start: datetime
    end: datetime
    position: datetime


async def open_backfill(
    db: Database, account: Account, family: Family, days: int, start: datetime, end: datetime
) -> BackfillProgress:
    """Continue an unfinished backfill of the same days, now up to `end`, or begin one with this span."""
    own = BACKFILL.c
    row = insert(BACKFILL).values(
        ebay_account_id=account.id, api_family=family.name, days=days, span_from=start, span_to=end, position=start
    )
    new = row.excluded
    unfinished = and_(own.finished_at.is_(None), own.days == new.days)
    statement = row.on_conflict_do_update(
        index_elements=("ebay_account_id", "api_family"),
        set_={
            "days": new.days,
            "span_to": new.span_to,
            # In SET, a column of the table is its value before the update.
            "span_from": case((unfinished, own.span_from), else_=new.span_from),
            "position": case((unfinished, own.position), else_=new.position),
            "started_at": func.clock_timestamp(),
            "finished_at": null(),
        },
    ).returning(own.span_from, own.span_to, own.position)

    async def work(connection: Connection) -> BackfillProgress:
        row = (await connection.execute(statement)).one()
        return BackfillProgress(row.span_from, row.span_to, row.position)

    return await db.transact(work)


async def move(connection: Connection, account_id: UUID, family: str, position: datetime) -> None:
    """Move the position; at the span's end the backfill is finished."""
    own = BACKFILL.c
    finished = case((own.span_to <= position, func.clock_timestamp()), else_=null())
    await connection.send(
        BACKFILL.update()
        .where(own.ebay_account_id == account_id, own.api_family == family)
        .values(position=position, finished_at=finished)
    )
