"""Turns a record's bytes into rows. Each column has a path to its value in the record.

A path is a chain of eBay's field names with dots between them, for example `pricingSummary.total.value`.

    name[0], name[-1]    the first or last element of a list
    name[field=VALUE]    the first element of a list whose `field` has this value
    one|other            the first of several paths that leads to a value
    ^path                starts at the whole record, for a row made of a part of it

Only the fields that the columns name are decoded, and their types are checked. Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Optional

import msgspec

from ebaysync.store.payload import Unstorable
from ebaysync.store.table import BOOL, INTEGER, NUMERIC, TEXT, TIME, Column, Row, Table

EARLIEST, LATEST = datetime(1995, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
MOST_DIGITS = 40  # digits of an amount
LONGEST_KEY = 500  # characters; PostgreSQL's btree stops at 2,704 bytes


class Unusable(ValueError):
    """A record that cannot become a row. It goes to quarantine with this reason, which is also logged.

    The reason names a field, never its value: anything may stand in the wrong place, even a person's name.
    """

    @classmethod
    def by(cls, error: Exception) -> Unusable:
        """The error's text if it quotes nothing, else only its type."""
        quotes_nothing = isinstance(error, Unusable | Unstorable | msgspec.MsgspecError)
        return cls(str(error) if quotes_nothing else type(error).__name__)


class Decoder:
    """Turns a record's bytes into a row of one table.

    The columns' paths make a msgspec type, so only what the columns need is decoded, and types are checked.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        own = [column for column in table.columns if not column.path.startswith("^")]
        above = [column for column in table.columns if column.path.startswith("^")]
        self._own = _Shape(own)
        self._above = _Shape(above) if above else None

        self._parent: tuple[bytes, dict[str, Any]] = (b"", {})  # of the row before, decoded once for all children
        self._key = _Shape([column for column in own if column.name in table.key])

    def key_of(self, raw: bytes) -> str:
        """The key of a record whose other fields may be unusable. Raises ValueError."""
        row = self._key.read(raw)
        key = self.table.text_key(row)
        if not all(key) or None in row.values():
            raise Unusable("the record has no key")
        return "/".join(key)

    def row(self, raw: bytes | msgspec.Raw, parent: bytes) -> Row:
        """Raises Unusable if a required value is missing or a value cannot be stored."""
        row = self._own.read(raw)
        if self._above:
            if parent is not self._parent[0]:
                self._parent = (parent, self._above.read(parent))
            row |= self._parent[1]
        for column in self.table.columns:
            if column.derived:
                row[column.name] = column.derived(row)
        for name in self.table.key:
            if not 1 <= len(str(row[name] or "")) <= LONGEST_KEY:
                raise Unusable(f"{name}: a key must have 1 to {LONGEST_KEY} characters")
        row["raw_payload"] = _without(raw, self.table.columns_only) if self.table.columns_only else msgspec.Raw(raw)
        return row


def _without(raw: bytes | msgspec.Raw, names: Sequence[str]) -> msgspec.Raw:
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if not any(name in fields for name in names):
        return msgspec.Raw(raw)
    return msgspec.Raw(msgspec.json.encode({name: value for name, value in fields.items() if name not in names}))


_TYPES: dict[str, Any] = {
    TEXT: str | int,  # eBay writes some ids as numbers
    TIME: Annotated[datetime, msgspec.Meta(tz=True)],
    NUMERIC: Decimal,
    BOOL: bool | str,  # XML has only text
    INTEGER: int | str,
}

Selector = int | tuple[str, str] | None
"""One step of a path: a list's first element (0), its last (-1), the first with that field and value, or no list."""
Way = Sequence[tuple[str, Selector]]
"""The attributes of the decoded record that lead to a value."""


class _Node:
    """A field of a record: a column's value, or an object or list with fields of its own."""

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.column: Column | None = None
        self.is_list = False


class _Shape:
    """A msgspec type for a set of columns, and the path to each value."""

    def __init__(self, columns: Sequence[Column]) -> None:
        paths = [(column, [_steps(path) for path in column.path.split("|")]) for column in columns]
        root = _Node()
        for column, ways in paths:
            for steps in ways:
                _grow(root, steps, column)
        self.columns = [(column, [_way(steps) for steps in ways]) for column, ways in paths]
        self.type = _struct(root)

    def read(self, raw: bytes | msgspec.Raw) -> dict[str, Any]:
        record = msgspec.json.decode(raw, type=self.type)
        return {column.name: _checked(column, _first(record, ways)) for column, ways in self.columns}


