"""A request to eBay, and the answer to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from ebaysync.ebay import limits
from ebaysync.ebay.body import Feed

if TYPE_CHECKING:  # a second `import httpx` would load it, and cli/app delays that to its first use
    import httpx

DEADLINE = 90.0  # seconds for one request, however slowly its body arrives


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    deadline: float = DEADLINE
    feed: Callable[[], Feed] | None = None
    """makes, for each attempt, the reader of a 200 whose content type contains `feed_type`"""
    feed_type: str = "xml"
    signed: bool = False
    """sellers in the EU and the UK must sign this call; signed anew for each attempt"""

    @property
    def api(self) -> str:
        """The API whose quota the call counts for."""
        return limits.api_of(self.url, self.headers, self.body)

    def __repr__(self) -> str:
        return f"{self.method} {self.url}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: httpx.Headers
    body: bytes
    """the whole body; b"" if it was fed; the first START bytes if it should have been fed but was something else"""
    request: Request
    fed: Feed | None = None
    signed: bool = False

    def retry_after(self, now: datetime) -> float | None:
        """Seconds to wait, from either form of the header (RFC 9110, 10.2.3); not longer than the quota day."""
        text = self.headers.get("retry-after", "").strip()
        longest = (limits.latest_end(limits.quota_day(now)) - now).total_seconds()
        if text.isascii() and text.isdecimal():
            return min(float(text[:12]), longest)  # of any number of digits; 400 of them would be infinite
        try:
            seconds = (parsedate_to_datetime(text).astimezone(UTC) - now).total_seconds()
        except (ValueError, OverflowError):
            return None
        return min(max(0.0, seconds), longest)
