"""OAuth: consent, grants, access tokens. eBay's page: "OAuth API: authorization code grant", "refresh token".

Tokens are bound to a seller and to scopes and live by the simulator's clock. A refresh token is never rotated
and its life never grows.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from urllib.parse import parse_qs, urlencode

from ebaysync.sim.calls import Answer, Call, Refusal, answer_json, refuse
from ebaysync.sim.model import Seller
from ebaysync.sim.scopes import BASE, SELLER_SCOPES
from ebaysync.sim.secrets import opaque
from ebaysync.sim.world import World

ACCESS_SECONDS = 7200
REFRESH_SECONDS = 47_304_000  # 18 months
CODE_SECONDS = 299


@dataclass(frozen=True, slots=True)
class Keyset:
    client_id: str = "simulator"
    client_secret: str = "simulator"  # noqa: S105 - the simulator keeps no secrets
    ru_name: str = "simulator"
    accept_url: str = ""  # where the consent page sends the seller's browser; empty: a page of the simulator


@dataclass(slots=True)
class Grant:
    """A seller's consent, a code on the way to it, or an access token made from it."""

    seller: Seller | None  # none: the application itself
    scopes: frozenset[str]
    expires: datetime
    valid: bool = True
    of: Grant | None = None
    client_id: str | None = None  # the application it was issued to; none: the simulator's first keyset


@dataclass(slots=True)
class Ledger:
    """Every token there is."""

    world: World
    keyset: Keyset
    refresh: dict[str, Grant] = field(default_factory=dict)
    access: dict[str, Grant] = field(default_factory=dict)
    codes: dict[str, Grant] = field(default_factory=dict)
    others: list[Keyset] = field(default_factory=list)  # further applications of the same company
    random: Random = field(default_factory=Random)

    def __post_init__(self) -> None:
        self.random = Random(f"{self.world.seed}/tokens")
        until = self.world.began + timedelta(seconds=REFRESH_SECONDS)
        for seller in self.world.sellers:
            self.refresh[seller.refresh_token] = Grant(seller, seller.scopes, until)

    def issue(self, store: dict[str, Grant], grant: Grant, size: int) -> str:
        token = opaque(self.random, size)
        store[token] = grant
        return token

    def of_access(self, token: str, now: datetime) -> Grant | None:
        grant = self.access.get(token)
        return grant if grant and grant.valid and now < grant.expires else None

    def expire_access(self) -> None:
        for grant in self.access.values():
            grant.valid = False

    def revoke(self, seller: Seller) -> None:
        """The seller withdraws consent: refresh and access tokens stop working."""
        for grant in (*self.refresh.values(), *self.access.values()):
            if grant.seller is seller:
                grant.valid = False

    def narrow(self, seller: Seller, scopes: frozenset[str]) -> None:
        """Leaves the seller's tokens, old and new, nothing beyond these scopes."""
        for grant in (*self.refresh.values(), *self.access.values()):
            if grant.seller is seller:
                grant.scopes &= scopes


def oauth_error(status: int, error: str, description: str) -> Refusal:
    return Refusal(answer_json({"error": error, "error_description": description}, status))


INVALID_SCOPE = "The requested scope is invalid, unknown, malformed, or exceeds the scope granted to the client"


def token(ledger: Ledger, call: Call) -> Answer:
    """POST /identity/v1/oauth2/token. Raises Refusal with OAuth's error."""
    keyset = _client_of(ledger, call.headers.get("authorization", ""))
    content_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        raise oauth_error(400, "invalid_request", "request is missing a required parameter or malformed.")
    form = _form(call.body)
    if form.get("grant_type") == "refresh_token":
        return _refresh(ledger, keyset, call.now, form)
    if form.get("grant_type") == "authorization_code":
        return _code(ledger, keyset, call.now, form)
    if form.get("grant_type") == "client_credentials":
        return _client(ledger, call.now, form)
    description = "grant type in request is not supported by the authorization server"
    raise oauth_error(400, "unsupported_grant_type", description)


