"""eBay's digital signatures: headers that prove that a request comes from the application. Pure: a request in, headers
out.

RFC 9421 in eBay's dialect: always these components in this order, no alg, keyid or expires; @path without the query.
(eBay's "Digital Signatures for APIs", github.com/eBay/digital-signature-verification-ebay-api.)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ebaysync.log import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Headers = tuple[tuple[str, str], ...]

DEFAULT_PORTS = {"https": ":443", "http": ":80"}
# The sites of sellers who must sign: "sellers domiciled in the EU or the UK" (eBay, "Digital Signatures for APIs").
# eBay shows the site where a seller registered, not the domicile. These are its sites in the EU and the UK, from the
# Finances API's table of X-EBAY-C-MARKETPLACE-ID.
SITES = frozenset(f"EBAY_{country}" for country in ("AT", "BE", "DE", "ES", "FR", "GB", "IE", "IT", "NL", "PL"))


@dataclass(frozen=True)
class Signer:
    """A signing key of the keyset: the private half, and the JWE by which eBay knows the public half."""

    jwe: str
    key: Ed25519PrivateKey | RSAPrivateKey

    def __repr__(self) -> str:
        return "Signer(…)"

    def headers(self, method: str, url: str, body: bytes | None, created: int) -> Headers:
        """The headers to add. `created` is in seconds since 1970, by eBay's clock."""
        parts = urlsplit(url)
        lines = [
            ("x-ebay-signature-key", self.jwe),
            ("@method", method.upper()),
            ("@path", parts.path or "/"),
            # RFC 9421, 2.2.3: in lower case, and without the scheme's default port.
            ("@authority", parts.netloc.lower().removesuffix(DEFAULT_PORTS.get(parts.scheme, ":"))),
        ]
        digest = () if body is None else (("content-digest", _digest(body)),)
        lines = [*digest, *lines]
        params = f"({' '.join(_quoted(name) for name, _ in lines)});created={created}"
        base = "\n".join(f'"{name}": {value}' for name, value in [*lines, ("@signature-params", params)])
        return (
            ("x-ebay-signature-key", self.jwe),
            *digest,
            ("signature-input", f"sig1={params}"),
            ("signature", f"sig1=:{base64.b64encode(self._signed(base.encode())).decode()}:"),
        )

    def _signed(self, base: bytes) -> bytes:
        # Imported where it is used: most commands sign nothing.
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(base, PKCS1v15(), SHA256())
        return self.key.sign(base)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def signer(jwe: str, private_key: Secret) -> Signer:
    """Read `private_key` as eBay returns it: PKCS#8 in base64, with or without PEM's armour. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    lines = [line for line in private_key.reveal().splitlines() if not line.startswith("-----")]
    try:
        key = load_der_private_key(base64.b64decode("".join(lines), validate=True), None)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError("not a private key") from None
    if not isinstance(key, Ed25519PrivateKey | RSAPrivateKey):
        raise ValueError("neither an Ed25519 nor an RSA key")
    if not jwe or not jwe.isascii() or not jwe.isprintable():
        raise ValueError("not a JWE")
    return Signer(jwe, key)
