"""An eBay of a test's own on a real socket: answers that the test gives, and an eBay without data behind them.

It is strict: a call without a token that it issued gets a 401, and a path that eBay does not have fails the test.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

NAMESPACE = "urn:ebay:apis:eBLBaseComponents"
REFRESH_TOKEN = "v^1.1#i^1#r^1#the seller's"
TOKEN = "/identity/v1/oauth2/token"
TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True)
class Request:
    path: str
    query: Mapping[str, str]
    body: str
    call: str
    """of the Trading API"""
    token: int
    """the number of the access token, from 1"""


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Request], Reply | None]


def as_json(document: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document).encode())


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def span_of(request: Request) -> tuple[str, str] | None:
    """The two times that a call asks for, from a filter or from two parameters."""
    found = TIMES.findall(" ".join(request.query.values()) + request.body)
    return (found[0], found[1]) if len(found) == 2 else None


def trading(call: str, content: str = "", *, ack: str = "Success", now: datetime | None = None) -> Reply:
    head = f"<Timestamp>{stamp(now or datetime.now(UTC))}</Timestamp><Ack>{ack}</Ack><Version>1487</Version>"
    text = f'<?xml version="1.0"?><{call}Response xmlns="{NAMESPACE}">{head}{content}</{call}Response>'
    return Reply(200, text.encode(), "text/xml")


class CaseServer:
    """`answers` come first, in their order; the calls made are in `asked`, those that eBay does not have in `wrong`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.answers: list[Answer] = []
        self.asked: list[Request] = []
        self.wrong: list[str] = []
        self.tokens = 0
        self.world = SimpleNamespace(sellers=[SimpleNamespace(username="shop", refresh_token=REFRESH_TOKEN)])
        self.url = ""

    def of(self, path: str) -> list[Request]:
        """The calls made so far whose path or Trading call is this."""
        return [each for each in self.asked if path in (each.path, each.call)]

    def reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        parts = urlsplit(target)
        if parts.path == TOKEN:
            return self._grant()
        token = headers.get("x-ebay-api-iaf-token") or headers.get("authorization", "").partition(" ")[2]
        number = int(token.removeprefix("access-") or 0) if re.fullmatch(r"access-\d+", token) else 0
        if not 1 <= number <= self.tokens:
            return as_json({"errors": [{"errorId": 1001, "domain": "OAuth", "message": "Invalid access token"}]}, 401)
        call = headers.get("x-ebay-api-call-name", "")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(parts.path, query, body.decode("utf-8", "replace"), call, number)
        self.asked.append(request)
        for answer in self.answers:
            if (found := answer(request)) is not None:
                return found
        found = self._without_data(method, request)
        if found is None:
            self.wrong.append(f"{method} {target}")
            return as_json({"errors": [{"errorId": 2002, "message": "Resource not found"}]}, 404)
        return found

    def _grant(self) -> Reply:
        self.tokens += 1
        return as_json({"access_token": f"access-{self.tokens}", "expires_in": 7200, "token_type": "User Access Token"})

    def _without_data(self, method: str, request: Request) -> Reply | None:
        if request.path == "/ws/api.dll" and method == "POST":
            return self._no_trading(request.call)
        if method != "GET":
            return None
        for path, found in EMPTY.items():
            if re.fullmatch(path, request.path):
                return found
        return None

    def _no_trading(self, call: str) -> Reply | None:
        content = {
            "GetMyMessages": "<Summary><TotalMessageCount>0</TotalMessageCount></Summary>",
            "GetMyeBaySelling": "",
            "GetMyeBayBuying": "<BuyingSummary><BiddingCount>0</BiddingCount><WonCount>0</WonCount></BuyingSummary>",
        }.get(call)
        return None if content is None else trading(call, content, now=self.now())


