"""ebay_inconsistent_read: slices whose answer contradicts itself, until three runs in a row have read the same; and
holes, which eBay did not answer, or not completely.

A hole has a back-off of its own, and is never given up. A row with `reads` 0 stands for a slice that is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Column, DateTime, Integer, LargeBinary, Table, Text, Uuid, any_, cast, func, select
from sqlalchemy.dialects.postgresql import insert

from ebaysync.rechecks import CONTRADICTION, HOLE_FIRST, HOLE_LONGEST, INDEPENDENT
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import CONTROL
from ebaysync.sync.slices import Slice

READS_THAT_CONVINCE = 3
MOST_KEYS = 1000  # keys of a slice that are remembered from read to read, in eight bytes each
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
"""the end of a hole of a part that is not read with the others"""
MOST = 50  # slices of a family that are remembered, the newest ones, and as many holes of it and of each part

INCONSISTENT_READ = Table(
    "ebay_inconsistent_read",
    CONTROL,
    Column("ebay_account_id", Uuid),
    Column("api_family", Text),
    Column("part", Text),
    Column("slice_from", DateTime(timezone=True)),
    Column("slice_to", DateTime(timezone=True)),
    Column("reason", Text),
    Column("digest", LargeBinary),
    Column("reads", Integer),
    Column("excess", Integer),
    Column("attempts", Integer),
    Column("next_at", DateTime(timezone=True)),
    Column("since", DateTime(timezone=True)),
    Column("read_at", DateTime(timezone=True)),
)
_KEY = ("ebay_account_id", "api_family", "part", "slice_from", "slice_to")


@dataclass(frozen=True)
class Inconsistent:
    """How many runs in a row have read these keys, and how many records were counted beside them. `due`: it is to be
    read again. `recent`: so soon that another read proves nothing. `attempts`: how often eBay was asked for a hole in
    vain; 0: it is none. `is_complete`: the last runs together have read as many records as each of them counted.

    `digest` is that of the last read's keys; then, except for a hole, the number that was counted, and the digests of
    the keys of all reads in a row that counted it.
    """

    reason: str
    reads: int
    excess: int
    digest: bytes
    due: bool = False
    recent: bool = False
    attempts: int = 0
    is_complete: bool = False

    @property
    def is_hole(self) -> bool:
        return self.attempts > 0

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
    now, is_hole = func.clock_timestamp(), own.attempts > 0
    due = func.coalesce(own.next_at, own.read_at + CONTRADICTION) <= now
    recent = own.read_at > now - INDEPENDENT
    newest = func.row_number().over(partition_by=(own.api_family, own.part, is_hole), order_by=own.slice_from.desc())
    wanted = own.api_family == any_(cast(list(families), ARRAY(Text)))
    found = (
        select(
            *(own.api_family, own.part, own.slice_from, own.slice_to, own.reason, own.reads, own.excess, own.digest),
            *(own.attempts, due.label("due"), recent.label("recent"), newest.label("newest")),
        )
        .where(own.ebay_account_id == account_id, wanted, own.reads > 0)
        .subquery()
    )
    return await connection.send(select(found).where(found.c.newest <= MOST).order_by(found.c.slice_from))


Known = Mapping[tuple[str, Slice], Inconsistent]
"""The reads of slices, each with its part; the part is empty if the slice is one of the whole window."""


def by_family(rows: Sequence[Any]) -> Mapping[str, Known]:
    """Family to its inconsistent slices, in order of time."""
    found: dict[str, dict[tuple[str, Slice], Inconsistent]] = defaultdict(dict)
    for row in rows:
        kept = bytes(row.digest)
        read = Inconsistent(row.reason, row.reads, row.excess, kept, row.due, row.recent, row.attempts)
        found[row.api_family][row.part, Slice(row.slice_from, row.slice_to)] = read
    return found


async def note(
    connection: Connection, account_id: UUID, family: str, part: str, slice_: Slice, read: Inconsistent
) -> None:
    """Store another read of a slice, and when to ask for a hole again."""
    now = func.clock_timestamp()
    seconds = wait(read.attempts).total_seconds()
    statement = insert(INCONSISTENT_READ).values(
        ebay_account_id=account_id,
        api_family=family,
        part=part,
        slice_from=slice_.start,
        slice_to=slice_.end,
        reason=read.reason,
        digest=read.digest,
        reads=read.reads,
        excess=read.excess,
        attempts=read.attempts,
        # make_interval(years, months, weeks, days, hours, mins, secs)
        next_at=now + func.make_interval(0, 0, 0, 0, 0, 0, seconds) if read.is_hole else None,
    )
    new = {name: statement.excluded[name] for name in ("reason", "digest", "reads", "excess", "attempts", "next_at")}
    # A read that comes too soon to count does not put off the next one that may.
    counted = {} if read.recent else {"read_at": now}
    await connection.send(statement.on_conflict_do_update(index_elements=_KEY, set_=new | counted))


async def settle(connection: Connection, account_id: UUID, family: str, part: str, slices: Iterable[Slice]) -> None:
    """These slices are consistent again."""
    own = INCONSISTENT_READ.c
    for slice_ in slices:
        mine = (own.ebay_account_id == account_id, own.api_family == family, own.part == part)
        # Not deleted: the role that runs may not.
        bounds = (own.slice_from == slice_.start, own.slice_to == slice_.end)
        await connection.send(INCONSISTENT_READ.update().where(*mine, *bounds).values(reads=0))


def wait(attempts: int) -> timedelta:
    """How long to wait before asking for a hole again."""
    doubled: timedelta = HOLE_FIRST * 2 ** min(max(attempts - 1, 0), 20)
    return min(doubled, HOLE_LONGEST)


def read_again(before: Inconsistent | None, keys: Collection[str | bytes], excess: int, reason: str) -> Inconsistent:
    """Count one more run that read a slice; another content starts the count again."""
    now, counted = digest(keys), (len(keys) + excess).to_bytes(_NUMBER, "big")
    seen = {blake2b(_as_bytes(key), digest_size=_KEY_SIZE).digest() for key in keys}
    same, known = False, before.digest if before else b""
    if known[_WHOLE : _WHOLE + _NUMBER] == counted:
        same, earlier = True, known[_WHOLE + _NUMBER :]
        seen |= {earlier[at : at + _KEY_SIZE] for at in range(0, len(earlier), _KEY_SIZE)}
    return Inconsistent(
        reason,
        before.reads + 1 if before and known[:_WHOLE] == now else 1,
        excess,
        now + counted + b"".join(sorted(seen)) if len(seen) <= MOST_KEYS else now,
        # Without an excess, other reasons than the number of records make the slice inconsistent.
        is_complete=same and excess > 0 and len(seen) == len(keys) + excess,
    )


def in_vain(before: Inconsistent | None, keys: Iterable[str | bytes] | None, reason: str) -> Inconsistent:
    """Count one more run that asked for a hole in vain. `keys`: what it brought; None: nothing that may be all."""
    attempts = before.attempts + 1 if before else 1
    if keys is None:
        return Inconsistent(reason, 1, 0, b"", attempts=attempts)
    now = digest(keys)
    if before is None or before.digest != now:
        return Inconsistent(reason, 1, 0, now, attempts=attempts)
    # Its error may last for a while: only reads that are hours apart are independent.
    return Inconsistent(reason, before.reads + (not before.recent), 0, now, recent=before.recent, attempts=attempts)


def _as_bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key
