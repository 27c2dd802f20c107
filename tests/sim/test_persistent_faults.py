"""Faults that stay: in a record, a list, a page, an envelope, a header, of every list call alike."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from lxml import etree

from ebaysync.sim import faults, faults_answers, shapes

Simulate = Callable[..., Any]
ORDERS = "/sell/fulfillment/v1/order"
TRANSACTION = "/sell/finances/v1/transaction"
THINGS = {
    "transaction": 5,
    "payout": 3,
    "dispute": 6,
    "inventory_item": 3,
    "offer": 4,
    "listing": 3,
    "message": 4,
    "purchase": 25,
    "case": 3,
    "inquiry": 3,
    "return": 3,
    "cancellation": 3,
}
DATES = {
    ORDERS: "filter=lastmodifieddate:%5B{}..{}%5D",
    TRANSACTION: "filter=transactionDate:%5B{}..{}%5D",
    "/sell/finances/v1/payout": "filter=payoutDate:%5B{}..{}%5D",
    "/sell/fulfillment/v1/payment_dispute_summary": "open_date_from={}&open_date_to={}",
    "/post-order/v2/cancellation/search": "creation_date_range_from={}&creation_date_range_to={}",
    "/post-order/v2/casemanagement/search": "case_creation_date_range_from={}&case_creation_date_range_to={}",
    "/post-order/v2/inquiry/search": "inquiry_creation_date_range_from={}&inquiry_creation_date_range_to={}",
    "/post-order/v2/return/search": "creation_date_range_from={}&creation_date_range_to={}",
}
TRADING = {
    "GetMyMessages": "<DetailLevel>ReturnHeaders</DetailLevel>",
    "GetMyeBaySelling": "<ActiveList><Include>true</Include></ActiveList>",
    "GetMyeBayBuying": "<WonList><Include>true</Include><DurationInDays>60</DurationInDays></WonList>"
    "<BidList><Include>true</Include></BidList>",
}


@dataclass
class Ebay:
    """One seller's calls of every API."""

    caller: Any

    @property
    def faults(self) -> Any:
        return self.caller.sim.faults

    def get(self, path: str, query: str = "") -> httpx.Response:
        token = self.caller.http.headers["authorization"].removeprefix("Bearer ")
        headers = {
            "authorization": f"{'IAF' if path.startswith('/post-order') else 'Bearer'} {token}",
            "accept": "application/json",
            "content-type": "application/json",
            "accept-language": "en-US",
            "x-ebay-c-marketplace-id": "EBAY_US",
        }
        if path.endswith("/offer") and not query:
            query = f"sku={quote(self.sku(), safe='')}"
        return self.caller.http.get(f"{path}?{query}", headers=headers)

    def sku(self) -> str:
        """One of the inventory that has an offer."""
        things = self.caller.seller.things
        skus = [offer.body["sku"] for offer in things["offer"].values() if offer.body]
        return next(sku for sku in skus if sku in things["inventory_item"] and things["inventory_item"][sku].body)

    def rows(self, path: str, query: str = "") -> list[Any]:
        answer = self.get(path, query)
        assert answer.status_code in (200, 204), answer.text
        shape = shapes.of(path)
        assert shape
        return answer.json().get(shape.rows, []) if answer.content else []

    def post(self, call: str, inner: str = "") -> bytes:
        token = self.caller.http.headers["authorization"].removeprefix("Bearer ")
        headers = {
            "X-EBAY-API-SITEID": "0",
            "X-EBAY-API-COMPATIBILITY-LEVEL": "1487",
            "X-EBAY-API-IAF-TOKEN": token,
            "X-EBAY-API-CALL-NAME": call,
            "Content-Type": "text/xml",
        }
        inner = inner or TRADING[call]
        body = f'<{call}Request xmlns="urn:ebay:apis:eBLBaseComponents">{inner}</{call}Request>'
        answer: httpx.Response = self.caller.http.post("/ws/api.dll", content=body, headers=headers)
        return answer.content

    def items(self, call: str, inner: str = "") -> list[bytes]:
        return [found[0] for found in shapes.XML_ROWS.finditer(self.post(call, inner))]


