"""Notes what the simulator was asked and what it served. Never an Authorization value."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ebaysync.sim.clock import stamp

# The simulator's journal is read by people and stored by tests: no secrets from the query either.
SECRET_PARAMETERS = frozenset(("code", "refresh_token", "access_token", "state"))


@dataclass(frozen=True, slots=True)
class Entry:
    at: datetime  # by the simulator's clock
    host: str  # the role that was addressed: api, apiz, auth; "any" where one address stands for all
    method: str
    path: str
    query: dict[str, str]
    seller: str | None  # whose token it was
    status: int
    rows: tuple[tuple[str, int], ...]  # (order id, version) as served
    bytes: int  # of the body as eBay would have sent it, unpacked
    faults: tuple[str, ...]  # the kinds that struck

    @property
    def order_ids(self) -> tuple[str, ...]:
        return tuple(order_id for order_id, _ in self.rows)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"at": stamp(self.at)}


class Journal:
    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def __iter__(self) -> Iterator[Entry]:
        with self._lock:
            return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def of(self, path: str, seller: str | None = None) -> list[Entry]:
        """The entries whose path begins so, of one seller where named."""
        return [entry for entry in self if entry.path.startswith(path) and seller in (None, entry.seller)]
