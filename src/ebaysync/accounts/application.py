"""The application's own access token (client credentials), for calls without a seller: limits, signing keys.

All processes share one per keyset, encrypted in `ebay_keysets`. eBay gives out 1,000 a day, and each lasts two hours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ebaysync.accounts import vault as vaults
from ebaysync.accounts.vault import Vault
from ebaysync.ebay import oauth
from ebaysync.ebay.transport import Transport
from ebaysync.errors import AccessDenied, ConsentNeeded, EbayError, EbaysyncError, SecretKeyError, Unauthorized
from ebaysync.log import Secret
from ebaysync.settings import KEYSET_PREFIX, Keyset, Settings
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import Database

T = TypeVar("T")

COLUMN = "application_token"
MARGIN = 300  # seconds before its end; then it is no longer used


def keyset_name(keyset: Keyset) -> str:
    """A keyset's name in the database: environment and client id, which is not a secret."""
    return f"{keyset.environment}:{keyset.client_id}"


def keyset_of(settings: Settings, environment: str) -> str:
    """The keyset's name for an environment, without a client id if the keyset is not set."""
    return f"{environment}:{getattr(settings, f'{KEYSET_PREFIX[environment]}client_id') or ''}"


async def ask(
    db: Database, vault: Vault, transport: Transport, keyset: Keyset, call: Callable[[Secret], Awaitable[T]]
) -> T:
    """Make a call with the application's token. If eBay refuses the token, the next call gets a new one.

    Raises KeysetRejected, EbayError, DatabaseError; none of them is about a seller's consent.
    """
    token = await access_token(db, vault, transport, keyset)
    try:
        return await call(token)
    except (Unauthorized, AccessDenied) as error:
        await forget(db, keyset)
        raise _refused(keyset, error) from None


def _refused(keyset: Keyset, error: EbaysyncError) -> AccessDenied:
    """A refusal of the application itself. eBay answers it as it does a seller's token, but no consent can help."""
    status, error_id = (error.status, error.error_id) if isinstance(error, EbayError) else (None, None)
    return AccessDenied(
        f"{error.message}: refused to the application of the environment {keyset.environment}, not to a seller",
        hint="no account is marked; if it stays, see developer.ebay.com, Application Keys",
        status=status,
        error_id=error_id,
    )


async def access_token(db: Database, vault: Vault, transport: Transport, keyset: Keyset) -> Secret:
    """The stored token, or a new one. Raises KeysetRejected, EbayError, DatabaseError, SecretKeyError."""
    name = keyset_name(keyset)

    async def read(connection: Connection) -> tuple[Sent, Sent]:
        token = await connection.send(_LASTING, {"keyset": name, "margin": MARGIN})
        return token, await vaults.send_heads(connection)

    token, heads = await db.read(read)
    rows = (await token.result()).rows
    if rows and rows[0].application_token and (known := _opened(vault, rows[0].application_token, keyset)):
        return known
    vault.check(await vaults.heads(heads))  # before eBay is asked for what would be encrypted
    try:
        # Without a lock: two processes may both ask. Both tokens are valid, and the one that is stored last is used.
        grant = await oauth.application_token(transport, keyset)
    except (AccessDenied, ConsentNeeded) as error:
        raise _refused(keyset, error) from None
    await db.execute(
        _STORE,
        keyset=name,
        token=vault.seal(grant.access_token, keyset.environment, keyset.client_id, COLUMN),
        seconds=grant.expires_in,
    )
    return grant.access_token


async def forget(db: Database, keyset: Keyset) -> None:
    """Drop the stored token, after eBay has refused it."""
    await db.execute("UPDATE ebay_keysets SET application_token = NULL WHERE keyset = :name", name=keyset_name(keyset))


def _opened(vault: Vault, blob: bytes, keyset: Keyset) -> Secret | None:
    """Decrypt the stored token; None if its key is gone, because a new token costs only one call."""
    try:
        return vault.open(blob, keyset.environment, keyset.client_id, COLUMN)
    except SecretKeyError:
        return None


_LASTING = """
SELECT application_token FROM ebay_keysets
WHERE keyset = :keyset AND token_expires_at > clock_timestamp() + make_interval(secs => :margin)
"""
_STORE = """
INSERT INTO ebay_keysets (keyset, application_token, token_expires_at)
VALUES (:keyset, :token, clock_timestamp() + make_interval(secs => :seconds))
ON CONFLICT (keyset) DO UPDATE SET application_token = excluded.application_token,
    token_expires_at = excluded.token_expires_at
"""
