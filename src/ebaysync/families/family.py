"""The declaration of a family: how it is read, and which tables its records fill. Pure: no I/O.

record    an element of a page, as eBay's bytes (from ebay/…)
row       the fields that the columns name, decoded from it (by a Decoder, made of the columns)
Rows      the rows of each of the family's tables (for store/merge)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

import msgspec

from ebaysync.families.decoder import Decoder, Notes, Unusable
from ebaysync.store.payload import storable
from ebaysync.store.table import Row, Stored, Table

Rows = Mapping[str, Sequence[Row]]
"""Table name to rows."""

AGE, AGE_IF_DUE = timedelta(hours=24), timedelta(hours=6)
"""of the detail of a record that is not final, after which it is read again"""
PLENTY = 1 / 12
"""of the declared time, in which the sweep comes round where calls are plenty"""


@dataclass(frozen=True)
class WindowSpec:
    """How far back a family is read, and in which spans. None stands for the general setting, or for no limit.

    `sweep` is the trailing horizon that is read again, because no filter shows a change there.
    """

    column: str | None = None
    """the column of the record's table whose time eBay's window filters; None: the source compares it itself"""
    first_reach: timedelta | None = None
    """how far the first run goes back; None: EBAYSYNC_INITIAL_BACKFILL_DAYS"""
    furthest_reach: timedelta | None = None
    """how far back eBay answers at all"""
    overlap: timedelta | None = None
    """None: EBAYSYNC_OVERLAP_MINUTES"""
    sweep: timedelta | None = None
    seen_within: timedelta = timedelta(hours=24)
    """the declared bound: how soon the sweep shows a change, unless a quota is short"""
    widest: timedelta | None = None
    """the widest slice to ask for; None: EBAYSYNC_MAX_WINDOW_HOURS"""


@dataclass(frozen=True)
class DetailSpec:
    """A second call that completes records. All functions take rows of the family's table.

    needed             whether a listed record needs its detail
    is_current         whether the stored record already has the detail of this version, so that no call is needed
    refetch_on_change  whether a stored record's detail is fetched with each new version, although the list alone does
                       not ask for it
    open_column        a stored record whose value here is not in `final` is fetched again: when the list shows a
                       change, when a time in it has passed, and at the latest at the age AGE, or AGE_IF_DUE where
                       `seller_must_act`
    born_column        when such a record came into being, by which the list is searched
    api                the API of the call by id (ebay/limits)
    """

    needed: Callable[[Row], bool]
    is_current: Callable[[Row, Stored], bool]
    refetch_on_change: Callable[[Row, Stored], bool] | None = None
    open_column: str | None = None
    final: tuple[str, ...] = ()
    seller_must_act: Callable[[Row], bool] = lambda row: False
    born_column: str = ""
    api: str = ""


@dataclass(frozen=True)
class RecordVersions:
    """The versions of a record that are at hand, at least one: as listed, its detail, and as stored."""

    listed: bytes | None = None
    detail: bytes | None = None
    stored: bytes | None = None

    @property
    def newest(self) -> bytes:
        found = self.detail or self.listed or self.stored
        assert found is not None
        return found


@dataclass(frozen=True)
class MergeSpec:
    """How a record is put together from its versions."""

    needs_stored: Callable[[Row], bool] | None = None
    """whether `compose` needs the stored version of a listed record"""
    compose: Callable[[RecordVersions], bytes] = lambda versions: versions.newest
    enrich: str | None = None
    """SQL at the end of a run (:account): fills columns of this family's table from other tables"""


