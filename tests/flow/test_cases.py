"""Inputs from public bug reports, and variants of them, played against the real program.

A case's file has `steps`: the answers (the first that fits; behind them an eBay without data), the families to run in
that order, and the exit codes and the result of a query wanted after it. `{{-60m}}` is that long ago. `window`: the
records of the asked span, counted together with those that are `counted_not_sent`. `first_token_only`: given to the
first access token alone. `later`: so long after the step before. `not_exit`: codes that must not come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from .case_server import NAMESPACE, Reply, Request, as_json, declared, filled, span_of, stamp, trading
from .clocks import Clocks
from .player import Player, exit_code

Query = Callable[..., list[Any]]
OWN = Path(__file__).parent / "cases"
SHARED = Path(__file__).parents[3] / "shared" / "cases" / "rest"
A_HANDFUL = 30
"""calls by which a filter without effect must be found out, folders and retries included"""
A_FEW = 12
"""calls that a limit may refuse in one run: those that were under way when it was hit, and a second look"""


# ---- cases in files


def files(folder: Path) -> list[Any]:
    """A folder's cases; without any, one that skips."""
    found = [pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted(folder.glob("*.json"))]
    return found or [pytest.param({}, id="none", marks=pytest.mark.skip(reason=f"no cases in {folder}"))]


@pytest.mark.parametrize("case", files(OWN))
async def test_a_case_ends_as_wanted(case: dict[str, Any], player_of: Callable[..., Player]) -> None:
    await play(case, player_of)


@pytest.mark.parametrize("case", files(SHARED))
async def test_a_reported_case_ends_as_wanted(case: dict[str, Any], player_of: Callable[..., Player]) -> None:
    await play(case, player_of)


async def play(case: dict[str, Any], player_of: Callable[..., Player]) -> None:
    player = player_of(**case.get("env", {}))
    for number, step in enumerate(case["steps"]):
        if later := re.fullmatch(r"(\d+)h", step.get("later", "")):
            player.later(hours=int(later[1]))
        now = player.clocks.ebay.now()
        player.ebay.answers = [declared(each, now) for each in json.loads(filled(json.dumps(step["answers"]), now))]
        if "run_all" in step:
            codes = [3 if any(exit_code(each) for each in await player.run(*step["run_all"])) else 0]
        else:
            codes = [exit_code(await player.one(family)) for family in step["run"]]
        where = f"step {number + 1}"
        assert codes == step.get("exit", codes), where
        assert not set(codes) & {1, *step.get("not_exit", ())}, f"{where}: {codes}"
        if "sql" in step:
            assert player.value(step["sql"]) == step["want"], where


# ---- Trading and Post-Order: bodies on eBay's paths


@pytest.fixture
def body(shared: Path, clocks: Clocks) -> Callable[[str], bytes]:
    """`body("m2-folder-refused.xml")`: a file of ../shared/cases, with its times."""

    def read(name: str) -> bytes:
        text = (shared / "cases" / "trading-postorder" / name).read_bytes().decode("utf-8", "surrogateescape")
        return filled(text, clocks.ebay.now()).encode("utf-8", "surrogateescape")

    return read


def xml(text: bytes | str) -> Reply:
    return Reply(200, text if isinstance(text, bytes) else text.encode(), "text/xml")


def detail_of(path: str, request: Request) -> str | None:
    """The id in a call by id."""
    found = re.fullmatch(f"/post-order/v2/{path}/([^/]+)", request.path)
    return found[1] if found and found[1] != "search" else None


class PostOrder:
    """A list of records of one day, all of them in every window that holds the day, and their details."""

    def __init__(self, player: Player, path: str, count: int) -> None:
        self.player, self.path = player, path
        self.at = player.clocks.ebay.now() - timedelta(hours=5)
        self.ids = [str(5000 + number) for number in range(count)]
        self.details: list[str] = []
        self.refuse: Callable[[str], Reply | None] = lambda number: None
        player.ebay.answers.append(self.answer)

    def answer(self, request: Request) -> Reply | None:
        if request.path == f"/post-order/v2/{self.path}/search":
            return self._search(request)
        number = detail_of(self.path, request)
        if number is None:
            return None
        if (refused := self.refuse(number)) is not None:
            return refused
        self.details.append(number)
        return as_json(self._detail(number))

    def _search(self, request: Request) -> Reply:
        times = sorted(value for name, value in request.query.items() if "date" in name)
        ids = self.ids if len(times) < 2 or times[0] <= stamp(self.at) <= times[1] else []
        limit, offset = int(request.query["limit"]), int(request.query["offset"])
        pages = {"limit": limit, "offset": offset, "totalEntries": len(ids), "totalPages": 1}
        rows = [self._row(number) for number in ids[offset : offset + limit]]
        total = {"return": "total", "inquiry": "totalNumberOfInquiries", "casemanagement": "totalNumberOfCases"}
        return as_json({"members": rows, "paginationOutput": pages, total[self.path]: len(ids)})

    def _row(self, number: str) -> dict[str, Any]:
        at = {"value": stamp(self.at)}
        if self.path == "return":
            info = {"item": {"itemId": "110", "transactionId": "220", "returnQuantity": 1}, "creationDate": at}
            return {"returnId": number, "state": "CLOSED", "status": "CLOSED", "creationInfo": info}
        names = {"inquiry": ("inquiryId", "inquiryStatusEnum"), "casemanagement": ("caseId", "caseStatusEnum")}
        key, status = names[self.path]
        return {key: number, status: "CLOSED", "creationDate": at, "itemId": "110", "transactionId": "220"}

    def _detail(self, number: str) -> dict[str, Any]:
        if self.path == "return":
            return {"summary": self._row(number), "detail": {"buyerLoginName": f"buyer {number}"}}
        key, status = ("inquiryId", "status") if self.path == "inquiry" else ("caseId", "status")
        return {key: number, status: "CLOSED", "itemId": "110", "transactionId": "220", "initiator": "BUYER"}


