"""Shell completion of families and accounts."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from ebaysync import settings
from ebaysync.errors import EbaysyncError
from ebaysync.families import discover

_PLAIN = re.compile(r"[\w.@+][\w.@+:%,/-]*")
SECONDS = 2.0  # nobody waits longer for a completion


def complete_family(incomplete: str) -> list[str]:
    """Families that begin with the typed text."""
    return [name for name in discover() if name.startswith(incomplete)]


def complete_account(incomplete: str) -> list[str]:
    """Accounts that begin with the typed text; none if the database does not answer soon.

    Shells put a completed name into the line as it is, so no name is offered that a shell would not read as one word.

    The embedded PostgreSQL is not started for this: it takes too long, and would create a data directory.
    """
    with suppress(EbaysyncError, TimeoutError, OSError):
        return [name for name in asyncio.run(_names()) if name.startswith(incomplete) and _PLAIN.fullmatch(name)]
    return []


async def _names() -> list[str]:
    from ebaysync.accounts import accounts
    from ebaysync.store import database

    found = settings.load()
    if found.database_url is None:
        return []
    async with asyncio.timeout(SECONDS), database.opened(found.database_url, found.home) as db:
        return [account.name for account in await accounts.every(db)]
