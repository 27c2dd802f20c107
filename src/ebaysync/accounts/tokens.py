"""One account's access token, renewed under a row lock, so that only one process at a time asks eBay.

The row stays locked during the request, on purpose: a process that waits for the lock then finds the new token and asks
nothing. This is the only transaction that is open during a request: one request, at most 30 seconds, and only this
account's row. Before a retry the transaction ends, with the failed attempt logged.

Every attempt goes to `ebay_token_refresh_log`. eBay's answer contains no refresh token; ours stays.

An account whose refresh token eBay refuses needs consent. The token is tried again once a day, and the mark is taken
back when it works. A refresh token belongs to one keyset: with another one in the settings, eBay is not asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from ebaysync.accounts import reachability, signing
from ebaysync.accounts import vault as vaults
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.usage import metered
from ebaysync.accounts.vault import Vault
from ebaysync.ebay import oauth
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.rest import Api, stamp
from ebaysync.ebay.signature import SITES
from ebaysync.ebay.transport import Transport
from ebaysync.errors import ConfigError, ConsentNeeded, EbaysyncError, KeysetRejected, SecretKeyError
from ebaysync.log import Secret
from ebaysync.rechecks import CONSENT
from ebaysync.settings import KEYSET_PREFIX, Keyset, Settings, variable
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database

log = logging.getLogger(__name__)

SOON = timedelta(minutes=15)
MARGIN = timedelta(seconds=60)  # a token in use is renewed this long before its end


@dataclass(frozen=True)
class Access:
    """An access token, and the error if none could be had."""

    token: Secret
    expires_at: datetime
    """by the database's clock, which alone counts: the host's may be wrong"""
    ends: float
    """the same in time.monotonic()"""
    refreshed: bool


class Tokens:
    """The credentials of an Api (ebay/rest). `trigger` is logged with each refresh."""

    def __init__(
        self, db: Database, vault: Vault, transport: Transport, keyset: Keyset, account: Account, trigger: str
    ) -> None:
        self._db, self._vault, self._transport, self._keyset = db, vault, transport, keyset
        self.account = account
        self._trigger = trigger
        self._access: Access | None = None
        self._lock = asyncio.Lock()
        self._hopeless: EbaysyncError | None = None

    async def access_token(self) -> Secret:
        """Raises ConsentNeeded, ConfigError, EbayError, DatabaseError."""
        async with self._lock:
            if self._hopeless:
                raise self._hopeless
            if self._access is None:
                self._access = await self._obtain(SOON, self._trigger)
            elif self._access.ends - MARGIN.total_seconds() <= time.monotonic():
                self._access = await self._obtain(MARGIN, self._trigger)
            return self._access.token

    async def renewed(self, refused: Secret) -> Secret:
        """Get a new token after a 401, once, however many requests got one."""
        async with self._lock:
            # Another request may have renewed it while this one waited for the lock.
            if self._access is None or self._access.token == refused:
                self._access = await self._obtain(MARGIN, "unauthorized", refused=refused)
            return self._access.token

    async def refresh(self, *, force: bool) -> Access:
        """Renew a token that ends within 15 minutes, or any token if `force`, unless another process just did.

        `force` also tries the token of an account that needs consent.
        """
        async with self._lock:
            refused = None
            if force:
                # Read without the lock: if another process renews the token meanwhile, its new one is taken.
                row = await self._db.read(lambda connection: self._row(connection, _READ, force=True))
                refused = usable(self._vault, self.account, row.access_token)
            self._access = await self._obtain(SOON, self._trigger, refused=refused, force=force)
            return self._access

    async def _obtain(
        self, margin: timedelta, trigger: str, *, refused: Secret | None = None, force: bool = False
    ) -> Access:
        """The stored token if it lasts longer than `margin` and is not the `refused` one; else a new one.

        `force` asks although the account needs consent and its next try is not due. If eBay has rejected the keyset or
        the consent, that is remembered, so that other families do not ask again.
        """
        if self._hopeless:
            raise self._hopeless

        async def work(connection: Connection) -> Access | EbaysyncError:
            await connection.send("SET LOCAL lock_timeout = '100s'")  # its holder may be waiting for eBay
            # OF t: the account's row stays free for the commands that disable it or look at it.
            row = await self._row(connection, f"{_READ} FOR UPDATE OF t", force=force)
            return self._lasting(row, margin, refused) or await self._ask(connection, row, trigger)

        async def once() -> Access:
            # Almost always the stored token lasts. Then nothing needs to be locked.
            row = await self._db.read(lambda connection: self._row(connection, _READ, force=force))
            if lasting := self._lasting(row, margin, refused):
                return lasting
            outcome = await self._db.transact(work)
            # Raised only now: inside the transaction, it would roll back the log entry.
            if isinstance(outcome, EbaysyncError):
                raise outcome
            return outcome

        try:
            return await self._transport.persist(once)
        except (KeysetRejected, ConsentNeeded) as error:
            self._hopeless = error
            raise

    def _lasting(self, row: Any, margin: timedelta, refused: Secret | None) -> Access | None:
        """The stored access token, if it is to be used."""
        token = usable(self._vault, self.account, row.access_token)
        lasts = row.left and row.left > margin and not row.needs_consent
        if token and lasts and token != refused:
            return _access(token, row.access_expires_at, row.left, refreshed=False)
        return None

    def give_up(self, error: EbaysyncError) -> None:
        """Refuse further calls of this account: everybody who asks for a token gets this error."""
        self._hopeless = error

    async def _row(self, connection: Connection, query: str, *, force: bool) -> Any:
        """The account's token row.

        Raises ConfigError if it belongs to another keyset. Raises ConsentNeeded if eBay refused it and the next try is
        not due.
        """
        row = (await connection.execute(query, {"id": self.account.id})).one_or_none()
        if row is None:
            raise consent_needed(self.account)
        if row.client_id not in (None, self._keyset.client_id):
            raise other_keyset(self.account, row.client_id, self._keyset.client_id)
        if row.needs_consent and row.waits and not force:
            raise consent_needed(self.account)
        return row

    async def _ask(self, connection: Connection, row: Any, trigger: str) -> Access | EbaysyncError:
        """Ask eBay and log the attempt. An error is returned, not raised, so that the log entry is committed."""
        account = self.account
        hint = account.connect_command
        refresh_token = self._vault.open(row.refresh_token, account.environment, account.id, "refresh_token", hint)
        try:
            grant = await oauth.refresh(self._transport, self._keyset, refresh_token)
        except EbaysyncError as error:
            await _record(connection, account, trigger, error)
            if isinstance(error, ConsentNeeded):
                await connection.execute(_MARK, {"id": account.id, "again": CONSENT})
                return consent_needed(account)
            return error
        # Stored before it is used: if that fails, the old token is still the one that all processes know.
        sealed = self._vault.seal(grant.access_token, account.environment, account.id, "access_token")
        values = {"token": sealed, "seconds": grant.expires_in, "id": account.id, "client": self._keyset.client_id}
        expires_at: datetime = (await connection.execute(_RENEW, values)).one().access_expires_at
        await _record(connection, account, trigger, None)
        if row.access_token and not usable(self._vault, account, row.access_token):
            log.warning("%s: the stored access token was damaged; a new one replaces it", account.name)
        log.info("%s: access token renewed (%s)", account.name, trigger)
        if row.needs_consent:
            await connection.execute(_UNMARK, {"id": account.id})
            log.warning("%s: eBay accepts the seller's consent again", account.name)
        return _access(grant.access_token, expires_at, timedelta(seconds=grant.expires_in), refreshed=True)


_READ = """
SELECT t.refresh_token, t.access_token, t.access_expires_at, t.access_expires_at - clock_timestamp() AS "left",
    a.needs_consent, t.client_id, coalesce(t.retry_at > clock_timestamp(), false) AS waits