@pytest.fixture
def ebay(simulate: Simulate) -> Ebay:
    return Ebay(simulate(orders_per_seller=4, things=THINGS, days=10))


lists = pytest.mark.parametrize("shape", shapes.LISTS, ids=lambda shape: shape.path)
calls = pytest.mark.parametrize("call", TRADING)


@lists
def test_every_list_has_the_shape_that_the_faults_believe_in(ebay: Ebay, shape: shapes.Shape) -> None:
    page = ebay.get(shape.path).json()
    rows = page[shape.rows]
    assert len(rows) >= 1
    assert all(row[shape.id] for row in rows)
    for *parents, last in shape.counts:
        place = page[parents[0]] if parents else page
        assert place[last] == len(rows)


@lists
@pytest.mark.parametrize("what", faults_answers.RECORDS)
def test_one_record_of_a_list_is_odd_and_its_neighbours_are_not(ebay: Ebay, shape: shapes.Shape, what: str) -> None:
    good = ebay.rows(shape.path)
    wanted = str(good[-1][shape.id])
    ebay.faults.add("record", what=what, of=wanted, times=None)
    for _ in range(2):
        body = ebay.get(shape.path).content
        if what in ("control", "utf8", "broken"):
            with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
                json.loads(body.decode())
            assert all(json.dumps(row[shape.id]).encode() in body for row in good)
            continue
        body = re.sub(rb"9{1000}9*|\[{1000}[\[\]]*", b"0", body)
        rows = json.loads(body)[shape.rows]
        assert rows[:-1] == good[:-1]
        assert rows[-1] != good[-1]
        assert (shape.id in rows[-1]) == (what not in ("no_id", "other"))


@calls
@pytest.mark.parametrize("what", [what for what in faults_answers.RECORDS if what != "digits"])
def test_one_record_of_a_trading_list_is_odd_and_its_neighbours_are_not(ebay: Ebay, call: str, what: str) -> None:
    good = ebay.items(call)
    assert len(good) > 1
    named = shapes.XML_ID.search(good[-1])
    assert named
    ebay.faults.add("record", call=call, what=what, of=named[2].decode(), times=None)
    for _ in range(2):
        body = ebay.post(call)
        spoiled = [row[0] for row in shapes.XML_ROWS.finditer(body)]
        assert len(spoiled) == len(good)
        if what in ("no_id", "other"):
            etree.fromstring(body)
            assert not shapes.XML_ID.search(spoiled[-1])
        else:
            with pytest.raises(etree.XMLSyntaxError):
                etree.fromstring(body)


@pytest.mark.parametrize("path", ["/post-order/v2/return", "/post-order/v2/inquiry", "/post-order/v2/casemanagement"])
@pytest.mark.parametrize("what", ["control", "other"])
def test_a_detail_is_odd_for_one_id_and_its_list_is_not(ebay: Ebay, path: str, what: str) -> None:
    shape = shapes.of(f"{path}/search")
    assert shape
    ids = [str(row[shape.id]) for row in ebay.rows(shape.path)]
    ebay.faults.add("record", path=f"{path}/{ids[0]}$", what=what, times=None)
    good = ebay.get(f"{path}/{ids[1]}", "fieldgroups=FULL" if "return" in path else "").json()
    assert good
    odd = ebay.get(f"{path}/{ids[0]}")
    assert odd.status_code == 200
    assert odd.content == b'{"user":{"userId":"somebody"}}' if what == "other" else b"\x02" in odd.content
    assert [str(row[shape.id]) for row in ebay.rows(shape.path)] == ids


@pytest.mark.parametrize("status", [429, 403, 404, 500])
def test_a_detail_is_refused_by_id_for_as_long_as_wanted(ebay: Ebay, status: int) -> None:
    ids = [str(row["returnId"]) for row in ebay.rows("/post-order/v2/return/search")]
    ebay.faults.add("status", path=f"/return/{ids[1]}$", status=status, envelope="errorMessage", times=None)
    found = [[ebay.get(f"/post-order/v2/return/{number}").status_code for number in ids] for _ in range(3)]
    assert found == [[200, status, 200]] * 3


