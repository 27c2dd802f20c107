"""keys rotate: encrypts every stored secret with the first key, one row per transaction.

It can be interrupted and repeated: a blob names its key, so rotated rows are skipped. Until it has finished, rows exist
with the old and with the new key, so both must stay configured. After that nothing needs the old one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from ebaysync.accounts import application, consent, signing
from ebaysync.accounts.vault import Vault
from ebaysync.errors import SecretKeyError
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database


@dataclass(frozen=True)
class Place:
    """A table with encrypted columns.

    `rows` lists the keys of its rows. `lock` locks one row and reads its environment, owner and columns. `store` writes
    them back.
    """

    table: str
    columns: tuple[str, ...]
    rows: str
    lock: str
    store: str
    owner: Callable[[Any], UUID | str]
    bound: Callable[[Any, str], str]
    """the owner to which the blob of that row and column is bound"""
    disposable: bool = False
    """can be fetched again: dropped if no key opens it, unless other secrets show that a key is missing"""


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
        # One that was dropped has ended: the key that ends last is in use.
        """UPDATE ebay_signing_keys SET private_key = CAST(:private_key AS bytea), expires_at =
            CASE WHEN CAST(:private_key AS bytea) = '' THEN least(expires_at, clock_timestamp()) ELSE expires_at END
        WHERE (environment, client_id, signing_key_id) = (:environment, :client_id, :signing_key_id)""",
        lambda row: row.client_id,
        lambda row, _: signing.column(row.signing_key_id),
    ),
    Place(
        "ebay_pending_consents",
        ("refresh_token",),
        "SELECT environment, client_id, name FROM ebay_pending_consents WHERE refresh_token IS NOT NULL"
        " ORDER BY 1, 2, 3",
        """SELECT environment, client_id, name, refresh_token FROM ebay_pending_consents
        WHERE (environment, client_id, name) = (:environment, :client_id, :name) FOR UPDATE""",
        """UPDATE ebay_pending_consents SET refresh_token = :refresh_token
        WHERE (environment, client_id, name) = (:environment, :client_id, :name)""",
        lambda row: row.client_id,
        lambda row, _: consent.column(row.name),
        disposable=True,
    ),
    Place(
        "ebay_keysets",
        (application.COLUMN,),
        "SELECT keyset FROM ebay_keysets WHERE application_token IS NOT NULL ORDER BY 1",
        """SELECT split_part(keyset, ':', 1) AS environment, substr(keyset, strpos(keyset, ':') + 1) AS client_id,
            application_token
        FROM ebay_keysets WHERE keyset = :keyset FOR UPDATE""",
        "UPDATE ebay_keysets SET application_token = :application_token WHERE keyset = :keyset",
        lambda row: row.client_id,
        lambda _, column: column,
        disposable=True,
    ),
)
"""The places, disposable ones last."""


Became = Literal["rotated", "current", "dropped"]


@dataclass
class RotationCount:
    """A table's rows: rotated, already current, readable with no key (and left as they are), dropped."""

    table: str
    rotated: int = 0
    current: int = 0
    unreadable: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Rotation:
    counts: list[RotationCount]
    first_error: SecretKeyError | None


async def rotate(db: Database, vault: Vault, *, drop_unreadable: bool = False) -> Rotation:
    """Rotate all secrets. A row that cannot be decrypted stays as it is, and the others go on.

    With `drop_unreadable` it is emptied: its key is lost, and the sellers must consent again.
    """
    counts, first_error = [], None
    for place in PLACES:
        counts.append(count := RotationCount(place.table))
        for row in await db.rows(place.rows):
            may_drop = drop_unreadable or (place.disposable and first_error is None)
            try:
                became = await _rotate_row(db, vault, place, row._asdict(), may_drop=may_drop)
            except SecretKeyError as error:
                count.unreadable += 1
                first_error = first_error or error
            else:
                setattr(count, became, getattr(count, became) + 1)
    return Rotation(counts, first_error)


async def _rotate_row(db: Database, vault: Vault, place: Place, key: dict[str, Any], *, may_drop: bool) -> Became:
    async def work(connection: Connection) -> Became:
        await connection.send("SET LOCAL lock_timeout = '100s'")  # its holder may be waiting for eBay
        row = (await connection.execute(place.lock, key)).one_or_none()
        if row is None:  # removed meanwhile
            return "current"
        blobs: dict[str, bytes | None] = {column: getattr(row, column) for column in place.columns}
        fresh = dict(blobs)
        became: Became = "current"
        for column, blob in blobs.items():
            if not blob:
                continue
            sealed_for = row.environment, place.owner(row), place.bound(row, column)
            try:
                opened = vault.open(blob, *sealed_for)
            except SecretKeyError:
                # The refresh token beside an access token comes first, and was opened.
                if not may_drop and column != "access_token":
                    raise
                # Empty where the column must not be null.
                fresh[column], became = None if place.disposable or column == "access_token" else b"", "dropped"
                continue
            if not vault.current(blob):
                fresh[column], became = vault.seal(opened, *sealed_for), "rotated"
        # Under the row's lock, so that a token that is renewed at the same time is not overwritten.
        if fresh != blobs:
            await connection.execute(place.store, {**key, **fresh})
        return became

    return await db.transact(work)