@dataclass(frozen=True)
class Family:
    """One kind of data: which source it is read from, when, and which tables it fills.

    `cursor_type` is `window` (spans of time), `snapshot` (everything; what is missing is marked as removed) or
    `rolling` (everything that eBay still shows; nothing is ever marked as removed).
    """

    name: str
    about: str
    source: str
    """the module in sync/sources"""
    calls: str
    """eBay's names of the calls, for people"""
    every_minutes: int
    quiet_minutes: int
    """where a quota is short: the longest interval of an account that has had nothing new for long"""
    costs: Mapping[str, float]
    """calls of a usual run by API (ebay/limits), until they have been measured"""
    cursor_type: Literal["window", "snapshot", "rolling"]
    scopes: tuple[str, ...]
    tables: tuple[Table, ...]
    """the table of the records, then those of their children"""
    window: WindowSpec = WindowSpec()
    detail: DetailSpec | None = None
    merge: MergeSpec = MergeSpec()
    own_records: Callable[[bytes], bool] | None = None
    """whether a record of the source, as bytes, is this family's; None: all are.

    False for a record that cannot be read: the family that reads all records reports it.
    """
    normal: tuple[str, ...] = ()
    """columns that have a value in a fully normalized record; a run counts the others"""
    part_column: str | None = None
    """a snapshot whose records come with a call for each value of this column (offers: the SKU); a value whose call
    fails is asked for again like a detail"""
    absent_in: frozenset[str] = frozenset()
    """environments that do not have it"""
    decoders: Mapping[str, Decoder] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoders", {table.name: Decoder(table) for table in self.tables})

    @property
    def table(self) -> Table:
        """The table of the records; the others hold their children."""
        return self.tables[0]

    def key_of(self, raw: bytes) -> str | None:
        """A record's key as `ebay_events` shows it, even if its other fields are unusable. None: it has no key."""
        try:
            return self.decoders[self.table.name].key_of(raw)
        except (ValueError, RecursionError):
            return None

    def head_of(self, raw: bytes) -> tuple[str | None, datetime | None]:
        """A record's key with what tells it apart from others of the same key (Table.twins), and the time by which
        eBay's window filters. None: it has none."""
        try:
            return self.decoders[self.table.name].head_of(raw, self.window.column)
        except (ValueError, RecursionError):
            return None, None

    def renamed(self, rows: Rows, key: Mapping[str, Any]) -> Rows:
        """The rows of a record, and of its children, under another key than its own."""
        found = {self.table.name: [{**row, **key} for row in rows[self.table.name]]}
        for table in self.tables[1:]:
            own = {name: key[of] for name, of in zip(table.parent_key, self.table.key, strict=True)}
            found[table.name] = [{**row, **own} for row in rows[table.name]]
        return found

    def composed(
        self,
        versions: RecordVersions,
        cleaned: Callable[[bytes], bytes] = lambda raw: raw,
        notes: Notes | None = None,
    ) -> Rows:
        """The rows of the record that is composed of these versions and `cleaned`. Raises Unusable."""
        try:
            raw = cleaned(self.merge.compose(versions))
        except (ValueError, RecursionError) as error:
            raise Unusable.by(error) from None
        return self.rows(raw, notes)

    def rows(self, raw: bytes, notes: Notes | None = None) -> Rows:
        """The rows of a record. Its oddities go to `notes`. Raises Unusable: no key, or no time that the
        cursor or the version needs."""
        notes = Notes() if notes is None else notes
        try:
            raw = storable(raw)
            found: dict[str, Sequence[Row]] = {self.table.name: [self.decoders[self.table.name].row(raw, notes)]}
            for table in self.tables[1:]:
                found[table.name] = self.decoders[table.name].children(_children(table, raw, notes), raw, notes)
            return found
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise Unusable.by(error) from None


def _children(table: Table, raw: bytes, notes: Notes) -> Sequence[bytes | msgspec.Raw]:
    """The elements of a record that become rows of a child table. None of them if their list cannot be read."""
    try:
        if callable(table.each):
            return table.each(raw)
        assert table.each
        return _lists(table.each)(raw).elements or ()
    except ValueError:
        notes.add(table.each if isinstance(table.each, str) else table.name, "not a list of objects")
        notes.unsure.add(table.name)
        return ()


@cache
def _lists(name: str) -> Callable[[bytes], Any]:
    """Decodes one list of a record, its elements left as bytes."""
    fields = [("elements", list[msgspec.Raw] | None, None)]
    return msgspec.json.Decoder(msgspec.defstruct("Children", fields, rename={"elements": name})).decode