FROM ebay_tokens t JOIN ebay_accounts a ON a.id = t.ebay_account_id WHERE t.ebay_account_id = :id"""
_RENEW = """
UPDATE ebay_tokens SET access_token = :token, client_id = :client, refused_since = NULL, retry_at = NULL,
    access_expires_at = clock_timestamp() + make_interval(secs => :seconds), updated_at = clock_timestamp()
WHERE ebay_account_id = :id RETURNING access_expires_at
"""
_MARK = """
WITH account AS (UPDATE ebay_accounts SET needs_consent = true, updated_at = clock_timestamp() WHERE id = :id)
UPDATE ebay_tokens SET refused_since = coalesce(refused_since, clock_timestamp()),
    retry_at = clock_timestamp() + :again
WHERE ebay_account_id = :id
"""
_UNMARK = "UPDATE ebay_accounts SET needs_consent = false, updated_at = clock_timestamp() WHERE id = :id"


def usable(vault: Vault, account: Account, blob: bytes | None) -> Secret | None:
    """The stored access token; None if there is none or no key opens it, because the refresh token gets a new one."""
    try:
        return vault.open(blob, account.environment, account.id, "access_token") if blob else None
    except SecretKeyError:
        return None


def _access(token: Secret, expires_at: datetime, left: timedelta, *, refreshed: bool) -> Access:
    return Access(token, expires_at, time.monotonic() + left.total_seconds(), refreshed)


@dataclass(frozen=True)
class TokenState:
    """The stored state of an account's tokens. `waits`: the account needs consent, and its next try is not due."""

    ends_soon: bool
    """the access token has ended or ends within 15 minutes"""
    client_id: str | None
    waits: str | None
    """why it is not asked now"""

    def fits(self, keyset: str) -> bool:
        """Whether the tokens may belong to this keyset (accounts/application: keyset_of)."""
        return self.client_id is None or keyset.partition(":")[2] == self.client_id


