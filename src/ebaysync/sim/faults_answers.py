"""Faults in the answers of any call: in a record, a list, a page or the envelope around them.

Each works on a finished answer and returns whether it changed it; one without the wanted record stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote_plus

from ebaysync.sim import faults_trading, shapes, trading_xml
from ebaysync.sim.calls import Answer, Call
from ebaysync.sim.shapes import Shape

# A field before the others, as raw text. No JSON parser takes `control`, `utf8` and `broken`; `deep`, `digits` and
# `surrogate` are grammatical, and still too much for most.
ODD: Mapping[str, bytes] = {
    "control": b'"a\x02b"',
    "utf8": b'"\xe9"',
    "broken": b"}",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "surrogate": b'"\\ud800"',
    "digits": b"9" * 1_000_000,
}
RECORDS = (*ODD, "no_id", "other")
IN_XML = {"surrogate": "surrogate_reference", "broken": "ampersand"}
OTHER: dict[str, Any] = {"user": {"userId": "somebody"}}
ERRORS = [{"errorId": 135000, "domain": "ACCESS", "category": "REQUEST", "message": "internal"}]
ENVELOPES: Mapping[str, Any] = {
    "empty_object": {},
    "errors": {"errors": ERRORS},
    "warnings": {"warnings": []},
    "other": OTHER,
    "no_list": None,  # eBay's own answer without its list
}
DATES: Mapping[str, datetime] = {
    "1969": datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
    "2037": datetime(2037, 12, 31, tzinfo=UTC),
    "9999": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
}
WINDOWS = re.compile(r"filter|\w*date(_range)?_(from|to)")
PAGES = re.compile(r"offset")
XML_WINDOWS = re.compile(rb"<(StartTime|EndTime)>[^<]*</\1>")
XML_PAGES = re.compile(rb"<PageNumber>[^<]*</PageNumber>")
XML_LISTS = re.compile(
    rb"<(Messages|ActiveList|\w*BidList|BestOfferList|\w*WonList|\w*LostList|Summary)(>.*</\1>|/>)", re.DOTALL
)


def record(answer: Answer, call: Call, what: str, wanted: str, row: int) -> bool:
    """One record of a list, or a detail, becomes what no client can decode, or something else."""
    if answer.status != 200:
        return False
    if call.query.get("call"):
        return _xml_record(answer, what, wanted, row)
    document, shape = _opened(answer, call)
    if document is None:
        return False
    if shape is None:
        if wanted and not unquote_plus(call.path).endswith(f"/{wanted}"):
            return False
        answer.body = _odd(document, what, None)
        return True
    rows = document.get(shape.rows, [])
    number = _number(rows, shape, wanted, row)
    if number is None:
        return False
    spoiled = _odd(rows[number], what, shape.id)
    rows[number] = "<record>"
    answer.body = _text(document).replace(b'"<record>"', spoiled, 1)
    return True


def _odd(body: dict[str, Any], what: str, id_name: str | None) -> bytes:
    if what == "other":
        return _text(OTHER)
    if what == "no_id":
        return _text({name: value for name, value in body.items() if name != id_name})
    return b'{"odd":' + ODD[what] + b"," + _text(body)[1:]


def _number(rows: list[Any], shape: Shape, wanted: str, row: int) -> int | None:
    if not wanted:
        return row % len(rows) if rows else None
    return next((n for n, body in enumerate(rows) if str(body.get(shape.id)) == wanted), None)


def _xml_record(answer: Answer, what: str, wanted: str, row: int) -> bool:
    if b"<Ack>Success</Ack>" not in answer.body:
        return False
    place = _xml_row(answer.body, wanted, row)
    if place is None:
        return False
    start, end = place
    text = answer.body[start:end]
    if what == "other":
        tag = re.match(rb"<(\w+)>", text)
        text = b"<%b><Other>1</Other></%b>" % (tag[1], tag[1]) if tag else text
    elif what == "no_id":
        text = shapes.XML_ID.sub(b"", text)
    elif what == "deep":
        text = _in_title(text, b"<a>" * 100_000 + b"</a>" * 100_000)
    elif what != "digits":  # which are a text like any other in XML
        only = Answer(200, b"<Version>" + text)
        faults_trading.SPOILERS[IN_XML.get(what, what)](only, 0)
        text = only.body.removeprefix(b"<Version>")
    changed = text != answer.body[start:end]
    answer.body = answer.body[:start] + text + answer.body[end:]
    return changed


def _in_title(text: bytes, inserted: bytes) -> bytes:
    return re.sub(rb"(?<=</)(Title|Subject|FolderID)>", lambda end: end[0] + inserted, text, count=1)


def _xml_row(body: bytes, wanted: str, row: int) -> tuple[int, int] | None:
    rows = [found.span() for found in shapes.XML_ROWS.finditer(body)]
    if not wanted:
        return rows[row % len(rows)] if rows else None
    named = [span for span in rows if wanted.encode() in {m[2] for m in shapes.XML_ID.finditer(body, *span)}]
    return named[0] if named else None


def unsent(answer: Answer, call: Call, wanted: str, row: int) -> bool:
    """A record is counted, and never sent."""

    def drop(rows: list[Any], number: int) -> None:
        del rows[number]

    return _each_list(answer, call, wanted, row, drop)


def twice(answer: Answer, call: Call, last: list[Any]) -> bool:
    """The last record of a page comes again at the beginning of the next page; on an only page, at its end.

    `last` carries that record from page to page.
    """
    if call.query.get("call"):
        return _xml_twice(answer, call, last)
    document, shape = _opened(answer, call)
    if document is None or shape is None or not document.get(shape.rows):
        return False
    rows = document[shape.rows]
    again, last[:] = last[:], [rows[-1]]
    # Post-Order's offset may count pages: then the first one is 0 or 1.
    first_page = int(call.query.get("offset", 0)) <= call.path.startswith("/post-order/")
    if first_page and shapes.total(document, shape) > len(rows):
        return False
    if first_page or not again:
        rows.append(rows[-1])
    else:
        rows.insert(0, again[0])
    answer.body = _text(document)
    return True


def _xml_twice(answer: Answer, call: Call, last: list[Any]) -> bool:
    rows = [*shapes.XML_ROWS.finditer(answer.body)]
    if not rows:
        return False
    again, last[:] = last[:], [rows[-1][0]]
    number = re.search(rb"<PageNumber>(\d+)<", call.body)
    first_page = number is None or number[1] == b"1"
    pages = re.search(rb"<TotalNumberOfPages>(\d+)<", answer.body)
    if first_page and pages and pages[1] != b"1":
        return False
    copy, at = (rows[-1][0], rows[-1].end()) if first_page or not again else (again[0], rows[0].start())
    answer.body = answer.body[:at] + copy + answer.body[at:]
    return True


def _each_list(answer: Answer, call: Call, wanted: str, row: int, change: Callable[[list[Any], int], None]) -> bool:
    """Change the rows around the wanted one."""
    if call.query.get("call"):
        place = _xml_row(answer.body, wanted, row)
        if place:
            rows = [answer.body[place[0] : place[1]]]
            change(rows, 0)
            answer.body = answer.body[: place[0]] + b"".join(rows) + answer.body[place[1] :]
        return place is not None
    document, shape = _opened(answer, call)
    if document is None or shape is None:
        return False
    rows = document.get(shape.rows, [])
    number = _number(rows, shape, wanted, row)
    if number is None:
        return False
    gone = str(rows[number].get(shape.id))
    change(rows, number)
    answer.body = _text(document)
    answer.rows = tuple(each for each in answer.rows if each[0] != gone)
    return True


def total(answer: Answer, call: Call, by: int) -> bool:
    """Every total of a page is so far from the truth."""
    if call.query.get("call"):
        before = answer.body
        answer.body = shapes.XML_COUNT.sub(lambda count: b"%d" % max(0, int(count[0]) + by), before)
        return answer.body != before
    document, shape = _opened(answer, call)
    if document is None or shape is None or shape.rows not in document:
        return False
    shapes.add(document, shape, by)
    answer.body = _text(document)
    return True


def empty_page(answer: Answer, call: Call) -> bool:
    """The totals stay, the rows are gone."""
    document, shape = _opened(answer, call)
    if document is None or shape is None:
        return False
    document[shape.rows], answer.rows = [], ()
    answer.body = _text(document)
    return True


def text_numbers(answer: Answer, call: Call) -> bool:
    """The counters of an envelope are text, as some of eBay's are."""
    document, shape = _opened(answer, call)
    if document is None or shape is None:
        return False
    for place in (document, document.get("paginationOutput", {})):
        place |= {name: str(value) for name, value in place.items() if type(value) is int}
    answer.body = _text(document)
    return True


