"""Decides when the detail of a record that is not final is read again, although nothing shows a change.

That is when a time in the record has passed, and at the latest at the age that families/family declares. The ages are
spread, so that details that were read together do not come due together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zlib import crc32

from ebaysync.families.family import AGE, AGE_IF_DUE, Family
from ebaysync.store.table import TIME, Row
from ebaysync.sync.state.pending_details import Again

SPREAD = 0.5  # of an age
PASSED = timedelta(minutes=1)  # after a time in a record, eBay has moved it on
CLOCK_TOLERANCE = timedelta(minutes=5)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass
class Ages:
    """The ages of one family's details. `again`: when those of records that are not final are read again. `now`: eBay's
    clock. `patience`: see RunOptions."""

    family: Family
    again: dict[str, Again] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    patience: float = 1.0

    @property
    def open_column(self) -> str | None:
        return self.family.detail.open_column if self.family.detail else None

    def read_at(self, key: str) -> datetime:
        """When the detail was read last."""
        return self.again[key].read if key in self.again else LONG_AGO

    def is_due(self, key: str) -> bool:
        """Whether the detail of a record that is not final is old enough to be read again. One that was read in the
        future was planned by a wrong clock."""
        again, now = self.again.get(key), self.now()
        return again is None or again.at <= now or again.read > now + CLOCK_TOLERANCE

    def was_read(self, key: str, row: Row) -> Again | None:
        """The detail of this row has just been read. Returns when it is read again; None: never."""
        detail, column = self.family.detail, self.open_column
        if detail is None or column is None or row[column] in detail.final:
            self.again.pop(key, None)
            return None
        every, now = AGE_IF_DUE if detail.seller_must_act(row) else AGE, self.now()
        spread = 1 - SPREAD * crc32(key.encode()) / 2**32
        times = (row[each.name] for each in self.family.table.columns if each.type == TIME)
        passed = [time + PASSED for time in times if time is not None and time + PASSED > now]
        self.again[key] = Again(min([now + every * max(1.0, self.patience) * spread, *passed]), every, now)
        return self.again[key]
