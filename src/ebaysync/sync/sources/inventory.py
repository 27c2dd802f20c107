"""Inventory items and their offers (Inventory getInventoryItems, getOffers): one scan for both families."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from ebaysync.ebay import inventory
from ebaysync.ebay.json_repair import field_of
from ebaysync.ebay.rest import Api, ListPage
from ebaysync.ebay.xml_repair import BrokenRecord
from ebaysync.errors import AnswerNotUnderstood, EbayError
from ebaysync.sync.scan import NumberedPage, ScanPage, numbered
from ebaysync.sync.sources.calls import TOGETHER, Calls, Scanned, Streak, as_bytes
from ebaysync.tasks import drain


class _Sku(msgspec.Struct):
    sku: str


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""
    asked: set[str] = set()  # a SKU's offers come in one answer: asked for once, whatever the list does
    streak = Streak()

    async def items(offset: str) -> NumberedPage:
        page = await inventory.items(api, offset)
        found, following = as_bytes(page.inventory_items), inventory.next_offset(page)
        return NumberedPage(found, page.total, following, _broken(page, "sku"), page.partial)

    async def offers(sku: str) -> ScanPage:
        found: list[bytes] = []
        broken: list[BrokenRecord] = []
        incomplete: EbayError | None = None
        offset: str | None = "0"
        seen: set[str] = set()
        while offset is not None:
            if offset in seen:
                raise AnswerNotUnderstood(f"the offers' page {offset} comes a second time")
            seen.add(offset)
            page = await inventory.offers(api, sku, offset)
            if offset != "0" and not page.broken and set(as_bytes(page.offers)) <= set(found):
                break  # an endless list
            found += as_bytes(page.offers)
            broken += _broken(page, "offerId")
            incomplete = incomplete or page.partial
            offset = inventory.next_offset(page)
        if (came := len(set(found)) + len(broken)) < (page.total or 0):
            short = AnswerNotUnderstood(f"getOffers counts {page.total} offers of a SKU and sends {came}")
            incomplete = incomplete or short
        return ScanPage(found, broken, incomplete)

    async def offers_of(skus: Collection[str], waiting: Collection[str]) -> ScanPage:
        found = _Offers(streak)
        new = set(skus) - asked
        asked.update(new)
        queue = deque(sorted(new - set(waiting)))
        await drain(queue, lambda sku: found.ask(offers, sku), TOGETHER, lambda: streak.ended_by is None)
        unasked = [*queue, *(new & set(waiting))]
        return ScanPage(
            found.records,
            found.broken,
            streak.ended_by,
            parts=found.parts,
            failed=found.failed,
            unasked=unasked,
        )

    async def scan(wanted: Collection[str], waiting: Collection[str]) -> AsyncGenerator[Scanned]:
        skus: dict[str, None] = {}
        failure: EbayError | None = None
        inconsistent: str | None = None
        # All items come first: a limit on getOffers would close the way to their further pages, too.
        try:
            async with aclosing(numbered(items, _sku, "0")) as pages:
                async for found in pages:
                    yield {"inventory": found}
                    inconsistent = found.inconsistent
                    skus.update(dict.fromkeys(sku for record in found.records if (sku := _sku(record)) is not None))
        except EbayError as error:  # the offers of the items that came can be read
            failure = error
        known = list(skus)
        for start in range(0, len(known) if "offers" in wanted else 0, inventory.PAGE):
            yield {"offers": await offers_of(known[start : start + inventory.PAGE], waiting)}
        if failure:
            raise failure
        if inconsistent and "offers" in wanted:
            # A SKU that the list did not show may have offers.
            yield {"offers": ScanPage([], inconsistent=inconsistent)}

    return Calls(scan=scan)


@dataclass
class _Offers:
    """The offers of some SKUs. One SKU that eBay refuses does not cost the others theirs."""

    streak: Streak
    records: list[bytes] = field(default_factory=list)
    broken: list[BrokenRecord] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    async def ask(self, offers: Callable[[str], Awaitable[ScanPage]], sku: str) -> None:
        try:
            page = await offers(sku)
        except EbayError as error:
            self.streak.failed(error)
            self.failed[sku] = error.message
        else:
            self.streak.succeeded()
            self.records += page.records
            self.broken += page.broken
            if page.incomplete:
                self.failed[sku] = page.incomplete.message
            else:
                self.parts.append(sku)


def _broken(page: ListPage, key: str) -> tuple[BrokenRecord, ...]:
    """The page's undecodable records, with their keys as far as they can be read."""
    return tuple(BrokenRecord(document, reason, field_of(document, key)) for document, reason in page.broken)


def _sku(record: bytes) -> str | None:
    try:
        return msgspec.json.decode(record, type=_Sku).sku
    except (ValueError, RecursionError):
        return None
