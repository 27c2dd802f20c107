"""Different records that eBay gives the same key: a label bought and voided under one id, two offers for one item.

The first one keeps the key as it is, and each other one gets a suffix made of columns that tell it apart (Table.twins).
So both are rows, under the same keys in every run. If nothing but their content tells two records apart, one of them is
stored and the other goes to quarantine.

Two versions of one record are no twins: the newer one is stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from ebaysync.ebay.rest import stamp
from ebaysync.store.merge import Key, Writer, looked_up, steady
from ebaysync.store.table import TWIN, Row, Table, Twins

LOSER = "another record with the same key came in the same answer, and is stored"


async def keys(writer: Writer, table: Table, rows: Sequence[Row]) -> list[Key]:
    """The key under which to store each row of one answer. Raises DatabaseError."""
    if table.twins is None or not rows:
        return [table.text_key(row) for row in rows]
    asked = {key for row in rows for key in (table.text_key(row), _suffixed(table, table.twins, row))}
    return assigned(table, rows, await looked_up(writer, table, sorted(asked), table.twins.columns))


def assigned(table: Table, rows: Sequence[Row], known: Mapping[Key, Row]) -> list[Key]:
    """The key of each row. `known`: the stored rows with these keys, or with the keys that they get as twins."""
    groups: dict[Key, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[table.text_key(row)].append(index)
    found: dict[int, Key] = {}
    assert table.twins
    for plain, group in groups.items():
        suffixed = {index: _suffixed(table, table.twins, rows[index]) for index in group}
        # A record that is stored under its suffix keeps it, whatever else comes.
        free = [index for index in group if suffixed[index] not in known or suffixed[index] == plain]
        first = _first(table.twins, [rows[index] for index in free], known.get(plain))
        for index in group:
            keeps = index in free and first is not None and not _differ(rows[index], first, table.twins.columns)
            found[index] = plain if keeps else suffixed[index]
    return [found[index] for index in range(len(rows))]


def _first(twins: Twins, rows: Sequence[Row], stored: Row | None) -> Row | None:
    """The row that has the plain key: the stored one's next version, if it is among them. None: another record has
    it."""
    same = [row for row in rows if stored is None or not _differ(row, stored, twins.always)]
    alike = [row for row in same if stored is not None and not _differ(row, stored, twins.columns)]
    # None cannot be compared with a value, so each column is preceded by whether it is None.
    return min(alike or same, key=lambda row: [(row[name] is None, row[name]) for name in twins.columns], default=None)


def _differ(one: Row, other: Row, names: Sequence[str]) -> bool:
    # A value that is missing differs from nothing: eBay may fill it in later.
    return any(None not in (one[name], other[name]) and one[name] != other[name] for name in names)


def _suffixed(table: Table, twins: Twins, row: Row) -> Key:
    texts = [_text(row[name]) for name in twins.columns if row[name] is not None]
    suffix = TWIN + " ".join(texts) if texts else ""
    return tuple(f"{row[name]}{suffix}" if name == twins.column else str(row[name]) for name in table.key)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return stamp(value)
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def losers(table: Table, rows: Sequence[Row]) -> set[int]:
    """The places of rows of one answer that nothing but their content tells apart from another one, which stays."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[_identity(table, row)].append(index)
    found: set[int] = set()
    for group in groups.values():
        if len(group) > 1:
            contents = {index: _content(table, rows[index]) for index in group}
            # Chosen by content: the same record stays in every run, in whatever order they come.
            stays = max(contents.values())
            found |= {index for index, content in contents.items() if content != stays}
    return found


def _identity(table: Table, row: Row) -> tuple[Any, ...]:
    """Rows that differ here are told apart by their keys, or are versions of one record."""
    names: tuple[str, ...] = (table.version,) if table.version else ()
    if table.twins:
        names += (*table.twins.columns, *((table.twins.place,) if table.twins.place else ()))
    return (table.text_key(row), *(row[name] for name in names))


def _content(table: Table, row: Row) -> bytes:
    """The record as bytes that do not depend on the order of its fields, nor on values that change by themselves."""
    return msgspec.json.encode(steady(table, msgspec.json.decode(row["raw_payload"])), order="sorted")
