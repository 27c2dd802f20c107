"""Decides which records need a detail, and fetches it.

eBay is called before the transaction begins, never in it. If a detail cannot be fetched, its record is stored as
listed, and the other records are not affected.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from ebaysync.errors import BodyBroken, EbayError
from ebaysync.families.decoder import Unusable
from ebaysync.families.family import RecordVersions
from ebaysync.store.database import Database
from ebaysync.store.merge import stored
from ebaysync.sync.batch import Batch, Composer, Record
from ebaysync.sync.sources.calls import Calls, concerns_one_record
from ebaysync.sync.state.pending_details import Pending
from ebaysync.tasks import gather

log = logging.getLogger(__name__)


@dataclass
class Details:
    """The details of one family's records in one run.

    tried: keys that this run has asked for. pending: details that earlier runs could not fetch. with_detail: listed
    keys whose stored detail tells more than the list.
    """

    db: Database
    composer: Composer
    calls: Calls
    account_id: UUID
    progressed: Callable[[], None]
    pending: Mapping[str, Pending] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    with_detail: set[str] = field(default_factory=set)

    async def batches(
        self, records: Sequence[bytes], broken: Sequence[tuple[bytes, str]]
    ) -> AsyncIterator[tuple[Batch, bool]]:
        """Split listed records into batches by the details they need; at least one batch. Yields each batch, and
        whether it is the last. Raises EbayError, DatabaseError."""
        batch = Batch(unusable=list(broken), pending=self.pending)
        listed: list[Record] = []
        for raw in records:
            try:
                listed.append(self.composer.record(RecordVersions(listed=raw)))
            except Unusable as error:
                batch.unusable.append((raw, str(error)))
        needed = await self._wanted(listed)
        listed = [replace(each, needs_stored=each.needs_stored or each.key in self.with_detail) for each in listed]
        batch.records = [record for record in listed if record.key not in needed]
        waiting = {record.key: record for record in listed if record.key in needed}
        keys = list(waiting)
        # If details are slow or scarce (messages: ten per call), each batch is stored before the next details are
        # fetched.
        size = self.calls.details_at_once or len(keys)
        for start in range(0, len(keys), size or 1):
            await self._complete(batch, {key: waiting[key] for key in keys[start : start + size]})
            if start + size < len(keys):
                yield batch, False
                batch = Batch(pending=self.pending)
        yield batch, True

    async def refetch(self, keys: Sequence[str]) -> AsyncIterator[tuple[Batch, bool]]:
        """Stored records, by their keys, with newly fetched details. Raises EbayError, DatabaseError."""
        size = self.calls.details_at_once or 50
        for start in range(0, len(keys), size):
            batch = Batch(pending=self.pending)
            await self._complete(batch, await self._stored(keys[start : start + size]))
            yield batch, False

    async def _stored(self, keys: Sequence[str]) -> dict[str, Record]:
        """The stored versions. A detail alone may not say which record it belongs to."""
        account_id, table = self.account_id, self.composer.family.table
        known = await self.db.transact(lambda connection: stored(connection, table, account_id, keys))
        return {key: Record(key, RecordVersions(stored=known[key].raw if key in known else None), {}) for key in keys}

    async def _wanted(self, records: Sequence[Record]) -> set[str]:
        """The keys of the records whose detail must be fetched."""
        family = self.composer.family
        detail = family.detail
        if detail is None or self.calls.details is None:
            return set()
        listed = {each.key: self.composer.main_row(each.rows) for each in records if each.key not in self.tried}
        needed = {key: row for key, row in listed.items() if detail.needed(row)}
        looked_at = listed if detail.refetch_on_change else needed
        if not looked_at:
            return set()
        account_id, table = self.account_id, family.table
        known = await self.db.transact(lambda connection: stored(connection, table, account_id, list(looked_at)))
        if refetch_on_change := detail.refetch_on_change:
            self.with_detail |= {key for key, before in known.items() if refetch_on_change(listed[key], before)}
        return {
            key
            for key, row in looked_at.items()
            if (key in needed or key in self.with_detail)
            and not (key in known and detail.is_current(row, known[key]))
            and not (key in self.pending and self.pending[key].waits)
        }

    async def _complete(self, batch: Batch, waiting: Mapping[str, Record]) -> None:
        """Fetch details, and add the records to the batch: with the detail, or as listed if it did not come."""
        answers = await _fetch(self.calls, list(waiting), self.progressed)
        self.tried.update(waiting)
        for key, record in waiting.items():
            answer = answers[key]
            if isinstance(answer, bytes):
                versions = replace(record.versions, detail=answer)
                try:
                    batch.records.append(
                        replace(self.composer.record(versions, refetch_on_change=key in self.with_detail), key=key)
                    )
                    continue
                except Unusable as error:
                    reason = f"the detail: {error}"
                    batch.damaged.append((answer, reason))
            else:
                reason = answer.message
                if isinstance(answer, BodyBroken) and answer.document is not None:
                    batch.damaged.append((answer.document, reason))
            # The record is stored as listed, and this note makes a later run fetch the detail.
            batch.incomplete[key] = reason
            log.warning("%s %s: %s", self.composer.family.name, key, reason)
            if record.versions.listed is not None:
                batch.records.append(record)


async def _fetch(calls: Calls, keys: Sequence[str], progressed: Callable[[], None]) -> dict[str, bytes | EbayError]:
    """Each record's detail or error, by key. Raises EbayError if all failed for a reason that is not a record's."""
    calls_made = (_fetch_together(calls, some, progressed) for some in _split(keys, calls.details_per_call))
    found = {key: answer for answers in await gather(calls_made) for key, answer in answers.items()}
    # All failed for a transient reason. That is the state of eBay, not of the records, so nothing is noted against
    # them.
    failed = [answer for answer in found.values() if isinstance(answer, EbayError) and answer.transient]
    if len(failed) == len(found) > 1:
        raise failed[0]
    return found


def _split(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    return [keys[start : start + size] for start in range(0, len(keys), size)]


async def _fetch_together(
    calls: Calls, keys: Sequence[str], progressed: Callable[[], None]
) -> dict[str, bytes | EbayError]:
    """The details from one call. If a call for several records fails, it is repeated for each, to find the bad one.

    Raises EbayError if the reason is not a record's.
    """
    assert calls.details
    try:
        answers = await calls.details(keys)
    except EbayError as error:
        if not concerns_one_record(error):
            raise
        if len(keys) == 1:
            return {keys[0]: error}
        return {
            key: answer for one in keys for key, answer in (await _fetch_together(calls, [one], progressed)).items()
        }
    finally:
        progressed()
    missing = EbayError("eBay gave no detail of it")
    return {key: answers.get(key, missing) for key in keys}
