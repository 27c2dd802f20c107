"""How an answer goes over the socket: packed, slowly, cut, or never ending."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from ebaysync.sim.apis.calls import Answer, Call
from ebaysync.sim.faults import Fault

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def deliver(
    answer: Answer,
    call: Call,
    wire: list[Fault],
    closing: asyncio.Event,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Sends the answer with whatever the faults do to it on the way; `closing` ends every wait."""
    kinds = {fault.kind: fault for fault in wire}
    if slow := kinds.get("slow"):
        await _pause(closing, slow.seconds)
    headers = _headers(answer, call.now)
    body = answer.body
    if "gzip" in call.headers.get("accept-encoding", "") and len(body) > 500:
        body, headers["content-encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
    broken = next((kind for kind in ("drop", "cut", "short", "bad_gzip") if kind in kinds), None)
    if broken:
        await _break(broken, scope["state"]["connection"], answer, headers, body, receive)
        return
    if "endless" not in kinds and answer.status != 204:
        headers["content-length"] = str(len(body))
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if "endless" in kinds:
        await _flood(closing, body, send, receive)
    elif drip := kinds.get("drip"):
        for start in range(0, len(body), 64):
            await _pause(closing, drip.seconds)
            await send({"type": "http.response.body", "body": body[start : start + 64], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": body})


def _headers(answer: Answer, now: datetime) -> dict[str, str]:
    headers = {"date": format_datetime(now.replace(microsecond=0), usegmt=True), **answer.headers}
    if answer.body:
        headers["content-type"] = answer.content_type
    return headers


async def _pause(closing: asyncio.Event, seconds: float) -> None:
    """Real seconds, cut short when the simulator ends."""
    try:
        await asyncio.wait_for(closing.wait(), seconds)
    except TimeoutError:
        return


async def _break(
    kind: str, connection: Any, answer: Answer, headers: dict[str, str], body: bytes, receive: Receive
) -> None:
    """Writes past the HTTP library, which would not lie, and hangs up."""
    if kind == "drop":
        connection.reset()
    else:
        sent = body[: len(body) // 2] if kind in ("cut", "bad_gzip") else body
        length = {"cut": len(body), "short": len(body) + 50, "bad_gzip": len(sent)}[kind]
        if kind == "bad_gzip" and "content-encoding" not in headers:
            packed = gzip.compress(body, 1, mtime=0)
            sent, headers["content-encoding"] = packed[: len(packed) // 2], "gzip"
            length = len(sent)
        headers["content-length"] = str(length)
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + sent)
        connection.transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _flood(closing: asyncio.Event, body: bytes, send: Send, receive: Receive) -> None:
    """A body that never ends, until the other side hangs up."""
    gone = asyncio.ensure_future(_gone(receive))
    await send({"type": "http.response.body", "body": body, "more_body": True})
    while not gone.done() and not closing.is_set():
        await send({"type": "http.response.body", "body": b" " * 65536, "more_body": True})
        await asyncio.sleep(0)
    await gone  # an ending simulator cuts the connection itself


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
