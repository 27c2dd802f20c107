"""Stored signing keys: one in use per keyset, made by eBay, its private half encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from ebaysync.accounts import application
from ebaysync.accounts.vault import Vault
from ebaysync.ebay import keymanagement, signature
from ebaysync.ebay.signature import Signer
from ebaysync.ebay.transport import Transport
from ebaysync.errors import AnswerNotUnderstood, SecretKeyError, UsageError
from ebaysync.log import Secret
from ebaysync.settings import Keyset
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database

RENEW = timedelta(days=60)  # before the end of a key's three years


@dataclass(frozen=True)
class Key:
    """The parts of a signing key that may be shown."""

    environment: str
    client_id: str
    signing_key_id: str
    cipher: str
    public_key: str
    created_at: datetime
    expires_at: datetime
    state: str
    """valid, renew (it ends within 60 days), expired, or replaced by one that ends later"""


async def every(db: Database) -> list[Key]:
    """All keys, those in use first."""
    return [Key(*row) for row in await db.rows(_EVERY, days=RENEW.days)]


async def of(db: Database, keyset: Keyset) -> list[Key]:
    """The keys of a keyset, the one in use first."""
    ours = (keyset.environment, keyset.client_id)
    return [key for key in await every(db) if (key.environment, key.client_id) == ours]


_EVERY = """
SELECT environment, client_id, signing_key_id, cipher, public_key, created_at, expires_at,
    CASE WHEN expires_at <= clock_timestamp() THEN 'expired'
        WHEN row_number() OVER newest > 1 THEN 'replaced'
        WHEN expires_at < clock_timestamp() + make_interval(days => :days) THEN 'renew' ELSE 'valid' END
FROM ebay_signing_keys
WINDOW newest AS (PARTITION BY environment, client_id ORDER BY expires_at DESC, signing_key_id)
ORDER BY environment, client_id, expires_at DESC, signing_key_id
"""


async def signer(db: Database, vault: Vault, keyset: Keyset) -> Signer | None:
    """The signer with the keyset's key; None if no key is valid. Raises SecretKeyError."""
    rows = await db.rows(_IN_USE, environment=keyset.environment, client=keyset.client_id)
    if not rows:
        return None
    row = rows[0]
    opened = vault.open(row.private_key, keyset.environment, keyset.client_id, column(row.signing_key_id))
    try:
        return signature.signer(row.jwe, opened)
    except ValueError as error:
        raise SecretKeyError(
            f"the stored signing key {row.signing_key_id} cannot be used: {error}",
            hint=f"make a new one: ebaysync keys signing create --environment {keyset.environment} --renew",
        ) from None


_IN_USE = """
SELECT signing_key_id, jwe, private_key FROM ebay_signing_keys
WHERE environment = :environment AND client_id = :client AND expires_at > clock_timestamp()
ORDER BY expires_at DESC, signing_key_id LIMIT 1
"""


def column(signing_key_id: str) -> str:
    """The place of a key's blob, to which it is bound beside its keyset (accounts/vault)."""
    return f"private_key {signing_key_id}"


async def create(db: Database, vault: Vault, transport: Transport, keyset: Keyset, *, renew: bool) -> Key:
    """Let eBay make a key and store it at once. Families that failed for lack of it become due.

    Raises UsageError if there is a valid key and not `renew`; KeysetRejected, EbayError.
    """
    valid = [key for key in await of(db, keyset) if key.state == "valid"]
    if valid and not renew:
        raise UsageError(
            f"the keyset of {keyset.environment} has a signing key until {valid[0].expires_at:%Y-%m-%d}",
            hint="add --renew to make another one all the same",
        )
    made = await application.ask(db, vault, transport, keyset, partial(keymanagement.create, transport))
    private = Secret(made.private_key)
    try:
        # Before it is stored: the newest key is used, and one that cannot sign would replace one that can.
        signature.signer(made.jwe, private)
    except ValueError as error:
        raise AnswerNotUnderstood(f"what eBay answered is no signing key: {error}") from None
    values = {
        "environment": keyset.environment,
        "client": keyset.client_id,
        "id": made.signing_key_id,
        "cipher": made.signing_key_cipher,
        "jwe": made.jwe,
        "public": made.public_key,
        "private": vault.seal(private, keyset.environment, keyset.client_id, column(made.signing_key_id)),
        "created": datetime.fromtimestamp(made.creation_time, UTC),
        "expires": datetime.fromtimestamp(made.expiration_time, UTC),
    }

    async def store(connection: Connection) -> None:
        await connection.execute(_STORE, values)

    await db.transact(store)
    return next(key for key in await of(db, keyset) if key.signing_key_id == made.signing_key_id)


_STORE = """
WITH due AS (
    UPDATE ebay_sync_state SET failures = 0, retry_at = NULL
    WHERE failures > 0 AND ebay_account_id IN (SELECT id FROM ebay_accounts WHERE environment = :environment))
INSERT INTO ebay_signing_keys
    (environment, client_id, signing_key_id, cipher, jwe, public_key, private_key, created_at, expires_at)
VALUES (:environment, :client, :id, :cipher, :jwe, :public, :private, :created, :expires)
ON CONFLICT (environment, client_id, signing_key_id) DO NOTHING
"""
