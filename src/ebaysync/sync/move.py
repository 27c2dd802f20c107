"""A position and what is committed with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ebaysync.store.connection import Connection


@dataclass(frozen=True)
class Move:
    """A position to commit in the transaction of the records that justify it; `stored` is called afterwards."""

    write: Callable[[Connection], Awaitable[None]]
    stored: Callable[[], None]
