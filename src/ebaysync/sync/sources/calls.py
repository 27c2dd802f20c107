"""The interface of a source: a window's pages, or a scan, and the details of records."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from zlib import crc32

import msgspec

from ebaysync.sync.scan import ScanPage
from ebaysync.sync.slices import Page, Slice
from ebaysync.sync.state.pending_details import Pending

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Scanned = Mapping[str, ScanPage]
"""The result of a scan, by family."""


@dataclass(frozen=True)
class Parts:
    """Parts of a source's windows that can be read alone, such as message folders. `apart` ones are left out of the
    windows, since eBay did not answer them."""

    ask: Callable[[str, Slice, int], Awaitable[Page]]
    apart: set[str] = field(default_factory=set)


class Glance(Protocol):
    """Tells by one cheap call whether anything may have changed. `remembered` is a JSON object."""

    async def nothing_new(self, remembered: Mapping[str, Any], cursor: datetime | None) -> bool:
        """Whether what eBay counts is what it counted when all of it had been read. `cursor`: how far the records have
        been read; None: something may be missing. Raises EbayError."""

    def remembered(self, read_until: datetime | None, inserted: int) -> Mapping[str, Any]:
        """Returns what to remember after a run that has read all records up to this time (None: not all of them, or
        none), and has found so many new ones."""


@dataclass
class Turns:
    """Chooses the parts of a long scan that a run reads: those of which something has changed, and the others in turn,
    each once in a round. `since`: when the last complete scan began; None: all parts are read. `takes`: how long a
    round takes. `changed`: parts that this run has found new or changed."""

    since: datetime | None = None
    now: datetime = datetime.min.replace(tzinfo=UTC)
    takes: timedelta = timedelta(days=1)
    changed: set[str] = field(default_factory=set)

    def in_turn(self, part: str) -> bool:
        """Whether the part's time in the round has come since the last scan. Each has its own, so none is left out
        however irregular the runs are."""
        if self.since is None:
            return True
        own = self.takes * (crc32(part.encode()) / 2**32)
        return (self.now - own - EPOCH) // self.takes > (self.since - own - EPOCH) // self.takes


@dataclass(frozen=True)
class Calls:
    """`ask` returns a page of a window. `scan` reads everything for some of the families, without the parts that are
    pending and wait for their next try; a second scan in the same run may leave out calls whose answers cannot differ.

    details: fetches records by their keys. details_per_call: keys per call. details_at_once: details that are stored
    together, 0 for the usual number. in_future: the errorId for a window that ends after eBay's now. open_list: the
    first page of the records that are open, however old. turns: set before a scan.
    """

    ask: Callable[[Slice, int], Awaitable[Page]] | None = None
    scan: Callable[[Collection[str], Mapping[str, Pending]], AsyncGenerator[Scanned]] | None = None
    page_size: int = 200
    details: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]] | None = None
    details_per_call: int = 1
    details_at_once: int = 0
    in_future: int | None = None
    parts: Parts | None = None
    open_list: Callable[[], Awaitable[Page]] | None = None
    turns: Turns | None = None
    glance: Glance | None = None


def one_by_one(detail: Callable[[str], Awaitable[bytes]]) -> Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]:
    """Details from a call that returns one record."""

    async def details(keys: Sequence[str]) -> Mapping[str, bytes]:
        return {key: await detail(key) for key in keys}

    return details


def id_reader(field: str) -> Callable[[bytes], str | None]:
    """A function that reads a record's id from this field; None if there is no readable one."""
    # A struct of one field: everything else of the record is skipped, not built.
    decoder = msgspec.json.Decoder(msgspec.defstruct("WithId", [("id", str, msgspec.field(name=field))]))

    def read(record: bytes) -> str | None:
        try:
            found: str = msgspec.structs.astuple(decoder.decode(record))[0]
        except (ValueError, RecursionError):
            return None
        return found

    return read


def as_bytes(records: Sequence[msgspec.Raw] | None) -> tuple[bytes, ...]:
    return tuple(bytes(record) for record in records or ())
