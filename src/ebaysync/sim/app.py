"""The simulator as an ASGI application: eBay's routes, the journal, and faults on the wire."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from ebaysync.sim import control, faults, scopes
from ebaysync.sim.apis import fulfillment, identity, oauth
from ebaysync.sim.apis.calls import Answer, Call, Refusal, no_such_resource
from ebaysync.sim.faults import Fault, Faults
from ebaysync.sim.journal import SECRET_PARAMETERS, Entry, Journal
from ebaysync.sim.moving import Mover
from ebaysync.sim.orders import Seller
from ebaysync.sim.world import World

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HOSTS = (
    ("auth", r"^/oauth2/"),
    ("apiz", r"^/(commerce/identity|sell/finances|sell/fulfillment/v1/payment_dispute)"),
)
ORDER = re.compile(re.escape(fulfillment.PATH) + r"/([^/]+)")


def create_app(world: World, *, keyset: oauth.Keyset | None = None) -> App:
    return App(world, keyset or oauth.Keyset())


class App:
    """`hosts` maps a port to the eBay host that it stands for; any other port stands for all of them."""

    def __init__(self, world: World, keyset: oauth.Keyset) -> None:
        self.world = world
        self.ledger = oauth.Ledger(world, keyset)
        self.journal = Journal()
        self.faults = Faults(world.seed)
        self.mover = Mover(world, self.faults.random)
        self.hosts: dict[int, str] = {}
        self.errors: list[BaseException] = []
        self.closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call, host = await _call(scope, receive, self.world), self.hosts.get(scope["server"][1], "any")
        try:
            if call.path.startswith("/_sim/"):
                answer, wire = control.answer(self, call), list[Fault]()
            else:
                answer, wire = self.answer(call, host)
        except Exception as error:
            self.errors.append(error)
            raise
        await _deliver(self, answer, wire, call, scope, receive, send)

    def answer(self, call: Call, host: str) -> tuple[Answer, list[Fault]]:
        """What eBay answers, and which faults the socket has yet to commit."""
        with self.world.lock:
            seller = self._seller_of(call)
            met = self.faults.meeting(call.path, seller.username if seller else None)
            self._before(met, seller)
            replaced = [fault for fault in met if fault.kind in faults.INSTEAD]
            answer = faults.instead(replaced[-1], call.now) if replaced else self._ebay(call, host)
            for fault in met:
                if fault.kind in faults.WITHIN:
                    faults.within(fault, answer)
            name = seller.username if seller else answer.seller
            for fault in met:
                if fault.kind in faults.AFTER and not (seller and answer.rows and self.mover.move(fault, seller, call)):
                    fault.struck -= 1  # nothing could move; the next page will do
            self._note(call, host, name, answer, met)
        return answer, [fault for fault in met if fault.kind in faults.WIRE]

    def _ebay(self, call: Call, host: str) -> Answer:
        if host not in ("any", _host_of(call.path)):
            return Answer(404)  # no envelope, no body: seen by those who asked the wrong host
        try:
            return self._route(call)
        except Refusal as refusal:
            return refusal.answer

    def _route(self, call: Call) -> Answer:
        if call.path == "/identity/v1/oauth2/token" and call.method == "POST":
            return oauth.token(self.ledger, call)
        if call.method != "GET":
            raise no_such_resource()
        if call.path == "/oauth2/authorize":
            return oauth.authorize(self.ledger, call)
        if call.path == "/commerce/identity/v1/user/":
            return identity.get_user(self._user(call, scopes.IDENTITY))
        if call.path == fulfillment.PATH:
            return fulfillment.get_orders(self.world, self._user(call, scopes.ORDERS), call)
        if order := ORDER.fullmatch(call.path):
            return fulfillment.get_order(self._user(call, scopes.ORDERS), call, order[1])
        raise no_such_resource()

    def _user(self, call: Call, needed: frozenset[str]) -> Seller:
        seller = oauth.check_bearer(self.ledger, call, needed)
        if seller is None:  # an application's token never has a seller's scopes
            raise no_such_resource()
        return seller

    def _seller_of(self, call: Call) -> Seller | None:
        """Whose call it is, for the journal and for faults; expired tokens tell it, too."""
        token = call.headers.get("authorization", "").partition(" ")[2]
        grant = self.ledger.access.get(token)
        if grant is None and call.path.endswith("/oauth2/token"):
            given = parse_qs(call.body.decode("latin-1")).get("refresh_token", [""])[0]
            grant = self.ledger.refresh.get(given)
        return grant.seller if grant else None

    def _before(self, met: list[Fault], seller: Seller | None) -> None:
        for fault in met:
            if fault.kind == "expire_tokens":
                self.ledger.expire_access()
            elif fault.kind == "revoke" and seller:
                self.ledger.revoke(seller)
            elif fault.kind == "narrow" and seller:
                self.ledger.narrow(seller, frozenset(fault.scopes))

    def _note(self, call: Call, host: str, seller: str | None, answer: Answer, met: list[Fault]) -> None:
        query = {name: value for name, value in call.query.items() if name not in SECRET_PARAMETERS}
        struck = tuple(fault.kind for fault in met)
        size = len(answer.body)
        self.journal.add(
            Entry(
                call.now,
                host,
                call.method,
                call.path,
                query,
                seller,
                answer.status,
                answer.rows,
                size,
                struck,
            )
        )


def _host_of(path: str) -> str:
    return next((host for host, pattern in HOSTS if re.search(pattern, path)), "api")


async def _call(scope: Scope, receive: Receive, world: World) -> Call:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > 1_000_000:
            break
    raw_query = scope["query_string"].decode("latin-1")
    query = {name: values[0] for name, values in parse_qs(raw_query, keep_blank_values=True).items()}
    base = f"{scope['scheme']}://{headers.get('host', '')}"
    return Call(scope["method"], scope["path"], raw_query, query, headers, body, base, world.now())


async def _deliver(
    app: App, answer: Answer, wire: list[Fault], call: Call, scope: Scope, receive: Receive, send: Send
) -> None:
    kinds = {fault.kind: fault for fault in wire}
    if slow := kinds.get("slow"):
        await _pause(app, slow.seconds)
    headers = _headers(answer, call.now)
    body = answer.body
    if "gzip" in call.headers.get("accept-encoding", "") and len(body) > 500:
        body, headers["content-encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
    broken = next((kind for kind in ("drop", "cut", "short", "bad_gzip") if kind in kinds), None)
    if broken:
        await _break(broken, scope["state"]["connection"], answer, headers, body, receive)
        return
    if "endless" not in kinds and answer.status != 204:
        headers["content-length"] = str(len(body))
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if "endless" in kinds:
        await _flood(app, body, send, receive)
    elif drip := kinds.get("drip"):
        for start in range(0, len(body), 64):
            await _pause(app, drip.seconds)
            await send({"type": "http.response.body", "body": body[start : start + 64], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": body})


def _headers(answer: Answer, now: datetime) -> dict[str, str]:
    headers = {"date": format_datetime(now.replace(microsecond=0), usegmt=True), **answer.headers}
    if answer.body:
        headers["content-type"] = answer.content_type
    return headers


async def _pause(app: App, seconds: float) -> None:
    """Real seconds, cut short when the simulator ends."""
    try:
        await asyncio.wait_for(app.closing.wait(), seconds)
    except TimeoutError:
        return


async def _break(
    kind: str, connection: Any, answer: Answer, headers: dict[str, str], body: bytes, receive: Receive
) -> None:
    """Writes past the HTTP library, which would not lie, and hangs up."""
    if kind == "drop":
        connection.reset()
    else:
        sent = body[: len(body) // 2] if kind in ("cut", "bad_gzip") else body
        length = {"cut": len(body), "short": len(body) + 50, "bad_gzip": len(sent)}[kind]
        if kind == "bad_gzip" and "content-encoding" not in headers:
            packed = gzip.compress(body, 1, mtime=0)
            sent, headers["content-encoding"] = packed[: len(packed) // 2], "gzip"
            length = len(sent)
        headers["content-length"] = str(length)
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + sent)
        connection.transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _flood(app: App, body: bytes, send: Send, receive: Receive) -> None:
    """A body that never ends, until the other side hangs up."""
    gone = asyncio.ensure_future(_gone(receive))
    await send({"type": "http.response.body", "body": body, "more_body": True})
    while not gone.done() and not app.closing.is_set():
        await send({"type": "http.response.body", "body": b" " * 65536, "more_body": True})
        await asyncio.sleep(0)
    await gone  # an ending simulator cuts the connection itself


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
