"""Signing keys and digital signatures: what eBay's documents let pass, and what every mistake is answered with.

The signer here is written from RFC 9421 and eBay's page and shares nothing with ebaysync's own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from ebaysync.sim.calls import Call
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.signing import SigningKey, verify

KNOWN = json.loads((Path(__file__).parents[1] / "unit/signature_vectors.json").read_text())
Simulate = Callable[..., Any]
KEYS = "/developer/key_management/v1/signing_key"
PAYOUTS = "/sell/finances/v1/payout"
ORDERS = "/sell/fulfillment/v1/order"
THREE_YEARS = 3 * 365 * 86_400
ENFORCE = {"x-ebay-enforce-signature": "true"}
PARTS = ("x-ebay-signature-key", "@method", "@path", "@authority")


def application(caller: Any) -> httpx.Client:
    """A client with a token of the application itself."""
    form = {"grant_type": "client_credentials", "scope": "https://api.ebay.com/oauth/api_scope"}
    answer = caller.http.post("/identity/v1/oauth2/token", auth=("simulator", "simulator"), data=form)
    caller.http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
    http: httpx.Client = caller.http
    return http


def make_key(caller: Any) -> dict[str, Any]:
    """A key as eBay gives it; the caller is logged in as its seller afterwards."""
    answer = application(caller).post(KEYS, json={"signingKeyCipher": "ED25519"})
    assert answer.status_code == 201, answer.text
    caller.login()
    made: dict[str, Any] = answer.json()
    return made


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@dataclass
class Signature:
    """A signature to be sent with a request, right unless a field says otherwise."""

    key: dict[str, Any]
    created: int
    parts: tuple[str, ...] = PARTS
    method: str = ""
    path: str = ""
    authority: str = ""
    jwe: str = ""
    digest: str | None = None
    drop: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)

    def sign(self, request: httpx.Request) -> httpx.Request:
        jwe = self.jwe or self.key["jwe"]
        body = request.read()
        of_body = self.digest or digest(body)
        values = {
            "content-digest": of_body,
            "x-ebay-signature-key": jwe,
            "@method": self.method or request.method,
            "@path": self.path or request.url.raw_path.partition(b"?")[0].decode(),
            "@authority": self.authority or request.url.netloc.decode(),
        }
        parts = ("content-digest", *self.parts) if body else self.parts
        params = "({});created={}".format(" ".join(f'"{part}"' for part in parts), self.created)
        lines = [f'"{part}": {values[part]}' for part in parts] + [f'"@signature-params": {params}']
        private = load_der_private_key(base64.b64decode(self.key["privateKey"]), None)
        assert isinstance(private, Ed25519PrivateKey)
        signed = base64.b64encode(private.sign("\n".join(lines).encode())).decode()
        made = {"x-ebay-signature-key": jwe, "signature-input": f"sig1={params}", "signature": f"sig1=:{signed}:"}
        if body:
            made["content-digest"] = of_body
        made |= self.headers
        request.headers.update({name: value for name, value in made.items() if name not in self.drop})
        return request


@pytest.fixture
def british(simulate: Simulate) -> Any:
    """A seller of the United Kingdom, in a world that insists on signatures."""
    caller = simulate(sellers=2, signatures=True, things=3)
    caller.seller = caller.sim.world.sellers[1]
    assert caller.seller.marketplace_id == "EBAY_GB"
    caller.login()
    caller.http.headers["x-ebay-c-marketplace-id"] = "EBAY_GB"
    return caller


def at(clock: ManualClock, seconds: int = 0) -> int:
    return int(clock.now().timestamp()) + seconds


def answered(caller: Any, signature: Signature | None, path: str = PAYOUTS, **options: Any) -> tuple[int, int | None]:
    """Status and errorId of a call with this signature, or without one."""
    request = caller.http.build_request(options.pop("method", "GET"), path, **options)
    answer = caller.http.send(signature.sign(request) if signature else request)
    refused = answer.status_code >= 400
    return answer.status_code, answer.json()["errors"][0]["errorId"] if refused else None


PASSED, UNSIGNED, STALE, BAD = (200, None), (403, 215001), (403, 215114), (403, 215120)


def test_a_key_is_of_ed25519_lasts_three_years_and_shows_its_private_half_once(
    simulate: Simulate, clock: ManualClock
) -> None:
    caller = simulate()
    made = make_key(caller)
    assert made["signingKeyCipher"] == "ED25519"
    assert (made["creationTime"], made["expirationTime"]) == (at(clock), at(clock) + THREE_YEARS)
    shown = {name: value for name, value in made.items() if name != "privateKey"}
    http = application(caller)
    assert http.get(KEYS).json() == {"signingKeys": [shown]}
    assert http.get(f"{KEYS}/{made['signingKeyId']}").json() == shown
    missing = http.get(f"{KEYS}/of-nobody")
    assert (missing.status_code, missing.json()["errors"][0]["errorId"]) == (404, 210006)


@pytest.mark.parametrize("body", [{}, {"signingKeyCipher": "DSA"}, [], None])
def test_a_key_of_another_cipher_or_of_none_is_refused(simulate: Simulate, body: Any) -> None:
    answer = application(simulate()).post(KEYS, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["errorId"]) == (400, 210001)


def test_keys_are_the_applications_and_live_at_apiz(simulate: Simulate) -> None:
    caller = simulate()
    assert caller.http.get(KEYS).json()["errors"][0]["errorId"] == 1100
    del caller.http.headers["authorization"]
    assert caller.http.get(KEYS).json()["errors"][0]["errorId"] == 1001
    split = simulate(split=True)
    assert (split.http.get(KEYS).status_code, split.http.get(KEYS).content) == (404, b"")


def test_a_good_signature_passes_with_a_query_and_from_either_side_of_five_minutes(
    british: Any, clock: ManualClock
) -> None:
    key = make_key(british)
    assert answered(british, None) == UNSIGNED
    for seconds, expected in ((0, PASSED), (-300, PASSED), (300, PASSED), (-301, STALE), (301, STALE)):
        assert answered(british, Signature(key, at(clock, seconds)), params={"limit": "1"}) == expected, seconds
    consent = british.sim.app.ledger.refresh[british.seller.refresh_token]
    consent.expires = consent.expires.replace(year=2100)  # it outlives the key
    clock.advance(THREE_YEARS + 1)
    british.login()
    assert answered(british, Signature(key, at(clock))) == STALE


MISTAKES: dict[str, dict[str, Any]] = {
    "over another path": {"path": "/sell/finances/v1/transaction"},
    "over the path with its query": {"path": f"{PAYOUTS}?limit=1"},
    "over another method": {"method": "POST"},
    "over another host": {"authority": "api.ebay.com"},
    "an unknown JWE": {"jwe": "eyJ.unknown"},
    "a component missing": {"parts": PARTS[:-1]},
    "components in another order": {"parts": PARTS[::-1]},
    "no Signature": {"drop": ("signature",)},
    "no Signature-Input": {"drop": ("signature-input",)},
    "a signature that is no base64": {"headers": {"signature": "sig1=:no base64!:"}},
    "a signature that is too short": {"headers": {"signature": "sig1=:AAAA:"}},
    "a signature of another label": {"headers": {"signature-input": "sig2=();created=1"}},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_signature_with_a_mistake_is_refused(british: Any, clock: ManualClock, mistake: str) -> None:
    key = make_key(british)
    right = Signature(key, at(clock))
    assert answered(british, right, params={"limit": "1"}) == PASSED
    assert answered(british, replace(right, **MISTAKES[mistake]), params={"limit": "1"}) == BAD


def test_a_signature_of_another_key_or_with_another_time_than_signed_is_refused(
    british: Any, clock: ManualClock
) -> None:
    key, other = make_key(british), make_key(british)
    now = at(clock)
    assert answered(british, Signature(key | {"privateKey": other["privateKey"]}, now)) == BAD
    inner = " ".join(f'"{part}"' for part in PARTS)
    moved = {"signature-input": f"sig1=({inner});created={now + 1}"}
    assert answered(british, Signature(key, now, headers=moved)) == BAD


def test_a_body_is_part_of_the_signature(simulate: Simulate, clock: ManualClock) -> None:
    caller = simulate()
    key = make_key(caller)
    application(caller)
    post = {"method": "POST", "json": {"signingKeyCipher": "ED25519"}, "headers": ENFORCE}
    right = Signature(key, at(clock))
    assert answered(caller, right, KEYS, **post) == (201, None)
    assert answered(caller, None, KEYS, **post) == UNSIGNED
    empty = digest(b"")
    for wrong in ({"digest": empty}, {"drop": ("content-digest",)}, {"headers": {"content-digest": empty}}):
        assert answered(caller, replace(right, **wrong), KEYS, **post) == BAD, wrong


def test_who_must_not_sign_is_asked_for_it_only_at_ones_own_wish(
    simulate: Simulate, british: Any, clock: ManualClock
) -> None:
    key = make_key(british)
    right = Signature(key, at(clock))
    for path in (ORDERS, "/commerce/identity/v1/user/"):  # of Finances alone eBay demands it
        assert answered(british, None, path) == PASSED
        assert answered(british, None, path, headers=ENFORCE) == UNSIGNED
        assert answered(british, right, path, headers=ENFORCE) == PASSED
        assert answered(british, replace(right, created=at(clock, -301)), path, headers=ENFORCE) == STALE
    british.seller = british.sim.world.sellers[0]
    british.login()
    british.http.headers["x-ebay-c-marketplace-id"] = british.seller.marketplace_id
    assert answered(british, None) == PASSED
    assert answered(british, Signature(key, 1, headers={"signature": "x"})) == PASSED
    assert answered(british, None, headers=ENFORCE) == UNSIGNED
    assert answered(british, right, headers=ENFORCE) == PASSED
    assert answered(british, replace(right, path="/other"), headers=ENFORCE) == BAD


def of_the_vector(vector: dict[str, Any], body: bytes) -> Call:
    url = urlsplit(vector["url"])
    names = (*(['"content-digest"'] if body else []), '"x-ebay-signature-key" "@method" "@path" "@authority"')
    headers = {
        "host": url.netloc,
        "x-ebay-signature-key": KNOWN["jwes"][vector["jwe"]],
        "signature-input": f"sig1=({' '.join(names)});created={vector['created']}",
        "signature": vector["signature"],
        **({"content-digest": digest(body)} if body else {}),
    }
    now = datetime.fromtimestamp(vector["created"], UTC)
    return Call(vector["method"], url.path, url.query, {}, headers, body, vector["url"], now, url.path)


@pytest.mark.parametrize(
    "vector", [each for each in KNOWN["vectors"] if each["key"] == "ed25519"], ids=lambda vector: vector["name"]
)
def test_the_signatures_that_ebay_publishes_are_good_and_no_others(vector: dict[str, Any]) -> None:
    text = "".join(line for line in KNOWN["keys"]["ed25519"].splitlines() if "-----" not in line)
    private = load_der_private_key(base64.b64decode(text), None)
    assert isinstance(private, Ed25519PrivateKey)
    public = private.public_key()
    keys = {KNOWN["jwes"][vector["jwe"]]: SigningKey(public, {"expirationTime": 4_000_000_000})}
    body = (vector["body"] or "").encode()
    assert verify(keys, of_the_vector(vector, body)) is None
    for other in ({**vector, "method": "PUT"}, {**vector, "url": vector["url"].replace("://", "://x")}):
        wrong = verify(keys, of_the_vector(other, body))
        assert wrong
        assert wrong[0] == 215120
    if body:
        assert (verify(keys, of_the_vector(vector, body + b" ")) or [0])[0] == 215120
