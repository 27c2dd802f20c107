"""Hop 1: sends a request to eBay and hands back a checked answer, or an error that says whether to ask again.

What it guards: the host is one of eBay's (or the simulator) and is reached through no proxy but the one that is set,
redirects are never followed, bodies are capped on the wire and decoded, a request has a deadline, a compressed body
must be whole (httpx takes half a gzip for a whole one), transient failures are retried with full jitter and eBay's
Retry-After is obeyed. It logs method, host, path and status: never a header, never a query's values.

A body is held whole, or goes piece by piece into the request's own Feed: what is read so may be larger than memory.

It does not know accounts, tokens or what an answer means: `check` is given.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import ssl
import sys
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from ebaysync.ebay import limits
from ebaysync.ebay.signature import Signer
from ebaysync.errors import (
    AnswerNotUnderstood,
    ConfigError,
    EbayError,
    EbayUnreachable,
    SignatureDemanded,
    SignatureRefused,
    SigningKeyMissing,
)
from ebaysync.log import Secret
from ebaysync.settings import LOOPBACK, Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

# httpcore tries to import sniffio several times for each request. Where it is not installed, which no library asks for
# any more, Python would search all of its path each time: a quarter of the CPU time of a request.
if find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]

WIRE_CAP = 64 * 2**20
DECODED_CAP = 256 * 2**20
PIECE = 2**20  # of a decoded body
START = 2**14  # what is kept of a body that a feed was meant for and did not get
DEADLINE = 90.0  # seconds for one request, whatever trickles in
ATTEMPTS = 5
LONGEST_WAIT = 60.0  # a Retry-After beyond this is left to a later run
IN_FLIGHT = 6  # requests of one account at the same time


@dataclass(frozen=True)
class Hosts:
    """Base URLs of an environment's hosts. eBay spreads its APIs over them; the wrong one answers 404."""

    api: str
    apiz: str
    auth: str
    proxy: Secret | None = None
    """what stands between us and them"""

    def names(self) -> set[str]:
        return {urlsplit(url).netloc for url in (self.api, self.apiz, self.auth)}


def hosts(settings: Settings, environment: str) -> Hosts:
    """Raises ConfigError where the simulator's URL is missing."""
    if environment == "simulator":
        base = settings.simulator_url
        if base is None:
            raise ConfigError("EBAYSYNC_SIMULATOR_URL is not set, but an account of the environment simulator needs it")
        return Hosts(base, settings.simulator_apiz_url or base, settings.simulator_auth_url or base)
    middle = ".sandbox" if environment == "sandbox" else ""
    api, apiz, auth = (f"https://{name}{middle}.ebay.com" for name in ("api", "apiz", "auth"))
    return Hosts(api, apiz, auth, settings.proxy)


class Clock:
    """eBay's now: the Date of its newest answer, carried on by the monotonic clock. Until the first answer it is
    the host's, and `known` is False."""

    def __init__(self) -> None:
        self.known = False
        self._at: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        if self._at is None:
            return datetime.now(UTC)
        date, mark = self._at
        return date + timedelta(seconds=time.monotonic() - mark)

    def learn(self, date: str | None) -> None:
        try:
            said = parsedate_to_datetime(date or "")
            if said.tzinfo is not None:
                self._at = (said.astimezone(UTC), time.monotonic())
                self.known = True
        except (ValueError, OverflowError):
            return


class Feed(Protocol):
    """Reads a body as it comes. An EbayError that it raises ends the attempt."""

    def feed(self, piece: bytes) -> None:
        """At most PIECE bytes, decoded."""

    def close(self) -> None:
        """The body came to its end, and its compression was whole."""


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    deadline: float = DEADLINE
    feed: Callable[[], Feed] | None = None
    """makes, for every attempt anew, the reader of a 200's body whose content type has `feed_type` in it"""
    feed_type: str = "xml"
    signed: bool = False
    """of a call that eBay wants signed for some sellers; made anew for every attempt"""

    def __repr__(self) -> str:
        return f"{self.method} {self.url}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: httpx.Headers
    body: bytes
    """whole; b"" where it was fed; of what should have been fed and was something else the first START bytes"""
    request: Request
    fed: Feed | None = None
    signed: bool = False

    def retry_after(self, now: datetime) -> float | None:
        """Seconds to wait, from either form of the header (RFC 9110, 10.2.3)."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdecimal():
            return float(text)
        try:
            return max(0.0, (parsedate_to_datetime(text).astimezone(UTC) - now).total_seconds())
        except (ValueError, OverflowError):
            return None


class CallMeter(Protocol):
    """Counts an application's calls against its quotas (accounts/usage)."""

    def admit(self, api: str, part: float) -> None:
        """A request is about to be sent. Raises QuotaSpent, when it must not be: `part` of the quota is used."""

    def cooling(self, apis: Iterable[str], part: float) -> str | None:
        """Why no call of one of these APIs is to be made now; None: calls may be made."""

    async def judged(self, api: str, answer: Answer, error: EbayError) -> EbayError:
        """The error that an answer is, or QuotaSpent when it says that the day's calls are used up."""


