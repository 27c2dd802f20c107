"""The simulated sellers: seeded, moving with the clock, and honest about what is true."""

from __future__ import annotations

from datetime import UTC, datetime

from ebaysync.sim.clock import ManualClock
from ebaysync.sim.world import World

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_the_same_seed_makes_the_same_world() -> None:
    one, two = (World(7, 3, 20, ManualClock(START)) for _ in range(2))
    for left, right in zip(one.sellers, two.sellers, strict=True):
        assert (left.user_id, left.refresh_token) == (right.user_id, right.refresh_token)
        assert one.truth(left) == two.truth(right)
