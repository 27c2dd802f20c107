"""The moments at which one kind of thing happens to one seller, drawn beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random


class Timeline:
    """Strikes `per_hour` times on average; `act` is then given the moment and the chance."""

    def __init__(
        self, began: datetime, random: Random, per_hour: float, act: Callable[[datetime, Random], object]
    ) -> None:
        self.random, self.per_hour, self.act = random, per_hour, act
        self.next = began
        self._draw()

    def happen(self) -> None:
        self.act(self.next, self.random)
        self._draw()

    def _draw(self) -> None:
        self.next += timedelta(seconds=1 + int(self.random.expovariate(self.per_hour / 3600)))


def run(timelines: Sequence[Timeline], now: datetime) -> None:
    """Lets everything happen that is due, in the order of time."""
    while due := [line for line in timelines if line.next <= now]:
        min(due, key=lambda line: line.next).happen()