class Transport:
    """One connection pool to one environment's hosts. `calls` counts the requests that were sent through this view
    of it (see `counted`), `spent` the same by API. The `meter`, of all views, may refuse one."""

    def __init__(
        self,
        hosts: Hosts,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        find_signer: Callable[[], Awaitable[Signer | None]] | None = None,
        signs: bool = False,
    ) -> None:
        """`find_signer` looks for the signing key when the first call needs it; `signs`: without waiting for eBay to
        refuse an unsigned call."""
        self.hosts = hosts
        self.find_signer = find_signer
        self._signs = signs
        self._signer: list[Signer | None] = []  # of all views; empty: not looked for yet
        self._looking = asyncio.Lock()
        self.clock = Clock()
        self.calls = 0
        self.spent: Counter[str] = Counter()
        self.meter: CallMeter | None = None
        self.part = 1.0
        self._demanded: set[str] = set()  # of all views: the APIs of which eBay refused an unsigned call
        self._allowed = hosts.names()
        self._sleep = sleep
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._client = httpx.AsyncClient(
            verify=_trust(self.hosts),
            follow_redirects=False,
            trust_env=False,
            proxy=hosts.proxy.reveal() if hosts.proxy else None,
            timeout=httpx.Timeout(30.0, connect=10.0, pool=None),
            limits=httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT),
            headers={"Accept-Encoding": "gzip", "User-Agent": "ebaysync"},
        )

    def counted(self, part: float = 1.0) -> Transport:
        """The same pool, clock and meter, with a count of its own: for one of several runs that go on at once. It may
        use up this part of a quota."""
        view = copy.copy(self)
        view.calls, view.spent, view.part = 0, Counter(), part
        return view

    def cooling(self, apis: Iterable[str]) -> str | None:
        """Why no call of one of these APIs is to be made now."""
        return self.meter.cooling(apis, self.part) if self.meter else None

    async def __aenter__(self) -> Transport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(self, request: Request, check: Callable[[Answer], T]) -> T:
        """Send, let `check` turn the answer into a result or an EbayError, and ask again where that can help.
        Raises EbayError."""

        async def once() -> T:
            async with self._places:
                answer = await self._exchange(request)
            return await self._checked(answer, check)

        return await self.persist(once)

    async def persist(self, once: Callable[[], Awaitable[T]]) -> T:
        """Do it, and again after a transient EbayError, with full jitter or after what eBay asked for."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_worth_another_try),
            wait=_wait,
            stop=stop_after_attempt(ATTEMPTS),
            sleep=self._sleep,
            before_sleep=_tell,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await once()
        raise AssertionError("tenacity re-raises")

    async def send_once(self, request: Request, check: Callable[[Answer], T]) -> T:
        """The same without another try. Raises EbayError."""
        return await self._checked(await self._exchange(request), check)

    async def _checked(self, answer: Answer, check: Callable[[Answer], T]) -> T:
        try:
            return check(answer)
        except EbayError as error:
            if isinstance(error, SignatureRefused) and not answer.signed:
                self._demanded.add(_api(answer.request))
                raise await self._demand(error) from None
            if self.meter is None:
                raise
            judged = await self.meter.judged(_api(answer.request), answer, error)
            if judged is error:
                raise
            raise judged from None

    async def _demand(self, error: SignatureRefused) -> EbayError:
        """What the refusal of an unsigned call is."""
        if await self._key() is None:
            told = f"{error.message}; the call must be signed, and there is no signing key"
            return SigningKeyMissing(told, status=error.status, error_id=error.error_id)
        return SignatureDemanded(error.message, status=error.status, error_id=error.error_id)

    async def _exchange(self, request: Request) -> Answer:
        parts = urlsplit(request.url)
        if parts.netloc not in self._allowed or (parts.scheme == "http" and parts.hostname not in LOOPBACK):
            raise AnswerNotUnderstood(f"{parts.netloc} is not one of eBay's hosts")
        signature = await self._signature(request)
        api = _api(request)
        if self.meter:
            self.meter.admit(api, self.part)
        self.calls += 1
        self.spent[api] += 1
        started = time.monotonic()
        try:
            async with asyncio.timeout(request.deadline):
                answer = await self._once(request, signature)
        except TimeoutError:
            raise EbayUnreachable(f"{request}: no complete answer within {request.deadline:.0f} s") from None
        except httpx.TransportError as error:
            raise _unreachable(request, error) from None
        log.debug("%s -> %d, %.3f s", request, answer.status, time.monotonic() - started)
        return answer

    async def _signature(self, request: Request) -> tuple[tuple[str, str], ...]:
        """By eBay's time. Until that is known it is the host's, and eBay refuses a signature that is minutes off; its
        refusal tells the time, and the next attempt is signed by it. So a wrong host clock cannot sign for long."""
        demanded = _api(request) in self._demanded
        if not demanded and not (request.signed and self._signs):
            return ()
        if (signer := await self._key()) is None:
            if demanded:
                raise SigningKeyMissing(f"{request} must be signed, and there is no signing key")
            return ()
        return signer.headers(request.method, request.url, request.body, int(self.clock.now().timestamp()))

    async def _key(self) -> Signer | None:
        async with self._looking:
            if not self._signer:
                self._signer.append(await self.find_signer() if self.find_signer else None)
        return self._signer[0]

    async def _once(self, request: Request, signature: tuple[tuple[str, str], ...]) -> Answer:
        async with self._client.stream(
            request.method,
            request.url,
            params=request.params or None,
            headers=[*request.headers, *signature],
            content=request.body,
        ) as response:
            self.clock.learn(response.headers.get("date"))
            fits = response.status_code == 200 and request.feed_type in response.headers.get("content-type", "").lower()
            if request.feed and fits:
                fed = request.feed()
                await _read(request, response, fed.feed)
                fed.close()
                return Answer(response.status_code, response.headers, b"", request, fed, bool(signature))
            kept = _Kept(START if request.feed else DECODED_CAP)
            await _read(request, response, kept.take)
            return Answer(
                response.status_code, response.headers, b"".join(kept.pieces), request, signed=bool(signature)
            )


def _trust(hosts: Hosts) -> ssl.SSLContext:
    """The machine's certificates, which take 25 ms to read: not for a simulator on plain http. Without them no
    certificate is accepted."""
    encrypted = any(urlsplit(url).scheme == "https" for url in (hosts.api, hosts.apiz, hosts.auth))
    context = ssl.create_default_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _api(request: Request) -> str:
    return limits.api_of(request.url, request.headers, request.body)


class _Kept:
    """The first `most` bytes of a body."""

    def __init__(self, most: int) -> None:
        self.pieces: list[bytes] = []
        self._room = most

    def take(self, piece: bytes) -> None:
        if self._room > 0:
            self.pieces.append(piece[: self._room])
            self._room -= len(piece)


async def _read(request: Request, response: httpx.Response, take: Callable[[bytes], None]) -> None:
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise AnswerNotUnderstood(f"{request}: the coding {coding!r} was not asked for")
    plain = coding == "identity"
    unzip = zlib.decompressobj(wbits=31)
    wire = size = 0
    async for chunk in response.aiter_raw():
        wire += len(chunk)
        for piece in _plain(chunk) if plain else _unzip(request, unzip, chunk):
            size += len(piece)
            if wire > WIRE_CAP or size > DECODED_CAP:
                raise AnswerNotUnderstood(f"{request}: the answer is larger than {WIRE_CAP >> 20} MiB")
            take(piece)
    if not plain and wire and (not unzip.eof or unzip.unused_data):
        raise EbayUnreachable(f"{request}: the compressed answer is cut short")


def _plain(chunk: bytes) -> Iterator[bytes]:
    return (chunk[at : at + PIECE] for at in range(0, len(chunk), PIECE))


def _unzip(request: Request, unzip: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    more = True
    while more:
        try:
            piece = unzip.decompress(chunk, PIECE)
        except zlib.error:
            raise EbayUnreachable(f"{request}: the compressed answer is damaged") from None
        yield piece
        chunk = unzip.unconsumed_tail
        more = not unzip.eof and (len(piece) == PIECE or bool(chunk))


def _unreachable(request: Request, error: httpx.TransportError) -> EbayError:
    kind = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return EbayError(f"{request}: the server's certificate is not valid ({cause.verify_message})")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ProxyError):
        return EbayUnreachable(f"{request}: the proxy refuses the way ({error})", hint="is EBAYSYNC_PROXY right?")
    if isinstance(error, (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)):
        return EbayUnreachable(f"{request}: {kind}")
    return EbayError(f"{request}: {kind}")


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, EbayError) and error.transient and (error.retry_after or 0) <= LONGEST_WAIT


_jitter = wait_random_exponential(multiplier=0.5, max=20)


def _wait(state: RetryCallState) -> float:
    """Full jitter, or what eBay asked for and a little more, so that many waiting do not come back at once."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, EbayError) else None
    return _jitter(state) if asked is None else asked + min(_jitter(state), 2.0)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    wait = state.next_action.sleep if state.next_action else 0
    log.info("%s; asking again in %.1f s", error, wait)
