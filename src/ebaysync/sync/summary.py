"""The result of one family's run: window, counts, error."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from ebaysync.errors import EbaysyncError
from ebaysync.sync.state import field_notes
from ebaysync.sync.state.sync_state import iso

if TYPE_CHECKING:  # commands that store nothing print summaries, too
    from ebaysync.sync.batch import Batch, BatchCounts

Status = Literal["completed", "error", "skipped", "interrupted"]
SHARED_CALLS = "read with {}, where the calls are counted"
"""The reason of a family that was read by another's calls."""


@dataclass
class Summary:
    """The result of one family's run: printed by `run --json`, and stored as `summary_json` in the run's row."""

    account: str
    family: str
    run_id: str | None = None
    status: Status = "completed"
    reason: str | None = None
    window_from: datetime | None = None
    window_to: datetime | None = None
    cursor: datetime | None = None
    caught_up: bool = False
    calls: int = 0
    fetched: int = 0
    stored: int = 0
    unchanged: int = 0
    removed: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    full: int | None = None
    partial: int = 0
    incomplete: int | None = None
    inconsistent: str | None = None
    """why eBay's answers contradict themselves, so that a record may be missing"""
    inserted: int = field(default=0, repr=False)
    """stored records that are new"""
    backs_off: bool = field(default=False, repr=False)
    """whether the family waits as after a failure"""
    notes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """new and changed records by what is odd about them: a field, and a reason"""
    failure: EbaysyncError | None = field(default=None, repr=False)
    refused: bool = field(default=False, repr=False)
    """eBay refuses the family's own calls; the failure of a detail is none"""
    reached: datetime | None = field(default=None, repr=False)

    @property
    def share(self) -> float:
        """How much of the window is stored, 0 to 1."""
        if not (self.window_from and self.window_to and self.reached and self.window_to > self.window_from):
            return 0.0
        return (self.reached - self.window_from) / (self.window_to - self.window_from)

    def add(self, batch: Batch, counts: BatchCounts) -> None:
        """Count a stored batch."""
        self.fetched += batch.fetched
        self.stored += counts.stored
        self.inserted += counts.inserted
        self.unchanged += counts.unchanged
        self.quarantined += counts.quarantined
        self.notes.update(counts.notes)
        if self.full is not None:
            self.full += counts.full
            self.partial += counts.partial
        if self.incomplete is not None:
            self.incomplete += len(batch.incomplete)

    def as_dict(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "family": self.family,
            "run_id": self.run_id,
            "status": self.status,
            "reason": self.reason,
            "window_from": iso(self.window_from),
            "window_to": iso(self.window_to),
            "cursor": iso(self.cursor),
            "caught_up": self.caught_up,
            "calls": self.calls,
            "fetched": self.fetched,
            "stored": self.stored,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "quarantined": self.quarantined,
            "seconds": round(self.seconds, 3),
            "error": self.failure.as_dict() if self.failure else None,
        } | self._noted()

    def facts(self) -> dict[str, Any]:
        """The object stored as `summary_json`: also the number of records that still lack their detail."""
        found = self.as_dict() | ({} if self.incomplete is None else {"incomplete": self.incomplete})
        return found | ({} if self.inconsistent is None else {"inconsistent": self.inconsistent})

    def _noted(self) -> dict[str, Any]:
        """The figures that only some runs have."""
        found: dict[str, Any] = {"field_notes": field_notes.listed(self.notes)} if self.notes else {}
        if self.full is None:
            return found
        return found | {
            "normalized_full": self.full,
            "normalized_partial": self.partial,
            "normalization_errors": self.quarantined,
        }