def test_a_call_can_be_named_by_its_query_and_a_message_by_its_request(ebay: Ebay) -> None:
    ebay.faults.add("status", path="/offer$", query=f"sku={re.escape(ebay.sku())}(&|$)", status=400, code=25707)
    answer = ebay.get("/sell/inventory/v1/offer")
    assert (answer.status_code, answer.json()["errors"][0]["errorId"]) == (400, 25707)
    [first, *_] = [shapes.XML_ID.search(row)[2].decode() for row in ebay.items("GetMyMessages")]  # type: ignore[index]
    ebay.faults.add("trading_error", call="GetMyMessages", query=f"<MessageID>{first}<", code=20128, times=None)
    asked = f"<DetailLevel>ReturnMessages</DetailLevel><MessageIDs><MessageID>{first}</MessageID></MessageIDs>"
    assert b"<ErrorCode>20128</ErrorCode>" in ebay.post("GetMyMessages", asked)
    assert len(ebay.items("GetMyMessages")) == 4


@lists
def test_a_record_is_counted_and_never_sent(ebay: Ebay, shape: shapes.Shape) -> None:
    good = ebay.rows(shape.path)
    ebay.faults.add("unsent", path=f"^{shape.path}$", of=str(good[0][shape.id]), times=None)
    for _ in range(3):
        page = ebay.get(shape.path).json()
        assert page[shape.rows] == good[1:]
        assert all((page[p[0]] if p else page)[last] == len(good) for *p, last in shape.counts)


@lists
@pytest.mark.parametrize("by", [1, -1])
def test_a_total_is_wrong_for_ever(ebay: Ebay, shape: shapes.Shape, by: int) -> None:
    good = ebay.rows(shape.path)
    ebay.faults.add("total", path=f"^{shape.path}$", by=by, times=None)
    page = ebay.get(shape.path).json()
    assert page[shape.rows] == good
    assert {(page[p[0]] if p else page)[last] for *p, last in shape.counts} == {len(good) + by}


@pytest.mark.parametrize("call", ["GetMyeBaySelling", "GetMyeBayBuying"])
def test_a_trading_list_is_counted_wrongly_or_not_sent_whole(ebay: Ebay, call: str) -> None:
    good = ebay.items(call)
    ebay.faults.add("unsent", call=call, row=0)
    assert ebay.items(call) == good[1:] or len(ebay.items(call)) == len(good)
    before = [int(count) for count in shapes.XML_COUNT.findall(ebay.post(call))]
    ebay.faults.add("total", call=call, by=1)
    assert [int(count) for count in shapes.XML_COUNT.findall(ebay.post(call))] == [count + 1 for count in before]


def test_an_item_comes_twice_at_the_edge_of_two_pages(ebay: Ebay) -> None:
    whole = ebay.rows("/post-order/v2/return/search", "limit=200")
    ebay.faults.add("twice", times=None)
    first = ebay.rows("/post-order/v2/return/search", "limit=2&offset=0")
    second = ebay.rows("/post-order/v2/return/search", "limit=2&offset=2")
    assert [*first, *second] == [*whole[:2], whole[1], *whole[2:]]
    orders = ebay.rows(ORDERS)
    assert orders[-1] == orders[-2]
    assert len(orders) == 5
    page = "<Pagination><EntriesPerPage>2</EntriesPerPage><PageNumber>{}</PageNumber></Pagination>"
    listed = f"<ActiveList>{page}</ActiveList>"
    ids = [
        shapes.XML_ID.search(row)[2]  # type: ignore[index]
        for number in (1, 2)
        for row in ebay.items("GetMyeBaySelling", listed.format(number))
    ]
    assert len(ids) == 4
    assert ids[1] == ids[2]


