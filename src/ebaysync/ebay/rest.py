"""eBay's REST conventions: JSON answers, errors in one of three shapes, a token in a header. An `Api` makes one
account's calls, also its XML calls.

A 404 without eBay's error shape comes from the wrong host or path, and a 200 without JSON from a maintenance page.
Neither ever means "no data".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from ebaysync.ebay.transport import Answer, Request, Transport
from ebaysync.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    EbayBusy,
    EbayError,
    EbayRejected,
    EbaysyncError,
    EbayUnreachable,
    RateLimited,
    RecordNotFound,
    ScopeMissing,
    SignatureRefused,
    SignatureStale,
    Unauthorized,
    is_denied,
)
from ebaysync.log import Secret

T = TypeVar("T")
INSUFFICIENT_PERMISSIONS = 1100
SIGNATURE_ERRORS = range(215000, 215200)  # 215001 header missing, 215114 stale, 215120 does not verify
STALE = 215114


class Answered(msgspec.Struct, rename="camel", frozen=True):
    """Base of decoded answers: eBay's camelCase names, unknown fields ignored."""


def stamp(moment: datetime) -> str:
    """A time as eBay's filters take it: ISO 8601, UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Credentials(Protocol):
    """Gives an Api its access token: `access_token`, and `renewed` after eBay has refused one.

    After `give_up` both raise that error.
    """

    async def access_token(self) -> Secret: ...

    async def renewed(self, refused: Secret) -> Secret: ...

    def give_up(self, error: EbaysyncError) -> None: ...


@dataclass
class Doubt:
    """Whether the token was already renewed because a call was denied. Shared by the views of an Api."""

    settled: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Api:
    """One account's calls. A refused token is renewed once, and the call is repeated.

    A 403 may also mean that the token has expired (Inventory, hendt/ebay-api#148). So the first one renews the token,
    once per Api and its views; after that a 403 is believed. `doubt`: settled if the token was issued just now.
    """

    def __init__(
        self,
        transport: Transport,
        credentials: Credentials,
        marketplace_id: str | None = None,
        doubt: Doubt | None = None,
    ) -> None:
        self.transport = transport
        self.credentials = credentials
        self.marketplace_id = marketplace_id
        self._doubt = doubt or Doubt()

    def counted(self, share: float = 1.0) -> Api:
        """A view of the same account with a count of its own, which may use up to this share of a quota."""
        return Api(self.transport.counted(share), self.credentials, self.marketplace_id, self._doubt)

    async def send(self, make: Callable[[Secret], Request], check: Callable[[Answer], T]) -> T:
        """Send the request that `make` builds with the access token. If the token may be the reason for a refusal,
        repeat it with a new token.

        Raises EbayError: Unauthorized or AccessDenied if the new token is refused as well.
        """
        token = await self.credentials.access_token()
        try:
            return await self.transport.send(make(token), check)
        except Unauthorized:
            newer = await self.credentials.renewed(token)
        except AccessDenied as error:
            if not is_denied(error) or (newer := await self.settle_doubt(token)) == token:
                raise
        return await self.transport.send(make(newer), check)

    async def settle_doubt(self, token: Secret | None = None) -> Secret:
        """Renew the token unless this was done before. Returns the newest token. `token` is the one that was denied.

        A family that eBay refuses is asked again after this, so that it costs one call. Raises what `renewed` of the
        credentials raises.
        """
        async with self._doubt.lock:
            current = await self.credentials.access_token()
            if not self._doubt.settled and token in (None, current):
                current = await self.credentials.renewed(current)
                self._doubt.settled = True
            return current

    async def get(
        self,
        host: Literal["api", "apiz"],
        path: str,
        kind: type[T],
        params: Sequence[tuple[str, str]] = (),
        *,
        headers: Sequence[tuple[str, str]] = (),
        scheme: str = "Bearer",
        none: T | None = None,
        signed: bool = False,
    ) -> T:
        """GET a path. `scheme` is "IAF" for Post-Order, which refuses Bearer.

        `none` is the result of a 204, if the API documents that as "there is nothing"; without it a 204 is an error.
        `signed`: sellers in the EU and the UK must sign this call. Raises EbayError, SigningKeyMissing, SecretKeyError.
        """
        url = getattr(self.transport.hosts, host) + path

        def make(token: Secret) -> Request:
            own = (("Authorization", f"{scheme} {token.reveal()}"), ("Accept", "application/json"))
            return Request("GET", url, tuple(params), (*own, *headers), signed=signed)

        def checked(answer: Answer) -> T:
            if answer.status == 204 and none is not None:
                return none
            return check(answer, kind, self.transport)

        return await self.send(make, checked)


def check(answer: Answer, kind: type[T], transport: Transport) -> T:
    """The decoded body of a 200. Raises the EbayError that another answer means."""
    if answer.status != 200:
        raise refusal(answer, transport)
    if "json" not in answer.headers.get("content-type", "").lower():
        raise wrong_type(answer, "JSON")
    return decoded(answer, kind)


def wrong_type(answer: Answer, expected: str) -> AnswerNotUnderstood:
    content_type = answer.headers.get("content-type", "no content type")
    return AnswerNotUnderstood(
        f"{answer.request}: {expected} was expected, the answer is {content_type}", status=answer.status
    )


def decoded(answer: Answer, kind: type[T]) -> T:
    """Decode the body as JSON of that shape. Raises AnswerNotUnderstood; EbayUnreachable if it is no JSON at all, which
    is most often a body that was cut on its way."""
    body = _mended(answer.body) if _may_be_broken(answer.body) else answer.body
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise AnswerNotUnderstood(f"{answer.request}: {error}", status=answer.status) from None
    except ValueError as error:
        raise EbayUnreachable(f"{answer.request}: the JSON is damaged: {error}", status=answer.status) from None
    except RecursionError:
        raise AnswerNotUnderstood(f"{answer.request}: the JSON is nested too deeply", status=answer.status) from None


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<alone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def _may_be_broken(body: bytes) -> bool:
    """Check the bytes before decoding, because msgspec does not check the strings that it skips."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return _SURROGATE.search(body) is not None


def _mended(body: bytes) -> bytes:
    """Put U+FFFD for invalid UTF-8 and lone surrogates: one buyer's name must not stop a seller."""
    utf8 = body.decode(errors="replace").encode()
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found["alone"] else found[0], utf8)


