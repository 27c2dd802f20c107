"""Every conclusion that the program draws from a negative answer, and when it asks again. None lasts forever.

The intervals are used where the conclusion is stored; a test compares the table with docs/correctness.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

REFUSED_FIRST, REFUSED_THEN = timedelta(hours=6), timedelta(days=1)
CONSENT = timedelta(days=1)
LONGEST_BACKOFF = timedelta(hours=6)
DETAIL_FIRST, DETAIL_LONGEST = timedelta(minutes=5), timedelta(days=1)
CONTRADICTION = timedelta(days=1)
HOLE_FIRST, HOLE_LONGEST = timedelta(minutes=5), timedelta(days=1)
COUNTS_DOUBTED = timedelta(days=1)
ALL_FOLDERS = timedelta(days=1)
INDEPENDENT = timedelta(hours=2)  # between reads that are to agree that an incomplete answer is all there is


@dataclass(frozen=True)
class Conclusion:
    """A conclusion: from which answer, where it is stored, and when eBay is asked again."""

    what: str
    learned_from: str
    stored_in: str
    asked_again: str


def _hours(span: timedelta) -> str:
    hours = span // timedelta(hours=1)
    return "day" if hours == 24 else f"{hours} hours"


CONCLUSIONS = (
    Conclusion(
        "eBay refuses a family of an account",
        "403 also with a renewed token",
        "`ebay_sync_state.refused_since`, `retry_at`",
        f"after {_hours(REFUSED_FIRST)}, then every {_hours(REFUSED_THEN)}; at once by `run` and by a new consent",
    ),
    Conclusion(
        "the seller must consent again",
        "`invalid_grant`; a renewed token is refused by the Trading API",
        "`ebay_accounts.needs_consent`, `ebay_tokens.refused_since`, `retry_at`",
        f"every {_hours(CONSENT)}; at once by `refresh-tokens --force`, `accounts enable` and a new consent",
    ),
    Conclusion(
        "the seller did not consent to a scope",
        "the consent itself; no call",
        "`ebay_authorizations.scopes`",
        "with the next consent",
    ),
    Conclusion(
        "a family failed",
        "any other error",
        "`ebay_sync_state.failures`, `retry_at`",
        f"after its interval, then twice as long each time, up to {_hours(LONGEST_BACKOFF)}",
    ),
    Conclusion(
        "a detail cannot be fetched",
        "an error of the call for one record",
        "`ebay_pending_detail`",
        f"after {DETAIL_FIRST // timedelta(minutes=1)} minutes, then twice as long each time, "
        f"at least every {_hours(DETAIL_LONGEST)}",
    ),
    Conclusion(
        "a slice that contradicts itself is complete",
        "three runs in a row that read the same records",
        "`ebay_inconsistent_read`",
        f"every {_hours(CONTRADICTION)}",
    ),
    Conclusion(
        "eBay does not answer for a slice, or not completely",
        "an error of the call, also for its parts down to a minute; `errors` beside the records",
        "`ebay_inconsistent_read.next_at`",
        f"after {HOLE_FIRST // timedelta(minutes=1)} minutes, then twice as long each time, "
        f"at least every {_hours(HOLE_LONGEST)}",
    ),
    Conclusion(
        "no message is new",
        "the counts of the folders, the same as when all headers had been read",
        "`ebay_sync_state.remembered`",
        "by each run; the sweep reads headers whatever the counts are",
    ),
    Conclusion(
        "the counts of the folders do not show every message",
        "a new message although they were the same",
        "`ebay_sync_state.remembered`",
        f"after a {_hours(COUNTS_DOUBTED)}; until then each run reads headers",
    ),
    Conclusion(
        "headers without FolderID are those of these folders, or are not",
        "a comparison with folders that were read one by one; an error",
        "`ebay_sync_state.remembered`",
        f"every {_hours(ALL_FOLDERS)}",
    ),
    Conclusion(
        "a quota is spent",
        "429, Trading 518, eBay's report of limits",
        "`ebay_api_usage`",
        "when eBay's quota day ends, at the latest",
    ),
    Conclusion("a keyset is not accepted", "`invalid_client`", "nowhere", "by each command"),
    Conclusion("an API wants signed calls", "403 with a signature error", "the process", "by the next process"),
    Conclusion(
        "a list has no further page",
        "an empty page or Trading 340, unless the page was announced",
        "the run",
        "by the next run",
    ),
    Conclusion(
        "a record was removed",
        "two complete scans without it",
        "`removed_at`",
        "by each scan; a record that comes back loses it",
    ),
    Conclusion(
        "more than half of the records are missing",
        "a complete scan",
        "`ebay_doubted_scan`",
        "by each scan; believed after three that agree, or with `--accept-removals`",
    ),
    Conclusion(
        "a list that eBay calls incomplete is complete",
        f"three scans that saw the same, each {INDEPENDENT // timedelta(hours=1)} hours after the one before",
        "`ebay_doubted_scan`",
        "by each scan",
    ),
    Conclusion(
        "a record cannot be stored",
        "its content",
        "`ebay_quarantine`",
        "whenever eBay sends it again",
    ),
)
