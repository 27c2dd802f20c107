"""The simulator's own routes under /_sim/: for people, for demos, and for tests of another process.

They show refresh tokens and plant faults. A browser on the same machine runs the pages of strangers, so only a loopback
name in Host, no other Origin, and application/json for every change are accepted (see `_refused`).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from ebaysync.sim.apis.oauth import Ledger
from ebaysync.sim.calls import Answer, Call, answer_json
from ebaysync.sim.clock import ManualClock, stamp
from ebaysync.sim.faults import Faults
from ebaysync.sim.journal import Journal
from ebaysync.sim.world import World

# DNS rebinding: a page that has pointed its own name to 127.0.0.1 still sends that name. The port may be forwarded.
LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
PAGES = ("/_sim/accepted", "/_sim/declined")
"""where a seller's browser ends up: they show nothing that its address bar does not"""


class Controlled(Protocol):
    """The parts of the application that these routes read and change."""

    world: World
    ledger: Ledger
    faults: Faults
    journal: Journal


def answer(app: Controlled, call: Call) -> Answer:
    route = ROUTES.get((call.method, call.path))
    if route is None:
        known = [f"{method} {path}" for method, path in ROUTES]
        return answer_json({"error": "no such route", "routes": known}, 404)
    if reason := _refused(call):
        return answer_json({"error": reason}, 403)
    try:
        return route(app, call)
    except RecursionError:
        return answer_json({"error": "the JSON is nested too deeply"}, 400)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        return answer_json({"error": str(error)}, 400)


def _refused(call: Call) -> str | None:
    """Why a call is refused that a stranger's web page may have made; None if it is not."""
    if call.path in PAGES:
        return None
    if not LOOPBACK.fullmatch(call.headers.get("host", "")):
        return "this route answers only to 127.0.0.1, localhost or [::1] in the Host header"
    if call.headers.get("origin", call.base) != call.base:
        return "this route does not answer to pages of another origin"
    # A GET of another site's page has no Origin, but current browsers say where it comes from.
    if call.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "this route does not answer to pages of another site"
    # HTML forms cannot send it, and a script of another origin must ask first, which is not answered.
    content_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if call.method != "GET" and content_type != "application/json":
        return "a change needs the header Content-Type: application/json"
    return None


def sellers(world: World) -> list[dict[str, Any]]:
    """Who sells here, with the refresh tokens that `accounts add` needs."""
    return [
        {
            "username": seller.username,
            "userId": seller.user_id,
            "marketplaceId": seller.marketplace_id,
            "refreshToken": seller.refresh_token,
            "scopes": sorted(seller.scopes),
            "orders": len(seller.orders),
        }
        for seller in world.sellers
    ]


def _body(call: Call) -> dict[str, Any]:
    body = json.loads(call.body or b"{}")
    if not isinstance(body, dict):
        raise ValueError("a JSON object is needed")
    return body


def _get_sellers(app: Controlled, call: Call) -> Answer:
    return answer_json({"sellers": sellers(app.world)})


def _get_journal(app: Controlled, call: Call) -> Answer:
    return answer_json({"entries": [entry.as_dict() for entry in app.journal]})


def _delete_journal(app: Controlled, call: Call) -> Answer:
    app.journal.clear()
    return Answer(204)


def _post_faults(app: Controlled, call: Call) -> Answer:
    body = _body(call)
    app.faults.add(str(body.pop("kind", "")), **body)
    return answer_json({"added": True}, 201)


def _delete_faults(app: Controlled, call: Call) -> Answer:
    app.faults.clear()
    return Answer(204)


def _get_clock(app: Controlled, call: Call) -> Answer:
    return answer_json({"now": stamp(call.now)})


def _post_clock(app: Controlled, call: Call) -> Answer:
    clock = app.world.clock
    if not isinstance(clock, ManualClock):
        raise ValueError("this simulator lives by the machine's clock")
    clock.advance(float(_body(call)["advance"]))
    return answer_json({"now": stamp(app.world.now())})


def _post_touch(app: Controlled, call: Call) -> Answer:
    body = _body(call)
    order = app.world.touch(body["seller"], body["orderId"], body.get("change"))
    return answer_json({"orderId": order.id, "version": order.version, "lastModifiedDate": stamp(order.modified)})


def _post_revoke(app: Controlled, call: Call) -> Answer:
    app.ledger.revoke(app.world.seller(_body(call)["seller"]))
    return Answer(204)


def _get_declined(app: Controlled, call: Call) -> Answer:
    return Answer(
        200, b"<!DOCTYPE html><title>Declined</title><p>The seller has declined.</p>", "text/html;charset=utf-8"
    )


def _get_accepted(app: Controlled, call: Call) -> Answer:
    """The page to which the consent leads if the RuName names no other."""
    address = html.escape(f"{call.base}{call.path}?{call.raw_query}")
    page = f"<!DOCTYPE html><title>Accepted</title><p>Paste this address into ebaysync:</p><pre>{address}</pre>"
    return Answer(200, page.encode(), "text/html;charset=utf-8")


ROUTES: dict[tuple[str, str], Callable[[Controlled, Call], Answer]] = {
    ("GET", "/_sim/sellers"): _get_sellers,
    ("GET", "/_sim/journal"): _get_journal,
    ("DELETE", "/_sim/journal"): _delete_journal,
    ("POST", "/_sim/faults"): _post_faults,
    ("DELETE", "/_sim/faults"): _delete_faults,
    ("GET", "/_sim/clock"): _get_clock,
    ("POST", "/_sim/clock"): _post_clock,
    ("POST", "/_sim/touch"): _post_touch,
    ("POST", "/_sim/revoke"): _post_revoke,
    ("GET", "/_sim/accepted"): _get_accepted,
    ("GET", "/_sim/declined"): _get_declined,
}
