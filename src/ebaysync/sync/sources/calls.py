"""The interface of a source: a window's pages, or a scan, and the details of records."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ebaysync.errors import AccessDenied, BodyBroken, EbayBusy, EbayError, EbayUnreachable, QuotaSpent, Unauthorized
from ebaysync.sync.scan import ScanPage
from ebaysync.sync.walk import Page, Slice

Scanned = Mapping[str, ScanPage]
"""The result of a scan, by family."""


@dataclass(frozen=True)
class Calls:
    """`ask` returns a page of a window, `scan` reads everything for some of the families.

    A second scan in the same run may leave out calls whose answers cannot differ. details: fetches records by their
    keys. details_per_call: keys per call. details_at_once: details that are stored together, 0 for all. in_future: the
    errorId for a window that ends after eBay's now.
    """

    ask: Callable[[Slice, int], Awaitable[Page]] | None = None
    scan: Callable[[Collection[str]], AsyncGenerator[Scanned]] | None = None
    page_size: int = 200
    details: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]] | None = None
    details_per_call: int = 1
    details_at_once: int = 0
    in_future: int | None = None


def concerns_one_record(error: EbayError) -> bool:
    """Whether an error may be caused by the requested record. Then it must not stop the seller's other records.

    Errors of tokens, scopes, limits and connections are not a record's.
    """
    if isinstance(error, Unauthorized | AccessDenied | EbayUnreachable | QuotaSpent):
        return False
    if isinstance(error, BodyBroken) and not error.by_a_record:
        return False
    return not (isinstance(error, EbayBusy) and error.status == 429)


def one_by_one(detail: Callable[[str], Awaitable[bytes]]) -> Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]:
    """Details from a call that returns one record."""

    async def details(keys: Sequence[str]) -> Mapping[str, bytes]:
        return {key: await detail(key) for key in keys}

    return details


def as_bytes(records: Sequence[msgspec.Raw] | None) -> tuple[bytes, ...]:
    return tuple(bytes(record) for record in records or ())
