"""Commerce Identity: whose token this is. (apiz host; the path ends with a slash.)"""

from __future__ import annotations

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Answered, Api

QUOTAS = (Quota("identity", None, r"^/commerce/identity/", r"commerce/identity/"),)

SCOPE = "https://api.ebay.com/oauth/api_scope/commerce.identity.readonly"


class User(Answered, frozen=True):
    user_id: str
    """immutable; the user name can change"""
    username: str | None = None
    registration_marketplace_id: str | None = None


async def user(api: Api) -> User:
    return await api.get("apiz", "/commerce/identity/v1/user/", User)
