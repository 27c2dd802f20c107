"""Commerce Identity API v1: who the token's seller is."""

from __future__ import annotations

from ebaysync.sim.apis.oauth import Route
from ebaysync.sim.calls import Answer, Call, answer_json
from ebaysync.sim.model import Seller
from ebaysync.sim.scopes import IDENTITY
from ebaysync.sim.world import World


def get_user(world: World, seller: Seller, call: Call) -> Answer:
    """GET /commerce/identity/v1/user/ with commerce.identity.readonly alone: nothing about the person."""
    document = {
        "userId": seller.user_id,
        "username": seller.username,
        "accountType": "BUSINESS",
        "registrationMarketplaceId": seller.marketplace_id,
        "status": "CONFIRMED",
    }
    return answer_json(document)


# With its trailing slash: without it eBay knows no such resource.
ROUTES = (Route(r"/commerce/identity/v1/user/", IDENTITY, get_user),)
