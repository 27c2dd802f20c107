"""How lists are read whose totals are missing, wrong or partial: the sources over answers as eBay may send them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
import msgspec
import pytest
from pytest_httpx import HTTPXMock

from ebaysync.ebay.hosts import Hosts
from ebaysync.ebay.rest import Api
from ebaysync.ebay.transport import Transport
from ebaysync.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    ConfigError,
    EbayBusy,
    EbayError,
    EbayRejected,
    RateLimited,
    XmlBroken,
)
from ebaysync.families import discover as families
from ebaysync.log import Secret
from ebaysync.sync.scan import ScanPage
from ebaysync.sync.slices import PageReader, Slice, SliceRecords, Slicing
from ebaysync.sync.sources import discover, open_source
from ebaysync.sync.sources.inventory_offers import in_turn
from ebaysync.sync.state.pending_details import Pending
from ebaysync.sync.walk import read

NAMESPACE = "urn:ebay:apis:eBLBaseComponents"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
Respond = Callable[[httpx.Request], httpx.Response]


class Tokens:
    async def access_token(self) -> Secret:
        return Secret("token")

    async def renewed(self, refused: Secret) -> Secret:
        return refused


@pytest.fixture
async def api() -> Any:
    async def no_wait(_: float) -> None:
        return

    hosts = Hosts("https://api.ebay.com", "https://apiz.ebay.com", "https://auth.ebay.com")
    async with Transport(hosts, sleep=no_wait) as transport:
        yield Api(transport, Tokens(), "EBAY_US")


def xml(call: str, inner: str, ack: str = "Success", head: str = "") -> httpx.Response:
    body = f'{head}<{call}Response xmlns="{NAMESPACE}"><Ack>{ack}</Ack>{inner}</{call}Response>'
    return httpx.Response(200, content=body.encode(), headers={"content-type": "text/xml"})


def error(code: int) -> str:
    return f"<Errors><ErrorCode>{code}</ErrorCode><SeverityCode>Error</SeverityCode></Errors>"


def asked(request: httpx.Request, name: str) -> int:
    found = re.search(rf"<{name}>(\d+)</{name}>".encode(), request.content)
    assert found
    return int(found[1])


def ids(records: Sequence[bytes]) -> list[str]:
    return [re.findall(rb'"ItemID":"(\d+)"', record)[0].decode() for record in records]


def totals(**counts: int | None) -> str:
    told = "".join(f"<TotalNumberOf{name}>{n}</TotalNumberOf{name}>" for name, n in counts.items() if n is not None)
    return f"<PaginationResult>{told}</PaginationResult>" if told else ""


def listing(numbers: Sequence[int]) -> str:
    return "".join(f"<Item><ItemID>{n}</ItemID></Item>" for n in numbers)


def active(count: int, pages: int | None, entries: int | None, most: int = 200) -> Respond:
    """A seller's listings, with the totals that the test wants told, and error 340 behind the last page."""

    def respond(request: httpx.Request) -> httpx.Response:
        size, number = min(asked(request, "EntriesPerPage"), most), asked(request, "PageNumber")
        some = range(count)[(number - 1) * size : number * size]
        if not some:
            return xml("GetMyeBaySelling", error(340), "Failure")
        items = f"<ItemArray>{listing(some)}</ItemArray>{totals(Pages=pages, Entries=entries)}"
        return xml("GetMyeBaySelling", f"<ActiveList>{items}</ActiveList>")

    return respond


def test_a_family_whose_source_has_no_module_is_told_which_file_is_missing() -> None:
    family = replace(families()["orders"], name="refs", source="references")
    with pytest.raises(ConfigError, match="family 'refs' is read from the source 'references'") as caught:
        open_source(family, cast(Api, None))
    assert "add sync/sources/references.py" in str(caught.value.hint)
    assert "post_order" not in discover()


async def scanned(api: Api, name: str) -> list[ScanPage]:
    scan = discover()[name](api).scan
    assert scan
    return [found[name] async for found in scan([name], {})]


@pytest.mark.parametrize(("pages", "entries"), [(None, None), (None, 450), (3, None), (0, 450), (7, 450)], ids=str)
@pytest.mark.parametrize("most", [25, 200])
async def test_all_listings_are_read_whatever_the_list_says_of_its_length(
    api: Api, httpx_mock: HTTPXMock, pages: int | None, entries: int | None, most: int
) -> None:
    if pages:
        pages *= 200 // most  # of the last two: as many as there are, or some too many
    httpx_mock.add_callback(active(450, pages, entries, most), is_reusable=True)
    found = await scanned(api, "active_inventory")
    came = [key for each in found for key in ids(each.records)]
    assert came == [str(n) for n in range(450)]
    assert [each.incomplete for each in found if each.incomplete] == []


