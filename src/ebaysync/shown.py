"""Text that others chose, in a form that a terminal, a log and a shell do not obey.

Names, ids and error texts come from eBay, from buyers, or from a database that others may write to. A control
character, a line break or a mark that turns the direction of writing is shown as its escape, such as `\\x1b` or
`\\u202e`. Letters of every script and emoji stay.
"""

from __future__ import annotations

import re
import shlex

# C0 and C1 controls and DEL; marks and overrides of direction; invisible hyphens, letters, separators and operators;
# line and paragraph separators; the byte order mark; annotations; tags; lone surrogates.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff"
)
# The two joiners are invisible, too. Persian, scripts of India and emoji need them, between two of their characters.
_JOINED = f"[^\x00-\u02ff\u2000-\u206f{_UNSAFE}]"
_ANY = re.compile(f"[{_UNSAFE}]|(?<!{_JOINED})[\u200c\u200d]|[\u200c\u200d](?!{_JOINED})")
_PRIORITY = re.compile(r"<(?=\d{1,3}>)")  # journald takes it for the line's priority
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str) -> str:
    """The text as one line that can be shown."""
    return _ANY.sub(_escape, text) if _ANY.search(text) else text


def line(text: str) -> str:
    """A whole line of output: escaped, and not to be taken for one with a priority by journald."""
    text = escaped(text)
    return f"\\x3c{text[1:]}" if _PRIORITY.match(text) else text


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as Python gives arguments and file names
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_escaped(document: str) -> str:
    """A JSON document with the same content, whose strings have escapes for what must not be shown."""
    return _ANY.sub(_escape_json, document)


def _escape_json(found: re.Match[str]) -> str:
    character, code = found[0], ord(found[0])
    if character in "\n\t\r":  # between values; within strings they are escaped already
        return character
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def word(text: str) -> str:
    """A word of a command that can be copied into a shell."""
    return shlex.quote(text)


def account_word(name: str, account_id: object) -> str:
    """An account in a command to be copied: its name, or its id if the name is not copied as it is shown, or would be
    taken as an option."""
    is_copied = name.isprintable() and escaped(name) == name and name.strip() and not name.startswith("-")
    return word(name if is_copied else str(account_id))
