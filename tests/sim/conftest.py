"""A simulator on a socket and a seller's plain HTTP client: nothing of ebaysync's own client."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from ebaysync.sim.clock import ManualClock
from ebaysync.sim.model import Seller
from ebaysync.sim.server import Simulator
from ebaysync.sim.world import World

START = datetime(2026, 7, 1, 12, tzinfo=UTC)
ORDERS = "/sell/fulfillment/v1/order"
TOKEN = "/identity/v1/oauth2/token"


# Loading the certificates anew for every client would take most of the tests' time.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Caller:
    """One seller's calls, with a token where one was fetched."""

    def __init__(self, sim: Simulator, seller: Seller) -> None:
        self.sim, self.seller = sim, seller
        self.http = httpx.Client(base_url=sim.url, timeout=5, verify=NO_TLS)
        self.login()

    def login(self) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": self.seller.refresh_token}
        answer = self.http.post(TOKEN, auth=("simulator", "simulator"), data=form)
        if answer.status_code == 200:
            self.http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    def get(self, path: str = ORDERS, **parameters: Any) -> httpx.Response:
        return self.http.get(path, params=parameters or None)

    def page(self, **parameters: Any) -> dict[str, Any]:
        answer = self.get(ORDERS, **parameters)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    def ids(self, **parameters: Any) -> list[str]:
        return [row["orderId"] for row in self.page(**parameters)["orders"]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def simulate(clock: ManualClock, world_of: Callable[..., World]) -> Iterator[Callable[..., Caller]]:
    """`simulate(orders_per_seller=…, split=…)` gives a caller for the first seller."""
    with ExitStack() as stack:

        def start(*, split: bool = False, **options: Any) -> Caller:
            defaults = {"seed": 1, "sellers": 1, "orders_per_seller": 10, "clock": clock}
            world = world_of(**{**defaults, **options})
            sim = stack.enter_context(Simulator(world, split=split))
            caller = Caller(sim, world.sellers[0])
            stack.callback(caller.http.close)
            return caller

        yield start


def written(at: datetime) -> str:
    """eBay's way of writing a time, written down here once more."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


@pytest.fixture
def span() -> Callable[..., str]:
    def build(start: datetime, end: datetime | None, name: str = "lastmodifieddate") -> str:
        return f"{name}:[{written(start)}..{written(end) if end else ''}]"

    return build