async def test_of_a_partial_failure_the_listings_are_kept_and_the_scan_is_in_doubt(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    inner = f"<ActiveList><ItemArray>{listing(range(3))}</ItemArray>{totals(Pages=1, Entries=4)}</ActiveList>"
    httpx_mock.add_response(
        content=xml("GetMyeBaySelling", inner + error(5), "PartialFailure").content,
        headers={"content-type": "text/xml"},
    )
    (found,) = await scanned(api, "active_inventory")
    assert ids(found.records) == ["0", "1", "2"]
    assert found.partial is not None
    assert found.partial.error_id == 5


def won(numbers: Sequence[int]) -> str:
    return "".join(
        f"<OrderTransaction><Transaction><Item><ItemID>{n}</ItemID></Item></Transaction></OrderTransaction>"
        for n in numbers
    )


def bought(count: int, pages: int | None, ack: str = "Success") -> Respond:
    """A buyer's won list; error 340 behind the last page."""

    def respond(request: httpx.Request) -> httpx.Response:
        size, number = asked(request, "EntriesPerPage"), asked(request, "PageNumber")
        some = range(count)[(number - 1) * size : number * size]
        if number > 1 and not some:
            return xml("GetMyeBayBuying", error(340), "Failure")
        rows = f"<OrderTransactionArray>{won(some)}</OrderTransactionArray>{totals(Pages=pages)}"
        return xml("GetMyeBayBuying", f"<WonList>{rows}</WonList>{error(5) if ack != 'Success' else ''}", ack)

    return respond


@pytest.mark.parametrize(("count", "pages"), [(450, None), (400, None), (450, 0), (450, 4)])
async def test_all_purchases_are_read_whatever_the_list_says_of_its_length(
    api: Api, httpx_mock: HTTPXMock, count: int, pages: int | None
) -> None:
    httpx_mock.add_callback(bought(count, pages), is_reusable=True)
    (found,) = await scanned(api, "buyer")
    assert ids(found.records) == [str(n) for n in range(count)]
    assert found.incomplete is None


async def test_of_a_partial_failure_the_purchases_are_kept(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_callback(bought(3, 1, "PartialFailure"))
    (found,) = await scanned(api, "buyer")
    assert ids(found.records) == ["0", "1", "2"]
    assert found.partial is not None


@pytest.mark.parametrize("head", ['<?xml version="1.0" encoding="ISO-8859-1"?>', "<!DOCTYPE x>"])
@pytest.mark.parametrize("name", ["active_inventory", "buyer"])
async def test_what_a_document_says_of_itself_is_blamed_on_no_record(
    api: Api, httpx_mock: HTTPXMock, name: str, head: str
) -> None:
    call = {"active_inventory": "GetMyeBaySelling", "buyer": "GetMyeBayBuying"}[name]
    inner = f"<ActiveList><ItemArray>{listing([1])}</ItemArray></ActiveList>"
    content = xml(call, inner, head=head).content
    httpx_mock.add_response(content=content, headers={"content-type": "text/xml"}, is_reusable=True)
    with pytest.raises(XmlBroken) as caught:
        await scanned(api, name)
    assert not caught.value.by_a_record
    assert len(httpx_mock.get_requests()) <= 3


async def test_an_unreadable_answer_without_a_message_in_it_is_no_record_for_the_quarantine(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    folders = xml("GetMyMessages", "<Summary/>").content
    httpx_mock.add_response(content=folders, headers={"content-type": "text/xml"})
    broken = xml("GetMyMessages", "<Messages/>&nbsp;").content
    httpx_mock.add_response(content=broken, headers={"content-type": "text/xml"})
    ask = discover()["messages"](api).ask
    assert ask
    with pytest.raises(XmlBroken) as caught:
        await ask(Slice(NOON, NOON + timedelta(seconds=1)), 0)
    assert caught.value.document is None


def cases(created: Sequence[datetime], reading: str, counted: str, most: int = 200) -> Respond:
    """A search of cases that reads `offset` in one way and tells its totals in another. Behind the last page it is
    refused, where it counts pages."""

    def respond(request: httpx.Request) -> httpx.Response:
        query = request.url.params
        start, end = (datetime.fromisoformat(query[f"case_creation_date_range_{edge}"]) for edge in ("from", "to"))
        found = [number for number, moment in enumerate(created) if start <= moment <= end]
        limit, offset = min(int(query["limit"]), most), int(query["offset"])
        if reading == "pages" and offset > max(1, -(-len(found) // limit)):
            refused = {"errorMessage": {"error": [{"errorId": 1, "longMessage": "offset"}]}}
            return httpx.Response(400, json=refused)
        at = offset if reading == "rows" else (max(offset, 1) - 1) * limit
        members = [
            {"caseId": number, "creationDate": {"value": created[number].isoformat()}}
            for number in found[at : at + limit]
        ]
        answer: dict[str, Any] = {"members": members}
        if counted in ("both", "paging"):
            answer["paginationOutput"] = {"limit": limit, "totalEntries": len(found)}
        if counted == "zeros":
            answer["paginationOutput"] = {"limit": 0, "offset": 0, "totalEntries": 0, "totalPages": 0}
        if counted in ("both", "number"):
            answer["totalNumberOfCases"] = len(found)
        return httpx.Response(200, json=answer)

    return respond


def case_id(record: bytes) -> str:
    return str(msgspec.json.decode(record)["caseId"])


async def searched(api: Api) -> set[str]:
    ask = discover()["cases"](api).ask
    assert ask
    span, found = Slice(NOON - timedelta(days=90), NOON), list[SliceRecords]()
    async for portion in read(PageReader(ask, case_id, 200), Slicing(span, timedelta(days=90))):
        found.append(portion)
    return {case_id(record) for portion in found for record in portion.records}


@pytest.mark.parametrize(("counted", "most"), [("paging", 25), ("number", 200), ("zeros", 200), ("not at all", 200)])
async def test_all_cases_are_read_whatever_the_search_counts(
    api: Api, httpx_mock: HTTPXMock, counted: str, most: int
) -> None:
    created = [NOON - timedelta(days=40, hours=n) for n in range(250)]
    httpx_mock.add_callback(cases(created, "rows", counted, most), is_reusable=True)
    assert await searched(api) == {str(n) for n in range(250)}


@pytest.mark.parametrize("reading", ["rows", "pages"])
async def test_cases_of_one_second_are_read_though_a_page_behind_the_last_is_refused(
    api: Api, httpx_mock: HTTPXMock, reading: str
) -> None:
    created = [NOON - timedelta(days=40)] * 450
    httpx_mock.add_callback(cases(created, reading, "both"), is_reusable=True)
    assert await searched(api) == {str(n) for n in range(450)}


# ---- answers that lack something


def seller_list(count: int | None) -> httpx.Response:
    return xml("GetSellerList", f"<ItemArray>{listing(range(count or 0))}</ItemArray>{totals(Entries=count)}")


def by_call(**answers: Respond | httpx.Response) -> Respond:
    def respond(request: httpx.Request) -> httpx.Response:
        found = answers[request.headers["x-ebay-api-call-name"]]
        return found if isinstance(found, httpx.Response) else found(request)

    return respond


async def test_no_active_list_means_no_listings_only_if_the_sellers_list_counts_none(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    nothing = xml("GetMyeBaySelling", "")
    for count in (12, None):
        httpx_mock.reset()
        httpx_mock.add_callback(by_call(GetMyeBaySelling=nothing, GetSellerList=seller_list(count)), is_reusable=True)
        with pytest.raises(AnswerNotUnderstood, match="no ActiveList"):
            await scanned(api, "active_inventory")
        assert len(httpx_mock.get_requests()) == 2
    httpx_mock.reset()
    httpx_mock.add_callback(by_call(GetMyeBaySelling=nothing, GetSellerList=seller_list(0)), is_reusable=True)
    [found] = await scanned(api, "active_inventory")
    assert (list(found.records), found.incomplete) == ([], None)


SELLING, BUYING = "GetMyeBaySelling", "GetMyeBayBuying"
COUNTS = totals(Pages=3, Entries=600)
WITHOUT_ITEMS = {
    "no list": xml(SELLING, ""),
    "a list without anything": xml(SELLING, "<ActiveList/>"),
    "a list of white space": xml(SELLING, "<ActiveList>\n  </ActiveList>"),
    "an empty array": xml(SELLING, "<ActiveList><ItemArray/></ActiveList>"),
    "no counts": xml(SELLING, "<ActiveList><PaginationResult/></ActiveList>"),
    "another element": xml(SELLING, "<ActiveList><Note>x</Note></ActiveList>"),
}
FAILED = {
    "busy": xml(SELLING, error(10007), "Failure"),
    "refused": xml(SELLING, error(12345), "Failure"),
    "cut": httpx.Response(
        200, content=xml(SELLING, "<ActiveList/>").content[:-30], headers={"content-type": "text/xml"}
    ),
    "counts alone": xml(SELLING, f"<ActiveList>{COUNTS}</ActiveList>"),
    "a count of 0": xml(SELLING, f"<ActiveList>{totals(Pages=0, Entries=0)}</ActiveList>"),
    "no such page": xml(SELLING, error(340), "Failure"),
}


def all_but(page: int, answer: httpx.Response, others: Respond) -> Respond:
    return lambda request: answer if asked(request, "PageNumber") == page else others(request)


async def until_it_fails(api: Api, name: str) -> tuple[list[ScanPage], EbayError | None]:
    """The pages of a scan, and the error that ends it; None if it reaches its end."""
    scan, found = discover()[name](api).scan, list[ScanPage]()
    assert scan
    try:
        async for pages in scan([name], ()):
            found.append(pages[name])
    except EbayError as failure:
        return found, failure
    return found, next((page.incomplete for page in found if page.incomplete), None)


@pytest.mark.parametrize(("pages", "entries"), [(3, 600), (None, 600), (3, None)], ids=str)
@pytest.mark.parametrize("what", [*WITHOUT_ITEMS, *FAILED])
@pytest.mark.parametrize("page", [2, 3])
async def test_a_page_that_was_announced_and_lacks_its_listings_is_missing_and_the_others_are_read(
    api: Api, httpx_mock: HTTPXMock, page: int, what: str, pages: int | None, entries: int | None
) -> None:
    answer = (WITHOUT_ITEMS | FAILED)[what]
    httpx_mock.add_callback(all_but(page, answer, active(600, pages, entries)), is_reusable=True)
    found, failure = await until_it_fails(api, "active_inventory")
    came = {int(key) for each in found for key in ids(each.records)}
    if what == "no such page" and entries is None:  # eBay has counted no listing, so it may be the end
        assert failure is None
        assert found[-1].inconsistent == f"GetMyeBaySelling announces 3 pages, and has no page {page}"
        return
    assert came == set(range(600)) - set(range(600)[(page - 1) * 200 : page * 200])
    assert failure is not None
    assert f"page {page} of the active list is missing" in failure.message
    assert len(httpx_mock.get_requests()) < 20


@pytest.mark.parametrize("what", ["busy", "refused", "cut", "counts alone"])
async def test_the_pages_behind_a_first_one_that_is_missing_are_read(
    api: Api, httpx_mock: HTTPXMock, what: str
) -> None:
    httpx_mock.add_callback(all_but(1, FAILED[what], active(600, 3, 600)), is_reusable=True)
    found, failure = await until_it_fails(api, "active_inventory")
    assert [int(key) for each in found for key in ids(each.records)] == list(range(200, 600))
    assert failure is not None
    assert "page 1 of the active list is missing" in failure.message


async def test_a_list_of_which_no_page_comes_ends_after_a_few(api: Api, httpx_mock: HTTPXMock) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        return active(25_000 - 1, 125, 24_999)(request) if asked(request, "PageNumber") == 1 else FAILED["refused"]

    httpx_mock.add_callback(respond, is_reusable=True)
    found, failure = await until_it_fails(api, "active_inventory")
    assert len([key for each in found for key in ids(each.records)]) == 200
    assert "page 2 of the active list is missing" in (failure.message if failure else "")
    assert len(httpx_mock.get_requests()) == 4


@pytest.mark.parametrize("what", WITHOUT_ITEMS)
async def test_a_list_that_became_shorter_while_it_was_read_has_no_page_missing(
    api: Api, httpx_mock: HTTPXMock, what: str
) -> None:
    """The third page vanishes after it was announced. The second reading announces two."""
    answers = [active(401, 3, 401), active(401, 3, 401), lambda request: WITHOUT_ITEMS[what]]
    answers += [active(400, 2, 400)] * 2
    httpx_mock.add_callback(lambda request: answers.pop(0)(request), is_reusable=True)
    found, failure = await until_it_fails(api, "active_inventory")
    assert failure is None
    assert [each.inconsistent for each in found if each.inconsistent] == []


async def test_a_count_that_is_one_too_high_makes_no_page_missing(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_callback(active(400, 3, 401), is_reusable=True)
    found, failure = await until_it_fails(api, "active_inventory")
    assert failure is None
    assert "400 records came, 401 were announced" in (found[-1].inconsistent or "")


@pytest.mark.parametrize("what", WITHOUT_ITEMS)
async def test_an_active_list_without_items_and_count_is_believed_only_if_the_sellers_list_counts_none(
    api: Api, httpx_mock: HTTPXMock, what: str
) -> None:
    nothing = WITHOUT_ITEMS[what]
    odd = xml("GetSellerList", f"<ItemArray/>{totals(Entries=0)}<HasMoreItems>true</HasMoreItems>")
    for answer in (seller_list(12), seller_list(None), odd):
        httpx_mock.reset()
        httpx_mock.add_callback(by_call(GetMyeBaySelling=nothing, GetSellerList=answer), is_reusable=True)
        with pytest.raises(AnswerNotUnderstood):
            await scanned(api, "active_inventory")
    httpx_mock.reset()
    httpx_mock.add_callback(by_call(GetMyeBaySelling=nothing, GetSellerList=seller_list(0)), is_reusable=True)
    [found] = await scanned(api, "active_inventory")
    assert (list(found.records), found.incomplete, found.unlikely is not None) == ([], None, True)


async def test_an_active_list_that_counts_no_listing_is_empty(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_callback(by_call(GetMyeBaySelling=FAILED["a count of 0"]))
    [found] = await scanned(api, "active_inventory")
    assert (list(found.records), found.incomplete, found.unlikely, found.inconsistent) == ([], None, None, None)


def by_ends(odd: httpx.Response, has_more: Callable[[int, int], str]) -> Respond:
    """300 listings, one of which ends every two hours; GetSellerList has an odd answer where none ends."""

    def respond(request: httpx.Request) -> httpx.Response:
        if request.headers["x-ebay-api-call-name"] == SELLING:
            return active(25_000, 125, 25_000)(request)
        times = re.findall(rb"<EndTime(?:From|To)>([^<]*)<", request.content)
        start, end = (datetime.fromisoformat(each.decode()) for each in times)
        began.append(start)
        hours = [(edge - began[0]) / timedelta(hours=2) for edge in (start, end)]
        every = [n for n in range(300) if hours[0] <= n + 0.5 <= hours[1]]
        some = every[(asked(request, "PageNumber") - 1) * 200 :][:200]
        inner = f"<ItemArray>{listing(some)}</ItemArray>{has_more(len(some), len(every))}"
        return xml("GetSellerList", inner) if some else odd

    began: list[datetime] = []
    return respond


UNCOUNTED = ["<ItemArray/>", "<ItemArray/><HasMoreItems>false</HasMoreItems>", "<ItemArray/><PaginationResult/>"]


@pytest.mark.parametrize("odd", UNCOUNTED)
async def test_a_span_of_ends_without_listings_and_count_is_missing(api: Api, httpx_mock: HTTPXMock, odd: str) -> None:
    answers = by_ends(xml("GetSellerList", odd), lambda some, every: totals(Entries=every))
    httpx_mock.add_callback(answers, is_reusable=True)
    found, failure = await until_it_fails(api, "active_inventory")
    assert {key for each in found for key in ids(each.records)} == {str(n) for n in range(300)}
    assert "no listings and no count" in (failure.message if failure else "")


@pytest.mark.parametrize("has_more", [True, False])
async def test_a_full_page_without_a_count_is_not_all_of_its_span(
    api: Api, httpx_mock: HTTPXMock, has_more: bool
) -> None:
    def told(some: int, every: int) -> str:
        return f"<HasMoreItems>{str(every > some).lower()}</HasMoreItems>" if has_more else ""

    none = xml("GetSellerList", f"<ItemArray/>{totals(Entries=0)}")
    httpx_mock.add_callback(by_ends(none, told), is_reusable=True)
    found, failure = await until_it_fails(api, "active_inventory")
    assert failure is None
    assert {key for each in found for key in ids(each.records)} == {str(n) for n in range(300)}


def bought_counted(count: int, counted: int, pages: int | None = None) -> Respond:
    def respond(request: httpx.Request) -> httpx.Response:
        number = asked(request, "PageNumber")
        some = range(count)[(number - 1) * 200 : number * 200]
        told = totals(Pages=-(-counted // 200) if pages is None else pages, Entries=counted)
        array = f"<OrderTransactionArray>{won(some)}</OrderTransactionArray>"
        return xml(BUYING, f"<WonList>{array}{told}</WonList>")

    return respond


NO_PURCHASES = {
    "no list": xml(BUYING, ""),
    "a list without anything": xml(BUYING, "<WonList/>"),
    "the summary alone": xml(BUYING, "<BuyingSummary/>"),
    "another list": xml(BUYING, "<LostList/>"),
    "no counts": xml(BUYING, "<WonList><PaginationResult/></WonList>"),
    "counts alone": xml(BUYING, f"<WonList>{COUNTS}</WonList>"),
    "no such page": xml(BUYING, error(340), "Failure"),
    "busy": xml(BUYING, error(10007), "Failure"),
    "refused": xml(BUYING, error(12345), "Failure"),
    "cut": httpx.Response(200, content=xml(BUYING, "<WonList/>").content[:-30], headers={"content-type": "text/xml"}),
}


@pytest.mark.parametrize("what", NO_PURCHASES)
@pytest.mark.parametrize("page", [2, 3])
async def test_a_page_that_was_announced_and_lacks_its_purchases_is_missing_and_the_others_are_read(
    api: Api, httpx_mock: HTTPXMock, page: int, what: str
) -> None:
    httpx_mock.add_callback(all_but(page, NO_PURCHASES[what], bought_counted(600, 600)), is_reusable=True)
    [found], failure = await until_it_fails(api, "buyer")
    assert {int(key) for key in ids(found.records)} == set(range(600)) - set(range(600)[(page - 1) * 200 : page * 200])
    assert failure is not None
    assert f"page {page} of WonList is missing" in failure.message
    assert len(httpx_mock.get_requests()) < 12


async def test_a_list_of_purchases_that_is_suddenly_empty_contradicts_itself(api: Api, httpx_mock: HTTPXMock) -> None:
    none = xml(BUYING, f"<WonList>{totals(Pages=0, Entries=0)}</WonList>")
    httpx_mock.add_callback(all_but(2, none, bought_counted(600, 600)), is_reusable=True)
    [found], failure = await until_it_fails(api, "buyer")
    assert (len(found.records), failure) == (200, None)
    assert "WonList counts 600 entries and sends 200" in (found.inconsistent or "")


@pytest.mark.parametrize("what", ["no list", "a list without anything", "no such page"])
async def test_a_list_of_purchases_that_became_shorter_has_no_page_missing(
    api: Api, httpx_mock: HTTPXMock, what: str
) -> None:
    answers = [bought_counted(203, 203), lambda request: NO_PURCHASES[what], bought_counted(200, 200)]
    httpx_mock.add_callback(lambda request: answers.pop(0)(request), is_reusable=True)
    [found], failure = await until_it_fails(api, "buyer")
    assert (len(found.records), failure, found.inconsistent, answers) == (200, None, None, [])


async def test_purchases_whose_second_page_is_the_first_again_contradict_their_count(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    first = bought_counted(200, 400)
    httpx_mock.add_callback(
        lambda request: first(httpx.Request("POST", "https://x", content=b"<PageNumber>1</PageNumber>")),
        is_reusable=True,
    )
    [found], failure = await until_it_fails(api, "buyer")
    assert failure is None
    assert "WonList counts 400 entries and sends 200" in (found.inconsistent or "")


async def test_a_list_of_purchases_that_ebay_does_not_answer_costs_no_other_list(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        if b"<LostList>" in request.content:
            return NO_PURCHASES["busy"]
        inner = f"<WonList><OrderTransactionArray>{won(range(200))}</OrderTransactionArray></WonList><BuyingSummary/>"
        return xml(BUYING, inner) if asked(request, "PageNumber") == 1 else NO_PURCHASES["no such page"]

    httpx_mock.add_callback(respond, is_reusable=True)
    [found], failure = await until_it_fails(api, "buyer")
    assert len(found.records) == 200
    assert "page 1 of LostList is missing" in (failure.message if failure else "")


async def test_purchases_that_are_counted_and_not_sent_put_the_scan_in_doubt(api: Api, httpx_mock: HTTPXMock) -> None:
    def lost(entries: int) -> httpx.Response:
        items = f"<ItemArray>{listing(range(3))}</ItemArray>{totals(Pages=1, Entries=entries)}"
        return xml("GetMyeBayBuying", f"<LostList>{items}</LostList>")

    for entries, short in ((3, False), (2, False), (4, True)):
        httpx_mock.reset()
        httpx_mock.add_response(content=lost(entries).content, headers={"content-type": "text/xml"})
        [found] = await scanned(api, "buyer")
        assert ids(found.records) == ["0", "1", "2"]
        assert (found.inconsistent is not None) == short, entries
    assert "LostList counts 4 entries and sends 3" in found.inconsistent


async def test_one_without_purchases_is_told_from_an_answer_without_anything_by_the_summary(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    headers = {"content-type": "text/xml"}
    httpx_mock.add_response(content=xml("GetMyeBayBuying", "<BuyingSummary/>").content, headers=headers)
    [found] = await scanned(api, "buyer")
    assert (list(found.records), found.incomplete) == ([], None)
    httpx_mock.add_response(content=xml("GetMyeBayBuying", "").content, headers=headers)
    with pytest.raises(AnswerNotUnderstood, match="and no BuyingSummary"):
        await scanned(api, "buyer")


async def stocked(api: Api, httpx_mock: HTTPXMock, offers: bytes) -> Any:
    httpx_mock.reset()
    items = b'{"total": 2, "inventoryItems": [{"sku": "a"}, {"sku": "b"}]}'
    pages = {
        "/sell/inventory/v1/inventory_item": items,
        "a": b'{"total": 1, "offers": [{"offerId": "1"}]}',
        "b": offers,
    }

    def respond(request: httpx.Request) -> httpx.Response:
        content = pages[request.url.params.get("sku", request.url.path)]
        return httpx.Response(200, content=content, headers={"content-type": "application/json"})

    httpx_mock.add_callback(respond, is_reusable=True)
    scan = discover()["inventory"](api).scan
    assert scan
    found = {name: page async for pages in scan(["inventory", "offers"], {}) for name, page in pages.items()}
    return found["offers"]


async def test_the_offers_of_a_sku_cost_no_other_sku_its_offers(api: Api, httpx_mock: HTTPXMock) -> None:
    def offer_ids(page: ScanPage) -> list[str]:
        return sorted(msgspec.json.decode(record)["offerId"] for record in page.records)

    whole = await stocked(api, httpx_mock, b'{"total": "2.0", "offers": [{"offerId": "2"}, {"offerId": "3"}]}')
    assert (offer_ids(whole), whole.incomplete) == (["1", "2", "3"], None)
    short = await stocked(api, httpx_mock, b'{"total": 3, "offers": [{"offerId": "2"}, {"offerId": "3"}]}')
    assert offer_ids(short) == ["1", "2", "3"]
    assert (short.parts, short.incomplete) == (["a"], None)
    assert "counts 3 offers of a SKU and sends 2" in short.failed["b"]
    for nothing in (b"{}", b'{"errors": [{"errorId": 25001}]}', b'{"total": 3}'):
        failed = await stocked(api, httpx_mock, nothing)
        assert offer_ids(failed) == ["1"]
        assert (failed.parts, list(failed.failed), failed.incomplete) == (["a"], ["b"], None)
    broken = await stocked(
        api, httpx_mock, b'{"total": 2, "offers": [{"offerId": "2", "x": "\x01"}, {"offerId": "3"}]}'
    )
    assert (offer_ids(broken), [each.key for each in broken.broken]) == (["1", "3"], ["2"])
    assert broken.incomplete is None


async def test_counters_that_are_text_count(api: Api, httpx_mock: HTTPXMock) -> None:
    created = {"value": (NOON - timedelta(days=3)).isoformat()}
    answer = {
        "members": [{"caseId": 1, "caseStatusEnum": "CLOSED", "creationDate": created}],
        "paginationOutput": {"limit": "200", "offset": "0", "totalEntries": "1", "totalPages": "1"},
        "totalNumberOfCases": 1,
    }
    httpx_mock.add_response(json=answer)
    assert await searched(api) == {"1"}
    assert len(httpx_mock.get_requests()) == 1


# ---- messages


def mailbox(refused: dict[str, Respond | httpx.Response], summary: str) -> Respond:
    """A message in each folder, unless the test has another answer for it."""

    def respond(request: httpx.Request) -> httpx.Response:
        found = re.search(rb"<FolderID>(\w*)</FolderID>", request.content)
        if found is None:
            return xml("GetMyMessages", summary)
        folder = found[1].decode()
        answer = refused.get(folder, xml("GetMyMessages", f"<Messages>{message(folder)}</Messages>"))
        return answer if isinstance(answer, httpx.Response) else answer(request)

    return respond


def message(folder: str) -> str:
    return f"<Message><MessageID>m{folder}</MessageID></Message>"


def folders(*ids: str) -> str:
    return f"<Summary>{''.join(f'<FolderSummary><FolderID>{i}</FolderID></FolderSummary>' for i in ids)}</Summary>"


REFUSED = xml("GetMyMessages", error(20128), "Failure")


async def test_a_folder_that_is_refused_is_noted_and_the_others_are_read(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_callback(mailbox({"3": REFUSED}, folders("3", "7")), is_reusable=True)
    reader = PageReader(discover()["messages"](api).ask, lambda record: record, 200)  # type: ignore[arg-type]
    span = Slice(NOON - timedelta(days=2), NOON)
    slices = [found async for found in read(reader, Slicing(span, timedelta(days=1), ahead=1))]
    assert [found.slice.end for found in slices][-1] == NOON
    for found in slices:
        assert re.findall(r"m\d", str(found.records)) == ["m0", "m1", "m7"]
        assert found.partial is None
        assert found.note == "folder 3: GetMyMessages: eBay answered Failure 20128"
    refusals = [request for request in httpx_mock.get_requests() if b"<FolderID>3</FolderID>" in request.content]
    assert len(refusals) == 1


async def test_a_folder_without_an_id_does_not_stop_the_mailbox(api: Api, httpx_mock: HTTPXMock) -> None:
    ask = discover()["messages"](api).ask
    assert ask
    httpx_mock.add_callback(mailbox({"3": REFUSED}, folders("3", "", "7")), is_reusable=True)
    page = await ask(Slice(NOON - timedelta(days=3), NOON), 0)
    assert re.findall(r"m\d", str(page.records)) == ["m0", "m1", "m7"]
    assert page.note == (
        "folder 3: GetMyMessages: eBay answered Failure 20128; "
        "folder without id: GetMyMessages: a folder has no FolderID"
    )


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (xml("GetMyMessages", ""), AnswerNotUnderstood),
        (xml("GetMyeBaySelling", "<ActiveList/>"), AnswerNotUnderstood),
        (xml("GetMyMessages", error(10007), "Failure"), EbayBusy),
    ],
    ids=["without a list", "another call", "busy"],
)
async def test_a_folder_that_is_not_refused_and_not_read_either_is_to_be_read_apart(
    api: Api, httpx_mock: HTTPXMock, answer: httpx.Response, kind: type[Exception]
) -> None:
    ask = discover()["messages"](api).ask
    assert ask
    httpx_mock.add_callback(mailbox({"3": answer}, folders("3", "7")), is_reusable=True)
    for _ in range(2):
        page = await ask(Slice(NOON - timedelta(days=3), NOON), 0)
        assert re.findall(r"m\d", str(page.records)) == ["m0", "m1", "m7"]
        assert (page.partial, page.apart.keys()) == (None, {"3"})
        assert isinstance(page.apart["3"], kind)


@pytest.mark.parametrize(
    ("pages", "raised"),
    [
        ({"3": httpx.Response(403)}, AccessDenied),
        (dict.fromkeys(["3", "7"], xml("GetMyMessages", error(10007), "Failure")), EbayBusy),
    ],
    ids=["denied", "two folders"],
)
async def test_an_error_that_concerns_more_than_one_folder_is_raised(
    api: Api, httpx_mock: HTTPXMock, pages: dict[str, httpx.Response], raised: type[Exception]
) -> None:
    ask = discover()["messages"](api).ask
    assert ask
    httpx_mock.add_callback(mailbox(pages, folders("3", "7")), is_reusable=True)
    with pytest.raises(raised):
        await ask(Slice(NOON - timedelta(days=3), NOON), 0)


async def test_a_mailbox_without_any_folder_is_an_error(api: Api, httpx_mock: HTTPXMock) -> None:
    ask = discover()["messages"](api).ask
    assert ask
    httpx_mock.add_callback(mailbox(dict.fromkeys(["0", "1", "3"], REFUSED), folders("3")), is_reusable=True)
    with pytest.raises(EbayRejected):
        await ask(Slice(NOON - timedelta(days=3), NOON), 0)


async def test_a_limit_on_the_offers_of_one_sku_costs_no_item_and_no_offers_that_came(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        asked, headers = request.url.params, {"content-type": "application/json"}
        if request.url.path.endswith("inventory_item"):
            item, following = ("a", ', "next": "/x?offset=1"') if asked["offset"] == "0" else ("b", "")
            return httpx.Response(
                200, text=f'{{"total": 2, "inventoryItems": [{{"sku": "{item}"}}]{following}}}', headers=headers
            )
        if asked["sku"] == "b":
            return httpx.Response(429, text='{"errors": [{"errorId": 2001}]}', headers=headers)
        return httpx.Response(200, text='{"total": 1, "offers": [{"offerId": "1"}]}', headers=headers)

    httpx_mock.add_callback(respond, is_reusable=True)
    scan = discover()["inventory"](api).scan
    assert scan
    a_first = {"a": Pending(0, None, waits=False)}
    pages = [each async for found in scan(["inventory", "offers"], a_first) for each in found.items()]
    items = [record for name, page in pages if name == "inventory" for record in page.records]
    assert items == [b'{"sku": "a"}', b'{"sku": "b"}']
    [offers] = [page for name, page in pages if name == "offers"]
    assert list(offers.records) == [b'{"offerId": "1"}']
    assert (offers.parts, list(offers.failed)) == (["a"], ["b"])
    assert isinstance(offers.ended_by, RateLimited)
    assert offers.incomplete is None


def test_skus_whose_offers_were_never_asked_for_come_first() -> None:
    due = Pending(0, None, waits=False)
    pending = {"c": due, "e": Pending(3, "429", waits=False), "b": due}
    orders = {tuple(in_turn(list("abcdef"), pending)) for _ in range(200)}
    assert {order[:2] for order in orders} == {("c", "b")}
    assert {order[-1] for order in orders} == set("adef")


async def test_items_that_cannot_be_listed_to_their_end_do_not_cost_the_others_their_offers(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "application/json"}
        if "sku" in request.url.params:
            return httpx.Response(200, text='{"total": 1, "offers": [{"offerId": "1"}]}', headers=headers)
        if request.url.params["offset"] == "0":
            text = '{"total": 2, "inventoryItems": [{"sku": "a"}], "next": "/x?offset=1"}'
            return httpx.Response(200, text=text, headers=headers)
        return httpx.Response(200, text="{}", headers=headers)

    httpx_mock.add_callback(respond, is_reusable=True)
    scan, found = discover()["inventory"](api).scan, []
    assert scan

    failures = {}
    async for pages in scan(["inventory", "offers"], {}):
        found.extend(record for page in pages.values() for record in page.records)
        failures |= {name: type(page.incomplete) for name, page in pages.items()}
    assert failures == {"inventory": AnswerNotUnderstood, "offers": AnswerNotUnderstood}
    assert found == [b'{"sku": "a"}', b'{"offerId": "1"}']


MANY = "<PaginationResult><TotalNumberOfPages>99999</TotalNumberOfPages></PaginationResult>"


def as_json(text: str) -> httpx.Response:
    return httpx.Response(200, text=text, headers={"content-type": "application/json"})


def endless_items(request: httpx.Request, number: int) -> httpx.Response:
    item = '{"sku": "a"}' if request.url.params["offset"] == "0" else ""
    return as_json(f'{{"total": 1, "inventoryItems": [{item}], "next": "/x?offset={number}"}}')


def endless_offers(request: httpx.Request, number: int) -> httpx.Response:
    if "sku" not in request.url.params:
        return as_json('{"total": 1, "inventoryItems": [{"sku": "a"}]}')
    return as_json(f'{{"total": 1, "offers": [{{"offerId": "1"}}], "next": "/x?offset={number}"}}')


def endless_listings(request: httpx.Request, number: int) -> httpx.Response:
    item = "<Item><ItemID>1</ItemID></Item>" if b"<PageNumber>1<" in request.content else ""
    return xml("GetMyeBaySelling", f"<ActiveList><ItemArray>{item}</ItemArray>{MANY}</ActiveList>")


def endless_bids(request: httpx.Request, number: int) -> httpx.Response:
    item = f"<Item><ItemID>1</ItemID><TimeLeft>PT{number}S</TimeLeft></Item>"
    return xml("GetMyeBayBuying", f"<BidList><ItemArray>{item}</ItemArray>{MANY}</BidList>")


ENDLESS = {
    "inventory": endless_items,
    "offers": endless_offers,
    "active_inventory": endless_listings,
    "buyer": endless_bids,
}


@pytest.mark.parametrize("family", ENDLESS)
async def test_a_list_that_announces_pages_for_ever_ends_after_a_few(
    api: Api, httpx_mock: HTTPXMock, family: str
) -> None:
    calls = 0

    def respond(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        return ENDLESS[family](request, calls) if calls < 50 else httpx.Response(403)

    httpx_mock.add_callback(respond, is_reusable=True)
    scan = discover()["inventory" if family == "offers" else family](api).scan
    assert scan
    pages = [pages[family] async for pages in scan([family], ()) if family in pages]
    assert pages[0].records
    assert calls < 20
