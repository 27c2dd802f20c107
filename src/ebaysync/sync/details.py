"""Decides which records want a detail, and asks eBay for it.

eBay is asked before the transaction begins, never in it. One detail that cannot be had does not hold back its
neighbours: its record goes into the batch as the list has it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from ebaysync.errors import EbayError, XmlBroken
from ebaysync.families.decoder import Unusable
from ebaysync.families.family import Parts
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

    tried: keys that this run has asked for. pending: details that earlier runs could not get. followed: keys of the
    list whose stored detail tells more than the list.
    """

    db: Database
    composer: Composer
    calls: Calls
    account_id: UUID
    progressed: Callable[[], None]
    pending: Mapping[str, Pending] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)

    async def batches(
        self, records: Sequence[bytes], broken: Sequence[tuple[bytes, str]]
    ) -> AsyncIterator[tuple[Batch, bool]]:
        """Listed records in as many batches as their details want, at least one; each with whether it is the last.
        Raises EbayError, DatabaseError."""
        batch = Batch(unusable=list(broken), pending=self.pending)
        listed: list[Record] = []
        for raw in records:
            try:
                listed.append(self.composer.record(Parts(listed=raw)))
            except Unusable as error:
                batch.unusable.append((raw, str(error)))
        wanted = await self._wanted(listed)
        listed = [replace(each, needs_stored=each.needs_stored or each.key in self.followed) for each in listed]
        batch.records = [record for record in listed if record.key not in wanted]
        waiting = {record.key: record for record in listed if record.key in wanted}
        keys = list(waiting)
        # Where details are slow or scarce (messages: ten a call), each batch is stored before the next is asked for.
        size = self.calls.details_at_once or len(keys)
        for start in range(0, len(keys), size or 1):
            await self._complete(batch, {key: waiting[key] for key in keys[start : start + size]})
            if start + size < len(keys):
                yield batch, False
                batch = Batch(pending=self.pending)
        yield batch, True

    async def refetch(self, keys: Sequence[str]) -> AsyncIterator[tuple[Batch, bool]]:
        """Stored records, by their keys, with their details. Raises EbayError, DatabaseError."""
        size = self.calls.details_at_once or 50
        for start in range(0, len(keys), size):
            batch = Batch(pending=self.pending)
            await self._complete(batch, await self._stored(keys[start : start + size]))
            yield batch, False

    async def _stored(self, keys: Sequence[str]) -> dict[str, Record]:
        """Records as they are stored, because a detail may not say by itself whose it is."""
        account_id, table = self.account_id, self.composer.family.table
        known = await self.db.transact(lambda connection: stored(connection, table, account_id, keys))
        return {key: Record(key, Parts(stored=known[key].raw if key in known else None), {}) for key in keys}

    async def _wanted(self, records: Sequence[Record]) -> set[str]:
        """The keys of the records whose detail is to be asked for."""
        family = self.composer.family
        detail = family.detail
        if detail is None or self.calls.details is None:
            return set()
        listed = {each.key: self.composer.main_row(each.rows) for each in records if each.key not in self.tried}
        wanted = {key: row for key, row in listed.items() if detail.wanted(row)}
        looked_at = listed if detail.follows else wanted
        if not looked_at:
            return set()
        account_id, table = self.account_id, family.table
        known = await self.db.transact(lambda connection: stored(connection, table, account_id, list(looked_at)))
        if follows := detail.follows:
            self.followed |= {key for key, before in known.items() if follows(listed[key], before)}
        return {
            key
            for key, row in looked_at.items()
            if (key in wanted or key in self.followed)
            and not (key in known and detail.current(row, known[key]))
            and not (key in self.pending and self.pending[key].waits)
        }

    async def _complete(self, batch: Batch, waiting: Mapping[str, Record]) -> None:
        """Ask for details, and put the records into the batch: with what came, or as they were listed."""
        answers = await _fetch(self.calls, list(waiting), self.progressed)
        self.tried.update(waiting)
        for key, record in waiting.items():
            answer = answers[key]
            if isinstance(answer, bytes):
                parts = replace(record.parts, detail=answer)
                try:
                    batch.records.append(replace(self.composer.record(parts, follows=key in self.followed), key=key))
                    continue
                except Unusable as error:
                    reason = f"the detail: {error}"
                    batch.damaged.append((answer, reason))
            else:
                reason = answer.message
                if isinstance(answer, XmlBroken) and answer.document is not None:
                    batch.damaged.append((answer.document, reason))
            # The record is stored as the list has it; the note makes a later run ask again.
            batch.incomplete[key] = reason
            log.warning("%s %s: %s", self.composer.family.name, key, reason)
            if record.parts.listed is not None:
                batch.records.append(record)


async def _fetch(calls: Calls, keys: Sequence[str], progressed: Callable[[], None]) -> dict[str, bytes | EbayError]:
    """Each record's detail by its key, or why it cannot be had. Raises EbayError when all of them failed for a reason
    that is not a record's."""
    calls_made = (_fetch_together(calls, some, progressed) for some in _split(keys, calls.details_per_call))
    found = {key: answer for answers in await gather(calls_made) for key, answer in answers.items()}
    # All of them failed for a passing reason: that is eBay's state, not the records'. Nothing is noted against them.
    failed = [answer for answer in found.values() if isinstance(answer, EbayError) and answer.transient]
    if len(failed) == len(found) > 1:
        raise failed[0]
    return found


def _split(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    return [keys[start : start + size] for start in range(0, len(keys), size)]


async def _fetch_together(
    calls: Calls, keys: Sequence[str], progressed: Callable[[], None]
) -> dict[str, bytes | EbayError]:
    """The details of one call. A call that fails for several records is repeated for each, to find the one that fails.
    Raises EbayError where the reason is not a record's."""
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
