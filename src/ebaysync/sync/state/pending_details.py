"""ebay_pending_detail: details that are due, or wait for their next try, each with its own back-off; and when those of
records that are not final are read again.

No detail is given up: it is asked for ever more seldom. A row without `next_at` stands for one that has arrived.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Column, DateTime, Integer, Interval, Table, Text, Uuid, any_, cast, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from ebaysync.rechecks import DETAIL_FIRST, DETAIL_LONGEST
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import CONTROL
from ebaysync.store.merge import Writer

PENDING_DETAIL = Table(
    "ebay_pending_detail",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("entity_key", Text),
    Column("attempts", Integer),
    Column("next_at", DateTime(timezone=True)),
    Column("reason", Text),
    Column("again_at", DateTime(timezone=True)),
    Column("again_every", Interval),
    Column("read_at", DateTime(timezone=True)),
)
_KEY = ("ebay_account_id", "api_family", "entity_key")


@dataclass(frozen=True)
class Pending:
    """A detail that has not arrived. 0 attempts: it was not asked for yet. `waits`: it is not due yet."""

    attempts: int
    reason: str | None
    waits: bool


@dataclass(frozen=True)
class Again:
    """When the detail of a record that is not final is read again, how old it may become, and when it was read, by
    eBay's clock."""

    at: datetime
    every: timedelta
    read: datetime


async def ask(connection: Connection, account_id: UUID, families: Sequence[str]) -> Sent:
    """Read the details of some families that are pending or read again. See `by_family` and `again_by_family`."""
    own = PENDING_DETAIL.c
    waits = (own.next_at > func.clock_timestamp()).label("waits")
    wanted = own.api_family == any_(cast(list(families), ARRAY(Text)))
    details = (own.attempts, own.reason, own.next_at, waits, own.again_at, own.again_every, own.read_at)
    return await connection.send(
        select(own.api_family, own.entity_key, *details)
        .where(own.ebay_account_id == account_id, wanted, or_(own.next_at.is_not(None), own.again_at.is_not(None)))
        .order_by(own.next_at)
    )


def by_family(rows: Sequence[Any]) -> Mapping[str, Mapping[str, Pending]]:
    """Family to the record's key to its pending detail."""
    found: dict[str, dict[str, Pending]] = defaultdict(dict)
    for row in rows:
        if row.next_at is not None:
            found[row.api_family][row.entity_key] = Pending(row.attempts, row.reason, row.waits)
    return found


def again_by_family(rows: Sequence[Any]) -> Mapping[str, Mapping[str, Again]]:
    """Family to the record's key to when its detail is read again."""
    found: dict[str, dict[str, Again]] = defaultdict(dict)
    for row in rows:
        if row.again_at and row.again_every and row.read_at:
            found[row.api_family][row.entity_key] = Again(row.again_at, row.again_every, row.read_at)
    return found


async def read_again(writer: Writer, when: Mapping[str, Again | None]) -> None:
    """These details are stored, and are read again then; None: the record is final."""
    if not when:
        return
    statement = insert(PENDING_DETAIL).values(
        [
            {
                "ebay_account_id": writer.account_id,
                "api_family": writer.family,
                "entity_key": key,
                "attempts": 0,
                "again_at": again.at if again else None,
                "again_every": again.every if again else None,
                "read_at": again.read if again else None,
            }
            for key, again in sorted(when.items())
        ]
    )
    new = {name: statement.excluded[name] for name in ("attempts", "again_at", "again_every", "read_at")}
    arrived = {"next_at": None, "reason": None}
    await writer.connection.send(statement.on_conflict_do_update(index_elements=_KEY, set_=new | arrived))


async def arrived(writer: Writer, keys: Sequence[str]) -> None:
    """These details are stored."""
    if keys:
        own = PENDING_DETAIL.c
        mine = (own.ebay_account_id == writer.account_id, own.api_family == writer.family)
        # Not deleted: the role that runs may insert and update, but not delete.
        done = {"attempts": 0, "next_at": None, "reason": None}
        await writer.connection.send(
            PENDING_DETAIL.update().where(*mine, own.entity_key == any_(cast(list(keys), ARRAY(Text)))).values(done)
        )


async def failed(writer: Writer, notes: Mapping[str, tuple[int, str | None]]) -> None:
    """Store each record's failed attempts and the last reason."""
    rows = [(key, attempts, wait(attempts).total_seconds(), reason) for key, (attempts, reason) in notes.items()]
    await _store(writer, rows, other_than_waiting=False)


async def due(writer: Writer, keys: Sequence[str]) -> None:
    """Note details that were not asked for. Notes of failed ones stay."""
    await _store(writer, [(key, 0, 0.0, None) for key in keys], other_than_waiting=True)


def wait(attempts: int) -> timedelta:
    """How long to wait after so many failed attempts."""
    doubled: timedelta = DETAIL_FIRST * 2 ** min(attempts - 1, 20)
    return min(doubled, DETAIL_LONGEST)


async def _store(
    writer: Writer, rows: Sequence[tuple[str, int, float, str | None]], *, other_than_waiting: bool
) -> None:
    if not rows:
        return
    statement = insert(PENDING_DETAIL).values(
        [
            {
                "ebay_account_id": writer.account_id,
                "api_family": writer.family,
                "entity_key": key,
                "attempts": attempts,
                # make_interval(years, months, weeks, days, hours, mins, secs)
                "next_at": func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds),
                "reason": reason,
            }
            for key, attempts, seconds, reason in rows
        ]
    )
    new = {name: statement.excluded[name] for name in ("attempts", "next_at", "reason")}
    only = PENDING_DETAIL.c.next_at.is_(None) if other_than_waiting else None
    await writer.connection.send(statement.on_conflict_do_update(index_elements=_KEY, set_=new, where=only))
