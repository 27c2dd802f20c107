"""The simulator as an ASGI application: calls find their API, faults meet them, the journal notes them."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from urllib.parse import parse_qs

from ebaysync.sim import apis, control, faults, faults_answers, restless, signing, wire
from ebaysync.sim.apis import analytics, oauth, trading_requests
from ebaysync.sim.apis.oauth import Route
from ebaysync.sim.calls import Answer, Call, Refusal, no_such_resource
from ebaysync.sim.faults import Fault, Faults
from ebaysync.sim.journal import SECRET_PARAMETERS, Entry, Journal
from ebaysync.sim.model import Seller
from ebaysync.sim.moving import Mover
from ebaysync.sim.quotas import Quotas
from ebaysync.sim.world import World

# eBay's hosts by path; everything else lives at api.
HOSTS = {
    "auth": r"^/oauth2/",
    "apiz": r"^/(commerce/identity|sell/finances|developer/key_management|sell/fulfillment/v1/payment_dispute)",
}


@cache
def routes() -> tuple[Route, ...]:
    """The calls that a seller's token can make: the ROUTES of every module in apis."""
    modules = [import_module(f"{apis.__name__}.{found.name}") for found in iter_modules(apis.__path__)]
    return tuple(route for module in modules for route in getattr(module, "ROUTES", ()))


def create_app(world: World, *, keyset: oauth.Keyset | None = None, quotas: Quotas | None = None) -> App:
    return App(world, keyset or oauth.Keyset(), quotas or Quotas())


