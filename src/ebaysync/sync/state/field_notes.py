"""ebay_field_notes: what is odd about stored records, by field and reason. Columns are NULL because eBay's value is
impossible, and children were left out.

A record is counted when it is stored as new or changed, so reading it again unchanged counts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, Table, Text, Uuid, any_, cast, func, select
from sqlalchemy.dialects.postgresql import insert

from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import CONTROL
from ebaysync.store.merge import Writer

SHOWN_DAYS = 90

FIELD_NOTES = Table(
    "ebay_field_notes",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("field", Text),
    Column("reason", Text),
    Column("count", BigInteger),
    Column("first_at", DateTime(timezone=True)),
    Column("last_at", DateTime(timezone=True)),
)
_KEY = ("ebay_account_id", "api_family", "field", "reason")
Counts = Mapping[tuple[str, str], int]
"""Records by field and reason."""


async def add(writer: Writer, notes: Counts) -> None:
    """Count these records too, inside the caller's transaction."""
    if not notes:
        return
    own = {"ebay_account_id": writer.account_id, "api_family": writer.family}
    # In order, so that a backfill beside the live run cannot deadlock with it.
    rows = [own | {"field": name, "reason": why, "count": count} for (name, why), count in sorted(notes.items())]
    statement = insert(FIELD_NOTES).values(rows)
    # A sum, which a repeat would spoil: after a lost answer to COMMIT, the lease's mark tells whether to repeat.
    counted = FIELD_NOTES.c["count"] + statement.excluded["count"]
    new = {"count": counted, "last_at": func.clock_timestamp()}
    await writer.connection.send(statement.on_conflict_do_update(index_elements=_KEY, set_=new))


async def ask(connection: Connection, account_ids: Sequence[UUID]) -> Sent:
    """Read the notes of the last SHOWN_DAYS days of some accounts. See `by_place`."""
    own = FIELD_NOTES.c
    recent = own.last_at > func.clock_timestamp() - func.make_interval(0, 0, 0, SHOWN_DAYS)
    query = select(FIELD_NOTES).where(own.ebay_account_id == any_(cast(list(account_ids), ARRAY(Uuid))), recent)
    return await connection.send(query.order_by(own["count"].desc(), own.field, own.reason))


def by_place(rows: Sequence[Any]) -> dict[tuple[UUID, str], list[dict[str, Any]]]:
    """The notes by account and family, most frequent first, as `status --json` prints them."""
    found: dict[tuple[UUID, str], list[dict[str, Any]]] = {}
    for row in rows:
        place = found.setdefault((row.ebay_account_id, row.api_family), [])
        place.append({"field": row.field, "reason": row.reason, "count": row.count})
    return found


def listed(notes: Counts) -> list[dict[str, Any]]:
    """A run's notes, as its summary shows them."""
    ordered = sorted(notes.items(), key=lambda note: (-note[1], note[0]))
    return [{"field": name, "reason": why, "count": count} for (name, why), count in ordered]


def shown(notes: Sequence[Mapping[str, Any]]) -> str:
    """Notes for people: `total: not a number (3 records)`."""
    return ", ".join(
        f"{note['field']}: {note['reason']} ({note['count']} {'record' if note['count'] == 1 else 'records'})"
        for note in notes
    )
