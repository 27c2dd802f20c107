"""Unkindness on request: which calls go wrong, and how.

A fault strikes the calls that match it, after letting some through, so many times. Several faults can strike
one call. This module decides and spoils answers; what needs the socket is done by the server.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from email.utils import format_datetime
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from ebaysync.sim import faults_answers, faults_json, faults_trading
from ebaysync.sim.calls import Answer, Call, answer_json

# Before the call is looked at: it then meets expired or shrunken tokens, or another seller's data.
BEFORE = ("expire_tokens", "revoke", "narrow", "other_account")
# The call loses its window on the way: eBay ignores its filter, or adds rows from outside.
WINDOW = ("no_filter", "outside")
# Instead of eBay's answer.
INSTEAD = ("status", "body", "html", "empty", "no_content", "wrong_shape", "redirect", "trading_error")
# In eBay's answer, whatever the call.
ANY_ANSWER = (
    "record",
    "unsent",
    "twice",
    "total",
    "empty_page",
    "text_numbers",
    "envelope",
    "truncated",
    "date",
)
# In a page of getOrders, or in an answer of the Trading API.
WITHIN = (
    "spoil",
    "next_loop",
    "next_elsewhere",
    "errors_too",
    "bom",
    "latin1",
    "xml_type",
    "trading_warning",
    "xml_spoil",
    "json_spoil",
)
# On the wire.
WIRE = ("slow", "drip", "drop", "cut", "short", "bad_gzip", "endless")
# After a page was answered: of getOrders, and (stir) of any call.
AFTER = ("leave", "leave_and_enter", "stir")
KINDS = (*BEFORE, *WINDOW, *INSTEAD, *ANY_ANSWER, *WITHIN, *WIRE, *AFTER)

SYSTEM_ERROR = {
    "errorId": 30500,
    "domain": "API_FULFILLMENT",
    "category": "APPLICATION",
    "message": "System error",
}
ACCESS_DENIED = 1100
ORDERS_PAGE = r"^/sell/fulfillment/v1/order$"


@dataclass(slots=True)
class Fault:
    kind: str
    path: str = ""  # a regular expression, searched in the path
    query: str = ""  # a regular expression, searched in the query, or in the body of a Trading call
    call: str | None = None  # the name of a call of the Trading API: only that one
    code: int = 0  # the errorId of status, trading_error, trading_warning; 0: a usual one
    seller: str | None = None  # a user name: only calls with that seller's token
    first_token: bool = False  # only calls with the token of the first one that fits
    after: int = 0  # so many matching calls go well first
    times: int | None = 1  # so many go wrong; None: all
    status: int = 503  # status
    retry_after: int | None = None  # status: seconds
    as_date: bool = False  # status: Retry-After as an HTTP date
    envelope: str = "errors"  # status: errors; or error, errorMessage, as the Post-Order API also has them; or oauth
    says: str = ""  # status, trading_error: eBay's text, with {token} and {body} for the call's; body: all, with {call}
    seconds: float = 0.0  # slow: before the answer; drip: between two pieces
    what: str = ""  # of the kind: one of CHOICES
    row: int = 0  # spoil, record, unsent: which row of the page, where `of` names none
    rst: bool = False  # cut: with RST instead of FIN
    by: int = 1  # total: how far from the truth; outside: how many rows; date: how many seconds off
    to: str = "http://127.0.0.2:9/elsewhere"  # redirect, next_elsewhere
    scopes: tuple[str, ...] = ()  # narrow: what is left
    where: str = "boundary"  # leave, leave_and_enter: boundary (the worst place) or random
    of: str = ""  # stir: a kind of things, of which `by` move and `by` are born, by chance; else only this record's id
    seen: int = 0
    struck: int = 0
    token: str = ""
    last: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(KINDS)}")
        if self.kind in CHOICES and self.what not in CHOICES[self.kind]:
            raise ValueError(f"no {self.kind} called {self.what!r}; there are {', '.join(CHOICES[self.kind])}")
        if self.envelope not in ("errors", "error", "errorMessage", "oauth"):
            raise ValueError("envelope is errors, error, errorMessage or oauth")
        if self.where not in ("boundary", "random"):
            raise ValueError("where is boundary or random")
        if self.as_date and (self.retry_after or 0) > 10**9:
            raise ValueError("no date is that far away")
        if not self.path and (self.call or self.kind in faults_trading.KINDS):
            self.path = faults_trading.PATH
        if not self.path and self.kind in ("leave", "leave_and_enter", "total", "empty_page", *WITHIN):
            self.path = ORDERS_PAGE
        for name in ("path", "query"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                raise ValueError(f"{name} is no regular expression: {error}") from None

    def meets(self, call: Call, seller: str | None) -> bool:
        """Counts the call if it matches, and says whether it goes wrong."""
        if not re.search(self.path, call.path) or self.seller not in (None, seller):
            return False
        if self.call not in (None, call.query.get("call")) or not self._asks(call):
            return False
        self.token = self.token or token_of(call)
        if self.first_token and token_of(call) != self.token:
            return False
        self.seen += 1
        if self.seen <= self.after or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    def _asks(self, call: Call) -> bool:
        text = call.body.decode("utf-8", "replace") if call.query.get("call") else unquote_plus(call.raw_query)
        return not self.query or re.search(self.query, text) is not None


class Faults:
    def __init__(self, seed: int) -> None:
        self.random = Random(f"{seed}/faults")
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, kind: str, **options: Any) -> Fault:
        """`add("status", path="/order", status=429, after=2, times=3)`; options are Fault's fields. Raises ValueError:
        there is no such kind."""
        known = {field.name for field in fields(Fault)} - {"kind", "seen", "struck", "token", "last"}
        if unknown := set(options) - known:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
        fault = Fault(kind, **options)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def remove(self, fault: Fault) -> None:
        with self._lock:
            self._faults.remove(fault)

    def meeting(self, call: Call, seller: str | None) -> list[Fault]:
        with self._lock:
            return [fault for fault in self._faults if fault.meets(call, seller)]


def token_of(call: Call) -> str:
    """The access token that a call carries."""
    return call.headers.get("x-ebay-api-iaf-token") or call.headers.get("authorization", "").partition(" ")[2]


def instead(fault: Fault, call: Call) -> Answer:
    """The answer that a fault gives in eBay's place."""
    if fault.kind == "status":
        return _status(fault, call)
    if fault.kind == "trading_error":
        return faults_trading.error(fault.code or faults_trading.INTERNAL, call, _said(fault, call))
    if fault.kind == "body":
        text = fault.says.replace("{call}", call.query.get("call", ""))
        return Answer(200, text.encode(), "text/xml" if text.startswith("<") else "application/json")
    if fault.kind == "html":
        page = b"<!DOCTYPE html><html><title>eBay</title><body>We'll be back soon.</body></html>"
        return Answer(200, page, "text/html;charset=utf-8")
    if fault.kind == "wrong_shape":
        return answer_json({"orders": {"a": 1}, "total": "many", "href": None})
    if fault.kind == "redirect":
        return Answer(302, headers={"location": fault.to})
    return Answer(204 if fault.kind == "no_content" else 200)


