"""Key Management API v1: createSigningKey (Ed25519 alone), getSigningKeys, getSigningKey. An application's calls."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ebaysync.sim.apis.oauth import Route, check_application
from ebaysync.sim.calls import Answer, Call, answer_json, refuse
from ebaysync.sim.scopes import BASE
from ebaysync.sim.signing import SigningKey
from ebaysync.sim.world import World

PATH = "/developer/key_management/v1/signing_key"
DOMAIN = "API_KEY_MANAGEMENT"
LIFE = 3 * 365 * 86_400


def create_signing_key(world: World, _: None, call: Call) -> Answer:
    """Raises Refusal: a wrong cipher."""
    try:
        cipher = json.loads(call.body)["signingKeyCipher"]
    except (ValueError, KeyError, TypeError):
        cipher = None
    if cipher != "ED25519":
        raise refuse(400, 210001, DOMAIN, "The signing key cipher is missing or not supported.")
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    now = int(call.now.timestamp())
    shown: dict[str, Any] = {
        "signingKeyId": str(uuid4()),
        "signingKeyCipher": cipher,
        "publicKey": _text(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
        "jwe": f"eyJ{uuid4().hex}.{uuid4().hex}.sim.{uuid4().hex}.sim",
        "creationTime": now,
        "expirationTime": now + LIFE,
    }
    world.signing_keys[shown["jwe"]] = SigningKey(public, shown)
    secret = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return answer_json(shown | {"privateKey": _text(secret)}, 201)


def _text(der: bytes) -> str:
    return base64.b64encode(der).decode()


def get_signing_keys(world: World, _: None, call: Call) -> Answer:
    return answer_json({"signingKeys": [key.shown for key in world.signing_keys.values()]})


def get_signing_key(world: World, _: None, call: Call, key_id: str) -> Answer:
    """Raises Refusal: there is no such key."""
    for key in world.signing_keys.values():
        if key.shown["signingKeyId"] == key_id:
            return answer_json(key.shown)
    raise refuse(404, 210006, DOMAIN, "The signing key was not found.")


_APPLICATION = frozenset((BASE,))
ROUTES = (
    Route(PATH, _APPLICATION, create_signing_key, "POST", check_application),
    Route(PATH, _APPLICATION, get_signing_keys, authorize=check_application),
    Route(f"{PATH}/([^/]+)", _APPLICATION, get_signing_key, authorize=check_application),
)
