"""The declaration of a quota. A module that calls an API lists its quotas in QUOTAS; `limits` collects them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quota:
    """One API as eBay counts its calls.

    daily is the documented number of calls a day for all sellers of an application (eBay's page API Call Limits, as of
    2026-09-26); None where eBay documents none. path is a pattern that matches the paths of this API and no other's.
    reported is a pattern for its entry in getRateLimits, written apiContext/apiName/resource in lower case.
    """

    api: str
    daily: int | None
    path: str
    reported: str = ""