_STEP = re.compile(r"([^\[\]]+)(?:\[(?:(0|-1)|(\w+)=(\w+))\])?")


def _steps(path: str) -> list[tuple[str, Selector]]:
    steps: list[tuple[str, Selector]] = []
    for part in path.removeprefix("^").split("."):
        found = _STEP.fullmatch(part)
        assert found, path
        steps.append((found[1], int(found[2]) if found[2] else (found[3], found[4]) if found[3] else None))
    return steps


def _grow(node: _Node, steps: Sequence[tuple[str, Selector]], column: Column) -> None:
    for name, selector in steps:
        node = node.below.setdefault(name, _Node())
        if selector is not None:
            node.is_list = True
        if isinstance(selector, tuple):
            node.below.setdefault(selector[0], _Node()).column = Column(selector[0])
    node.column = column


def _struct(node: _Node) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any]] = []
    required: list[tuple[str, Any]] = []
    names: dict[str, str] = {}
    for name, below in node.below.items():
        attribute = _attribute(name)
        names[attribute] = name
        column = below.column
        kind = _TYPES[column.type] if column else _struct(below)
        if column and column.required and "|" not in column.path:
            required.append((attribute, kind))
        else:
            optional: Any = Optional[kind]  # noqa: UP045 - made at run time
            fields.append((attribute, Optional[list[optional]] if below.is_list else optional, None))  # noqa: UP045
    return msgspec.defstruct("Record", [*required, *fields], rename=names, frozen=True)


def _attribute(name: str) -> str:
    return re.sub(r"\W", "_", f"f_{name}")


def _way(steps: Sequence[tuple[str, Selector]]) -> Way:
    return [
        (_attribute(name), (_attribute(selector[0]), selector[1]) if isinstance(selector, tuple) else selector)
        for name, selector in steps
    ]


def _first(record: Any, ways: Sequence[Way]) -> Any:
    for way in ways:
        if (value := _follow(record, way)) is not None:
            return value
    return None


def _follow(record: Any, way: Way) -> Any:
    for name, selector in way:
        record = getattr(record, name)
        if selector is not None and record is not None:
            record = _selected(record, selector)
        if record is None:
            return None
    return record


def _selected(elements: Sequence[Any], selector: int | tuple[str, str]) -> Any:
    if isinstance(selector, int):
        return elements[selector] if elements else None
    name, value = selector
    return next((each for each in elements if each is not None and str(getattr(each, name)) == value), None)


def _is_amount(value: Decimal) -> bool:
    """PostgreSQL would store 1e9999 as ten thousand digits, which no client can read back."""
    return value.is_finite() and abs(value.adjusted()) < MOST_DIGITS and len(value.as_tuple().digits) <= MOST_DIGITS


def _truth(column: Column, value: str) -> bool:
    """XML Schema's boolean."""
    if value not in ("true", "false", "1", "0"):
        raise Unusable(f"{column.path}: neither true nor false")
    return value in ("true", "1")


def _whole(column: Column, value: int | str) -> int:
    try:
        number = int(value)
    except ValueError:  # its text quotes the value
        raise Unusable(f"{column.path}: not a whole number") from None
    if not -(2**63) <= number < 2**63:
        raise Unusable(f"{column.path}: out of range")
    return number


def _checked(column: Column, value: Any) -> Any:
    """Refuse what PostgreSQL stores but no eBay record can mean."""
    if value is None:
        if column.required:
            raise Unusable(f"{column.path}: missing")
        return None
    if column.type == TEXT and isinstance(value, int):
        return str(value)
    if column.type == BOOL and isinstance(value, str):
        return _truth(column, value)
    if column.type == INTEGER:
        return _whole(column, value)
    if isinstance(value, Decimal) and not _is_amount(value):
        raise Unusable(f"{column.path}: not an amount")
    if isinstance(value, datetime) and not EARLIEST <= value <= LATEST:
        raise Unusable(f"{column.path}: an impossible time")
    return value
