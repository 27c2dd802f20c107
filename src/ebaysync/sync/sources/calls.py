"""What a source offers a run: a window page by page, or a scan, and the details of records."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ebaysync.errors import AccessDenied, EbayBusy, EbayError, EbayUnreachable, QuotaSpent, Unauthorized, XmlBroken
from ebaysync.sync.scan import ScanPage
from ebaysync.sync.walk import Page, Slice

Scanned = Mapping[str, ScanPage]
"""What a scan has found, by family."""


@dataclass(frozen=True)
class Calls:
    """`ask` for a page of a window, or `scan` all there is for some of the families; a second scan of the same run may
    leave out calls whose answers cannot differ.

    details: records by their keys. details_per_call: keys in one call. details_at_once: details that are stored
    together, 0 for all. in_future: the errorId by which eBay refuses a window that ends after its now.
    """

    ask: Callable[[Slice, int], Awaitable[Page]] | None = None
    scan: Callable[[Collection[str]], AsyncGenerator[Scanned]] | None = None
    page_size: int = 200
    details: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]] | None = None
    details_per_call: int = 1
    details_at_once: int = 0
    in_future: int | None = None


def concerns_one_record(error: EbayError) -> bool:
    """Whether an error may be the fault of the one record that was asked for. Then it must not keep the seller's other
    records from being stored. A token, a scope, a limit or a connection is not a record's fault."""
    if isinstance(error, Unauthorized | AccessDenied | EbayUnreachable | QuotaSpent):
        return False
    if isinstance(error, XmlBroken) and not error.by_a_record:
        return False
    return not (isinstance(error, EbayBusy) and error.status == 429)


def one_by_one(detail: Callable[[str], Awaitable[bytes]]) -> Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]:
    """Details from a call that has one record."""

    async def details(keys: Sequence[str]) -> Mapping[str, bytes]:
        return {key: await detail(key) for key in keys}

    return details


def as_bytes(records: Sequence[msgspec.Raw] | None) -> tuple[bytes, ...]:
    return tuple(bytes(record) for record in records or ())