def _said(fault: Fault, call: Call) -> str:
    """A text that quotes the call, as eBay's do."""
    body = "&".join(f"{name}={values[0]}" for name, values in parse_qs(call.body.decode("latin-1")).items())
    return fault.says.replace("{token}", token_of(call)).replace("{body}", body)


def _status(fault: Fault, call: Call) -> Answer:
    said = _said(fault, call)
    texts = {
        429: (
            2001,
            "ACCESS",
            "REQUEST",
            "Too many requests.",
            "The request limit has been reached for the resource.",
        ),
        500: (30500, "API_FULFILLMENT", "APPLICATION", "System error", None),
        404: (2002, "ACCESS", "REQUEST", "Resource not found", "The requested resource was not found."),
    }
    default = (2003, "ACCESS", "APPLICATION", "Internal error", None)
    error_id, domain, category, message, long = texts.get(fault.status, default)
    if fault.code == ACCESS_DENIED:
        domain, category, message = "ACCESS", "REQUEST", "Access denied"
    error = {"errorId": fault.code or error_id, "domain": domain, "category": category, "message": message}
    if said:
        error |= {"message": said, "parameters": [{"name": "said", "value": said}]}
        long = said
    listed = [error | ({"longMessage": long} if long else {})]
    wrapped: dict[str, Any] = {fault.envelope: listed}
    if fault.envelope == "errorMessage":
        wrapped = {"errorMessage": {"error": listed}}
    elif fault.envelope == "oauth":
        wrapped = {"error": said or "server_error", "error_description": said}
    answer = answer_json(wrapped, fault.status)
    if fault.retry_after is not None:
        text = str(fault.retry_after)
        if fault.as_date:
            text = format_datetime(call.now + timedelta(seconds=fault.retry_after), usegmt=True)
        answer.headers["retry-after"] = text
    return answer


def in_any(fault: Fault, answer: Answer, call: Call) -> bool:
    """Spoils an answer of any call in place; returns whether there was something to spoil."""
    acts: dict[str, Callable[[], bool]] = {
        "record": lambda: faults_answers.record(answer, call, fault.what, fault.of, fault.row),
        "unsent": lambda: faults_answers.unsent(answer, call, fault.of, fault.row),
        "twice": lambda: faults_answers.twice(answer, call, fault.last),
        "total": lambda: faults_answers.total(answer, call, fault.by),
        "empty_page": lambda: faults_answers.empty_page(answer, call),
        "text_numbers": lambda: faults_answers.text_numbers(answer, call),
        "envelope": lambda: faults_answers.envelope(answer, call, fault.what),
        "truncated": lambda: faults_answers.truncated(answer),
        "date": lambda: faults_answers.dated(answer, call, fault.what, fault.by),
    }
    return acts[fault.kind]()


