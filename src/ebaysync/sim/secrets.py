"""Strings that look like eBay's ids and tokens, drawn from a seed."""

from __future__ import annotations

import base64
import string
from random import Random


def opaque(random: Random, size: int) -> str:
    """A token with the characters of eBay's: `^`, `#`, `+`, `/`, `=`. Who does not encode it, loses it."""
    blob = base64.b64encode(random.randbytes(size - size % 3 + 1)).decode()
    return f"v^1.1#i^1#f^0#r^1#p^3#I^3#t^Ul4+/{blob}"


def user_id(random: Random) -> str:
    return "".join(random.choices(string.ascii_letters + string.digits, k=11))
