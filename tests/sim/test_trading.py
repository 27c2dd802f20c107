"""The Trading API: what eBay documents of it, and every trap that others fell into."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from lxml import etree

from ebaysync.sim import faults_trading
from ebaysync.sim.apis import trading_requests
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.kinds import listings

Simulate = Callable[..., Any]
NS = "{urn:ebay:apis:eBLBaseComponents}"
XS = "{http://www.w3.org/2001/XMLSchema}"
EXPORT = "<Pagination><EntriesPerPage>200</EntriesPerPage></Pagination>"


def body(name: str, inner: str) -> str:
    return f'<?xml version="1.0"?><{name}Request xmlns="urn:ebay:apis:eBLBaseComponents">{inner}</{name}Request>'


class Seller:
    """One seller's Trading calls."""

    def __init__(self, caller: Any) -> None:
        self.caller, self.sim, self.world, self.me = caller, caller.sim, caller.sim.world, caller.seller
        self.headers = {
            "X-EBAY-API-SITEID": "0",
            "X-EBAY-API-COMPATIBILITY-LEVEL": "1487",
            "X-EBAY-API-IAF-TOKEN": caller.http.headers["authorization"].removeprefix("Bearer "),
            "Content-Type": "text/xml",
        }

    def post(self, name: str, inner: str = "", *, text: str | None = None, **headers: str) -> httpx.Response:
        sent = self.headers | {"X-EBAY-API-CALL-NAME": name} | headers
        content = (text if text is not None else body(name, inner)).encode()
        answer: httpx.Response = self.caller.http.post("/ws/api.dll", content=content, headers=sent)
        return answer

    def call(self, name: str, inner: str = "", ack: str = "Success") -> etree._Element:
        answer = self.post(name, inner)
        assert answer.status_code == 200, answer.text
        root = etree.fromstring(answer.content)
        assert root.findtext(f"{NS}Ack") == ack, answer.text
        return root

    def code(self, name: str, inner: str = "", **options: Any) -> str | None:
        """The number of the first error, for a call that must fail."""
        answer = self.post(name, inner, **options)
        root = etree.fromstring(answer.content)
        assert (answer.status_code, root.findtext(f"{NS}Ack")) == (200, "Failure")
        errors = [error for error in root.iter(f"{NS}Errors") if error.findtext(f"{NS}SeverityCode") == "Error"]
        return errors[0].findtext(f"{NS}ErrorCode")

    def add(self, kind: str, at: datetime | None = None, thing_id: str | None = None, **fields: Any) -> Any:
        return self.world.add_thing(self.me, kind, at=at, thing_id=thing_id, body=fields)

    def headers_of(self, inner: str = "") -> list[str]:
        return texts(self.call("GetMyMessages", f"<DetailLevel>ReturnHeaders</DetailLevel>{inner}"), "MessageID")

    def active(self, inner: str = EXPORT, after: str = "") -> etree._Element:
        return self.call("GetMyeBaySelling", f"<ActiveList>{inner}</ActiveList>{after}")


def texts(root: etree._Element, name: str) -> list[str]:
    return [element.text or "" for element in root.iter(f"{NS}{name}")]


def paged(number: int, size: int = 200) -> str:
    return f"<Pagination><EntriesPerPage>{size}</EntriesPerPage><PageNumber>{number}</PageNumber></Pagination>"


@pytest.fixture
def seller(simulate: Simulate) -> Callable[..., Seller]:
    return lambda **options: Seller(simulate(**{"orders_per_seller": 0, **options}))


Start = Callable[..., Seller]


# Transport


def test_a_token_that_is_missing_unknown_or_expired_is_an_answer_with_status_200(
    seller: Start, clock: ManualClock
) -> None:
    mine = seller()
    token = mine.headers.pop("X-EBAY-API-IAF-TOKEN")
    assert mine.code("GetUser") == "21916984"
    in_body = f"<RequesterCredentials><eBayAuthToken>{token}</eBayAuthToken></RequesterCredentials>"
    assert mine.code("GetUser", in_body) == "931"
    mine.headers["X-EBAY-API-IAF-TOKEN"] = "nonsense"
    assert mine.code("GetUser") == "21916984"
    mine.headers["X-EBAY-API-IAF-TOKEN"] = token
    assert texts(mine.call("GetUser"), "UserID") == [mine.me.username]
    clock.advance(7200)
    assert mine.code("GetUser") == "21917053"


def test_who_withdrew_consent_has_an_invalid_token_and_not_an_expired_one(seller: Start) -> None:
    mine = seller()
    mine.sim.expire_tokens()
    assert mine.code("GetUser") == "21917053"
    mine.caller.login()
    mine = Seller(mine.caller)
    mine.sim.revoke(mine.me)
    assert mine.code("GetUser") == "21916984"


def test_the_headers_and_the_root_must_name_the_same_known_call(seller: Start) -> None:
    mine = seller()
    assert mine.code("GetAccount") == "2"
    assert mine.code("GetUser", text=body("GetSellerList", "")) == "5"
    assert mine.code("GetUser", text="<GetUserRequest/>") == "5"
    assert mine.code("GetUser", text=body("GetUser", "<broken>")) == "5"
    for header in ("X-EBAY-API-SITEID", "X-EBAY-API-COMPATIBILITY-LEVEL", "Content-Type"):
        assert mine.code("GetUser", **{header: "application/json"}) == "10012"


