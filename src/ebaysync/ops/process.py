"""The pool's side of the forkserver: starts a process with a job and limits, reads its output, ends it.

A process's output is bounded: its standard output and error go to our standard error line by line, up to a cap. The
rest is read and dropped, so that a noisy process neither fills a disk nor blocks. This module does not know
accounts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec

from ebaysync.log import redact
from ebaysync.ops.forkserver import MESSAGE, ForkNotice, ForkRequest
from ebaysync.shown import line

log = logging.getLogger(__name__)
T = TypeVar("T")

OUTPUT_CAP = 10_000_000  # bytes of standard error, which are log lines
STRAY_CAP = 100_000  # bytes of standard output, to which ebaysync writes nothing
LONGEST_LINE = 1_000_000  # bytes of one result
LONGEST_PARTIAL_LINE = 65_536  # bytes without a newline that are passed on as a line
DRAIN_SECONDS = 5.0  # how long to read the remaining output of a process that has ended


class ForkserverGone(Exception):
    """The forkserver has ended, and with it all of its processes."""


class NoResult(Exception):
    """A process wrote something that is not a result. The text says what the process did, and quotes nothing."""


@dataclass(frozen=True)
class ProcessLimits:
    memory_mb: int
    cpu_seconds: int


@dataclass(frozen=True)
class ProcessExit:
    """How a process ended: its status from os.wait(), and how many processes it left behind."""

    status: int
    strays: int


class Forkserver:
    """Starts the forkserver when it is needed, again if it was killed. `close` ends it and all of its processes."""

    def __init__(self, program: Sequence[str], environ: Mapping[str, str]) -> None:
        self._program, self._environ = program, environ
        self._server: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        # Two tasks that find the forkserver gone must not start two.
        self._one_at_a_time = asyncio.Lock()
        self._number = 0
        self._starting: dict[int, asyncio.Future[tuple[int, asyncio.Future[ProcessExit]]]] = {}
        self._running: dict[int, asyncio.Future[ProcessExit]] = {}

    def launch(self) -> None:
        """Start it with exec, so that it inherits no descriptor, thread or lock."""
        # Keeps the bounds of messages, and says when the other end is closed.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(  # noqa: S603 - our own program
                list(self._program),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=dict(self._environ),
                # Ctrl-C in the terminal reaches only this process, which ends the others in order.
                start_new_session=True,
            )
        ours.setblocking(False)
        self._link = ours
        asyncio.get_running_loop().add_reader(ours, self._on_message, ours)

    async def start(self, limits: ProcessLimits, result: Callable[[bytes], None]) -> Process:
        """Start a process that waits for its job. Raises ForkserverGone, and OSError if no process can be forked."""
        process = Process(self, result)
        try:
            async with self._one_at_a_time:
                if self._link is None:
                    await self.close()
                    self.launch()
                process.pid, process.ended = await self._started(process, limits)
            await process.listen()
        except BaseException:
            process.close()
            raise
        return process

    async def _started(self, process: Process, limits: ProcessLimits) -> tuple[int, asyncio.Future[ProcessExit]]:
        self._number += 1
        starting: asyncio.Future[tuple[int, asyncio.Future[ProcessExit]]] = asyncio.get_running_loop().create_future()
        self._starting[self._number] = starting
        request = ForkRequest(self._number, limits.memory_mb, limits.cpu_seconds)
        try:
            # Closed here once sent: while a copy of a pipe's far end is open, its end of file does not come.
            with process.far_ends() as descriptors:
                self._send(request, descriptors)
            return await starting
        finally:
            self._starting.pop(request.number, None)

    def kill(self, pid: int, signum: int) -> None:
        """Send a signal to the process's group, if the process still runs."""
        # Only the forkserver sends signals: it alone knows whether the pid is still this process's.
        if pid in self._running and self._link is not None:
            with suppress(ForkserverGone):
                self._send(ForkRequest(kill=pid, signum=signum), [])

    def _send(self, request: ForkRequest, descriptors: list[int]) -> None:
        if self._link is None:
            raise ForkserverGone
        try:
            socket.send_fds(self._link, [msgspec.json.encode(request)], descriptors)
        except OSError:
            raise ForkserverGone from None

    def _on_message(self, link: socket.socket) -> None:
        with suppress(BlockingIOError):
            try:
                message = link.recv(MESSAGE)
            except ConnectionError:
                message = b""
            if not message:
                self._lost(link)
                return
            notice = msgspec.json.decode(message, type=ForkNotice)
            if notice.ended:
                _settle(self._running.pop(notice.ended), ProcessExit(notice.status, notice.strays))
            elif notice.pid == 0:
                if (waiting := self._starting.get(notice.number)) and not waiting.done():
                    waiting.set_exception(OSError("no process could be forked"))
            else:
                # Registered at once: the notice that it has ended may follow before `start` gets to run.
                ended = self._running[notice.pid] = asyncio.get_running_loop().create_future()
                if (waiting := self._starting.get(notice.number)) and not waiting.done():
                    waiting.set_result((notice.pid, ended))
                else:  # nobody waits for it any more
                    self.kill(notice.pid, signal.SIGKILL)

    def _lost(self, link: socket.socket) -> None:
        """The forkserver ended. Kill its processes, because nothing else would when this process ends."""
        asyncio.get_running_loop().remove_reader(link)
        link.close()
        self._link = None
        for pid, ended in self._running.items():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            _settle(ended, None)
        for starting in self._starting.values():
            _settle(starting, None)
        self._running.clear()

    async def close(self) -> None:
        if self._link is not None:
            asyncio.get_running_loop().remove_reader(self._link)
            self._link.close()
            self._link = None
        if self._server is not None:
            try:
                # It ends by itself when its socket closes, after it has killed its processes.
                await asyncio.to_thread(self._server.wait, DRAIN_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                await asyncio.to_thread(self._server.wait)
            self._server = None


def _settle(future: asyncio.Future[T], result: T | None) -> None:
    """Set the result, or ForkserverGone if there is none."""
    if future.done():
        return
    if result is not None:
        future.set_result(result)
        return
    future.set_exception(ForkserverGone())
    future.exception()  # mark it as retrieved: it is no error if nobody waits


class Process:
    """One of the forkserver's processes, and our ends of its pipes."""

    ended: asyncio.Future[ProcessExit]

    def __init__(self, server: Forkserver, result: Callable[[bytes], None]) -> None:
        self._server, self.pid = server, 0
        self.results_ended = asyncio.Event()
        """it closed its results pipe, or wrote something that is not a result: no more results will come"""
        self._ours: list[int] = []
        self._theirs: list[int] = []
        self._transports: list[asyncio.BaseTransport] = []
        self._output, self._errors = _PassThrough(STRAY_CAP, "output"), _PassThrough(OUTPUT_CAP, "error")
        self._results = _LineReader(result, self.results_ended)

    def far_ends(self) -> _Closing:
        """The process's ends of its pipes: job, stdout, stderr, results. Closed here at the end of the block."""
        for number in range(4):
            reading, writing = os.pipe()
            self._theirs.append(reading if number == 0 else writing)
            self._ours.append(writing if number == 0 else reading)
        return _Closing(self._theirs)

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        write, *read = (os.fdopen(fd, "wb" if number == 0 else "rb", 0) for number, fd in enumerate(self._ours))
        self._ours = []
        self._job, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, write)
        self._transports.append(self._job)
        for file, reader in zip(read, (self._output, self._errors, self._results), strict=True):
            self._transports.append((await loop.connect_read_pipe(partial(_returns, reader), file))[0])

    def send_job(self, line: bytes) -> None:
        """Send the job. Our end stays open: when it closes, the process knows that we are gone."""
        self._job.write(line + b"\n")

    @property
    def fault(self) -> str | None:
        """How its results are wrong. Nothing was read after that."""
        return self._results.fault

    @property
    def flooded(self) -> bool:
        """Whether it wrote more to its standard output than is passed on."""
        return self._output.is_full

    def kill(self, signum: int) -> None:
        self._server.kill(self.pid, signum)

    async def drain(self) -> None:
        """Read what the process wrote before it ended."""
        waits = [reader.closed.wait() for reader in (self._output, self._errors, self._results)]
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await asyncio.gather(*waits)

    def close(self) -> None:
        for transport in self._transports:
            if not transport.is_closing():
                transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()
        for descriptor in (*self._ours, *self._theirs):
            os.close(descriptor)
        self._ours, self._theirs = [], []
        for reader in (self._output, self._errors):
            reader.flush()


