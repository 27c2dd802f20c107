"""The seller's message folders, their counts, and what is remembered of them from run to run.

The counts may show a message before the headers do, and a window ends before eBay's now. So headers are read after a
change of the counts, and in each run until a window has ended LAG after the moment at which these counts were first
seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec

from ebaysync.ebay import trading_messages
from ebaysync.ebay.clock import CONTRADICTED
from ebaysync.ebay.rest import Api
from ebaysync.errors import EbayError
from ebaysync.rechecks import COUNTS_DOUBTED
from ebaysync.sync.queue import may_be_of_its_slice

LAG = timedelta(minutes=15)  # that the headers may be behind the counts; nobody could verify how far they are

Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Memory(msgspec.Struct, omit_defaults=True):
    """A JSON object. `counts` are those of the last summary, first seen at `since`. `read_until`: all that they count
    was read, up to this time. `together`: the folders that a call without FolderID covers, until `together_until`."""

    counts: dict[str, list[int]] = {}
    since: Time | None = None
    read_until: Time | None = None
    doubted_until: Time | None = None
    together: list[str] = []
    together_until: Time | None = None
    together_doubted_until: Time | None = None


def lasts(until: datetime | None, now: datetime, longest: timedelta) -> bool:
    """Whether a conclusion still holds. One from beyond its longest time was drawn by a wrong clock."""
    return until is not None and now < until <= now + longest + CONTRADICTED


class Folders:
    """The ids of the folders, from one summary in a run. Is a Glance."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.memory = Memory()
        self._ids: Sequence[str] = ()
        self.empty = set[str]()
        """folders that have no message, as eBay counts"""
        self._was_known = False
        """the counts are those of messages that earlier runs have read"""

    @property
    def now(self) -> datetime:
        return self._api.transport.clock.now()

    async def ids(self) -> Sequence[str]:
        """Raises EbayError."""
        # Once in a run: every window would cost another call.
        if not self._ids:
            self._take(await trading_messages.my_messages_summary(self._api))
        return self._ids

    async def nothing_new(self, remembered: Mapping[str, Any], cursor: datetime | None) -> bool:
        try:
            self.memory = msgspec.convert(remembered, Memory)
        except msgspec.ValidationError:
            self.memory = Memory()
        before = self.memory.counts
        try:
            await self.ids()
        except EbayError as error:
            if not may_be_of_its_slice(error):
                raise
            await self.ids()
        same, read_until = bool(before) and self.memory.counts == before, self.memory.read_until
        self._was_known = same and read_until is not None and cursor is not None and cursor >= read_until
        return self._was_known and not lasts(self.memory.doubted_until, self.now, COUNTS_DOUBTED)

    def remembered(self, read_until: datetime | None, inserted: int) -> Mapping[str, Any]:
        memory = self.memory
        if not self._was_known:
            settled = memory.since and read_until and read_until >= memory.since + LAG
            memory.read_until = read_until if settled else None
        elif inserted:
            memory.doubted_until = self.now + COUNTS_DOUBTED
        found: Mapping[str, Any] = msgspec.to_builtins(memory)
        return found

    def _take(self, summary: trading_messages.MailboxSummary) -> None:
        self._ids, counts = summary.folders, {name: list(n) for name, n in (summary.counts or {}).items()}
        self.empty = {name for name, numbers in counts.items() if name and not numbers[0]}
        # The clock that is furthest ahead tells when all that was counted had been sent.
        latest, since = self._api.transport.clock.latest(), self.memory.since
        if counts != self.memory.counts or since is None or since > latest:
            since = latest
        self.memory.counts, self.memory.since = counts, since if counts else None
