"""The declaration of a family: how its source is asked and which columns its records fill. Pure: no I/O.

record   an element of a page, as eBay's bytes                         (ebay/… delivers it)
typed    the fields that the columns name, decoded straight from them  (a Decoder, made of the columns)
rows     what goes into each of the family's tables                    (store/merge takes them)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import msgspec

from ebaysync.families.decoder import Decoder, Unusable
from ebaysync.store.payload import storable
from ebaysync.store.table import Row, Stored, Table

Rows = Mapping[str, Sequence[Row]]
"""Table name to rows."""


@dataclass(frozen=True)
class Detail:
    """A second call that completes records.

    `wanted` says for which records of the list (as rows of the family's table) to ask; `current` whether what is
    stored already holds the detail of this version, so that no call is spent on it again. `follows` says of which
    stored records the detail is to be had again with each version, though the list alone does not call for it.
    `open_column` and `final` tell which stored records are not in a final state: they are asked for again in every run.
    """

    wanted: Callable[[Row], bool]
    current: Callable[[Row, Stored], bool]
    follows: Callable[[Row, Stored], bool] | None = None
    open_column: str | None = None
    final: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """What a record is put together from: as the list has it, its detail, and as it is stored; at least one."""

    listed: bytes | None = None
    detail: bytes | None = None
    stored: bytes | None = None

    @property
    def newest(self) -> bytes:
        found = self.detail or self.listed or self.stored
        assert found is not None
        return found


@dataclass(frozen=True)
class Family:
    """One kind of data and how it is kept. `source` names the way it is read (sync/sources).

    `cursor_type`: `window` walks spans of time; `snapshot` reads all there is, and what is gone is marked;
    `rolling` reads all that eBay still shows, and nothing is ever marked as gone.
    `sweep` is the trailing horizon that is read again, round and round, because no filter shows a change.
    `widest` is the widest slice that is asked for; None: EBAYSYNC_MAX_WINDOW_HOURS.
    `mine` says which records of a source are this family's. `recall` says of which records the stored version is
    needed for `compose`, which makes the record to store of its parts. `absent_in` are environments without it.
    """

    name: str
    about: str
    source: str
    calls: str
    """eBay's names of the calls, for people"""
    every_minutes: int
    costs: Mapping[str, float]
    """calls of a usual run by API (ebay/limits), until they are measured"""
    cursor_type: Literal["window", "snapshot", "rolling"]
    scopes: tuple[str, ...]
    tables: tuple[Table, ...]
    first_reach: timedelta | None = None
    furthest_reach: timedelta | None = None
    overlap: timedelta | None = None
    sweep: timedelta | None = None
    widest: timedelta | None = None
    mine: Callable[[bytes], bool] | None = None
    detail: Detail | None = None
    recall: Callable[[Row], bool] | None = None
    compose: Callable[[Parts], bytes] = lambda parts: parts.newest
    normal: tuple[str, ...] = ()
    """columns that a fully normalized record has a value in; the run counts"""
    enrich: str | None = None
    """SQL at the end of a run (:account): columns of this family's table that come from other tables"""
    absent_in: frozenset[str] = frozenset()
    decoders: Mapping[str, Decoder] = field(init=False, repr=False)
    parts: type[msgspec.Struct] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoders", {table.name: Decoder(table) for table in self.tables})
        object.__setattr__(self, "parts", _parts(self.tables))

    @property
    def table(self) -> Table:
        """The table of the records themselves; the others hold their parts."""
        return self.tables[0]

    def key_of(self, raw: bytes) -> str | None:
        """A record's key, as `ebay_events` names it, where the rest of it may be unusable; None: it has none."""
        try:
            return self.decoders[self.table.name].key_of(raw)
        except ValueError:
            return None

    def composed(self, parts: Parts, cleaned: Callable[[bytes], bytes] = lambda raw: raw) -> Rows:
        """The rows of a record that is put together from these, and `cleaned`. Raises Unusable with the reason."""
        try:
            raw = cleaned(self.compose(parts))
        except (ValueError, RecursionError) as error:
            raise Unusable.by(error) from None
        return self.rows(raw)

    def rows(self, raw: bytes) -> Rows:
        """The rows of a record. Raises Unusable with the reason."""
        try:
            raw = storable(raw)
            parts = msgspec.json.decode(raw, type=self.parts)
            found: dict[str, Sequence[Row]] = {}
            for table in self.tables:
                decoder = self.decoders[table.name]
                found[table.name] = [decoder.row(element, raw) for element in _elements(table, raw, parts)]
            return found
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise Unusable.by(error) from None


def _parts(tables: tuple[Table, ...]) -> type[msgspec.Struct]:
    """The lists in a record whose elements are rows of their own, left as bytes."""
    names = tuple(table.each for table in tables if isinstance(table.each, str))
    return msgspec.defstruct("Parts", [(name, list[msgspec.Raw] | None, None) for name in names])


def _elements(table: Table, raw: bytes, parts: msgspec.Struct) -> Sequence[bytes | msgspec.Raw]:
    if table.each is None:
        return (raw,)
    if isinstance(table.each, str):
        return getattr(parts, table.each) or ()
    return table.each(raw)
