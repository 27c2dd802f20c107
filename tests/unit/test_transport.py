"""The transport: what it retries, what it refuses, what it lets nobody see."""

from __future__ import annotations

import asyncio
import base64
import gzip
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytest_httpx import HTTPXMock, IteratorStream

from ebaysync.ebay import fulfillment, oauth
from ebaysync.ebay.body import CHUNK, START
from ebaysync.ebay.clock import Clock
from ebaysync.ebay.hosts import Hosts, hosts
from ebaysync.ebay.request import Answer, Request
from ebaysync.ebay.rest import Api, RestApi
from ebaysync.ebay.signature import Signer
from ebaysync.ebay.transport import Transport
from ebaysync.errors import (
    AnswerNotUnderstood,
    ConsentNeeded,
    EbayBusy,
    EbayError,
    EbayRejected,
    EbaysyncError,
    EbayUnreachable,
    KeysetRejected,
    RateLimited,
    RecordNotFound,
    ScopeMissing,
    SignatureRefused,
    SignatureStale,
    SigningKeyMissing,
    Unauthorized,
)
from ebaysync.log import Secret
from ebaysync.settings import Keyset, Settings

HOSTS = Hosts("https://api.ebay.com", "https://apiz.ebay.com", "https://auth.ebay.com")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
JSON = {"content-type": "application/json"}
EMPTY = b'{"total": 0, "orders": []}'


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


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
async def api(waits: list[float]) -> Any:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with Transport(HOSTS, sleep=sleep) as transport:
        yield Api(transport, Tokens())


async def ask(api: Api) -> fulfillment.OrdersPage:
    return await fulfillment.orders(api, NOON, NOON + timedelta(hours=1))


async def test_the_question_is_asked_as_ebay_documents_it(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(content=EMPTY, headers=JSON)
    await ask(api)
    [request] = httpx_mock.get_requests()
    assert request.url.path == "/sell/fulfillment/v1/order"
    assert request.url.params["filter"] == "lastmodifieddate:[2026-11-20T12:00:00.000Z..2026-11-20T13:00:00.000Z]"
    assert not set(b"[]{|}") & set(request.url.query)
    assert request.headers["authorization"] == "Bearer token-1"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"errors":[{"errorId":30700,"message":"x"}]}', EbayRejected),
        (403, b'{"errors":[{"errorId":1100,"message":"x"}]}', ScopeMissing),
        (404, b'{"errors":[{"errorId":2002,"message":"x"}]}', RecordNotFound),
        (404, b"", AnswerNotUnderstood),
        (418, b"teapot", AnswerNotUnderstood),
        (204, b"", AnswerNotUnderstood),
        (200, b"", EbayUnreachable),
        (200, b'{"total": 0, "orders": [', EbayUnreachable),
        (200, b'{"total": 0}', AnswerNotUnderstood),
        (200, b'{"orders": []}', AnswerNotUnderstood),
        (200, b"[]", AnswerNotUnderstood),
        (302, b"", AnswerNotUnderstood),
    ],
)
async def test_what_is_no_page_is_an_error(
    api: Api, httpx_mock: HTTPXMock, status: int, body: bytes, error: type[EbayError]
) -> None:
    headers = JSON | {"location": "https://evil"}
    httpx_mock.add_response(status_code=status, content=body, headers=headers, is_reusable=True)
    with pytest.raises(error) as caught:
        await ask(api)
    assert type(caught.value) is error
    assert "/sell/fulfillment/v1/order" in caught.value.message
    assert len(httpx_mock.get_requests()) == (5 if error.transient else 2 if status == 403 else 1)


DENIED = b'{"errors":[{"errorId":1100,"message":"x"}]}'


async def test_the_first_403_renews_the_token_and_later_ones_are_believed(api: Api, httpx_mock: HTTPXMock) -> None:
    """Also for the views that the families of an account use."""
    httpx_mock.add_response(status_code=403, content=DENIED, headers=JSON)
    httpx_mock.add_response(content=EMPTY, headers=JSON)
    assert (await ask(api)).total == 0
    httpx_mock.add_response(status_code=403, content=DENIED, headers=JSON, is_reusable=True)
    for view in (api.counted(), api.counted(), api):
        with pytest.raises(ScopeMissing):
            await ask(view)
    sent = [request.headers["authorization"] for request in httpx_mock.get_requests()]
    assert sent == ["Bearer token-1", *["Bearer token-2"] * 4]