def _client_of(ledger: Ledger, authorization: str) -> Keyset:
    """The application that makes the call. Raises Refusal."""
    kind, _, encoded = authorization.partition(" ")
    try:
        given = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        given = ""
    for keyset in (ledger.keyset, *ledger.others):
        if kind.lower() == "basic" and given == f"{keyset.client_id}:{keyset.client_secret}":
            return keyset
    raise oauth_error(401, "invalid_client", "client authentication failed")


def _form(body: bytes) -> dict[str, str]:
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    except (UnicodeDecodeError, ValueError):
        raise oauth_error(400, "invalid_request", "the body is not a form") from None
    if any(len(values) > 1 for values in fields.values()):
        raise oauth_error(400, "invalid_request", "a parameter is repeated")
    return {name: values[0] for name, values in fields.items()}


def _live(store: dict[str, Grant], token: str | None, now: datetime) -> Grant | None:
    grant = store.get(token or "")
    return grant if grant and grant.valid and now < grant.expires else None


def _refresh(ledger: Ledger, keyset: Keyset, now: datetime, form: dict[str, str]) -> Answer:
    consent = _live(ledger.refresh, form.get("refresh_token"), now)
    if consent is None or (consent.client_id or ledger.keyset.client_id) != keyset.client_id:
        description = "the provided authorization refresh token is invalid or was issued to another client"
        raise oauth_error(400, "invalid_grant", description)
    scopes = _asked(form, consent.scopes) if "scope" in form else consent.scopes
    return _granted(ledger, now, consent, scopes)


def _asked(form: dict[str, str], allowed: frozenset[str]) -> frozenset[str]:
    asked = frozenset(form.get("scope", "").split())
    if not asked or not asked <= allowed:
        raise oauth_error(400, "invalid_scope", INVALID_SCOPE)
    return asked


def _granted(ledger: Ledger, now: datetime, consent: Grant, scopes: frozenset[str]) -> Answer:
    access = Grant(consent.seller, scopes, now + timedelta(seconds=ACCESS_SECONDS), of=consent)
    document: dict[str, str | int] = {
        "access_token": ledger.issue(ledger.access, access, 1400),
        "expires_in": ACCESS_SECONDS,
        "token_type": "User Access Token" if consent.seller else "Application Access Token",
    }
    return answer_json(document, seller=consent.seller.username if consent.seller else None)


def _code(ledger: Ledger, keyset: Keyset, now: datetime, form: dict[str, str]) -> Answer:
    consent = _live(ledger.codes, form.get("code"), now)
    fits = consent and consent.client_id == keyset.client_id and form.get("redirect_uri") == keyset.ru_name
    if consent is None or consent.seller is None or not fits:
        description = "the provided authorization grant code is invalid or was issued to another client"
        raise oauth_error(400, "invalid_grant", description)
    consent.valid = False  # a code works once
    until = now + timedelta(seconds=REFRESH_SECONDS)
    lasting = Grant(consent.seller, consent.scopes, until, client_id=keyset.client_id)
    access = Grant(consent.seller, consent.scopes, now + timedelta(seconds=ACCESS_SECONDS), of=lasting)
    document = {
        "access_token": ledger.issue(ledger.access, access, 1400),
        "expires_in": ACCESS_SECONDS,
        "refresh_token": ledger.issue(ledger.refresh, lasting, 320),
        "refresh_token_expires_in": REFRESH_SECONDS,
        "token_type": "User Access Token",
    }
    return answer_json(document, seller=consent.seller.username)


def _client(ledger: Ledger, now: datetime, form: dict[str, str]) -> Answer:
    scopes = _asked(form, frozenset((BASE,)))
    return _granted(ledger, now, Grant(None, scopes, now), scopes)


