"""Runs the simulator on real sockets: in a thread of a test (`Simulator`) or as a command (`serve`)."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ebaysync.sim.apis.oauth import Keyset
from ebaysync.sim.app import App, create_app
from ebaysync.sim.faults import Faults
from ebaysync.sim.journal import Journal
from ebaysync.sim.orders import Seller
from ebaysync.sim.quotas import Quotas
from ebaysync.sim.world import World

ROLES = ("api", "apiz", "auth")


class _Connection(H11Protocol):
    """Hands itself to the application, so that a fault can break it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.app_state = {**self.app_state, "connection": self}

    def reset(self) -> None:
        """RST instead of FIN."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


async def _run(app: App, sockets: list[socket.socket], stop: asyncio.Event, started: Callable[[], None]) -> None:
    """Serves until `stop`; then every connection is cut and nothing is left behind."""
    # The Date of an answer is the simulator's, not the machine's: uvicorn must add none.
    config = Config(app, lifespan="off", log_config=None, ws="none", access_log=False, timeout_keep_alive=30)
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    app.closing = asyncio.Event()

    def connection() -> _Connection:
        return _Connection(config, state, {}, loop)

    servers = [await loop.create_server(connection, sock=sock) for sock in sockets]
    started()
    await stop.wait()
    app.closing.set()
    for server in servers:
        server.close()
    for open_connection in list(state.connections):
        open_connection.transport.abort()
    if state.tasks:
        _, late = await asyncio.wait(state.tasks, timeout=0.5)
        for task in late:
            task.cancel()
    await asyncio.sleep(0)
    for server in servers:
        await server.wait_closed()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY; without it every answer waits 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Simulator:
    """`with Simulator(world) as sim:` - a simulator on loopback, in a thread of this process.

    `split` gives the apiz and auth hosts ports of their own; otherwise `url` stands for all. What the
    application itself got wrong is raised when the block ends.
    """

    def __init__(
        self, world: World, *, keyset: Keyset | None = None, split: bool = False, quotas: Quotas | None = None
    ) -> None:
        self.app = create_app(world, keyset=keyset, quotas=quotas)
        self.split = split
        self.url = self.apiz_url = self.auth_url = ""
        self._started = threading.Event()
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._thread = threading.Thread(target=self._serve, name="simulator", daemon=True)
        self._sockets: list[socket.socket] = []

    @property
    def world(self) -> World:
        return self.app.world

    @property
    def faults(self) -> Faults:
        return self.app.faults

    @property
    def quotas(self) -> Quotas:
        return self.app.quotas

    @property
    def journal(self) -> Journal:
        return self.app.journal

    def expire_tokens(self) -> None:
        """All access tokens at once."""
        with self.world.lock:
            self.app.ledger.expire_access()

    def revoke(self, who: str | Seller) -> None:
        """The seller withdraws consent."""
        with self.world.lock:
            self.app.ledger.revoke(self.world.seller(who))

    def narrow(self, who: str | Seller, *scopes: str) -> None:
        """Of the seller's consent, only these scopes are left."""
        with self.world.lock:
            self.app.ledger.narrow(self.world.seller(who), frozenset(scopes))

    def rename(self, who: str | Seller, username: str) -> None:
        """A new user name, which kills the refresh token as at eBay."""
        with self.world.lock:
            self.app.ledger.revoke(self.world.rename(who, username))

    def __enter__(self) -> Simulator:
        roles = ROLES if self.split else ("any",)
        self._sockets = [_bind("127.0.0.1", 0) for _ in roles]
        urls = [_url(sock) for sock in self._sockets]
        self.url, self.apiz_url, self.auth_url = urls if self.split else urls * 3
        self.app.hosts = {sock.getsockname()[1]: role for sock, role in zip(self._sockets, roles, strict=True)}
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError("the simulator did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None and self.app.errors:
            raise RuntimeError("the simulator itself failed") from self.app.errors[0]

    def stop(self) -> None:
        """Ends at once: waiting calls are cut. From then on the port refuses connections."""
        if self._stop:
            loop, stop = self._stop
            self._stop = None
            loop.call_soon_threadsafe(stop.set)
            self._thread.join(5)

    def _serve(self) -> None:
        async def run() -> None:
            stop = asyncio.Event()
            self._stop = asyncio.get_running_loop(), stop
            await _run(self.app, self._sockets, stop, self._started.set)

        asyncio.run(run())


def serve(
    world: World,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    keyset: Keyset | None = None,
    quotas: Quotas | None = None,
    ready: Callable[[str], None] | None = None,
) -> int:
    """Blocks until SIGINT or SIGTERM and returns that signal's number; `ready` is told the URL."""
    app = create_app(world, keyset=keyset, quotas=quotas)
    sock = _bind(host, port)
    received: list[int] = []

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def end(number: int) -> None:
            received.append(number)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end, number)
        await _run(app, [sock], stop, lambda: ready(_url(sock)) if ready else None)

    asyncio.run(run())
    return received[0] if received else 0
