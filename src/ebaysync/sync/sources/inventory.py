"""Inventory items and their offers (Inventory getInventoryItems, getOffers): one scan for both families."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing

import msgspec

from ebaysync.ebay import inventory
from ebaysync.ebay.rest import Api
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
        return NumberedPage(as_bytes(page.inventory_items), page.total, inventory.next_offset(page))

    async def offers(sku: str) -> list[bytes]:
        found: list[bytes] = []
        offset: str | None = "0"
        seen: set[str] = set()
        while offset is not None:
            if offset in seen:
                raise AnswerNotUnderstood(f"the offers' page {offset} comes a second time")
            seen.add(offset)
            page = await inventory.offers(api, sku, offset)
            found += as_bytes(page.offers)
            offset = inventory.next_offset(page)
        return found

    async def offers_of(records: Sequence[bytes]) -> ScanPage:
        new = sorted({sku for record in records if (sku := _sku(record)) is not None} - asked)
        answers = await _together(offers, new)
        asked.update(new)
        failed = [answer for answer in answers if isinstance(answer, EbayError)]
        refused.extend(failed)
        if len(refused) > MOST_REFUSED:
            raise refused[0]
        found = [offer for answer in answers if not isinstance(answer, EbayError) for offer in answer]
        return ScanPage(found, incomplete=refused[0] if refused else None)

    async def scan(wanted: Collection[str]) -> AsyncGenerator[Scanned]:
        async with aclosing(numbered(items, _sku, "0")) as pages:
            async for found in pages:
                yield {"inventory": found} | ({"offers": await offers_of(found.records)} if "offers" in wanted else {})

    return Calls(scan=scan)


async def _together(
    work: Callable[[str], Awaitable[list[bytes]]], keys: Sequence[str]
) -> list[list[bytes] | EbayError]:
    """Fetch all at once, as far as the transport allows. An error that concerns one key is its result; any other ends
    them all."""

    async def one(key: str) -> list[bytes] | EbayError:
        try:
            return await work(key)
        except EbayError as error:
            if not concerns_one_record(error):
                raise
            return error

    return await gather(one(key) for key in keys)


def _sku(record: bytes) -> str | None:
    try:
        return msgspec.json.decode(record, type=_Sku).sku
    except ValueError:
        return None
