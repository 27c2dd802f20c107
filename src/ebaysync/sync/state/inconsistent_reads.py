"""ebay_inconsistent_read: slices whose answer contradicts itself, until three runs in a row have read the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Column, DateTime, Integer, LargeBinary, Table, Text, Uuid, any_, cast, func, select
from sqlalchemy.dialects.postgresql import insert

from ebaysync.rechecks import CONTRADICTION
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import CONTROL
from ebaysync.sync.walk import Slice

READS_THAT_CONVINCE = 3
MOST_KEYS = 1000  # keys of a slice that are remembered from read to read, in eight bytes each
MOST = 50  # slices of a family that are remembered, the newest ones

INCONSISTENT_READ = Table(
    "ebay_inconsistent_read",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("slice_from", DateTime(timezone=True)),
    Column("slice_to", DateTime(timezone=True)),
    Column("reason", Text),
    Column("digest", LargeBinary),
    Column("reads", Integer),
    Column("excess", Integer),
    Column("since", DateTime(timezone=True)),
    Column("read_at", DateTime(timezone=True)),
)
_KEY = ("ebay_account_id", "api_family", "slice_from", "slice_to")


@dataclass(frozen=True)
class Inconsistent:
    """How many runs in a row have read these keys, and how many records were counted beside them. `stale`: it was last
    read a day ago. `is_complete`: the last runs together have read as many records as each of them counted.

    `digest` is that of the last read's keys, the number that was counted, and the digests of the keys of all reads in a
    row that counted it.
    """

    reads: int
    excess: int
    digest: bytes
    stale: bool
    is_complete: bool = False

    @property
    def is_believed(self) -> bool:
        return self.reads >= READS_THAT_CONVINCE


_WHOLE, _NUMBER, _KEY_SIZE = 16, 4, 8  # bytes of the three parts of `Inconsistent.digest`


def digest(keys: Iterable[str | bytes]) -> bytes:
    """The same for the same keys in any order."""
    found = blake2b(digest_size=_WHOLE)
    for key in sorted(map(_as_bytes, keys)):
        # With each length: otherwise the keys "ab", "c" and "a", "bc" had the same digest.
        found.update(len(key).to_bytes(8, "big") + key)
    return found.digest()


async def ask(connection: Connection, account_id: UUID, families: Sequence[str]) -> Sent:
    """Read the newest inconsistent slices of some families. See `by_family`."""
    own = INCONSISTENT_READ.c
    stale = (own.read_at < func.clock_timestamp() - CONTRADICTION).label("stale")
    newest = func.row_number().over(partition_by=own.api_family, order_by=own.slice_from.desc()).label("newest")
    wanted = own.api_family == any_(cast(list(families), ARRAY(Text)))
    found = (
        select(own.api_family, own.slice_from, own.slice_to, own.reads, own.excess, own.digest, stale, newest)
        .where(own.ebay_account_id == account_id, wanted, own.reads > 0)
        .subquery()
    )
    return await connection.send(select(found).where(found.c.newest <= MOST).order_by(found.c.slice_from))


def by_family(rows: Sequence[Any]) -> Mapping[str, Mapping[Slice, Inconsistent]]:
    """Family to its inconsistent slices, in order of time."""
    found: dict[str, dict[Slice, Inconsistent]] = defaultdict(dict)
    for row in rows:
        read = Inconsistent(row.reads, row.excess, bytes(row.digest), row.stale)
        found[row.api_family][Slice(row.slice_from, row.slice_to)] = read
    return found


async def note(
    connection: Connection, account_id: UUID, family: str, slice_: Slice, reason: str, read: Inconsistent
) -> None:
    """Store another read of a slice."""
    statement = insert(INCONSISTENT_READ).values(
        ebay_account_id=account_id,
        api_family=family,
        slice_from=slice_.start,
        slice_to=slice_.end,
        reason=reason,
        digest=read.digest,
        reads=read.reads,
        excess=read.excess,
    )
    new = {name: statement.excluded[name] for name in ("reason", "digest", "reads", "excess")}
    upsert = statement.on_conflict_do_update(index_elements=_KEY, set_=new | {"read_at": func.clock_timestamp()})
    await connection.send(upsert)


async def settle(connection: Connection, account_id: UUID, family: str, slices: Iterable[Slice]) -> None:
    """These slices are consistent again."""
    own = INCONSISTENT_READ.c
    for slice_ in slices:
        mine = (own.ebay_account_id == account_id, own.api_family == family)
        # Not deleted: the role that runs may not.
        bounds = (own.slice_from == slice_.start, own.slice_to == slice_.end)
        await connection.send(INCONSISTENT_READ.update().where(*mine, *bounds).values(reads=0))


def read_again(before: Inconsistent | None, keys: Collection[str | bytes], excess: int) -> Inconsistent:
    """Count one more run that read a slice; another content starts the count again."""
    now, counted = digest(keys), (len(keys) + excess).to_bytes(_NUMBER, "big")
    seen = {blake2b(_as_bytes(key), digest_size=_KEY_SIZE).digest() for key in keys}
    same, known = False, before.digest if before else b""
    if known[_WHOLE : _WHOLE + _NUMBER] == counted:
        same, earlier = True, known[_WHOLE + _NUMBER :]
        seen |= {earlier[at : at + _KEY_SIZE] for at in range(0, len(earlier), _KEY_SIZE)}
    return Inconsistent(
        before.reads + 1 if before and known[:_WHOLE] == now else 1,
        excess,
        now + counted + b"".join(sorted(seen)) if len(seen) <= MOST_KEYS else now,
        stale=False,
        # Without an excess, other reasons than the number of records make the slice inconsistent.
        is_complete=same and excess > 0 and len(seen) == len(keys) + excess,
    )


def _as_bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key