async def test_many_calls_that_are_denied_at_once_renew_the_token_once(api: Api, httpx_mock: HTTPXMock) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer token-1":
            return httpx.Response(403, content=DENIED, headers=JSON)
        return httpx.Response(200, content=EMPTY, headers=JSON)

    httpx_mock.add_callback(respond, is_reusable=True)
    pages = await asyncio.gather(*(ask(api.counted()) for _ in range(6)))
    assert [page.total for page in pages] == [0] * 6
    assert {request.headers["authorization"] for request in httpx_mock.get_requests()} == {
        "Bearer token-1",
        "Bearer token-2",
    }


async def test_a_doubt_that_is_settled_before_lets_a_denied_call_cost_one(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=403, content=DENIED, headers=JSON, is_reusable=True)
    await api.settle_doubt()
    with pytest.raises(ScopeMissing):
        await ask(api)
    assert [request.headers["authorization"] for request in httpx_mock.get_requests()] == ["Bearer token-2"]


@pytest.mark.parametrize("number", [215001, 215114, 215120])
async def test_whichever_way_ebay_says_that_a_signature_is_wanted_without_a_key_one_call_is_spent(
    api: Api, httpx_mock: HTTPXMock, number: int
) -> None:
    """An unsigned call is neither stale nor badly signed, so what mends it is a key."""
    refused = b'{"errors":[{"errorId":%d,"message":"x"}]}' % number
    httpx_mock.add_response(status_code=403, content=refused, headers=JSON, is_reusable=True)
    with pytest.raises(SigningKeyMissing) as caught:
        await ask(api)
    assert caught.value.message.endswith(f" 403 {number}; the call must be signed, and there is no signing key")
    assert (caught.value.error_id, "keys signing create" in str(caught.value.hint)) == (number, True)
    assert len(httpx_mock.get_requests()) == 1


@pytest.mark.parametrize("number", [215001, 215114, 215120])
async def test_with_a_key_an_unsigned_call_that_is_refused_is_signed_and_told_if_that_is_refused_too(
    api: Api, httpx_mock: HTTPXMock, number: int
) -> None:
    async def find() -> Signer:
        return Signer("jwe", Ed25519PrivateKey.generate())

    api.transport.signing.find_signer = find
    refused = b'{"errors":[{"errorId":%d,"message":"x"}]}' % number
    httpx_mock.add_response(status_code=403, content=refused, headers=JSON, is_reusable=True)
    with pytest.raises(SignatureRefused) as caught:
        await ask(api)
    assert type(caught.value) is (SignatureStale if number == 215114 else SignatureRefused)
    assert caught.value.error_id == number
    signed = ["signature" in request.headers for request in httpx_mock.get_requests()]
    assert signed == [False, *[True] * (4 if number == 215114 else 1)]  # a stale one is made again


async def test_unknown_errors_keep_their_error_id(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=400, content=b'{"errors":[{"errorId":99999,"message":"new"}]}', headers=JSON)
    with pytest.raises(EbayRejected, match=r"400 99999$") as caught:
        await ask(api)
    assert caught.value.error_id == 99999


@pytest.mark.parametrize(
    ("status", "body", "error", "error_id", "said"),
    [
        (400, b'{"errorMessage":{"error":[{"errorId":1700,"message":"no such"}]}}', EbayRejected, 1700, "400 1700"),
        (400, b'{"error":[{"errorId":"1701","longMessage":"long"}]}', EbayRejected, 1701, "400 1701"),
        (404, b'{"errors":[{"errorId":"E-1","message":null}]}', RecordNotFound, 0, "404 0"),
        (404, b'{"errorMessage":{"error":[]}}', AnswerNotUnderstood, None, "without eBay's error envelope"),
        (400, b'{"error":"invalid_request"}', AnswerNotUnderstood, None, "without eBay's error envelope"),
        (400, b'{"error":{"errorId":1}}', AnswerNotUnderstood, None, "without eBay's error envelope"),
        (400, b'{"errors":["x"]}', AnswerNotUnderstood, None, "without eBay's error envelope"),
        (400, b"[1]", AnswerNotUnderstood, None, "without eBay's error envelope"),
        (429, b'{"errors":[{"errorId":2001,"message":"Too many"}]}', RateLimited, 2001, "429 2001"),
    ],
)
async def test_every_shape_of_an_error_is_read(
    api: Api, httpx_mock: HTTPXMock, status: int, body: bytes, error: type[EbayError], error_id: int | None, said: str
) -> None:
    httpx_mock.add_response(status_code=status, content=body, headers=JSON, is_reusable=True)
    with pytest.raises(error) as caught:
        await ask(api)
    assert type(caught.value) is error
    assert caught.value.error_id == error_id
    assert said in caught.value.message
    assert not any(word in caught.value.message for word in ("no such", "long", "Too many")), "eBay's texts quote data"


