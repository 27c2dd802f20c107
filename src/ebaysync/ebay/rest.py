"""eBay's REST manner: JSON answers, one error envelope, Bearer tokens. One account's way to it is an `Api`.

Where a rule is not obvious: a 404 without eBay's error envelope comes from the wrong host or path, a 200 that is
no JSON from a maintenance page; neither is ever "no data".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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
    EbayUnreachable,
    RecordNotFound,
    ScopeMissing,
    Unauthorized,
)
from ebaysync.log import Secret

T = TypeVar("T")
INSUFFICIENT_PERMISSIONS = 1100


class Answered(msgspec.Struct, rename="camel", frozen=True):
    """Base of what an answer is decoded into: eBay's camelCase names, unknown fields ignored."""


class ApiError(Answered, frozen=True):
    error_id: int = 0
    message: str = ""


class Envelope(Answered, frozen=True):
    errors: list[ApiError] = []


def stamp(moment: datetime) -> str:
    """ISO 8601, UTC, milliseconds: the form that eBay's filters take."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Credentials(Protocol):
    """Where an Api gets its access token from; `renewed` after eBay has refused the one given."""

    async def access_token(self) -> Secret: ...

    async def renewed(self, refused: Secret) -> Secret: ...


class Api:
    """One account's calls. A refused token (401) is renewed once, and the call goes on."""

    def __init__(self, transport: Transport, credentials: Credentials, marketplace_id: str | None = None) -> None:
        self.transport = transport
        self.credentials = credentials
        self.marketplace_id = marketplace_id

    async def get(
        self, host: Literal["api", "apiz"], path: str, kind: type[T], params: Sequence[tuple[str, str]] = ()
    ) -> T:
        """GET a path of eBay's. Raises EbayError."""
        url = getattr(self.transport.hosts, host) + path
        token = await self.credentials.access_token()

        async def send(token: Secret) -> T:
            headers = (("Authorization", f"Bearer {token.reveal()}"), ("Accept", "application/json"))
            request = Request("GET", url, tuple(params), headers)
            return await self.transport.send(request, self._checking(kind))

        try:
            return await send(token)
        except Unauthorized:
            return await send(await self.credentials.renewed(token))

    def _checking(self, kind: type[T]) -> Callable[[Answer], T]:
        return lambda answer: check(answer, kind, self.transport)


def check(answer: Answer, kind: type[T], transport: Transport) -> T:
    """The decoded body of a 200, or the EbayError that the answer is."""
    if answer.status != 200:
        raise _refusal(answer, transport)
    if "json" not in answer.headers.get("content-type", "").lower():
        said = answer.headers.get("content-type", "no content type")
        raise AnswerNotUnderstood(f"{answer.request}: JSON was expected, the answer is {said}", status=200)
    return decoded(answer, kind)


def decoded(answer: Answer, kind: type[T]) -> T:
    """The body as JSON of that shape. Raises AnswerNotUnderstood, or EbayUnreachable for what is no JSON at all, which
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
    """Looked at before decoding, because msgspec does not check the strings that it passes over."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return _SURROGATE.search(body) is not None


def _mended(body: bytes) -> bytes:
    """With U+FFFD for what is no UTF-8 and for surrogates that stand alone: one buyer's name must not stop a seller."""
    utf8 = body.decode(errors="replace").encode()
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found["alone"] else found[0], utf8)


def _refusal(answer: Answer, transport: Transport) -> EbayError:
    first = _first_error(answer)
    said = f" {first.error_id} {first.message[:200]}" if first else ""
    message = f"{answer.request}: eBay answered {answer.status}{said}"
    facts: dict[str, Any] = {"status": answer.status, "error_id": first.error_id if first else None}
    if answer.status == 429 or answer.status >= 500:
        return EbayBusy(message, retry_after=answer.retry_after(transport.clock.now()), **facts)
    if answer.status == 401:
        return Unauthorized(
            message, hint="the token is not accepted: see the account's state with `ebaysync status`", **facts
        )
    if answer.status == 403:
        scope_missing = first is not None and first.error_id == INSUFFICIENT_PERMISSIONS
        return (ScopeMissing if scope_missing else AccessDenied)(message, **facts)
    if answer.status == 404 and first:
        return RecordNotFound(message, **facts)
    if first and 400 <= answer.status < 500:
        return EbayRejected(message, **facts)
    return AnswerNotUnderstood(f"{message} without eBay's error envelope", **facts)


def _first_error(answer: Answer) -> ApiError | None:
    try:
        return next(iter(msgspec.json.decode(answer.body, type=Envelope).errors), None)
    except (ValueError, RecursionError):
        return None
