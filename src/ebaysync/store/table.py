"""A family's declaration of a table: its key, its typed columns, and where each is in eBay's record.

Pure facts. `families/decoder` makes a decoder from it, `statements` makes the SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TEXT, TIME, NUMERIC, BOOL, INTEGER = "text", "timestamptz", "numeric", "boolean", "bigint"

TWIN = "#"  # before the suffix in the key of a twin (Twins)

Row = Mapping[str, Any]
"""Column name to value: str, int, bool, Decimal, aware datetime, None. `raw_payload` is a msgspec.Raw of JSON."""


@dataclass(frozen=True)
class Stored:
    """A stored record: raw_payload, and whether one of the kept columns has a value."""

    raw: bytes
    has_kept: bool = False


@dataclass(frozen=True)
class Column:
    """A typed column."""

    name: str
    type: str = TEXT
    path: str = ""
    """leads to the value in the record (grammar: families/decoder); default: the name in camelCase"""
    required: bool = False
    """a record without a value here goes to quarantine; NOT NULL in the family's SQL"""
    derived: Callable[[Row], Any] | None = None
    """computes the value from the decoded row and the derived columns before it"""
    kept: bool = False
    """the stored value stays if a record brings none"""
    personal: bool = False
    """erased together with the table's `personal` paths"""
    private: bool = False
    """tells of a person, so the reader role may not see it; the family's SQL lists it in ebay_private_columns, and a
    test compares both"""

    def __post_init__(self) -> None:
        if not self.path:
            camel = re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), self.name)
            object.__setattr__(self, "path", camel)

    @property
    def is_currency(self) -> bool:
        """Whether it holds the currency of an amount, three capital letters."""
        return self.name == "currency" or self.name.endswith("_currency")


def money(name: str, path: str = "", *, value: str = "value", currency: str = "currency") -> tuple[Column, Column]:
    """An amount and its currency, as every amount is stored. `path` may have alternatives."""
    paths = (path or Column(name).path).split("|")
    return (
        Column(name, NUMERIC, "|".join(f"{one}.{value}" for one in paths)),
        Column(f"{name}_currency", TEXT, "|".join(f"{one}.{currency}" for one in paths)),
    )


def xml_money(name: str, path: str) -> tuple[Column, Column]:
    """An amount of the Trading API: `<X currencyID="USD">1.0</X>`."""
    return money(name, path, value="#text", currency="@currencyID")


@dataclass(frozen=True)
class Twins:
    """How to tell apart different records that eBay gives the same key (sync/twins).

    The second one's key gets a suffix made of these columns, so that both are rows. A column without a value differs
    from nothing.
    """

    column: str
    """the key column that gets the suffix"""
    always: tuple[str, ...] = ()
    """columns that never change: rows that differ here are different records, whenever they came"""
    in_one_answer: tuple[str, ...] = ()
    """columns that may change from one answer to the next: rows that differ here are different records if they came
    together"""
    place: str | None = None
    """the column with the list in which a record came; in two lists, it is one record that moved meanwhile"""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.always + self.in_one_answer


@dataclass(frozen=True)
class Table:
    """A domain table. `columns` are the typed ones, including the key. Each table also has `ebay_account_id`,
    `raw_payload`, `first_seen_at` and `updated_at`."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    each: str | Callable[[bytes], Sequence[bytes]] | None = None
    """the list in the record whose elements are this table's rows, or a function that returns them; None: the record"""
    parent_key: tuple[str, ...] = ()
    """in a table of children, the columns with the record's key; children that a record no longer has are removed"""
    removable: bool = False
    """has `removed_at`: children, and the records of snapshots"""
    version: str | None = None
    """the column by which an older version never replaces a newer one"""
    volatile: tuple[tuple[str, ...], ...] = ()
    """paths in raw_payload that change by themselves ('*': every element of a list): alone they cause no write and no
    event"""
    in_own_table: tuple[str, ...] = ()
    """top-level fields of raw_payload that have a table of their own, whose events show their changes"""
    columns_only: tuple[str, ...] = ()
    """top-level fields of the record that are stored in columns, and not in raw_payload"""
    stand_in: tuple[str, str] | None = None
    """a key column, and its value until eBay sends the real one; then the row is renamed"""
    twins: Twins | None = None
    """how different records of one key are told apart; None: the key is eBay's own, and unique"""
    personal: tuple[tuple[str, ...], ...] = ()
    """paths to personal data in raw_payload ('*': every element of a list); the table has `personal_erased_at`"""
    dated_by: str | None = None
    """the column that dates personal data; in a table of children, a column of the record"""

    def key_of(self, row: Row) -> tuple[Any, ...]:
        return tuple([row[name] for name in self.key])

    def text_key(self, row: Row) -> tuple[str, ...]:
        """The key as `merge` and `ebay_events` show it."""
        return tuple([str(row[name]) for name in self.key])