FAMILIES = {"return": "returns", "inquiry": "inquiries", "casemanagement": "cases"}
LIMITED = as_json(
    {"errors": [{"errorId": 2001, "domain": "ACCESS", "category": "REQUEST", "message": "Too many"}]}, 429
)


def with_detail(player: Player, family: str) -> int:
    [(found,)] = player.query(f"SELECT count(*) FROM ebay_{family} WHERE jsonb_exists(raw_payload, 'detail')")
    return int(found)


@pytest.mark.parametrize("path", FAMILIES)
async def test_a_limit_among_the_details_costs_no_row_and_is_hit_once(path: str, player: Player, request: Any) -> None:
    """120 records in a window; after 50 details of a run eBay answers 429."""
    refusal = LIMITED
    if path == "return" and SHARED.is_dir():
        refusal = Reply(429, request.getfixturevalue("body")("r2-detail-429.json"))
    family, refused = FAMILIES[path], 0
    ebay = PostOrder(player, path, 120)

    def refuse(number: str) -> Reply | None:
        nonlocal refused
        refused += len(ebay.details) >= 50
        return refusal if len(ebay.details) >= 50 else None

    ebay.refuse = refuse
    await player.one(family)
    assert player.value(f"SELECT count(*) FROM ebay_{family}") == "120"
    assert with_detail(player, family) == 50
    assert refused <= A_FEW
    for _ in range(4):
        ebay.details, refused = [], 0
        player.later(hours=25)
        await player.one(family)
        assert refused <= A_FEW
    assert with_detail(player, family) == 120


@pytest.mark.parametrize("path", FAMILIES)
@pytest.mark.parametrize("odd", ["control", "truncated", "other", "404", "403", "401", "429", "500"])
async def test_one_detail_costs_one_detail(path: str, odd: str, player: Player, request: Any) -> None:
    """Three records are listed, two have their detail; the third is asked for ever more seldom, and heals."""
    family = FAMILIES[path]
    ebay = PostOrder(player, path, 3)
    asked: list[str] = []
    control = b'{"detail": {"buyerLoginName": "b\x02c", "itemDetail": {"itemId": "11"}}}'
    if path == "return" and odd == "control" and SHARED.is_dir():
        control = request.getfixturevalue("body")("r7-detail-raw-control-character.json")
    bodies = {
        "control": Reply(200, control),
        "truncated": Reply(200, b'{"detail": {"buyerLoginN'),
        "other": as_json({"user": {"userId": "u"}}),
    }
    error = {"errors": [{"errorId": 9, "domain": "x", "message": "x"}]}
    answer = bodies.get(odd) or as_json(error, int(odd))

    def refuse(number: str) -> Reply | None:
        if number != "5001":
            return None
        asked.append(number)
        return answer

    ebay.refuse = refuse
    for _ in range(6):
        assert exit_code(await player.one(family)) == 0
        player.later(minutes=30)
    assert player.value("SELECT attempts > 1 FROM ebay_pending_detail WHERE next_at IS NOT NULL") == "True"
    assert player.value(f"SELECT count(*) FROM ebay_{family}") == "3"
    assert with_detail(player, family) == 2
    assert sorted(set(ebay.details)) == ["5000", "5002"]
    assert len(asked) < 6 * 6, "six runs ask less often than once with all retries each"
    if odd == "control":
        kept = b"".join(bytes(row[0]) for row in player.query("SELECT payload FROM ebay_quarantine"))
        assert re.search(rb"[\x00-\x08\x0b]", kept)
    ebay.refuse = lambda number: None
    player.later(hours=49)
    summary = await player.one(family)
    assert exit_code(summary) == 0
    assert with_detail(player, family) == 3


