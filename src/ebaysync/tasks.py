"""Waits for several tasks at once and leaves none behind. Lets a signal end long work between two waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

from ebaysync.errors import Interrupted

T = TypeVar("T")


async def gather(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order. The first error cancels the other tasks and is raised as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def drain(queue: deque[T], work: Callable[[T], Awaitable[None]], at_once: int, go_on: Callable[[], bool]) -> None:
    """Take everything from a queue, so many at the same time, as long as `go_on` returns true; the rest stays in it.
    The first error of `work` cancels the others and is raised as it is."""

    async def take() -> None:
        while queue and go_on():
            # Taken before the first await, so that no other task gets the same entry.
            await work(queue.popleft())

    await gather(take() for _ in range(min(at_once, len(queue))))


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended. Their errors are dropped."""
    for task in tasks:
        task.cancel()
    # Without return_exceptions, gather would leave at the first error while others still run.
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the block and cancel it at the end of the block. Raises what `work` raised before that."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        # `cancel` only asks for the end. Without a wait, the task could outlive the block and its connections.
        with suppress(asyncio.CancelledError):
            await task


class OneBehind:
    """Runs one coroutine beside the block at a time. The end of the block waits for the last one, unless the block was
    cancelled. Its error is raised by the next wait."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin, after `done`."""
        self._task = asyncio.create_task(work)

    async def done(self) -> None:
        """Wait for the end of what was started last. Raises its error."""
        if self._task:
            await self._task

    async def __aenter__(self) -> OneBehind:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._task and kind and issubclass(kind, asyncio.CancelledError):
            await cancel(self._task)
        else:
            await self.done()


class _LongWork:
    is_going_on = False


@contextmanager
def long_work() -> Iterator[None]:
    """Let a signal end the block at once, wherever it is: it raises Interrupted (see ops/signals).

    For work without a wait whose result may be lost, such as the parsing of an answer: without this, a signal would
    be noticed only at its end. Nothing may be awaited in the block.
    """
    _LongWork.is_going_on = True
    try:
        yield
    finally:
        _LongWork.is_going_on = False


def end_long_work(signum: int) -> None:
    """Raises Interrupted in a block of `long_work`, once. Does nothing outside of one. A signal handler calls this."""
    if _LongWork.is_going_on:
        _LongWork.is_going_on = False
        raise Interrupted(signum)
