"""Ends the waits of families that could not reach eBay, once eBay has answered any call of their account."""

from __future__ import annotations

import logging

from ebaysync.accounts.accounts import Account
from ebaysync.ebay.transport import Transport
from ebaysync.errors import DatabaseError
from ebaysync.store.database import Database

log = logging.getLogger(__name__)


async def note(db: Database, account: Account, transport: Transport) -> None:
    """Make families due that failed before eBay's newest answer. A database error only costs their waiting on."""
    # Only an answer of eBay sets the clock.
    if not transport.clock.known:
        return
    try:
        if await db.rows(_WAITING, id=account.id):  # almost never
            await db.execute(_DUE, id=account.id, seconds=transport.clock.age)
    except DatabaseError as error:
        log.warning("%s: that eBay answers again could not be stored: %s", account.name, error)


_WAITING = """
SELECT FROM ebay_sync_state
WHERE ebay_account_id = :id AND retry_kind = 'unreachable' AND retry_at > clock_timestamp() LIMIT 1
"""
# `updated_at` of a family that waits is the time of its failure.
_DUE = """
UPDATE ebay_sync_state SET retry_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE ebay_account_id = :id AND retry_kind = 'unreachable' AND retry_at > clock_timestamp()
    AND updated_at < clock_timestamp() - make_interval(secs => :seconds)
"""
