"""Splits a JSON page around the records that no decoder accepts.

One raw control character in one buyer's name, a wrong escape, or nesting that exhausts the stack makes a decoder refuse
the whole page. Decoders are quick, so this module is only used for what they have refused. It does not decode: it finds
strings and brackets in one pass, and so sees where each record begins and ends. If a bracket or a quote of a record is
missing or too many, it looks for the beginning of the next record (see `splits_at_names`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

import msgspec

BOM = b"\xef\xbb\xbf"

Broken = tuple[bytes, str]
"""A record that cannot be decoded, as it came, and the reason."""

# A string that does not end takes the rest of the body: without `\Z`, each quote in it would be tried again. Possessive
# quantifiers keep the search linear.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[{}\[\],:]', re.DOTALL)
_NAME = re.compile(rb'\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*:\s*', re.DOTALL)
_CLOSERS = {b"{": b"}", b"[": b"]"}
_FIRST_FIELD = re.compile(rb'[\[,]\s*+\{\s*+("[^"\\]*+")\s*+:')
_AFTER_ELEMENT = re.compile(rb'\s*+(?:,\s*+(?=\{\s*+")|(?P<end>\]))')
_LIST_END = re.compile(rb"\]")
MOST_NAMES = 10  # first fields to try
MOST_BROKEN = 200  # records, as many as a page has
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<alone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def repaired(body: bytes) -> bytes:
    """The body with U+FFFD for invalid UTF-8 and lone surrogates, and without a byte order mark.

    msgspec does not check the strings that it skips, so this comes before it. A clean body is returned as it is.
    """
    body = body.removeprefix(BOM)
    try:
        body.decode()
    except UnicodeDecodeError:
        body = body.decode(errors="replace").encode()
    if _SURROGATE.search(body) is None:
        return body
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found["alone"] else found[0], body)


def is_whole(body: bytes) -> bool:
    """Whether the body is one object or array that comes to its end. If not, it was cut on its way."""
    text = body.removeprefix(BOM).strip()
    if text[:1] not in (b"{", b"["):
        return False
    # If the body was cut, the last position is a comma's, or there is none. No list of them: there may be 250 million.
    end = next(iter(deque(_top_level(text), maxlen=1)), -1)
    return end == len(text) - 1 and text[-1:] in (b"}", b"]")


@dataclass(frozen=True)
class Split:
    """`body` is the page without what cannot be decoded."""

    body: bytes
    broken: tuple[Broken, ...]


def split(body: bytes, lists: Collection[str]) -> Split:
    """Take the undecodable records out of the lists with these names, and undecodable fields out of the envelope.

    The body is an object that is_whole.
    """
    broken: list[Broken] = []
    kept: list[bytes] = []
    for name, value in _fields(body):
        if name in lists and value[:1] == b"[":
            good: list[bytes] = []
            for element in _parts(value):
                if reason := _why_undecodable(element):
                    broken.append((element, reason))
                else:
                    good.append(repaired(element))
            value = b"[%b]" % b",".join(good)
        elif _why_undecodable(value):
            continue
        kept.append(b"%b:%b" % (msgspec.json.encode(name), repaired(value)))
    return Split(b"{%b}" % b",".join(kept), tuple(broken))


def splits_at_names(body: bytes, lists: Collection[str]) -> Iterator[Split]:
    """The ways to split a page whose brackets or quotes do not match. The caller compares the number of records with
    the page's counts, because nothing else tells which way is right.

    After a damaged record, the next one begins where an object of a list has the same first field as the others. Such a
    beginning cannot be part of a text, whose quotes are escaped.
    """
    text = body.removeprefix(BOM).strip()
    names = b"|".join(re.escape(name.encode()) for name in lists)
    if (opened := re.search(rb'"(?:%b)"\s*:\s*\[\s*(?=\{)' % names, text)) is None:
        return
    first_fields = dict.fromkeys(found[1] for found in _FIRST_FIELD.finditer(text, opened.start()))
    for field in islice(first_fields, MOST_NAMES):
        begins = re.compile(rb"\{\s*+%b\s*+:" % re.escape(field))
        found = _elements(text, opened.end(), begins)
        if found and all(map(begins.match, found[0])):
            good, broken, end = found
            yield Split(repaired(text[: opened.end()] + b",".join(good) + text[end:]), broken)


def _elements(text: bytes, start: int, begins: re.Pattern[bytes]) -> tuple[list[bytes], tuple[Broken, ...], int] | None:
    """The decodable objects of a list and the damaged ones, and where the list ends. None if it does not end."""
    boundary = re.compile(rb",\s*+(?=%b)" % begins.pattern)
    good: list[bytes] = []
    broken: list[Broken] = []
    while len(broken) <= MOST_BROKEN:
        end = _closed_at(text, start)
        after = _AFTER_ELEMENT.match(text, end) if end else None
        if after and after["end"] and not _closes_page(text, after.end()):
            after = None
        reason = _why_undecodable(text[start : after.start()]) if after else "its brackets or quotes do not match"
        if reason:
            following = boundary.search(text, start)
            if following and (after is None or following.start() < after.start()):
                after = following
            closers = (each for each in _LIST_END.finditer(text, start) if _closes_page(text, each.end()))
            after = after or next(closers, None)
            if after is None:
                return None
            broken.append((text[start : after.start()], reason))
        else:
            assert after
            good.append(repaired(text[start : after.start()]))
        if after[0].endswith(b"]"):
            return good, tuple(broken), after.end() - 1
        start = after.end()
    return None


def _closes_page(text: bytes, start: int) -> bool:
    """Whether what follows a list completes the object that is the whole text."""
    return _closed_at(text, start, b"}") == len(text)


def _closed_at(text: bytes, start: int, opened: bytes = b"") -> int | None:
    """Find the end of the object that begins at `start`, or lies around it. None if another bracket closes first."""
    closers = bytearray(opened)
    for token in _TOKEN.finditer(text, start):
        if (kind := token[0]) in _CLOSERS:
            closers += _CLOSERS[kind]
        elif kind in b"}]":
            if not closers or closers.pop() != kind[0]:
                return None
            if not closers:
                return token.end()
    return None


def field_of(record: bytes, name: str) -> str | None:
    """A field of an undecodable record, if that field is a readable text or whole number."""
    if not is_whole(record):
        return None
    value = next((value for found, value in _fields(record) if found == name), b"null")
    try:
        found = msgspec.json.decode(repaired(value), type=str | int | None)
    except (ValueError, RecursionError):
        return None
    return None if found is None else str(found)


def _why_undecodable(value: bytes) -> str | None:
    try:
        msgspec.json.decode(repaired(value), type=msgspec.Raw)
    except RecursionError:
        return "the JSON is nested too deeply"
    except ValueError as error:
        return str(error)
    return None


def _fields(record: bytes) -> Iterator[tuple[str, bytes]]:
    """The names and values of an object's fields. A field whose name cannot be decoded is left out."""
    for part in _parts(record):
        if named := _NAME.match(part):
            try:
                yield msgspec.json.decode(repaired(named[1]), type=str), part[named.end() :]
            except ValueError:
                continue


def _parts(text: bytes) -> Iterator[bytes]:
    """The pieces between the commas of an object or array."""
    text = text.removeprefix(BOM).strip()
    start = 1
    for end in _top_level(text):
        if part := text[start:end].strip():
            yield part
        start = end + 1


def _top_level(text: bytes) -> Iterator[int]:
    """The positions of the commas of the outermost object or array, then that of its end. It may be cut short."""
    depth = 0
    for token in _TOKEN.finditer(text):
        kind = token[0]
        if kind in b"{[":
            depth += 1
        elif kind in b"}]":
            depth -= 1
        if (depth == 1 and kind == b",") or (depth == 0 and kind in b"}]"):
            yield token.start()
        if depth == 0:
            return
