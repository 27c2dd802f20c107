"""eBay's REST conventions: JSON answers, errors in one of three shapes, a token in a header. An `Api` makes one
account's calls, also its XML calls.

A 404 without eBay's error shape comes from the wrong host or path, and a 200 without JSON from a maintenance page. A
200 may hold errors instead of data, or beside it. None of them ever means "no data": each call says what its answer
must contain.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import msgspec
from msgspec.structs import force_setattr

from ebaysync.ebay import json_repair
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.transport import Transport
from ebaysync.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    EbayBusy,
    EbayError,
    EbayRejected,
    EbaysyncError,
    EbayUnreachable,
    JsonBroken,
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
P = TypeVar("P", bound="ListPage")
INVALID_TOKEN = (1001, 1002)
INSUFFICIENT_PERMISSIONS = 1100
TOO_MANY_REQUESTS = 2001
SHOWN = 80  # characters of a header that an error quotes; a header may have 100,000
SIGNATURE_ERRORS = range(215000, 215200)  # 215001 header missing, 215114 stale, 215120 does not verify
STALE = 215114

if TYPE_CHECKING:
    Count = int | None
    Text = str | None
else:  # any JSON: an odd value in an envelope must not spoil its records
    Count = Text = msgspec.Raw


class Answered(msgspec.Struct, rename="camel", frozen=True):
    """Base of decoded answers: eBay's camelCase names, unknown fields ignored.

    Fields of type Count and Text must be in COUNTS and TEXTS. They are None if eBay left them out or sent something
    absurd.
    """

    COUNTS: ClassVar[tuple[str, ...]] = ()
    TEXTS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.COUNTS:
            force_setattr(self, name, count(getattr(self, name)))
        for name in self.TEXTS:
            force_setattr(self, name, text(getattr(self, name)))


class Counted(Answered, frozen=True):
    """Base of answers that state a total. `has_nonsense`: a total is there, and is no number or negative."""

    TOTALS: ClassVar[tuple[str, ...]] = ("total",)

    # No field of eBay's begins with #, so no answer can fill this one.
    has_nonsense: bool = msgspec.field(default=False, name="#nonsense")

    def __post_init__(self) -> None:
        totals: list[Any] = [getattr(self, name) for name in self.TOTALS]
        stated = (value for value in totals if value is not None and bytes(value) != b"null")
        force_setattr(self, "has_nonsense", any(count(value) is None for value in stated))
        Answered.__post_init__(self)


class ListPage(Counted, frozen=True):
    """Base of a page of a list, with the records in fields that are named as LISTS says.

    `broken` are records that cannot be decoded. `partial` is an error that eBay states beside the records. `warnings`
    are eBay's, as it sent them.
    """

    COUNTS: ClassVar[tuple[str, ...]] = ("total", "limit")
    TEXTS: ClassVar[tuple[str, ...]] = ("next",)
    LISTS: ClassVar[tuple[str, ...]] = ()

    total: Count = None
    next: Text = None
    limit: Count = None
    warnings: msgspec.Raw = msgspec.Raw()
    # No field of eBay's begins with #, so no answer can fill these two.
    broken: tuple[json_repair.Broken, ...] = msgspec.field(default=(), name="#broken")
    partial: EbayError | None = msgspec.field(default=None, name="#partial")

    @property
    def rows(self) -> Sequence[msgspec.Raw] | None:
        """The records; None if eBay sent no list."""
        names = zip(self.__struct_encode_fields__, self.__struct_fields__, strict=True)
        lists = (getattr(self, field) for name, field in names if name in self.LISTS)
        return next((found for found in lists if found is not None), None)

    @property
    def counts(self) -> tuple[int | None, int | None]:
        """How many records there are in all, and at most on a page."""
        return self.total, self.limit

    def may_have(self, records: int) -> bool:
        """Whether the page's counts allow this number: all records, a full page, or what is left for the last page."""
        total, limit = self.counts
        if records in (total, limit):
            return True
        return bool(total and limit and records < limit and (total - records) % limit == 0)

    def missing(self) -> str | None:
        """Name what the answer lacks; None if it is a page. A page is a list, or a total of 0 without a warning."""
        total, _ = self.counts
        if self.rows is None and total != 0:
            return f"the answer has neither {' nor '.join(self.LISTS)} nor a total of 0"
        if self.rows is None and b"".join(bytes(self.warnings).split()) not in _NOTHING:
            return f"the answer has warnings and no {' or '.join(self.LISTS)}"
        if not (self.rows or self.broken) and total is None and self.has_nonsense:
            return "the list is empty, and its total is no number"
        return None


_WHOLE_NUMBER = re.compile(r"[0-9]{1,10}(?=(\.0{1,9})?\Z)")


def count(value: Any) -> int | None:
    """A count in any form that eBay uses: 2, "2", 2.0. None if it is missing, negative, or absurd."""
    found = _WHOLE_NUMBER.match((text(value) or "").strip())
    return int(found[0]) if found else None


