"""Differences between two answers although nothing has happened: fields that come and go, counters, their order.

Sources: users' reports (PictureDetails come and go between two reads of a listing), the WSDL (WatchCount, also of a
variation, HitCount, and the feedback of an item's seller change without the item), and JSON itself, in which the order
of fields means nothing, nor whether an unset field is null or left out.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ebaysync.sim.calls import Answer, Call

_PICTURES = re.compile(rb"<PictureDetails>.*?</PictureDetails>", re.DOTALL)
_SELLER = re.compile(rb"(<Seller><UserID>[^<]*</UserID>)")


def disturb(answer: Answer, call: Call, turn: int) -> None:
    """Change the answer in place, differently in each turn."""
    if answer.status != 200 or call.path.startswith(("/identity", "/oauth2")):
        return
    if answer.content_type.startswith("application/json"):
        answer.body = json.dumps(_stirred(json.loads(answer.body), turn), separators=(",", ":")).encode()
    elif b"<Item>" in answer.body:
        answer.body = _restless_items(answer.body, turn)


def _restless_items(body: bytes, turn: int) -> bytes:
    if turn % 2:
        body = _PICTURES.sub(b"", body)
    count = str(turn).encode()
    body = _SELLER.sub(rb"\1<FeedbackScore>%b</FeedbackScore>" % count, body)
    body = body.replace(b"</Variation>", b"<WatchCount>%b</WatchCount></Variation>" % count)
    return body.replace(b"</Item>", b"<HitCount>%b</HitCount></Item>" % count)


def _stirred(node: Any, turn: int) -> Any:
    if isinstance(node, list):
        return [_stirred(each, turn) for each in node]
    if not isinstance(node, dict):
        return node
    fields = [(name, _stirred(value, turn)) for name, value in node.items()]
    if turn % 2:
        fields = [*reversed(fields), ("notSetNow", None)]
    return dict(fields)