def test_an_answer_tells_the_time_of_the_server_and_its_errors_are_classified(seller: Start) -> None:
    mine = seller()
    mine.sim.faults.add("trading_error", code=10007)
    assert texts(mine.call("GetUser", ack="Failure"), "ErrorClassification") == ["RequestError", "SystemError"]
    root = mine.call("GetSellerList", ack="Failure")
    assert [root.findtext(f"{NS}{name}") for name in ("Timestamp", "Version")] == ["2026-07-01T12:00:00.000Z", "1487"]
    assert (texts(root, "SeverityCode"), texts(root, "ErrorClassification")) == (["Error"], ["RequestError"])


def test_the_text_of_an_error_speaks_the_language_of_the_site(seller: Start) -> None:
    mine = seller()
    american, german = (mine.post("GetSellerList", **{"X-EBAY-API-SITEID": site}).text for site in ("0", "77"))
    english = "<ErrorLanguage>en_US</ErrorLanguage>"
    assert "Input data for tag" in american
    assert "Input data for tag" in mine.post("GetSellerList", english, **{"X-EBAY-API-SITEID": "77"}).text
    assert "Input data for tag" not in german
    assert "<ErrorCode>37<" in german


def test_undeclared_elements_filter_nothing_and_are_noted(seller: Start) -> None:
    mine = seller(things={"message": 5})
    every = mine.headers_of()
    assert mine.world.undeclared == []
    assert mine.headers_of("<StartTimeFrom>2026-06-30T00:00:00.000Z</StartTimeFrom>") == every
    assert mine.headers_of("<EndTime>2026-07-02T00:00:00.000Z</EndTime><FolderId>1</FolderId>") == every
    mine.active(inner="<Pagination><PageNumber>1</PageNumber></Pagination><Include>true</Include>")
    assert mine.world.undeclared == [
        "GetMyMessages: StartTimeFrom is not declared",
        "GetMyMessages: FolderId is not declared",
        "GetMyeBaySelling: ActiveList.Include is out of order",
    ]


@pytest.mark.parametrize(
    "inner",
    [
        "<FolderID>Inbox</FolderID>",
        "<StartTime>2026-06-01T00:00:00+00:00Z</StartTime>",
        "<StartTime>2026-02-30T00:00:00Z</StartTime>",
        "<Pagination><PageNumber>one</PageNumber></Pagination>",
        "<IncludeHighPriorityMessageOnly>yes</IncludeHighPriorityMessageOnly>",
        "<WarningLevel>Higher</WarningLevel>",
    ],
)
def test_values_that_their_type_does_not_allow_are_refused(seller: Start, inner: str) -> None:
    assert seller().code("GetMyMessages", f"<DetailLevel>ReturnHeaders</DetailLevel>{inner}") == "37"


def test_the_journal_shows_the_call_with_its_parameters_and_never_a_token(seller: Start) -> None:
    mine = seller(things={"message": 3})
    token = mine.headers["X-EBAY-API-IAF-TOKEN"]
    mine.headers_of(f"<FolderID>0</FolderID>{paged(1)}")
    mine.post("GetMyMessages", f"<ErrorLanguage><![CDATA[{token}]]></ErrorLanguage>")
    entry = mine.sim.journal[-2]
    assert (entry.path, entry.seller) == ("/ws/api.dll", mine.me.username)
    assert entry.query == {
        "call": "GetMyMessages",
        "DetailLevel": "ReturnHeaders",
        "FolderID": "0",
        "Pagination.EntriesPerPage": "200",
        "Pagination.PageNumber": "1",
    }
    versions = {key: thing.version for key, thing in mine.world.things(mine.me, "message").items()}
    assert all(versions[key] == version for key, version in entry.rows)
    assert token not in str(list(mine.sim.journal))


def test_a_fault_can_break_one_call_and_leave_the_others(seller: Start) -> None:
    mine = seller()
    mine.sim.faults.add("trading_error", code=518, call="GetMyMessages", times=None)
    mine.sim.faults.add("status", status=503, call="GetSellerList")
    assert mine.code("GetMyMessages") == "518"
    assert mine.post("GetSellerList").status_code == 503
    mine.call("GetUser")


def test_a_warning_comes_with_the_data(seller: Start) -> None:
    mine = seller()
    mine.sim.faults.add("trading_warning")
    root = mine.call("GetUser", ack="Warning")
    assert (texts(root, "SeverityCode"), texts(root, "UserID")) == (["Warning"], [mine.me.username])


def test_an_error_can_quote_the_token_of_the_call_in_each_of_its_texts(seller: Start) -> None:
    mine = seller()
    mine.sim.faults.add("trading_error", code=10007, says="not for {token}")
    root = mine.call("GetUser", ack="Failure")
    for name in ("ShortMessage", "LongMessage", "Value"):
        assert all(text.startswith("not for v^1.1#") for text in texts(root, name)), name


