"""The simulated sellers: seeded, moving with the clock, and honest about what is true."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

from ebaysync.sim.clock import ManualClock
from ebaysync.sim.quirks import Rates
from ebaysync.sim.world import World

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


def state(world: World) -> dict[str, dict[str, object]]:
    return {truth.order.id: truth.full for seller in world.sellers for truth in world.truth(seller).values()}


def test_the_same_seed_makes_the_same_world() -> None:
    one, two = (World(7, 3, 20, ManualClock(START)) for _ in range(2))
    assert [(s.user_id, s.refresh_token) for s in one.sellers] == [(s.user_id, s.refresh_token) for s in two.sellers]
    assert state(one) == state(two)


def test_another_seed_makes_another_world() -> None:
    one, two = (World(seed, 1, 20, ManualClock(START)) for seed in (7, 8))
    assert one.sellers[0].refresh_token != two.sellers[0].refresh_token
    assert not state(one).keys() & state(two).keys()


def test_the_first_sellers_are_american_british_and_german() -> None:
    world = World(1, 3, 5, ManualClock(START))
    assert [seller.marketplace_id for seller in world.sellers] == ["EBAY_US", "EBAY_GB", "EBAY_DE"]
    for seller, currency in zip(world.sellers, ("USD", "GBP", "EUR"), strict=True):
        totals = [truth.full["pricingSummary"]["total"] for truth in world.truth(seller).values()]
        assert {total["currency"] for total in totals} == {currency}


def test_how_often_a_moving_world_is_asked_does_not_change_its_course() -> None:
    worlds = [World(3, 2, 30, ManualClock(START), rates=Rates(new_per_hour=20, changes_per_hour=60)) for _ in range(2)]
    for world, steps in zip(worlds, (1, 120), strict=True):
        assert isinstance(world.clock, ManualClock)
        for _ in range(steps):
            world.clock.advance(7200 / steps)
            world.now()
    assert state(worlds[0]) == state(worlds[1])
    assert len(worlds[0].sellers[0].orders) > 50


def test_rates_of_zero_stand_still() -> None:
    clock = ManualClock(START)
    world = World(3, 1, 30, clock)
    before = state(world)
    clock.advance(30 * 86400)
    assert state(world) == before


def test_every_change_shows_in_the_order_and_moves_its_modification() -> None:
    clock = ManualClock(START)
    world = World(4, 1, 40, clock)
    seller = world.sellers[0]
    seen: set[str] = set()
    for _ in range(12):
        for order_id in seller.orders:
            clock.advance(1.7)
            before = world.truth(seller)[order_id].full
            order = world.touch(seller, order_id)
            after = world.truth(seller)[order_id].full
            seen.add(order.changes[-1].kind)
            assert order.modified == clock.now().replace(microsecond=0)
            assert after["lastModifiedDate"] > before["lastModifiedDate"]
            del after["lastModifiedDate"], before["lastModifiedDate"]
            assert after != before, order.changes[-1].kind
    assert seen >= {
        "ship",
        "ship_part",
        "cancel_ask",
        "cancel",
        "cancel_reject",
        "refund_all",
        "refund_part",
        "estimate",
    }


def test_the_versions_of_an_order_end_with_the_present_one() -> None:
    world = World(5, 1, 5, ManualClock(START))
    order = world.touch(world.sellers[0], next(iter(world.sellers[0].orders)))
    versions = world.versions(world.sellers[0], order.id)
    assert versions[-1] == world.truth(world.sellers[0])[order.id].full
    assert len({str(version) for version in versions}) == len(versions) == order.version


def test_refunds_never_exceed_what_was_paid() -> None:
    world = World(6, 3, 300, ManualClock(START))
    for truth in (truth for seller in world.sellers for truth in world.truth(seller).values()):
        refunds = [refund for item in truth.full["lineItems"] for refund in item.get("refunds", [])]
        given = sum(round(float(refund["amount"]["value"]) * 100) for refund in refunds)
        assert given <= round(float(truth.full["pricingSummary"]["total"]["value"]) * 100), truth.order.id


def test_a_test_can_lay_its_own_fields_over_an_order() -> None:
    world = World(6, 1, 0, ManualClock(START))
    at = START - timedelta(days=3)
    order = world.add_order(
        world.sellers[0],
        order_id="01-00001-00001",
        created=at,
        buyer={"username": "me"},
        salesRecordReference="7",
    )
    full = world.truth(world.sellers[0])[order.id].full
    assert (full["orderId"], full["buyer"]["username"], full["salesRecordReference"]) == (order.id, "me", "7")
    assert full["buyer"]["taxAddress"]
    assert full["creationDate"] == full["lastModifiedDate"] == "2026-06-28T12:00:00.000Z"
    with pytest.raises(ValueError, match="01-00001-00001"):
        world.add_order(world.sellers[0], order_id=order.id)


def test_threads_do_not_disturb_the_course_of_the_world() -> None:
    alone, shared = (
        World(9, 1, 20, ManualClock(START), rates=Rates(new_per_hour=720, changes_per_hour=7200)) for _ in range(2)
    )
    alone.clock.advance(3600)  # type: ignore[attr-defined]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(90):
                shared.clock.advance(10)  # type: ignore[attr-defined]
                shared.now()
                shared.truth(shared.sellers[0])
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    assert state(shared) == state(alone)


def test_five_thousand_orders_are_there_at_once() -> None:
    clock = ManualClock(START)
    begin = datetime.now(UTC)
    World(1, 1, 5000, clock, days=400)
    assert datetime.now(UTC) - begin < timedelta(seconds=2)
