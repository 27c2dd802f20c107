"""Notification API: getPublicKey, and the signature of eBay's notices. (api host; an application's token.)

The header `X-EBAY-SIGNATURE` of a notice is base64 of JSON: alg (ecdsa), kid (the id of eBay's key), signature (base64
of DER) and digest (SHA1). It signs the exact bytes of the body (eBay's Communications Guide).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.rest import Answered, check
from ebaysync.ebay.transport import Transport
from ebaysync.errors import UsageError
from ebaysync.log import Secret

QUOTAS = (Quota("notification", None, r"^/commerce/notification/", r"commerce/.*notification"),)

PATH = "/commerce/notification/v1/public_key/"
LONGEST_HEADER = 1_000  # characters; eBay's have about 300


class _PublicKey(Answered, frozen=True):
    key: str
    algorithm: str = ""
    digest: str = ""


class _SignatureHeader(msgspec.Struct):
    alg: str
    kid: str
    signature: str
    digest: str


@dataclass(frozen=True)
class NoticeSignature:
    """`kid`: the id of eBay's key; `der`: the signature."""

    kid: str
    der: bytes


def signature_in(header: str) -> NoticeSignature:
    """The content of X-EBAY-SIGNATURE. Raises UsageError."""
    try:
        if len(header) > LONGEST_HEADER:
            raise ValueError
        found = msgspec.json.decode(base64.b64decode(header, validate=True), type=_SignatureHeader)
        der = base64.b64decode(found.signature, validate=True)
    except (ValueError, RecursionError):  # binascii.Error is a ValueError
        raise UsageError("its signature is not in the form of X-EBAY-SIGNATURE") from None
    if found.alg.lower() != "ecdsa" or found.digest.upper() != "SHA1":
        kind = f"{found.alg[:20]}/{found.digest[:20]}"
        raise UsageError(f"its signature is of the kind {kind}, and eBay's are ECDSA/SHA1")
    if not re.fullmatch(r"[\w-]{1,100}", found.kid, re.ASCII):
        raise UsageError(f"its signature names the key {found.kid[:100]!r}, which cannot be an id of eBay's")
    return NoticeSignature(found.kid, der)


async def public_key(transport: Transport, kid: str, token: Secret) -> str:
    """eBay's public key with this id, as PEM. Raises RecordNotFound if there is none, EbayError."""
    headers = (("Authorization", f"Bearer {token.reveal()}"), ("Accept", "application/json"))
    request = Request("GET", transport.hosts.api + PATH + quote(kid, safe=""), (), headers)

    def checked(answer: Answer) -> _PublicKey:
        return check(answer, _PublicKey, transport)

    return (await transport.send(request, checked)).key


def is_signed(body: bytes, signature: NoticeSignature, pem: str) -> bool:
    """Whether eBay signed exactly these bytes. Raises UsageError if the key is no key on an elliptic curve."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        # eBay's PEM has no line breaks.
        inner = re.sub(r"-----(?:BEGIN|END) PUBLIC KEY-----|\s", "", pem)
        key = load_der_public_key(base64.b64decode(inner, validate=True))
    except ValueError:
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.key_size < 256:
        raise UsageError("eBay's answer has no public key on an elliptic curve of 256 bits or more")
    try:
        key.verify(signature.der, body, ECDSA(SHA1()))  # noqa: S303  # nosec B303
    except InvalidSignature:
        return False
    return True
