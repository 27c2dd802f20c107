"""One account's tokens: the access token in use, renewed under a row lock so that one process at a time asks eBay.

The row is locked while eBay is asked, on purpose: whoever waits for it finds the new token and asks nothing. This is
the one place where a transaction is open during a request; it holds no lock but this account's.

Every attempt is recorded in `ebay_token_refresh_log`. eBay's answer has no refresh token; ours stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.accounts import vault as vaults
from ebaysync.accounts.accounts import Account, has_tokens
from ebaysync.accounts.vault import Vault
from ebaysync.ebay import oauth
from ebaysync.ebay.rest import Api
from ebaysync.ebay.transport import Transport, hosts
from ebaysync.errors import ConsentNeeded, EbaysyncError
from ebaysync.log import Secret
from ebaysync.settings import Keyset, Settings
from ebaysync.store.database import Database

log = logging.getLogger(__name__)

SOON = timedelta(minutes=15)
MARGIN = timedelta(seconds=60)  # a token in use is renewed this long before it ends


@dataclass(frozen=True)
class Access:
    """An access token and what became of the attempt to have one."""

    token: Secret
    expires_at: datetime
    refreshed: bool


class Tokens:
    """The Credentials of an Api (ebay/rest). `trigger` says in the refresh log what asked for a token."""

    def __init__(
        self, db: Database, vault: Vault, transport: Transport, keyset: Keyset, account: Account, trigger: str
    ) -> None:
        self._db, self._vault, self._transport, self._keyset = db, vault, transport, keyset
        self.account = account
        self._trigger = trigger
        self._access: Access | None = None
        self._lock = asyncio.Lock()

    async def access_token(self) -> Secret:
        async with self._lock:
            if self._access is None:
                self._access = await self._obtain(SOON, self._trigger)
            elif self._access.expires_at - MARGIN <= self._transport.clock.now():
                self._access = await self._obtain(MARGIN, self._trigger)
            return self._access.token

    async def renewed(self, refused: Secret) -> Secret:
        """After a 401: a new token, once, however many requests met it."""
        async with self._lock:
            if self._access is None or self._access.token == refused:
                self._access = await self._obtain(MARGIN, "unauthorized", refused=refused)
            return self._access.token

    async def refresh(self, *, force: bool) -> Access:
        """What `refresh-tokens` does: renew a token that ends within 15 minutes, or (`force`) any."""
        async with self._lock:
            self._access = await self._obtain(SOON, self._trigger, force=force)
            return self._access

    async def _obtain(
        self, margin: timedelta, trigger: str, *, refused: Secret | None = None, force: bool = False
    ) -> Access:
        async def work(connection: AsyncConnection) -> Access | EbaysyncError:
            row = await self._locked(connection)
            token = self._opened(row, "access_token")
            fresh = row.access_expires_at and row.access_expires_at - margin > self._transport.clock.now()
            if token and fresh and not force and token != refused:
                return Access(token, row.access_expires_at, refreshed=False)
            return await self._ask(connection, row, trigger)

        outcome = await self._db.transact(work)
        if isinstance(outcome, EbaysyncError):
            raise outcome
        return outcome

    async def _locked(self, connection: AsyncConnection) -> Any:
        """The account's token row, locked. Raises ConsentNeeded when eBay has said so before."""
        query = """
            SELECT t.refresh_token, t.access_token, t.access_expires_at, a.needs_consent
            FROM ebay_tokens t JOIN ebay_accounts a ON a.id = t.ebay_account_id
            WHERE t.ebay_account_id = :id FOR UPDATE OF t"""
        row = (await connection.execute(text(query), {"id": self.account.id})).one_or_none()
        if row is None or row.needs_consent:
            raise consent_needed(self.account)
        return row

    def _opened(self, row: Any, column: str) -> Secret | None:
        blob = getattr(row, column)
        return self._vault.open(blob, self.account.environment, self.account.id, column) if blob else None

    async def _ask(self, connection: AsyncConnection, row: Any, trigger: str) -> Access | EbaysyncError:
        """Ask eBay and record the attempt. An error is handed back, not raised, so that its record is committed."""
        refresh_token = self._opened(row, "refresh_token")
        assert refresh_token is not None
        try:
            grant = await oauth.refresh(self._transport, self._keyset, refresh_token)
        except EbaysyncError as error:
            await self._record(connection, trigger, error)
            if isinstance(error, ConsentNeeded):
                await self._mark(connection)
                return consent_needed(self.account)
            return error
        expires_at = self._transport.clock.now() + timedelta(seconds=grant.expires_in)
        sealed = self._vault.seal(grant.access_token, self.account.environment, self.account.id, "access_token")
        await connection.execute(
            text(
                "UPDATE ebay_tokens SET access_token = :token, access_expires_at = :at, updated_at = clock_timestamp()"
                " WHERE ebay_account_id = :id"
            ),
            {"token": sealed, "at": expires_at, "id": self.account.id},
        )
        await self._record(connection, trigger, None)
        log.info("%s: access token renewed (%s)", self.account.name, trigger)
        return Access(grant.access_token, expires_at, refreshed=True)

    async def _mark(self, connection: AsyncConnection) -> None:
        await connection.execute(
            text("UPDATE ebay_accounts SET needs_consent = true, updated_at = clock_timestamp() WHERE id = :id"),
            {"id": self.account.id},
        )

    async def _record(self, connection: AsyncConnection, trigger: str, error: EbaysyncError | None) -> None:
        await record(connection, self.account, trigger, error)


async def record(connection: AsyncConnection, account: Account, trigger: str, error: EbaysyncError | None) -> None:
    """A line in the refresh log."""
    await connection.execute(
        text(
            "INSERT INTO ebay_token_refresh_log (ebay_account_id, success, triggered_by, error_code, error_message)"
            " VALUES (:id, :ok, :trigger, :code, :message)"
        ),
        {
            "id": account.id,
            "ok": error is None,
            "trigger": trigger,
            "code": error.code if error else None,
            "message": error.message if error else None,
        },
    )


def consent_needed(account: Account) -> ConsentNeeded:
    return ConsentNeeded(
        f"{account.name}: the seller must consent again",
        hint=f"ebaysync accounts add {account.name} --environment {account.environment} --refresh-token-stdin",
    )


@asynccontextmanager
async def open_api(
    settings: Settings, db: Database, account: Account, trigger: str, sleep: Callable[[float], Awaitable[None]]
) -> AsyncIterator[tuple[Api, Tokens]]:
    """An account's way to eBay. Raises ConfigError where its keyset, hosts or key are not set."""
    keyset = settings.keyset(account.environment)
    vault = vaults.load(settings, may_create=not await has_tokens(db))
    async with Transport(hosts(settings, account.environment), sleep=sleep) as transport:
        tokens = Tokens(db, vault, transport, keyset, account, trigger)
        yield Api(transport, tokens, account.marketplace_id), tokens
