"""The offers of inventory items (Inventory getOffers): one list per SKU, for the source `inventory`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import SystemRandom

from ebaysync.ebay import inventory
from ebaysync.ebay.json_repair import field_of
from ebaysync.ebay.rest import Api, ListPage
from ebaysync.ebay.xml_repair import BrokenRecord
from ebaysync.errors import AnswerNotUnderstood, EbayError
from ebaysync.sync.scan import ScanPage
from ebaysync.sync.sources.calls import as_bytes
from ebaysync.sync.sources.streak import TOGETHER, Streak, ends_all, is_limit
from ebaysync.sync.state.pending_details import Pending
from ebaysync.tasks import drain


class Offers:
    """Reads the offers of SKUs, of each once in a run. One SKU that eBay refuses does not cost the others theirs."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._asked: set[str] = set()  # a second scan in the same run would get the same answers
        self._streak = Streak()

    async def read(self, skus: Sequence[str], pending: Mapping[str, Pending]) -> ScanPage:
        """The offers of these SKUs, except for those that were read before or wait for their next try."""
        found = _Found()
        new = [sku for sku in skus if sku not in self._asked]
        self._asked.update(new)
        waiting = [sku for sku in new if sku in pending and pending[sku].waits]
        queue = deque(sku for sku in new if sku not in waiting)
        await drain(queue, lambda sku: self._ask(sku, found), TOGETHER, lambda: self._streak.ended_by is None)
        ended_by = self._streak.ended_by
        passes = is_limit(ended_by)  # it may be met because of one SKU alone
        return ScanPage(
            found.records,
            found.broken,
            None if passes else ended_by,
            parts=found.parts,
            failed=found.failed,
            unasked=[*found.unasked, *queue, *waiting],
            ended_by=ended_by if passes else None,
        )

    async def _ask(self, sku: str, found: _Found) -> None:
        try:
            page = await self._of(sku)
        except EbayError as error:
            # The first call that a limit refuses may have met it because of its SKU; the others only followed.
            if self._streak.ended_by is not None and ends_all(error):
                found.unasked.append(sku)
                return
            self._streak.failed(error)
            found.failed[sku] = error.message
        else:
            self._streak.succeeded()
            found.records += page.records
            found.broken += page.broken
            if page.incomplete:
                found.failed[sku] = page.incomplete.message
            else:
                found.parts.append(sku)

    async def _of(self, sku: str) -> ScanPage:
        found: list[bytes] = []
        broken: list[BrokenRecord] = []
        incomplete: EbayError | None = None
        offset: str | None = "0"
        seen: set[str] = set()
        while offset is not None:
            # eBay may count pages or records in `offset`. If its `next` leads back, it would never end.
            if offset in seen:
                raise AnswerNotUnderstood(f"the offers' page {offset} comes a second time")
            seen.add(offset)
            page = await inventory.offers(self._api, sku, offset)
            if offset != "0" and not page.broken and set(as_bytes(page.offers)) <= set(found):
                break  # an endless list
            found += as_bytes(page.offers)
            broken += broken_in(page, "offerId")
            incomplete = incomplete or page.partial
            offset = inventory.next_offset(page)
        if (came := len(set(found)) + len(broken)) < (page.total or 0):
            short = AnswerNotUnderstood(f"getOffers counts {page.total} offers of a SKU and sends {came}")
            incomplete = incomplete or short
        return ScanPage(found, broken, incomplete)


@dataclass
class _Found:
    """The answers of the SKUs' calls; `parts` are the SKUs whose offers are complete."""

    records: list[bytes] = field(default_factory=list)
    broken: list[BrokenRecord] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unasked: list[str] = field(default_factory=list)


def in_turn(skus: Sequence[str], pending: Mapping[str, Pending]) -> list[str]:
    """The SKUs that no call was made for, those that wait longest first, then the others in random order. So a SKU that
    ends the calls of a run does not keep the same others from theirs each time."""
    unasked = {sku: place for place, sku in enumerate(pending) if not pending[sku].attempts}
    shuffled = SystemRandom().sample(skus, len(skus))
    return sorted(shuffled, key=lambda sku: unasked.get(sku, len(pending)))


def broken_in(page: ListPage, key: str) -> tuple[BrokenRecord, ...]:
    """The page's undecodable records, with their keys as far as they can be read."""
    return tuple(BrokenRecord(document, reason, field_of(document, key)) for document, reason in page.broken)