def authorize(ledger: Ledger, call: Call) -> Answer:
    """GET /oauth2/authorize: the seller, named by `seller` or the first, agrees at once, or with `decision=decline`
    does not.

    eBay shows a login page here; `seller` and `decision` are the simulator's own parameters. Raises Refusal with
    OAuth's error.
    """
    query, keysets = call.query, {each.client_id: each for each in (ledger.keyset, *ledger.others)}
    keyset = keysets.get(query.get("client_id", ""))
    if keyset is None or query.get("redirect_uri") != keyset.ru_name:
        raise oauth_error(400, "invalid_request", "client_id or redirect_uri (the RuName) is not known")
    if query.get("response_type") != "code":
        raise oauth_error(400, "unsupported_response_type", "response_type must be code")
    scopes = _asked(dict(query), SELLER_SCOPES)
    try:
        seller = ledger.world.seller(query.get("seller") or ledger.world.sellers[0])
    except KeyError:
        raise oauth_error(400, "invalid_request", "there is no such seller") from None
    if query.get("decision", "agree") not in ("agree", "decline"):
        raise oauth_error(400, "invalid_request", "decision is agree or decline")
    if query.get("decision") == "decline":
        fields = {"error": "access_denied", "error_description": "the seller has declined"}
        return _led(call, f"{call.base}/_sim/declined", fields, seller)
    until = call.now + timedelta(seconds=CODE_SECONDS)
    code = ledger.issue(ledger.codes, Grant(seller, scopes, until, client_id=keyset.client_id), 96)
    fields = {"code": code, "expires_in": str(CODE_SECONDS)}
    return _led(call, keyset.accept_url or f"{call.base}/_sim/accepted", fields, seller)


def _led(call: Call, target: str, fields: dict[str, str], seller: Seller) -> Answer:
    """To one of the RuName's two addresses, with the state that was given."""
    if "state" in call.query:
        fields["state"] = call.query["state"]
    glue = "&" if "?" in target else "?"
    return Answer(302, headers={"location": f"{target}{glue}{urlencode(fields)}"}, seller=seller.username)


def check_bearer(ledger: Ledger, call: Call, scopes: frozenset[str]) -> Seller:
    """The seller who makes the call. Refuses: 401 without a valid access token, 403 without one of the scopes. Raises
    Refusal."""
    given = call.headers.get("authorization")
    if not given:
        raise refuse(401, 1002, "OAuth", "Missing access token", long="Access token is missing in the request.")
    kind, _, token = given.partition(" ")
    grant = ledger.of_access(token, call.now) if kind == "Bearer" else None
    if grant is None:
        where = "Invalid access token. Check the value of the Authorization HTTP request header."
        raise refuse(401, 1001, "OAuth", "Invalid access token", long=where)
    if grant.seller is None or not grant.scopes & scopes:  # an application's token opens no seller's data
        long = "Insufficient permissions to fulfill the request."
        refusal = refuse(403, 1100, "ACCESS", "Access denied", long=long)
        refusal.answer.seller = grant.seller.username if grant.seller else None
        raise refusal
    return grant.seller


def check_application(ledger: Ledger, call: Call, scopes: frozenset[str]) -> None:
    """The route of a call that belongs to the application and to no seller. Raises Refusal: 401."""
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    grant = ledger.of_access(token, call.now) if kind == "Bearer" else None
    if grant is None:
        raise refuse(401, 1001, "OAuth", "Invalid access token")
    if grant.seller is not None or not grant.scopes & scopes:
        raise refuse(403, 1100, "ACCESS", "Access denied", long="Insufficient permissions to fulfill the request.")


@dataclass(frozen=True, slots=True)
class Route:
    """A call that a seller's token can make. `path` is a pattern whose groups go to the handler; `authorize` says
    whose call it is, or refuses in the manner of that API. `signed`: with a digital signature of sellers in the EU and
    the UK."""

    path: str
    scopes: frozenset[str]
    handler: Callable[..., Answer]
    method: str = "GET"
    authorize: Callable[[Ledger, Call, frozenset[str]], Seller | None] = check_bearer
    signed: bool = False
