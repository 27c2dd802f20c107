"""Runs the simulator on real sockets: in a thread of a test (`Simulator`) or as a command (`serve`)."""

from __future__ import annotations

import asyncio
import queue
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ebaysync.sim.apis.oauth import Keyset
from ebaysync.sim.app import App, create_app
from ebaysync.sim.faults import Faults
from ebaysync.sim.journal import Journal
from ebaysync.sim.model import Seller
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


class _Server(uvicorn.Server):
    """Says when it has started."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()


class _Serving:
    """An application on sockets of its own, in a thread: uvicorn takes over the signals of the main thread only."""

    def __init__(self, app: App, sockets: list[socket.socket]) -> None:
        self._app, self._sockets = app, sockets
        self._started = threading.Event()
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="simulator", daemon=True)
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError("the simulator did not start")

    def stop(self) -> None:
        """End at once: waiting calls are cut. From then on the ports refuse connections."""
        if self._stop:
            loop, stop = self._stop
            self._stop = None
            loop.call_soon_threadsafe(stop.set)
            self._thread.join(5)

    async def _run(self) -> None:
        stop = asyncio.Event()
        self._stop = asyncio.get_running_loop(), stop
        self._app.closing = asyncio.Event()
        config = uvicorn.Config(
            self._app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # the Date of an answer is the simulator's, not the machine's
            timeout_keep_alive=30,
        )
        server = _Server(config, self._started.set)
        serving = asyncio.create_task(server.serve(sockets=self._sockets))
        await stop.wait()
        self._app.closing.set()
        for one in server.servers:
            one.close()
        state = server.server_state
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            _, late = await asyncio.wait(state.tasks, timeout=0.5)
            for task in late:
                task.cancel()
        serving.cancel()  # uvicorn's own end waits for connections
        await asyncio.wait([serving])


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

    `split` gives the apiz and auth hosts ports of their own; otherwise `url` stands for all. Raises the application's
    own errors at the end of the block.
    """

    def __init__(
        self, world: World, *, keyset: Keyset | None = None, split: bool = False, quotas: Quotas | None = None
    ) -> None:
        self.app = create_app(world, keyset=keyset, quotas=quotas)
        self.split = split
        self.url = self.apiz_url = self.auth_url = ""
        self._serving: _Serving | None = None

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
        """Leave only these scopes of the seller's consent."""
        with self.world.lock:
            self.app.ledger.narrow(self.world.seller(who), frozenset(scopes))

    def other_keyset(self, client_id: str, client_secret: str) -> None:
        """Accept a second application. Refresh tokens of the first one are not its own."""
        with self.world.lock:
            self.app.ledger.others.append(Keyset(client_id, client_secret, self.app.ledger.keyset.ru_name))

    def unrevoke(self, who: str | Seller) -> None:
        """eBay accepts the seller's refresh tokens again, as after a fault of its own."""
        seller = self.world.seller(who)
        with self.world.lock:
            for grant in self.app.ledger.refresh.values():
                grant.valid |= grant.seller is seller

    def rename(self, who: str | Seller, username: str) -> None:
        """A new user name, which kills the refresh token as at eBay."""
        with self.world.lock:
            self.app.ledger.revoke(self.world.rename(who, username))

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Refuse every connection as long as the context: the ports stay bound, and nobody listens."""
        self.stop()
        sockets = [_bind("127.0.0.1", port) for port in self.app.hosts]
        yield
        self._serving = _Serving(self.app, sockets)

    def __enter__(self) -> Simulator:
        roles = ROLES if self.split else ("any",)
        sockets = [_bind("127.0.0.1", 0) for _ in roles]
        urls = [_url(sock) for sock in sockets]
        self.url, self.apiz_url, self.auth_url = urls if self.split else urls * 3
        self.app.hosts = {sock.getsockname()[1]: role for sock, role in zip(sockets, roles, strict=True)}
        self._serving = _Serving(self.app, sockets)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None and self.app.errors:
            raise RuntimeError("the simulator itself failed") from self.app.errors[0]

    def stop(self) -> None:
        """End at once: waiting calls are cut. From then on the port refuses connections."""
        if self._serving:
            self._serving.stop()


def serve(
    world: World,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    keyset: Keyset | None = None,
    quotas: Quotas | None = None,
    ready: Callable[[str], None] | None = None,
) -> int:
    """Block until SIGINT or SIGTERM, and return that signal's number. `ready` gets the URL. Raises OSError if the
    address cannot be used."""
    app = create_app(world, keyset=keyset, quotas=quotas)
    sock = _bind(host, port)
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: received.put(number))
    serving = _Serving(app, [sock])
    if ready:
        ready(_url(sock))
    ended_by = received.get()
    serving.stop()
    return ended_by
