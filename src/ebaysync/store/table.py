"""What a family declares of a table: its key, its typed columns and where in eBay's record each is found.

Pure facts. `families/base` makes a typed decoder of them, `merge` makes the SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEXT, TIME, NUMERIC, BOOL, INTEGER = "text", "timestamptz", "numeric", "boolean", "bigint"

Row = Mapping[str, Any]
"""Column name to value: str, int, bool, Decimal, aware datetime, None; `raw_payload` a msgspec.Raw of JSON."""


@dataclass(frozen=True)
class Column:
    """A typed column. `path` leads to its value in the record: `a.b` is field b of a, `a[0]` the first element of
    the list a, `^a` field a of the record that this one is a part of. Default: the column's name in camelCase."""

    name: str
    type: str = TEXT
    path: str = ""
    required: bool = False

    def __post_init__(self) -> None:
        if not self.path:
            camel = re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), self.name)
            object.__setattr__(self, "path", camel)


def money(name: str, path: str = "") -> tuple[Column, Column]:
    """An amount and its currency, as every amount is stored."""
    path = path or Column(name).path
    return Column(name, NUMERIC, f"{path}.value"), Column(f"{name}_currency", TEXT, f"{path}.currency")


@dataclass(frozen=True)
class Table:
    """A domain table. `columns` are the typed ones, the key's among them; every table has `ebay_account_id`,
    `raw_payload`, `first_seen_at` and `updated_at` besides.

    `each` names the list in the record whose elements are this table's rows; without it the record is the row.
    `version` names a column by which an older version of a record never replaces a newer one.
    `volatile` lists paths in raw_payload that move by themselves: alone they make no write and no event.
    `elsewhere` lists top-level fields of raw_payload that have a table of their own: its events tell their changes.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    each: str | None = None
    version: str | None = None
    volatile: tuple[tuple[str, ...], ...] = ()
    elsewhere: tuple[str, ...] = ()

    def key_of(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.key)

    def text_key(self, row: Row) -> tuple[str, ...]:
        """The key as `merge` and `ebay_events` name it."""
        return tuple(str(part) for part in self.key_of(row))
