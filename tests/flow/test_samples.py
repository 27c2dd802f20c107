"""eBay's own sample payloads, the whole way into the tables."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_httpx import HTTPXMock

from ebaysync.families import discover
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run

Query = Callable[..., list[Any]]


def samples(shared: Path) -> dict[str, dict[str, Any]]:
    """Every sample order by its id, as getOrder shows it."""
    folder = shared / "ebay" / "samples" / "rest"
    found = json.loads((folder / "orders_page_real.json").read_text())["orders"]
    found += [json.loads(path.read_text()) for path in sorted(folder.glob("order_*.json"))]
    return {order["orderId"]: order for order in found}


def refresh_grant(folder: Path) -> dict[str, Any]:
    """The sample's shape, with a token in place of its ellipsis."""
    grant: dict[str, Any] = json.loads((folder / "oauth_token_refresh_grant.json").read_text())
    return grant | {"access_token": "v^1.1#i^1#f^0#x"}


def as_listed(order: dict[str, Any]) -> dict[str, Any]:
    return order | {"cancelStatus": order["cancelStatus"] | {"cancelRequests": []}}


async def test_every_sample_order_is_in_the_tables_as_it_was_sent(
    shared: Path, bench: Callable[..., Any], query: Query, httpx_mock: HTTPXMock
) -> None:
    """Two runs, one in January 2025 when the real ones were captured, one in July 2026, by the Date of the answers."""
    b = bench(orders_per_seller=0, sellers=1).with_settings(initial_backfill_days=300, max_window_hours=24 * 900)
    orders = samples(shared)
    assert len(orders) == 8
    date = {"Date": "Sat, 11 Jan 2025 12:00:00 GMT"}

    def listed(request: httpx.Request) -> httpx.Response:
        start, end = re.findall(r"[\d-]+T[\d:.]+Z", request.url.params["filter"])
        if datetime.fromisoformat(end) > parsedate_to_datetime(date["Date"]):
            refusal = {"errors": [{"errorId": 30850, "message": "a bound in the future"}]}
            return httpx.Response(400, json=refusal, headers=date)
        found = [as_listed(o) for o in orders.values() if start <= o["lastModifiedDate"] <= end]
        page = {"total": len(found), "limit": 200, "offset": 0, "orders": found}
        return httpx.Response(200, json=page, headers=date)

    base = b.sim.url
    folder = shared / "ebay" / "samples" / "rest"
    owner = json.loads((folder / "identity_get_user_constructed.json").read_text())
    tokens = refresh_grant(folder)
    httpx_mock.add_response(url=f"{base}/identity/v1/oauth2/token", json=tokens, headers=date)
    httpx_mock.add_response(url=f"{base}/commerce/identity/v1/user/", json=owner, headers=date)
    httpx_mock.add_callback(listed, url=re.compile(rf"{base}/sell/fulfillment/v1/order\?.*"), is_reusable=True)
    for order in orders.values():
        if order["cancelStatus"]["cancelState"] != "NONE_REQUESTED":
            detail = f"{base}/sell/fulfillment/v1/order/{order['orderId']}"
            httpx_mock.add_response(url=detail, json=order, headers=date)

    account = await b.add()
    assert (account.ebay_user_id, account.username) == (owner["userId"], owner["username"])
    query("UPDATE ebay_tokens SET access_expires_at = '2099-01-01' RETURNING 1")
    first = await b.run(account)
    date["Date"] = "Wed, 22 Jul 2026 12:00:00 GMT"
    second = await b.run(account)
    assert (first.status, second.status, first.stored + second.stored) == ("completed", "completed", 8)
    assert dict(query("SELECT order_id, raw_payload FROM ebay_orders")) == orders
    for order_id, total, due in query("SELECT order_id, total, total_due_seller FROM ebay_orders"):
        assert total == Decimal(orders[order_id]["pricingSummary"]["total"]["value"])
        assert due == Decimal(orders[order_id]["paymentSummary"]["totalDueSeller"]["value"])
    lines = {line["lineItemId"]: line for order in orders.values() for line in order["lineItems"]}
    assert dict(query("SELECT line_item_id, raw_payload FROM order_line_items")) == lines


