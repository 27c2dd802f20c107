"""An account's work, from the plan to its process.

Apart from ops/account, so that the parent process does not import the code that reads from eBay and stores records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ebaysync.accounts.accounts import Account


class AccountJob(msgspec.Struct, frozen=True):
    """The families of one account that are to run.

    `walk` is "live" or "backfill", `days` is for a backfill only. `time_limit` is in seconds: at 80 % of it no new
    slice starts, at 100 % the process is ended. `patience`: see RunOptions.
    """

    account: Account
    families: Sequence[str]
    trigger: str
    walk: str = "live"
    days: int = 0
    time_limit: float | None = None
    patience: Mapping[str, float] = {}


class ProcessInput(msgspec.Struct):
    """The one line of JSON that an account's process reads: its job, the settings and how much to log."""

    environ: dict[str, str]
    job: AccountJob
    verbose: bool
    quiet: bool