def _returns(reader: asyncio.Protocol) -> asyncio.Protocol:
    return reader


class _Closing:
    """Descriptors that are closed at the block's end."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def __enter__(self) -> list[int]:
        return list(self._descriptors)

    def __exit__(self, *_: object) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


class _LineReader(asyncio.Protocol):
    """Calls `result` for each line. Stops for good when it raises NoResult, or when a line is too long."""

    def __init__(self, result: Callable[[bytes], None], results_ended: asyncio.Event) -> None:
        self._result, self._silent = result, results_ended
        self._rest = b""
        self.fault: str | None = None
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        if self.fault:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            for line in lines:
                _check_length(line)
                self._result(line)
            # A process that writes without a newline must not fill this one's memory.
            _check_length(self._rest)
        except NoResult as error:
            self.fault, self._rest = str(error), b""
            self._silent.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._silent.set()
        self.closed.set()


def _check_length(line: bytes) -> None:
    if len(line) > LONGEST_LINE:
        raise NoResult(f"wrote a result of more than {LONGEST_LINE} bytes")


class _PassThrough(asyncio.Protocol):
    """Passes whole lines on to standard error, up to a cap. Reads and drops the rest."""

    def __init__(self, cap: int, what: str) -> None:
        self._room, self._what = cap, what
        self._rest = b""
        self.closed = asyncio.Event()

    @property
    def is_full(self) -> bool:
        return self._room <= 0

    def data_received(self, data: bytes) -> None:
        if self.is_full:
            return
        kept = data[: self._room]
        self._room -= len(data)
        head, newline, self._rest = (self._rest + kept).rpartition(b"\n")
        _pass_on(head + newline)
        if len(self._rest) > LONGEST_PARTIAL_LINE or self.is_full:
            self.flush()
        if self.is_full:
            log.warning("a process writes too much to its standard %s: the rest is dropped", self._what)

    def flush(self) -> None:
        if self._rest:
            _pass_on(self._rest + b"\n")
            self._rest = b""

    def connection_lost(self, error: Exception | None) -> None:
        self.flush()
        self.closed.set()


def _pass_on(output: bytes) -> None:
    if output:
        with suppress(OSError, ValueError):  # a closed standard error is no reason to stop
            lines = redact(output.decode(errors="replace")).split("\n")
            sys.stderr.write("\n".join(map(line, lines)))
            sys.stderr.flush()
