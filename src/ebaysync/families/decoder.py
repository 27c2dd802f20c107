"""Turns a record's bytes into rows. Each column has a path to its value in the record.

A path is a chain of eBay's field names with dots between them, for example `pricingSummary.total.value`.

    name[0], name[-1]    the first or last element of a list
    name[field=VALUE]    the first element of a list whose `field` has this value
    one|other            the first of several paths that leads to a value
    ^path                starts at the whole record, for a row made of a part of it

Only the fields that the columns name are decoded, and their types are checked. One impossible value costs one column:
it becomes None, and a note says which field and why. Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from operator import attrgetter
from typing import Annotated, Any, Optional

import msgspec

from ebaysync.store.payload import Unstorable
from ebaysync.store.table import BOOL, INTEGER, NUMERIC, TEXT, TIME, Column, Row, Table

# PostgreSQL stores years that Python cannot read back. eBay began in 1995.
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


class Impossible(ValueError):
    """A value that no column can hold or no eBay record can mean. The message is a reason that quotes nothing."""


@dataclass
class Notes:
    """Oddities of a record that do not keep it from being stored.

    fields: pairs of a field and a reason. unsure: tables of children of which one could not be read, so that nobody
    knows which of the stored ones are missing.
    """

    fields: dict[tuple[str, str], None] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)

    def add(self, name: str, reason: str) -> None:
        self.fields[name, reason] = None


class Decoder:
    """Turns a record's bytes into a row of one table.

    The columns' paths make a msgspec type, so only what the columns need is decoded, and types are checked.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._own_columns = [column for column in table.columns if not column.path.startswith("^")]
        self._times: dict[str, _Shape] = {}
        self._heads: dict[str | None, _Shape] = {}

    # A shape takes a hundred times as long to make as to use, and many commands decode nothing.

    @cached_property
    def _own(self) -> _Shape:
        return _Shape(self._own_columns, f"{self.table.name}." if self.table.each else "")

    @cached_property
    def _above(self) -> _Shape | None:
        above = [column for column in self.table.columns if column.path.startswith("^")]
        return _Shape(above) if above else None

    @cached_property
    def _key(self) -> _Shape:
        return _Shape([column for column in self._own_columns if column.name in self.table.key])

    @cached_property
    def _apart(self) -> _Shape:
        twins = self.table.twins.columns if self.table.twins else ()
        return _Shape([column for column in self._own_columns if column.name in twins])

    def make(self) -> None:
        """Make the shapes now, except those of single times."""
        _ = self._own, self._above, self._key, self._apart

    def key_of(self, raw: bytes) -> str:
        """The key of a record whose other fields may be unusable. Raises ValueError."""
        return self._checked_key(self._key.read(raw, Notes()))

    def _checked_key(self, row: Row) -> str:
        key = ["" if row[name] is None else str(row[name]) for name in self.table.key if name in row]
        if not all(key):
            raise Unusable("the record has no key")
        return "/".join(key)

    def time_of(self, raw: bytes, column: str) -> datetime | None:
        """A time in a record whose other fields may be unusable. None: it cannot be read."""
        if column not in self._times:
            self._times[column] = _Shape([each for each in self.table.columns if each.name == column])
        try:
            found = self._times[column].read(raw, Notes())[column]
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, datetime) else None

    def head_of(self, raw: bytes, column: str | None) -> tuple[str, datetime | None]:
        """A record's identity (its key, with the columns that tell twins apart) and a time in it. Raises ValueError if
        it has no key."""
        apart = self.table.twins.columns if self.table.twins else ()
        if column not in self._heads:
            wanted = {*self.table.key, *apart, column}
            self._heads[column] = _Shape([each for each in self._own_columns if each.name in wanted])
        try:
            row = self._heads[column].read(raw, Notes())
            key, time = self._checked_key(row), row[column] if column else None
        except (ValueError, RecursionError):  # the time may be unusable, and the key not
            key, time, row = self.key_of(raw), self.time_of(raw, column) if column else None, {}
            if apart:
                row = self._apart.read(raw, Notes())
        return f"{key} {[row[name] for name in apart]}" if apart else key, time

    def row(self, raw: bytes, notes: Notes | None = None) -> Row:
        """The row of a record. Raises Unusable if a required value is missing or impossible."""
        notes = notes or Notes()
        return self._row(raw, self._whole(raw, notes), notes)

    def children(self, elements: Iterable[bytes | msgspec.Raw], record: bytes, notes: Notes) -> list[Row]:
        """The rows of a record's parts. One that cannot be stored is left out and noted."""
        whole = self._whole(record, notes)  # decoded once: an order may have thousands of line items
        rows: dict[tuple[Any, ...], Row] = {}
        for element in elements:
            try:
                row = self._row(element, whole, notes)
            except (ValueError, RecursionError) as error:
                notes.add(self.table.name, f"left out: {Unusable.by(error)}")
                notes.unsure.add(self.table.name)
                continue
            # One statement cannot upsert a key twice, so the first one stays.
            before = rows.setdefault(self.table.key_of(row), row)
            if bytes(before["raw_payload"]) != bytes(row["raw_payload"]):
                notes.add(self.table.name, "left out: another one has the same key")
        return list(rows.values())

    def _whole(self, record: bytes, notes: Notes) -> dict[str, Any]:
        """The values that come from the whole record. Their oddities are noted with the record's own row.

        A long text is left out: each part would repeat it, and thousands of parts make gigabytes of a megabyte.
        """
        found = self._above.read(record, Notes()) if self._above else {}
        for name, value in found.items():
            if name not in self.table.key and isinstance(value, str) and len(value) > LONGEST_KEY:
                found[name] = None
                notes.add(f"{self.table.name}.{name}", f"left out: more than {LONGEST_KEY} characters in each part")
        return found

    def _row(self, raw: bytes | msgspec.Raw, whole: dict[str, Any], notes: Notes) -> Row:
        row = self._own.read(raw, notes)
        row.update(whole)
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
Steps = Sequence[tuple[str, Selector]]
Way = Sequence[tuple[str, Any]]
"""The attributes of the decoded record that lead to a value."""


