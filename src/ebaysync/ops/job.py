"""What the parent asks of an account's process; apart from ops/account, so that the parent need not import what reads
from eBay and stores it."""

from __future__ import annotations

from uuid import UUID

import msgspec


class Job(msgspec.Struct):
    """`seconds`: after so many no new slice starts."""

    environ: dict[str, str]
    account_id: UUID
    families: list[str]
    trigger: str
    walk: str = "live"
    days: int = 0
    seconds: float | None = None
    verbose: bool = False
    quiet: bool = False