class Offers:
    """So many items with an offer each."""

    def __init__(self, player: Player, count: int) -> None:
        self.skus = [f"s{number:03}" for number in range(count)]
        self.asked: list[str] = []
        self.refuse: Callable[[str], Reply | None] = lambda sku: None
        player.ebay.answers.append(self.answer)

    def answer(self, request: Request) -> Reply | None:
        if request.path == "/sell/inventory/v1/inventory_item":
            offset, limit = int(request.query["offset"]), int(request.query["limit"])
            rows = [{"sku": sku, "product": {"title": "t"}} for sku in self.skus[offset : offset + limit]]
            more = {"next": f"/x?offset={offset + limit}"} if offset + limit < len(self.skus) else {}
            return as_json({"total": len(self.skus), "size": len(rows), "limit": limit, "inventoryItems": rows, **more})
        if request.path != "/sell/inventory/v1/offer":
            return None
        sku = request.query["sku"]
        if (refused := self.refuse(sku)) is not None:
            return refused
        self.asked.append(sku)
        row = {"offerId": f"f{sku}", "sku": sku, "status": "PUBLISHED", "marketplaceId": "EBAY_US"}
        return as_json({"total": 1, "size": 1, "limit": 100, "offers": [row]})


@pytest.mark.parametrize(
    "refusal", [LIMITED, as_json({"errors": [{"errorId": 2001, "message": "Too many"}]}, 200)], ids=["429", "200"]
)
async def test_one_sku_with_a_limit_costs_only_its_own_offers(refusal: Reply, player: Player) -> None:
    offers = Offers(player, 250)
    offers.refuse = lambda sku: refusal if sku == "s005" else None
    for _ in range(2):
        [_, summary] = await player.run("inventory", "offers")
        assert (summary.status, summary.caught_up, exit_code(summary)) == ("completed", False, 0)
        assert summary.reason is not None
        assert "details are missing" in summary.reason
        assert player.query("SELECT retry_at FROM ebay_sync_state WHERE api_family = 'offers'") == [(None,)]
        player.later(hours=1)
    assert player.value("SELECT count(*), count(removed_at) FROM ebay_offers") == "249|0"
    assert player.query("SELECT entity_key FROM ebay_pending_detail WHERE attempts > 0") == [("s005",)]
    offers.refuse = lambda sku: None
    player.later(hours=25)
    [_, summary] = await player.run("inventory", "offers")
    assert (summary.caught_up, player.value("SELECT count(*) FROM ebay_offers")) == (True, "250")


async def test_a_limit_after_some_skus_lets_all_have_their_turn(player: Player) -> None:
    offers = Offers(player, 60)
    offers.refuse = lambda sku: LIMITED if len(offers.asked) >= 25 else None
    for _ in range(3):
        offers.asked.clear()
        await player.run("inventory", "offers")
        player.later(hours=1)
    # All except those at which the limit was met: they wait for their next try.
    assert int(player.value("SELECT count(*) FROM ebay_offers")) >= 57


def header(number: int, at: str, folder: int = 0, inner: str = "") -> str:
    return (
        f"<Message><Sender>b</Sender><Subject>s</Subject><MessageID>{number}</MessageID>{inner}"
        f"<ReceiveDate>{at}</ReceiveDate><Folder><FolderID>{folder}</FolderID></Folder></Message>"
    )


ALL = -1


