"""Trading API: POST /ws/api.dll, one address for all calls, which a header tells apart.

Everything is HTTP 200. Headers and OAuth: eBay's user guide, "make a call using XML"; numbers of the errors of
tokens as seen by others' clients.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ebaysync.sim.apis import trading_buying, trading_listings, trading_messages, trading_user
from ebaysync.sim.apis.oauth import Ledger, Route
from ebaysync.sim.apis.trading_requests import PATH, BadInput, Malformed, Request, read
from ebaysync.sim.calls import Answer, Call, Refusal
from ebaysync.sim.model import Seller
from ebaysync.sim.scopes import BASE
from ebaysync.sim.trading_xml import BAD_INPUT, EXPIRED_TOKEN, INVALID_TOKEN, Failed
from ebaysync.sim.world import World

Handler = Callable[[World, Seller, Call, Request], Answer]
HANDLERS: dict[str, Handler] = {
    "GetMyMessages": trading_messages.get_my_messages,
    "GetMyeBaySelling": trading_listings.get_my_ebay_selling,
    "GetSellerList": trading_listings.get_seller_list,
    "GetMyeBayBuying": trading_buying.get_my_ebay_buying,
    "GetUser": trading_user.get_user,
}
GERMANY = "77"
# How eBay refuses a header is not in its documents: here with the number of a wrong one.
HEADERS = {
    "x-ebay-api-siteid": r"\d{1,3}",
    "x-ebay-api-compatibility-level": r"\d{3,4}",
    "content-type": r"(text|application)/xml\b.*",
}


def authorize(ledger: Ledger, call: Call, scopes: frozenset[str]) -> Seller:
    """The seller of X-EBAY-API-IAF-TOKEN. An OAuth token in RequesterCredentials is not accepted. Raises Refusal."""
    try:
        return _owner(ledger, call, scopes)
    except Failed as failed:
        raise _refusal(failed, call) from None


def api(world: World, seller: Seller, call: Call) -> Answer:
    """Raises Refusal."""
    name = call.headers["x-ebay-api-call-name"]
    try:
        for header, pattern in HEADERS.items():
            if not re.fullmatch(pattern, call.headers.get(header, ""), re.ASCII):
                raise Failed(10012, header.upper())
        request = _read(name, call.body)
        world.undeclared += request.undeclared
        world.asked += 1
        return HANDLERS[name](world, seller, call, request)
    except Failed as failed:
        raise _refusal(failed, call) from None


def _read(name: str, body: bytes) -> Request:
    try:
        return read(name, body)
    except Malformed:
        raise Failed(5) from None
    except BadInput as bad:
        raise Failed(BAD_INPUT, str(bad)) from None


def _owner(ledger: Ledger, call: Call, scopes: frozenset[str]) -> Seller:
    name = call.headers.get("x-ebay-api-call-name", "")
    if name not in HANDLERS:
        raise Failed(2, name)
    token = call.headers.get("x-ebay-api-iaf-token", "")
    grant = ledger.access.get(token)
    if grant is None and not token and b"<eBayAuthToken>" in call.body:
        raise Failed(931)
    if grant is None or grant.seller is None or (grant.of and not grant.of.valid) or not grant.scopes & scopes:
        raise Failed(INVALID_TOKEN)
    if not grant.valid or call.now >= grant.expires:
        raise Failed(EXPIRED_TOKEN)
    return grant.seller


def _refusal(failed: Failed, call: Call) -> Refusal:
    """In the language of ErrorLanguage, "else language of SITEID": who matches texts, fails with the German site."""
    name = call.headers.get("x-ebay-api-call-name", "")
    german = call.headers.get("x-ebay-api-siteid") == GERMANY and not call.query.get("ErrorLanguage", "").startswith(
        "en"
    )
    return failed.refusal(name if re.fullmatch(r"\w+", name) else "", call.now, german=german)


ROUTES = (Route(PATH, frozenset((BASE,)), api, method="POST", authorize=authorize),)