def within(fault: Fault, answer: Answer) -> None:
    """Spoils a page of getOrders, an answer of the Trading API, or a record of any JSON, in place; anything else stays
    as it is."""
    if fault.kind in faults_trading.KINDS:
        faults_trading.within(fault.kind, answer, fault.what, fault.code, fault.of or fault.row)
        return
    if fault.kind == "json_spoil":
        if answer.status == 200 and "json" in answer.content_type:
            faults_json.within(answer, fault.what, fault.of or fault.row)
        return
    if answer.status != 200 or b'"orders":' not in answer.body:
        return
    if fault.kind == "bom":
        answer.body = b"\xef\xbb\xbf" + answer.body
    elif fault.kind == "latin1":  # and no word of it in the headers
        answer.body = answer.body.decode().encode("latin-1", "replace")
    elif fault.kind == "xml_type":
        answer.content_type = "text/xml"
    else:
        page = json.loads(answer.body)
        _spoil_page(fault, page)
        text = json.dumps(page, separators=(",", ":"))  # ASCII: \ud800 and \u0000 travel as escapes
        answer.body = text.replace('"<digits>"', "9" * 5000).encode()


def _spoil_page(fault: Fault, page: dict[str, Any]) -> None:
    if fault.kind == "next_loop":
        page["next"] = page["href"]
    elif fault.kind == "next_elsewhere":
        page["next"] = fault.to
    elif fault.kind == "errors_too":
        page["errors"] = [SYSTEM_ERROR]
    elif rows := page["orders"]:
        named = [number for number, order in enumerate(rows) if order.get("orderId") == fault.of]
        for number in named if fault.of else [fault.row % len(rows)]:
            SPOILERS[fault.what](rows, number)


Spoiler = Callable[[list[dict[str, Any]], int], None]


def _set(*path: str | int, value: Any) -> Spoiler:
    def spoil(rows: list[dict[str, Any]], index: int) -> None:
        place: Any = rows[index]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return spoil


def _person_in(*path: str | int) -> Spoiler:
    """The buyer's names where something else belongs, as in a row whose cells have slipped."""

    def spoil(rows: list[dict[str, Any]], index: int) -> None:
        buyer = rows[index]["buyer"]
        name = buyer.get("buyerRegistrationAddress", {}).get("fullName", "")
        _set(*path, value=f"{buyer['username']} {name}")(rows, index)

    return spoil


def _drop_id(rows: list[dict[str, Any]], index: int) -> None:
    del rows[index]["orderId"]


def _duplicate(rows: list[dict[str, Any]], index: int) -> None:
    rows.append(rows[index])


def _not_an_object(rows: list[Any], index: int) -> None:
    rows[index] = "an order"


TOTAL = ("pricingSummary", "total", "value")
SPOILERS: dict[str, Spoiler] = {
    "no_id": _drop_id,
    "impossible_date": _set("lastModifiedDate", value="2026-02-30T25:61:00.000Z"),
    "ancient_date": _set("creationDate", value="0000-00-00T00:00:00.000Z"),
    "money_nan": _set(*TOTAL, value="NaN"),
    "money_number_nan": _set(*TOTAL, value=float("nan")),
    "money_text": _set(*TOTAL, value="twelve"),
    "money_person": _person_in(*TOTAL),
    "date_person": _person_in("creationDate"),
    "count_person": _person_in("lineItems", 0, "quantity"),
    "money_digits": _set(*TOTAL, value="<digits>"),
    "nul": _set("buyer", "username", value="buyer\x00_1"),
    "surrogate": _set("buyer", "username", value="buyer\ud800_1"),
    "duplicate": _duplicate,
    "unknown_enum": _set("orderFulfillmentStatus", value="BEAMED_UP"),
    "null_buyer": _set("buyer", value=None),
    "not_an_object": _not_an_object,
    "other_seller": _set("sellerId", value="somebody_else"),
}
# The values of `what`, by kind.
CHOICES: dict[str, tuple[str, ...]] = {
    "spoil": tuple(SPOILERS),
    "xml_spoil": tuple(faults_trading.SPOILERS),
    "json_spoil": tuple(faults_json.SPOILERS),
    "record": faults_answers.RECORDS,
    "envelope": tuple(faults_answers.ENVELOPES),
    "date": ("off", *faults_answers.DATES),
    "no_filter": ("window", "window and page"),
}