async def states(db: Database) -> dict[UUID, TokenState]:
    """The state of every account's tokens."""
    rows = await db.rows(_STATES, soon=SOON.total_seconds())
    return {
        row.ebay_account_id: TokenState(row.ends_soon, row.client_id, _waiting(row.refused_since, row.retry_at))
        for row in rows
    }


def _waiting(since: datetime | None, until: datetime | None) -> str | None:
    if until is None:
        return None
    began = f" (since {stamp(since)})" if since else ""
    return f"the seller must consent again{began}; tried again at {stamp(until)}"


_STATES = """
SELECT t.ebay_account_id, t.client_id, t.refused_since,
    coalesce(t.access_expires_at, '-infinity') < clock_timestamp() + make_interval(secs => :soon) AS ends_soon,
    CASE WHEN a.needs_consent AND t.retry_at > clock_timestamp() THEN t.retry_at END AS retry_at
FROM ebay_tokens t JOIN ebay_accounts a ON a.id = t.ebay_account_id
"""


async def note_refusal(db: Database, account: Account, family: str, scopes: Sequence[str], *, certain: bool) -> bool:
    """Handle a refusal of a token that was just renewed. Returns whether the seller must consent again.

    That is `certain` if eBay says that the token is dead, or if it surely has the scopes: they are stored, or the
    family was read before. Otherwise only these scopes may be missing, and families that need others go on.
    """
    values = {"id": account.id, "family": family, "scopes": list(scopes), "certain": certain, "again": CONSENT}
    return await db.execute(_REFUSED, **values) > 0


_REFUSED = """
WITH account AS (
    UPDATE ebay_accounts SET needs_consent = true, updated_at = clock_timestamp()
    WHERE id = :id AND (:certain OR coalesce(
        (SELECT scopes @> CAST(:scopes AS text[]) FROM ebay_authorizations WHERE ebay_account_id = :id),
        EXISTS (SELECT FROM ebay_sync_state
            WHERE ebay_account_id = :id AND api_family = :family AND cursor_value IS NOT NULL)))
    RETURNING id)
UPDATE ebay_tokens t SET refused_since = coalesce(t.refused_since, clock_timestamp()),
    retry_at = clock_timestamp() + :again
FROM account WHERE t.ebay_account_id = account.id
"""


async def _record(connection: Connection, account: Account, trigger: str, error: EbaysyncError | None) -> None:
    """Write a line to the refresh log."""
    await connection.execute(
        "INSERT INTO ebay_token_refresh_log (ebay_account_id, success, triggered_by, error_code, error_message)"
        " VALUES (:id, :ok, :trigger, :code, :message)",
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
        hint=account.connect_command,
    )


def other_keyset(account: Account, theirs: str, ours: str) -> ConfigError:
    """The error for tokens of another keyset: eBay would refuse them, and the consent would look dead."""
    name = variable(f"{KEYSET_PREFIX[account.environment]}client_id")
    return ConfigError(
        f"{account.name}: its consent belongs to the client id {theirs}, but {name} is {ours}",
        hint=f"set {name} to the keyset of the consent, or let the seller consent to this one: "
        + account.connect_command,
    )


@asynccontextmanager
async def open_api(
    settings: Settings, db: Database, account: Account, trigger: str, sleep: Callable[[float], Awaitable[None]]
) -> AsyncIterator[tuple[Api, Tokens]]:
    """Open an account's connection to eBay. Raises ConfigError if its keyset, hosts or key are not set."""
    keyset = settings.keyset(account.environment)
    vault = vaults.load(settings, may_create=False)  # the account's tokens are stored
    places = hosts(settings, account.environment)
    find_signer = partial(signing.signer, db, vault, keyset)
    async with (
        Transport(places, sleep=sleep, find_signer=find_signer, signs=account.marketplace_id in SITES) as transport,
        metered(db, vault, keyset, transport),
    ):
        tokens = Tokens(db, vault, transport, keyset, account, trigger)
        try:
            yield Api(transport, tokens, account.marketplace_id), tokens
        finally:
            await reachability.note(db, account, transport)
