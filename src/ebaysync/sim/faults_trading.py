"""Faults in an answer of the Trading API: errors, warnings, and XML that no parser accepts."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

from ebaysync.sim import trading_xml
from ebaysync.sim.calls import Answer, Call

PATH = r"^/ws/api\.dll$"
KINDS = ("trading_error", "trading_warning", "xml_spoil")
WARNING, INTERNAL = 42, 10007
DOCTYPE = b'<!DOCTYPE x [<!ENTITY a "0123456789"><!ENTITY boom "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
HTML = b"<!DOCTYPE html><html><title>eBay</title><body>We'll be back soon.<br></body></html>"


def error(code: int, call: Call, says: str = "") -> Answer:
    """A warning stands before the error: "A Failure may carry warnings next to errors"."""
    errors = (
        trading_xml.error(WARNING, severity="Warning", says=says),
        trading_xml.error(code, *((says,) if says else ()), says=says),
    )
    return trading_xml.failure(call.query.get("call") or "Unknown", call.now, *errors)


def within(kind: str, answer: Answer, what: str, code: int, row: int | str) -> None:
    """`row` is the number of a record, or its id: then an answer without it stays as it is."""
    if b"<Ack>Success</Ack>" not in answer.body:
        return
    if kind == "xml_spoil":
        number = row if isinstance(row, int) else _row_of(answer.body, row)
        if number is not None:
            SPOILERS[what](answer, number)
        return
    text = trading_xml.error(code or WARNING, severity="Warning")
    answer.body = answer.body.replace(b"<Ack>Success</Ack>", b"<Ack>Warning</Ack>" + text.encode(), 1)


Spoiler = Callable[[Answer, int], None]


def _rows(body: bytes) -> list[int]:
    return [found.start() for found in re.finditer(rb"<(Message|Item)>", body)]


def _row_of(body: bytes, record_id: str) -> int | None:
    named = re.search(rb"<(?:MessageID|ItemID)>%b</" % re.escape(record_id.encode()), body)
    return bisect_right(_rows(body), named.start()) - 1 if named else None


def _place(body: bytes, row: int) -> int:
    """In the text, title or subject of a row; without rows in the envelope."""
    rows = _rows(body)
    if not rows:
        return body.index(b"<Version>") + len(b"<Version>")
    number = row % len(rows)
    start, end = rows[number], [*rows, len(body)][number + 1]
    names = (b"<Text>", b"<Title>", b"<Subject>", b"<ItemID>", b"<MessageID>")
    name = next(name for name in names if name in body[start:end])
    return body.index(name, start) + len(name)


def _insert(what: bytes) -> Spoiler:
    def spoil(answer: Answer, row: int) -> None:
        at = _place(answer.body, row)
        answer.body = answer.body[:at] + what + answer.body[at:]

    return spoil


def _truncated(answer: Answer, row: int) -> None:
    answer.body = answer.body[: _place(answer.body, row)]


def _doctype(answer: Answer, row: int) -> None:
    _insert(b"&boom;")(answer, row)
    head, end, rest = answer.body.partition(b"?>\n")
    answer.body = head + end + DOCTYPE + rest


def _html(answer: Answer, row: int) -> None:
    answer.body, answer.content_type, answer.rows = HTML, "text/html;charset=utf-8", ()


SPOILERS: dict[str, Spoiler] = {
    "control": _insert(b"\x0b"),
    "control_reference": _insert(b"&#11;"),
    "nul_reference": _insert(b"&#0;"),
    "surrogate_reference": _insert(b"&#xD83D;"),
    "entity": _insert(b"&nbsp;"),
    "ampersand": _insert(b" & "),
    "utf8": _insert(b"\xe9"),
    "truncated": _truncated,
    "doctype": _doctype,
    "html": _html,
}
