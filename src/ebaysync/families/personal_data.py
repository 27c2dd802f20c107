"""Finds personal data in a record and removes it. Pure: a record in, a record out.

eBay names people as the buyer of an order, as the sender of a message, or within a text. A user name may be any word,
such as `true` or the name of a product. So it is searched only where a person can stand (`is_place`): in fields with a
user's name or id, and as a whole word in free text. It is not searched in enums, booleans, numbers, times, ids of
records, SKUs, titles and names of fields. If the person is a party to the record, the fields that describe a person are
erased completely, whatever they hold.
"""

from __future__ import annotations

import hashlib
import html
import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
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
    *("historyDescription", "translatedFromContent"),
    # Trading: messages, purchases
    *("SendToName", "Subject", "Text", "Content", "ShippingAddress", "BuyerInfo", "Email", "ResponseURL"),
}
_REGIONS = {"countryCode", "country", "stateOrProvince", "Country", "StateOrProvince", "CountryCode"}

# Beside the names of parties: fields with a person's name or free text, in lower case and without underscores, so that
# eBay's names and the columns' are the same.
NAMES = {name.lower() for name in _PARTY} | {
    *("buyerid", "buyeruser", "selleruser", "loginname", "fullname", "firstname", "lastname", "sendername"),
    *("recipientname", "email", "recipientemail", "toemailaddress", "nickname"),
}
TEXTS = {
    *("subject", "text", "content", "body", "message", "longmessage", "note", "notes", "comment", "comments", "memo"),
    *("privatenotes", "buyercheckoutnotes", "responseurl", "translatedfromcontent", "historydescription"),
}
# Fields that eBay may add. In these a value that is no name (below) is left alone.
_LOOKS_LIKE_PLACE = re.compile(
    r".*(?:username|userid|login|loginname|buyer|seller|sender|recipient|bidder|customer"
    r"|(?:buyer|seller|sender|recipient|bidder|customer|full|first|last|given|family|nick|contact)(?:name|id)"
    r"|e?mailaddress|email|notes?|comments?|remarks?|message(?:text|body)?)"
)
_NO_NAME = re.compile(r"true|false|[-+0-9.,:TZ ]+", re.IGNORECASE)

# Documents that cannot be decoded: an XML element with text, and a member of a JSON object that is a string.
_ELEMENT = re.compile(
    r"<([A-Za-z_][\w.:-]*)(?:\s[^<>]*)?>(?:\s*<!\[CDATA\[(?P<data>.*?)(?:\]\]>|\Z)|(?P<text>[^<]+))", re.DOTALL
)
_MEMBER = re.compile(r'"([^"\\]{1,100})"\s*:\s*"(?P<text>(?:[^"\\]|\\.)*)', re.DOTALL)

# Decimal in both directions: erasing a name must not change the digits of an amount.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def words(document: bytes) -> set[str]:
    """All words of a JSON document that could be a user name or id, in lower case."""
    text = document.decode(errors="replace")
    return _words(_ESCAPE.sub(_unescaped, text))


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


def is_place(name: str) -> bool:
    """Whether a field or column with this name can name a person."""
    return _declared(name) is not None


@lru_cache(10_000)
def _declared(name: str) -> bool | None:
    """Whether a field is known to name people, or only looks so; None if it cannot name a person."""
    plain = name.replace("_", "").lower()
    if plain in NAMES or plain in TEXTS:
        return True
    return False if _LOOKS_LIKE_PLACE.fullmatch(plain) else None


def _can_name(field: str, value: str) -> bool:
    """Whether a person can stand in this value of a field."""
    declared = _declared(field)
    return declared is not None and (declared or not _NO_NAME.fullmatch(value))


def erase(document: bytes, names: Collection[str]) -> bytes:
    """The JSON document without these people; the same bytes if none of them stands in it. If it is not JSON, the names
    are replaced in what looks like a field that can name a person, or everywhere if nothing looks like a field."""
    named = pattern(names)
    try:
        tree = _decode(document)
        # A document that is one string is a text.
        cleaned = _without(tree, named, "text", whole=False, party=_is_party(tree, named))
        return document if cleaned == tree else _encode(cleaned)
    except (ValueError, RecursionError):
        # surrogateescape: bytes that are not UTF-8 come out as they went in.
        text = document.decode(errors="surrogateescape")
        return _without_names(text, named).encode(errors="surrogateescape")


def _without_names(text: str, named: re.Pattern[str]) -> str:
    """A text that cannot be decoded, without the names in the fields that can be recognised."""
    fields = _ELEMENT if _ELEMENT.search(text) else _MEMBER if _MEMBER.search(text) else None
    if fields is None:
        return named.sub(ERASED, text)

    def one(found: re.Match[str]) -> str:
        name, content = found[1].rpartition(":")[2], found["text"] or found.groupdict().get("data")
        if not content or not is_place(name):
            return found[0]
        read = html.unescape(content) if fields is _ELEMENT else _ESCAPE.sub(_unescaped, content)
        if not (_can_name(name, read) and named.search(read)):
            return found[0]
        cleaned = named.sub(ERASED, content)
        if named.search(html.unescape(_ESCAPE.sub(_unescaped, cleaned))):
            cleaned = ERASED  # the name is spelled with escapes
        part = "text" if found["text"] else "data"
        first, last = found.start(part) - found.start(), found.end(part) - found.start()
        return found[0][:first] + cleaned + found[0][last:]

    return fields.sub(one, text)


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else " "


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


def _without(node: Any, named: re.Pattern[str], field: str, *, whole: bool, party: bool) -> Any:
    """The tree without the names. `field`: the name of the field that holds it. `whole`: every string in it is erased.
    `party`: fields that describe a person are erased."""
    if isinstance(node, dict):
        fields = {name: _field(name, field) for name in node}
        return {
            name: _without(
                value,
                named,
                fields[name],
                whole=name not in _REGIONS and (whole or _is_erased_whole(fields[name], value, party)),
                party=party,
            )
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [_without(each, named, field, whole=whole, party=party) for each in node]
    if isinstance(node, str):
        if whole:
            # An empty string tells nothing, and stays: erased, it would look as if something had been there.
            return ERASED if node else node
        if _can_name(field, node):
            return named.sub(ERASED, node)
    return node


def _field(name: str, within: str) -> str:
    """The name under which a field is judged. In Post-Order's history[].description stands a sentence that somebody
    said; the description of an item is no such text."""
    if name == "#text":
        return within
    return "historyDescription" if (within, name) == ("history", "description") else name


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
