"""Decides which records a snapshot no longer has: those that a complete scan has not seen.

A scan that would remove more than half of the known records (and more than 50) removes nothing and is an error, until
three complete scans in a row agree, or the operator accepts it. Keys are held as eight-byte digests, so that a scan
needs little memory even for very many listings.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.errors import MassRemoval
from ebaysync.families.family import Family
from ebaysync.store.merge import Key, Writer, present, remove
from ebaysync.sync.state import mass_removals
from ebaysync.sync.state.mass_removals import MissedBefore

FEW = 50
SCANS_THAT_CONVINCE = 3


class Seen:
    """The keys that a scan has seen."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()
        self.nameless = 0
        """records without a readable key; if there are any, nothing is removed"""

    def add(self, keys: Iterable[str | None]) -> None:
        for key in keys:
            if key is None:
                self.nameless += 1
            else:
                self._digests.add(digest(key))

    def __contains__(self, key: Key) -> bool:
        return digest("/".join(key)) in self._digests


def digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=8).digest()


async def missing(connection: AsyncConnection, account_id: UUID, family: Family, seen: Seen) -> tuple[list[Key], int]:
    """The known keys that a scan has not seen, and the number of known keys."""
    unseen: list[Key] = []
    known = 0
    after: Key | None = None
    # Page over the primary key, so that memory stays small for a seller with very many listings.
    while keys := await present(connection, family.table, account_id, after):
        known += len(keys)
        after = keys[-1]
        unseen += [key for key in keys if key not in seen]
    return unseen, known


async def settle(writer: Writer, family: Family, unseen: list[Key], known: int, *, accept: bool) -> int | MassRemoval:
    """Mark unseen records as removed, inside the caller's transaction. Returns their number, or why none is removed.

    The same transaction counts how many scans in a row missed so many.
    """
    account_id = writer.account_id
    missed = await mass_removals.load(writer.connection, account_id, family.name)
    if len(unseen) > FEW and len(unseen) * 2 > known and not accept:
        missed = _deepened(missed, unseen)
        if missed.scans < SCANS_THAT_CONVINCE:
            await mass_removals.save(writer.connection, account_id, family.name, missed)
            return MassRemoval(
                f"{family.name}: a complete scan no longer has {len(unseen)} of {known} records "
                f"({missed.scans} of {SCANS_THAT_CONVINCE} such scans in a row)"
            )
        # Remove only what all of these scans missed: a listing that came back in one of them stays.
        agreed = set(_split(missed.missing))
        unseen = [key for key in unseen if digest("/".join(key)) in agreed]
    if missed.scans:
        await mass_removals.save(writer.connection, account_id, family.name, MissedBefore())
    return await remove(writer, family.table, unseen, family.tables[1:]) if unseen else 0


def _deepened(missed: MissedBefore, unseen: list[Key]) -> MissedBefore:
    """Count one more scan that misses too much. Only keys that all of them miss count."""
    digests = {digest("/".join(key)) for key in unseen}
    if missed.scans:
        common = digests & set(_split(missed.missing))
        if len(common) * 2 > len(digests):
            return MissedBefore(missed.scans + 1, b"".join(sorted(common)))
    return MissedBefore(1, b"".join(sorted(digests)))


def _split(digests: bytes) -> Iterable[bytes]:
    return (digests[start : start + 8] for start in range(0, len(digests), 8))
