"""OAuth with eBay: the refresh grant, and the application's own token (client credentials). (RFC 6749; eBay's "Using a
refresh token".)

No scope is sent to refresh: left out, eBay grants what was consented; a superset would be refused. The answer has no
refresh token, because eBay does not rotate it. Errors have RFC 6749's shape, not eBay's envelope.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

import msgspec

from ebaysync.ebay.rest import Answered, check, decoded
from ebaysync.ebay.transport import Answer, Request, Transport
from ebaysync.errors import AnswerNotUnderstood, ConsentNeeded, EbayRejected, KeysetRejected
from ebaysync.log import Secret, basic
from ebaysync.settings import Keyset

DEADLINE = 30.0  # seconds
TOKEN_PATH = "/identity/v1/oauth2/token"  # noqa: S105
APPLICATION_SCOPE = "https://api.ebay.com/oauth/api_scope"


class _Grant(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: int
    token_type: str = ""


class _Refusal(Answered, frozen=True, rename=None):
    error: str = ""
    error_description: str = ""


class Grant(msgspec.Struct, frozen=True):
    access_token: Secret
    expires_in: int
    """seconds"""


async def refresh(transport: Transport, keyset: Keyset, refresh_token: Secret) -> Grant:
    """A new access token, by one request: who asks holds a row lock, and waits without it.

    Raises ConsentNeeded (invalid_grant), KeysetRejected (invalid_client), EbayError."""
    return await _granted(transport, keyset, {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()})


async def application_token(transport: Transport, keyset: Keyset) -> Grant:
    """A token of the application itself, by one request. eBay gives 1,000 a day: see accounts/application.

    Raises KeysetRejected, EbayError."""
    return await _granted(transport, keyset, {"grant_type": "client_credentials", "scope": APPLICATION_SCOPE})


async def _granted(transport: Transport, keyset: Keyset, form: dict[str, str]) -> Grant:
    headers = (
        ("Authorization", f"Basic {basic(keyset.client_id, keyset.client_secret).reveal()}"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept", "application/json"),
    )
    body = urlencode(form).encode()
    request = Request("POST", transport.hosts.api + TOKEN_PATH, (), headers, body, DEADLINE)

    def checked(answer: Answer) -> _Grant:
        if answer.status in (400, 401):
            raise _refused(answer, keyset)
        return check(answer, _Grant, transport)

    grant = await transport.send_once(request, checked)
    if not grant.access_token.isascii() or not grant.access_token.isprintable() or grant.expires_in <= 0:
        raise AnswerNotUnderstood(f"{request}: what eBay answered is no access token")
    return Grant(Secret(grant.access_token), grant.expires_in)


def _refused(answer: Answer, keyset: Keyset) -> Exception:
    refusal = decoded(answer, _Refusal)
    if refusal.error == "invalid_grant":
        return ConsentNeeded("eBay no longer accepts the refresh token (invalid_grant)")
    if refusal.error in ("invalid_client", "unauthorized_client"):
        return KeysetRejected(
            f"eBay does not accept the client id and secret of the environment {keyset.environment} ({refusal.error})",
            hint="compare them with developer.ebay.com, Application Keys; no account is marked",
        )
    said = refusal.error if re.fullmatch("[a-z_]{1,40}", refusal.error) else "without an OAuth error code"
    return EbayRejected(f"{answer.request}: {answer.status} {said}", status=answer.status)