@pytest.mark.parametrize("path", DATES)
def test_a_filter_is_ignored_or_leaks(ebay: Ebay, path: str) -> None:
    shape = shapes.of(path)
    assert shape
    now = ebay.caller.sim.world.now()
    whole = {row[shape.id] for row in ebay.rows(path, "limit=200")}
    end, start = now - timedelta(days=85), now - timedelta(days=87)
    asked = DATES[path].format(*(at.strftime("%Y-%m-%dT%H:%M:%S.000Z") for at in (start, end)))
    assert ebay.rows(path, asked) == []
    leak = ebay.faults.add("outside", path=path, by=1, times=None)
    assert len(ebay.rows(path, asked)) == 1
    assert leak.struck == 1
    ebay.faults.clear()
    ebay.faults.add("no_filter", path=path, what="window and page", times=None)
    assert {row[shape.id] for row in ebay.rows(path, f"{asked}&limit=200")} == whole
    assert ebay.rows(path, f"{asked}&limit=200") == ebay.rows(path, f"{asked}&limit=200&offset=200")


def test_message_headers_come_whatever_is_asked(ebay: Ebay) -> None:
    times = "<StartTime>2020-01-01T00:00:00Z</StartTime><EndTime>2020-01-02T00:00:00Z</EndTime>"
    second = "<Pagination><EntriesPerPage>200</EntriesPerPage><PageNumber>2</PageNumber></Pagination>"
    whole = ebay.items("GetMyMessages")
    assert ebay.items("GetMyMessages", TRADING["GetMyMessages"] + times) == []
    leak = ebay.faults.add("outside", call="GetMyMessages", times=None)
    assert len(ebay.items("GetMyMessages", TRADING["GetMyMessages"] + times)) == leak.struck == 1
    ebay.faults.clear()
    ebay.faults.add("no_filter", call="GetMyMessages", what="window and page", times=None)
    assert ebay.items("GetMyMessages", TRADING["GetMyMessages"] + times + second) == whole


@lists
@pytest.mark.parametrize("what", faults_answers.ENVELOPES)
def test_a_200_has_not_what_was_asked_for(ebay: Ebay, shape: shapes.Shape, what: str) -> None:
    good = ebay.get(shape.path).json()
    ebay.faults.add("envelope", path=shape.path, what=what, times=None)
    for _ in range(2):
        answer = ebay.get(shape.path)
        assert answer.status_code == 200
        page = answer.json()
        assert shape.rows not in page
        assert page == ({k: v for k, v in good.items() if k != shape.rows} if what == "no_list" else page)
        assert page == faults_answers.ENVELOPES[what] or what == "no_list"


@calls
@pytest.mark.parametrize("what", faults_answers.ENVELOPES)
def test_a_trading_success_has_not_what_was_asked_for(ebay: Ebay, call: str, what: str) -> None:
    ebay.faults.add("envelope", call=call, what=what, times=None)
    root = etree.fromstring(ebay.post(call))
    assert root.findtext("{*}Ack") == ("Warning" if what == "warnings" else "Success")
    assert etree.QName(root).localname == ("GetUserResponse" if what == "other" else f"{call}Response")
    assert root.find(".//{*}ItemID") is None
    assert root.find(".//{*}MessageID") is None
    assert (root.find("{*}Errors") is not None) == (what == "errors")


@lists
def test_counters_are_text_and_say_the_same(ebay: Ebay, shape: shapes.Shape) -> None:
    good = ebay.get(shape.path).json()
    ebay.faults.add("text_numbers", path=shape.path)
    page = ebay.get(shape.path).json()
    assert page[shape.rows] == good[shape.rows]
    for *parents, last in shape.counts:
        assert (page[parents[0]] if parents else page)[last] == str(len(good[shape.rows]))


def test_one_page_is_broken_and_the_others_are_not(ebay: Ebay) -> None:
    ebay.faults.add("status", path=TRANSACTION, query="offset=2(&|$)", status=500, times=None)
    ebay.faults.add("truncated", path=TRANSACTION, query="offset=4", times=None)
    pages = [ebay.get(TRANSACTION, f"limit=2&offset={offset}") for offset in (0, 2, 4)]
    assert [page.status_code for page in pages] == [200, 500, 200]
    assert pages[0].json()["total"] == 5
    with pytest.raises(json.JSONDecodeError):
        pages[2].json()
    second = (
        "<ActiveList><Pagination><EntriesPerPage>2</EntriesPerPage><PageNumber>2</PageNumber></Pagination></ActiveList>"
    )
    ebay.faults.add("truncated", call="GetMyeBaySelling", query="<PageNumber>2<", times=None)
    etree.fromstring(ebay.post("GetMyeBaySelling"))
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(ebay.post("GetMyeBaySelling", second))


