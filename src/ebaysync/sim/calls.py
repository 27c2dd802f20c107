"""A call, an answer, and eBay's ways of refusing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str  # decoded
    raw_query: str
    query: Mapping[str, str]  # decoded; the first where a name comes twice
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    base: str  # scheme and host as the client wrote them
    now: datetime
    raw_path: str = ""  # as on the wire


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    seller: str | None = None
    rows: tuple[tuple[str, int], ...] = ()  # which orders it carries, each with its version


class Refusal(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def answer_json(document: Any, status: int = 200, **extra: Any) -> Answer:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return Answer(status, text.encode("utf-8", "surrogatepass"), **extra)


def refuse(
    status: int,
    error_id: int,
    domain: str,
    message: str,
    *,
    long: str | None = None,
    **parameters: str,
) -> Refusal:
    """eBay's envelope of errors, which all REST APIs share."""
    error: dict[str, Any] = {"errorId": error_id, "domain": domain, "category": "REQUEST", "message": message}
    if long:
        error["longMessage"] = long
    if parameters:
        error["parameters"] = [{"name": name, "value": value} for name, value in parameters.items()]
    return Refusal(answer_json({"errors": [error]}, status))


def no_such_resource() -> Refusal:
    return refuse(404, 2002, "ACCESS", "Resource not found", long="The requested resource was not found.")
