"""Decodes XML as it arrives: bytes to JSON records, in memory that does not grow with the document.

Three steps, each fed by the one before, with chunks cut anywhere:

- `Cleaner` removes what XML 1.0 forbids (raw characters and references to them, white space and a byte order mark
  before the document) and puts U+FFFD for invalid UTF-8. One such character in one buyer's name would make a parser
  refuse the whole page. Two references that are a surrogate pair become one. Well-formed text passes as it is, so that
  one pass does what "parse, and if that fails, clean and parse again" would do in two.
- lxml's pull parser, which expands no entities and loads nothing. A DOCTYPE is refused before it.
- `Document` turns each record into JSON when its element ends, and frees it. Everything else becomes `head`.

JSON of an element: names without their namespace. A leaf is a string, "" a null. Attributes are "@name". Text beside
attributes or children is "#text" (white space between children is not text). A name that occurs twice is a list, and a
name in `lists` always. Values stay text, so a price keeps its digits.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from lxml import etree

from ebaysync.errors import AnswerNotUnderstood, EbayError, EbayUnreachable, XmlBroken

Path = tuple[str, ...]

DEEPEST = 64  # nesting depth; eBay's types reach about 12
MOST_HELD = 500_000  # elements of one record, or of everything beside the records
MOST_ATTRIBUTES = 200  # of one element; eBay's have one or two. lxml looks each up from the first one on
KEPT = 2**20  # bytes of a broken document that are kept for diagnosis
TAIL = 200  # bytes at the end that are searched for the root's end tag
DIGITS = 64  # bytes of a character reference; longer ones are left to the parser

DOCTYPE = "the XML has a DOCTYPE, which is refused"
OTHER_CODING = "the XML says that it is not UTF-8"
OF_THE_WHOLE = (DOCTYPE, OTHER_CODING)

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r"))
_NONCHARACTERS = re.compile("[\ufffe\uffff]")
# References to the two halves of a surrogate pair: D800 to DBFF (55296 to 56319), DC00 to DFFF (56320 to 57343).
_HIGH = (
    r"&#(?:x0{0,9}[dD][89abAB][0-9a-fA-F]{2}"
    r"|0{0,9}(?:5529[6-9]|55[3-9][0-9]{2}|56[0-2][0-9]{2}|563[01][0-9]));"
)
_LOW = (
    r"&#(?:x0{0,9}[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|0{0,9}(?:563[2-9][0-9]|56[4-9][0-9]{2}|57[0-2][0-9]{2}|573[0-3][0-9]|5734[0-3]));"
)
_PAIR = re.compile(r"&#(x?)([0-9a-fA-F]+);&#(x?)([0-9a-fA-F]+);")
_TOKEN = re.compile(
    rf"(?P<pair>{_HIGH}{_LOW})"
    rf"|&#(?:x(?P<hex>[0-9a-fA-F]{{1,{DIGITS}}})|(?P<decimal>[0-9]{{1,{DIGITS}}}));|<!\[CDATA\[|\]\]>|<!DOCTYPE"
)
_BEGUN = re.compile(  # a token that may continue in the next chunk
    rf"(?:(?:{_HIGH})?&(?:#(?:x[0-9a-fA-F]{{0,{DIGITS}}}|[0-9]{{0,{DIGITS}}})?)?"
    rf"|<(?:!(?:D(?:O(?:C(?:T(?:Y(?:P)?)?)?)?)?|\[(?:C(?:D(?:A(?:T(?:A)?)?)?)?)?)?)?|\]\]?|{_HIGH})\Z"
)


class Cleaner:
    """UTF-8 without anything that XML 1.0 forbids (2.2 Char). In CDATA a reference is text and stays."""

    def __init__(self) -> None:
        self.doctype = False
        """a DOCTYPE was seen: nothing after it is parsed"""
        # Incremental: a chunk may end in the middle of a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""
        self._literal = self._started = False

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        text = self._begun + self._decoder.decode(data, last)
        if not self._started:
            text = text.lstrip(" \t\r\n\ufeff")
            self._started = bool(text)
        self._begun = ""
        # No unfinished token is longer than this: the 17 bytes of a first half, "&#x", and DIGITS.
        if not last and (begun := _BEGUN.search(text, max(0, len(text) - DIGITS - 24))):
            self._begun, text = begun[0], text[: begun.start()]
        if "&#" in text or "<!" in text or "]]>" in text:
            text = _TOKEN.sub(self._cleaned, text)
        if "\ufffe" in text or "\uffff" in text:
            text = _NONCHARACTERS.sub("", text)
        return text.encode().translate(None, _CONTROLS)

    def _cleaned(self, token: re.Match[str]) -> str:
        if token["pair"]:
            return token[0] if self._literal else _joined(token[0])
        if token[0].startswith("&"):
            return token[0] if self._literal or _allowed(token) else ""
        if token[0] == "<!DOCTYPE":
            self.doctype = self.doctype or not self._literal
        else:
            self._literal = token[0] == "<![CDATA["
        return token[0]


def _joined(pair: str) -> str:
    """The character that two references write as a surrogate pair."""
    found = _PAIR.fullmatch(pair)
    assert found
    high, low = (int(number, 16 if is_hex else 10) for is_hex, number in (found.groups()[:2], found.groups()[2:]))
    return chr(0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00)


def _allowed(reference: re.Match[str]) -> bool:
    point = int(reference["hex"], 16) if reference["hex"] else int(reference["decimal"])
    if point < 0x20:
        return point in (0x9, 0xA, 0xD)
    return point < 0xD800 or 0xE000 <= point < 0xFFFE or 0x10000 <= point <= 0x10FFFF


class Document:
    """One answer; a Feed (ebay/body).

    `records` are paths below the root, such as ("ActiveList", "ItemArray", "Item"), none inside another. A name in
    `lists` is "Name", or "Parent/Name" if it is a list only there. Errors are raised by `close`, when the whole body
    has arrived:

        XmlBroken            not well-formed, a DOCTYPE, nested too deeply, or declared with another encoding
        EbayUnreachable      cut short, which is transient
        AnswerNotUnderstood  more than MOST_HELD elements in one record or beside the records
        MemoryError          this host's memory is exhausted, which is not the document's fault
    """

    def __init__(self, name: str, records: Collection[Path] = (), lists: Collection[str] = ()) -> None:
        self.name = name
        self.root = ""
        self.records: list[tuple[Path, bytes]] = []
        """as JSON objects, in the order of the document"""
        self.head: dict[str, Any] = {}
        """everything else, once closed"""
        self._wanted, self._depths = frozenset(records), {len(path) + 1 for path in records}
        self._lists = frozenset(lists)
        self._cleaner = Cleaner()
        self._parser = _parser()
        self._path: list[str] = []
        self._tree: etree._Element | None = None
        self._tail = b""
        self._ended = False
        self._held = self._before = 0
        self._spent: etree._Element | None = None
        self._raw = bytearray()
        self._fault: EbayError | str | None = None

    def feed(self, data: bytes) -> None:
        self._raw += data[: KEPT - len(self._raw)]
        if self._fault is None:
            self._parse(self._cleaner.feed(data))

    def close(self) -> None:
        """Raises XmlBroken, EbayUnreachable, AnswerNotUnderstood, MemoryError (see the class)."""
        if self._fault is None:
            self._parse(self._cleaner.feed(b"", last=True))
        if self._fault is None and not self._ended and not self._comes_to_its_end():
            self._fault = EbayUnreachable(f"{self.name}: the XML is cut short", status=200)
        if self._fault is None:
            self._finish()
        if isinstance(self._fault, str):
            by_a_record = self._fault not in OF_THE_WHOLE
            raise XmlBroken(f"{self.name}: {self._fault}", document=bytes(self._raw), by_a_record=by_a_record)
        if self._fault:
            raise self._fault
        self._raw = bytearray()

    def _parse(self, clean: bytes) -> None:
        # Before the parser sees it: with resolve_entities=False, an entity of the DOCTYPE would silently cut the text
        # it is in.
        if self._cleaner.doctype:
            self._fault = DOCTYPE
            return
        if not clean:
            return
        self._tail = (self._tail + clean)[-TAIL:]
        try:
            self._parser.feed(clean)
        except etree.XMLSyntaxError as error:
            self._fault = self._broken(error)
            return
        self._take_events()
        if self._fault is None and len(self._parser.feed_error_log.filter_from_fatals()):
            self._fault = self._broken(None)  # feed() is silent about an unknown entity

    def _take_events(self) -> None:
        for event, element in self._parser.read_events():
            assert isinstance(element, etree._Element)
            if event == "start":
                self._start(element)
            else:
                self._end(element)
            if self._fault is not None:
                return

    def _start(self, element: etree._Element) -> None:
        if self._tree is None:
            self._tree, self.root = element, _name(element)
            if element.getroottree().docinfo.internalDTD is not None:  # after a comment that the cleaner took for CDATA
                self._fault = DOCTYPE
                return
        self._path.append(_name(element))
        self._held += 1
        depth = len(self._path)
        if depth > DEEPEST:
            self._fault = f"the XML is nested more than {DEEPEST} deep"
        elif self._held - self._before > MOST_HELD:
            self._fault = AnswerNotUnderstood(f"{self.name}: more than {MOST_HELD} elements in one place of the XML")
        elif self._is_record():
            self._before = self._held - 1

    def _end(self, element: etree._Element) -> None:
        if self._is_record():
            self._hand_out(element)
        self._path.pop()
        self._ended = not self._path

    def _is_record(self) -> bool:
        return len(self._path) in self._depths and tuple(self._path[1:]) in self._wanted

    def _hand_out(self, element: etree._Element) -> None:
        value = self._value(element, self._path[-2])
        whole = value if isinstance(value, dict) else {} if value is None else {"#text": value}
        self.records.append((tuple(self._path[1:]), msgspec.json.encode(whole)))
        parent = element.getparent()
        if parent is not None and parent.text and parent.text.isspace():
            parent.text = None
        element.clear()
        # Not this element itself: the parser may still be writing the text after it. The one before is complete.
        _remove(self._spent)
        self._spent = element
        self._held = self._before
        self._before = 0

    def _finish(self) -> None:
        try:
            self._parser.close()
        except etree.XMLSyntaxError as error:
            self._fault = self._broken(error)
            return
        assert self._tree is not None
        # libxml2 believes the declaration, but the cleaner has written UTF-8.
        coding = self._tree.getroottree().docinfo.encoding or "UTF-8"
        if coding.upper() not in ("UTF-8", "UTF8"):
            self._fault = OTHER_CODING
            return
        _remove(self._spent)
        head = self._value(self._tree, "")
        self.head = head if isinstance(head, dict) else {}
        self._tree = self._spent = None

    def _comes_to_its_end(self) -> bool:
        """Whether the document ends with the root's end tag, although the parser has not got there: an "&" alone makes
        it wait for a ";". A document that was cut does not end so."""
        return bool(self.root) and self._tail.rstrip().endswith(f"{self.root}>".encode())

    def _broken(self, error: etree.XMLSyntaxError | None) -> str:
        """The error: what is wrong, and where. libxml2's own sentence is left out, because it quotes the document.
        Raises MemoryError."""
        log = self._parser.feed_error_log
        # Short of memory, lxml raises a syntax error, too. Taken for one, it would send good records to quarantine.
        memory = etree.ErrorTypes.ERR_NO_MEMORY
        if getattr(error, "code", None) == memory or any(entry.type == memory for entry in log):
            raise MemoryError("libxml2 ran out of memory")
        if not len(log):
            return "the XML is not well-formed"
        return f"the XML is not well-formed: {log[0].type_name} in line {log[0].line}, column {log[0].column}"

    def _value(self, element: etree._Element, parent: str) -> Any:
        own = _name(element)
        found: dict[str, Any] = {f"@{_local(name)}": text for name, text in self._attributes(element)}
        for child in element:
            name, value = _name(child), self._value(child, own)
            if name in found:
                before = found[name]
                if isinstance(before, list):
                    before.append(value)
                else:
                    found[name] = [before, value]
            else:
                found[name] = [value] if name in self._lists or f"{own}/{name}" in self._lists else value
        if not found:
            return element.text or None
        text = _text(element)
        return found | {"#text": text} if text else found

    def _attributes(self, element: etree._Element) -> Sequence[tuple[str | bytes, str | bytes]]:
        names = element.keys()
        if len(names) <= MOST_ATTRIBUTES:
            return element.items() if names else ()
        self._fault = f"the XML has an element with {len(names)} attributes"
        return ()


def _parser() -> etree.XMLPullParser:
    return etree.XMLPullParser(
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        # Keeps libxml2's own bounds: depth, length of a text, entities that multiply.
        huge_tree=False,
        # True would turn "A & B" into "A  B", and take a document that was cut for complete.
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )


@lru_cache(maxsize=4096)
def _local(name: str | bytes) -> str:
    """A cache of names: a document with a hundred names may have a million elements."""
    return str(name).rpartition("}")[2]


def _name(element: etree._Element) -> str:
    return _local(element.tag)


def _text(element: etree._Element) -> str:
    """Text beside attributes or children, without white space between children."""
    parts = [element.text, *(child.tail for child in element)]
    if not len(element):
        return element.text or ""
    return "".join(part for part in parts if part and not part.isspace())


def _remove(element: etree._Element | None) -> None:
    """Remove an element from the tree, with the white space after it."""
    parent = None if element is None else element.getparent()
    if element is not None and parent is not None:
        parent.remove(element)
