"""What a family declares of a table: its key, its typed columns and where in eBay's record each is found.

Pure facts. `families/decoder` makes a typed decoder of them, `merge` makes the SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TEXT, TIME, NUMERIC, BOOL, INTEGER = "text", "timestamptz", "numeric", "boolean", "bigint"

Row = Mapping[str, Any]
"""Column name to value: str, int, bool, Decimal, aware datetime, None; `raw_payload` a msgspec.Raw of JSON."""


@dataclass(frozen=True)
class Stored:
    """What is stored of a record: raw_payload, and whether any of the columns that are kept has a value."""

    raw: bytes
    has_kept: bool = False


@dataclass(frozen=True)
class Column:
    """A typed column. `path` leads to its value in the record: `a.b` is field b of a, `a[0]` the first element of
    the list a, `a[-1]` its last, `a[b=c]` its first one whose field b is c, `^a` field a of the record that this one
    is a part of; `x|y` is what x leads to, or where that is nothing, y. Default: the column's name in camelCase.

    `derived` makes its value of the row as it was read and of the derived columns before it.
    `kept`: what is stored stays where a record brings nothing.
    `personal`: erased with the table's `personal` paths.
    `private`: it tells of a person, so the reader role may not see it. The family's SQL names it in
    `ebay_private_columns`; a test compares the two.
    """

    name: str
    type: str = TEXT
    path: str = ""
    required: bool = False
    derived: Callable[[Row], Any] | None = None
    kept: bool = False
    personal: bool = False
    private: bool = False

    def __post_init__(self) -> None:
        if not self.path:
            camel = re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), self.name)
            object.__setattr__(self, "path", camel)


def money(name: str, path: str = "", *, value: str = "value", currency: str = "currency") -> tuple[Column, Column]:
    """An amount and its currency, as every amount is stored. `path` may name alternatives."""
    paths = (path or Column(name).path).split("|")
    return (
        Column(name, NUMERIC, "|".join(f"{one}.{value}" for one in paths)),
        Column(f"{name}_currency", TEXT, "|".join(f"{one}.{currency}" for one in paths)),
    )


def xml_money(name: str, path: str) -> tuple[Column, Column]:
    """The same of the Trading API: `<X currencyID="USD">1.0</X>`."""
    return money(name, path, value="#text", currency="@currencyID")


@dataclass(frozen=True)
class Table:
    """A domain table. `columns` are the typed ones, the key's among them; every table has `ebay_account_id`,
    `raw_payload`, `first_seen_at` and `updated_at` besides.

    `each` names the list in the record whose elements are this table's rows, or is a function that takes them out
    of it; without it the record is the row. Such parts name in `of` the columns that hold the record's key: what
    a record no longer has is marked as removed.
    `removable` tables have `removed_at`: parts, and the records of snapshots.
    `version` names a column by which an older version of a record never replaces a newer one.
    `volatile` lists paths in raw_payload that move by themselves: alone they make no write and no event.
    `elsewhere` lists top-level fields of raw_payload that have a table of their own: its events tell their changes.
    `apart` lists top-level fields of the record that are kept in columns alone and not in raw_payload.
    `unnamed` is a key column and the value that stands in it until eBay gives the real one: a row with that real one
    takes the place of the row without.
    `personal` lists paths in raw_payload to what tells of a person, '*' being every element of a list; such tables
    have `personal_erased_at`. `dated` is the column by which the age of what is personal counts; of parts, it is that
    of their record.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    each: str | Callable[[bytes], Sequence[bytes]] | None = None
    of: tuple[str, ...] = ()
    removable: bool = False
    version: str | None = None
    volatile: tuple[tuple[str, ...], ...] = ()
    elsewhere: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    unnamed: tuple[str, str] | None = None
    personal: tuple[tuple[str, ...], ...] = ()
    dated: str | None = None

    def key_of(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.key)

    def text_key(self, row: Row) -> tuple[str, ...]:
        """The key as `merge` and `ebay_events` name it."""
        return tuple(str(part) for part in self.key_of(row))
