"""The options of a run, and what it works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ebaysync.accounts.accounts import Account
from ebaysync.ebay.rest import Api
from ebaysync.settings import Settings
from ebaysync.store.database import Database
from ebaysync.sync.lease import Walk
from ebaysync.sync.stop import Stop
from ebaysync.sync.summary import Summary


@dataclass(frozen=True)
class RunOptions:
    """Options of a run. `trigger` is the command's name."""

    trigger: str
    walk: Walk = "live"
    days: int = 0
    """for a backfill"""
    sweep: bool = False
    """read the whole sweep horizon in this run"""
    dry_run: bool = False
    """roll back every transaction"""
    force: bool = False
    """run although the family or the account is disabled"""
    accept_removals: bool = False
    patience: Mapping[str, float] = field(default_factory=dict)
    """by source: how many times its sweep may take the declared time, and its details may have the declared age (at
    least once), as the quotas allow; PLENTY if it is missing"""
    deadline: float | None = None
    """time.monotonic() after which no new slice starts"""
    on_progress: Callable[[Summary], None] = lambda _: None
    """called after each stored slice"""


@dataclass(frozen=True)
class RunContext:
    """Serves a run. `progress` is called after each stored slice."""

    settings: Settings
    db: Database
    api: Api
    account: Account
    stop: Stop
    progress: Callable[[Summary], None] = lambda _: None
