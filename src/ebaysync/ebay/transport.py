"""Hop 1: sends a request to eBay and returns a checked answer, or an error that says whether to retry.

It only talks to eBay's hosts (or the simulator), through no proxy but the configured one, and never follows a redirect.
A request has a deadline. Transient failures are retried with full jitter, and eBay's Retry-After is obeyed. The log has
method, host, path and status, never a header or the values of a query.

It does not know accounts, tokens or what an answer means: callers pass `check`.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import ssl
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from random import SystemRandom
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

from ebaysync.ebay.body import DECODED_CAP, START, FirstBytes, read_body
from ebaysync.ebay.clock import Clock
from ebaysync.ebay.gate import Gate, Narrowed
from ebaysync.ebay.hosts import Hosts
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.signature import Signer
from ebaysync.ebay.signed_calls import SignedCalls
from ebaysync.errors import (
    AnswerNotUnderstood,
    CertificateInvalid,
    ConfigError,
    EbayBusy,
    EbayError,
    EbayUnreachable,
    QuotaSpent,
    RateLimited,
    SignatureRefused,
)
from ebaysync.settings import LOOPBACK
from ebaysync.tasks import long_work

log = logging.getLogger(__name__)
T = TypeVar("T")

# httpcore tries to import sniffio several times per request. If it is not installed, which no library requires any
# more, Python would search its whole path each time: a quarter of a request's CPU time.
if find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]

# With full jitter, the four waits between them are 7.5 s at most in all, unless eBay asks for more.
ATTEMPTS = 5
FIRST_WAIT = 0.5  # seconds at most before the second attempt, if eBay does not say
LONGEST_WAIT = 60.0  # a longer Retry-After is left to a later run
IN_FLIGHT = 6  # requests of one account at the same time


class CallMeter(Protocol):
    """Counts an application's calls against its quotas (accounts/usage)."""

    def admit(self, api: str, share: float, spent: Mapping[str, int], most_sharers: float) -> None:
        """Count a request that is about to be sent. Raises QuotaSpent if `share` of the quota is used, ShareSpent if
        the run, which has `spent` these calls, has used up its part of what is left. At most `most_sharers` share it.
        """

    def cooling(self, apis: Iterable[str], share: float) -> str | None:
        """Why no call of one of these APIs may be made now; None if calls may be made."""

    async def judged(self, api: str, answer: Answer, error: EbayError) -> EbayError:
        """The error that a refusal for too many calls means: QuotaSpent if the day's calls are used up."""


