"""Opens the database and a connection to eBay with a keyset, for commands that need no account yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ebaysync.accounts import vault
from ebaysync.accounts.adding import KeysetContext
from ebaysync.accounts.usage import metered
from ebaysync.cli.session import Session
from ebaysync.ebay.hosts import Hosts
from ebaysync.ebay.transport import Transport
from ebaysync.settings import Keyset
from ebaysync.sync.stop import Stop


@asynccontextmanager
async def opened(session: Session, keyset: Keyset, addresses: Hosts, stop: Stop) -> AsyncIterator[KeysetContext]:
    """Open what a keyset's calls need, and count them. Raises ConfigError, SecretKeyError, DatabaseError."""
    async with session.database() as db, Transport(addresses, sleep=stop.sleep) as transport:
        keys = await vault.load_checked(session.settings, db)
        async with metered(db, keys, keyset, transport):
            yield KeysetContext(db, keys, transport, keyset)
