"""The paging of eBay's REST lists with `limit` and `offset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ebaysync.ebay.json_repair import Broken
from ebaysync.errors import EbayError
from ebaysync.sync.slices import Page
from ebaysync.sync.sources.calls import as_bytes


class Envelope(Protocol):
    """The envelope of a page's records. eBay may leave out any field."""

    @property
    def total(self) -> int | None: ...

    @property
    def next(self) -> str | None: ...

    @property
    def limit(self) -> int | None: ...

    @property
    def broken(self) -> tuple[Broken, ...]: ...

    @property
    def partial(self) -> EbayError | None: ...


def page(envelope: Envelope, records: Sequence[msgspec.Raw] | None, offset: int, limit: int) -> Page:
    """A page of a list, requested with this offset and limit."""
    found = as_bytes(records)
    came = len(found) + len(envelope.broken)
    end, total = offset + came, envelope.total or 0
    # eBay may return fewer records than requested, and says so in `limit`. It promises neither `total` nor `next`, so a
    # full page without them is not taken for the last.
    is_full = came >= min(limit, envelope.limit or limit)
    more = bool(envelope.next) or (is_full and (envelope.total is None or end < total))
    if is_full or total < end:
        total = max(total, end + int(more))
    return Page(total, found, more=more, partial=envelope.partial, broken=envelope.broken)
