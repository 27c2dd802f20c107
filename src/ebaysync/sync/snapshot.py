"""Decides which records a snapshot no longer has: those that a complete scan has not seen.

A scan is doubtful if its list contradicts itself: then nothing is removed until three such scans in a row have seen the
same records. If eBay itself says that the list is not complete, they must be hours apart. A scan that would remove more
than half of the known records (and more than 50) is an error, until three scans in a row agree on most of them; then
only those that all three missed are removed. The operator may accept the removals before.

Keys are held as eight-byte digests, so that a scan needs little memory even for very many listings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from ebaysync.errors import MassRemoval
from ebaysync.families.family import Family
from ebaysync.store.connection import Connection
from ebaysync.store.merge import Key, Writer, keys_of_parts, present, remove
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

    def digest(self) -> bytes:
        """The same for the same keys."""
        return blake2b(b"".join(sorted(self._digests)), digest_size=16).digest()

    def __contains__(self, key: Key) -> bool:
        return digest("/".join(key)) in self._digests


def digest(key: str) -> bytes:
    # Two keys of one digest can only keep a record that is gone, never remove one that is there.
    return blake2b(key.encode(), digest_size=8).digest()


async def missing(
    connection: Connection, account_id: UUID, family: Family, seen: Seen, unread: Collection[str] = ()
) -> tuple[list[Key], int]:
    """The known keys that a scan has not seen, and the number of known keys. Those of `unread` parts count as seen."""
    unseen: list[Key] = []
    known = 0
    after: Key | None = None
    # Page over the primary key, so that memory stays small for a seller with very many listings.
    while keys := await present(connection, family.table, account_id, after):
        known += len(keys)
        after = keys[-1]
        unseen += [key for key in keys if key not in seen]
    if unread and unseen and family.part_column:
        kept = await keys_of_parts(connection, family.table, account_id, family.part_column, unread)
        unseen = [key for key in unseen if key not in kept]
    return unseen, known


@dataclass(frozen=True)
class Settled:
    """How many records were removed. `is_believed`: whether the scan counts as complete. `refused`: why a scan that
    misses too many records removed none."""

    removed: int
    is_believed: bool = True
    refused: MassRemoval | None = None


@dataclass(frozen=True)
class Missing:
    """The known keys that a scan has not seen, and the number of known keys. `seen`: digest of what a doubtful scan has
    seen. `is_partial`: eBay says that its list is not complete."""

    unseen: list[Key]
    known: int
    seen: bytes | None = None
    is_partial: bool = False


async def settle(writer: Writer, family: Family, found: Missing, *, accept: bool) -> Settled:
    """Mark unseen records as removed, inside the caller's transaction.

    The same transaction counts the doubtful scans in a row, and how many have missed each record.
    """
    account_id, unseen, known, seen = writer.account_id, found.unseen, found.known, found.seen
    before = await mass_removals.load(writer.connection, account_id, family.name)
    too_many = len(unseen) > FEW and len(unseen) * 2 > known
    if accept or (seen is None and not too_many):
        if before.scans:
            await mass_removals.save(writer.connection, account_id, family.name, MissedBefore())
        return Settled(await _remove(writer, family, unseen))
    is_same = seen is None or before.seen == seen
    # The error may last for a while: only scans that are hours apart are independent.
    counts_once_more = not (found.is_partial and is_same and before.recent)
    scans = before.scans + counts_once_more if is_same else 1
    missed = {digest("/".join(key)): key for key in unseen}
    counts = {each: min(before.missing.get(each, 0) + counts_once_more, SCANS_THAT_CONVINCE) for each in missed}
    gone = [key for each, key in missed.items() if counts[each] == SCANS_THAT_CONVINCE]
    if counts_once_more:
        await mass_removals.save(writer.connection, account_id, family.name, MissedBefore(scans, seen or b"", counts))
    # Three scans must agree on most of it. A list that is cut at another place each time never does.
    if too_many and len(gone) * 2 <= len(unseen):
        return Settled(
            0,
            is_believed=False,
            refused=MassRemoval(
                f"{family.name}: a complete scan no longer has {len(unseen)} of {known} records "
                f"({max(counts.values())} of {SCANS_THAT_CONVINCE} such scans in a row)"
            ),
        )
    if seen is not None and scans < SCANS_THAT_CONVINCE:
        return Settled(0, is_believed=False)
    return Settled(await _remove(writer, family, gone))


async def _remove(writer: Writer, family: Family, keys: list[Key]) -> int:
    return await remove(writer, family.table, keys, family.tables[1:]) if keys else 0
