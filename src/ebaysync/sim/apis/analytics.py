"""Developer Analytics v1_beta: getRateLimits, with an application's token."""

from __future__ import annotations

from ebaysync.sim.apis.oauth import Ledger
from ebaysync.sim.calls import Answer, Call, answer_json, refuse
from ebaysync.sim.quotas import Quotas
from ebaysync.sim.scopes import BASE

PATH = "/developer/analytics/v1_beta/rate_limit/"
CONTEXTS = ("buy", "sell", "commerce", "developer", "tradingapi")


def rate_limits(ledger: Ledger, quotas: Quotas, call: Call) -> Answer:
    """GET /developer/analytics/v1_beta/rate_limit/; 204 where the filters leave nothing."""
    _check_application(ledger, call)
    shown = quotas.shown(call.now, call.query)
    return answer_json({"rateLimits": shown}) if shown else Answer(204)


def _check_application(ledger: Ledger, call: Call) -> None:
    """A seller's token is refused: the specification asks for the client credentials grant."""
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    grant = ledger.of_access(token, call.now) if kind == "Bearer" else None
    if grant is None:
        where = "Invalid access token. Check the value of the Authorization HTTP request header."
        raise refuse(401, 1001, "OAuth", "Invalid access token", long=where)
    if grant.seller is not None or BASE not in grant.scopes:
        long = "Insufficient permissions to fulfill the request."
        raise refuse(403, 1100, "ACCESS", "Access denied", long=long)