@pytest.mark.parametrize("what", sorted(faults_trading.SPOILERS))
def test_spoiled_xml_is_refused_by_a_parser(seller: Start, what: str) -> None:
    mine = seller(things={"listing": 3})
    mine.active()
    mine.sim.faults.add("xml_spoil", what=what, row=1)
    spoiled = mine.post("GetMyeBaySelling", f"<ActiveList>{EXPORT}</ActiveList>").content
    if what == "doctype":  # well-formed; the harm is in following its entities
        title = etree.fromstring(spoiled, etree.XMLParser(resolve_entities=True)).findall(f".//{NS}Title")[1]
        assert len(title.text or "") > 100
        return
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(spoiled)
    mine.active()


def test_listings_can_move_between_two_pages(seller: Start) -> None:
    mine = seller(things={"listing": 6})
    mine.sim.faults.add("stir", call="GetMyeBaySelling", of="listing", by=2)
    before = mine.active()
    versions = {thing.version for thing in mine.world.things(mine.me, "listing").values()}
    assert versions == {1, 2}
    assert len(mine.world.things(mine.me, "listing")) == 8
    assert texts(mine.active(), "ItemID") != texts(before, "ItemID")


def test_the_stable_id_of_a_user_survives_another_name(seller: Start) -> None:
    mine = seller()
    before = texts(mine.call("GetUser"), "EIASToken")
    mine.world.rename(mine.me, "renamed")
    assert texts(mine.call("GetUser"), "UserID") == ["renamed"]
    assert texts(mine.call("GetUser"), "EIASToken") == before


# GetMyMessages


def test_messages_need_a_level_of_detail(seller: Start) -> None:
    mine = seller()
    assert mine.code("GetMyMessages") == "37"
    assert mine.code("GetMyMessages", "<DetailLevel>ReturnAll</DetailLevel>") == "37"


def test_the_summary_names_neither_inbox_nor_sent(seller: Start) -> None:
    for shown, expected in ((False, ["2", "3"]), (True, ["0", "1", "2", "3"])):
        mine = seller(things={"message": 20}, messages_inbox_summary=shown)
        root = mine.call("GetMyMessages", "<DetailLevel>ReturnSummary</DetailLevel>")
        assert texts(root, "FolderID") == expected
        assert len(texts(root, "FolderName")) == 2
        assert root.findtext(f"{NS}Summary/{NS}TotalMessageCount") == "20"


def counts(mine: Seller, name: str) -> list[str]:
    """Of the whole mailbox, then of each listed folder."""
    root = mine.call("GetMyMessages", "<DetailLevel>ReturnSummary</DetailLevel>")
    found = [root.find(f"{NS}Summary"), *root.iterfind(f"{NS}Summary/{NS}FolderSummary")]
    return [node.findtext(f"{NS}{name}") or "" for node in found if node is not None]


def test_the_summary_counts_what_its_quirk_says(seller: Start) -> None:
    for what, total, high in (
        ("all", ["5", "1", "1"], ["1", "0", "0"]),
        ("own folders", ["2", "1", "1"], ["0", "0", "0"]),
        ("no priority", ["5", "1", "1"], ["", "", ""]),
        ("none", ["", "", ""], ["", "", ""]),
    ):
        mine = seller(messages_counts=what)
        for number, folder in enumerate((0, 0, 1, 2, 3)):
            mine.add("message", None, str(number + 1), folder=folder, read=bool(number), high=not number, flagged=True)
        assert counts(mine, "TotalMessageCount") == total
        assert counts(mine, "TotalHighPriorityCount") == high
        assert counts(mine, "FlaggedMessageCount")[0] == (total[0] or "")


def test_headers_without_a_folder_are_those_that_their_quirk_says(seller: Start) -> None:
    span = "<StartTime>2026-07-01T11:58:45.000Z</StartTime><EndTime>2026-07-01T12:00:00.000Z</EndTime>"
    for what, expected in (
        ("all", ["3", "2", "1"]),
        ("inbox", ["1"]),
        ("inbox and sent", ["2", "1"]),
        ("everything", ["4", "3", "2", "1"]),
    ):
        mine = seller(messages_without_folder=what)
        for number in range(4):
            mine.add("message", mine.world.now() - timedelta(seconds=30 * number), str(number + 1), folder=number % 3)
        assert mine.headers_of(span) == expected
        assert mine.headers_of(f"<FolderID>2</FolderID>{span}") == ["3"]


def test_headers_can_be_later_than_the_counts(seller: Start, clock: ManualClock) -> None:
    mine = seller(messages_headers_lag=60)
    mine.add("message", None, "1")
    assert (mine.headers_of(), counts(mine, "TotalMessageCount")[0]) == ([], "1")
    clock.advance(60)
    assert mine.headers_of() == ["1"]


