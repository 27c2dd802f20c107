"""Makes a JSON document fit for PostgreSQL, or says why that is impossible.

jsonb refuses U+0000, and accepts numbers of any length, which most clients then cannot read (CPython stops at 4,300
digits). Almost all documents are clean, and pass unchanged after three searches.
"""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST_NUMBER = 64  # characters; eBay's longest ids have 19 digits, its amounts fewer

# Match every escape, so that the u0000 after an escaped backslash (\\\\u0000) is left alone.
_ESCAPE = re.compile(rb"\\(?:(?P<nul>u0000)|.)")
# Search for long numbers with every digit replaced by 0: a pattern that begins with any digit takes ten times as long.
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
_LONG, _EXPONENT = b"0" * LONGEST_NUMBER, re.compile(rb"0e[+-]?000")


class Unstorable(ValueError):
    """A document that PostgreSQL or its clients cannot hold. The message is the reason."""


def storable(document: bytes) -> bytes:
    """The document with U+FFFD for what PostgreSQL cannot store. Raises Unstorable."""
    digits = document.translate(_DIGITS)
    if _LONG in digits or (b"0e" in digits and _EXPONENT.search(digits)):
        json.loads(document, parse_int=_short, parse_float=_short)
    if b"\\u0000" in document:
        return _ESCAPE.sub(lambda found: b"\\ufffd" if found["nul"] else found[0], document)
    return document


def without_nulls(node: Any) -> Any:
    """A decoded document without fields that are null: eBay leaves them out or not, as it likes."""
    if isinstance(node, dict):
        return {name: without_nulls(value) for name, value in node.items() if value is not None}
    return [without_nulls(each) for each in node] if isinstance(node, list) else node


def without_empty(node: Any) -> Any:
    """A decoded document without fields that are null or an empty list: eBay sends either, or leaves them out."""
    if isinstance(node, dict):
        return {name: without_empty(value) for name, value in node.items() if value is not None and value != []}
    return [without_empty(each) for each in node] if isinstance(node, list) else node


def _short(number: str) -> None:
    """Refuse a number that is too long. The search before may also have matched a long string of digits."""
    if len(number) > LONGEST_NUMBER or re.search("[eE][+-]?[0-9]{3}", number):
        raise Unstorable(f"a number of {len(number)} characters")