class _Node:
    """A field of a record: a column's value, or an object or list with fields of its own."""

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.column: Column | None = None
        self.is_list = False


class _Shape:
    """A msgspec type for a set of columns, and the path to each value. `prefix` stands before the fields in notes.

    An object that eBay left out is an empty one, so one attrgetter finds the values of all columns, several times
    faster than Python code could.
    """

    def __init__(self, columns: Sequence[Column], prefix: str = "") -> None:
        self._prefix = prefix
        self._paths = [(column, [_steps(path) for path in column.path.split("|")]) for column in columns]
        root = _Node()
        for column, ways in self._paths:
            for steps in ways:
                _grow(root, steps, column)
        self._decode = msgspec.json.Decoder(_struct(root)).decode
        self._groups: list[tuple[Way, list[str], Callable[[Any], Sequence[Any]]]] = []
        """columns whose paths begin alike: up to the last selector, their names, and how to get them from there"""
        self._alternatives: list[tuple[str, list[Way]]] = []
        groups: dict[tuple[tuple[str, Selector], ...], dict[str, str]] = {}
        for column, ways in self._paths:
            at = max((number for number, (_, selector) in enumerate(ways[0], 1) if selector is not None), default=0)
            if len(ways) > 1 or at == len(ways[0]):
                self._alternatives.append((column.name, [_way(steps) for steps in ways]))
            else:
                rest = ".".join(_attribute(name) for name, _ in ways[0][at:])
                groups.setdefault(tuple(ways[0][:at]), {})[column.name] = rest
        for begin, rests in groups.items():
            self._groups.append((_way(begin), list(rests), _getter(list(rests.values()))))
        self._texts = [column.name for column in columns if column.type == TEXT and not column.is_currency]
        self._others = [(column.name, _conversion(column)) for column in columns if column.name not in self._texts]
        self._required = [column.name for column in columns if column.required]

    def read(self, raw: bytes | msgspec.Raw, notes: Notes) -> dict[str, Any]:
        """The value of each column, None where it is impossible. Raises ValueError if a required one is impossible, or
        if this is not an object."""
        try:
            return self._read(self._decode(raw))
        # AttributeError: null in the place of an object
        except (msgspec.ValidationError, Impossible, AttributeError):
            # Rare, so it may be slow: decoded again without types, to find the values that are impossible.
            return self._read_one_by_one(raw, notes)

    def _read(self, record: Any) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for begin, names, getter in self._groups:
            element = _follow(record, begin)
            row.update(dict.fromkeys(names) if element is None else zip(names, getter(element), strict=True))
        for name, ways in self._alternatives:
            row[name] = _first(record, ways)
        for name in self._texts:
            value = row[name]
            if value.__class__ is not str and value is not None:
                row[name] = _text(value)
        for name, conversion in self._others:
            if (value := row[name]) is not None:
                row[name] = conversion(value)
        for name in self._required:
            if row[name] is None:
                raise Impossible("missing")
        return row

    def _read_one_by_one(self, raw: bytes | msgspec.Raw, notes: Notes) -> dict[str, Any]:
        record = _untyped(raw)
        found: dict[str, Any] = {}
        for column, ways in self._paths:
            found[column.name], problem = _possible(column, record, ways)
            if problem:
                notes.add(self._prefix + problem[0], problem[1])
        return found


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
        # With several paths, the value may be missing at each single one.
        if column and column.required and "|" not in column.path:
            required.append((attribute, kind))
        else:
            optional: Any = Optional[kind]  # noqa: UP045 - made at run time
            if below.is_list:
                fields.append((attribute, Optional[list[optional]], None))  # noqa: UP045
            else:
                fields.append((attribute, optional, None if column else _empty(kind)))
    return msgspec.defstruct("Record", [*required, *fields], rename=names, frozen=True)