def text(value: Any) -> str | None:
    """A text, or a number as text. None if it is missing, or something else."""
    if isinstance(value, msgspec.Raw):
        raw = bytes(value)
        if raw[:1] != b'"':
            return raw.decode() if raw[:1].isdigit() else None
        return msgspec.json.decode(raw, type=str)
    return None if value is None else str(value)


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


@dataclass(frozen=True)
class RestApi:
    """The common part of the calls of one of eBay's APIs. `scheme` is "IAF" for Post-Order, which refuses Bearer.
    `names_marketplace`: the calls have a header with the seller's marketplace. `signed`: sellers in the EU and the UK
    must sign them."""

    host: Literal["api", "apiz"]
    headers: tuple[tuple[str, str], ...] = ()
    scheme: Literal["Bearer", "IAF"] = "Bearer"
    names_marketplace: bool = False
    signed: bool = False


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

    def counted(self, share: float = 1.0, most_sharers: float = 1.0) -> Api:
        """A view of the same account with a count and limits of its own (Transport.counted)."""
        return Api(self.transport.counted(share, most_sharers), self.credentials, self.marketplace_id, self._doubt)

    async def send(self, make: Callable[[Secret], Request], check: Callable[[Answer], T]) -> T:
        """Send the request that `make` builds with the access token. If the token may be the reason for a refusal,
        repeat it with a new token.

        Raises EbayError: Unauthorized or AccessDenied if the new token is refused as well.
        """
        token = await self.credentials.access_token()
        try:
            return await self.transport.send(make(token), check)
        except Unauthorized:
            # Once only: if the new token is refused as well, the reason is another one.
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
            # Inside the lock: another task may have renewed the token while this one waited.
            current = await self.credentials.access_token()
            if not self._doubt.settled and token in (None, current):
                current = await self.credentials.renewed(current)
                self._doubt.settled = True
            return current

    async def get(
        self,
        rest_api: RestApi,
        path: str,
        kind: type[T],
        params: Sequence[tuple[str, str]] = (),
        *,
        none: T | None = None,
        missing: Callable[[T], str | None] | None = None,
    ) -> T:
        """GET a path.

        `none` is the result of a 204, if the API documents that as "there is nothing"; without it a 204 is an error.
        `missing` says what an answer lacks; a ListPage knows it by itself. Raises EbayError, SigningKeyMissing,
        SecretKeyError.
        """
        url = getattr(self.transport.hosts, rest_api.host) + path

        def make(token: Secret) -> Request:
            own = [("Authorization", f"{rest_api.scheme} {token.reveal()}"), ("Accept", "application/json")]
            if rest_api.names_marketplace:
                own.append(("X-EBAY-C-MARKETPLACE-ID", self.marketplace_id or "EBAY_US"))
            return Request("GET", url, tuple(params), (*own, *rest_api.headers), signed=rest_api.signed)

        def checked(answer: Answer) -> T:
            if answer.status == 204 and none is not None:
                return none
            found = check(answer, kind, self.transport)
            lacks = missing(found) if missing else found.missing() if isinstance(found, ListPage) else None
            if lacks:
                raise AnswerNotUnderstood(f"{answer.request}: {lacks}", status=answer.status)
            return found

        return await self.send(make, checked)


def check(answer: Answer, kind: type[T], transport: Transport) -> T:
    """The decoded body of a 200. Raises the EbayError that another answer means, and the one that a 200 states, unless
    there are records beside it."""
    if answer.status != 200:
        raise refusal(answer, transport)
    if "json" not in answer.headers.get("content-type", "").lower():
        raise wrong_type(answer, "JSON")
    stated = _stated_error(answer)
    try:
        found = decoded(answer, kind)
    except AnswerNotUnderstood:
        if stated is None:
            raise
        raise stated from None
    if stated is None:
        return found
    if isinstance(found, ListPage) and (found.rows or found.broken) and isinstance(stated, AnswerNotUnderstood):
        force_setattr(found, "partial", stated)
        return found
    raise stated


def wrong_type(answer: Answer, expected: str) -> AnswerNotUnderstood:
    content_type = answer.headers.get("content-type", "no content type")[:SHOWN]
    return AnswerNotUnderstood(
        f"{answer.request}: {expected} was expected, the answer is {content_type}", status=answer.status
    )


def decoded(answer: Answer, kind: type[T]) -> T:
    """Decode the body as JSON of that shape. Undecodable records of a ListPage go to its `broken`.

    Raises EbayUnreachable if the body was cut on its way, JsonBroken if it is whole and cannot be decoded,
    AnswerNotUnderstood if it has another shape.
    """
    body = json_repair.repaired(answer.body)
    try:
        return _of_shape(answer, body, kind)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    if reason != CUT and issubclass(kind, ListPage) and (page := _resynchronized(answer, kind)):
        return page
    if not json_repair.is_whole(answer.body):
        raise EbayUnreachable(f"{answer.request}: the JSON is damaged: {reason}", status=answer.status)
    broken = f"{answer.request}: the JSON is broken: {reason}"
    if kind is msgspec.Raw:
        raise JsonBroken(broken, document=answer.body)
    split = json_repair.split(answer.body, kind.LISTS if issubclass(kind, ListPage) else ())
    try:
        found = _of_shape(answer, split.body, kind)
    except (ValueError, RecursionError):
        raise JsonBroken(broken, by_a_record=False) from None
    if isinstance(found, ListPage):
        force_setattr(found, "broken", split.broken)
    return found


