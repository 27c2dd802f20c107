"""Makes a JSON document fit for PostgreSQL, or says why it cannot be.

jsonb refuses U+0000, and takes numbers of any length that most readers then choke on (CPython stops at 4,300 digits).
Clean documents, which is nearly all, pass untouched after three searches.
"""

from __future__ import annotations

import json
import re

LONGEST_NUMBER = 64  # characters; eBay's longest ids have 19 digits, its amounts fewer

# Every escape, one by one, so that the u0000 behind an escaped backslash (\\\\u0000) is left alone.
_ESCAPE = re.compile(rb"\\(?:(?P<nul>u0000)|.)")
# Long numbers are looked for where every digit is a 0: a pattern that begins with any digit takes ten times as long.
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
_LONG, _EXPONENT = b"0" * LONGEST_NUMBER, re.compile(rb"0e[+-]?000")


class Unstorable(ValueError):
    """A document that PostgreSQL or its readers could not hold; the message is the reason."""


def storable(document: bytes) -> bytes:
    """The document, with U+FFFD for what PostgreSQL cannot hold. Raises Unstorable."""
    digits = document.translate(_DIGITS)
    if _LONG in digits or _EXPONENT.search(digits):
        json.loads(document, parse_int=_short, parse_float=_short)
    if b"\\u0000" in document:
        return _ESCAPE.sub(lambda found: b"\\ufffd" if found["nul"] else found[0], document)
    return document


def _short(number: str) -> None:
    """Refuses a number that is too long; the search before may also have met a long string of digits."""
    if len(number) > LONGEST_NUMBER or re.search("[eE][+-]?[0-9]{3}", number):
        raise Unstorable(f"a number of {len(number)} characters")