def _getter(paths: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """Returns the values at these dotted paths."""
    if len(paths) > 1:
        return attrgetter(*paths)
    return lambda record: [attrgetter(path)(record) for path in paths]


def _empty(kind: type[msgspec.Struct]) -> msgspec.Struct | None:
    """The object that stands for one that eBay left out; None if it has required fields."""
    required = any(each.required for each in msgspec.structs.fields(kind))
    return None if required else kind()


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


# Decimal: as a float, an amount would change its last digits.
_untyped = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


def _possible(column: Column, record: Any, ways: Sequence[Steps]) -> tuple[Any, tuple[str, str] | None]:
    """The first possible value, by the same paths in a record without types; None with the field that is in the way,
    and the reason. Raises Unusable."""
    problem: tuple[str, str] | None = None
    for steps in ways:
        try:
            value = _reached(record, steps)
            if value is not None:
                return _converted(column, value), None
        except _NotThere as error:
            problem = problem or (error.place, str(error))
        except Impossible as error:
            problem = problem or (column.name, str(error))
    if column.required:
        raise Unusable(f"{column.path}: {problem[1] if problem else 'missing'}")
    return None, problem


class _NotThere(ValueError):
    """On the way to a value something else stands in the place of an object or a list."""

    def __init__(self, steps: Steps, wanted: str) -> None:
        super().__init__(f"not {wanted}")
        self.place = ".".join(name for name, _ in steps)


def _reached(node: Any, steps: Steps) -> Any:
    for number, (name, selector) in enumerate(steps):
        if not isinstance(node, dict):
            raise _NotThere(steps[:number], "an object")
        node = node.get(name)
        if selector is not None and node is not None:
            if not isinstance(node, list):
                raise _NotThere(steps[: number + 1], "a list")
            node = _element(node, selector)
        if node is None:
            return None
    return node


def _element(elements: Sequence[Any], selector: int | tuple[str, str]) -> Any:
    if isinstance(selector, int):
        return elements[selector] if elements else None
    name, value = selector
    return next((each for each in elements if isinstance(each, dict) and str(each.get(name)) == value), None)


def _converted(column: Column, value: Any) -> Any:
    """The column's value. Raises Impossible."""
    return _conversion(column)(value)


def _conversion(column: Column) -> Callable[[Any], Any]:
    return _CONVERSIONS[CURRENCY if column.is_currency else column.type]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Impossible("not a text")


def _currency(value: Any) -> str:
    if not (isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha() and value.isupper()):
        raise Impossible("not a currency")
    return value


def _time(value: Any) -> datetime:
    if not isinstance(value, datetime):
        try:
            value = msgspec.convert(value, _TYPES[TIME])
        except msgspec.ValidationError:
            raise Impossible("a time without a zone" if _is_local(value) else "not a time") from None
    if not EARLIEST <= value <= LATEST:
        raise Impossible("an impossible time")
    found: datetime = value
    return found


def _is_local(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is None
    except (TypeError, ValueError):
        return False


# ASCII: otherwise the digits of all alphabets would pass, for Decimal as well.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _number(value: Any) -> Decimal:
    # Almost every value. Counting its digits would take ten times as long.
    if (
        value.__class__ is Decimal
        and value.is_finite()
        and abs(value.adjusted()) < MOST_DIGITS
        and len(str(value)) < MOST_DIGITS
    ):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        try:
            value = Decimal(value)
        except InvalidOperation:  # its exponent has too many digits
            raise Impossible("out of range") from None
    elif isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal) or not value.is_finite():
        raise Impossible("empty" if value == "" else "not a number")
    # PostgreSQL would store 1e9999 as ten thousand digits, which no client can read back.
    if abs(value.adjusted()) >= MOST_DIGITS or len(value.as_tuple().digits) > MOST_DIGITS:
        raise Impossible("out of range")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        found = _number(value)
        number = int(found)
        if number != found:
            raise Impossible("not a whole number")
    # PostgreSQL's bigint.
    if not -(2**63) <= number < 2**63:
        raise Impossible("out of range")
    return number


def _truth(value: Any) -> bool:
    """XML Schema's boolean, or JSON's."""
    if isinstance(value, bool):
        return value
    if value not in ("true", "false", "1", "0"):
        raise Impossible("neither true nor false")
    return value in ("true", "1")


CURRENCY = "currency"
_CONVERSIONS = {TEXT: _text, CURRENCY: _currency, TIME: _time, NUMERIC: _number, INTEGER: _integer, BOOL: _truth}
