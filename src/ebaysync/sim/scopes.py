"""The OAuth scopes that the simulator knows, by eBay's documents of each call."""

from __future__ import annotations

BASE = "https://api.ebay.com/oauth/api_scope"


def scope(name: str) -> str:
    return f"{BASE}/{name}"


IDENTITY = frozenset((scope("commerce.identity.readonly"),))
ORDERS = frozenset((scope("sell.fulfillment"), scope("sell.fulfillment.readonly")))
FINANCES = frozenset((scope("sell.finances"),))
DISPUTES = frozenset((scope("sell.payment.dispute"),))
INVENTORY = frozenset((scope("sell.inventory"), scope("sell.inventory.readonly")))

SELLER_SCOPES = frozenset(
    (
        BASE,
        *IDENTITY,
        *ORDERS,
        scope("sell.finances"),
        scope("sell.inventory"),
        scope("sell.inventory.readonly"),
        scope("sell.payment.dispute"),
        scope("commerce.message"),
    )
)
