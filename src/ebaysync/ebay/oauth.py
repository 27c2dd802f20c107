"""OAuth with eBay: consent page, authorization code, refresh token, and the application's own token.

(RFC 6749; eBay's "Authorization code grant flow" and "Using a refresh token".) A refresh sends no scope: then eBay
grants what was consented to; a superset would be refused. The answer has no refresh token, because eBay does not rotate
it. Errors have RFC 6749's shape, not eBay's envelope.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.rest import Answered, Count, check, decoded
from ebaysync.ebay.transport import Transport
from ebaysync.errors import AnswerNotUnderstood, ConsentNeeded, EbayError, EbayRejected, KeysetRejected
from ebaysync.log import Secret, basic
from ebaysync.settings import Keyset

# All grants share one path. `limits.api_of` appends the grant to it.
QUOTAS = (
    Quota("oauth.refresh_token", 50_000, r"^/identity/v1/oauth2/token#.*\brefresh_token\b"),
    Quota("oauth.client_credentials", 1_000, r"^/identity/v1/oauth2/token#.*\bclient_credentials\b"),
    Quota("oauth.authorization_code", 10_000, r"^/identity/v1/oauth2/token#.*\bauthorization_code\b"),
)

# The row of the token stays locked meanwhile, and others wait for it.
DEADLINE = 30.0  # seconds
ACCESS_SECONDS = 7200  # expires_in of every grant
REFRESH_SECONDS = 47_304_000  # refresh_token_expires_in of a code grant: 18 months
TOKEN_PATH = "/identity/v1/oauth2/token"  # noqa: S105
APPLICATION_SCOPE = "https://api.ebay.com/oauth/api_scope"


class _TokenAnswer(Answered, frozen=True, rename=None):
    """Lenient, because a code works only once and a strict decoder would lose it: lifetimes may be text or missing."""

    COUNTS: ClassVar[tuple[str, ...]] = ("expires_in",)

    access_token: str
    expires_in: Count = None


G = TypeVar("G", bound=_TokenAnswer)


class _Refusal(Answered, frozen=True, rename=None):
    error: str = ""
    error_description: str = ""


class Grant(msgspec.Struct, frozen=True):
    access_token: Secret
    expires_in: int
    """seconds"""


class Consented(msgspec.Struct, frozen=True):
    """The tokens for a code."""

    access: Grant
    refresh_token: Secret
    refresh_expires_in: int
    """seconds"""


class _CodeTokenAnswer(_TokenAnswer, frozen=True, rename=None):
    COUNTS = ("expires_in", "refresh_token_expires_in")

    refresh_token: str | None = None
    refresh_token_expires_in: Count = None


def consent_page(auth_host: str, keyset: Keyset, scopes: Sequence[str], state: str) -> str:
    """The URL of the page where a seller consents to these scopes."""
    fields = {
        "client_id": keyset.client_id,
        "redirect_uri": keyset.ru_name,
        "response_type": "code",
        "scope": " ".join(scopes),
        "state": state,
        "prompt": "login",
    }
    return f"{auth_host}/oauth2/authorize?{urlencode(fields, quote_via=quote)}"


async def exchange(transport: Transport, keyset: Keyset, code: Secret) -> Consented:
    """Exchange a decoded code for tokens, by one request that is never repeated, because a code works once.

    Raises ConsentNeeded (invalid_grant), KeysetRejected (invalid_client), EbayError.
    """
    form = {"grant_type": "authorization_code", "code": code.reveal(), "redirect_uri": keyset.ru_name}
    grant = await _ask(transport, keyset, form, _CodeTokenAnswer, "the code")
    if not _is_token(grant.refresh_token or ""):
        raise AnswerNotUnderstood("what eBay answered to the code has no refresh token")
    lasts = grant.refresh_token_expires_in or REFRESH_SECONDS
    return Consented(_granted(grant), Secret(grant.refresh_token or ""), lasts)


async def refresh(transport: Transport, keyset: Keyset, refresh_token: Secret) -> Grant:
    """Get a new access token by one request. The caller holds a row lock, and waits for a retry without it.

    Raises ConsentNeeded (invalid_grant), KeysetRejected (invalid_client), EbayError.
    """
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
    grant = await _ask(transport, keyset, form, _TokenAnswer, "the refresh token")
    return _granted(grant)


async def application_token(transport: Transport, keyset: Keyset) -> Grant:
    """Get a token of the application itself by one request. eBay gives 1,000 a day: see accounts/application.

    Raises KeysetRejected, EbayError.
    """
    form = {"grant_type": "client_credentials", "scope": APPLICATION_SCOPE}
    grant = await _ask(transport, keyset, form, _TokenAnswer, "the application's credentials")
    return _granted(grant)


async def _ask(transport: Transport, keyset: Keyset, form: dict[str, str], kind: type[G], what: str) -> G:
    headers = (
        ("Authorization", f"Basic {basic(keyset.client_id, keyset.client_secret).reveal()}"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept", "application/json"),
    )
    body = urlencode(form).encode()
    request = Request("POST", transport.hosts.api + TOKEN_PATH, (), headers, body, DEADLINE)

    def checked(answer: Answer) -> G:
        # invalid_grant comes with a 400, invalid_client with a 401.
        if answer.status in (400, 401) or _refuses(answer):
            raise _refused(answer, keyset, what)
        return check(answer, kind, transport)

    grant = await transport.send_once(request, checked)
    if not _is_token(grant.access_token):
        raise AnswerNotUnderstood(f"{request}: what eBay answered is no access token")
    return grant


def _granted(grant: _TokenAnswer) -> Grant:
    return Grant(Secret(grant.access_token), grant.expires_in or ACCESS_SECONDS)


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def _refuses(answer: Answer) -> bool:
    """Whether a 200 holds an OAuth error instead of a token."""
    try:
        return answer.status == 200 and bool(decoded(answer, _Refusal).error)
    except EbayError:
        return False


def _refused(answer: Answer, keyset: Keyset, what: str) -> Exception:
    refusal = decoded(answer, _Refusal)
    if refusal.error == "invalid_grant":
        return ConsentNeeded(f"eBay no longer accepts {what} (invalid_grant)")
    if refusal.error in ("invalid_client", "unauthorized_client"):
        return KeysetRejected(
            f"eBay does not accept the client id and secret of the environment {keyset.environment} ({refusal.error})",
            hint="compare them with developer.ebay.com, Application Keys; no account is marked",
        )
    value = refusal.error if re.fullmatch("[a-z_]{1,40}", refusal.error) else "without an OAuth error code"
    return EbayRejected(f"{answer.request}: {answer.status} {value}", status=answer.status)
