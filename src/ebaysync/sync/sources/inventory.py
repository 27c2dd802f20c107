"""Inventory items and their offers (Inventory getInventoryItems, getOffers): one scan for both families."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence

import msgspec

from ebaysync.ebay import inventory
from ebaysync.ebay.json_repair import field_of
from ebaysync.ebay.rest import Api, ListPage
from ebaysync.ebay.xml_repair import BrokenRecord
from ebaysync.errors import AnswerNotUnderstood, EbayError
from ebaysync.sync.scan import NumberedPage, ScanPage, numbered
from ebaysync.sync.sources.calls import Calls, Scanned, as_bytes, concerns_one_record
from ebaysync.tasks import gather

MOST_REFUSED = 20  # SKUs per scan whose offers eBay may refuse; with more, the cause is not a single SKU


class _Sku(msgspec.Struct):
    sku: str


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""
    asked: set[str] = set()  # a SKU's offers come in one answer: asked for once, whatever the list does
    refused: list[EbayError] = []

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
            found += as_bytes(page.offers)
            broken += _broken(page, "offerId")
            incomplete = incomplete or page.partial
            offset = inventory.next_offset(page)
        if (came := len(set(found)) + len(broken)) < (page.total or 0):
            short = AnswerNotUnderstood(f"getOffers counts {page.total} offers of a SKU and sends {came}")
            incomplete = incomplete or short
        return ScanPage(found, broken, incomplete)

    async def offers_of(records: Sequence[bytes]) -> ScanPage:
        new = sorted({sku for record in records if (sku := _sku(record)) is not None} - asked)
        answers = await _together(offers, new)
        asked.update(new)
        failed = [answer for answer in answers if isinstance(answer, EbayError)]
        refused.extend(failed)
        if len(refused) > MOST_REFUSED:
            raise refused[0]
        pages = [answer for answer in answers if isinstance(answer, ScanPage)]
        found = [offer for page in pages for offer in page.records]
        broken = [each for page in pages for each in page.broken]
        reasons = [*refused, *(page.incomplete for page in pages if page.incomplete)]
        return ScanPage(found, broken, incomplete=next(iter(reasons), None))

    async def scan(wanted: Collection[str]) -> AsyncGenerator[Scanned]:
        async for found in numbered(items, _sku, "0"):
            yield {"inventory": found} | ({"offers": await offers_of(found.records)} if "offers" in wanted else {})

    return Calls(scan=scan)


async def _together(work: Callable[[str], Awaitable[ScanPage]], keys: Sequence[str]) -> list[ScanPage | EbayError]:
    """Fetch all at once, as far as the transport allows. An error that concerns one key is its result; any other ends
    them all."""

    async def one(key: str) -> ScanPage | EbayError:
        try:
            return await work(key)
        except EbayError as error:
            if not concerns_one_record(error):
                raise
            return error

    return await gather(one(key) for key in keys)


def _broken(page: ListPage, key: str) -> tuple[BrokenRecord, ...]:
    """The page's undecodable records, with their keys as far as they can be read."""
    return tuple(BrokenRecord(document, reason, field_of(document, key)) for document, reason in page.broken)


def _sku(record: bytes) -> str | None:
    try:
        return msgspec.json.decode(record, type=_Sku).sku
    except (ValueError, RecursionError):
        return None
