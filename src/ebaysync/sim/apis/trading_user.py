"""Trading API: GetUser, and the short form of a user in other answers."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from ebaysync.sim.apis.trading_requests import Request
from ebaysync.sim.calls import Answer, Call
from ebaysync.sim.model import Seller
from ebaysync.sim.trading_xml import BAD_INPUT, Failed, answer, box, tag
from ebaysync.sim.world import World

SITES = {"US": "US", "GB": "UK", "DE": "Germany", "IT": "Italy", "AU": "Australia", "FR": "France"}
REGISTERED = datetime(2009, 3, 1, 10, 20, 30, tzinfo=UTC)


def eias_token(seller: Seller) -> str:
    """ "the stable id": it stays when the user takes another name."""
    return "nY+sHZ2PrBmdj6wVnY+sEZ2PrA2d" + base64.b64encode(seller.user_id.encode()).decode()


def user(name: str, seller: Seller) -> str:
    return box(
        name,
        tag("EIASToken", eias_token(seller)),
        tag("FeedbackScore", 4711),
        tag("PositiveFeedbackPercent", 99.7),
        tag("RegistrationDate", REGISTERED),
        tag("Site", SITES[seller.market.country]),
        tag("Status", "Confirmed"),
        tag("UserID", seller.username),
    )


def get_user(world: World, seller: Seller, call: Call, request: Request) -> Answer:
    """Without UserID the token's owner; others only by the names that they bear now. Raises Failed: no such user."""
    who = request.text("UserID") or seller.username
    found = next((other for other in world.sellers if other.username == who), None)
    if found is None:
        raise Failed(BAD_INPUT, "UserID")
    return answer(request.call, call.now, user("User", found))