class Transport:
    """One connection pool to an environment's hosts, and a gate for each API (ebay/gate).

    `calls` counts the requests that were sent through this view of it (see `counted`), `spent` the same by API. The
    `meter` of all views may refuse one.
    """

    def __init__(
        self,
        hosts: Hosts,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        find_signer: Callable[[], Awaitable[Signer | None]] | None = None,
        signs: bool = False,
    ) -> None:
        """`find_signer` gets the signing key when a call first needs it. With `signs`, calls are signed without waiting
        for eBay to refuse an unsigned one."""
        self.hosts = hosts
        self.signing = SignedCalls(find_signer, at_once=signs)  # shared by all views
        self.clock = Clock()
        self.calls = 0
        self.spent: Counter[str] = Counter()
        self.meter: CallMeter | None = None
        self.share, self.most_sharers = 1.0, 1.0
        self._allowed = hosts.names()
        self._sleep = sleep
        self._gates: defaultdict[str, Gate] = defaultdict(Gate)  # shared by all views, by API
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._client = httpx.AsyncClient(
            verify=trust(encrypted=any(urlsplit(url).scheme == "https" for url in (hosts.api, hosts.apiz, hosts.auth))),
            # On a redirect, httpx drops Authorization, but not the header that has Trading's token.
            follow_redirects=False,
            # No proxy and no .netrc of the environment.
            trust_env=False,
            proxy=hosts.proxy.reveal() if hosts.proxy else None,
            # No limit on the wait for a connection: `_slots` lets in no more requests than there are connections.
            timeout=httpx.Timeout(30.0, connect=10.0, pool=None),
            limits=httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT),
            headers={"Accept-Encoding": "gzip", "User-Agent": "ebaysync"},
        )

    def counted(self, share: float = 1.0, most_sharers: float = 1.0) -> Transport:
        """A view with the same pool, clock and meter and a count of its own, for one of several runs at the same time.
        It may use up to this share of a quota, but no more than its part of what is left, if other accounts wait. At
        most `most_sharers` share it."""
        # Shallow: pool, clock, gates, slots and signatures are the same objects in all views.
        view = copy.copy(self)
        view.calls, view.spent, view.share, view.most_sharers = 0, Counter(), share, most_sharers
        return view

    def cooling(self, apis: Iterable[str]) -> str | None:
        """Why no call of one of these APIs may be made now; None if calls may be made."""
        return self.meter.cooling(apis, self.share) if self.meter else None

    async def __aenter__(self) -> Transport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(self, request: Request, check: Callable[[Answer], T]) -> T:
        """Send, let `check` turn the answer into a result or an EbayError, and retry if that can help. Raises
        EbayError."""
        gate = self._gates[request.api]

        async def freely() -> T:
            async with self._slots:
                if gate.narrow:
                    raise Narrowed
                answer = await self._exchange(request)
            try:
                return await self._checked(answer, check, judge=False)
            except EbayError as error:
                if not _is_limit(error):
                    raise
                if not gate.narrow:  # else it was in flight when another one was refused
                    gate.narrow = True  # before anything is waited for, so that nothing more is sent
                    await self._narrowed(gate, answer, error)
            raise Narrowed

        if not gate.narrow:
            with suppress(Narrowed):
                return await self.persist(freely)
        async with gate.turn:
            return await self._send_in_turn(gate, request, check)

    async def _narrowed(self, gate: Gate, answer: Answer, error: EbayError) -> None:
        """Leave the first refusal to those who go in turn. Raises it if waiting does not help."""
        async with gate.turn:
            error = await self._judged(answer, error)
            if not _worth_another_try(error):
                if _is_busy(error):
                    gate.shut(error)
                raise error
            gate.refusal = error

    async def _send_in_turn(self, gate: Gate, request: Request, check: Callable[[Answer], T]) -> T:
        gate.check()
        # The call that was refused was the first attempt of all who wait behind it.
        attempts = ATTEMPTS - 1 if gate.refusal else ATTEMPTS

        async def once() -> T:
            if refusal := gate.take_refusal():
                await self._sleep(_asked(refusal.retry_after, SystemRandom().uniform(0, FIRST_WAIT)))
            async with self._slots:
                answer = await self._exchange(request)
            return await self._checked(answer, check)

        try:
            return await self.persist(once, attempts)
        except EbayBusy as error:
            if _is_busy(error):
                gate.shut(error)
            raise

    async def persist(self, once: Callable[[], Awaitable[T]], attempts: int = ATTEMPTS) -> T:
        """Call `once`, and again after a transient EbayError, with full jitter or after the wait that eBay asked.
        Raises the last EbayError."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_worth_another_try),
            wait=_wait,
            stop=stop_after_attempt(attempts),
            sleep=self._sleep,
            before_sleep=_log_retry,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await once()
        raise AssertionError("tenacity re-raises")

    async def send_once(self, request: Request, check: Callable[[Answer], T]) -> T:
        """Send without a retry. Raises EbayError."""
        return await self._checked(await self._exchange(request), check)

    async def _checked(self, answer: Answer, check: Callable[[Answer], T], *, judge: bool = True) -> T:
        try:
            with long_work():  # broken JSON takes a second for each of up to 256 MiB
                return check(answer)
        except EbayError as error:
            if isinstance(error, SignatureRefused) and not answer.signed:
                raise await self.signing.refused(answer.request, error) from None
            if judge and _is_limit(error):
                raise await self._judged(answer, error) from None
            raise

    async def _judged(self, answer: Answer, error: EbayError) -> EbayError:
        return await self.meter.judged(answer.request.api, answer, error) if self.meter else error

    async def _exchange(self, request: Request) -> Answer:
        _check_headers(request)
        parts = urlsplit(request.url)
        if parts.netloc not in self._allowed or (parts.scheme == "http" and parts.hostname not in LOOPBACK):
            raise AnswerNotUnderstood(f"{parts.netloc} is not one of eBay's hosts")
        signature = await self.signing.headers(request, self.clock.now())
        if self.meter:
            # Counted before it is sent: eBay counts a call whose answer is lost, too.
            self.meter.admit(request.api, self.share, self.spent, self.most_sharers)
        self.calls += 1
        self.spent[request.api] += 1
        started = time.monotonic()
        try:
            # httpx's timeouts are for a single read: a body that drips in would never end.
            async with asyncio.timeout(request.deadline):
                answer = await self._once(request, signature)
        except TimeoutError:
            raise EbayUnreachable(f"{request}: no complete answer within {request.deadline:.0f} s") from None
        except httpx.TransportError as error:
            raise _unreachable(request, error) from None
        log.debug("%s -> %d, %.3f s", request, answer.status, time.monotonic() - started)
        return answer

    async def _once(self, request: Request, signature: tuple[tuple[str, str], ...]) -> Answer:
        async with self._client.stream(
            request.method,
            request.url,
            params=request.params or None,
            headers=[*request.headers, *signature],
            content=request.body,
        ) as response:
            # Before the body is read: that may take a while, and Date is the time when eBay began to answer.
            self.clock.learn(response.headers.get("date"))
            fits = response.status_code == 200 and request.feed_type in response.headers.get("content-type", "").lower()
            if request.feed and fits:
                fed = request.feed()
                await read_body(response, str(request), fed.feed)
                with long_work():
                    fed.close()
                return Answer(response.status_code, response.headers, b"", request, fed, bool(signature))
            kept = FirstBytes(START if request.feed else DECODED_CAP)
            await read_body(response, str(request), kept.take)
            return Answer(
                response.status_code, response.headers, b"".join(kept.chunks), request, signed=bool(signature)
            )


@cache
def trust(*, encrypted: bool) -> ssl.SSLContext:
    """The machine's certificates. They take 25 ms to read, so not for a simulator on plain http; without them none is
    accepted."""
    context = ssl.create_default_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check_headers(request: Request) -> None:
    """Raises ConfigError for a value that HTTP cannot carry. It comes from a setting, such as the marketplace."""
    for name, value in request.headers:
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"{request} is not sent: the value of {name} has characters that a header cannot carry",
                hint="is the account's marketplace right? Replace it: "
                "ebaysync accounts connect NAME --environment ENVIRONMENT --marketplace EBAY_GB",
            )


def _unreachable(request: Request, error: httpx.TransportError) -> EbayError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CertificateInvalid(f"{request}: the server's certificate is not valid ({cause.verify_message})")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ProxyError):
        return EbayUnreachable(f"{request}: the proxy refuses the way ({error})", hint="is EBAYSYNC_PROXY right?")
    if failure := _failure(error):
        return EbayUnreachable(f"{request}: {failure}")
    return EbayError(f"{request}: it cannot be sent")


def _failure(error: httpx.TransportError) -> str | None:
    """A failure of the connection in words. None if no connection was tried."""
    # Not a constant: httpx imports its client when one of these names is first used.
    failures: tuple[tuple[type[httpx.TransportError], str], ...] = (
        (httpx.ConnectTimeout, "no connection in time"),
        (httpx.TimeoutException, "timed out"),
        (httpx.ConnectError, "no connection"),
        (httpx.NetworkError, "the connection broke"),
        (httpx.RemoteProtocolError, "the connection ended before the answer, or the answer is no HTTP"),
    )
    return next((text for kind, text in failures if isinstance(error, kind)), None)


def _is_limit(error: EbayError) -> bool:
    """Whether eBay wants no more calls of this API now."""
    return isinstance(error, QuotaSpent) or error.status == 429 or _is_busy(error)


def _is_busy(error: EbayError) -> bool:
    """Whether there were too many calls at once, or eBay is down and says for how long."""
    return isinstance(error, RateLimited) or (isinstance(error, EbayBusy) and (error.retry_after or 0) > LONGEST_WAIT)


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, EbayError) and error.transient and (error.retry_after or 0) <= LONGEST_WAIT


_jitter = wait_random_exponential(multiplier=FIRST_WAIT, max=20)


def _wait(state: RetryCallState) -> float:
    """Full jitter, or the time that eBay asked for and a little more, so that many waiting clients do not return at
    once."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, EbayError) else None
    return _asked(asked, _jitter(state))


def _asked(seconds: float | None, jitter: float) -> float:
    # Never less than eBay asked for: a call before that time would only be refused again.
    return jitter if seconds is None else seconds + min(jitter, 2.0)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    wait = state.next_action.sleep if state.next_action else 0
    log.info("%s; retry in %.1f s", error, wait)
