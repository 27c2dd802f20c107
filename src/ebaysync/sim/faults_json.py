"""Faults in a record of any JSON answer: bytes that no decoder accepts, or that no table holds."""

from __future__ import annotations

import json
from typing import Any

from ebaysync.sim.calls import Answer

SPOILERS: dict[str, bytes] = {
    "control": b'"a\x0bb"',
    "escape": rb'"\q"',
    "nan": b"NaN",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "half_deep": b"[" * 400 + b"]" * 400,
    "digits": b"9" * 1_000_000,
    "surrogate": rb'"\ud800"',
    "nul": rb'"\u0000"',
    "utf8": b'"\xff"',
    "missing": b"]",
}


_OF_A_PAGE = {"total", "limit", "paginationOutput"}


def within(answer: Answer, what: str, row: int | str) -> None:
    """Put a field before the others of a record of the page, or of the record that the answer is. `row` is its number,
    or one of its values: then an answer without it stays as it is."""
    page = json.loads(answer.body)
    lists = [name for name, value in page.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if not lists or not _OF_A_PAGE & page.keys():  # a record has lists, too
        if isinstance(row, int) or row in page.values():
            answer.body = _spoiled(page, what)
        return
    rows = page[lists[0]]
    number = row % len(rows) if isinstance(row, int) else _row_of(rows, row)
    if number is not None:
        whole = json.dumps(page | {lists[0]: [*rows[:number], "<spoiled>", *rows[number + 1 :]]}).encode()
        answer.body = whole.replace(b'"<spoiled>"', _spoiled(rows[number], what))


def _row_of(rows: list[dict[str, Any]], value: str) -> int | None:
    return next((number for number, each in enumerate(rows) if value in map(str, each.values())), None)


def _spoiled(record: dict[str, Any], what: str) -> bytes:
    return b'{"spoiled": ' + SPOILERS[what] + b", " + json.dumps(record).encode()[1:]
