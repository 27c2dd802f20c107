"""The interface of a source: a window's pages, or a scan, and the details of records."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ebaysync.ebay.transport import IN_FLIGHT
from ebaysync.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    BodyBroken,
    EbayBusy,
    EbayError,
    QuotaSpent,
    SignatureRefused,
    Unauthorized,
)
from ebaysync.sync.scan import ScanPage
from ebaysync.sync.walk import Page, Slice

Scanned = Mapping[str, ScanPage]
"""The result of a scan, by family."""


@dataclass(frozen=True)
class Calls:
    """`ask` returns a page of a window. `scan` reads everything for some of the families, without the parts that wait
    for their next try; a second scan in the same run may leave out calls whose answers cannot differ.

    details: fetches records by their keys. details_per_call: keys per call. details_at_once: details that are stored
    together, 0 for the usual number. in_future: the errorId for a window that ends after eBay's now.
    """

    ask: Callable[[Slice, int], Awaitable[Page]] | None = None
    scan: Callable[[Collection[str], Collection[str]], AsyncGenerator[Scanned]] | None = None
    page_size: int = 200
    details: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]] | None = None
    details_per_call: int = 1
    details_at_once: int = 0
    in_future: int | None = None


def ends_all(error: EbayError) -> bool:
    """Whether the error of a call for one record says that no other such call can succeed now: a missing signature, a
    limit. Any other error is taken for the record's own."""
    if isinstance(error, SignatureRefused | QuotaSpent):
        return True
    if isinstance(error, BodyBroken) and not error.by_a_record:
        return True
    return isinstance(error, EbayBusy) and error.status == 429


TOGETHER = IN_FLIGHT  # calls for single records at the same time
FAILURES_IN_A_ROW = 5


class Streak:
    """Errors in a row of calls for single records, if they may be eBay's state. `ended_by` is one that ends all, or the
    last of FAILURES_IN_A_ROW: then eBay is the cause, not the records."""

    def __init__(self) -> None:
        self._failures = 0
        self.ended_by: EbayError | None = None

    def failed(self, error: EbayError) -> None:
        odd = isinstance(error, AnswerNotUnderstood) and not isinstance(error, BodyBroken)
        self._failures += error.transient or odd or isinstance(error, AccessDenied | Unauthorized)
        if self.ended_by is None and (ends_all(error) or self._failures >= FAILURES_IN_A_ROW):
            self.ended_by = error

    def succeeded(self) -> None:
        self._failures = 0


def one_by_one(detail: Callable[[str], Awaitable[bytes]]) -> Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]:
    """Details from a call that returns one record."""

    async def details(keys: Sequence[str]) -> Mapping[str, bytes]:
        return {key: await detail(key) for key in keys}

    return details


def as_bytes(records: Sequence[msgspec.Raw] | None) -> tuple[bytes, ...]:
    return tuple(bytes(record) for record in records or ())