def test_headers_come_oldest_first_without_a_total_and_the_range_takes_both_ends(
    seller: Start, clock: ManualClock
) -> None:
    mine, now = seller(), clock.now()
    for minute in (3, 1, 2):
        mine.add("message", now - timedelta(minutes=minute), str(minute), folder=minute - 1)
    assert mine.headers_of() == ["3", "2", "1"]
    between = "<StartTime>2026-07-01T11:57:00.000Z</StartTime><EndTime>2026-07-01T11:58:00.000Z</EndTime>"
    assert mine.headers_of(between) == ["3", "2"]
    assert mine.headers_of("<FolderID>1</FolderID>") == ["2"]
    assert not texts(mine.call("GetMyMessages", "<DetailLevel>ReturnHeaders</DetailLevel>"), "TotalNumberOfEntries")
    start_alone = "<DetailLevel>ReturnHeaders</DetailLevel><StartTime>2026-07-01T11:57:00Z</StartTime>"
    assert mine.code("GetMyMessages", start_alone) == "37"


def test_a_page_of_headers_is_never_longer_than_the_cap_and_says_nothing_of_it(seller: Start) -> None:
    mine = seller(things={"message": 23}, messages_page_cap=10)
    pages = [mine.headers_of(paged(number, 500)) for number in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [10, 10, 3, 0]
    assert len({key for page in pages for key in page}) == 23
    assert len(seller(things={"message": 30}).headers_of()) == 25


def test_a_page_behind_the_last_can_be_the_last_again(seller: Start) -> None:
    mine = seller(things={"message": 7}, messages_past_end="last")
    assert mine.headers_of(paged(9, 5)) == mine.headers_of(paged(2, 5))


def test_bodies_come_by_ten_ids_and_those_that_are_gone_are_missing(seller: Start) -> None:
    mine = seller(things={"message": 12})
    ids = mine.headers_of()

    def ask(some: list[str]) -> str:
        listed = "".join(f"<MessageID>{key}</MessageID>" for key in some)
        return f"<DetailLevel>ReturnMessages</DetailLevel><MessageIDs>{listed}</MessageIDs>"

    assert mine.code("GetMyMessages", ask(ids[:11])) == "37"
    assert mine.code("GetMyMessages", "<DetailLevel>ReturnMessages</DetailLevel>") == "37"
    mine.world.move_thing(mine.world.things(mine.me, "message")[ids[0]], "delete")
    root = mine.call("GetMyMessages", ask(ids[:10]))
    assert texts(root, "MessageID") == ids[1:10]
    assert all(texts(root, "Text"))
    assert len(texts(root, "Text")) == 9


def test_the_item_is_in_headers_only_and_the_text_in_bodies_only(seller: Start) -> None:
    mine = seller()
    mine.add("message", None, "1", item="200", text="a ]]> b\r\n\tc & <d>", type="AskSellerQuestion", item_title="x")
    header = mine.call("GetMyMessages", "<DetailLevel>ReturnHeaders</DetailLevel>")
    assert (texts(header, "ItemID"), texts(header, "Text")) == (["200"], [])
    ids = "<MessageIDs><MessageID>1</MessageID></MessageIDs>"
    whole = mine.call("GetMyMessages", f"<DetailLevel>ReturnMessages</DetailLevel>{ids}")
    assert (texts(whole, "ItemID"), texts(whole, "Text")) == ([], ["a ]]> b\r\n\tc & <d>"])


def test_messages_expire_a_year_after_they_were_sent(seller: Start, clock: ManualClock) -> None:
    mine = seller()
    mine.add("message", clock.now() - timedelta(days=364, hours=23), "1")
    assert mine.headers_of() == ["1"]
    clock.advance(3600)
    assert mine.headers_of() == []


@pytest.mark.parametrize(
    ("move", "name", "value"),
    [("read", "Read", "true"), ("flag", "Flagged", "true"), ("reply", "Replied", "true"), ("move", "FolderID", None)],
)
def test_a_message_changes_and_keeps_its_date(seller: Start, move: str, name: str, value: str | None) -> None:
    mine = seller()
    thing = mine.add("message", None, "1", high=False)
    before = mine.call("GetMyMessages", "<DetailLevel>ReturnHeaders</DetailLevel>")
    mine.world.move_thing(thing, move)
    after = mine.call("GetMyMessages", "<DetailLevel>ReturnHeaders</DetailLevel>")
    assert texts(after, name) != texts(before, name)
    assert value in (None, *texts(after, name))
    assert texts(after, "ReceiveDate") == texts(before, "ReceiveDate")


def test_texts_can_be_big(seller: Start) -> None:
    mine = seller(message_size=2_000_000)
    mine.add("message", None, "1")
    ids = "<MessageIDs><MessageID>1</MessageID></MessageIDs>"
    (text,) = texts(mine.call("GetMyMessages", f"<DetailLevel>ReturnMessages</DetailLevel>{ids}"), "Text")
    assert len(text) >= 2_000_000


# GetMyeBaySelling


def test_only_the_lists_that_were_asked_for_come_and_those_with_nothing_stay_away(seller: Start) -> None:
    def lists(inner: str) -> list[str]:
        found = mine.call("GetMyeBaySelling", inner)
        return [str(child.tag).removeprefix(NS) for child in found if str(child.tag).endswith("List")]

    mine = seller(things={"listing": 3})
    assert lists("") == lists("<ActiveList><Include>false</Include></ActiveList>") == []
    assert lists("<ActiveList/>") == lists("<UnsoldList><Include>true</Include></UnsoldList>") == []
    assert lists("<ActiveList><Sort>ItemID</Sort></ActiveList>") == ["ActiveList"]
    assert lists("<DetailLevel>ReturnAll</DetailLevel>") == ["ActiveList"]
    off = "<DetailLevel>ReturnAll</DetailLevel><ActiveList><Include>false</Include></ActiveList>"
    assert lists(off) == []
    assert lists("<ActiveList><Include>true</Include></ActiveList>") == ["ActiveList"]
    fresh = seller()
    assert fresh.active().find(f"{NS}ActiveList") is None


def test_a_page_beyond_the_end_is_error_340_and_a_page_has_at_most_200(seller: Start) -> None:
    mine = seller(things={"listing": 5})
    root = mine.active(paged(2, 4))
    assert (texts(root, "TotalNumberOfPages"), texts(root, "TotalNumberOfEntries")) == (["2"], ["5"])
    assert not texts(root, "HasMoreItems")
    assert mine.code("GetMyeBaySelling", f"<ActiveList>{paged(3, 4)}</ActiveList>") == "340"
    assert mine.code("GetMyeBaySelling", f"<ActiveList>{paged(1, 201)}</ActiveList>") == "37"


def test_beyond_25000_listings_the_numbers_stand_still_and_so_does_page_125(seller: Start) -> None:
    began = time.perf_counter()
    mine = seller(things={"listing": 100_000})
    mine.caller.http.timeout = 60
    assert time.perf_counter() - began < 20
    sort = "<Sort>ItemID</Sort>"
    last = mine.active(sort + paged(125))
    assert (texts(last, "TotalNumberOfPages"), texts(last, "TotalNumberOfEntries")) == (["125"], ["25000"])
    assert texts(mine.active(sort + paged(126)), "ItemID") == texts(last, "ItemID")
    began = time.perf_counter()
    mine.active(sort + paged(7))
    assert time.perf_counter() - began < 2
    window = "<EndTimeFrom>2026-07-01T12:00:00Z</EndTimeFrom><EndTimeTo>2026-08-02T12:00:00Z</EndTimeTo>"
    assert texts(mine.call("GetSellerList", window + paged(500)), "TotalNumberOfPages") == ["500"]


def test_some_values_change_at_every_call_and_the_listing_does_not(seller: Start, clock: ManualClock) -> None:
    mine = seller()
    mine.add("listing", None, "200000000001", watchers=7)
    roots = [mine.active()]
    clock.advance(1.5)
    roots.append(mine.active())
    for name in ("TimeLeft", "WatchCount", "ConvertedCurrentPrice"):
        assert texts(roots[0], name) != texts(roots[1], name)
    assert texts(roots[0], "CurrentPrice") == texts(roots[1], "CurrentPrice")
    mine.add("listing", None, "200000000001", watchers=0)
    assert texts(mine.active(), "WatchCount") == []


def test_variations_come_unless_hidden_and_their_sku_is_optional(seller: Start) -> None:
    mine = seller()
    rows = [
        {"sku": sku, "price": 1990, "quantity": 5, "sold": 1, "specifics": {"Größe & Schnitt": size}}
        for sku, size in ((None, "M"), ("A", "L"))
    ]
    mine.add("listing", None, "1", price=1990, variations=rows, sku=None)
    root = mine.active()
    assert (texts(root, "Quantity"), texts(root, "QuantityAvailable")) == (["10", "5", "5"], ["8"])
    assert (texts(root, "SKU"), texts(root, "Value")) == (["A"], ["M", "L"])
    assert mine.active(after="<HideVariations>true</HideVariations>").find(f".//{NS}Variations") is None


@pytest.mark.parametrize(
    ("move", "name"),
    [
        ("price", "CurrentPrice"),
        ("sell", "QuantitySold"),
        ("title", "Title"),
        ("stock", "Quantity"),
        ("drop_variation", "Value"),
        ("add_variation", "Value"),
        ("end", "ItemID"),
    ],
)
def test_a_listing_moves_and_one_that_ended_can_come_back(seller: Start, move: str, name: str) -> None:
    mine = seller()
    thing = mine.add("listing", None, "1", price=900, variations=None)
    if "variation" in move:
        rows = [{"price": 900, "quantity": 2, "sold": 0, "specifics": {"Colour": colour}} for colour in ("a", "b")]
        mine.world.put_thing(thing, {"price": 900, "variations": rows})
    before = texts(mine.active(), name)
    mine.world.move_thing(thing, move)
    assert texts(mine.active(), name) != before
    if move == "end":
        mine.world.move_thing(thing)
        assert texts(mine.active(), name) == before


def test_an_auction_has_bids_and_no_available_quantity_and_ends(seller: Start, clock: ManualClock) -> None:
    mine = seller()
    thing = mine.add("listing", None, "1", type="Chinese", price=100, bids=2)
    root = mine.active()
    assert (texts(root, "ListingType"), texts(root, "BidCount")) == (["Chinese"], ["2"])
    assert not texts(root, "QuantityAvailable")
    assert texts(root, "TimeLeft") == ["P10D"]
    clock.advance(10 * 86400)
    mine.caller.login()
    mine = Seller(mine.caller)
    assert texts(mine.active(), "ItemID") == []
    assert not listings.active(thing, clock.now())
    sold = mine.call("GetMyeBaySelling", "<SoldList><Include>true</Include></SoldList>")
    assert texts(sold, "OrderLineItemID") == ["1-0"]


def test_what_ended_is_unsold_and_what_was_sold_is_in_the_list_of_sales(seller: Start) -> None:
    mine = seller()
    gone, sold = (mine.add("listing", None, key, price=500, sold=0, variations=None) for key in ("1", "2"))
    mine.world.move_thing(gone, "end")
    mine.world.move_thing(sold, "sell")
    unsold = mine.call("GetMyeBaySelling", "<UnsoldList><DurationInDays>1</DurationInDays></UnsoldList>")
    assert texts(unsold, "ItemID") == ["1"]
    sales = mine.call("GetMyeBaySelling", "<SoldList><DurationInDays>60</DurationInDays></SoldList>")
    assert texts(sales, "ItemID") == ["2"]
    too_long = "<SoldList><DurationInDays>61</DurationInDays></SoldList>"
    assert mine.code("GetMyeBaySelling", too_long) == "37"


# GetSellerList

JULY = "<EndTimeFrom>2026-07-01T12:00:00Z</EndTimeFrom><EndTimeTo>2026-08-01T13:00:00Z</EndTimeTo>"


def test_a_list_needs_a_range_below_120_days_and_a_size_of_its_pages(seller: Start) -> None:
    mine = seller()
    assert mine.code("GetSellerList", EXPORT) == "37"
    assert mine.code("GetSellerList", JULY) == "37"
    assert mine.code("GetSellerList", "<EndTimeFrom>2026-07-01T12:00:00Z</EndTimeFrom>" + EXPORT) == "37"
    wide = "<StartTimeFrom>2026-03-01T00:00:00Z</StartTimeFrom><StartTimeTo>2026-06-29T00:00:00Z</StartTimeTo>"
    assert mine.code("GetSellerList", wide + EXPORT) == "37"
    root = mine.call("GetSellerList", wide.replace("-29T", "-28T") + EXPORT)
    assert root.find(f"{NS}ItemArray") is not None


def test_the_pages_of_a_list_say_whether_another_follows(seller: Start) -> None:
    mine = seller(things={"listing": 5})
    root = mine.call("GetSellerList", JULY + paged(1, 3))
    shown = [
        root.findtext(f"{NS}{name}")
        for name in ("HasMoreItems", "ItemsPerPage", "PageNumber", "ReturnedItemCountActual")
    ]
    assert shown == ["true", "3", "1", "3"]
    last = mine.call("GetSellerList", JULY + paged(2, 3))
    assert (texts(last, "HasMoreItems"), texts(last, "ReturnedItemCountActual")) == (["false"], ["2"])
    assert sorted(texts(root, "ItemID") + texts(last, "ItemID")) == sorted(mine.world.things(mine.me, "listing"))


def test_a_listing_till_cancelled_ends_every_month_and_a_long_range_finds_it_twice(
    seller: Start, clock: ManualClock
) -> None:
    mine = seller()
    mine.add("listing", clock.now() - timedelta(days=45), "1", price=500)
    assert texts(mine.call("GetSellerList", JULY + EXPORT), "EndTime") == ["2026-07-17T12:00:00.000Z"]
    long = JULY.replace("2026-07-01", "2026-06-01")
    assert texts(mine.call("GetSellerList", long + EXPORT), "ItemID") == ["1", "1"]
    clock.advance(17 * 86400)
    mine.caller.login()
    mine = Seller(mine.caller)
    later = JULY.replace("-07-01", "-07-18").replace("-08-01", "-08-18")
    assert texts(mine.call("GetSellerList", later + EXPORT), "EndTime") == ["2026-08-17T12:00:00.000Z"]


def test_granularity_decides_which_fields_come_and_wins_over_the_level_of_detail(seller: Start) -> None:
    mine = seller()
    mine.add("listing", None, "1", price=500, sku="A", watchers=3)
    rest = JULY + EXPORT
    coarse = mine.call("GetSellerList", rest)
    assert not texts(coarse, "CurrentPrice") + texts(coarse, "SKU") + texts(coarse, "WatchCount")
    fine = mine.call(
        "GetSellerList", f"<DetailLevel>ReturnAll</DetailLevel>{rest}<GranularityLevel>Fine</GranularityLevel>"
    )
    assert (texts(fine, "CurrentPrice"), texts(fine, "SKU")) == (["5.0"], [])
    full = mine.call(
        "GetSellerList", f"<DetailLevel>ReturnAll</DetailLevel>{rest}<IncludeWatchCount>1</IncludeWatchCount>"
    )
    assert (texts(full, "SKU"), texts(full, "WatchCount")) == (["A"], ["3"])


# GetMyeBayBuying


def won(mine: Seller, inner: str = "<Include>true</Include>") -> etree._Element:
    return mine.call("GetMyeBayBuying", f"<WonList>{inner}</WonList>")


@pytest.mark.parametrize(("shape", "orders", "alone"), [("transaction", 0, 2), ("order", 1, 0)])
def test_a_won_line_stands_alone_or_in_an_order(seller: Start, shape: str, orders: int, alone: int) -> None:
    mine = seller(won_shape=shape)
    for key, auction in (("1", True), ("2", False)):
        mine.add("purchase", None, key, state="won", auction=auction, shop="one", transaction="77")
    root = won(mine)
    assert len(list(root.iter(f"{NS}Order"))) == orders
    assert len(root.findall(f".//{NS}OrderTransaction/{NS}Transaction")) == alone
    assert texts(root, "OrderLineItemID") == ["1-0", "2-77"]
    assert texts(root, "TotalNumberOfEntries") == ["2"]
    assert mine.sim.journal[-1].rows == (("1", 1), ("2", 1))


def test_mixed_worlds_have_both_shapes(seller: Start) -> None:
    root = won(seller(things={"purchase": 80}, won_shape="mixed"))
    assert root.find(f".//{NS}OrderTransaction/{NS}Transaction") is not None
    assert root.find(f".//{NS}OrderTransaction/{NS}Order") is not None


def test_empty_lists_are_absent_or_closed_or_count_nought(seller: Start) -> None:
    root = seller().call("GetMyeBayBuying", "<DetailLevel>ReturnAll</DetailLevel>")
    lists = {str(child.tag).removeprefix(NS): len(child) for child in root if str(child.tag).endswith("List")}
    assert lists == {"WonList": 0, "LostList": 1}
    assert texts(root, "TotalNumberOfPages") == ["0"]


def test_days_reach_back_60_at_most_and_what_is_older_just_stops_appearing(seller: Start, clock: ManualClock) -> None:
    mine = seller()
    mine.add("purchase", clock.now() - timedelta(days=59), "1", state="won")
    longest = "<DurationInDays>60</DurationInDays>"
    assert texts(won(mine, longest), "ItemID") == ["1"]
    assert texts(won(mine), "ItemID") == []
    assert mine.code("GetMyeBayBuying", "<WonList><DurationInDays>61</DurationInDays></WonList>") == "37"
    clock.advance(86401)
    mine.caller.login()
    assert texts(won(Seller(mine.caller), longest), "ItemID") == []


@pytest.mark.parametrize(
    ("state", "move", "there"),
    [
        ("bid", "win", "WonList"),
        ("bid", "lose", "LostList"),
        ("offer", "win", "WonList"),
        ("offer", "lose", "LostList"),
        ("won", "remove", "DeletedFromWonList"),
        ("lost", "remove", "DeletedFromLostList"),
    ],
)
def test_a_purchase_moves_from_list_to_list(seller: Start, state: str, move: str, there: str) -> None:
    def lists() -> list[str]:
        root = mine.call("GetMyeBayBuying", "<DetailLevel>ReturnAll</DetailLevel>")
        return [str(child.tag).removeprefix(NS) for child in root if list(child.iter(f"{NS}ItemID"))]

    mine = seller()
    thing = mine.add("purchase", None, "1", state=state, auction=state == "bid")
    (before,) = lists()
    mine.world.move_thing(thing, move)
    assert lists() == [there] != [before]


def test_the_end_of_an_auction_decides_a_bid(seller: Start, clock: ManualClock) -> None:
    mine = seller()
    mine.add("purchase", None, "1", state="bid", auction=True, winning=True)
    mine.add("purchase", None, "2", state="bid", auction=True, winning=False)
    clock.advance(7 * 86400)
    mine.caller.login()
    mine = Seller(mine.caller)
    assert texts(won(mine), "ItemID") == ["1"]
    lost = mine.call("GetMyeBayBuying", "<LostList><Include>true</Include></LostList>")
    assert texts(lost, "ItemID") == ["2"]


@pytest.mark.parametrize(("move", "name"), [("pay", "PaidTime"), ("ship", "ShippedTime")])
def test_what_was_won_is_paid_and_shipped(seller: Start, clock: ManualClock, move: str, name: str) -> None:
    mine = seller()
    thing = mine.add("purchase", clock.now() - timedelta(days=2), "1", state="won")
    assert texts(won(mine), name) == []
    mine.world.move_thing(thing, move)
    assert texts(won(mine), name) == ["2026-07-01T12:00:00.000Z"]


# eBay's own files


class Wsdl:
    """The types of eBay's WSDL: elements in order, values of enumerations."""

    def __init__(self, path: Path) -> None:
        root = etree.parse(str(path), etree.XMLParser(huge_tree=True, remove_comments=True))
        self.types = {e.get("name"): e for e in root.iter(f"{XS}complexType") if e.get("name")}
        self.simple = {e.get("name"): e for e in root.iter(f"{XS}simpleType") if e.get("name")}

    def elements(self, name: str) -> dict[str, tuple[str, bool]]:
        found, element = dict[str, tuple[str, bool]](), self.types[name]
        for extension in element.iter(f"{XS}extension"):
            base = (extension.get("base") or "").partition(":")[2]
            found |= self.elements(base) if base in self.types else {}
        for child in element.iter(f"{XS}element"):
            kind = (child.get("type") or "").partition(":")[2]
            found[str(child.get("name"))] = (kind, child.get("maxOccurs") == "unbounded")
        return found


@pytest.fixture(scope="module")
def wsdl(shared: Path) -> Wsdl:
    return Wsdl(shared / "ebay/specs/eBaySvc-v1379.wsdl")


def test_the_types_of_requests_are_those_of_the_wsdl(wsdl: Wsdl) -> None:
    for name in trading_requests.TYPES:
        mine = {key: (kind, many) for key, (_, kind, many) in trading_requests.elements(name).items()}
        assert list(mine.items()) == list(wsdl.elements(name).items()), name
    for name, values in trading_requests.ENUMS.items():
        assert values == {e.get("value") for e in wsdl.simple[name].iter(f"{XS}enumeration")}, name


def check(wsdl: Wsdl, element: etree._Element, type_name: str, newest: dict[str, set[str]], where: str) -> None:
    """Every child is declared, in its order, also in the newest version, and repeats only where it may."""
    declared, last = wsdl.elements(type_name), -1
    for child in element:
        name = str(child.tag).removeprefix(NS)
        assert name in declared, f"{where}/{name}"
        assert name in newest.get(type_name, {name}), f"{where}/{name} is gone"
        place = list(declared).index(name)
        assert place > last or (place == last and declared[name][1]), f"{where}/{name}"
        last = place
        if len(child):
            check(wsdl, child, declared[name][0], newest, f"{where}/{name}")
        elif declared[name][0] in wsdl.types and declared[name][0] != "AmountType":
            assert not child.text, f"{where}/{name}"


REQUESTS = [
    ("GetMyMessages", "<DetailLevel>ReturnSummary</DetailLevel>"),
    ("GetMyMessages", f"<DetailLevel>ReturnHeaders</DetailLevel>{EXPORT}"),
    ("GetMyMessages", "<DetailLevel>ReturnMessages</DetailLevel>"),
    (
        "GetMyeBaySelling",
        "<DetailLevel>ReturnAll</DetailLevel><ActiveList><IncludeNotes>true</IncludeNotes></ActiveList>",
    ),
    ("GetSellerList", f"<DetailLevel>ReturnAll</DetailLevel>{JULY}{EXPORT}<IncludeVariations>true</IncludeVariations>"),
    ("GetSellerList", f"{JULY}{EXPORT}<GranularityLevel>Fine</GranularityLevel>"),
    ("GetMyeBayBuying", "<DetailLevel>ReturnAll</DetailLevel>"),
    ("GetUser", ""),
]


def answers(mine: Seller) -> Iterator[tuple[str, etree._Element]]:
    ids = "".join(f"<MessageID>{key}</MessageID>" for key in mine.headers_of()[:10])
    for name, inner in REQUESTS:
        asked = (
            inner.replace("</DetailLevel>", f"</DetailLevel><MessageIDs>{ids}</MessageIDs>")
            if "Messages<" in inner
            else inner
        )
        yield name, mine.call(name, asked)


def test_answers_hold_what_the_wsdl_declares_in_its_order(seller: Start, wsdl: Wsdl, shared: Path) -> None:
    newest: dict[str, set[str]] = {}
    for line in (shared / "ebay/specs/trading-v1487-fields.tsv").read_text().splitlines()[1:]:
        type_name, field, *_ = line.split("\t")
        newest.setdefault(type_name, set()).add(field)
    mine = seller(things={"message": 60, "listing": 60, "purchase": 60}, won_shape="mixed")
    for number, thing in enumerate(mine.world.things(mine.me, "listing").values()):
        mine.world.move_thing(thing, ("sell", "end", "stock")[number % 3])
    for name, root in answers(mine):
        head = [root.find(f"{NS}{part}") for part in ("Version", "Build")]
        for element in head:  # eBay writes both before the data, as the types do
            assert element is not None
        check(wsdl, root, f"{name}ResponseType", newest, name)
    assert mine.world.undeclared == []


def test_an_expired_token_looks_like_the_captured_one(seller: Start, shared: Path) -> None:
    sample = etree.parse(str(shared / "ebay/samples/trading-postorder/error-expired-iaf.xml"))
    mine = seller()
    mine.sim.expire_tokens()
    root = etree.fromstring(mine.post("GetUser").content)
    for name in ("ShortMessage", "LongMessage", "ErrorCode", "SeverityCode"):
        assert root.findtext(f".//{NS}{name}") == sample.findtext(f".//{NS}{name}")


def test_amounts_are_written_without_fixed_decimals(seller: Start) -> None:
    mine = seller()
    mine.add("listing", None, "1", price=1100)
    mine.add("listing", None, "2", price=1095)
    prices = list(mine.active().iter(f"{NS}CurrentPrice"))
    assert {(price.text, price.get("currencyID")) for price in prices} == {("11.0", "USD"), ("10.95", "USD")}
