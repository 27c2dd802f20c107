"""When the consents of sellers end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ebaysync.accounts.accounts import Account, connect_command
from ebaysync.shown import account_word
from ebaysync.store.database import Database

# before a consent ends: shown from SOON on, warned about from PRESSING on
SOON, PRESSING = timedelta(days=60), timedelta(days=14)


def in_days(left: timedelta) -> str:
    """Whole days until then."""
    return "1 day" if left.days == 1 else f"{left.days} days" if left.days else "less than a day"


async def ending(db: Database, chosen: Sequence[Account]) -> str | None:
    """One line about the accounts whose consent has ended or ends within 14 days."""
    rows = await db.rows(_ENDING, ids=[account.id for account in chosen], pressing=PRESSING)
    if not rows:
        return None
    named = ", ".join(f"{row.name} ({in_days(row.left) if row.left > timedelta(0) else 'ended'})" for row in rows)
    first = connect_command(account_word(rows[0].name, rows[0].id), rows[0].environment)
    return f"the seller's consent ends soon: {named}; renew it: {first}"


_ENDING = """
SELECT a.id, a.name, a.environment, t.refresh_expires_at - clock_timestamp() AS left
FROM ebay_tokens t JOIN ebay_accounts a ON a.id = t.ebay_account_id
WHERE a.id = ANY(:ids) AND NOT a.needs_consent AND t.refresh_expires_at < clock_timestamp() + :pressing
ORDER BY t.refresh_expires_at
"""
