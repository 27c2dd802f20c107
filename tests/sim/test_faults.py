"""What goes wrong on request goes wrong in that way, that often, and nowhere else."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ebaysync.sim import faults_json
from ebaysync.sim.faults import KINDS, SPOILERS

Simulate = Callable[..., Any]
ORDERS = "/sell/fulfillment/v1/order"


def raw(caller: Any, *, accept: str = "identity", most: int = 2_000_000) -> bytes:
    """The bytes of an answer, as they come until the other side hangs up."""
    where = urlsplit(caller.sim.url)
    lines = [
        f"GET {ORDERS} HTTP/1.1",
        f"Host: {where.netloc}",
        f"Accept-Encoding: {accept}",
        "Connection: close",
    ]
    lines.append(f"Authorization: {caller.http.headers['authorization']}")
    with socket.create_connection((where.hostname, where.port), timeout=5) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        received = b""
        while len(received) < most and (chunk := sock.recv(65536)):
            received += chunk
    return received


def test_a_fault_lets_some_calls_through_and_strikes_so_often(simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("status", path=ORDERS, status=503, after=2, times=2)
    assert [caller.get(ORDERS).status_code for _ in range(6)] == [200, 200, 503, 503, 200, 200]
    assert [entry.faults for entry in caller.sim.journal.of(ORDERS)] == [
        (),
        (),
        ("status",),
        ("status",),
        (),
        (),
    ]


def test_a_fault_strikes_its_path_and_seller_alone(simulate: Simulate) -> None:
    caller = simulate(sellers=2)
    caller.sim.faults.add("status", path="/order/", times=None)
    caller.sim.faults.add("status", seller="gb_seller_2", times=None)
    assert caller.get(ORDERS).status_code == 200
    assert caller.get(f"{ORDERS}/01-00000-00000").status_code == 503
    caller.seller = caller.sim.world.sellers[1]
    caller.login()  # the token call of that seller is struck as well
    caller.sim.faults.clear()
    caller.login()
    caller.sim.faults.add("status", seller="gb_seller_2", status=500, times=None)
    assert caller.get(ORDERS).status_code == 500


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_status_comes_with_an_envelope(status: int, simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("status", status=status)
    answer = caller.get(ORDERS)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["errorId"] > 0
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("envelope", ["errors", "error", "errorMessage", "oauth"])
def test_a_refusal_can_quote_the_token_and_the_body_of_the_call(envelope: str, simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("status", status=400, envelope=envelope, says="not for {token}: {body}")
    answer = httpx.post(caller.sim.url + ORDERS, headers={"Authorization": "IAF t/1+"}, data={"code": "v^1#x"})
    assert "not for t/1+: code=v^1#x" in answer.text


@pytest.mark.parametrize(("as_date", "expected"), [(False, "90"), (True, "Wed, 01 Jul 2026 12:01:30 GMT")])
def test_retry_after_comes_in_both_forms(as_date: bool, expected: str, simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("status", status=429, retry_after=90, as_date=as_date)
    assert caller.get(ORDERS).headers["retry-after"] == expected


def test_a_slow_answer_outlasts_a_timeout(simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("slow", seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        caller.http.get(ORDERS, timeout=0.05)
    assert caller.get(ORDERS).status_code == 200


def test_dripping_bytes_keep_a_connection_busy_but_arrive(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=1)
    expected = caller.get(ORDERS).content
    caller.sim.faults.add("drip", seconds=0.0001)
    assert caller.get(ORDERS).content == expected


def test_a_connection_is_reset_before_the_headers(simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("drop")
    with pytest.raises(ConnectionResetError):
        raw(caller)
    assert raw(caller).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("kind", ["cut", "short"])
def test_a_body_is_shorter_than_announced(kind: str, simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add(kind, times=2)
    head, _, body = raw(caller).partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")]
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert 0 < len(body) < length
    with pytest.raises(httpx.RemoteProtocolError):
        caller.get(ORDERS)


def test_a_connection_can_be_reset_in_the_body(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=200)
    caller.sim.faults.add("cut", rst=True)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        caller.get(ORDERS)


@pytest.mark.parametrize("accept", ["gzip", "identity"])
def test_a_gzip_stream_is_cut_although_the_length_is_right(accept: str, simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("bad_gzip")
    head, _, body = raw(caller, accept=accept).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b"content-encoding: gzip" in head
    with pytest.raises((EOFError, zlib.error)):
        gzip.decompress(body)


def test_a_body_without_an_end_is_sent_until_the_client_leaves(simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("endless")
    assert len(raw(caller, most=5_000_000)) >= 5_000_000
    assert caller.get(ORDERS).status_code == 200


def test_other_answers_take_the_place_of_ebays(simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("html")
    answer = caller.get(ORDERS)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html;charset=utf-8")
    caller.sim.faults.add("empty")
    answer = caller.get(ORDERS)
    assert (answer.status_code, answer.content) == (200, b"")
    caller.sim.faults.add("no_content")
    answer = caller.get(ORDERS)
    assert (answer.status_code, answer.content) == (204, b"")
    caller.sim.faults.add("wrong_shape")
    assert caller.get(ORDERS).json()["orders"] == {"a": 1}
    caller.sim.faults.add("redirect", to="http://127.0.0.3:1/x")
    answer = caller.get(ORDERS)
    assert (answer.status_code, answer.headers["location"]) == (302, "http://127.0.0.3:1/x")


def test_tokens_expire_all_at_once(simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("expire_tokens", path=ORDERS, after=1)
    assert [caller.get(ORDERS).status_code for _ in range(3)] == [200, 401, 401]
    caller.login()
    assert caller.get(ORDERS).status_code == 200


def test_consent_is_lost_in_the_middle_of_a_walk(simulate: Simulate) -> None:
    caller = simulate()
    caller.sim.faults.add("narrow", path=ORDERS, after=1)
    assert [caller.get(ORDERS).status_code for _ in range(2)] == [200, 403]
    caller.sim.faults.add("revoke", path=ORDERS)
    assert caller.get(ORDERS).status_code == 401


def test_a_call_can_be_answered_with_another_sellers_orders(simulate: Simulate) -> None:
    caller = simulate(sellers=2)
    caller.sim.faults.add("other_account", path=ORDERS)
    assert set(caller.ids()) == set(caller.sim.world.sellers[1].orders)
    assert caller.sim.journal[-1].seller == caller.seller.username
    assert set(caller.ids()) == set(caller.seller.orders)


def test_a_total_can_lie_and_a_page_can_be_empty(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=5)
    caller.sim.faults.add("total", by=-1)
    page = caller.page()
    assert (page["total"], len(page["orders"])) == (4, 5)
    caller.sim.faults.add("empty_page")
    page = caller.page(limit="2")
    assert (page["total"], page["orders"]) == (5, [])
    assert page["next"]
    assert caller.sim.journal[-1].rows == ()


def test_links_can_lead_astray(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=5)
    caller.sim.faults.add("next_loop")
    page = caller.page(limit="2")
    assert page["next"] == page["href"]
    caller.sim.faults.add("next_elsewhere", to="http://127.0.0.3:1/x")
    assert caller.page(limit="2")["next"] == "http://127.0.0.3:1/x"


def test_a_good_status_can_hide_errors_and_odd_encodings(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=0)
    caller.sim.world.add_order(caller.seller, buyerCheckoutNotes="Grüße")
    caller.sim.faults.add("errors_too")
    page = caller.page()
    assert page["errors"][0]["errorId"] == 30500
    assert page["orders"]
    for kind, mark in {"bom": b"\xef\xbb\xbf{", "latin1": b"Gr\xfc\xdfe"}.items():
        caller.sim.faults.add(kind)
        assert mark in caller.get(ORDERS).content
    caller.sim.faults.add("xml_type")
    answer = caller.get(ORDERS)
    assert (answer.headers["content-type"], answer.json()["total"]) == ("text/xml", 1)


@pytest.mark.parametrize("what", SPOILERS)
def test_one_row_is_spoiled_and_the_others_are_not(what: str, simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=4)
    good = caller.page()["orders"]
    caller.sim.faults.add("spoil", what=what, row=2)
    spoiled = json.loads(caller.get(ORDERS).content, parse_int=str)["orders"]
    good = json.loads(json.dumps(good), parse_int=str)
    assert spoiled[:2] == good[:2]
    assert spoiled[3] == good[3]
    assert spoiled[2:] != good[2:]


def test_spoiled_values_travel_as_they_would_from_ebay(simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=1)
    expected = {"nul": rb"buyer\u0000_1", "surrogate": rb"buyer\ud800_1", "money_number_nan": b":NaN"}
    for what, text in {**expected, "money_digits": b"9" * 5000}.items():
        caller.sim.faults.add("spoil", what=what)
        assert text in caller.get(ORDERS).content


def test_faults_come_and_go_from_outside(simulate: Simulate) -> None:
    caller = simulate()
    url = caller.sim.url + "/_sim/faults"
    assert httpx.post(url, json={"kind": "status", "path": ORDERS, "times": None}).status_code == 201
    assert caller.get(ORDERS).status_code == 503
    assert httpx.delete(url, headers={"Content-Type": "application/json"}).status_code == 204
    assert caller.get(ORDERS).status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "nonsense"},
        {},
        {"kind": "spoil", "what": "x"},
        {"kind": "drop", "colour": 1},
        {"kind": "drop", "path": "("},
    ],
)
def test_a_fault_that_does_not_exist_is_refused(fault: dict[str, Any], simulate: Simulate) -> None:
    caller = simulate()
    assert httpx.post(caller.sim.url + "/_sim/faults", json=fault).status_code == 400
    assert caller.get(ORDERS).status_code == 200
    assert "nonsense" not in KINDS


@pytest.mark.parametrize("what", faults_json.SPOILERS)
def test_a_record_of_any_json_can_be_undecodable_and_the_others_are_as_they_were(what: str, simulate: Simulate) -> None:
    caller = simulate(orders_per_seller=4)
    keys = [order["orderId"] for order in caller.page()["orders"]]
    caller.sim.faults.add("json_spoil", path=ORDERS, what=what, of=keys[2], times=None)
    content = caller.get(ORDERS).content
    assert content.count(faults_json.SPOILERS[what]) >= 1
    assert [content.count(f'"orderId": "{key}"'.encode()) for key in keys] == [1] * 4
    at = content.index(b'{"spoiled": ')
    assert content.index(keys[1].encode()) < at < content.index(keys[2].encode())
    assert b"spoiled" not in caller.get(f"{ORDERS}/{keys[1]}").content
    assert b"spoiled" in caller.get(f"{ORDERS}/{keys[2]}").content


def test_an_answer_can_be_any_body(simulate: Simulate) -> None:
    caller = simulate()
    for says, kind in (('{"a": 1}', "application/json"), ("<a/>", "text/xml")):
        caller.sim.faults.add("body", says=says)
        answer = caller.get(ORDERS)
        assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, says, kind)