# ---- the other families: a sample is served, the family runs, and the rows are there


@dataclass
class Served:
    """What stands in eBay's place: `rest` answers a GET by its path, `trading` a call by its name."""

    base: str
    date: str
    rest: dict[str, Callable[[httpx.Request], httpx.Response]] = field(default_factory=dict)
    trading: Callable[[str, bytes], bytes] = lambda name, body: b""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self._answer(request)
        answer.headers["Date"] = self.date
        return answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/ws/api.dll":
            name = request.headers["X-EBAY-API-CALL-NAME"]
            return httpx.Response(200, content=self.trading(name, request.read()), headers={"Content-Type": "text/xml"})
        for path, answer in self.rest.items():
            if re.fullmatch(path, request.url.path):
                return answer(request)
        return httpx.Response(404)


@pytest.fixture
def served(
    shared: Path, bench: Callable[..., Any], query: Query, httpx_mock: HTTPXMock
) -> Callable[..., Awaitable[tuple[Any, Any, Served]]]:
    """A bench with one account, before the samples: `b, account, ebay = await served(date)`."""

    async def make(date: str = "Thu, 10 Sep 2026 12:00:00 GMT") -> tuple[Any, Any, Served]:
        b = bench(orders_per_seller=0, sellers=1)
        ebay = Served(b.sim.url, date)
        ebay.rest["/commerce/identity/v1/user/"] = just(shared, "identity_get_user_constructed.json")
        ebay.rest["/identity/v1/oauth2/token"] = lambda request: httpx.Response(200, json=refresh_grant(rest(shared)))
        httpx_mock.add_callback(ebay, is_reusable=True)
        account = await b.add()
        query("UPDATE ebay_tokens SET access_expires_at = '2099-01-01' RETURNING 1")
        return b, account, ebay

    return make


def rest(shared: Path) -> Path:
    return shared / "ebay" / "samples" / "rest"


def xml(shared: Path, name: str) -> bytes:
    return (shared / "ebay" / "samples" / "trading-postorder" / name).read_bytes()


def load(shared: Path, name: str) -> Any:
    return json.loads((rest(shared) / name).read_text())