CUT = "Input data was truncated"  # msgspec's words for JSON that ends too soon and has no other fault


def _resynchronized(answer: Answer, kind: type[P]) -> P | None:
    """A page without its damaged records. None if the number of records is not what the page says: it may have been
    cut, and a neighbour of a damaged record may be missing."""
    best: P | None = None
    for split in json_repair.splits_at_names(answer.body, kind.LISTS):
        try:
            found = msgspec.json.decode(split.body, type=kind)
        except (ValueError, RecursionError):
            continue
        good, broken = len(found.rows or ()), len(split.broken)
        if found.may_have(good + broken) and broken <= max(1, good) and (not best or good > len(best.rows or ())):
            force_setattr(found, "broken", split.broken)
            best = found
    return best


def _of_shape(answer: Answer, body: bytes, kind: type[T]) -> T:
    """Raises AnswerNotUnderstood; ValueError or RecursionError if it is no JSON."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise AnswerNotUnderstood(f"{answer.request}: {error}", status=answer.status) from None


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
        # Inventory answers so to an expired token, too. `send` renews the token once before it is believed.
        return (ScopeMissing if error_id == INSUFFICIENT_PERMISSIONS else AccessDenied)(message, **facts)
    # Without a number, a 404 comes from the wrong host or path: it says nothing about a record.
    if answer.status == 404 and has_number:
        return RecordNotFound(message, **facts)
    if has_number and 400 <= answer.status < 500:
        return EbayRejected(message, **facts)
    return AnswerNotUnderstood(f"{message} without eBay's error envelope", **facts)


def _stated_error(answer: Answer) -> EbayError | None:
    """The error that a 200 states, judged by eBay's number."""
    # Nearly no answer has one: this spares a second decoding of each page.
    if b'"error' not in answer.body:
        return None
    envelope = _envelope(answer.body)
    stated = (envelope.errors, envelope.error, envelope.error_message)
    if all(b"".join(bytes(part).split()) in _NOTHING for part in stated):
        return None
    error_id = _first_error_id(answer)
    message = f"{answer.request}: eBay answered 200 with errors{f' {error_id}' if error_id else ''}"
    facts: dict[str, Any] = {"status": answer.status, "error_id": error_id}
    if error_id == TOO_MANY_REQUESTS:  # what `accounts/usage` and the retries know by its status
        return EbayBusy(message, error_id=error_id, status=429)
    if error_id in INVALID_TOKEN:
        return Unauthorized(message, **facts)
    if error_id == INSUFFICIENT_PERMISSIONS:
        return ScopeMissing(message, **facts)
    if error_id in SIGNATURE_ERRORS:
        return (SignatureStale if error_id == STALE else SignatureRefused)(message, **facts)
    return AnswerNotUnderstood(message, **facts)


_NOTHING = (b"", b"null", b"[]", b"{}", b'""', b"false")


class _Errors(Answered, frozen=True):
    """Shapes: {"errors": [{…}]}, and Post-Order's {"errorMessage": {"error": [{…}]}} and {"error": [{…}]}."""

    errors: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    error_message: msgspec.Raw = msgspec.Raw()


class _Error(Answered, frozen=True):
    COUNTS = ("error_id",)

    error_id: Count = None


def _envelope(body: bytes) -> _Errors:
    try:
        return msgspec.json.decode(json_repair.repaired(body), type=_Errors)
    except (ValueError, RecursionError):
        return _Errors()


def _first_error_id(answer: Answer) -> int | None:
    """The number of the first error, which may be text. 0 is an error without a number, None is no error."""
    outer = _envelope(answer.body)
    inner = _envelope(bytes(outer.error_message))
    for part in (outer.errors, outer.error, inner.errors, inner.error):
        with suppress(ValueError, RecursionError):
            if found := msgspec.json.decode(part, type=list[msgspec.Raw]):
                return msgspec.json.decode(found[0], type=_Error).error_id or 0
    return None


def fields_of(record: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """A record's fields that are not null. None if it is no object."""
    try:
        found = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return None
    return {name: part for name, part in found.items() if bytes(part) != b"null"}


def is_record(name: str, key: str) -> Callable[[msgspec.Raw], str | None]:
    """Check a detail (see Api.get): it must be an object whose field `name` is the key that was asked for."""

    def missing(record: msgspec.Raw) -> str | None:
        found = text((fields_of(record) or {}).get(name))
        if found is None:
            return f"the answer has no {name}"
        return None if found == key else f"another {name} was asked for than came"

    return missing
