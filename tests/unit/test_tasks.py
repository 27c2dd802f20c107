"""Waiting for several tasks at once."""

from __future__ import annotations

import asyncio

import pytest

from ebaysync.tasks import OneBehind, beside, cancel, gather


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


async def test_what_runs_behind_has_ended_at_the_end_of_the_block_though_the_block_fails() -> None:
    ended = []

    async def work() -> None:
        await asyncio.sleep(0)
        ended.append("work")

    async def block() -> None:
        async with OneBehind() as behind:
            behind.start(work())
            raise LookupError

    with pytest.raises(LookupError):
        await block()
    assert ended == ["work"]


async def test_an_error_of_what_runs_behind_comes_before_one_of_the_block() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("behind")

    async def block() -> None:
        async with OneBehind() as behind:
            behind.start(fails())
            raise ValueError("in the block, which came later")

    with pytest.raises(LookupError, match="behind"):
        await block()


async def test_what_runs_behind_is_cancelled_with_its_block() -> None:
    other = Traced()

    async def block() -> None:
        async with OneBehind() as behind:
            behind.start(other.forever())
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await other.began.wait()
    await cancel(task)
    assert (other.ended, task.cancelled()) == (True, True)
