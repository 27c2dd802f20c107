"""Adds up the calls that families will make until the reset, for each quota and each source of an account. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ebaysync.ebay.limits import Budget
from ebaysync.families.family import PLENTY, Family
from ebaysync.ops.stretch import Load, SourceKey

LONG_AGO = datetime.min.replace(tzinfo=UTC)

Bucket = tuple[str, str]
"""A keyset, and the API that has the quota."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family of an account that could run: its interval, and what a run costs."""

    account_id: UUID
    family: str
    source: str
    keyset: str
    urgency: int
    """the family's own interval in minutes, whatever is configured; lower is more urgent"""
    every: float
    """minutes, as configured"""
    costs: Mapping[str, float]
    """calls per run, by API"""
    enabled: bool = True
    works: bool = True
    """False if the account is disabled or the seller must consent; then it costs no calls"""
    last_run_at: datetime | None = None
    retry_at: datetime | None = None
    failures: int = 0
    unreachable: bool = False
    """the last run could not reach eBay: `retry_at` alone counts, which is now as soon as eBay answers again"""
    refused_since: datetime | None = None
    """since when eBay refuses its calls: until `retry_at` it costs nothing"""
    quiet_minutes: float = 0.0
    """the longest interval of an account that has had nothing new for long, where a quota is short"""
    per_day: Mapping[str, float] = field(default_factory=dict)
    """calls a day of background work within its declared time, by API"""
    eager: Mapping[str, float] = field(default_factory=dict)
    """calls a day that the sweep needs more if it comes round in PLENTY of that time, by API"""
    changed_at: datetime | None = None
    """when a run last found something new; None: never"""
    old_rows_hours: float | None = None
    """the declared bound: how soon a change in an old row is seen; None: it has no background work"""


def background(stored: Mapping[str, Mapping[str, float]]) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """`per_day` and `eager` from the calls a day of the sweep and of details (`calls_per_day` of the state)."""
    sweep, details = stored.get("sweep", {}), stored.get("details", {})
    per_day = {api: sweep.get(api, 0.0) + details.get(api, 0.0) for api in {**sweep, **details}}
    return per_day, {api: calls * (1 / PLENTY - 1) for api, calls in sweep.items()}


def old_rows_hours(family: Family, per_day: Mapping[str, float] | None = None) -> float | None:
    """The declared bound in hours, how soon a change in an old row is seen; None if there is no background work. A
    snapshot has some, `per_day`, if its parts are read in turn."""
    has_open = family.detail is not None and family.detail.open_column is not None
    has_turns = bool(family.part_column and per_day)
    return family.window.seen_within / timedelta(hours=1) if family.window.sweep or has_open or has_turns else None


def loads(
    candidates: Iterable[Candidate], budget: Callable[[str, str], Budget], now: datetime
) -> dict[Bucket, list[Load]]:
    """Calls until the reset, for each quota and each source of an account."""
    together: dict[SourceKey, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.enabled and candidate.works and not candidate.refused_since:
            together[candidate.account_id, candidate.source].append(candidate)
    # A source is as active as its most active family, an account as its most active source.
    changed = {key: max([candidate.changed_at or LONG_AGO for candidate in own]) for key, own in together.items()}
    newest: dict[UUID, datetime] = {}
    for (account_id, _), changed_at in changed.items():
        newest[account_id] = max(newest.get(account_id, LONG_AGO), changed_at)
    found: dict[Bucket, list[Load]] = defaultdict(list)
    for key, own in together.items():
        keyset = own[0].keyset
        live = _by_quota(keyset, [candidate.costs for candidate in own], budget)
        background = _by_quota(keyset, [candidate.per_day for candidate in own], budget)
        eager = _by_quota(keyset, [candidate.eager for candidate in own], budget)
        every = min([candidate.every for candidate in own])
        for api in {**live, **background}:
            minutes = max(0.0, (budget(keyset, api).resets_at - now).total_seconds() / 60)
            load = Load(
                key,
                min([candidate.urgency for candidate in own]),
                every,
                max(every, min([candidate.quiet_minutes for candidate in own])),
                live.get(api, 0.0),
                live.get(api, 0.0) * minutes / every,
                background.get(api, 0.0) * minutes / 1440,
                (now - changed[key]).total_seconds() / 60,
                (now - newest[key[0]]).total_seconds() / 60,
                eager.get(api, 0.0) * minutes / 1440,
            )
            found[keyset, api].append(load)
    return found


def _by_quota(
    keyset: str, calls: Sequence[Mapping[str, float]], budget: Callable[[str, str], Budget]
) -> dict[str, float]:
    """The calls of a source by quota: of each API those of the family that makes the most."""
    most = calls[0]
    if len(calls) > 1:
        most = {api: max([own.get(api, 0.0) for own in calls]) for api in set().union(*calls)}
    found: dict[str, float] = {}
    for api, number in most.items():
        quota = budget(keyset, api).api
        found[quota] = found.get(quota, 0.0) + number
    return found
