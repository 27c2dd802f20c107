"""Commerce Identity: whose token this is. (apiz host; the path ends with a slash.)"""

from __future__ import annotations

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Answered, Api, RestApi, Text

QUOTAS = (Quota("identity", None, r"^/commerce/identity/", r"commerce/identity/"),)

API = RestApi("apiz")
SCOPE = "https://api.ebay.com/oauth/api_scope/commerce.identity.readonly"


class User(Answered, frozen=True):
    TEXTS = ("username", "registration_marketplace_id")

    user_id: str
    """immutable; the user name can change"""
    username: Text = None
    registration_marketplace_id: Text = None

    def missing(self) -> str | None:
        """Name what the answer lacks; None if it is a user."""
        if not self.user_id.strip():
            return "the answer's userId is empty"
        if not (self.registration_marketplace_id or "").isascii():
            return "the answer's registrationMarketplaceId is none of eBay's"
        return None


async def user(api: Api) -> User:
    """The token's owner. Raises EbayError."""
    return await api.get(API, "/commerce/identity/v1/user/", User, missing=User.missing)
