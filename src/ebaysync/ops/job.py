"""An account's work, from the plan to its process, and the lines that the process answers with.

Apart from ops/account, so that the parent process does not import the code that reads from eBay and stores records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

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


Figure = Annotated[int, Meta(ge=0, le=2**63 - 1)]
ShortText = Annotated[str, Meta(max_length=500)]


class RunError(msgspec.Struct, forbid_unknown_fields=True):
    """An EbaysyncError as `as_dict` gives it."""

    code: ShortText
    message: str
    hint: str | None


class FieldNote(msgspec.Struct, forbid_unknown_fields=True):
    field: str
    reason: str
    count: Figure


class RunResult(msgspec.Struct, forbid_unknown_fields=True):
    """A Summary as `as_dict` gives it."""

    account: str
    family: ShortText
    run_id: ShortText | None
    status: Literal["completed", "error", "skipped", "interrupted"]
    reason: str | None
    window_from: ShortText | None
    window_to: ShortText | None
    cursor: ShortText | None
    caught_up: bool
    calls: Figure
    fetched: Figure
    stored: Figure
    unchanged: Figure
    removed: Figure
    quarantined: Figure
    seconds: Annotated[float, Meta(ge=0, le=1e9)]
    error: RunError | None
    field_notes: list[FieldNote] | UnsetType = UNSET
    normalized_full: Figure | UnsetType = UNSET
    normalized_partial: Figure | UnsetType = UNSET
    normalization_errors: Figure | UnsetType = UNSET


class ResultLine(msgspec.Struct, forbid_unknown_fields=True):
    """A line of a process: the `run` of a family, or at the end `done`, with an error that concerns all families."""

    run: RunResult | None = None
    done: bool = False
    error: RunError | None = None
