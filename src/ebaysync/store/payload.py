"""Makes a JSON document fit for PostgreSQL, or says why it cannot be.

jsonb refuses U+0000, and takes numbers of any length that most readers then choke on (CPython stops at 4,300 digits).
Clean documents, which is nearly all, pass untouched after two searches.
"""

from __future__ import annotations

import json
import re

LONGEST_NUMBER = 64  # characters; eBay's longest ids have 19 digits, its amounts fewer

# Every escape, one by one, so that the u0000 behind an escaped backslash (\\\\u0000) is left alone.
_ESCAPE = re.compile(rb"\\(?:(?P<nul>u0000)|.)")
_LONG_NUMBER = re.compile(rb"[0-9]{%d}|[0-9][eE][+-]?[0-9]{3}" % LONGEST_NUMBER)


class Unstorable(ValueError):
    """A document that PostgreSQL or its readers could not hold; the message is the reason."""


def storable(document: bytes) -> bytes:
    """The document, with U+FFFD for what PostgreSQL cannot hold. Raises Unstorable."""
    if _LONG_NUMBER.search(document):
        json.loads(document, parse_int=_short, parse_float=_short)
    if b"\\u0000" in document:
        return _ESCAPE.sub(lambda found: b"\\ufffd" if found["nul"] else found[0], document)
    return document


def _short(number: str) -> None:
    """Refuses a number that is too long; the pattern before may also have met a long string of digits."""
    if len(number) > LONGEST_NUMBER or re.search("[eE][+-]?[0-9]{3}", number):
        raise Unstorable(f"a number of {len(number)} characters ({number[:12]}…)")
