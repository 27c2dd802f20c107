"""Developer Key Management: signing keys of a keyset. (apiz host; an application's token.)

eBay shows the private key in the answer to createSigningKey, and never again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.rest import Answered, Count, check
from ebaysync.ebay.transport import Transport
from ebaysync.log import Secret

QUOTAS = (Quota("key_management", None, r"^/developer/key_management/", r"developer/.*key.?management"),)

LIFE = 3 * 365 * 86_400  # seconds
PATH = "/developer/key_management/v1/signing_key"


class _CreatedKey(Answered, frozen=True):
    """Lenient, because eBay shows the key once and a strict decoder would lose it: times may be text or missing."""

    COUNTS = ("creation_time", "expiration_time")

    signing_key_id: str
    jwe: str
    private_key: str
    signing_key_cipher: str = "ED25519"
    public_key: str = ""
    creation_time: Count = None
    expiration_time: Count = None

    def __repr__(self) -> str:
        return f"_CreatedKey({self.signing_key_id})"


@dataclass(frozen=True)
class SigningKey:
    """Times in seconds since 1970."""

    signing_key_id: str
    signing_key_cipher: str
    public_key: str
    jwe: str
    creation_time: int
    expiration_time: int
    private_key: str = field(repr=False)


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

    def checked(answer: Answer) -> _CreatedKey:
        created = answer.status == 201
        # `check` takes every status but 200 for a refusal; a new key comes with a 201.
        found = check(Answer(200, answer.headers, answer.body, request) if created else answer, _CreatedKey, transport)
        Secret(found.private_key)  # the redactor knows it from now on
        return found

    found = await transport.send_once(request, checked)
    since = found.creation_time or int(transport.clock.now().timestamp())
    return SigningKey(
        found.signing_key_id,
        found.signing_key_cipher,
        found.public_key,
        found.jwe,
        since,
        found.expiration_time or since + LIFE,
        found.private_key,
    )
