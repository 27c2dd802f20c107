"""What a family is: a declaration of how its source is asked and which columns its records fill. Pure: no I/O.

record   an element of a page, as eBay's bytes                         (ebay/… delivers it)
typed    the fields that the columns name, decoded straight from them  (a Decoder, made of the columns)
rows     what goes into each of the family's tables                    (store/merge takes them)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional

import msgspec

from ebaysync.store.payload import storable
from ebaysync.store.table import BOOL, INTEGER, NUMERIC, TEXT, TIME, Column, Row, Table

EARLIEST, LATEST = datetime(1995, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
MOST_DIGITS = 40  # of an amount
LONGEST_KEY = 500  # characters; PostgreSQL's btree stops at 2,704 bytes

Rows = Mapping[str, Sequence[Row]]
"""Table name to rows."""


class Unusable(ValueError):
    """A record that cannot become a row: it goes to quarantine with this reason."""


@dataclass(frozen=True)
class Detail:
    """A second call that completes some records of a list.

    `wanted` says for which records of the list (as rows of the family's table) to ask; `current` whether the
    stored raw payload already is that detail of this version, so that no call is spent on it again.
    """

    wanted: Callable[[Row], bool]
    current: Callable[[Row, bytes], bool]


@dataclass(frozen=True)
class Family:
    """One kind of data and how it is kept. `source` names the way it is read (sync/sources)."""

    name: str
    about: str
    source: str
    every_minutes: int
    cursor_type: Literal["window", "snapshot"]
    scopes: tuple[str, ...]
    tables: tuple[Table, ...]
    first_reach: timedelta | None = None
    furthest_reach: timedelta | None = None
    overlap: timedelta | None = None
    detail: Detail | None = None
    keep_when: Callable[[Row], bool] | None = None
    keep: Callable[[bytes, bytes], bytes] | None = None
    decoders: Mapping[str, Decoder] = field(init=False, repr=False)
    parts: type[msgspec.Struct] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoders", {table.name: Decoder(table) for table in self.tables})
        object.__setattr__(self, "parts", _parts(self.tables))

    @property
    def table(self) -> Table:
        """The table of the records themselves; the others hold their parts."""
        return self.tables[0]

    def rows(self, raw: bytes) -> Rows:
        """The rows of a record. Raises Unusable with the reason."""
        try:
            raw = storable(raw)
            parts = msgspec.json.decode(raw, type=self.parts)
            found: dict[str, Sequence[Row]] = {}
            for table in self.tables:
                decoder = self.decoders[table.name]
                elements = (raw,) if table.each is None else getattr(parts, table.each) or ()
                found[table.name] = [decoder.row(element, raw) for element in elements]
            return found
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise Unusable(str(error) or type(error).__name__) from None


def _parts(tables: tuple[Table, ...]) -> type[msgspec.Struct]:
    """The lists in a record whose elements are rows of their own, left as bytes."""
    names = tuple(table.each for table in tables if table.each)
    return msgspec.defstruct("Parts", [(name, list[msgspec.Raw] | None, None) for name in names])


class Decoder:
    """Turns a record's bytes into a row of one table: the columns' paths make a msgspec type, so that only what
    the columns need is decoded, with its type checked."""

    def __init__(self, table: Table) -> None:
        self.table = table
        own = [column for column in table.columns if not column.path.startswith("^")]
        above = [column for column in table.columns if column.path.startswith("^")]
        self._own = _Shape(own)
        self._above = _Shape(above) if above else None

    def row(self, raw: bytes | msgspec.Raw, parent: bytes) -> Row:
        row = self._own.read(raw)
        if self._above:
            row |= self._above.read(parent)
        for name in self.table.key:
            if not 1 <= len(str(row[name] or "")) <= LONGEST_KEY:
                raise Unusable(f"{name}: a key must have 1 to {LONGEST_KEY} characters")
        row["raw_payload"] = msgspec.Raw(raw)
        return row


_TYPES: dict[str, Any] = {
    TEXT: str | int,  # eBay writes some ids as numbers
    TIME: Annotated[datetime, msgspec.Meta(tz=True)],
    NUMERIC: Decimal,
    BOOL: bool,
    INTEGER: int | str,
}


class _Shape:
    """A msgspec type for a set of columns, and the way from it to each value."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = [(column, _steps(column.path)) for column in columns]
        tree: dict[str, Any] = {}
        for column, steps in self.columns:
            node = tree
            for name, is_list in steps[:-1]:
                node = node.setdefault((name, is_list), {})  # type: ignore[call-overload]
            node[steps[-1]] = column  # type: ignore[index]
        self.type = _struct(tree)

    def read(self, raw: bytes | msgspec.Raw) -> dict[str, Any]:
        record = msgspec.json.decode(raw, type=self.type)
        return {column.name: _checked(column, _follow(record, steps)) for column, steps in self.columns}


def _steps(path: str) -> list[tuple[str, bool]]:
    return [(part.removesuffix("[0]"), part.endswith("[0]")) for part in path.removeprefix("^").split(".")]


def _struct(tree: Mapping[Any, Any]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any]] = []
    required: list[tuple[str, Any]] = []
    names: dict[str, str] = {}
    for (name, is_list), below in tree.items():
        attribute = _attribute(name)
        names[attribute] = name
        kind = _TYPES[below.type] if isinstance(below, Column) else _struct(below)
        if isinstance(below, Column) and below.required:
            required.append((attribute, kind))
        else:
            optional: Any = Optional[kind]  # noqa: UP045 - made at run time
            fields.append((attribute, Optional[list[optional]] if is_list else optional, None))  # noqa: UP045
    return msgspec.defstruct("Record", [*required, *fields], rename=names, frozen=True)


def _attribute(name: str) -> str:
    return re.sub(r"\W", "_", f"f_{name}")


def _follow(record: Any, steps: Sequence[tuple[str, bool]]) -> Any:
    for name, is_list in steps:
        record = getattr(record, _attribute(name))
        if is_list and record is not None:
            record = record[0] if record else None
        if record is None:
            return None
    return record


def _is_amount(value: Decimal) -> bool:
    """PostgreSQL would store 1e9999 as ten thousand digits, which no reader gets back."""
    return value.is_finite() and abs(value.adjusted()) < MOST_DIGITS and len(value.as_tuple().digits) <= MOST_DIGITS


def _whole(column: Column, value: int | str) -> int:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise Unusable(f"{column.path}: {str(value)[:40]} is out of range")
    return number


def _checked(column: Column, value: Any) -> Any:
    """Refuses what PostgreSQL stores but no eBay record can mean."""
    if column.type == TEXT and isinstance(value, int):
        return str(value)
    if column.type == INTEGER and value is not None:
        return _whole(column, value)
    if isinstance(value, Decimal) and not _is_amount(value):
        raise Unusable(f"{column.path}: {str(value)[:40]} is not an amount")
    if isinstance(value, datetime) and not EARLIEST <= value <= LATEST:
        raise Unusable(f"{column.path}: an impossible time, {value.isoformat()}")
    return value