class App:
    """`hosts` maps a port to the eBay host that it stands for; any other port stands for all of them."""

    def __init__(self, world: World, keyset: oauth.Keyset, quotas: Quotas) -> None:
        self.world = world
        self.quotas = quotas
        self.ledger = oauth.Ledger(world, keyset)
        self.journal = Journal()
        self.faults = Faults(world.seed)
        self.mover = Mover(world, self.faults.random)
        self.hosts: dict[int, str] = {}
        self.turns = 0  # answers of a restless world
        self.errors: list[Exception] = []  # what the simulator itself got wrong
        self.closing = asyncio.Event()

    async def __call__(self, scope: wire.Scope, receive: wire.Receive, send: wire.Send) -> None:
        try:
            call = await _call(scope, receive, self.world)
            if call.path.startswith("/_sim/"):
                answer, on_wire = control.answer(self, call), list[Fault]()
            else:
                answer, on_wire = self.answer(call, self.hosts.get(scope["server"][1], "any"))
            await wire.Wire(on_wire, self.closing, scope, receive, send).deliver(answer, call)
        except Exception as error:
            self.errors.append(error)
            raise

    def answer(self, call: Call, host: str) -> tuple[Answer, list[Fault]]:
        """eBay's answer, and the faults that the wire has yet to commit."""
        with self.world.lock:
            seller = self._seller_of(call)
            met = self.faults.meeting(call, seller.username if seller else None)
            stand_in = self._before(met, seller)
            replaced = [fault for fault in met if fault.kind in faults.INSTEAD]
            answer = faults.instead(replaced[-1], call) if replaced else self._ebay(call, host, stand_in, met)
            for fault in list(met):
                if fault.kind in faults.WITHIN:
                    faults.within(fault, answer)
                elif fault.kind in faults.ANY_ANSWER and not faults.in_any(fault, answer, call):
                    _missed(fault, met)
            struck = [fault for fault in met if self._after(fault, seller, call, answer)]
            name = seller.username if seller else answer.seller
            self._note(call, host, name, answer, struck)
        return answer, [fault for fault in met if fault.kind in faults.WIRE]

    def _ebay(self, call: Call, host: str, stand_in: Seller | None, met: list[Fault]) -> Answer:
        if host not in ("any", _host_of(call.path)):
            return Answer(404)  # no envelope, no body: seen by those who asked the wrong host
        try:
            self.quotas.count(call)
            for fault in met:
                if fault.kind == "no_filter":
                    call = faults_answers.without_window(call, pages_too=fault.what == "window and page")
            answer = self._route(call, stand_in)
            for fault in list(met):
                if fault.kind == "outside" and not self._widen(fault, answer, call, stand_in):
                    _missed(fault, met)
        except Refusal as refusal:
            return refusal.answer
        if self.world.quirks.restless:
            self.turns += 1
            restless.disturb(answer, call, self.turns)
        return answer

    def _widen(self, fault: Fault, answer: Answer, call: Call, stand_in: Seller | None) -> bool:
        wider = self._route(faults_answers.without_window(call, pages_too=True), stand_in)
        return faults_answers.outside(answer, call, wider, fault.by)

    def _route(self, call: Call, stand_in: Seller | None) -> Answer:
        if call.path == "/identity/v1/oauth2/token" and call.method == "POST":
            return oauth.token(self.ledger, call)
        if call.path == "/oauth2/authorize" and call.method == "GET":
            return oauth.authorize(self.ledger, call)
        if call.path == analytics.PATH and call.method == "GET":
            return analytics.rate_limits(self.ledger, self.quotas, call)
        for route in routes():
            if call.method == route.method and (path := re.fullmatch(route.path, call.path)):
                seller = route.authorize(self.ledger, call, route.scopes)
                if route.path != trading_requests.PATH:
                    signing.check(
                        self.world.signing_keys, call, seller if route.signed and self.world.quirks.signatures else None
                    )
                return route.handler(self.world, stand_in or seller, call, *path.groups())
        raise no_such_resource()

    def _seller_of(self, call: Call) -> Seller | None:
        """The caller, for the journal and for faults, even with an expired token."""
        grant = self.ledger.access.get(faults.token_of(call))
        if grant is None and call.path.endswith("/oauth2/token"):
            given = parse_qs(call.body.decode("latin-1")).get("refresh_token", [""])[0]
            grant = self.ledger.refresh.get(given)
        return grant.seller if grant else None

    def _before(self, met: list[Fault], seller: Seller | None) -> Seller | None:
        """Does what precedes the call; gives the seller in whose name it is answered, if it is another."""
        stand_in = None
        for fault in met:
            if fault.kind == "expire_tokens":
                self.ledger.expire_access()
            elif fault.kind == "revoke" and seller:
                self.ledger.revoke(seller)
            elif fault.kind == "narrow" and seller:
                self.ledger.narrow(seller, frozenset(fault.scopes))
            elif fault.kind == "other_account":
                stand_in = next(other for other in self.world.sellers if other is not seller)
        return stand_in

    def _after(self, fault: Fault, seller: Seller | None, call: Call, answer: Answer) -> bool:
        """Moves rows now that the page is answered; says whether the fault struck."""
        if fault.kind not in faults.AFTER:
            return True
        if fault.kind == "stir" and seller and answer.status == 200:
            return self.mover.stir(fault, seller)
        if fault.kind != "stir" and seller and answer.rows and self.mover.move(fault, seller, call):
            return True
        fault.struck -= 1  # nothing could move: the next page will do
        return False

    def _note(self, call: Call, host: str, seller: str | None, answer: Answer, struck: list[Fault]) -> None:
        query = {name: value for name, value in call.query.items() if name not in SECRET_PARAMETERS}
        kinds = tuple(fault.kind for fault in struck)
        size = len(answer.body)
        entry = Entry(call.now, host, call.method, call.path, query, seller, answer.status, answer.rows, size, kinds)
        self.journal.add(entry)


def _missed(fault: Fault, met: list[Fault]) -> None:
    """The answer had nothing that the fault could spoil."""
    fault.struck -= 1
    met.remove(fault)


def _host_of(path: str) -> str:
    return next((host for host, pattern in HOSTS.items() if re.search(pattern, path)), "api")


async def _call(scope: wire.Scope, receive: wire.Receive, world: World) -> Call:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > 1_000_000:
            break
    raw_query = scope["query_string"].decode("latin-1")
    query = {name: values[0] for name, values in parse_qs(raw_query, keep_blank_values=True).items()}
    if scope["path"] == trading_requests.PATH:  # its parameters are in the body
        query = trading_requests.parameters(headers, body)
    base = f"{scope['scheme']}://{headers.get('host', '')}"
    raw_path = scope["raw_path"].decode("latin-1")
    return Call(scope["method"], scope["path"], raw_query, query, headers, body, base, world.now(), raw_path)
