"""Trading calls: what is sent, what becomes records, and which error each refusal is."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lxml import etree
from pytest_httpx import HTTPXMock

from ebaysync.ebay import trading, trading_lists, trading_messages
from ebaysync.ebay.hosts import Hosts
from ebaysync.ebay.rest import Api
from ebaysync.ebay.transport import Transport
from ebaysync.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    ConsentNeeded,
    EbayBusy,
    EbayError,
    EbayRejected,
    EbaysyncError,
    EbayUnreachable,
    ListMissing,
    PageOutOfRange,
    QuotaSpent,
    RateLimited,
    Unauthorized,
    XmlBroken,
)
from ebaysync.families import discover
from ebaysync.families.decoder import Unusable
from ebaysync.log import Secret

HOSTS = Hosts("https://api.ebay.com", "https://apiz.ebay.com", "https://auth.ebay.com")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
XML = {"content-type": "text/xml;charset=utf-8"}
XS = "{http://www.w3.org/2001/XMLSchema}"


class Tokens:
    """Credentials that hand out t1, t2, …"""

    def __init__(self) -> None:
        self.number = 1

    async def access_token(self) -> Secret:
        return Secret(f"token-{self.number}")

    def give_up(self, error: EbaysyncError) -> None:
        raise AssertionError("not in these tests")

    async def renewed(self, refused: Secret) -> Secret:
        self.number += 1
        return Secret(f"token-{self.number}")


async def no_wait(_: float) -> None:
    return


@pytest.fixture
async def api() -> Any:
    async with Transport(HOSTS, sleep=no_wait) as transport:
        yield Api(transport, Tokens(), "EBAY_DE")


@pytest.fixture
def samples(shared: Path) -> Path:
    return shared / "ebay" / "samples" / "trading-postorder"


@pytest.fixture(scope="session")
def wsdl(shared: Path) -> dict[str, list[tuple[str, str, bool]]]:
    """Of each type its elements, those of its base first: name, type, whether it repeats."""
    path = shared / "ebay" / "specs" / "eBaySvc-v1379.wsdl"
    tree = etree.parse(str(path), etree.XMLParser(huge_tree=True))
    types = {each.get("name"): each for each in tree.iter(f"{XS}complexType")}

    def elements(name: str) -> list[tuple[str, str, bool]]:
        bases = [str(each.get("base")).split(":")[-1] for each in types[name].iter(f"{XS}extension")]
        own = [
            (str(each.get("name")), str(each.get("type")).split(":")[-1], each.get("maxOccurs", "1") != "1")
            for each in types[name].iter(f"{XS}element")
        ]
        return [found for base in bases if base in types for found in elements(base)] + own

    return {str(name): elements(str(name)) for name in types}


def answer(call: str, inner: str, ack: str = "Success") -> bytes:
    namespace = "urn:ebay:apis:eBLBaseComponents"
    return f'<{call}Response xmlns="{namespace}"><Ack>{ack}</Ack>{inner}</{call}Response>'.encode()


def refusal(call: str, code: int, ack: str = "Failure", more: str = "") -> bytes:
    inner = f"<Errors><ShortMessage>No.</ShortMessage><ErrorCode>{code}</ErrorCode>"
    return answer(call, f"{inner}<SeverityCode>Error</SeverityCode>{more}</Errors>", ack)


def items(numbers: range) -> str:
    return "".join(f"<Item><ItemID>{n}</ItemID></Item>" for n in numbers)


def as_json(records: tuple[bytes, ...]) -> list[Any]:
    return [msgspec.json.decode(record) for record in records]


def totals(pages: int, entries: int) -> str:
    counts = f"<TotalNumberOfPages>{pages}</TotalNumberOfPages><TotalNumberOfEntries>{entries}</TotalNumberOfEntries>"
    return f"<PaginationResult>{counts}</PaginationResult>"


CALLS: dict[str, Callable[[Api], Any]] = {
    "summary": trading_messages.my_messages_summary,
    "headers": lambda api: trading_messages.my_messages_headers(api, "0", NOON, NOON + timedelta(hours=1), 2),
    "bodies": lambda api: trading_messages.my_messages_bodies(api, ["1", "2"]),
    "selling": lambda api: trading_lists.my_ebay_selling_active(api, 3),
    "seller list": lambda api: trading_lists.seller_list(api, NOON, NOON + timedelta(days=30), 1),
    "buying": lambda api: trading_lists.my_ebay_buying(api, ["LostList", "WonList", "BidList"], 1, days=30),
}
PAGES = "<Pagination><EntriesPerPage>200</EntriesPerPage><PageNumber>{}</PageNumber></Pagination>"
ASKED = {
    "summary": ("GetMyMessages", "<DetailLevel>ReturnSummary</DetailLevel>", ""),
    "headers": (
        "GetMyMessages",
        "<DetailLevel>ReturnHeaders</DetailLevel>",
        "<FolderID>0</FolderID><StartTime>2026-11-20T12:00:00.000Z</StartTime>"
        f"<EndTime>2026-11-20T13:00:00.000Z</EndTime>{PAGES.format(2)}",
    ),
    "bodies": (
        "GetMyMessages",
        "<DetailLevel>ReturnMessages</DetailLevel>",
        "<MessageIDs><MessageID>1</MessageID><MessageID>2</MessageID></MessageIDs>",
    ),
    "selling": (
        "GetMyeBaySelling",
        "",
        f"<ActiveList><Include>true</Include><Sort>StartTime</Sort>{PAGES.format(3)}</ActiveList>",
    ),
    "seller list": (
        "GetSellerList",
        "<DetailLevel>ReturnAll</DetailLevel>",
        "<EndTimeFrom>2026-11-20T12:00:00.000Z</EndTimeFrom><EndTimeTo>2026-12-20T12:00:00.000Z</EndTimeTo>"
        f"{PAGES.format(1)}<IncludeVariations>true</IncludeVariations>",
    ),
    "buying": (
        "GetMyeBayBuying",
        "",
        f"<BidList><Include>true</Include>{PAGES.format(1)}</BidList>"
        + "".join(
            f"<{name}><Include>true</Include><DurationInDays>30</DurationInDays>{PAGES.format(1)}</{name}>"
            for name in ("WonList", "LostList")
        )
        + "<BuyingSummary><Include>true</Include></BuyingSummary>",
    ),
}
EMPTY = {  # the least that an answer without records must have
    "summary": "<Summary/>",
    "headers": "<Messages/>",
    "bodies": "<Messages/>",
    "selling": "<ActiveList/>",
    "seller list": "<ItemArray/>",
    "buying": "<LostList/>",
}


@pytest.mark.parametrize("which", sorted(CALLS))
async def test_the_question_is_asked_as_ebay_documents_it(api: Api, httpx_mock: HTTPXMock, which: str) -> None:
    call, level, fields = ASKED[which]
    httpx_mock.add_response(content=answer(call, EMPTY[which]), headers=XML)
    await CALLS[which](api)
    [request] = httpx_mock.get_requests()
    assert (request.method, str(request.url)) == ("POST", "https://api.ebay.com/ws/api.dll")
    body = re.sub(r"^<\?xml.*?\?>\s*", "", request.content.decode())
    body = re.sub(r"<OutputSelector>[\w.]+</OutputSelector>", "", body)
    general = "<ErrorLanguage>en_US</ErrorLanguage><WarningLevel>High</WarningLevel>"
    namespace = "urn:ebay:apis:eBLBaseComponents"
    assert body == f'<{call}Request xmlns="{namespace}">{level}{general}{fields}</{call}Request>'
    assert request.headers["x-ebay-api-call-name"] == call
    assert request.headers["x-ebay-api-siteid"] == "77"
    assert request.headers["x-ebay-api-compatibility-level"] == "1379"
    assert request.headers["x-ebay-api-iaf-token"] == "token-1"
    assert request.headers["content-type"] == "text/xml; charset=utf-8"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("which", sorted(CALLS))
async def test_the_elements_of_a_question_are_those_of_the_wsdl_in_its_order(
    api: Api, httpx_mock: HTTPXMock, wsdl: dict[str, list[tuple[str, str, bool]]], which: str
) -> None:
    call = ASKED[which][0]
    httpx_mock.add_response(content=answer(call, EMPTY[which]), headers=XML)
    await CALLS[which](api)

    def compare(element: Any, kind: str) -> None:
        known = [name for name, _, _ in wsdl[kind]]
        names = [etree.QName(child).localname for child in element]
        assert set(names) <= set(known)
        assert names == sorted(names, key=known.index)
        kinds = {name: below for name, below, _ in wsdl[kind]}
        for child in element:
            if len(child):
                compare(child, kinds[etree.QName(child).localname])

    compare(etree.fromstring(httpx_mock.get_requests()[0].content), f"{call}RequestType")


def test_what_is_always_a_list_is_what_the_wsdl_lets_repeat(wsdl: dict[str, list[tuple[str, str, bool]]]) -> None:
    many: dict[str, set[str]] = {}
    single: set[str] = set()
    parents: dict[str, set[str]] = {}
    for call in ("GetMyMessages", "GetMyeBaySelling", "GetSellerList", "GetMyeBayBuying"):
        seen, left = set(), [f"{call}ResponseType"]
        while left:
            kind = left.pop()
            if kind in seen or kind not in wsdl:
                continue
            seen.add(kind)
            for name, below, repeats in wsdl[kind]:
                parents.setdefault(below, set()).add(name)
                left.append(below)
                if repeats:
                    many.setdefault(name, set()).add(kind)
                else:
                    single.add(name)
    expected = set()
    for name, kinds in many.items():
        within = {f"{parent}/{name}" for kind in kinds for parent in parents.get(kind, ())}
        expected |= within if name in single else {name}
    assert expected == trading.LISTS


async def test_an_unknown_marketplace_is_asked_as_the_united_states(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(content=answer("GetMyMessages", "<Summary/>"), headers=XML, is_reusable=True)
    for api.marketplace_id in (None, "EBAY_XX", "EBAY_GB"):
        await trading_messages.my_messages_summary(api)
    assert [request.headers["x-ebay-api-siteid"] for request in httpx_mock.get_requests()] == ["0", "0", "3"]


# ---- what each refusal is

CALL = "GetMyeBaySelling"


@pytest.mark.parametrize(
    ("body", "error", "times"),
    [
        (refusal(CALL, 518), QuotaSpent, 1),
        (refusal(CALL, 340), PageOutOfRange, 1),
        (refusal(CALL, 10007), EbayBusy, 5),
        (refusal(CALL, 21919144), RateLimited, 5),
        (refusal(CALL, 77, more="<ErrorClassification>SystemError</ErrorClassification>"), EbayBusy, 5),
        (refusal(CALL, 5), EbayRejected, 1),
        (refusal(CALL, 2), EbayRejected, 1),
        (refusal(CALL, 4711), EbayRejected, 1),
        (refusal(CALL, 518, "PartialFailure"), QuotaSpent, 1),
        (answer(CALL, "", "Failure"), AnswerNotUnderstood, 1),
        (answer(CALL, "<Errors/><Errors>text</Errors>", "Failure"), AnswerNotUnderstood, 1),
        (answer(CALL, "<Errors><ErrorCode>x</ErrorCode></Errors>", "Failure"), AnswerNotUnderstood, 1),
        (answer(CALL, "", "CustomCode"), AnswerNotUnderstood, 1),
        (answer(CALL, "", ""), AnswerNotUnderstood, 1),
        (answer("GetSellerList", ""), AnswerNotUnderstood, 1),
        (b"<eBay/>", AnswerNotUnderstood, 1),
        (answer(CALL, "<ActiveList>text</ActiveList>"), AnswerNotUnderstood, 1),
        (answer(CALL, f"<ActiveList>{totals(1, 1).replace('>1<', '>many<')}</ActiveList>"), AnswerNotUnderstood, 1),
        (answer(CALL, "</broken>"), XmlBroken, 1),
        (b'{"Ack": "Success"}', XmlBroken, 1),
        (answer(CALL, "")[:-9], EbayUnreachable, 5),
        (b"", EbayUnreachable, 5),
    ],
)
async def test_what_is_no_success_is_its_own_error(
    api: Api, httpx_mock: HTTPXMock, body: bytes, error: type[EbayError], times: int
) -> None:
    httpx_mock.add_response(content=body, headers=XML, is_reusable=True)
    with pytest.raises(error, match=CALL) as caught:
        await trading_lists.my_ebay_selling_active(api, 1)
    assert type(caught.value) is error
    assert len(httpx_mock.get_requests()) == times


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (200, "text/html", AnswerNotUnderstood),
        (200, "application/json", AnswerNotUnderstood),
        (404, "text/html", AnswerNotUnderstood),
        (429, "text/xml", RateLimited),
        (500, "text/xml", EbayBusy),
        (503, "text/html", EbayBusy),
    ],
)
async def test_what_is_no_xml_is_its_own_error(
    api: Api, httpx_mock: HTTPXMock, status: int, kind: str, error: type[EbayError]
) -> None:
    httpx_mock.add_response(status_code=status, content=b"<p>", headers={"content-type": kind}, is_reusable=True)
    with pytest.raises(error, match=r"POST https://api\.ebay\.com/ws/api\.dll") as caught:
        await trading_lists.my_ebay_selling_active(api, 1)
    assert type(caught.value) is error
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("status", "code", "error", "times"),
    [
        (500, 518, QuotaSpent, 1),
        (500, 340, PageOutOfRange, 1),
        (400, 5, EbayRejected, 1),
        (429, 21919144, RateLimited, 5),
        (429, 5, RateLimited, 5),
        (403, 5, AccessDenied, 2),
        (500, 10007, EbayBusy, 5),
    ],
)
async def test_a_failure_is_told_by_its_code_whatever_the_http_status(
    api: Api, httpx_mock: HTTPXMock, status: int, code: int, error: type[EbayError], times: int
) -> None:
    httpx_mock.add_response(status_code=status, content=refusal(CALL, code), headers=XML, is_reusable=True)
    with pytest.raises(error) as caught:
        await trading_lists.my_ebay_selling_active(api, 1)
    assert type(caught.value) is error
    assert caught.value.status == status
    assert len(httpx_mock.get_requests()) == times


async def test_a_token_that_is_refused_with_another_status_is_renewed_as_well(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=500, content=refusal(CALL, 21917053), headers=XML)
    httpx_mock.add_response(content=answer(CALL, "<ActiveList/>"), headers=XML)
    assert (await trading_lists.my_ebay_selling_active(api, 1)).records == ()
    sent = [request.headers["x-ebay-api-iaf-token"] for request in httpx_mock.get_requests()]
    assert sent == ["token-1", "token-2"]


DEAD_TOKEN = [930, 931, 932, 16110, 16112, 16118, 16119, 16120, 17470]
DEAD_TOKEN += [21916013, 21916984, 21917053, 21917055, 21917236]


@pytest.mark.parametrize("code", [*DEAD_TOKEN, None])
async def test_a_refused_token_is_renewed_once_then_the_seller_must_consent(
    api: Api, httpx_mock: HTTPXMock, code: int | None
) -> None:
    refused: dict[str, Any] = {"content": refusal(CALL, code), "headers": XML} if code else {"status_code": 401}
    httpx_mock.add_response(**refused)
    httpx_mock.add_response(content=answer(CALL, "<ActiveList/>"), headers=XML)
    assert (await trading_lists.my_ebay_selling_active(api, 1)).records == ()
    sent = [request.headers["x-ebay-api-iaf-token"] for request in httpx_mock.get_requests()]
    assert sent == ["token-1", "token-2"]

    httpx_mock.add_response(**refused, is_reusable=True)
    with pytest.raises(ConsentNeeded) as caught:
        await trading_lists.my_ebay_selling_active(api, 1)
    assert "accounts connect" in str(caught.value.hint)
    assert len(httpx_mock.get_requests()) == 4


async def test_the_error_is_the_first_that_is_severe(api: Api, httpx_mock: HTTPXMock) -> None:
    warning = "<Errors><ErrorCode>518</ErrorCode><SeverityCode>Warning</SeverityCode></Errors>"
    body = refusal(CALL, 340).replace(b"<Errors>", f"{warning}<Errors>".encode(), 1)
    httpx_mock.add_response(content=body, headers=XML)
    with pytest.raises(PageOutOfRange, match=r"Failure 340$") as caught:
        await trading_lists.my_ebay_selling_active(api, 1)
    assert caught.value.error_id == 340


async def test_warnings_are_logged_as_codes_without_their_texts(
    api: Api, httpx_mock: HTTPXMock, caplog: pytest.LogCaptureFixture
) -> None:
    warning = "<Errors><LongMessage>for buyer_1</LongMessage><ErrorCode>42</ErrorCode>"
    body = answer(CALL, f"{warning}<SeverityCode>Warning</SeverityCode></Errors><ActiveList/>", "Warning")
    httpx_mock.add_response(content=body, headers=XML)
    with caplog.at_level(logging.WARNING, "ebaysync"):
        await trading_lists.my_ebay_selling_active(api, 1)
    assert "GetMyeBaySelling: eBay warns with 42" in caplog.text
    assert "buyer_1" not in caplog.text


async def test_a_flood_of_warnings_is_one_short_line(
    api: Api, httpx_mock: HTTPXMock, caplog: pytest.LogCaptureFixture
) -> None:
    warnings = "<Errors><ErrorCode>42</ErrorCode><SeverityCode>Warning</SeverityCode></Errors>" * 10_000
    httpx_mock.add_response(content=answer(CALL, f"{warnings}<ActiveList/>", "Warning"), headers=XML)
    with caplog.at_level(logging.WARNING, "ebaysync"):
        await trading_lists.my_ebay_selling_active(api, 1)
    assert len(caplog.text) < 500


async def test_a_partial_failure_with_records_hands_out_both(api: Api, httpx_mock: HTTPXMock) -> None:
    inner = f"<ActiveList><ItemArray>{items(range(2))}</ItemArray></ActiveList>"
    body = refusal(CALL, 10007, "PartialFailure").replace(b"</GetMye", f"{inner}</GetMye".encode())
    httpx_mock.add_response(content=body, headers=XML)
    page = await trading_lists.my_ebay_selling_active(api, 1)
    assert len(page.records) == 2
    assert isinstance(page.partial, EbayBusy)


# ---- what becomes records


async def test_pages_of_listings_say_how_many_there_are(api: Api, httpx_mock: HTTPXMock) -> None:
    array = f"<ItemArray>{items(range(3))}</ItemArray>"
    bodies = [
        answer(CALL, f"<ActiveList>{array}{totals(2, 203)}</ActiveList>"),
        answer(CALL, f"<ActiveList>{array}</ActiveList>"),
        answer(CALL, "<ActiveList/>"),
        answer(CALL, f"<ActiveList>{totals(0, 0)}</ActiveList>", "Warning"),
    ]
    for body in bodies:
        httpx_mock.add_response(content=body, headers=XML)
    pages = [await trading_lists.my_ebay_selling_active(api, 1) for _ in bodies]
    assert [(len(page.records), page.pages, page.entries) for page in pages] == [
        (3, 2, 203),
        (3, None, None),
        (0, None, None),
        (0, 0, 0),
    ]
    assert as_json(pages[0].records) == [{"ItemID": "0"}, {"ItemID": "1"}, {"ItemID": "2"}]


async def test_a_sellers_list_says_whether_there_is_more(api: Api, httpx_mock: HTTPXMock) -> None:
    array = f"<ItemArray>{items(range(2))}</ItemArray>"
    httpx_mock.add_response(
        content=answer("GetSellerList", f"{totals(2, 203)}<HasMoreItems>true</HasMoreItems>{array}"), headers=XML
    )
    httpx_mock.add_response(
        content=answer("GetSellerList", "<HasMoreItems>false</HasMoreItems><ItemArray/>"), headers=XML
    )
    first, last = [await trading_lists.seller_list(api, NOON, NOON + timedelta(days=30), page) for page in (1, 2)]
    assert (len(first.records), first.pages, first.entries, first.more) == (2, 2, 203, True)
    assert (last.records, last.more) == ((), False)


async def test_folders_are_inbox_and_sent_and_the_sellers_own(api: Api, httpx_mock: HTTPXMock) -> None:
    own = "<FolderSummary><FolderID>7</FolderID><FolderName>Own</FolderName></FolderSummary>"
    inbox = "<FolderSummary><FolderID>0</FolderID></FolderSummary>"
    nameless = "<FolderSummary><FolderName>x</FolderName></FolderSummary><FolderSummary/>"
    for inner in (f"<Summary>{own}{inbox}</Summary>", "<Summary/>", f"<Summary>{nameless}{own}</Summary>"):
        httpx_mock.add_response(content=answer("GetMyMessages", inner), headers=XML)
    assert [(await trading_messages.my_messages_summary(api)).folders for _ in range(3)] == [
        ("0", "1", "7"),
        ("0", "1"),
        ("0", "1", "", "7"),
    ]


def counted(total: Any, new: Any = 0, flagged: Any = None, *inner: str, high: Any = None) -> str:
    """Counts in the order of the WSDL; None leaves one out."""
    found = {
        "NewMessageCount": new,
        "FlaggedMessageCount": flagged,
        "TotalMessageCount": total,
        "TotalHighPriorityCount": high,
    }
    return "".join(inner) + "".join(f"<{name}>{n}</{name}>" for name, n in found.items() if n is not None)


def folder(number: Any, text: str) -> str:
    return f"<FolderSummary><FolderID>{number}</FolderID>{text}</FolderSummary>"


ZERO_AND_ONE = folder(0, counted(3)) + folder(1, counted(0))
USABLE = {
    "more than the listed folders": (counted(5, 1, 0, folder(7, counted(4, 1))), True),
    "no more than the listed folders": (counted(4, 1, 0, folder(7, counted(4, 1))), False),
    "an empty mailbox": (counted(0, 0, 0), False),
    "Inbox and Sent are listed": (counted(3, 0, 0, ZERO_AND_ONE), True),
    "Inbox is listed, and Sent may not be counted": (counted(3, 0, 0, folder(0, counted(3))), False),
    "no flagged ones": (counted(5, 1, None, folder(7, counted(4, 1))), False),
    "no new ones": (counted(5, None, 0, folder(7, counted(4, 1))), False),
    "no new ones in a folder": (counted(5, 1, 0, folder(7, counted(4, None))), False),
    "a folder without a total": (counted(5, 1, 0, folder(7, counted(None))), False),
    "a folder without an id": (counted(5, 1, 0, folder("", counted(4))), False),
    "no number": (counted("many", 1, 0, folder(7, counted(4))), False),
    "a negative number": (counted(5, 1, 0, folder(7, counted(-4))), False),
}


@pytest.mark.parametrize("which", USABLE)
async def test_counts_are_used_only_if_they_tell_of_every_folder(api: Api, httpx_mock: HTTPXMock, which: str) -> None:
    inner, usable = USABLE[which]
    httpx_mock.add_response(content=answer("GetMyMessages", f"<Summary>{inner}</Summary>"), headers=XML)
    assert ((await trading_messages.my_messages_summary(api)).counts is not None) is usable


async def test_each_count_of_a_folder_tells_two_summaries_apart(api: Api, httpx_mock: HTTPXMock) -> None:
    own = folder(7, counted(4, 1, high=1))
    texts = [
        counted(5, 1, 0, own, high=1),
        counted(6, 1, 0, own, high=1),
        counted(5, 2, 0, own, high=1),
        counted(5, 1, 1, own, high=1),
        counted(5, 1, 0, own, high=2),
        counted(5, 1, 0, own),
        *(counted(5, 1, 0, folder(7, text), high=1) for text in (counted(3, 1, high=1), counted(4, 2, high=1))),
        counted(5, 1, 0, folder(7, counted(4, 1, high=0)), high=1),
        counted(5, 1, 0, folder(8, counted(4, 1, high=1)), high=1),
    ]
    for text in texts:
        httpx_mock.add_response(content=answer("GetMyMessages", f"<Summary>{text}</Summary>"), headers=XML)
    found = [(await trading_messages.my_messages_summary(api)).counts for _ in texts]
    assert all(found)
    assert all(one != other for place, one in enumerate(found) for other in found[:place])


async def test_no_more_bodies_are_asked_for_than_ebay_gives(api: Api) -> None:
    for ids in ([], [str(n) for n in range(11)]):
        with pytest.raises(ValueError, match="1 to 10"):
            await trading_messages.my_messages_bodies(api, ids)


async def test_purchases_are_one_record_for_each_transaction_in_both_shapes(api: Api, httpx_mock: HTTPXMock) -> None:
    array = (
        "<TransactionArray><Transaction><T>1</T></Transaction><Transaction><T>2</T></Transaction></TransactionArray>"
    )
    shapes = [
        f"<Order><OrderID>a</OrderID>{array}<Total>3.0</Total></Order>",
        "<Transaction><T>3</T></Transaction>",
        "<Order><OrderID>b</OrderID><TransactionArray/></Order>",
    ]
    won = "".join(f"<OrderTransaction>{shape}</OrderTransaction>" for shape in shapes)
    inner = (
        f"<BidList><ItemArray>{items(range(1))}</ItemArray>{totals(1, 1)}</BidList>"
        f"<WonList><OrderTransactionArray>{won}</OrderTransactionArray>{totals(4, 9)}</WonList>"
    )
    httpx_mock.add_response(content=answer("GetMyeBayBuying", inner), headers=XML)
    found = await trading_lists.my_ebay_buying(api, trading_lists.BUYING, 1)
    order = {"OrderID": "a", "Total": "3.0"}
    assert as_json(found["WonList"].records) == [
        {"List": "WonList", "Order": order, "Transaction": {"T": "1"}},
        {"List": "WonList", "Order": order, "Transaction": {"T": "2"}},
        {"List": "WonList", "Transaction": {"T": "3"}},
        {"List": "WonList", "Order": {"OrderID": "b"}},
    ]
    assert as_json(found["BidList"].records) == [{"List": "BidList", "Item": {"ItemID": "0"}}]
    assert {name: (page.pages, page.entries) for name, page in found.items()} == {
        "BidList": (1, 1),
        "BestOfferList": (0, 0),
        "WonList": (4, 9),
        "LostList": (0, 0),
    }


async def test_a_purchase_that_is_no_purchase_is_left_to_the_family_and_the_others_stay(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    shapes = ("<Order>x</Order>", "<Transaction><T>3</T></Transaction>")
    rows = "".join(f"<OrderTransaction>{shape}</OrderTransaction>" for shape in shapes)
    body = answer("GetMyeBayBuying", f"<WonList><OrderTransactionArray>{rows}</OrderTransactionArray></WonList>")
    httpx_mock.add_response(content=body, headers=XML)
    found = as_json((await trading_lists.my_ebay_buying(api, ["WonList"], 1))["WonList"].records)
    assert found == [
        {"List": "WonList", "OrderTransaction": {"Order": "x"}},
        {"List": "WonList", "Transaction": {"T": "3"}},
    ]
    with pytest.raises(Unusable):
        discover()["buyer"].rows(msgspec.json.encode(found[0]))


async def test_a_success_with_a_severe_error_is_a_partial_failure(api: Api, httpx_mock: HTTPXMock) -> None:
    array = f"<ActiveList><ItemArray>{items(range(2))}</ItemArray></ActiveList>"
    for inner in (array, "<ActiveList/>"):
        body = refusal(CALL, 10007, "Success").replace(b"</GetMye", f"{inner}</GetMye".encode())
        httpx_mock.add_response(content=body, headers=XML, is_reusable=inner != array)
    page = await trading_lists.my_ebay_selling_active(api, 1)
    assert (len(page.records), type(page.partial)) == (2, EbayBusy)
    with pytest.raises(EbayBusy):
        await trading_lists.my_ebay_selling_active(api, 1)


# ---- samples

BUYING_ALL: Callable[[Api], Any] = lambda api: trading_lists.my_ebay_buying(api, trading_lists.BUYING, 1)  # noqa: E731
COUNTS: dict[str, tuple[Callable[[Api], Any], Any]] = {
    "GetMyMessages-bodies-full.synthetic.xml": (CALLS["bodies"], 1),
    "GetMyMessages-bodies-invalid-chars.synthetic.xml": (CALLS["bodies"], 1),
    "GetMyMessages-bodies.xml": (CALLS["bodies"], 1),
    "GetMyMessages-empty.synthetic.xml": (CALLS["headers"], 0),
    "GetMyMessages-headers.xml": (CALLS["headers"], 2),
    "GetMyMessages-summary.synthetic.xml": (CALLS["summary"], ["0", "1", "2"]),
    "GetMyeBayBuying-LostList.xml": (BUYING_ALL, {"LostList": 2}),
    "GetMyeBayBuying-WonList-order.synthetic.xml": (BUYING_ALL, {"WonList": 2}),
    "GetMyeBayBuying-WonList.xml": (BUYING_ALL, {"WonList": 1}),
    "GetMyeBayBuying-empty.synthetic.xml": (BUYING_ALL, {}),
    "GetMyeBaySelling-ActiveList-official.xml": (CALLS["selling"], 3),
    "GetMyeBaySelling-variations.xml": (CALLS["selling"], 2),
    "warning.synthetic.xml": (CALLS["headers"], 0),
}
ERRORS: dict[str, tuple[type[EbayError], int | None]] = {
    "GetMyMessages-headers-soap-2005-real.xml": (AnswerNotUnderstood, None),
    "error-call-limit-518.synthetic.xml": (QuotaSpent, 518),
    "error-expired-iaf.xml": (Unauthorized, 21917053),
    "error-internal-10007.synthetic.xml": (EbayBusy, 10007),
    "error-multiple.synthetic.xml": (EbayRejected, 11),
}
OTHER_LISTS = {"GetMyeBaySelling-SoldList.xml"}


async def test_another_list_than_the_one_that_was_asked_for_is_an_error(
    api: Api, httpx_mock: HTTPXMock, samples: Path
) -> None:
    for name in OTHER_LISTS:
        httpx_mock.add_response(content=(samples / name).read_bytes(), headers=XML)
        with pytest.raises(ListMissing, match="no ActiveList"):
            await trading_lists.my_ebay_selling_active(api, 1)


def test_no_sample_is_left_out(samples: Path) -> None:
    assert {path.name for path in samples.glob("*.xml")} == COUNTS.keys() | ERRORS.keys() | OTHER_LISTS


def count(result: Any) -> Any:
    if isinstance(result, dict):
        return {name: len(page.records) for name, page in result.items() if page.records}
    if isinstance(result, trading_messages.MailboxSummary):
        return list(result.folders)
    return len(result if isinstance(result, tuple) else result.records)


@pytest.mark.parametrize("name", sorted(COUNTS))
async def test_every_sample_becomes_records(api: Api, httpx_mock: HTTPXMock, samples: Path, name: str) -> None:
    ask, expected = COUNTS[name]
    httpx_mock.add_response(content=(samples / name).read_bytes(), headers=XML)
    assert count(await ask(api)) == expected


@pytest.mark.parametrize("name", sorted(ERRORS))
async def test_every_sample_of_an_error_is_its_own_error(
    api: Api, httpx_mock: HTTPXMock, samples: Path, name: str
) -> None:
    error, code = ERRORS[name]
    body = (samples / name).read_bytes()
    root = re.findall(rb"<(\w+)Response ", body)[0].decode()
    httpx_mock.add_response(content=body, headers=XML, is_reusable=True)
    with pytest.raises(ConsentNeeded if error is Unauthorized else error, match=str(code or "Envelope")) as caught:
        await trading.call(api, root, ())
    if error is not Unauthorized:
        assert type(caught.value) is error
        assert caught.value.error_id == code


async def test_a_samples_values_are_kept_as_they_were_sent(api: Api, httpx_mock: HTTPXMock, samples: Path) -> None:
    names = ("GetMyMessages-bodies-full.synthetic.xml", "GetMyMessages-bodies-invalid-chars.synthetic.xml")
    for name in (*names, "GetMyeBaySelling-variations.xml"):
        httpx_mock.add_response(content=(samples / name).read_bytes(), headers=XML)
    [message] = as_json(await CALLS["bodies"](api))
    assert message["Subject"] == "Details about item: café & <tea> set #200000000001"
    assert message["Text"].startswith('<!DOCTYPE html><html><body><div id="PrimaryMessage">')
    assert [each["MediaName"] for each in message["MessageMedia"]] == ["photo1", "photo2"]
    [mended] = as_json(await CALLS["bodies"](api))
    assert mended == {"MessageID": "1", "Text": "raw ctrl:  charref:  surrogate:  nul-ref: "}
    page = await CALLS["selling"](api)
    assert (page.pages, page.entries) == (3, 412)
    first, second = as_json(page.records)
    assert first["BuyItNowPrice"] == {"@currencyID": "EUR", "#text": "249.0"}
    assert len(first["PictureDetails"]["PictureURL"]) == 2
    red, blue = second["Variations"]["Variation"]
    assert red["VariationSpecifics"]["NameValueList"] == [{"Name": "Couleur", "Value": ["Rouge"]}]
    assert len(blue["VariationSpecifics"]["NameValueList"]) == 2
