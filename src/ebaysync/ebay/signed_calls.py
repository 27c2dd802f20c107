"""Which calls of an account are signed: those that eBay asks of sellers in the EU and the UK."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from ebaysync.ebay.request import Request
from ebaysync.ebay.signature import Headers, Signer
from ebaysync.errors import EbayError, SignatureDemanded, SignatureRefused, SigningKeyMissing


class SignedCalls:
    """Signs a call that is marked as `signed` if `at_once` is set, and all calls of an API that has refused an unsigned
    one. `find_signer` gets the signing key when a call first needs it."""

    def __init__(self, find_signer: Callable[[], Awaitable[Signer | None]] | None, *, at_once: bool) -> None:
        self.find_signer = find_signer
        self._at_once = at_once
        self._must_sign: set[str] = set()
        self._signer: list[Signer | None] = []  # empty: not looked for yet
        self._looking = asyncio.Lock()

    async def headers(self, request: Request, now: datetime) -> Headers:
        """The headers of the signature, if the call is to be signed; `now` by eBay's clock. Raises SigningKeyMissing,
        SecretKeyError.

        Until the first answer, that is the host's time, and eBay refuses a signature that is minutes off. Its refusal
        shows the time, and the next attempt uses it.
        """
        must_sign = request.api in self._must_sign
        if not must_sign and not (request.signed and self._at_once):
            return ()
        if (signer := await self._find_key()) is None:
            if must_sign:
                raise SigningKeyMissing(f"{request} must be signed, and there is no signing key")
            return ()
        return signer.headers(request.method, request.url, request.body, int(now.timestamp()))

    async def refused(self, request: Request, error: SignatureRefused) -> EbayError:
        """The error for a refused unsigned call. From now on, all calls of its API are signed."""
        self._must_sign.add(request.api)
        if await self._find_key() is None:
            message = f"{error.message}; the call must be signed, and there is no signing key"
            return SigningKeyMissing(message, status=error.status, error_id=error.error_id)
        return SignatureDemanded(error.message, status=error.status, error_id=error.error_id)

    async def _find_key(self) -> Signer | None:
        async with self._looking:
            if not self._signer:
                # None is an answer, too: an account without a key is looked up once, not at each call.
                self._signer.append(await self.find_signer() if self.find_signer else None)
        return self._signer[0]