async def test_an_api_may_have_headers_and_a_scheme_of_its_own(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(json={})
    api.marketplace_id = "EBAY_DE"
    own = RestApi("api", (("X-Own", "1"),), "IAF", names_marketplace=True)
    found = await api.get(own, "/post-order/v2/return/search", msgspec.Raw)
    assert bytes(found) == b"{}"
    [request] = httpx_mock.get_requests()
    assert request.headers["authorization"] == "IAF token-1"
    assert (request.headers["x-own"], request.headers["x-ebay-c-marketplace-id"]) == ("1", "EBAY_DE")


async def test_a_204_is_nothing_only_where_the_caller_says_so(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=204, is_reusable=True)
    nothing = fulfillment.OrdersPage(total=0, orders=[])
    assert await api.get(RestApi("api"), "/x", fulfillment.OrdersPage, none=nothing) is nothing
    with pytest.raises(AnswerNotUnderstood):
        await api.get(RestApi("api"), "/x", fulfillment.OrdersPage)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), ("9" * 400, 72_600), ("-1", None), ("soon", None), ("²", None), ("9" * 9 + " Nov 2026", None)],
)
def test_a_wait_of_any_number_of_digits_is_read_without_an_error(text: str, seconds: float | None) -> None:
    request = Request("GET", "https://api.ebay.com/x")
    headers = httpx.Headers([(b"retry-after", text.encode())])
    assert Answer(429, headers, b"", request).retry_after(NOON) == seconds


async def test_html_in_place_of_json_is_not_understood(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(html="<html>maintenance</html>")
    with pytest.raises(AnswerNotUnderstood, match="text/html"):
        await ask(api)


@pytest.mark.parametrize("name", ["content-type", "content-encoding"])
async def test_of_a_long_header_only_the_beginning_is_shown(name: str, api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(content=EMPTY, headers={"content-type": "text/html", name: "text/" + "x" * 50_000})
    with pytest.raises(AnswerNotUnderstood) as caught:
        await ask(api)
    assert "text/x" in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("content_type", ["application/json;charset=UTF-8", "Application/JSON", "application/hal+json"])
async def test_json_is_known_in_every_spelling(api: Api, httpx_mock: HTTPXMock, content_type: str) -> None:
    httpx_mock.add_response(content=EMPTY, headers={"content-type": content_type})
    assert (await ask(api)).total == 0


async def test_a_refused_token_is_renewed_once_and_no_more(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=401, content=b'{"errors":[{"errorId":1001}]}', headers=JSON, is_reusable=True)
    with pytest.raises(Unauthorized):
        await ask(api)
    sent = [request.headers["authorization"] for request in httpx_mock.get_requests()]
    assert sent == ["Bearer token-1", "Bearer token-2"]


async def test_waits_are_jittered_and_grow(api: Api, httpx_mock: HTTPXMock, waits: list[float]) -> None:
    httpx_mock.add_response(status_code=503, is_reusable=True)
    with pytest.raises(EbayBusy):
        await ask(api)
    assert len(waits) == 4
    assert all(0 <= wait <= 0.5 * 2**turn for turn, wait in enumerate(waits, start=1))


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError])
async def test_broken_connections_are_tried_again(
    api: Api, httpx_mock: HTTPXMock, error: Callable[[str], Exception]
) -> None:
    httpx_mock.add_exception(error("v^1.1#secret"))
    httpx_mock.add_response(content=EMPTY, headers=JSON)
    assert (await ask(api)).total == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError, "no connection"),
        (httpx.ConnectTimeout, "no connection in time"),
        (httpx.ReadTimeout, "timed out"),
        (httpx.ReadError, "the connection broke"),
        (httpx.RemoteProtocolError, "the connection ended before the answer, or the answer is no HTTP"),
        (httpx.LocalProtocolError, "it cannot be sent"),
    ],
)
async def test_a_broken_connection_is_described_in_words(
    api: Api, httpx_mock: HTTPXMock, error: Callable[[str], Exception], words: str
) -> None:
    httpx_mock.add_exception(error("v^1.1#secret"), is_reusable=True)
    with pytest.raises(EbayError) as caught:
        await ask(api)
    assert caught.value.message.endswith(f": {words}")
    assert "Error" not in caught.value.message


