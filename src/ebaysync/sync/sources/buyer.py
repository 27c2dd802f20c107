"""The account's own purchases (Trading GetMyeBayBuying): all lists in one answer, then further pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

from ebaysync.ebay import trading_lists
from ebaysync.ebay.rest import Api
from ebaysync.errors import EbayError, ListMissing, XmlBroken
from ebaysync.sync.queue import may_be_of_its_slice
from ebaysync.sync.scan import ScanPage
from ebaysync.sync.sources.buying_list import BuyingList
from ebaysync.sync.sources.calls import Calls, Scanned
from ebaysync.sync.state.pending_details import Pending

# an item that moves during the reading may be in two of them
OLD_TO_NEW = ("BidList", "BestOfferList", "LostList", "WonList")
MOST_FAILED = 2  # lists without a first page; if no other has one, eBay is the cause


def open_source(api: Api) -> Calls:
    """Reading raises EbayError."""

    async def scan(wanted: Collection[str], pending: Mapping[str, Pending]) -> AsyncGenerator[Scanned]:
        lists = [BuyingList(api, name) for name in OLD_TO_NEW]
        failure: EbayError | None = None
        number = 1
        try:
            while some := [each for each in lists if each.next == number]:
                await _read(api, some, number)
                number += 1
        except EbayError as error:  # the pages before it can be stored
            failure = error
        # Offers for one item are told apart within one answer, and a later list has the newer state: so all pages are
        # delivered together.
        if number > 1 or any(each.records for each in lists):
            yield {"buyer": _joined(lists)}
        if failure:
            raise failure

    return Calls(scan=scan)


def _joined(lists: Sequence[BuyingList]) -> ScanPage:
    return ScanPage(
        [record for each in lists for record in each.records],
        [broken for each in lists for broken in each.broken],
        next((each.incomplete for each in lists if each.incomplete), None),
        next((reason for each in lists if (reason := each.inconsistent())), None),
        partial=next((each.partial for each in lists if each.partial), None),
    )


async def _read(api: Api, lists: Sequence[BuyingList], number: int) -> None:
    """Read one page of each list. Raises EbayError if not only this page is the cause."""
    try:
        parts = await trading_lists.my_ebay_buying(api, [each.name for each in lists], number)
    except EbayError as error:
        if not may_be_of_its_slice(error) or (number == 1 and isinstance(error, ListMissing)):
            raise
        if len(lists) == 1 and not isinstance(error, XmlBroken):
            await lists[0].lacks(number, error)
            return
        # One list may be shorter or broken. Asked alone, it does not cost the others their page.
        for asked, each in enumerate(lists, 1):
            await each.read(number)
            if number == 1 and asked >= MOST_FAILED and all(one.incomplete for one in lists[:asked]):
                raise error
        return
    for each in lists:
        await each.add(number, parts[each.name])
