"""Shares a quota among sources that want more calls than it has left. Pure arithmetic.

If half of the quota is enough, the sweep comes round more often than it has to.

If the calls until the reset exceed 80 % of the quota, these steps reduce them, each only as far as needed:

    1   background work, which finds what changes in old rows, takes up to twice its time
    2   sources that bring nothing new wait for a sixteenth of their silence, up to their family's quiet interval
    3   those of accounts that have nothing new at all at present wait for their quiet interval
    4   all sources wait up to six times their interval, or their quiet interval if that is longer
    5   background work takes up to a week, and all sources wait up to twelve hours
    6   as far as needed, all alike

Step 4 and later ones may use the quota almost up to the reserve (ebay/limits) of its most urgent source. Within a step,
families that run least often come first, orders last; among equals, the most expensive accounts come first, so that
one with 25,000 listings does not slow down two hundred small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from ebaysync.ebay import limits
from ebaysync.ebay.limits import Budget
from ebaysync.families.family import PLENTY

QUIET_PART = 16.0  # after a day of silence 90 minutes
MOST_STRETCH = 6.0
LONGEST_INTERVAL = 720.0  # minutes
SELLS_NOW = 20.0  # minutes since an account had something new
HALF_HOUR, DAY = 30.0, 1440.0
LAST_HOURS = 1 / 6  # of a day
ALIKE = 3.0  # times the cheapest: a run that brings something costs more, and must not be put off for it
UNBOUNDED = 1e6
PLENTY_SHARE = 0.5
PATIENT, MORE_PATIENT, MOST_PATIENT = 2.0, 7.0, 30.0  # times the declared bound of a day
MARGIN, LAST_MARGIN = 0.03, 0.005  # of a quota, at the beginning and the end of its day, for what no average foresees


SourceKey = tuple[UUID, str]
"""An account, and the source."""


@dataclass(frozen=True, slots=True)
class Load:
    """The calls of an account's source from one quota until the reset, at the configured interval in minutes."""

    key: SourceKey
    urgency: int
    every: float
    quiet_minutes: float
    cost: float
    """calls of a run"""
    demand: float
    background: float = 0.0
    silence: float = 0.0
    """minutes since the source brought something new"""
    account_silence: float = 0.0
    """the same of the account's most active source"""
    eager: float = 0.0
    """the calls that the sweep needs more if it comes round as often as calls in plenty allow"""

    @property
    def quiet(self) -> float:
        """How many times its interval the source may wait because of its own silence (step 2)."""
        minutes = self.silence / QUIET_PART
        # A source that has something new once a week cannot tell by its own silence whether its account is busy.
        if self.account_silence <= SELLS_NOW and (self.every >= HALF_HOUR or self.silence <= DAY):
            minutes = min(minutes, HALF_HOUR)
        return self._waits(minutes)

    @property
    def idle(self) -> float:
        """The same because its account, too, has nothing new now (step 3)."""
        return self.quiet if self.account_silence <= SELLS_NOW else self._waits(self.quiet_minutes)

    @property
    def most(self) -> float:
        """How many times its interval any source may wait before more urgent ones do."""
        return max(MOST_STRETCH, self.quiet_minutes / self.every)

    def _waits(self, minutes: float) -> float:
        return max(1.0, min(minutes, self.quiet_minutes) / self.every)


@dataclass
class Stretch:
    """How many times its interval each source waits, and its time background work takes, for one quota."""

    factors: list[float]
    patience: float = 1.0
    """below 1: calls are plenty"""
    share: float = limits.TARGET_SHARE
    """of the quota, which the day may use"""

    @classmethod
    def none(cls, loads: Sequence[Load]) -> Stretch:
        return cls([1.0] * len(loads))

    @property
    def is_short(self) -> bool:
        return self.patience > 1.0 or max(self.factors, default=1.0) > 1.0

    def calls(self, loads: Sequence[Load]) -> float:
        """The calls until the reset."""
        background = sum(load.background for load in loads)
        if self.patience < 1.0:
            return _live(loads, self.factors) + background + sum(load.eager for load in loads)
        return _live(loads, self.factors) + background / self.patience


