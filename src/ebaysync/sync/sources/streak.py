"""Calls for single records: when the error of one says that the next ones will fail too."""

from __future__ import annotations

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

TOGETHER = IN_FLIGHT  # calls for single records at the same time
FAILURES_IN_A_ROW = 5


def ends_all(error: EbayError) -> bool:
    """Whether the error of a call for one record says that no other such call can succeed now: a missing signature, a
    limit. Any other error is taken for the record's own."""
    if isinstance(error, SignatureRefused | QuotaSpent):
        return True
    if isinstance(error, BodyBroken) and not error.by_a_record:
        return True
    return is_limit(error)


def is_limit(error: EbayError | None) -> bool:
    """Whether eBay refuses more calls for a moment, perhaps only because of this one."""
    return isinstance(error, EbayBusy) and error.status == 429


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
