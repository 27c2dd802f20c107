"""An answer contains what was asked for, or it is an error: every call of ebay/, with the same answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from pytest_httpx import HTTPXMock

from ebaysync.ebay import (
    analytics,
    disputes,
    finances,
    fulfillment,
    identity,
    inventory,
    keymanagement,
    oauth,
    postorder,
    trading_lists,
    trading_messages,
)
from ebaysync.ebay.hosts import Hosts
from ebaysync.ebay.rest import Api, stamp
from ebaysync.ebay.transport import Transport
from ebaysync.errors import (
    AnswerNotUnderstood,
    ConfigError,
    EbayBusy,
    EbayError,
    EbayUnreachable,
    JsonBroken,
    KeysetRejected,
    ScopeMissing,
    SigningKeyMissing,
    Unauthorized,
)
from ebaysync.log import Secret
from ebaysync.settings import Keyset

HOSTS = Hosts(*["http://127.0.0.1"] * 3)  # without TLS, whose certificates take their time to load
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
KEYSET = Keyset("production", "Id-1", Secret("secret"), "Ru")
TOKEN = Secret("token")
NAMESPACE = "urn:ebay:apis:eBLBaseComponents"


class Tokens:
    async def access_token(self) -> Secret:
        return TOKEN

    async def renewed(self, refused: Secret) -> Secret:
        return TOKEN

    def give_up(self, error: Exception) -> None:
        raise AssertionError("not in these tests")


async def no_wait(_: float) -> None:
    return


@pytest.fixture
async def api() -> Any:
    async with Transport(HOSTS, sleep=no_wait) as transport:
        yield Api(transport, Tokens(), "EBAY_DE")


@dataclass(frozen=True)
class Call:
    """`good` are answers that the call understands. `list` names a list and `key` an id in it; a call for one record
    has only the key."""

    ask: Callable[[Api], Awaitable[Any]]
    good: tuple[dict[str, Any], ...]
    list: str | None = None
    key: str | None = None
    bad: tuple[dict[str, Any], ...] = field(default=())


def listed(ask: Callable[[Api], Awaitable[Any]], name: str, key: str, **total: Any) -> Call:
    total = total or {"total": 0}
    return Call(ask, ({name: [], **total}, {name: [{key: "1"}], "total": 1}, {name: [{key: "1"}]}), name, key)


def found_by(search: str) -> Callable[[Api], Awaitable[Any]]:
    resource: postorder.PostOrderResource = getattr(postorder, search)
    return lambda api: postorder.search(api, resource, NOON, LATER)


def detail_of(search: str) -> Callable[[Api], Awaitable[Any]]:
    resource: postorder.PostOrderResource = getattr(postorder, search)
    return lambda api: postorder.detail(api, resource, "1", listed=True)


REST: dict[str, Call] = {
    "orders": listed(lambda api: fulfillment.orders(api, NOON, LATER), "orders", "orderId"),
    "disputes": listed(lambda api: disputes.disputes(api, NOON, LATER), "paymentDisputeSummaries", "paymentDisputeId"),
    "transactions": listed(lambda api: finances.transactions(api, NOON, LATER), "transactions", "transactionId"),
    "payouts": listed(lambda api: finances.payouts(api, NOON, LATER), "payouts", "payoutId"),
    "check signature": listed(finances.check_signature, "payouts", "payoutId"),
    "inventory items": listed(inventory.items, "inventoryItems", "sku"),
    "offers": listed(lambda api: inventory.offers(api, "a"), "offers", "offerId"),
    "cancellations": listed(found_by("CANCELLATIONS"), "cancellations", "cancelId"),
    "cases": listed(found_by("CASES"), "members", "caseId", totalNumberOfCases=0),
    "inquiries": listed(found_by("INQUIRIES"), "members", "inquiryId", paginationOutput={"totalEntries": 0}),
    "returns": listed(found_by("RETURNS"), "members", "returnId", paginationOutput={"totalEntries": 0}),
    "order": Call(lambda api: fulfillment.order(api, "1"), ({"orderId": "1"},), key="orderId"),
    "dispute": Call(lambda api: disputes.dispute(api, "1"), ({"paymentDisputeId": "1"},), key="paymentDisputeId"),
    "case": Call(detail_of("CASES"), ({"caseId": 1}, {"caseId": "1"}, {"status": "OPEN"}), key="caseId"),
    "inquiry": Call(detail_of("INQUIRIES"), ({"inquiryId": 1}, {"inquiryDetails": {}}), key="inquiryId"),
    "return": Call(
        detail_of("RETURNS"),
        ({"summary": {"returnId": "1"}, "detail": {}}, {"detail": {"itemDetail": {}}}),
        bad=({"summary": {"returnId": "2"}}, {"summary": None}),
    ),
    "user": Call(identity.user, ({"userId": "1"}, {"userId": "1", "username": None}), bad=({"userId": ""},)),
    "rate limits": Call(
        lambda api: analytics.rate_limits(api.transport, TOKEN), ({"rateLimits": []},), bad=({"rateLimits": None},)
    ),
    "signing key": Call(
        lambda api: keymanagement.create(api.transport, TOKEN),
        ({"signingKeyId": "1", "jwe": "j", "privateKey": "p"},),
        bad=({"signingKeyId": "1", "jwe": "j"},),
    ),
    "refresh": Call(lambda api: oauth.refresh(api.transport, KEYSET, TOKEN), ({"access_token": "a"},)),
    "application token": Call(lambda api: oauth.application_token(api.transport, KEYSET), ({"access_token": "a"},)),
    "exchange": Call(
        lambda api: oauth.exchange(api.transport, KEYSET, TOKEN),
        ({"access_token": "a", "refresh_token": "r"},),
        bad=({"access_token": "a"},),
    ),
}
LISTS = {name: call for name, call in REST.items() if call.list}
DETAILS = {name: call for name, call in REST.items() if not call.list and call.key}
AS_NOTHING = {"transactions", "payouts", "check signature", "rate limits"}  # where eBay answers 204
every_call = pytest.mark.parametrize("name", REST)
every_list = pytest.mark.parametrize("name", LISTS)


def answers(httpx_mock: HTTPXMock, body: Any, status: int = 200) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    httpx_mock.add_response(status_code=status, content=content, headers=headers, is_reusable=True)


@every_call
async def test_what_was_asked_for_is_understood(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    for body in REST[name].good:
        httpx_mock.reset()
        answers(httpx_mock, body | {"warnings": [{"errorId": 1}], "errors": [], "error": None})
        await REST[name].ask(api)


NOT_ASKED_FOR: list[Any] = [
    {},
    {"warnings": []},
    {"warnings": [{"errorId": 1}]},
    {"errors": [{"errorId": 135000}]},
    {"errors": ["x"]},
    {"errors": "x"},
    {"errorMessage": {"error": [{"errorId": "1700"}]}},
    {"error": [{"message": "x"}]},
    {"something": [{"else": 1}]},
    [],
    None,
    "orders",
    0,
]


@every_call
async def test_anything_else_is_an_error(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    for body in NOT_ASKED_FOR:
        httpx_mock.reset()
        answers(httpx_mock, body)
        with pytest.raises(AnswerNotUnderstood):
            await REST[name].ask(api)
        assert len(httpx_mock.get_requests()) == 1


@every_call
async def test_errors_beside_an_empty_answer_are_an_error(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    answers(httpx_mock, REST[name].good[0] | {"errors": [{"errorId": 135000}]})
    with pytest.raises(AnswerNotUnderstood, match="200 with errors 135000") as caught:
        await REST[name].ask(api)
    assert caught.value.error_id == 135000


@every_call
async def test_an_answer_that_lacks_what_is_required_is_an_error(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    for body in REST[name].bad:
        httpx_mock.reset()
        answers(httpx_mock, body)
        with pytest.raises(AnswerNotUnderstood):
            await REST[name].ask(api)


@every_call
async def test_no_content_is_nothing_only_where_ebay_says_so(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    answers(httpx_mock, b"", 204)
    if name in AS_NOTHING:
        await REST[name].ask(api)
    else:
        with pytest.raises(AnswerNotUnderstood):
            await REST[name].ask(api)


@every_call
async def test_an_empty_200_is_nothing_nowhere(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    answers(httpx_mock, b"")
    with pytest.raises(EbayUnreachable):
        await REST[name].ask(api)


BY_NUMBER: list[tuple[int | str, type[EbayError]]] = [
    (1001, Unauthorized),
    (1100, ScopeMissing),
    (2001, EbayBusy),
    ("1100", ScopeMissing),
    (99, AnswerNotUnderstood),
    ("9" * 400, AnswerNotUnderstood),
    (215001, SigningKeyMissing),
]


@pytest.mark.parametrize("name", [*LISTS, *DETAILS])
async def test_a_200_with_errors_is_judged_by_ebays_number(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    for number, error in BY_NUMBER:
        httpx_mock.reset()
        errors = [{"errorId": number}]
        answers(httpx_mock, {"errorMessage": {"error": errors}} if number == 99 else {"errors": errors})
        with pytest.raises(error) as caught:
            await REST[name].ask(api)
        assert type(caught.value) is error


@every_list
async def test_errors_beside_rows_keep_the_rows_and_say_that_they_are_not_all(
    api: Api, httpx_mock: HTTPXMock, name: str
) -> None:
    call = LISTS[name]
    answers(httpx_mock, {call.list: [{call.key: "1"}], "total": 1, "errors": [{"errorId": 30500}]})
    page = await call.ask(api)
    if page is not None:
        assert [msgspec.json.decode(row) for row in page.rows] == [{call.key: "1"}]
        assert page.partial.error_id == 30500


ODD = ["2", 2.0, "2.0", " 2 ", None, "", "many", -1, True, [], {}]


@every_list
async def test_an_envelopes_numbers_are_read_leniently(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    call = LISTS[name]
    for odd in ODD:
        httpx_mock.reset()
        counters = {"total": odd, "limit": odd, "totalNumberOfCases": odd, "totalNumberOfInquiries": odd}
        paging = {"paginationOutput": {"totalEntries": odd, "limit": odd, "offset": odd}}
        answers(httpx_mock, {call.list: [{call.key: "1"}], "next": odd, **counters, **paging})
        page = await call.ask(api)
        if page is not None:
            expected = 2 if isinstance(odd, str | float) and "2" in str(odd) else None
            assert (page.total, page.limit) == (expected, expected), odd
            assert getattr(page, "counted", expected) == expected, odd


@every_list
async def test_an_absurd_number_is_no_number(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    call = LISTS[name]
    for digits in ("9" * 400, "-" + "9" * 400, "9" * 10**6, "1e999999"):
        httpx_mock.reset()
        body = json.dumps({call.list: [{call.key: "1"}], "total": "@", "limit": "@"}).replace('"@"', digits)
        answers(httpx_mock, body.encode())
        page = await call.ask(api)
        if page is not None:
            assert (page.total, page.limit) == (None, None)


@every_list
async def test_a_total_without_its_list_is_an_error_unless_it_is_0(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    for counters in ({"total": 5}, {"totalNumberOfCases": 5}, {"paginationOutput": {"totalEntries": 5}}):
        httpx_mock.reset()
        answers(httpx_mock, counters)
        with pytest.raises(AnswerNotUnderstood):
            await LISTS[name].ask(api)


@every_list
async def test_an_empty_list_whose_total_is_no_number_is_an_error(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    for odd in (-1, "-1", "many", 1.5, True, [], {}, ""):
        httpx_mock.reset()
        answers(httpx_mock, {LISTS[name].list: [], "total": odd})
        with pytest.raises(AnswerNotUnderstood):
            await LISTS[name].ask(api)


async def test_a_nonsense_total_of_post_order_is_looked_past_if_another_one_counts(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    page = {"members": [], "paginationOutput": {"totalEntries": -1}}
    answers(httpx_mock, page)
    with pytest.raises(AnswerNotUnderstood):
        await REST["cases"].ask(api)
    httpx_mock.reset()
    answers(httpx_mock, page | {"totalNumberOfCases": 0})
    await REST["cases"].ask(api)


@every_list
async def test_a_total_of_0_with_warnings_and_without_its_list_is_an_error(
    api: Api, httpx_mock: HTTPXMock, name: str
) -> None:
    counters = {"total": 0, "totalNumberOfCases": 0, "paginationOutput": {"totalEntries": 0}}
    answers(httpx_mock, {**counters, "warnings": [{"errorId": 1, "message": "partial"}]})
    with pytest.raises(AnswerNotUnderstood):
        await LISTS[name].ask(api)
    httpx_mock.reset()
    answers(httpx_mock, {**counters, LISTS[name].list: [], "warnings": [{"errorId": 1}]})
    await LISTS[name].ask(api)


@pytest.mark.parametrize("name", DETAILS)
async def test_a_detail_of_another_record_is_an_error(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    call = DETAILS[name]
    answers(httpx_mock, {call.key: "2", "status": "OPEN"})
    with pytest.raises(AnswerNotUnderstood, match=f"another {call.key}"):
        await call.ask(api)


# ---- records that no decoder accepts

BROKEN = {
    "a control character": b'{"id": 2, "name": "a\x0bb"}',
    "nesting 100,000 deep": b'{"id": 2, "name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a wrong escape": rb'{"id": 2, "name": "\q"}',
    "a cut escape": rb'{"id": 2, "name": "\u12"}',
    "a wrong number": b'{"id": 2, "name": 1.}',
    "no JSON": b"oops",
    "no number": b'{"id": 2, "name": NaN}',
}


def page_with(call: Call, record: bytes) -> bytes:
    rows = b'{"%b": "1"}, %b ,{"%b": "3"}' % (str(call.key).encode(), record, str(call.key).encode())
    return b'{"total": 3, "%b": [%b], "href": "https://\xc3\xa4"}\n' % (str(call.list).encode(), rows)


@every_list
async def test_an_undecodable_record_is_taken_out_of_its_page(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    call = LISTS[name]
    for record in BROKEN.values():
        httpx_mock.reset()
        answers(httpx_mock, page_with(call, record))
        page = await call.ask(api)
        assert len(httpx_mock.get_requests()) == 1
        if page is not None:
            assert [msgspec.json.decode(row)[call.key] for row in page.rows] == ["1", "3"]
            [(document, reason)] = page.broken
            assert document == record
            assert reason
            assert page.total == 3


@every_list
async def test_a_page_that_is_cut_is_asked_for_again(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    whole = page_with(LISTS[name], BROKEN["a control character"])
    for end in (len(whole) - 2, len(whole) - 20, 40, 1):
        httpx_mock.reset()
        answers(httpx_mock, whole[:end])
        with pytest.raises(EbayUnreachable):
            await LISTS[name].ask(api)
        assert len(httpx_mock.get_requests()) == 5


@every_list
async def test_an_undecodable_field_of_the_envelope_costs_itself(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    call = LISTS[name]
    answers(httpx_mock, b'{"warnings": ["\x01"], "next": "\\q", "total": 1, "%b": [{}]}' % str(call.list).encode())
    page = await call.ask(api)
    if page is not None:
        assert (len(page.rows), page.broken, page.next, page.total) == (1, (), None, 1)


@pytest.mark.parametrize("name", [*DETAILS, "return"])
async def test_an_undecodable_detail_carries_its_bytes(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    for record in BROKEN.values():
        httpx_mock.reset()
        body = b'{"detail": %b}\n' % record
        answers(httpx_mock, body)
        with pytest.raises(JsonBroken) as caught:
            await REST[name].ask(api)
        assert (caught.value.document, caught.value.by_a_record) == (body, True)
        assert len(httpx_mock.get_requests()) == 1


@every_call
async def test_a_byte_order_mark_is_no_fault(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    answers(httpx_mock, b"\xef\xbb\xbf" + json.dumps(REST[name].good[0]).encode())
    await REST[name].ask(api)


# ---- tokens, keys, users, reports


@pytest.mark.parametrize("name", ["refresh", "application token", "exchange"])
async def test_an_oauth_error_in_a_200_is_that_error(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    answers(httpx_mock, {"error": "invalid_client", "error_description": "x"})
    with pytest.raises(KeysetRejected):
        await REST[name].ask(api)


@pytest.mark.parametrize("odd", ["7100", 7100.0, None, "9" * 400, -1, [], True], ids=repr)
async def test_a_lifetime_is_read_leniently(api: Api, httpx_mock: HTTPXMock, odd: object) -> None:
    answers(httpx_mock, {"access_token": "a", "refresh_token": "r", "expires_in": odd, "scope": odd})
    given = await oauth.exchange(api.transport, KEYSET, TOKEN)
    assert given.access.expires_in == (7100 if str(odd).startswith("7100") else oauth.ACCESS_SECONDS)


@pytest.mark.parametrize("odd", ["1900000000", 1_900_000_000.0, None, "soon", int("9" * 400)], ids=str)
async def test_a_signing_key_is_not_lost_for_the_way_in_which_its_times_are_written(
    api: Api, httpx_mock: HTTPXMock, odd: object
) -> None:
    httpx_mock.add_response(
        status_code=201,
        json={"signingKeyId": "1", "jwe": "j", "privateKey": "p", "creationTime": odd, "expirationTime": odd},
    )
    made = await keymanagement.create(api.transport, TOKEN)
    if str(odd).startswith("19"):
        assert (made.creation_time, made.expiration_time) == (1_900_000_000, 1_900_000_000)
    else:
        assert made.expiration_time - made.creation_time == 3 * 365 * 86_400
    assert "p" not in repr(made).replace("public_key", "").replace("cipher", "").replace("expiration", "")


async def test_a_report_with_odd_values_is_read_as_far_as_it_goes(api: Api, httpx_mock: HTTPXMock) -> None:
    def api_of(name: str, **rate: object) -> dict[str, Any]:
        resource = {"name": name, "rates": [{"timeWindow": "86400", **rate}]}
        return {"apiContext": "sell", "apiName": "fulfillment", "resources": [resource]}

    limits = [
        api_of("sell.order", count="20", limit="100", remaining=80.0, reset="9999-12-31T23:59:59-12:00"),
        {"apiContext": None, "apiName": 7, "resources": None},
        api_of("other", limit="none", reset="never"),
    ]
    answers(httpx_mock, {"rateLimits": limits})
    [report] = await analytics.rate_limits(api.transport, TOKEN)
    assert (report.limit, report.used, report.remaining, report.reset) == (100, 20, 80, None)


async def test_a_marketplace_that_no_header_can_carry_is_one_clear_error(api: Api, httpx_mock: HTTPXMock) -> None:
    api.marketplace_id = "EBAY_MÜNCHEN"
    for ask in (REST["transactions"].ask, REST["payouts"].ask, REST["cases"].ask):
        with pytest.raises(ConfigError, match="X-EBAY-C-MARKETPLACE-ID") as caught:
            await ask(api)
        assert "--marketplace" in str(caught.value.hint)
    assert httpx_mock.get_requests() == []


async def test_a_user_of_no_marketplace_of_ebays_is_an_error(api: Api, httpx_mock: HTTPXMock) -> None:
    answers(httpx_mock, {"userId": "1", "registrationMarketplaceId": "EBAY_Ü"})
    with pytest.raises(AnswerNotUnderstood, match="registrationMarketplaceId"):
        await identity.user(api)


def cases(*created: str) -> dict[str, Any]:
    return {"members": [{"caseId": number, "creationDate": {"value": moment}} for number, moment in enumerate(created)]}


@pytest.mark.parametrize(
    "moment",
    [
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+12:00",
        "1970-01-01T00:00:00.000Z",
        "1999-01-01T00:00:00.000Z",
        "2120-01-01T00:00:00.000Z",
        "9999-01-01T00:00:00.000Z",
    ],
)
async def test_an_impossible_creation_does_not_prove_that_the_filter_does_nothing(
    api: Api, httpx_mock: HTTPXMock, moment: str
) -> None:
    answers(httpx_mock, cases(moment, moment))
    assert len((await REST["cases"].ask(api)).rows) == 2


async def test_one_record_with_an_odd_time_does_not_prove_that_the_filter_does_nothing(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    answers(httpx_mock, cases("2019-01-01T00:00:00.000Z"))
    assert len((await REST["cases"].ask(api)).rows) == 1


async def test_a_filter_does_nothing_if_several_creations_within_ebays_reach_lie_outside_of_it(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    wrong, outside, inside = "1999-01-01T00:00:00.000Z", stamp(NOON - timedelta(days=90)), stamp(NOON)
    answers(httpx_mock, cases(wrong, inside, wrong, outside))
    assert len((await REST["cases"].ask(api)).rows) == 4
    httpx_mock.reset()
    answers(httpx_mock, cases(outside, inside, outside, wrong))
    with pytest.raises(AnswerNotUnderstood, match=r"2 of 4 records.* does not know the filter"):
        await REST["cases"].ask(api)


# ---- Trading

XML: dict[str, tuple[Callable[[Api], Awaitable[Any]], str, str]] = {
    "summary": (trading_messages.my_messages_summary, "GetMyMessages", "<Summary/>"),
    "headers": (
        lambda api: trading_messages.my_messages_headers(api, "0", NOON, LATER),
        "GetMyMessages",
        "<Messages/>",
    ),
    "bodies": (lambda api: trading_messages.my_messages_bodies(api, ["1"]), "GetMyMessages", "<Messages/>"),
    "selling": (lambda api: trading_lists.my_ebay_selling_active(api, 1), "GetMyeBaySelling", "<ActiveList/>"),
    "seller list": (lambda api: trading_lists.seller_list(api, NOON, LATER, 1), "GetSellerList", "<ItemArray/>"),
    "buying": (
        lambda api: trading_lists.my_ebay_buying(api, trading_lists.BUYING, 1),
        "GetMyeBayBuying",
        "<BuyingSummary/>",
    ),
}


@pytest.mark.parametrize("name", XML)
async def test_a_success_without_its_list_is_an_error(api: Api, httpx_mock: HTTPXMock, name: str) -> None:
    ask, call, least = XML[name]

    def say(ack: str, inner: str) -> None:
        body = f'<{call}Response xmlns="{NAMESPACE}"><Ack>{ack}</Ack>{inner}</{call}Response>'
        httpx_mock.reset()
        httpx_mock.add_response(content=body.encode(), headers={"content-type": "text/xml"}, is_reusable=True)

    for ack in ("Success", "Warning"):
        for more in ("", "<Timestamp>x</Timestamp>", "<SoldList/><Errors/>", "<Other><Item/></Other>"):
            say(ack, more + least)
            await ask(api)
            say(ack, more)
            with pytest.raises(AnswerNotUnderstood, match=f"{call}: the answer has no"):
                await ask(api)
            assert len(httpx_mock.get_requests()) == 1


@pytest.mark.parametrize("count", ["9" * 400, "-1", "2.5", "two"], ids=len)
async def test_a_count_that_is_none_is_an_error_and_2_0_is_two(api: Api, httpx_mock: HTTPXMock, count: str) -> None:
    totals = (
        "<ActiveList><PaginationResult><TotalNumberOfEntries>%s</TotalNumberOfEntries></PaginationResult></ActiveList>"
    )
    body = f'<GetMyeBaySellingResponse xmlns="{NAMESPACE}"><Ack> Success </Ack>{totals}</GetMyeBaySellingResponse>'
    for each in (count, " 2.0 "):
        httpx_mock.add_response(content=(body % each).encode(), headers={"content-type": "text/xml"})
    with pytest.raises(AnswerNotUnderstood, match="is no number"):
        await trading_lists.my_ebay_selling_active(api, 1)
    assert (await trading_lists.my_ebay_selling_active(api, 1)).entries == 2
