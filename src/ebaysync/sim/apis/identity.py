"""Commerce Identity API v1: who the token's seller is."""

from __future__ import annotations

from ebaysync.sim.apis.calls import Answer, answer_json
from ebaysync.sim.orders import Seller


def get_user(seller: Seller) -> Answer:
    """GET /commerce/identity/v1/user/ with commerce.identity.readonly alone: nothing about the person."""
    document = {
        "userId": seller.user_id,
        "username": seller.username,
        "accountType": "BUSINESS",
        "registrationMarketplaceId": seller.marketplace_id,
        "status": "CONFIRMED",
    }
    return answer_json(document)
