"""Notification API v1: getPublicKey; and a notice as eBay signs and sends it.

The key stands between its two marks without a line break, as in eBay's answers.
"""

from __future__ import annotations

import base64
import json
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ebaysync.sim.apis.oauth import Route, check_application
from ebaysync.sim.calls import Answer, Call, answer_json, refuse
from ebaysync.sim.scopes import BASE
from ebaysync.sim.world import World

PATH = "/commerce/notification/v1/public_key"


def get_public_key(world: World, _: None, call: Call, key_id: str) -> Answer:
    """Raises Refusal: there is no such key."""
    private = world.notice_keys.get(key_id)
    if private is None:
        raise refuse(404, 195001, "API_NOTIFICATION", "The specified key id is invalid.")
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key = f"-----BEGIN PUBLIC KEY-----{base64.b64encode(der).decode()}-----END PUBLIC KEY-----"
    return answer_json({"algorithm": "ECDSA", "digest": "SHA1", "key": key})


def sign(world: World, body: bytes) -> str:
    """The header X-EBAY-SIGNATURE of a notice with this body."""
    if not world.notice_keys:
        world.notice_keys[str(uuid4())] = ec.generate_private_key(ec.SECP256R1())
    [(key_id, private), *_] = world.notice_keys.items()
    signature = base64.b64encode(private.sign(body, ec.ECDSA(SHA1()))).decode()  # noqa: S303  # nosec B303
    said = {"alg": "ecdsa", "kid": key_id, "signature": signature, "digest": "SHA1"}
    return base64.b64encode(json.dumps(said).encode()).decode()


ROUTES = (Route(f"{PATH}/([^/]+)", frozenset((BASE,)), get_public_key, authorize=check_application),)
