"""Developer Key Management: signing keys of a keyset. (apiz host; an application's token.)

eBay shows the private key in the answer to createSigningKey, and never again.
"""

from __future__ import annotations

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import check
from ebaysync.ebay.transport import Answer, Request, Transport
from ebaysync.log import Secret

QUOTAS = (Quota("key_management", None, r"^/developer/key_management/", r"developer/.*key.?management"),)

PATH = "/developer/key_management/v1/signing_key"


class SigningKey(msgspec.Struct, rename="camel", frozen=True):
    """Times in seconds since 1970."""

    signing_key_id: str
    signing_key_cipher: str
    public_key: str
    jwe: str
    creation_time: int
    expiration_time: int
    private_key: str

    def __repr__(self) -> str:
        return f"SigningKey({self.signing_key_id})"


async def create(transport: Transport, token: Secret) -> SigningKey:
    """Create an Ed25519 key by one request. There is no retry: a key whose answer was lost can never be read. Raises
    EbayError."""
    headers = (
        ("Authorization", f"Bearer {token.reveal()}"),
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
    )
    body = msgspec.json.encode({"signingKeyCipher": "ED25519"})
    request = Request("POST", transport.hosts.apiz + PATH, (), headers, body)

    def checked(answer: Answer) -> SigningKey:
        created = answer.status == 201
        found = check(Answer(200, answer.headers, answer.body, request) if created else answer, SigningKey, transport)
        Secret(found.private_key)  # the redactor knows it from now on
        return found

    return await transport.send_once(request, checked)