def refusal(answer: Answer, transport: Transport) -> EbayError:
    """The error for an answer with another status than 200, from eBay's number alone: eBay's texts quote the request
    with its token, and people."""
    error_id = _first_error_id(answer)
    has_number = error_id is not None
    message = f"{answer.request}: eBay answered {answer.status}{f' {error_id}' if has_number else ''}"
    facts: dict[str, Any] = {"status": answer.status, "error_id": error_id}
    if answer.status == 429 or answer.status >= 500:
        kind = RateLimited if answer.status == 429 else EbayBusy
        return kind(message, retry_after=answer.retry_after(transport.clock.now()), **facts)
    if answer.status == 401:
        return Unauthorized(
            message, hint="the token is not accepted: see the account's state with `ebaysync status`", **facts
        )
    if error_id in SIGNATURE_ERRORS:
        return (SignatureStale if error_id == STALE else SignatureRefused)(message, **facts)
    if answer.status == 403:
        return (ScopeMissing if error_id == INSUFFICIENT_PERMISSIONS else AccessDenied)(message, **facts)
    if answer.status == 404 and has_number:
        return RecordNotFound(message, **facts)
    if has_number and 400 <= answer.status < 500:
        return EbayRejected(message, **facts)
    return AnswerNotUnderstood(f"{message} without eBay's error envelope", **facts)


def _first_error_id(answer: Answer) -> int | None:
    """The error number. Shapes: {"errors": [{…}]}, and Post-Order's {"errorMessage": {"error": [{…}]}} and {"error":
    [{…}]}, where it may be text. 0 is an error without a number, None is no error."""
    try:
        body = msgspec.json.decode(answer.body)
    except (ValueError, RecursionError):
        return None
    for place in (body, body.get("errorMessage") if isinstance(body, dict) else None):
        for name in ("errors", "error"):
            found = place.get(name) if isinstance(place, dict) else None
            if isinstance(found, list) and found and isinstance(found[0], dict):
                number = str(found[0].get("errorId"))
                return int(number) if re.fullmatch("[0-9]{1,18}", number) else 0
    return None
