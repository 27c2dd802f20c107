"""Logging to standard error, and the two guards that keep secrets out of it.

`Secret` hides a value from `repr`, `str` and f-strings. It also registers the value with the redactor, which replaces
it in every log line, in case a library prints it. The set of registered values is the project's only module-level
state: a value must be redacted wherever it turns up, even where no redactor could be passed in.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar, TextIO
from urllib.parse import quote

from ebaysync.shown import escaped, json_escaped

MASK = "***"
_known: set[str] = set()


class Secret:
    """A value that never prints. Call `reveal()` at the last moment, to send or encrypt it."""

    __slots__ = ("_value",)
    SHORTEST: ClassVar[int] = 6  # a shorter value would redact ordinary words

    def __init__(self, value: str, *, redacted: bool = True) -> None:
        self._value = value
        if redacted and len(value) >= self.SHORTEST:
            _known.add(value)

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        raise TypeError("a Secret is not pickled")


def basic(user: str, secret: Secret) -> Secret:
    """The credentials for HTTP's Basic scheme (RFC 7617), which are a secret themselves."""
    return Secret(base64.b64encode(f"{user}:{secret.reveal()}".encode()).decode())


@cache
def _spellings(value: str) -> set[str]:
    quoted = (quote(value, safe=safe, errors="surrogatepass") for safe in ("", "/"))
    return {value, *quoted, json.dumps(value)[1:-1]}


def redact(text: str) -> str:
    """Replace every known secret, in every spelling that a library may print: plain, URL-quoted, JSON."""
    # The longest first: a secret may be a part of a longer one, such as a token of its header.
    for value in sorted(_known, key=len, reverse=True):
        for spelling in _spellings(value):
            if spelling in text:
                text = text.replace(spelling, MASK)
    return text


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(self.line(record))

    def line(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return f"{stamp} {record.levelname.lower():7} {record.name.removeprefix('ebaysync.')}: {self.text(record)}"

    def text(self, record: logging.LogRecord) -> str:
        """Formats an exception as its type and place only: its text may quote a record."""
        message = record.getMessage()
        if not record.name.startswith("ebaysync"):
            # PostgreSQL quotes rows in DETAIL and CONTEXT, which stand on the lines after the first.
            message = message.partition("\n")[0]
        message = self.shown(message)
        if record.exc_info and record.exc_info[0]:
            kind, _, place = record.exc_info
            message = f"{message}\n{''.join(traceback.format_tb(place))}{kind.__name__}"
        return message

    def shown(self, message: str) -> str:
        return escaped(message)


class _JsonFormatter(_Formatter):
    def line(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.text(record),
        }
        return json_escaped(json.dumps(entry, ensure_ascii=False))

    def shown(self, message: str) -> str:
        """Whole: JSON has escapes of its own."""
        return message


def set_up(*, verbose: bool = False, quiet: bool = False, form: str = "text", stream: TextIO | None = None) -> None:
    """Log to `stream` (default: standard error). `verbose` means DEBUG for ebaysync.

    Libraries stay at WARNING, because httpx logs whole URLs, and psycopg at ERROR, because its warnings quote errors of
    PostgreSQL's, and so rows.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _Formatter())
    root = logging.getLogger()
    # Replaced, not added: this is called again when the settings are known.
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.getLogger("ebaysync").setLevel(level)
    for library in ("httpx", "httpcore", "sqlalchemy", "asyncio", "uvicorn"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger("psycopg").setLevel(logging.ERROR)


def notify(message: str, hint: str | None = None) -> None:
    """Print a line for the person who ran the command to standard error, as text or as JSON like the log."""
    handlers = logging.getLogger().handlers
    if handlers and isinstance(handlers[0].formatter, _JsonFormatter):
        logging.getLogger("ebaysync").error("%s%s", message, f" ({hint})" if hint else "")
        return
    indented = f"\n  {escaped(redact(hint))}" if hint else ""
    print(f"ebaysync: {escaped(redact(message))}{indented}", file=sys.stderr, flush=True)
