"""Inventory items and their offers (Inventory getInventoryItems, getOffers): one scan for both families."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace

from ebaysync.ebay import inventory
from ebaysync.ebay.rest import Api
from ebaysync.errors import EbayError
from ebaysync.sync.scan import NumberedPage, ScanPage, numbered
from ebaysync.sync.sources.calls import Calls, Scanned, Turns, as_bytes, id_reader
from ebaysync.sync.sources.inventory_offers import Offers, broken_in, in_turn
from ebaysync.sync.state.pending_details import Pending

_sku = id_reader("sku")

ALL_AT_ONCE = 2_000  # SKUs; of more, the offers of unchanged items are read in turn


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""
    offers, turns = Offers(api), Turns()

    async def items(offset: str) -> NumberedPage:
        page = await inventory.items(api, offset)
        found, following = as_bytes(page.inventory_items), inventory.next_offset(page)
        return NumberedPage(found, page.total, following, broken_in(page, "sku"), partial=page.partial)

    async def scan(wanted: Collection[str], pending: Mapping[str, Pending]) -> AsyncGenerator[Scanned]:
        skus: dict[str, None] = {}
        failure: EbayError | None = None
        unread: EbayError | None = None
        inconsistent: str | None = None
        # All items come first: a limit on getOffers would close the way to their further pages, too.
        try:
            async with aclosing(numbered(items, _sku, "0")) as pages:
                async for found in pages:
                    yield {"inventory": found}
                    inconsistent, unread = found.inconsistent, found.incomplete
                    skus.update(dict.fromkeys(sku for record in found.records if (sku := _sku(record)) is not None))
        except EbayError as error:  # the offers of the items that came can be read
            failure = error
        known = in_turn(list(skus), pending)
        sure = [sku for sku in known if len(known) <= ALL_AT_ONCE or sku in turns.changed or sku in pending]
        turn = [sku for sku in known if turns.in_turn(sku)] if len(sure) < len(known) else []
        in_their_turn = set(turn) - set(sure)
        chosen = [*sure, *(sku for sku in turn if sku in in_their_turn)] if "offers" in wanted else []
        for start in range(0, len(chosen), inventory.PAGE):
            read = await offers.read(chosen[start : start + inventory.PAGE], pending)
            yield {"offers": replace(read, in_turn=len(in_their_turn & {*read.parts, *read.failed}))}
        if "offers" in wanted and (rested := set(known) - set(chosen)):
            yield {"offers": ScanPage([], rested=sorted(rested))}
        if failure:
            raise failure
        if (inconsistent or unread) and "offers" in wanted:
            # A SKU that the list did not show may have offers.
            yield {"offers": ScanPage([], incomplete=unread, inconsistent=inconsistent)}

    return Calls(scan=scan, turns=turns)
