"""Waiting for several tasks at once."""

from __future__ import annotations

import asyncio

import pytest

from ebaysync.tasks import beside, cancel, gather


class Traced:
    """Work that waits until it is cancelled, and says so."""

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), False

    async def forever(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_results_come_in_the_order_of_the_works() -> None:
    first, second = asyncio.Event(), asyncio.Event()

    async def one() -> int:
        first.set()
        await second.wait()
        return 1

    async def two() -> int:
        await first.wait()
        second.set()
        return 2

    assert await gather([one(), two()]) == [1, 2]


async def test_the_first_error_cancels_the_others_and_is_not_wrapped_in_a_group() -> None:
    other = Traced()

    async def fails() -> None:
        await other.began.wait()
        raise LookupError("that one")

    with pytest.raises(LookupError, match="that one"):
        await gather([other.forever(), fails()])
    assert other.ended


async def test_cancelled_tasks_have_ended_when_cancel_returns() -> None:
    other = Traced()
    task = asyncio.create_task(other.forever())
    await other.began.wait()
    await cancel(task)
    assert other.ended
    assert task.cancelled()


async def test_work_beside_a_block_ends_with_the_block() -> None:
    other = Traced()
    async with beside(other.forever()):
        await other.began.wait()
    assert other.ended


async def test_an_error_beside_a_block_is_not_swallowed() -> None:
    failed = asyncio.Event()

    async def fails() -> None:
        failed.set()
        raise LookupError("beside")

    with pytest.raises(LookupError, match="beside"):
        async with beside(fails()):
            await failed.wait()
