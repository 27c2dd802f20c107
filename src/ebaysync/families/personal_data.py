"""Finds personal data in a record and removes it. Pure: a record in, a record out.

eBay names people in many places: as the buyer of an order, as the sender of a message, within a text. So a user name or
id is searched as a whole word in every string. If the person is a party to the record, the fields that describe a
person are erased completely, whatever they hold.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

ERASED = "[erased]"

# eBay's user names consist of letters, digits and these signs; its immutable ids of letters, digits, - and _.
_WORD = re.compile(r"[\w*-]+(?:\.[\w*-]+)*")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|["\\/bfnrt])')
SHORTEST, LONGEST = 3, 64
HEAD_BYTES = 8  # compared bytes of a digest

# Fields that name a party to the record.
_PARTY = {
    *("username", "buyerUsername", "userId", "sellerId", "buyerLoginName", "sellerLoginName", "buyer", "seller"),
    *("Sender", "RecipientUserID", "SendToName", "UserID", "BuyerUserID", "SellerUserID", "EIASToken"),
}

# Fields that describe a person; they are erased with everything in them. A string that names a party is an exception.
_PERSONAL = {
    # Fulfillment: order
    *("buyer", "shipTo", "finalDestinationAddress", "buyerRegistrationAddress", "taxAddress", "taxIdentifier"),
    *("buyerCheckoutNotes", "giftDetails"),
    # payment disputes, Post-Order
    *("note", "notes", "comments", "returnAddress", "sellerReturnAddress", "returnDetails", "address"),
    *("toEmailAddress", "firstName", "lastName", "fullName", "email", "primaryPhone"),
    # Trading: messages, purchases
    *("SendToName", "Subject", "Text", "Content", "ShippingAddress", "BuyerInfo", "Email", "ResponseURL"),
}
_PLACES = {"countryCode", "country", "stateOrProvince", "Country", "StateOrProvince", "CountryCode"}

# Decimal in both directions: erasing a name must not change the digits of an amount.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def words(document: bytes) -> set[str]:
    """All words of a JSON document that could be a user name or id, in lower case."""
    text = document.decode(errors="replace")
    return _words(_ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", text))


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text) if SHORTEST <= len(word) <= LONGEST}


def mentioned(document: bytes, names: Collection[str], *, json: bool) -> set[str]:
    """Which of these names, in lower case, occur as whole words.

    In JSON, `\nalice` is a line break and alice. Without `json`, the document may or may not be JSON, so both readings
    count.
    """
    found = words(document)
    if not json and b"\\" in document:
        found |= _words(document.decode(errors="replace"))
    return found & set(names)


def pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Matches any of these names as a whole word."""
    inner = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w*-])(?<![\w*-]\.)(?:{inner})(?![\w*-]|\.[\w*-])", re.IGNORECASE)


def erase(document: bytes, names: Collection[str]) -> bytes:
    """The JSON document without these people. If it is not JSON, only the names are replaced."""
    named = pattern(names)
    try:
        tree = _decode(document)
        return _encode(_without(tree, named, whole=False, party=_is_party(tree, named)))
    except (ValueError, RecursionError):
        # surrogateescape: bytes that are not UTF-8 come out as they went in.
        return named.sub(ERASED, document.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def is_party(document: bytes, names: Collection[str]) -> bool:
    """Whether one of these people is a party to the record."""
    try:
        return _is_party(_decode(document), pattern(names))
    except (ValueError, RecursionError):
        return False


def _is_party(node: Any, named: re.Pattern[str]) -> bool:
    """Whether a field that names a party holds one of the names."""
    if isinstance(node, dict):
        return any(
            (name in _PARTY and isinstance(value, str) and named.fullmatch(value) is not None)
            or _is_party(value, named)
            for name, value in node.items()
        )
    return isinstance(node, list) and any(_is_party(each, named) for each in node)


def _without(node: Any, named: re.Pattern[str], *, whole: bool, party: bool) -> Any:
    """The tree without the names. `whole`: every string in it is erased. `party`: fields that describe a person are
    erased."""
    if isinstance(node, dict):
        return {
            name: _without(
                value, named, whole=name not in _PLACES and (whole or _is_erased_whole(name, value, party)), party=party
            )
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [_without(each, named, whole=whole, party=party) for each in node]
    if isinstance(node, str):
        # An empty string tells nothing, and stays: erased, it would look as if something had been there.
        return ERASED if whole and node else named.sub(ERASED, node)
    return node


def _is_erased_whole(name: str, value: Any, party: bool) -> bool:
    """Whether a field is erased completely. A string that names a party is not: the other party stays."""
    return party and name in _PERSONAL and not (name in _PARTY and isinstance(value, str))


@dataclass(frozen=True)
class ErasedPeople:
    """Erased people, as digests: no name is stored."""

    salt: bytes = b""
    heads: Sequence[int] = ()
    """the first 64 bits of each digest, sorted; eBay reports everybody who leaves, in time a million"""

    def digest(self, name: str) -> bytes:
        return hashlib.sha256(self.salt + name.lower().encode()).digest()

    def __contains__(self, name: str) -> bool:
        head = int.from_bytes(self.digest(name)[:HEAD_BYTES])
        at = bisect_left(self.heads, head)
        # Half a digest is enough: among a million people, one word in 10^13 matches by chance.
        return at < len(self.heads) and self.heads[at] == head

    def cleaned(self, document: bytes) -> bytes:
        """The record without erased people."""
        if not self.heads:
            return document
        names = [word for word in words(document) if word in self]
        return erase(document, names) if names else document
