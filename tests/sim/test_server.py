"""The simulator as a server: hosts, dates, journal, its own routes, and how it ends."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from ebaysync.sim.clock import ManualClock
from ebaysync.sim.server import Simulator, serve
from ebaysync.sim.world import World

Simulate = Callable[..., Any]
START = datetime(2026, 7, 1, 12, tzinfo=UTC)
ORDERS = "/sell/fulfillment/v1/order"
USER = "/commerce/identity/v1/user/"


def test_a_call_to_the_wrong_host_is_a_404_without_a_body(simulate: Simulate) -> None:
    caller = simulate(split=True)
    sim, headers = caller.sim, {"Authorization": caller.http.headers["authorization"]}
    for url, right in ((sim.url, ORDERS), (sim.apiz_url, USER), (sim.auth_url, None)):
        for path in (ORDERS, USER):
            answer = httpx.get(url + path, headers=headers)
            assert (answer.status_code, bool(answer.content)) == ((200, True) if path == right else (404, False))
    assert {entry.host for entry in sim.journal} == {"api", "apiz", "auth"}


def test_the_date_is_the_simulators_and_comes_once(simulate: Simulate, clock: ManualClock) -> None:
    caller = simulate()
    clock.advance(61.5)
    dates = caller.get(ORDERS).headers.get_list("date")
    assert dates == ["Wed, 01 Jul 2026 12:01:01 GMT"]


def test_answers_are_packed_only_for_clients_that_unpack(simulate: Simulate) -> None:
    caller = simulate()
    packed = caller.http.get(ORDERS, headers={"Accept-Encoding": "gzip"})
    plain = caller.http.get(ORDERS, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content


def test_the_journal_knows_what_was_served_and_no_secret(simulate: Simulate) -> None:
    caller = simulate()
    token = caller.http.headers["authorization"].removeprefix("Bearer ")
    caller.get(ORDERS, access_token=token)  # a client that leaks it
    content = caller.get(ORDERS, limit="3").content
    entry = caller.sim.journal[-1]
    assert (entry.method, entry.path, entry.query, entry.status) == ("GET", ORDERS, {"limit": "3"}, 200)
    assert (entry.seller, entry.at, entry.bytes) == (caller.seller.username, START, len(content))
    assert list(entry.order_ids) == caller.ids(limit="3")
    versions = {order_id: caller.seller.orders[order_id].version for order_id in entry.order_ids}
    assert dict(entry.rows) == versions
    text = httpx.get(caller.sim.url + "/_sim/journal").text
    assert ORDERS in text
    for secret in (token, caller.seller.refresh_token, "Basic "):
        assert secret not in text


def test_the_sellers_and_the_clock_can_be_asked_from_outside(simulate: Simulate) -> None:
    caller = simulate(sellers=3)
    sellers = httpx.get(caller.sim.url + "/_sim/sellers").json()["sellers"]
    assert [(s["userId"], s["refreshToken"]) for s in sellers] == [
        (s.user_id, s.refresh_token) for s in caller.sim.world.sellers
    ]
    answer = httpx.post(caller.sim.url + "/_sim/clock", json={"advance": 3600})
    assert answer.json() == {"now": "2026-07-01T13:00:00.000Z"}
    order_id = next(iter(caller.seller.orders))
    touched = httpx.post(caller.sim.url + "/_sim/touch", json={"seller": caller.seller.username, "orderId": order_id})
    assert touched.json()["lastModifiedDate"] == "2026-07-01T13:00:00.000Z"
    assert httpx.get(caller.sim.url + "/_sim/nonsense").status_code == 404
    assert httpx.post(caller.sim.url + "/_sim/touch", json={"seller": "nobody"}).status_code == 400


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "sellers", {"Host": "evil.example"}),
        ("GET", "sellers", {"Host": "evil.example:{port}"}),
        ("GET", "sellers", {"Host": "127.0.0.1.evil.example:{port}"}),
        ("GET", "sellers", {"Host": "localhost@evil.example:{port}"}),
        ("GET", "sellers", {"Origin": "https://evil.example"}),
        ("GET", "sellers", {"Origin": "http://localhost:3000"}),
        ("GET", "sellers", {"Origin": "null"}),
        ("GET", "sellers", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", "sellers", {"Sec-Fetch-Site": "same-site"}),
        ("GET", "journal", {"Host": "evil.example"}),
        ("GET", "clock", {"Host": "evil.example"}),
        ("POST", "faults", {"Content-Type": "text/plain"}),
        ("POST", "faults", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("POST", "faults", {"Content-Type": "multipart/form-data; boundary=application/json"}),
        ("POST", "faults", {}),
        ("POST", "faults", {**JSON, "Origin": "https://evil.example"}),
        ("POST", "faults", {**JSON, "Host": "evil.example"}),
        ("POST", "revoke", {"Content-Type": "text/plain"}),
        ("DELETE", "journal", {}),
    ],
)
def test_no_web_page_can_read_or_plant_anything(
    method: str, path: str, headers: dict[str, str], simulate: Simulate
) -> None:
    caller = simulate()
    caller.get(ORDERS)
    noted = len(caller.sim.journal)
    port = str(port_of(caller.sim)[1])
    named = {name: value.replace("{port}", port) for name, value in headers.items()}
    content = json.dumps({"kind": "status", "seller": caller.seller.username}).encode() if method == "POST" else None
    answer = httpx.request(method, f"{caller.sim.url}/_sim/{path}", headers=named, content=content)
    assert answer.status_code == 403
    assert list(answer.json()) == ["error"]
    assert caller.seller.refresh_token not in answer.text
    assert len(caller.sim.journal) == noted
    assert caller.get(ORDERS).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_its_own_pages_and_programs_are_answered(host: str, simulate: Simulate) -> None:
    caller = simulate()
    own = f"{host}:{port_of(caller.sim)[1]}"
    for more in ({}, {"Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        url = caller.sim.url + "/_sim/"
        assert httpx.get(url + "sellers", headers={"Host": own, **more}).status_code == 200
        spoken = {"Host": own, "Content-Type": "application/json; charset=utf-8", **more}
        assert httpx.post(url + "clock", headers=spoken, json={"advance": 1}).status_code == 200


def test_a_control_body_that_cannot_be_read_is_refused(simulate: Simulate) -> None:
    caller = simulate()
    for body in (b"[" * 60_000, b"[]", b'{"advance": 1e400}', b"\xff"):
        assert httpx.post(caller.sim.url + "/_sim/clock", headers=JSON, content=body).status_code == 400


def test_connections_are_kept(simulate: Simulate) -> None:
    caller = simulate()
    ports = set()
    for _ in range(3):
        with caller.http.stream("GET", ORDERS) as answer:
            ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
            answer.read()
    assert len(ports) == 1


def port_of(sim: Simulator) -> tuple[str, int]:
    host, _, port = sim.url.removeprefix("http://").partition(":")
    return host, int(port)


def test_it_ends_at_once_and_leaves_nothing_behind() -> None:
    with Simulator(World(1, 1, 3, ManualClock(START))) as sim:
        sim.faults.add("slow", seconds=60)
        with socket.create_connection(port_of(sim)) as waiting:
            waiting.sendall(f"GET {ORDERS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while not len(sim.journal):
                time.sleep(0.001)
            begin = time.monotonic()
            sim.stop()
            assert time.monotonic() - begin < 1
    assert "simulator" not in {thread.name for thread in threading.enumerate()}
    gc.collect()  # a socket that nobody closed would warn here
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(port_of(sim), timeout=1)


def test_an_error_of_the_simulator_itself_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulator(World(1, 1, 3, ManualClock(START)))
    monkeypatch.setattr(sim.app, "answer", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="simulator itself"), sim:
        assert httpx.get(sim.url + ORDERS).status_code == 500


def test_the_command_serves_until_it_is_told_to_stop() -> None:
    """serve() needs the main thread for its signals, so the client is another one."""
    seen: list[int] = []

    def visit(url: str) -> None:
        seen.append(httpx.get(url + "/_sim/sellers").status_code)
        os.kill(os.getpid(), signal.SIGTERM)

    def ready(url: str) -> None:
        visitor.append(threading.Thread(target=visit, args=(url,)))
        visitor[0].start()

    visitor: list[threading.Thread] = []
    assert serve(World(1, 1, 3, ManualClock(START)), ready=ready) == signal.SIGTERM
    visitor[0].join()
    assert seen == [200]
