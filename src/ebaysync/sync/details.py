"""Decides which records need a detail, and fetches it.

eBay is called before the transaction begins, never in it. Records are stored in batches, as their details come. A
record whose detail does not come is stored as listed, and a row of ebay_pending_detail makes a later run ask for it:
neither its neighbours nor the cursor wait for it.

Fetching ends early if the error concerns more than the record (a spent quota, a dead token), or if eBay fails several
times in a row. The remaining records are stored as listed, and their details are due at once.

The detail of a record that is not final is read again when its summary changes, and by its age (sync/ages).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from ebaysync.errors import AccessDenied, BodyBroken, EbayError, EbaysyncError, QuotaSpent, SignatureRefused
from ebaysync.families.decoder import Unusable
from ebaysync.families.family import RecordVersions
from ebaysync.store.database import Database
from ebaysync.store.merge import stored, unfinished
from ebaysync.sync.ages import Ages
from ebaysync.sync.batch import Batch, Composer, Listed, Record
from ebaysync.sync.sources.calls import Calls
from ebaysync.sync.sources.streak import TOGETHER, Streak, ends_all
from ebaysync.sync.state.pending_details import Pending
from ebaysync.tasks import drain

log = logging.getLogger(__name__)

BATCH = 25  # details that are stored together; a kill loses no more


@dataclass
class Details:
    """The details of one family's records in one run.

    go_on: whether to begin something new. pending: details that are due or wait for their next try. tried: keys that
    this run has asked for. listed: keys that its lists have shown, if the family has open records. with_detail: listed
    keys whose stored detail tells more than the list.
    """

    db: Database
    composer: Composer
    ages: Ages
    calls: Calls
    account_id: UUID
    progressed: Callable[[], None]
    go_on: Callable[[], bool] = lambda: True
    pending: Mapping[str, Pending] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    with_detail: set[str] = field(default_factory=set)
    ended_by: EbaysyncError | None = None
    """why this run fetches no more details"""
    lacking: set[str] = field(default_factory=set)
    """keys whose detail this run did not get"""
    _refreshed: set[str] = field(default_factory=set)
    """keys whose stored record may have a detail already"""
    _streak: Streak = field(default_factory=Streak)

    async def batches(self, listed: Listed) -> AsyncGenerator[tuple[Batch, bool]]:
        """Split listed records into batches by the details they need; at least one batch. Yields each batch, and
        whether it is the last. Raises DatabaseError."""
        batch = Batch(unusable=list(listed.unusable), pending=self.pending)
        if self.ages.open_column:
            self.listed.update(record.key for record in listed.records)
        needed = await self._wanted(listed.records)
        records = [
            replace(each, needs_stored=True) if each.key in self.with_detail else each for each in listed.records
        ]
        batch.records = [record for record in records if record.key not in needed]
        waiting = {record.key: record for record in records if record.key in needed}
        keys = [key for key in needed if key in waiting]
        size = self.calls.details_at_once or BATCH
        for start in range(0, len(keys), size):
            await self._complete(batch, {key: waiting[key] for key in keys[start : start + size]})
            # When no call may be made any more, the remaining records are stored as listed, all in this batch.
            if start + size < len(keys) and self._may_ask():
                yield batch, False
                batch = Batch(pending=self.pending)
        yield batch, True

    async def refetch(self, keys: Sequence[str]) -> AsyncGenerator[tuple[Batch, bool]]:
        """Stored records, by their keys, with newly fetched details. Raises DatabaseError."""
        size = self.calls.details_at_once or BATCH
        for start in range(0, len(keys), size):
            if not self._may_ask():
                return
            batch = Batch(pending=self.pending)
            await self._complete(batch, await self._stored(keys[start : start + size]))
            yield batch, False

    async def still_open(self) -> dict[str, datetime | None]:
        """The keys of stored records that are not final, those first whose detail was read longest ago; each with its
        birth. Raises DatabaseError."""
        family, column = self.composer.family, self.ages.open_column
        detail = family.detail
        if detail is None or column is None or self.calls.details is None:
            return {}
        born = await unfinished(self.db, family.table, self.account_id, column, detail.final, detail.born_column)
        return {key: born[key] for key in sorted(born, key=self.ages.read_at)}

    def due(self) -> list[str]:
        """The keys of records that lack their detail, whose next try is due."""
        if self.composer.family.detail is None or self.calls.details is None:
            return []
        return [key for key, pending in self.pending.items() if not pending.waits and key not in self.tried]

    def not_listed(self, keys: Iterable[str]) -> list[str]:
        """Those of these keys that no list of this run has shown. They were not asked for, and no try is pending."""
        others = self.tried | self.pending.keys()
        return [key for key in keys if key not in self.listed and key not in others]

    def aged(self, keys: Iterable[str]) -> list[str]:
        """Those of these keys that a list of this run has shown, and whose detail is old enough to be read again."""
        others = self.tried | self.pending.keys()
        return [key for key in keys if key in self.listed and key not in others and self.ages.is_due(key)]

    def shortfall(self) -> str | None:
        """Which details are missing, and why; None if none is. Raises the error that ended the fetching if a person has
        to act on it."""
        ended_by = self.ended_by
        if not (self.lacking or ended_by):
            return None
        if ended_by and not (isinstance(ended_by, EbayError) and (ended_by.transient or _heals(ended_by))):
            raise ended_by
        named = sorted(self.lacking)[:5]
        parts = [f"{len(self.lacking)} details are missing ({', '.join(named)}{', …' if named[4:] else ''})"]
        parts += [ended_by.message] if ended_by else []
        return "; ".join(parts)

    async def _stored(self, keys: Sequence[str]) -> dict[str, Record]:
        """The stored versions. A detail alone may not say which record it belongs to."""
        account_id, table = self.account_id, self.composer.family.table
        known = await stored(self.db, table, account_id, keys)
        return {key: Record(key, RecordVersions(stored=known[key].raw if key in known else None), {}) for key in keys}

    async def _wanted(self, records: Sequence[Record]) -> Sequence[str]:
        """The keys of the records whose detail must be fetched, those that never had one first."""
        family = self.composer.family
        detail = family.detail
        if detail is None or self.calls.details is None:
            return ()
        listed = {each.key: self.composer.main_row(each.rows) for each in records if each.key not in self.tried}
        needed = {key: row for key, row in listed.items() if detail.needed(row)}
        looked_at = listed if detail.refetch_on_change else needed
        if not looked_at:
            return ()
        account_id, table = self.account_id, family.table
        known = await stored(self.db, table, account_id, list(looked_at))
        if refetch_on_change := detail.refetch_on_change:
            self.with_detail |= {key for key, before in known.items() if refetch_on_change(listed[key], before)}
        wanted = [
            key
            for key, row in looked_at.items()
            if (key in needed or key in self.with_detail)
            and not (key in known and detail.is_current(row, known[key]))
            and not (key in self.pending and self.pending[key].waits)
        ]
        self._refreshed |= {key for key in wanted if key in known and key not in self.pending}
        # A limit may end the fetching after some, in every run after the same number.
        return sorted(wanted, key=lambda key: key in self._refreshed)

    async def _complete(self, batch: Batch, waiting: Mapping[str, Record]) -> None:
        """Fetch details, and add the records to the batch: with the detail, or as listed if it did not come."""
        # Before any transaction: none may be open while eBay is asked.
        answers = await self._fetch(list(waiting))
        for key, record in waiting.items():
            answer = answers.get(key)
            if isinstance(answer, bytes):
                self.tried.add(key)
                versions = replace(record.versions, detail=answer)
                try:
                    found = self.composer.record(versions, refetch_on_change=key in self.with_detail)
                    batch.records.append(replace(found, key=key))
                    if self.ages.open_column:
                        was_known = key in self.ages.again or key in self.pending
                        again = self.ages.was_read(key, self.composer.main_row(found.rows))
                        if again or was_known:
                            batch.again[key] = again
                    continue
                except Unusable as error:
                    reason = f"the detail: {error}"
                    batch.damaged.append((answer, reason))
                    self._note_failure(batch, key, reason)
            elif answer is None:
                if key in self.pending or (record.versions.listed and key not in self._refreshed):
                    self.lacking.add(key)
                    batch.due.add(key)
            else:
                if isinstance(answer, BodyBroken) and answer.document is not None:
                    batch.damaged.append((answer.document, answer.message))
                self._note_failure(batch, key, answer.message)
            # The record is stored as listed, and the note makes a later run fetch the detail.
            if record.versions.listed is not None:
                batch.records.append(record)

    def _note_failure(self, batch: Batch, key: str, reason: str) -> None:
        self.tried.add(key)
        self.lacking.add(key)
        batch.incomplete[key] = reason
        log.warning("%s %s: %s", self.composer.family.name, key, reason)

    def _may_ask(self) -> bool:
        return self.ended_by is None and self.go_on()

    async def _fetch(self, keys: Sequence[str]) -> dict[str, bytes | EbayError]:
        """Each record's detail or error, by key; without those that were not asked for."""
        found: dict[str, bytes | EbayError] = {}
        size = self.calls.details_per_call
        queue = deque(keys[start : start + size] for start in range(0, len(keys), size))
        await drain(queue, lambda some: self._ask(some, found), TOGETHER, self._may_ask)
        return found

    async def _ask(self, keys: Sequence[str], found: dict[str, bytes | EbayError]) -> None:
        """One call. If a call for several records fails, it is repeated for each, to find the bad one."""
        assert self.calls.details
        try:
            answers = await self.calls.details(keys)
        except EbaysyncError as error:
            if not isinstance(error, EbayError):
                self.ended_by = self.ended_by or error
                return
            ended_before = self.ended_by is not None
            self._streak.failed(error)
            self.ended_by = self.ended_by or self._streak.ended_by
            # The first call that a limit refuses may have met it because of its record; the others only followed.
            if ends_all(error) and (ended_before or len(keys) > 1):
                return
            if len(keys) == 1:
                found[keys[0]] = error
                return
            for key in keys:
                if self._may_ask():
                    await self._ask([key], found)
        else:
            self._streak.succeeded()
            found.update({key: answers.get(key) or EbayError("eBay gave no detail of it") for key in keys})
        finally:
            # An error is progress, too: details that fail for a while must not cost the run its lease.
            self.progressed()


def _heals(error: EbayError) -> bool:
    """Whether later runs may succeed although nobody does anything."""
    return isinstance(error, QuotaSpent | AccessDenied) and not isinstance(error, SignatureRefused)
