"""Which families of an account are due."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ebaysync.families import discover
from ebaysync.store.database import Database

# A timer that fires every five minutes is never quite punctual: what is due within this is due.
SLACK_SECONDS = 60


async def due(db: Database, account_ids: Sequence[UUID], only: Sequence[str], *, now: bool) -> dict[UUID, list[str]]:
    """The enabled families of each account whose interval has passed (`now`: all of them)."""
    rows = await db.rows(_WAITING, accounts=list(account_ids), slack=SLACK_SECONDS)
    states = {(row.ebay_account_id, row.api_family): row for row in rows}
    found: dict[UUID, list[str]] = {}
    for account_id in account_ids:
        found[account_id] = []
        for family in discover().values():
            state = states.get((account_id, family.name))
            waited = (
                state is None or state.seconds is None or state.seconds >= 60 * (state.every or family.every_minutes)
            )
            if (not only or family.name in only) and (state is None or state.enabled) and (now or waited):
                found[account_id].append(family.name)
    return found


_WAITING = """
SELECT ebay_account_id, api_family, enabled, every_minutes AS every,
    extract(epoch FROM clock_timestamp() - last_run_at) + :slack AS seconds
FROM ebay_sync_state WHERE ebay_account_id = ANY(:accounts)
"""