async def test_a_gzip_that_is_cut_or_longer_than_it_says_is_never_taken_for_whole(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    whole = gzip.compress(EMPTY)
    for body in (whole[:-9], whole + whole, b"no gzip"):
        httpx_mock.add_response(stream=IteratorStream([body]), headers=JSON | {"content-encoding": "gzip"})
    httpx_mock.add_response(stream=IteratorStream([whole]), headers=JSON | {"content-encoding": "gzip"})
    assert (await ask(api)).total == 0
    assert len(httpx_mock.get_requests()) == 4


async def test_a_bomb_is_stopped_before_it_is_unpacked(
    api: Api, httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebaysync.ebay.body.DECODED_CAP", 1_000_000)
    bomb = IteratorStream([gzip.compress(bytes(50_000_000))])
    httpx_mock.add_response(stream=bomb, headers=JSON | {"content-encoding": "gzip"})
    with pytest.raises(AnswerNotUnderstood, match="larger than"):
        await ask(api)


class Bytes:
    """A feed that keeps what it gets."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    def feed(self, piece: bytes) -> None:
        self.pieces.append(piece)
        if b"stop" in piece:
            raise EbayRejected("stopped by the feed")

    def close(self) -> None:
        self.closed = True


async def fed(api: Api) -> Answer:
    request = Request("GET", "https://api.ebay.com/x", feed=Bytes)
    return await api.transport.send(request, lambda answer: answer)


XML = {"content-type": "text/xml;charset=utf-8"}


async def test_a_fed_body_is_not_held_and_every_attempt_has_a_feed_of_its_own(api: Api, httpx_mock: HTTPXMock) -> None:
    body = b"<a>" + bytes(3 * CHUNK) + b"</a>"
    whole = gzip.compress(body)
    for sent in (whole[: len(whole) // 2], whole[:-9], whole + whole, whole):
        halves = IteratorStream([sent[:1000], sent[1000:]])
        httpx_mock.add_response(stream=halves, headers=XML | {"content-encoding": "gzip"})
    answer = await fed(api)
    assert answer.body == b""
    assert isinstance(answer.fed, Bytes)
    assert b"".join(answer.fed.pieces) == body
    assert answer.fed.closed
    assert max(map(len, answer.fed.pieces)) <= CHUNK
    assert len(httpx_mock.get_requests()) == 4


async def test_what_is_no_xml_is_kept_in_part_and_not_fed(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(html="<html>" + "x" * 2 * START)
    httpx_mock.add_response(status_code=500, content=b"<stop/>", headers=XML)
    page, failed = await fed(api), await fed(api)
    assert (page.fed, len(page.body), page.body[:7]) == (None, START, b"<html>x")
    assert (failed.fed, failed.body) == (None, b"<stop/>")


async def test_an_error_in_the_feed_passes_out(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(content=b"<stop/>", headers=XML)
    with pytest.raises(EbayRejected, match="stopped by the feed"):
        await fed(api)


async def test_a_bomb_does_not_get_into_the_feed(
    api: Api, httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebaysync.ebay.body.DECODED_CAP", 5_000_000)
    total = 0

    class Counting(Bytes):
        def feed(self, piece: bytes) -> None:
            nonlocal total
            total += len(piece)

    bomb = IteratorStream([gzip.compress(bytes(50_000_000))])
    httpx_mock.add_response(stream=bomb, headers=XML | {"content-encoding": "gzip"})
    with pytest.raises(AnswerNotUnderstood, match="larger than"):
        await api.transport.send(Request("GET", "https://api.ebay.com/x", feed=Counting), lambda answer: answer)
    assert total <= 5_000_000


async def test_no_other_host_is_ever_asked(api: Api) -> None:
    api.transport.hosts = Hosts("https://evil.example", "", "")
    with pytest.raises(AnswerNotUnderstood, match="not one of eBay's hosts"):
        await ask(api)


async def test_a_proxy_that_is_set_is_asked_for_the_way_and_sees_no_token(waits: list[float]) -> None:
    heads: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    configured = Settings(proxy=Secret(f"http://me:pass%40word@127.0.0.1:{port}"), simulator_url="http://127.0.0.1:1")
    assert hosts(configured, "simulator").proxy is None

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with server, Transport(hosts(configured, "production"), sleep=sleep) as transport:
        api = Api(transport, Tokens())
        with pytest.raises(EbayUnreachable, match="the proxy refuses the way") as caught:
            await fulfillment.orders(api, NOON - timedelta(days=1), NOON)
    assert "EBAYSYNC_PROXY" in (caught.value.hint or "")
    assert "pass" not in str(caught.value)
    assert len(heads) == len(waits) + 1
    for head in heads:
        assert head.startswith(b"CONNECT api.ebay.com:443 HTTP/1.1\r\n")
        assert base64.b64encode(b"me:pass@word") in head
        assert b"token-" not in head


async def test_requests_are_logged_without_query_and_headers(
    api: Api, httpx_mock: HTTPXMock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ebaysync")
    httpx_mock.add_response(content=EMPTY, headers=JSON)
    await ask(api)
    assert "/sell/fulfillment/v1/order -> 200" in caplog.text
    assert "lastmodifieddate" not in caplog.text
    assert "token-1" not in caplog.text


async def test_one_name_that_is_no_utf8_or_half_a_surrogate_does_not_spoil_a_page(
    api: Api, httpx_mock: HTTPXMock
) -> None:
    bad = (
        rb'{"total": 2, "orders": [{"orderId": "1", "n": "\ud800 \ud83d\ude00 \\ud800"}, {"orderId": "2", "n": "'
        + b"\xff"
    )
    httpx_mock.add_response(content=bad + b'"}]}', headers=JSON)
    page = await ask(api)
    names = [msgspec.json.decode(order)["n"] for order in page.orders]
    assert names == ["\ufffd \U0001f600 \\ud800", "\ufffd"]


def test_the_clock_follows_the_date_of_answers() -> None:
    clock = Clock()
    assert not clock.known
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    for nonsense in (None, "", "yesterday", "Mon, 99 Nov 2026 12:00:00 GMT"):
        clock.learn(nonsense)
        assert not clock.known
    clock.learn("Fri, 20 Nov 2020 12:00:00 GMT")
    assert clock.known
    assert timedelta(0) <= clock.now() - datetime(2020, 11, 20, 12, tzinfo=UTC) < timedelta(seconds=5)


KEYSET = Keyset("production", "id", Secret("client-secret"), "")


async def test_the_refresh_request_has_no_scope_and_basic_credentials(api: Api, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(json={"access_token": "v^1#new", "expires_in": 7200, "token_type": "User Access Token"})
    grant = await oauth.refresh(api.transport, KEYSET, Secret("v^1.1#i=+&x"))
    [request] = httpx_mock.get_requests()
    assert str(request.url) == "https://api.ebay.com/identity/v1/oauth2/token"
    assert request.content == b"grant_type=refresh_token&refresh_token=v%5E1.1%23i%3D%2B%26x"
    assert request.headers["authorization"].startswith("Basic ")
    assert (grant.access_token.reveal(), grant.expires_in) == ("v^1#new", 7200)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": "invalid_grant", "error_description": "the provided…"}, ConsentNeeded),
        (401, {"error": "invalid_client", "error_description": "client authentication failed"}, KeysetRejected),
        (400, {"error": "invalid_scope"}, EbayRejected),
        (401, {"errors": [{"errorId": 1001}]}, EbayRejected),
    ],
)
async def test_whose_fault_a_refused_refresh_is(
    api: Api, httpx_mock: HTTPXMock, status: int, body: dict[str, Any], error: type[Exception]
) -> None:
    httpx_mock.add_response(status_code=status, json=body)
    with pytest.raises(error):
        await oauth.refresh(api.transport, KEYSET, Secret("refresh"))


@pytest.mark.parametrize("token", ["v^1.1#…", "", "a\nb"])
async def test_what_cannot_be_a_token_is_not_stored(api: Api, httpx_mock: HTTPXMock, token: str) -> None:
    httpx_mock.add_response(json={"access_token": token, "expires_in": 7200 if token else 0})
    with pytest.raises(AnswerNotUnderstood, match="no access token"):
        await oauth.refresh(api.transport, KEYSET, Secret("refresh"))