_NO_MATCH = {"errors": [{"errorId": 25713, "domain": "API_INVENTORY", "message": "This Offer is not available."}]}
_PAGES = {"totalEntries": 0, "totalPages": 0, "offset": 0, "limit": 0}
EMPTY: dict[str, Reply] = {
    "/commerce/identity/v1/user/": as_json(
        {"userId": "u-1", "username": "shop", "registrationMarketplaceId": "EBAY_US", "status": "CONFIRMED"}
    ),
    "/developer/analytics/v1_beta/rate_limit/": as_json({"rateLimits": []}),
    "/sell/fulfillment/v1/order": as_json({"href": "x", "total": 0, "limit": 200, "offset": 0, "orders": []}),
    "/sell/finances/v1/(transaction|payout)": Reply(204),
    "/sell/fulfillment/v1/payment_dispute_summary": as_json({"total": 0, "paymentDisputeSummaries": []}),
    "/sell/inventory/v1/inventory_item": as_json({"href": "x", "total": 0, "size": 0, "limit": 200}),
    "/sell/inventory/v1/offer": as_json(_NO_MATCH, 404),
    "/post-order/v2/casemanagement/search": as_json(
        {"members": [], "totalNumberOfCases": 0, "paginationOutput": _PAGES}
    ),
    "/post-order/v2/inquiry/search": as_json({"members": [], "totalNumberOfInquiries": 0, "paginationOutput": _PAGES}),
    "/post-order/v2/return/search": as_json({"members": [], "total": 0, "paginationOutput": _PAGES}),
    "/post-order/v2/cancellation/search": as_json({"cancellations": [], "total": 0, "paginationOutput": _PAGES}),
}


@contextmanager
def serving(now: Callable[[], datetime]) -> Iterator[CaseServer]:
    found = CaseServer(now)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            given = {name.lower(): value for name, value in self.headers.items()}
            reply = found.reply(self.command, self.path, given, self.rfile.read(size))
            self.send_response_only(reply.status)
            sent = {"Date": format_datetime(found.now().replace(microsecond=0), usegmt=True), **reply.headers}
            if reply.body:
                sent["Content-Type"] = reply.content_type
            if reply.status != 204:
                sent["Content-Length"] = str(len(reply.body))
            for name, value in sent.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
            self.wfile.flush()

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *values: Any) -> None:
            """Nothing."""

    class Quick(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Quick(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


# ---- cases as files


def filled(text: str, now: datetime) -> str:
    """A file's text with its times: {{-60m}}, @NOW@, @NOW-3D@."""

    def ago(found: re.Match[str]) -> str:
        units = {"m": "minutes", "h": "hours", "d": "days"}
        return stamp(now - timedelta(**{units[found[2].lower()]: int(found[1])}))

    text = re.sub(r"\{\{-(\d+)([mhd])\}\}", ago, text)
    return re.sub(r"@NOW-(\d+)([DHM])@", ago, text).replace("@NOW@", stamp(now))


DATES = {
    "orders": "lastModifiedDate",
    "transactions": "transactionDate",
    "payouts": "payoutDate",
    "paymentDisputeSummaries": "openDate",
}


def declared(each: Mapping[str, Any], now: datetime) -> Answer:
    """An answer as a case's file declares it."""

    def answer(request: Request) -> Reply | None:
        asked = each.get("query", {})
        if not re.fullmatch(each["path"], request.path):
            return None
        if not all(re.search(pattern, request.query.get(name, "")) for name, pattern in asked.items()):
            return None
        if each.get("first_token_only") and request.token > 1:
            return None
        if "window" in each:
            return _page(each["window"], request, now)
        text = json.dumps(each["json"])
        for name, value in request.query.items():
            text = text.replace(f"{{{name}}}", json.dumps(value)[1:-1])
        return Reply(each.get("status", 200), text.encode(), headers=each.get("headers", {}))

    return answer


def _page(window: Mapping[str, Any], request: Request, now: datetime) -> Reply:
    """The records of the asked span, and those beside them that are counted alone."""
    start, end = span_of(request) or ("", "9999")
    name = DATES[window["list"]]
    shown = [record for record in window["records"] if start <= record[name] <= end]
    hidden = [filled(f"{{{{{ago}}}}}", now) for ago in window["counted_not_sent"]]
    total = len(shown) + sum(1 for at in hidden if start <= at <= end)
    limit, offset = int(request.query.get("limit", 50)), int(request.query.get("offset", 0))
    if not total and "finances" in request.path:
        return Reply(204)
    page = {"href": "x", "total": total, "limit": limit, "offset": offset}
    return as_json(page | {window["list"]: shown[offset : offset + limit]})
