"""Digital signatures as eBay's verifier checks them (eBay/digital-signature-verification-ebay-api, README).

The JWE is an opaque name of the key here: eBay's hides the public key in it. Which errorId a wrong body digest has is
not documented: here it is that of a signature that does not verify.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ebaysync.sim.calls import Call, refuse
from ebaysync.sim.model import Seller

WINDOW = 300  # seconds to either side; not documented, "about five minutes" by those who met it
PARTS = '"x-ebay-signature-key" "@method" "@path" "@authority"'

DEMANDED = "x-ebay-enforce-signature"
SIGNED = frozenset(("AT", "BE", "DE", "ES", "FR", "GB", "IE", "IT", "NL", "PL"))  # sellers of these must sign

Wrong = tuple[int, str, str]


@dataclass(frozen=True)
class SigningKey:
    public: Ed25519PublicKey
    shown: Mapping[str, Any]
    """what getSigningKey answers"""


def check(keys: Mapping[str, SigningKey], call: Call, seller: Seller | None) -> None:
    """Refuses a call whose signature is missing or wrong: of a `seller` who must sign, and of anybody who asks for
    that. Raises Refusal."""
    demanded = seller is not None and seller.market.country in SIGNED
    if not demanded and call.headers.get(DEMANDED, "").lower() != "true":
        return
    if not call.headers.get("x-ebay-signature-key"):
        long = "Missing x-ebay-signature-key header to fulfill the request."
        raise refuse(403, 215001, "ACCESS", "Missing x-ebay-signature-key header", long=long)
    if wrong := verify(keys, call):
        raise refuse(403, *wrong)


def verify(keys: Mapping[str, SigningKey], call: Call) -> Wrong | None:
    """errorId, domain and message of what is wrong."""
    bad = (215120, "ACCESS", "Signature validation failed")
    digest = '"content-digest" ' if call.body else ""
    given = re.fullmatch(r"sig1=(\(([^)]*)\);created=(\d{10}))", call.headers.get("signature-input", ""))
    signature = re.fullmatch(r"sig1=:([A-Za-z0-9+/=]+):", call.headers.get("signature", ""))
    key = keys.get(call.headers["x-ebay-signature-key"])
    if not given or not signature or key is None or given[2] != digest + PARTS:
        return bad
    now = call.now.timestamp()
    if abs(now - int(given[3])) > WINDOW or now > key.shown["expirationTime"]:
        return 215114, "ACCESS", "The signature's time is outside of the allowed window"
    if call.body:
        expected = base64.b64encode(hashlib.sha256(call.body).digest()).decode()
        if call.headers.get("content-digest") != f"sha-256=:{expected}:":
            return bad
    try:
        key.public.verify(base64.b64decode(signature[1], validate=True), _base(call, given[2], given[1]))
    except (InvalidSignature, binascii.Error):
        return bad
    return None


def _base(call: Call, names: str, params: str) -> bytes:
    values = {
        "@method": call.method,
        "@path": call.raw_path,
        "@authority": call.headers.get("host", ""),
        **{name: call.headers.get(name, "") for name in ("x-ebay-signature-key", "content-digest")},
    }
    lines = [f"{name}: {values[name.strip(chr(34))]}" for name in names.split(" ")]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode()
