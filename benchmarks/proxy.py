"""A proxy in front of PostgreSQL that counts what a client makes it do, can delay it, and can break a connection.

    round trip  the client sends something after the server has said something, and waits again. A new connection is
                one as well, a farewell (Terminate) is none. Statements that are sent together count once.
    answered    how many ReadyForQuery came: statements and pipelines that were finished
    commit      a COMMIT, or a writing statement outside a transaction

TLS and GSS are off, so the messages can be read.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field, replace
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

TERMINATE = b"X\0\0\0\x04"
IDLE = b"Z\0\0\0\x05I"  # ReadyForQuery: no transaction is open
WRITES = (b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"COPY", b"CREATE", b"ALTER", b"DROP", b"TRUNCATE")


@dataclass
class Counts:
    connections: int = 0
    round_trips: int = 0
    answered: int = 0
    commits: int = 0


@dataclass
class Strike:
    """Breaks a connection once: at the round trip of this number or, with `containing`, at the message of this number
    that contains it. `carried_out`: PostgreSQL gets the message, and its answer is lost; otherwise the message is.
    `cut`: close the connection; otherwise it stays silent."""

    number: int
    carried_out: bool
    containing: bytes = b""
    cut: bool = False
    seen: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def hits(self, data: bytes, *, is_round_trip: bool) -> bool:
        counts = self.containing in data if self.containing else is_round_trip
        self.seen += counts
        return counts and self.seen == self.number


class Answers:
    """Reads the server's half of one connection, in pieces of any size."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._rest = bytearray()
        self._skip = 0  # bytes of a long message that are still to come
        self._idle, self._wrote = True, False

    def feed(self, data: bytes) -> None:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._rest += data[skipped:]
        at = 0
        while len(self._rest) - at >= 5:
            kind, end = self._rest[at], at + 1 + int.from_bytes(self._rest[at + 1 : at + 5], "big")
            small = kind in b"CZ"
            if small and len(self._rest) < end:
                break
            if small:
                self._message(kind, bytes(self._rest[at + 5 : end]))
            self._skip, at = max(0, end - len(self._rest)), min(end, len(self._rest))
        del self._rest[:at]

    def _message(self, kind: int, body: bytes) -> None:
        if kind == ord("Z"):
            self._counts.answered += 1
            self._counts.commits += self._wrote
            self._idle, self._wrote = body == b"I", False
        elif body == b"COMMIT\0":
            self._counts.commits += 1
            self._idle = True
        elif self._idle and body.startswith(WRITES):
            self._wrote = True
        elif body == b"BEGIN\0":
            self._idle = False


class Proxy:
    """`with Proxy(url, delay=0.02) as proxy:` and give `proxy.url` to the client. It runs in a thread of its own."""

    def __init__(self, url: str, delay: float = 0.0) -> None:
        self.delay, self.counts = delay, Counts()
        self.strike: Strike | None = None
        parts = urlsplit(url)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._host = options.get("host") or parts.hostname or "localhost"
        self._port = int(options.get("port") or parts.port or 5432)
        self._login = parts.netloc.rpartition("@")[0]
        self._database = parts.path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://{self._login}@127.0.0.1:{port}{self._database}?sslmode=disable&gssencmode=disable"

    def taken(self) -> Counts:
        """The counts until now; they begin anew."""
        found = replace(self.counts)
        self.counts.__init__()  # type: ignore[misc]
        return found

    def __enter__(self) -> Proxy:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._host.startswith("/"):
            server, to_server = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            server, to_server = await asyncio.open_connection(self._host, self._port)
        link = _Link(self)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(link.requests(client, to_server))
                both.create_task(link.answers(server, to_client))
        except* ConnectionError:
            pass
        finally:
            to_client.close()
            to_server.close()


class _Link:
    """One connection."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.server_spoke = True
        self.struck: Strike | None = None
        proxy.counts.connections += 1

    async def requests(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        while data := await client.read(2**16):
            is_round_trip = self.server_spoke and data != TERMINATE
            if is_round_trip:
                self.server_spoke = False
                self.proxy.counts.round_trips += 1
                if self.proxy.delay:
                    await asyncio.sleep(self.proxy.delay)
            strike = self.proxy.strike
            if strike and strike.hits(data, is_round_trip=is_round_trip):
                self.struck = strike
                if not strike.carried_out:
                    strike.done.set()
            if self.struck and self.struck.done.is_set():
                if self.struck.cut:
                    break
                continue
            to_server.write(data)
            await to_server.drain()
        to_server.close()

    async def answers(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        read = Answers(self.proxy.counts)
        lost = b""
        while data := await server.read(2**16):
            self.server_spoke = True
            read.feed(data)
            if self.struck:
                lost += data
                if not self.struck.containing or IDLE in lost:
                    self.struck.done.set()
                    if self.struck.cut:
                        break
                continue
            to_client.write(data)
            await to_client.drain()
        to_client.close()
