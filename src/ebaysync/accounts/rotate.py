"""keys rotate: every stored secret is encrypted anew with the first key, one row and one transaction at a time.

Resumable, because a blob names its key: what the first key has sealed is passed over. Whenever it is killed, each row
is readable with the old or the new key, so both stay configured until it has ended well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.accounts import signing
from ebaysync.accounts.vault import Vault
from ebaysync.errors import SecretKeyError
from ebaysync.store.database import Database


@dataclass(frozen=True)
class Place:
    """A table with encrypted columns. `rows` lists its rows' keys, `lock` reads one under its lock with environment,
    owner and the columns, `store` writes them back."""

    table: str
    columns: tuple[str, ...]
    rows: str
    lock: str
    store: str
    owner: Callable[[Any], UUID | str]
    bound: Callable[[Any, str], str]
    """what a blob of that row and column is bound to"""


PLACES = (
    Place(
        "ebay_tokens",
        ("refresh_token", "access_token"),
        "SELECT ebay_account_id AS id FROM ebay_tokens ORDER BY 1",
        """SELECT t.ebay_account_id AS id, a.environment, t.refresh_token, t.access_token
        FROM ebay_tokens t JOIN ebay_accounts a ON a.id = t.ebay_account_id
        WHERE t.ebay_account_id = :id FOR UPDATE OF t""",
        """UPDATE ebay_tokens SET refresh_token = :refresh_token, access_token = :access_token
        WHERE ebay_account_id = :id""",
        lambda row: row.id,
        lambda _, column: column,
    ),
    Place(
        "ebay_signing_keys",
        ("private_key",),
        "SELECT environment, client_id, signing_key_id FROM ebay_signing_keys ORDER BY 1, 2, 3",
        """SELECT environment, client_id, signing_key_id, private_key FROM ebay_signing_keys
        WHERE (environment, client_id, signing_key_id) = (:environment, :client_id, :signing_key_id) FOR UPDATE""",
        """UPDATE ebay_signing_keys SET private_key = :private_key
        WHERE (environment, client_id, signing_key_id) = (:environment, :client_id, :signing_key_id)""",
        lambda row: row.client_id,
        lambda row, _: signing.column(row.signing_key_id),
    ),
)


@dataclass
class Count:
    """Rows of a table: encrypted anew, already so, not readable with any key (and left as they are)."""

    table: str
    rotated: int = 0
    current: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class Rotation:
    counts: list[Count]
    first_error: SecretKeyError | None


async def rotate(db: Database, vault: Vault) -> Rotation:
    """Whatever cannot be read stays untouched, and the rest goes on."""
    counts, first_error = [], None
    for place in PLACES:
        count = Count(place.table)
        counts.append(count)
        for row in await db.rows(place.rows):
            try:
                moved = await _rotate_row(db, vault, place, dict(row._mapping))
            except SecretKeyError as error:
                count.unreadable += 1
                first_error = first_error or error
                continue
            count.rotated += moved
            count.current += not moved
    return Rotation(counts, first_error)


async def _rotate_row(db: Database, vault: Vault, place: Place, key: dict[str, Any]) -> bool:
    async def work(connection: AsyncConnection) -> bool:
        await connection.exec_driver_sql("SET LOCAL lock_timeout = '100s'")  # the holder may be asking eBay
        row = (await connection.execute(text(place.lock), key)).one_or_none()
        if row is None:  # removed meanwhile
            return False
        blobs = {column: getattr(row, column) for column in place.columns}
        owner, fresh = place.owner(row), dict(blobs)
        for column, blob in blobs.items():
            if blob is not None:
                bound = place.bound(row, column)
                opened = vault.open(blob, row.environment, owner, bound)
                if not vault.current(blob):
                    fresh[column] = vault.seal(opened, row.environment, owner, bound)
        if fresh == blobs:
            return False
        await connection.execute(text(place.store), {**key, **fresh})
        return True

    return await db.transact(work)
