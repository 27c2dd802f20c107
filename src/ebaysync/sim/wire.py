"""How an answer goes over the socket: packed, slowly, cut, or never ending."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from ebaysync.sim.calls import Answer, Call
from ebaysync.sim.faults import Fault

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BREAKS = ("drop", "cut", "short", "bad_gzip")


class Wire:
    """One answer's way; `closing` ends every wait."""

    def __init__(
        self, faults: Iterable[Fault], closing: asyncio.Event, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.faults = {fault.kind: fault for fault in faults}
        self.closing = closing
        self.connection = scope["state"]["connection"]
        self.receive = receive
        self.send = send

    async def deliver(self, answer: Answer, call: Call) -> None:
        if slow := self.faults.get("slow"):
            await self._pause(slow.seconds)
        headers, body = _headers(answer, call.now), answer.body
        wants_gzip = "gzip" in call.headers.get("accept-encoding", "") and len(body) > 500
        if wants_gzip or "bad_gzip" in self.faults:
            body, headers["content-encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
        if broken := next((self.faults[kind] for kind in BREAKS if kind in self.faults), None):
            await self._break(broken, answer.status, headers, body)
            return
        if "endless" not in self.faults and answer.status != 204:
            headers["content-length"] = str(len(body))
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": raw})
        if "endless" in self.faults:
            await self._flood(body)
            return
        if drip := self.faults.get("drip"):
            body = await self._drip(drip.seconds, body)
        await self.send({"type": "http.response.body", "body": body})

    async def _break(self, fault: Fault, status: int, headers: dict[str, str], body: bytes) -> None:
        """Writes past the HTTP library, which would not lie, and hangs up."""
        half = body[: len(body) // 2]
        sent, announced = {
            "drop": (b"", 0),
            "cut": (half, len(body)),
            "short": (body, len(body) + 50),
            "bad_gzip": (half, len(half)),
        }[fault.kind]
        if fault.kind != "drop":
            headers["content-length"] = str(announced)
            lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.connection.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + sent)
        if fault.kind == "drop" or fault.rst:
            self.connection.reset()
        else:
            self.connection.transport.close()
        await self._gone()

    async def _drip(self, seconds: float, body: bytes) -> bytes:
        """Sends the body piece by piece and returns the last one."""
        while len(body) > 64:
            await self.send({"type": "http.response.body", "body": body[:64], "more_body": True})
            await self._pause(seconds)
            body = body[64:]
        return body

    async def _flood(self, body: bytes) -> None:
        """A body that never ends, until the other side hangs up."""
        gone = asyncio.ensure_future(self._gone())
        await self.send({"type": "http.response.body", "body": body, "more_body": True})
        while not gone.done() and not self.closing.is_set():
            await self.send({"type": "http.response.body", "body": b" " * 65536, "more_body": True})
            await asyncio.sleep(0)
        await gone  # an ending simulator cuts the connection itself

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _pause(self, seconds: float) -> None:
        """Real seconds, cut short when the simulator ends."""
        try:
            await asyncio.wait_for(self.closing.wait(), seconds)
        except TimeoutError:
            return


def _headers(answer: Answer, now: datetime) -> dict[str, str]:
    headers = {"date": format_datetime(now.replace(microsecond=0), usegmt=True), **answer.headers}
    if answer.body:
        headers["content-type"] = answer.content_type
    return headers