class Mailbox:
    """Two messages in each folder, of three days ago; `odd` answers the headers of some calls. A call without FolderID
    gets those of the Inbox alone."""

    def __init__(self, player: Player, *folders: int) -> None:
        self.at = stamp(player.clocks.ebay.now() - timedelta(days=3))
        self.folders = folders
        self.odd: Callable[[Request, int], Reply | None] = lambda request, folder: None
        self.summary = "".join(f"<FolderSummary><FolderID>{n}</FolderID></FolderSummary>" for n in folders if n > 1)
        self.headers: list[int] = []
        self.first = 0
        player.ebay.answers.append(self.answer)

    def answer(self, request: Request) -> Reply | None:
        if request.call != "GetMyMessages":
            return None
        if "ReturnSummary" in request.body:
            return trading("GetMyMessages", f"<Summary>{self.summary}</Summary>")
        ids = re.findall("<MessageID>(.*?)</MessageID>", request.body)
        if ids:
            texts = [header(int(number), self.at, int(number) // 100, "<Text>t</Text>") for number in ids]
            return trading("GetMyMessages", f"<Messages>{''.join(texts)}</Messages>")
        named = re.search("<FolderID>(.*?)</FolderID>", request.body)
        folder = int(named[1]) if named else 0
        self.headers.append(folder if named else ALL)
        if (found := self.odd(request, folder)) is not None:
            return found
        start, end = re.findall("<(?:Start|End)Time>(.*?)</", request.body)
        here = folder in self.folders and start <= self.at <= end
        numbers = range(self.first, self.first + 2) if here else ()
        texts = [header(folder * 100 + n, self.at, folder) for n in numbers]
        return trading("GetMyMessages", f"<Messages>{''.join(texts)}</Messages>")


async def all_are_read_when_ebay_answers_again(player: Player, mailbox: Mailbox, messages: int) -> None:
    mailbox.odd = lambda request, asked: None
    player.later(hours=25)
    assert (await player.one("messages")).caught_up
    assert player.value("SELECT count(*) FROM ebay_messages") == str(messages)


def refusal_of(call: str, code: int) -> Reply:
    error = (
        f"<Errors><LongMessage>x</LongMessage><ErrorCode>{code}</ErrorCode><SeverityCode>Error</SeverityCode></Errors>"
    )
    return trading(call, error, ack="Failure")


@pytest.mark.parametrize("code", [20128, 20170, 17])
@pytest.mark.parametrize("folder", [0, 1, 7])
async def test_a_folder_that_is_refused_does_not_stop_the_mailbox(folder: int, code: int, player: Player) -> None:
    mailbox = Mailbox(player, 0, 1, 7)
    mailbox.odd = lambda request, asked: refusal_of("GetMyMessages", code) if asked == folder else None
    await player.one("messages")
    others = [each for each in (0, 1, 7) if each != folder]
    stored = player.query("SELECT folder_id, count(*) FROM ebay_messages GROUP BY 1 ORDER BY 1")
    assert stored == [(str(each), 2) for each in others]
    mailbox.odd = lambda request, asked: None
    player.later(hours=25)
    assert exit_code(await player.one("messages")) == 0
    assert player.value("SELECT count(*) FROM ebay_messages") == "6"


INCOMPLETE = "SELECT incomplete_since IS NOT NULL, retry_at, failures FROM ebay_sync_state"
UNANSWERED = {
    "a system error": refusal_of("GetMyMessages", 10007),
    "a success without its list": trading("GetMyMessages"),
    "500": Reply(500),
    "a page of maintenance": Reply(200, b"<html/>", "text/html"),
}


@pytest.mark.parametrize("odd", UNANSWERED)
async def test_a_folder_that_is_not_answered_is_read_apart_and_the_mailbox_keeps_its_cadence(
    odd: str, player: Player
) -> None:
    mailbox = Mailbox(player, 0, 1, 7)
    mailbox.odd = lambda request, asked: UNANSWERED[odd] if asked == 1 else None
    summary = await player.one("messages")
    assert (exit_code(summary), summary.status, summary.caught_up) == (0, "completed", False)
    assert summary.cursor is not None
    assert "folder 1" in (summary.reason or "")
    assert player.query("SELECT folder_id, count(*) FROM ebay_messages GROUP BY 1 ORDER BY 1") == [("0", 2), ("7", 2)]
    assert len(mailbox.headers) <= 10
    for _ in range(10):
        player.later(minutes=10)
        summary = await player.one("messages")
        assert (summary.status, summary.caught_up, summary.cursor) == ("completed", False, summary.window_to)
        assert "folder 1" in (summary.reason or "")
    assert player.query(INCOMPLETE) == [(True, None, 0)]
    assert 1 <= len([folder for folder in mailbox.headers if folder == 1]) <= 5 * 6, "ever more seldom"
    await all_are_read_when_ebay_answers_again(player, mailbox, 6)
    mailbox.headers.clear()
    player.later(minutes=10)
    assert (await player.one("messages")).caught_up
    assert mailbox.headers.count(1) == mailbox.headers.count(0), "it is read with the others again"
    assert player.query(INCOMPLETE) == [(False, None, 0)]


@pytest.mark.parametrize("code", [931, 16110, 21916984])
async def test_a_token_that_is_refused_for_one_folder_alone_is_not_dead(code: int, player: Player) -> None:
    mailbox = Mailbox(player, 0, 1, 7)
    mailbox.odd = lambda request, asked: refusal_of("GetMyMessages", code) if asked == 7 else None
    for _ in range(3):
        summary = await player.one("messages")
        assert (exit_code(summary), summary.status, summary.caught_up) == (0, "completed", False)
        assert "folder 7" in (summary.reason or "")
        assert exit_code(await player.one("orders")) == 0
        player.later(hours=1)
    assert player.query("SELECT needs_consent FROM ebay_accounts") == [(False,)]
    assert player.query("SELECT folder_id, count(*) FROM ebay_messages GROUP BY 1 ORDER BY 1") == [("0", 2), ("1", 2)]
    await all_are_read_when_ebay_answers_again(player, mailbox, 6)


async def test_messages_that_come_into_a_folder_that_is_read_apart_are_all_found(player: Player) -> None:
    mailbox = Mailbox(player, 0, 1, 7)
    await player.one("messages")
    player.later(hours=3)
    mailbox.at = stamp(player.clocks.ebay.now() + timedelta(minutes=5))
    mailbox.first = 10  # other messages
    mailbox.odd = lambda request, asked: Reply(500) if asked == 1 else None
    for _ in range(4):
        player.later(minutes=10)
        await player.one("messages")
    assert player.value("SELECT count(*) FROM ebay_messages") == "10"
    await all_are_read_when_ebay_answers_again(player, mailbox, 12)


async def test_one_more_folder_that_is_not_answered_is_read_apart_too(player: Player) -> None:
    """Two in one run: eBay is the cause. If all were read apart, nothing would show whether eBay answers."""
    mailbox = Mailbox(player, 0, 1, 7)
    dead = {1}
    mailbox.odd = lambda request, asked: Reply(500) if asked in dead else None
    assert exit_code(await player.one("messages")) == 0
    for folder in (7, 0):
        dead.add(folder)
        player.later(minutes=10)
        assert exit_code(await player.one("messages")) == (0 if folder else 13)
    player.later(hours=7)
    dead.clear()
    assert exit_code(await player.one("messages")) == 0
    player.later(hours=25)
    assert (await player.one("messages")).caught_up
    assert player.value("SELECT count(*) FROM ebay_messages") == "6"


async def test_the_folder_of_the_report_is_refused(player: Player, body: Callable[[str], bytes]) -> None:
    mailbox = Mailbox(player, 0, 1, 7)
    mailbox.odd = lambda request, asked: xml(body("m2-folder-refused.xml")) if asked == 7 else None
    await player.one("messages")
    assert player.value("SELECT count(*) FROM ebay_messages") == "4"
    mailbox.headers.clear()
    player.later(hours=25)
    await player.one("messages")
    assert 7 in mailbox.headers, "it is asked again"


async def test_a_folder_without_an_id_does_not_stop_the_mailbox(player: Player) -> None:
    mailbox = Mailbox(player, 0, 1, 7)
    mailbox.summary += "<FolderSummary><FolderName>odd</FolderName></FolderSummary>"
    assert exit_code(await player.one("messages")) == 0
    assert player.value("SELECT count(*) FROM ebay_messages") == "6"


@pytest.mark.parametrize("rows", [25, 200])
async def test_a_filter_of_messages_that_does_nothing_is_found_out(rows: int, player: Player, request: Any) -> None:
    mailbox = Mailbox(player, 0, 1)
    texts = "".join(header(1000 + number, mailbox.at) for number in range(rows))
    answer = trading("GetMyMessages", f"<Messages>{texts}</Messages>")
    if rows == 25 and SHARED.is_dir():
        answer = xml(request.getfixturevalue("body")("m8-25-headers-whatever-is-asked.xml"))
    mailbox.odd = lambda request, folder: answer
    summary = await player.one("messages")
    assert summary.failure is not None
    assert summary.failure.exit_code == 13
    assert len(player.ebay.of("GetMyMessages")) <= A_HANDFUL
    assert player.query("SELECT cursor_value FROM ebay_sync_state") == [(None,)]


@pytest.mark.parametrize(
    ("family", "path", "name", "record"),
    [
        ("finances", "/sell/finances/v1/transaction", "transactions", "transaction"),
        ("payouts", "/sell/finances/v1/payout", "payouts", "payout"),
        ("orders", "/sell/fulfillment/v1/order", "orders", "order"),
    ],
)
async def test_a_filter_that_does_nothing_is_found_out(
    family: str, path: str, name: str, record: str, player: Player
) -> None:
    """A page full of the same newest rows, and more behind it, whatever span is asked for."""
    at = stamp(player.clocks.ebay.now() - timedelta(days=1))

    def row(number: int) -> dict[str, Any]:
        if record == "order":
            times = {"creationDate": at, "lastModifiedDate": at}
            status = {"cancelStatus": {"cancelState": "NONE_REQUESTED", "cancelRequests": []}}
            return {"orderId": f"10-{number:05d}-00001", **times, **status, "lineItems": []}
        amount = {"amount": {"value": "1.0", "currency": "USD"}}
        if record == "payout":
            return {"payoutId": f"P{number}", "payoutDate": at, "payoutStatus": "SUCCEEDED", **amount}
        sale = {"transactionType": "SALE", "bookingEntry": "CREDIT", **amount}
        return {"transactionId": f"T{number}", "transactionDate": at, **sale}

    page = {"href": "x", "limit": 200, "offset": 0, "total": 900, name: [row(number) for number in range(200)]}
    player.ebay.answers.append(lambda request: as_json(page) if request.path == path else None)
    summary = await player.one(family)
    assert summary.failure is not None
    assert summary.failure.exit_code == 13
    assert len(player.ebay.of(path)) <= A_HANDFUL


def item(number: int, inner: str = "") -> str:
    price = '<SellingStatus><CurrentPrice currencyID="USD">10.0</CurrentPrice></SellingStatus>'
    head = f"<ItemID>{number}</ItemID><ListingType>FixedPriceItem</ListingType><Quantity>1</Quantity>"
    return f"<Item>{head}{price}<Title>t</Title>{inner}</Item>"


def active(*items: str, total: int | None = None) -> str:
    entries = len(items) if total is None else total
    pages = f"<TotalNumberOfPages>1</TotalNumberOfPages><TotalNumberOfEntries>{entries}</TotalNumberOfEntries>"
    array = f"<ItemArray>{''.join(items)}</ItemArray>"
    return f"<ActiveList>{array}<PaginationResult>{pages}</PaginationResult></ActiveList>"


def serve(player: Player, call: str, reply: Reply) -> None:
    player.ebay.answers = [lambda request: reply if request.call == call else None]


SELLING = "GetMyeBaySelling"
ON_SALE = "SELECT count(*) FROM ebay_active_inventory WHERE removed_at IS NULL"


async def wrong_total(player: Player, answer: Callable[[], Reply]) -> None:
    """Three listings are known; then one has ended, and the total of every answer is wrong."""
    serve(player, SELLING, trading(SELLING, active(item(1), item(2), item(3))))
    assert exit_code(await player.one("active_inventory")) == 0
    player.later(hours=1)
    serve(player, SELLING, answer())
    await player.one("active_inventory")
    assert player.value(ON_SALE) == "3", "one doubtful scan removes nothing"
    codes = []
    for _ in range(4):
        player.later(hours=1)
        serve(player, SELLING, answer())
        codes.append(exit_code(await player.one("active_inventory")))
    assert codes[-1] == 0
    assert player.value(ON_SALE) == "2"
    assert player.query("SELECT item_id FROM ebay_active_inventory WHERE removed_at IS NOT NULL") == [("3",)]


@pytest.mark.parametrize("total", [3, 1, 40])
async def test_a_total_that_never_agrees_is_believed_after_three_reads(total: int, player: Player) -> None:
    await wrong_total(player, lambda: trading(SELLING, active(item(1), item(2), total=total)))


async def test_the_total_of_the_report_is_one_too_high_for_ever(player: Player, body: Callable[[str], bytes]) -> None:
    await wrong_total(player, lambda: xml(body("v6-total-one-too-high.xml")))


async def test_a_total_that_never_agrees_with_rows_that_differ_is_never_believed(player: Player) -> None:
    """Three reads must return the same rows."""
    serve(player, SELLING, trading(SELLING, active(item(1), item(2), item(3))))
    await player.one("active_inventory")
    for number in range(6):
        player.later(hours=1)
        serve(player, SELLING, trading(SELLING, active(item(1), item(10 + number), total=4)))
        await player.one("active_inventory")
    there = {row[0] for row in player.query("SELECT item_id FROM ebay_active_inventory WHERE removed_at IS NULL")}
    assert {"1", "2", "3"} <= there


async def test_records_of_which_each_answer_lacks_another_one_are_complete_after_two_runs(player: Player) -> None:
    at = player.clocks.ebay.now() - timedelta(hours=5)
    asked = 0

    def row(number: int) -> dict[str, Any]:
        time = stamp(at - timedelta(minutes=number))
        times = {"creationDate": time, "lastModifiedDate": time}
        return {"orderId": f"o{number}", **times, "cancelStatus": {"cancelState": "NONE_REQUESTED"}, "lineItems": []}

    def answer(request: Request) -> Reply | None:
        nonlocal asked
        if request.path != "/sell/fulfillment/v1/order":
            return None
        start, end = span_of(request) or ("", "9999")
        rows = [each for number in range(9) if start <= (each := row(number))["lastModifiedDate"] <= end]
        total, asked = len(rows), asked + 1
        if rows:
            rows.pop(asked % total)
        return as_json({"total": total, "limit": 200, "offset": 0, "orders": rows})

    player.ebay.answers.append(answer)
    first = await player.one("orders")
    assert (first.status, first.caught_up, first.stored) == ("completed", False, 8)
    player.later(hours=1)
    second = await player.one("orders")
    assert (second.status, second.caught_up, second.reason) == ("completed", True, None)
    assert player.value("SELECT count(*) FROM ebay_orders") == "9"
    assert player.value("SELECT count(*) FROM ebay_inconsistent_read WHERE reads > 0") == "0"
    player.later(hours=1)
    assert (await player.one("orders")).calls == 1


EMPTY_SUCCESSES = {
    "nothing": lambda: trading(SELLING, ""),
    "another call's": lambda: trading("GetUser", "<User><UserID>u</UserID></User>"),
    "a warning": lambda: trading(SELLING, "", ack="Warning"),
    "single quotes": lambda: xml(
        f"<?xml version='1.0' encoding='UTF-8'?><{SELLING}Response xmlns=\"{NAMESPACE}\"><Ack>Success</Ack>"
        f"<Version>1271</Version></{SELLING}Response>"
    ),
}


async def known_listings_stay(player: Player, reply: Reply) -> None:
    listed = active(*(item(number) for number in range(1, 13)))
    serve(player, SELLING, trading(SELLING, listed))
    counted = "<PaginationResult><TotalNumberOfEntries>12</TotalNumberOfEntries></PaginationResult><ItemArray/>"
    assert exit_code(await player.one("active_inventory")) == 0
    codes = []
    for _ in range(2):
        player.later(hours=1)
        serve(player, SELLING, reply)
        player.ebay.answers.append(
            lambda request: trading("GetSellerList", counted) if request.call == "GetSellerList" else None
        )
        codes.append(exit_code(await player.one("active_inventory")))
    assert player.value(ON_SALE) == "12"
    assert codes == [13, 13]


@pytest.mark.parametrize("what", EMPTY_SUCCESSES)
async def test_a_success_without_its_list_removes_nothing(what: str, player: Player) -> None:
    await known_listings_stay(player, EMPTY_SUCCESSES[what]())


async def test_the_success_of_the_report_removes_nothing(player: Player, body: Callable[[str], bytes]) -> None:
    await known_listings_stay(player, xml(body("t1-success-without-activelist.xml")))


async def dead_token(player: Player, family: str, reply: Callable[[str], Reply]) -> None:
    await player.add()
    renewed = player.ebay.tokens
    player.ebay.answers = [lambda request: reply(request.call) if request.call else None]
    summary = await player.one(family)
    assert exit_code(summary) == 12
    assert player.ebay.tokens == renewed + 1, "renewed once"
    assert player.query("SELECT needs_consent FROM ebay_accounts") == [(True,)]


@pytest.mark.parametrize("family", ["active_inventory", "messages", "buyer"])
@pytest.mark.parametrize("code", [16110, 17470, 16112, 16118, 16119, 16120, 930, 931, 932, 21916013, 21917236])
async def test_a_dead_token_of_trading_needs_consent(code: int, family: str, player: Player) -> None:
    await dead_token(player, family, lambda call: refusal_of(call, code))


async def test_a_token_that_trading_refuses_names_the_account_in_its_hint(player: Player) -> None:
    """It may only lack a scope, so that the seller is not marked."""
    refusal = trading("GetUser", "").body.replace(b"<Ack>Success</Ack>", b"<Ack>Failure</Ack>")
    player.ebay.answers = [lambda request: Reply(401, refusal) if request.call else None]
    summary = await player.one("active_inventory")
    assert summary.failure is not None
    assert "ebaysync accounts connect shop --environment simulator" in str(summary.failure.hint)


async def test_the_token_of_the_report_is_refused(player: Player, body: Callable[[str], bytes]) -> None:
    await dead_token(player, "active_inventory", lambda call: xml(body("t2-token-refused-16110.xml")))


async def test_a_consent_that_works_again_is_found_within_a_day(player: Player) -> None:
    """One odd hour of eBay does not cost a new consent."""
    await dead_token(player, "active_inventory", lambda call: refusal_of(call, 16110))
    serve(player, SELLING, trading(SELLING, active(item(1))))
    player.later(hours=25)
    assert exit_code(await player.one("active_inventory")) == 0
    assert player.query("SELECT needs_consent FROM ebay_accounts") == [(False,)]


VARIATIONS = {
    "nothing names it": '<Variation><StartPrice currencyID="USD">5.0</StartPrice><Quantity>1</Quantity></Variation>',
    "a key too long": f"<Variation><SKU>{'x' * 600}</SKU><Quantity>1</Quantity></Variation>",
    "two of one SKU": "<Variation><SKU>a</SKU><Quantity>1</Quantity></Variation>" * 2,
}


@pytest.mark.parametrize("what", VARIATIONS)
async def test_a_variation_that_cannot_be_stored_does_not_condemn_its_listing(what: str, player: Player) -> None:
    odd = item(1, f"<Variations>{VARIATIONS[what]}<Variation><SKU>ok</SKU></Variation></Variations>")
    serve(player, SELLING, trading(SELLING, active(odd, item(2))))
    assert exit_code(await player.one("active_inventory")) == 0
    assert player.value("SELECT count(*) FROM ebay_active_inventory") == "2"
    found = player.query("SELECT count(*) FROM ebay_active_inventory_variations WHERE raw_payload ->> 'SKU' = 'ok'")
    assert found == [(1,)]


async def test_the_variation_of_the_report_leaves_its_listing(player: Player, body: Callable[[str], bytes]) -> None:
    serve(player, SELLING, xml(body("v1-variation-without-identity.xml")))
    assert exit_code(await player.one("active_inventory")) == 0
    assert player.value("SELECT count(*) FROM ebay_active_inventory") == "2"


BUYING = "GetMyeBayBuying"


def buying(name: str, *rows: str) -> str:
    array = "OrderTransactionArray" if name == "WonList" else "ItemArray"
    pages = f"<TotalNumberOfPages>1</TotalNumberOfPages><TotalNumberOfEntries>{len(rows)}</TotalNumberOfEntries>"
    return f"<{name}><{array}>{''.join(rows)}</{array}><PaginationResult>{pages}</PaginationResult></{name}>"


def offer(amount: float, status: str) -> str:
    details = f'<BestOffer currencyID="USD">{amount}</BestOffer><BestOfferStatus>{status}</BestOfferStatus>'
    return f"<Item><ItemID>1</ItemID><BestOfferDetails>{details}</BestOfferDetails><Title>t</Title></Item>"


def won(number: str, price: float) -> str:
    inner = f'<Item><ItemID>1</ItemID></Item><TotalPrice currencyID="USD">{price}</TotalPrice>'
    return f"<OrderTransaction><Transaction>{number}{inner}</Transaction></OrderTransaction>"


PURCHASES = {
    "two best offers": buying("BestOfferList", offer(10.0, "Declined"), offer(12.0, "Pending")),
    "three best offers": buying("BestOfferList", *(offer(10.0 + n, "Expired") for n in range(3))),
    "won without TransactionID": buying("WonList", won("", 3.0), won("", 4.0)),
}


@pytest.mark.parametrize("what", PURCHASES)
async def test_two_purchases_of_one_key_both_survive(what: str, player: Player) -> None:
    serve(player, BUYING, trading(BUYING, PURCHASES[what]))
    await player.one("buyer")
    rows = len(re.findall("<(?:BestOfferDetails|Transaction)>", PURCHASES[what]))
    both = "SELECT (SELECT count(*) FROM ebay_buyer) + (SELECT count(*) FROM ebay_quarantine)"
    assert player.value(both) == str(rows)
    if "best offers" in what:
        assert player.value("SELECT count(*) FROM ebay_buyer") == str(rows)


async def test_the_two_best_offers_of_the_report_are_two_rows(player: Player, body: Callable[[str], bytes]) -> None:
    serve(player, BUYING, xml(body("p1-two-best-offers-on-one-item.xml")))
    await player.one("buyer")
    assert player.value("SELECT count(*) FROM ebay_buyer") == "2"


def as_text(found: Any) -> Any:
    """Every number of an envelope as text."""
    if isinstance(found, dict):
        return {name: value if name == "members" else as_text(value) for name, value in found.items()}
    return str(found) if type(found) is int else found


@pytest.mark.parametrize("path", FAMILIES)
async def test_counters_of_post_order_may_be_text(path: str, player: Player) -> None:
    """And null, and absent."""
    family = FAMILIES[path]
    ebay = PostOrder(player, path, 1)
    change: Sequence[Callable[[Any], Any]] = (
        as_text,
        lambda page: page | {"paginationOutput": None},
        lambda page: {name: value for name, value in page.items() if name != "paginationOutput"},
    )
    for number, changed in enumerate(change):
        ebay.ids = [str(5000 + number)]
        player.ebay.answers = [
            lambda request, changed=changed: (
                Reply(200, json.dumps(changed(json.loads(ebay.answer(request).body))).encode())  # type: ignore[union-attr]
                if request.path.endswith(f"{path}/search")
                else None
            ),
            ebay.answer,
        ]
        assert exit_code(await player.one(family)) == 0
        assert player.value(f"SELECT count(*) FROM ebay_{family}") == str(number + 1)


async def test_the_counters_of_the_report_are_text(player: Player, body: Callable[[str], bytes]) -> None:
    def answer(request: Request) -> Reply | None:
        if request.path == "/post-order/v2/casemanagement/search":
            start, end = sorted(value for name, value in request.query.items() if "date" in name)
            shown = start <= stamp(player.clocks.ebay.now() - timedelta(days=3)) <= end
            return Reply(200, body("o2-pagination-strings.json")) if shown else None
        return as_json({"caseId": 1, "status": "CLOSED"}) if detail_of("casemanagement", request) else None

    player.ebay.answers = [answer]
    assert exit_code(await player.one("cases")) == 0
    assert player.value("SELECT count(*) FROM ebay_cases") == "1"