def just(shared: Path, name: str, status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(status, json=load(shared, name))


@dataclass(frozen=True)
class Listing:
    """A list of the REST APIs that is asked for by time: where it is, where its records are, and in which tables
    they end, with the column of the id."""

    families: tuple[str, ...]
    path: str
    rows: str
    dated_by: str
    of: Callable[[Path], list[dict[str, Any]]]
    table: str
    names: Callable[[dict[str, Any]], tuple[str, ...]]
    columns: str
    empty_is_204: bool = False


def transactions(shared: Path) -> list[dict[str, Any]]:
    found = [each for name in TRANSACTION_PAGES for each in load(shared, name)["transactions"]]
    return found + [load(shared, path.name) for path in sorted(rest(shared).glob("transaction_*.json"))]


TRANSACTION_PAGES = ("transactions_page_real.json", "transactions_other_types_constructed.json")
LISTINGS = {
    "transactions": Listing(
        ("finances", "transactions", "refunds"),
        "/sell/finances/v1/transaction",
        "transactions",
        "transactionDate",
        transactions,
        "ebay_finances_transactions",
        lambda record: (record["transactionId"], record["transactionType"]),
        "transaction_id, transaction_type",
        empty_is_204=True,
    ),
    "disputes": Listing(
        ("disputes",),
        "/sell/fulfillment/v1/payment_dispute_summary",
        "paymentDisputeSummaries",
        "openDate",
        lambda shared: load(shared, "payment_dispute_summaries_constructed.json")["paymentDisputeSummaries"],
        "ebay_disputes",
        lambda record: (record["paymentDisputeId"],),
        "dispute_id",
    ),
}


def by_time(listing: Listing, records: list[dict[str, Any]]) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        start, end = sorted(re.findall(r"[\d-]+T[\d:.]+Z", " ".join(request.url.params.values())))
        found = [record for record in records if start <= record[listing.dated_by] <= end]
        page = {"total": len(found), "limit": 200, "offset": 0, listing.rows: found}
        return httpx.Response(200, json=page) if found or not listing.empty_is_204 else httpx.Response(204)

    return answer


async def go(b: Any, account: Any, *names: str) -> list[Any]:
    async with b.worker(account) as worker:
        return list(await run(worker, [discover()[name] for name in names], RunOptions("run")))


@pytest.mark.parametrize("name", LISTINGS)
async def test_every_sample_of_a_list_is_in_its_table_as_it_was_sent(
    shared: Path, served: Callable[..., Any], query: Query, name: str
) -> None:
    listing = LISTINGS[name]
    b, account, ebay = await served()
    records = listing.of(shared)
    ebay.rest[listing.path] = by_time(listing, records)
    details: dict[str, Any] = {}
    if name == "disputes":
        details = {each["paymentDisputeId"]: each for each in (load(shared, one) for one in DISPUTE_DETAILS)}
        unknown = {"errors": [{"errorId": 33001, "message": "Invalid Payment Dispute Id"}]}
        ebay.rest[r"/sell/fulfillment/v1/payment_dispute/\d+"] = lambda request: (
            httpx.Response(200, json=details[key])
            if (key := request.url.path.rpartition("/")[2]) in details
            else httpx.Response(404, json=unknown)
        )
    summaries = await go(b.with_settings(initial_backfill_days=1000), account, *listing.families)
    assert [s.status for s in summaries] == ["completed"] * len(listing.families)
    assert (summaries[0].fetched, summaries[0].quarantined) == (len(records), 0)
    rows = query(f"SELECT {listing.columns}, raw_payload FROM {listing.table}")
    found = {tuple(row[:-1]): row[-1] for row in rows}
    assert found.keys() == {listing.names(record) for record in records}
    assert len(found) == len(records) > 2
    for record in records:
        stored = found[listing.names(record)]
        assert stored == record | details.get(record.get("paymentDisputeId", ""), {})


DISPUTE_DETAILS = ("payment_dispute_constructed.json", "payment_dispute_closed_constructed.json")


async def test_the_sample_transactions_have_their_fees_refunds_and_currencies(
    shared: Path, served: Callable[..., Any], query: Query
) -> None:
    b, account, ebay = await served()
    records = transactions(shared)
    ebay.rest[LISTINGS["transactions"].path] = by_time(LISTINGS["transactions"], records)
    await go(b.with_settings(initial_backfill_days=1000), account, "finances", "transactions", "refunds")
    refunds = {record["transactionId"] for record in records if record["transactionType"] == "REFUND"}
    assert {row[0] for row in query("SELECT refund_id FROM ebay_refunds")} == refunds
    fees = sum(len(line.get("marketplaceFees") or ()) for r in records for line in r.get("orderLineItems") or ())
    fees += sum(1 for record in records if record.get("feeType"))
    assert query("SELECT count(*) FROM ebay_finances_fees") == [(fees,)]
    for key, amount, booking in query("SELECT transaction_id, amount, booking_entry FROM ebay_transactions"):
        assert (amount < 0) == (booking == "DEBIT" and amount != 0), key
    names = "amount, amount_currency, amount_converted_from, amount_converted_from_currency, total_fee_amount_currency"
    [row] = query(f"SELECT {names} FROM ebay_finances_transactions WHERE transaction_id = '10-00000-00001'")
    assert row == (Decimal("140.4"), "USD", Decimal("106.47"), "GBP", "GBP")
    [label] = query("SELECT order_id, amount FROM ebay_transactions WHERE transaction_id = '05-15000-27049'")
    assert label == ("26-14962-77224", Decimal("-3.65"))
    [gb] = query("SELECT sum(amount) FROM ebay_finances_fees WHERE transaction_id = '26-14962-77224'")
    assert gb == (Decimal("3.45"),)


async def test_the_sample_items_and_offers_are_in_their_tables(
    shared: Path, served: Callable[..., Any], query: Query
) -> None:
    """The sample page says that a fourth item is on a second one; that is here the item of the real offer. The others
    have no offer, which eBay says with a 404 of its own."""
    b, account, ebay = await served()
    page, real = load(shared, "inventory_items_page_constructed.json"), load(shared, "offer_published_real.json")
    pages = {"0": page, "1": {"total": 4, "size": 2, "limit": 3, "inventoryItems": [{"sku": real["sku"]}]}}
    offers = load(shared, "offers_page_constructed.json")
    known = {offers["offers"][0]["sku"]: offers, real["sku"]: {"total": 1, "offers": [real]}}
    none = just(shared, "error_404_25713_no_offer.json", 404)
    ebay.rest["/sell/inventory/v1/inventory_item"] = lambda request: httpx.Response(
        200, json=pages[request.url.params["offset"]]
    )
    ebay.rest["/sell/inventory/v1/offer"] = lambda request: (
        httpx.Response(200, json=known[sku]) if (sku := request.url.params["sku"]) in known else none(request)
    )
    summaries = await go(b, account, "inventory", "offers")
    assert [(s.status, s.fetched, s.stored, s.quarantined) for s in summaries] == [
        ("completed", 4, 4, 0),
        ("completed", 2, 2, 0),
    ]
    items = {item["sku"]: item for item in [*page["inventoryItems"], {"sku": real["sku"]}]}
    assert dict(query("SELECT sku, raw_payload FROM ebay_inventory_items")) == items
    stored = dict(query("SELECT offer_id, raw_payload FROM ebay_offers"))
    assert stored == {each["offerId"]: each for each in (offers["offers"][0], real)}
    rows = query("SELECT offer_id, price, price_currency, available_quantity FROM ebay_offers ORDER BY 1")
    assert rows == [("264930679011", Decimal("275.0"), "EUR", None), ("9000000001", Decimal("20.00"), "USD", 7)]


BODIES = ("GetMyMessages-bodies.xml", "GetMyMessages-bodies-full.synthetic.xml")
DAMAGED = "GetMyMessages-bodies-invalid-chars.synthetic.xml"


def asked(body: bytes, name: str) -> list[str]:
    return [each.decode() for each in re.findall(rb"<%b>([^<]*)</" % name.encode(), body)]


def mailbox(shared: Path, headers: bytes) -> Callable[[str, bytes], bytes]:
    """The headers in the inbox; the messages of which there are only bodies in the folder of the summary. All of one
    moment, so that a single window has them."""
    empty = xml(shared, "GetMyMessages-empty.synthetic.xml")
    messages = [re.findall(rb"<Message>.*?</Message>", xml(shared, name), re.DOTALL) for name in (*BODIES, DAMAGED)]
    bodies = {re.search(rb"<MessageID>(\d+)<", each)[1].decode(): each for some in messages for each in some}  # type: ignore[index]
    headers = re.sub(rb"<ReceiveDate>[^<]*", b"<ReceiveDate>2026-09-07T01:02:03.000Z", headers)
    stripped = [re.sub(rb"<(Text|Content)>.*?</\1>", b"", each, flags=re.DOTALL) for each in bodies.values()]
    folders: dict[str | None, bytes] = {
        "0": headers,
        "2": empty.replace(b"<Messages/>", b"<Messages>%b</Messages>" % b"".join(stripped)),
    }
    folders["2"] = re.sub(rb"<ReceiveDate>[^<]*", b"<ReceiveDate>2026-09-07T01:02:03.000Z", folders["2"])
    everything = b"".join(
        each for some in folders.values() for each in re.findall(rb"<Message>.*?</Message>", some, re.DOTALL)
    )
    folders[None] = empty.replace(b"<Messages/>", b"<Messages>%b</Messages>" % everything)

    def answer(name: str, body: bytes) -> bytes:
        [level] = asked(body, "DetailLevel")
        if level == "ReturnSummary":
            return xml(shared, "GetMyMessages-summary.synthetic.xml")
        if level == "ReturnHeaders":
            [start], [end] = (asked(body, each) for each in ("StartTime", "EndTime"))
            folder = next(iter(asked(body, "FolderID")), None)
            return folders.get(folder, empty) if start <= "2026-09-07T01:02:03.000Z" <= end else empty
        found = b"".join(bodies.get(each, b"") for each in asked(body, "MessageID"))
        return empty.replace(b"<Messages/>", b"<Messages>%b</Messages>" % found)

    return answer


async def test_the_sample_messages_are_in_their_table_with_what_their_bodies_hold(
    shared: Path, served: Callable[..., Any], query: Query
) -> None:
    b, account, ebay = await served()
    ebay.trading = mailbox(shared, xml(shared, "GetMyMessages-headers.xml"))
    [summary] = await go(b, account, "messages")
    assert (summary.status, summary.fetched, summary.stored, summary.quarantined) == ("completed", 5, 5, 0)
    assert summary.incomplete == 2  # of the two headers there is no sample of a body
    rows = {row[0]: row[1:] for row in query("SELECT message_id, subject, text, content, item_id FROM ebay_messages")}
    assert rows.keys() == {"208284128583", "999999999999", "213147487941", "200000000001", "1"}
    assert rows["208284128583"] == (
        "Seller offered a special discount 10% on RARE Carl Edwards Diecast",
        None,
        None,
        "277960002467",
    )
    assert rows["213147487941"][1] == "How big is the sorter?"
    assert rows["200000000001"][0] == "Details about item: café & <tea> set #200000000001"
    assert rows["200000000001"][1].startswith('<!DOCTYPE html><html><body><div id="PrimaryMessage">')
    assert "Is it still available?&nbsp;🙂<br>Thanks" in rows["200000000001"][1]
    assert rows["1"][1] == "raw ctrl:  charref:  surrogate:  nul-ref: "
    media = "SELECT jsonb_array_length(raw_payload -> 'MessageMedia') FROM ebay_messages WHERE content LIKE 'Is it%'"
    assert query(media) == [(2,)]


async def test_a_folder_that_is_answered_in_a_soap_envelope_is_left_out_by_name(
    shared: Path, served: Callable[..., Any], query: Query
) -> None:
    b, account, ebay = await served()
    ebay.trading = mailbox(shared, xml(shared, "GetMyMessages-headers-soap-2005-real.xml"))
    [summary] = await go(b, account, "messages")
    assert (summary.status, summary.caught_up, summary.failure) == ("completed", False, None)
    assert "GetMyMessages: the answer is a 'Envelope'" in summary.reason


async def test_the_sample_listings_are_in_their_tables(shared: Path, served: Callable[..., Any], query: Query) -> None:
    b, account, ebay = await served()
    ebay.trading = lambda name, body: xml(shared, "GetMyeBaySelling-ActiveList-official.xml")
    [summary] = await go(b, account, "active_inventory")
    assert (summary.status, summary.fetched, summary.stored, summary.quarantined) == ("completed", 3, 3, 0)
    rows = query("SELECT item_id, title, current_price, current_price_currency FROM ebay_active_inventory ORDER BY 1")
    assert rows == [
        ("1**********2", None, None, None),
        ("1**********3", "Test Auction Title", Decimal("11.0"), "MYR"),
        ("1**********9", "Test for ExternalProductIdentifier", Decimal("1.0"), "USD"),
    ]


async def test_of_a_sample_page_whose_list_goes_on_what_came_is_stored_and_nothing_is_believed_gone(
    shared: Path, served: Callable[..., Any], query: Query
) -> None:
    """It says 412 listings on 3 pages; here every page is the same."""
    b, account, ebay = await served()
    ebay.trading = lambda name, body: xml(shared, "GetMyeBaySelling-variations.xml")
    [summary] = await go(b, account, "active_inventory")
    assert (summary.status, summary.caught_up, summary.stored) == ("completed", False, 2)
    rows = query("SELECT item_id, sku, title, quantity_available FROM ebay_active_inventory ORDER BY 1")
    assert rows == [
        ("123456789012", "IPH13-128-BLK-A", "Apple iPhone 13 128 Go Noir reconditionné", 7),
        ("223456789013", None, None, 12),
    ]
    names = "variation_key, sku, start_price, start_price_currency, quantity_available"
    assert query(f"SELECT {names} FROM ebay_active_inventory_variations ORDER BY 1") == [
        ("COQUE-RED", "COQUE-RED", Decimal("19.9"), "EUR", 4),
        ("Couleur=Bleu;Taille=M", None, Decimal("21.9"), "EUR", 4),
    ]


PURCHASES = {
    "GetMyeBayBuying-WonList.xml": [("111222333", "987654", "WonList", None, Decimal("113.75"))],
    "GetMyeBayBuying-WonList-order.synthetic.xml": [
        ("200000000001", "0", "WonList", "01-00000-00001", None),
        ("200000000002", "10000000000002", "WonList", "01-00000-00001", None),
    ],
    "GetMyeBayBuying-LostList.xml": [
        ("sandbox-lost-001", "0", "LostList", None, None),
        ("sandbox-lost-002", "0", "LostList", None, None),
    ],
    "GetMyeBayBuying-empty.synthetic.xml": [],
}


@pytest.mark.parametrize("name", PURCHASES)
async def test_the_sample_purchases_are_in_their_table(
    shared: Path, served: Callable[..., Any], query: Query, name: str
) -> None:
    """The lost list says that it has three pages; the ones behind the first are empty here."""
    b, account, ebay = await served()
    empty = xml(shared, "GetMyeBayBuying-empty.synthetic.xml")
    ebay.trading = lambda _, body: xml(shared, name) if set(asked(body, "PageNumber")) == {"1"} else empty
    [summary] = await go(b, account, "buyer")
    expected = PURCHASES[name]
    assert (summary.status, summary.stored, summary.quarantined) == ("completed", len(expected), 0)
    rows = query("SELECT item_id, transaction_id, list, order_id, total_price FROM ebay_buyer ORDER BY 1")
    assert rows == expected


# ---- errors


ERRORS = {
    "error_400_30700.json": (400, "rejected"),
    "error_401_1001.json": (401, "unauthorized"),
    "error_403_1100.json": (403, "missing_scope"),
    "error_403_215001.json": (403, "signing_key"),
}
PATHS = {
    "orders": "/sell/fulfillment/v1/order",
    "finances": LISTINGS["transactions"].path,
    "disputes": LISTINGS["disputes"].path,
    "inventory": "/sell/inventory/v1/inventory_item",
}
TRADING_ERRORS = {
    "error-internal-10007.synthetic.xml": ("busy", 13, "10007"),
    "error-expired-iaf.xml": ("needs_consent", 12, "21917053"),
    "error-multiple.synthetic.xml": ("rejected", 13, "Failure 11"),
}
CALLS = {"messages": "GetMyMessages", "active_inventory": "GetMyeBaySelling", "buyer": "GetMyeBayBuying"}


@pytest.mark.parametrize("family", PATHS)
@pytest.mark.parametrize("name", sorted(ERRORS))
async def test_every_sample_error_ends_in_its_own_error(
    shared: Path, served: Callable[..., Any], query: Query, name: str, family: str
) -> None:
    b, account, ebay = await served()
    status, code = ERRORS[name]
    ebay.rest[PATHS[family]] = just(shared, name, status)
    [summary] = await go(b, account, family)
    assert (summary.status, summary.failure.code) == ("error", code)
    assert summary.failure.exit_code == (12 if code == "missing_scope" else 13)
    assert str(load(shared, name)["errors"][0]["errorId"]) in summary.failure.message
    assert query("SELECT cursor_value, last_error FROM ebay_sync_state") == [(None, summary.failure.message)]


@pytest.mark.parametrize("family", CALLS)
@pytest.mark.parametrize("name", sorted(TRADING_ERRORS))
async def test_every_sample_error_of_the_trading_api_ends_in_its_own_error(
    shared: Path, served: Callable[..., Any], query: Query, name: str, family: str
) -> None:
    b, account, ebay = await served()
    answer = re.sub(rb"\w+Response\b", CALLS[family].encode() + b"Response", xml(shared, name))
    ebay.trading = lambda called, body: answer
    [summary] = await go(b, account, family)
    code, exit_code, said = TRADING_ERRORS[name]
    assert (summary.status, summary.failure.code, summary.failure.exit_code) == ("error", code, exit_code)
    assert said in summary.failure.message
    assert query("SELECT cursor_value, last_error FROM ebay_sync_state") == [(None, summary.failure.message)]


@pytest.mark.parametrize("family", CALLS)
async def test_the_sample_warning_is_an_answer_without_records(
    shared: Path, served: Callable[..., Any], family: str
) -> None:
    b, account, ebay = await served()
    answer = xml(shared, "warning.synthetic.xml").replace(b"GetMyMessages", CALLS[family].encode())
    answer = answer.replace(b"<Messages/>", b"<Summary/><Messages/><ActiveList/><WonList/>")
    # An active list that is empty and has no count is believed only if the seller's list counts no listing.
    none = b"<PaginationResult><TotalNumberOfEntries>0</TotalNumberOfEntries></PaginationResult><ItemArray/>"
    counted = answer.replace(b"GetMyeBaySelling", b"GetSellerList").replace(b"<ActiveList/>", none)
    ebay.trading = lambda called, body: counted if called == "GetSellerList" else answer
    [summary] = await go(b, account, family)
    assert (summary.status, summary.fetched, summary.caught_up) == ("completed", 0, True)


def test_no_sample_of_a_family_is_forgotten(shared: Path) -> None:
    """What another test or a later family is for is named here by the beginning of its name."""
    in_own_table = ("order", "payout", "oauth_", "rate_limits", "signing_key", "marketplace_account", "identity_")
    used = {path.name for path in rest(shared).glob("transaction_*.json")} | {*TRANSACTION_PAGES, *DISPUTE_DETAILS}
    used |= {"payment_dispute_summaries_constructed.json", "inventory_items_page_constructed.json"}
    used |= {"offer_published_real.json", "offers_page_constructed.json", "error_404_25713_no_offer.json", *ERRORS}
    used |= {"error_429_2001.json"}  # tests/flow/test_quota
    there = {path.name for path in rest(shared).glob("*.json") if not path.name.startswith(in_own_table)}
    assert there == used
    used = {*TRADING_ERRORS, *PURCHASES, *BODIES, DAMAGED, "warning.synthetic.xml", "GetMyMessages-headers.xml"}
    used |= {"error-call-limit-518.synthetic.xml"}  # tests/flow/test_quota
    used |= {f"GetMyMessages-{name}.xml" for name in ("summary.synthetic", "empty.synthetic", "headers-soap-2005-real")}
    used |= {"GetMyeBaySelling-ActiveList-official.xml", "GetMyeBaySelling-variations.xml"}
    there = {path.name for path in (shared / "ebay/samples/trading-postorder").glob("*.xml")}
    assert there - used == {"GetMyeBaySelling-SoldList.xml"}  # no family reads that list