def envelope(answer: Answer, call: Call, what: str) -> bool:
    """A Success without what was asked for. A Trading answer keeps its Ack and its Timestamp."""
    if answer.status not in (200, 204):
        return False
    if name := call.query.get("call"):
        if b"<Ack>Success</Ack>" not in answer.body:
            return False
        if what == "no_list":
            answer.body = XML_LISTS.sub(b"", answer.body)
        else:
            errors = [trading_xml.error(10007)] if what == "errors" else []
            root = "GetUser" if what == "other" else name
            ack = "Warning" if what == "warnings" else "Success"
            answer.body = trading_xml.envelope(root, call.now, "", ack=ack, errors=errors)
    elif what == "no_list":
        document, shape = _opened(answer, call)
        if document is None or shape is None or shape.rows not in document:
            return False
        del document[shape.rows]
        answer.body = _text(document)
    elif shapes.of(call.path) is None and not shapes.DETAIL.fullmatch(call.path):
        return False
    else:
        answer.status, answer.body = 200, _text(ENVELOPES[what])
    answer.rows = ()
    return True


def truncated(answer: Answer) -> bool:
    """A half of the body, with the right Content-Length."""
    answer.body = answer.body[: len(answer.body) // 2]
    return bool(answer.body)


def dated(answer: Answer, call: Call, what: str, seconds: float) -> bool:
    """A Date header that is wrong: of another age, or so many seconds off."""
    at = DATES.get(what) or call.now.replace(microsecond=0) + timedelta(seconds=seconds)
    answer.headers["date"] = format_datetime(at, usegmt=True)
    return True


def without_window(call: Call, *, pages_too: bool) -> Call:
    """The call as an eBay reads it that knows no filter; with `pages_too` no page either."""
    if call.query.get("call"):
        body = XML_WINDOWS.sub(b"", call.body)
        return replace(call, body=XML_PAGES.sub(b"", body) if pages_too else body)

    def kept(name: str) -> bool:
        return not WINDOWS.fullmatch(name) and not (pages_too and PAGES.fullmatch(name))

    query = {name: value for name, value in call.query.items() if kept(name)}
    parts = [part for part in call.raw_query.split("&") if kept(unquote_plus(part.partition("=")[0]))]
    return replace(call, query=query, raw_query="&".join(parts))


def outside(answer: Answer, call: Call, wider: Answer, most: int) -> bool:
    """Rows that stand in `wider` alone, the answer to the call without its window, come with the page, counted."""
    if call.query.get("call"):
        new = [row[0] for row in shapes.XML_ROWS.finditer(wider.body) if row[0] not in answer.body][:most]
        if b"<Messages/>" in answer.body:
            answer.body = answer.body.replace(b"<Messages/>", b"<Messages></Messages>", 1)
        answer.body = answer.body.replace(b"</Messages>", b"".join(new) + b"</Messages>", 1)
        return bool(new)
    whole, shape = _opened(wider, call)
    if whole is None or shape is None:
        return False
    page, _ = _opened(answer, call)
    if page is None:  # 204: nothing is in the window
        page = whole | {shape.rows: []}
        shapes.add(page, shape, -(10**9))
        page.pop("next", None)
    known = {row.get(shape.id) for row in page.get(shape.rows, [])}
    new = [row for row in whole.get(shape.rows, []) if row.get(shape.id) not in known][:most]
    if not new:
        return False
    page[shape.rows] = [*page.get(shape.rows, []), *new]
    if len(shape.counts) == 2 and "paginationOutput" not in page:
        page["paginationOutput"] = {**whole.get("paginationOutput", {}), "totalEntries": 0}
    shapes.add(page, shape, len(new))
    answer.status, answer.body = 200, _text(page)
    return True


def _opened(answer: Answer, call: Call) -> tuple[dict[str, Any] | None, Shape | None]:
    """The JSON of a list with its shape, or of a detail; None where it is neither, or spoiled already."""
    shape = shapes.of(call.path)
    if answer.status != 200 or (shape is None and not shapes.DETAIL.fullmatch(call.path)):
        return None, None
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None, None
    return (document, shape) if isinstance(document, dict) else (None, None)


def _text(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