def stretched(loads: Sequence[Load], budget: Budget, now: datetime) -> Stretch:
    """Stretch the sources that share a quota."""
    made = Stretch([1.0] * len(loads), PLENTY)
    if made.calls(loads) <= budget.remaining(PLENTY_SHARE):
        return made
    made.patience = 1.0
    if made.calls(loads) <= budget.remaining(limits.TARGET_SHARE):
        return made
    days = min(1.0, (budget.resets_at - now) / timedelta(days=1))
    full = carried_share(loads) + (MARGIN - LAST_MARGIN) * (1.0 - days)
    # In the last hours there is hardly any background work left to save.
    later, latest = (MORE_PATIENT, MOST_PATIENT) if days > LAST_HOURS else (PATIENT, PATIENT)
    most = [load.most for load in loads]
    longest = [max(load.most, LONGEST_INTERVAL / load.every) for load in loads]
    for share, patience, limit in (
        (limits.TARGET_SHARE, PATIENT, [load.quiet for load in loads]),
        (limits.TARGET_SHARE, PATIENT, [load.idle for load in loads]),
        (full, PATIENT, most),
        (full, later, longest),
    ):
        made.share = share
        if _step(made, loads, budget.remaining(share), patience, limit):
            return made
    allowed = max(0.0, budget.remaining(full))
    made.patience = min(made.patience * (made.calls(loads) / allowed if allowed else UNBOUNDED), latest)
    background = sum(load.background for load in loads) / made.patience
    _reduce(made, loads, range(len(loads)), allowed - background, [UNBOUNDED * factor for factor in made.factors])
    return made


def carried_share(loads: Sequence[Load]) -> float:
    """The share of a quota that a whole day may use before busy sources wait longer."""
    return limits.usable_share(min(load.urgency for load in loads)) - MARGIN


def least_calls(loads: Sequence[Load]) -> float:
    """The calls until the reset if background work and quiet sources take as long as they may, and no others do."""
    factors = [load.quiet_minutes / load.every if load.quiet > 1.0 else 1.0 for load in loads]
    return Stretch(factors, PATIENT).calls(loads)


def _step(made: Stretch, loads: Sequence[Load], allowed: float, patience: float, limit: Sequence[float]) -> bool:
    """Let background work take up to `patience` times its time, and each source wait up to its `limit`. Returns
    whether the calls fit then."""
    background, left = sum(load.background for load in loads), allowed - _live(loads, made.factors)
    if background > 0:
        needed = background / left if left > 0 else patience
        made.patience = max(made.patience, min(needed, patience))
    enough = allowed + 1e-6
    for urgency in sorted({load.urgency for load in loads}, reverse=True):
        total = made.calls(loads)
        if total <= enough:
            return True
        own = [n for n, load in enumerate(loads) if load.urgency == urgency]
        others = total - sum(loads[n].demand / made.factors[n] for n in own)
        _reduce(made, loads, own, allowed - others, limit)
    return made.calls(loads) <= enough


def _reduce(made: Stretch, loads: Sequence[Load], own: Sequence[int], allowed: float, limit: Sequence[float]) -> None:
    """Stretch some of the sources further until they fit, each up to its `limit` at most."""
    so_far = [loads[n].demand / made.factors[n] for n in own]
    most = [max(1.0, limit[n] / made.factors[n]) for n in own]
    cheapest = min((loads[n].cost for n in own if loads[n].cost > 0), default=1.0)
    weights = [max(1e-9, min(loads[n].cost, ALIKE * cheapest)) for n in own]
    for n, further in zip(own, _shared(so_far, weights, allowed, most), strict=True):
        made.factors[n] *= further


def _live(loads: Sequence[Load], factors: Sequence[float]) -> float:
    return sum(load.demand / factor for load, factor in zip(loads, factors, strict=True))


def _shared(demands: Sequence[float], weights: Sequence[float], allowed: float, most: Sequence[float]) -> list[float]:
    """Max-min fair shares by weight: nobody gets more than it wants, and nobody is stretched beyond its `most`."""
    if sum(demands) <= allowed:
        return [1.0] * len(demands)
    least = [demand / cap for demand, cap in zip(demands, most, strict=True)]
    if sum(least) >= allowed:
        return list(most)

    def given(level: float) -> list[float]:
        return [max(min(demand, level * w), floor) for demand, w, floor in zip(demands, weights, least, strict=True)]

    low, high = 0.0, max([demand / weight for demand, weight in zip(demands, weights, strict=True)])
    for _ in range(25):  # precise to some millionths of the largest demand
        level = (low + high) / 2
        if sum(given(level)) > allowed:
            high = level
        else:
            low = level
    return [demand / share if share else 1.0 for demand, share in zip(demands, given(low), strict=True)]