def test_a_403_1100_is_for_one_call_and_can_end_with_the_token(ebay: Ebay) -> None:
    denied = {"status": 403, "code": faults.ACCESS_DENIED, "times": None}
    ebay.faults.add("status", path="/return/search", first_token=True, **denied)
    for _ in range(2):
        answer = ebay.get("/post-order/v2/return/search")
        assert (answer.status_code, answer.json()["errors"][0]["errorId"]) == (403, 1100)
    assert ebay.get(ORDERS).status_code == 200
    ebay.caller.login()
    assert ebay.get("/post-order/v2/return/search").status_code == 200
    ebay.faults.add("status", path="/return/search", **denied)
    ebay.caller.login()
    assert ebay.get("/post-order/v2/return/search").status_code == 403


@pytest.mark.parametrize("code", [16110, 932, 21917053])
def test_a_trading_token_is_refused_by_number(ebay: Ebay, code: int) -> None:
    ebay.faults.add("trading_error", code=code, times=None)
    assert f"<ErrorCode>{code}</ErrorCode>".encode() in ebay.post("GetMyeBaySelling")


@pytest.mark.parametrize(("what", "year"), [("1969", 1969), ("2037", 2037), ("9999", 9999)])
def test_the_date_header_is_of_another_age(ebay: Ebay, what: str, year: int) -> None:
    ebay.faults.add("date", path="^/sell", what=what, times=None)
    assert parsedate_to_datetime(ebay.get(ORDERS).headers["date"]).year == year
    assert parsedate_to_datetime(ebay.get("/post-order/v2/return/search").headers["date"]).year == 2026


def test_the_date_header_is_an_hour_off(ebay: Ebay) -> None:
    now: datetime = ebay.caller.sim.world.now()
    ebay.faults.add("date", what="off", by=-3600, times=None)
    assert parsedate_to_datetime(ebay.get(ORDERS).headers["date"]) == now - timedelta(hours=1)


@pytest.mark.parametrize("seconds", [10**9, 10**19])
def test_a_retry_after_is_longer_than_a_life(ebay: Ebay, seconds: int) -> None:
    ebay.faults.add("status", path=ORDERS, status=429, retry_after=seconds)
    assert ebay.get(ORDERS).headers["retry-after"] == str(seconds)
    with pytest.raises(ValueError, match="no date"):
        ebay.faults.add("status", status=429, retry_after=10**19, as_date=True)


def test_ebay_refuses_connections_for_a_span_and_then_listens_at_the_same_place(ebay: Ebay) -> None:
    url = ebay.caller.sim.url
    assert ebay.get(ORDERS).status_code == 200
    with ebay.caller.sim.unreachable():
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                httpx.get(url + ORDERS)
    assert ebay.caller.sim.url == url
    assert ebay.get(ORDERS).status_code == 200
    assert [entry.status for entry in ebay.caller.sim.journal.of(ORDERS)] == [200, 200]


def test_a_fault_that_found_nothing_to_spoil_is_not_in_the_journal_and_one_can_be_lifted(ebay: Ebay) -> None:
    fault = ebay.faults.add("record", what="control", of="no such id", times=None)
    ebay.get(ORDERS)
    assert fault.struck == 0
    assert ebay.caller.sim.journal[-1].faults == ()
    total = ebay.faults.add("total", times=None)
    assert ebay.get(ORDERS).json()["total"] == 5
    ebay.faults.remove(total)
    assert ebay.get(ORDERS).json()["total"] == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "record", "what": "x"},
        {"kind": "envelope"},
        {"kind": "date", "what": "1812"},
        {"kind": "no_filter"},
        {"kind": "status", "query": "("},
    ],
)
def test_a_choice_that_does_not_exist_is_refused(ebay: Ebay, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"there are|no regular"):
        ebay.faults.add(**wrong)
