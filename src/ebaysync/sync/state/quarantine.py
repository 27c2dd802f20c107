"""ebay_quarantine: records that could not be stored, as eBay sent them, with the reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import Column, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import insert

from ebaysync.store.database import CONTROL
from ebaysync.store.merge import Writer

log = logging.getLogger(__name__)

QUARANTINE = Table(
    "ebay_quarantine",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("run_id", Uuid),
    Column("reason", Text),
    Column("payload", LargeBinary),
)


async def keep(writer: Writer, records: Sequence[tuple[bytes, str]]) -> None:
    """Store each record with its reason. A record that is already there stays as it is."""
    for raw, reason in records:
        log.warning("%s: a record goes to quarantine: %s", writer.family, reason)
        row = {
            "ebay_account_id": writer.account_id,
            "api_family": writer.family,
            "run_id": writer.run_id,
            "reason": reason,
            "payload": raw,
        }
        await writer.connection.send(insert(QUARANTINE).values(row).on_conflict_do_nothing())
