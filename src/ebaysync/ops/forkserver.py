"""The process that the accounts' processes are forked from: it has everything imported and nothing opened, so that
a fork takes milliseconds where a program's start takes a quarter of a second.

It is started by exec, with the allow-listed environment and one socket, by which it is asked and tells:

    asked     {"number", "memory_mb", "cpu_seconds"} and four descriptors     a process: job, stdout, stderr, results
              {"kill", "signum"}                                              a signal to that process's group
    told      {"number", "pid"}                                               it was started
              {"ended", "status", "left"}                                     by its pid, with what os.wait() said

It alone waits for the processes, so that no signal ever goes to a pid that is used again. It is their subreaper (see
prctl(2)): whatever an account's process leaves behind, in its session or out of it, becomes a child of this one, and
is killed. When the socket ends, the parent is gone: it kills all of them and ends.

Not multiprocessing's forkserver: that one hands on the whole environment, has a second process for semaphores, imports
the program's main module again and gives a process no descriptors of its own.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import random
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from ebaysync import proc

JOB, STDOUT, STDERR, RESULTS = range(4)  # an account's process's descriptors
MESSAGE = 4096
OUT_OF_MEMORY = 83  # exit code of a process that met its memory limit: none of Python's own, none of a shell's
OPEN_FILES = 256  # six connections to eBay, five to PostgreSQL, and what a name's look-up takes
LAST_SECONDS = 2.0  # for what was killed to be gone
PR_SET_CHILD_SUBREAPER = 36

# What is imported only when it is first used, and would be by each process for itself.
LATE = (
    "anyio._backends._asyncio",
    "httpcore._backends.anyio",
    "psycopg.pq",
    "sqlalchemy.dialects.postgresql.psycopg",
    "encodings.idna",
)


class Request(msgspec.Struct, omit_defaults=True):
    """What the parent asks for: a process with that number and limits, or a signal to one that is there."""

    number: int = 0
    memory_mb: int = 0
    cpu_seconds: int = 0
    kill: int = 0
    signum: int = 0


class Notice(msgspec.Struct, omit_defaults=True):
    """What the parent is told: `number` has the pid, or could not be started; or a pid has ended and `left` so
    many processes behind, which were killed."""

    number: int = 0
    pid: int = 0
    ended: int = 0
    status: int = 0
    left: int = 0


def serve(entry: Callable[[], None]) -> None:
    """Fork a process for each request, which calls `entry`, until standard input, the parent's socket, ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in LATE:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that no collection in a process writes to pages that all share
    # Signals to a whole unit or terminal are the parent's matter; it lets its socket go.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    _adopt_orphans()
    with socket.socket(fileno=os.dup(0)) as link:
        server = _Server(link, entry)
        try:
            server.work()
        finally:
            server.end_all()


def _adopt_orphans() -> None:
    """Be the subreaper. Where no memory may become executable (systemd's MemoryDenyWriteExecute=), ctypes cannot be
    imported with some builds of libffi: then a session of a stray's own hides it until the unit ends."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, MemoryError, OSError):
        return


class _Server:
    def __init__(self, link: socket.socket, entry: Callable[[], None]) -> None:
        self.link, self.entry = link, entry
        self.running: set[int] = set()
        self.woken, self.waking = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(self.waking, False)
        signal.set_wakeup_fd(self.waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def work(self) -> None:
        while True:
            ready, _, _ = select.select([self.link.fileno(), self.woken], [], [])
            if self.woken in ready:
                with suppress(BlockingIOError):
                    os.read(self.woken, MESSAGE)
                if not self.reap():
                    return
            if self.link.fileno() in ready and not self.answer():
                return

    def answer(self) -> bool:
        """Do what is asked; False when the parent is gone."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self.link, MESSAGE, 4)
        except ConnectionError:
            return False
        if not message:
            return False
        request = msgspec.json.decode(message, type=Request)
        if request.kill:
            if request.kill in self.running:
                _kill_group(request.kill, request.signum)
            return True
        try:
            pid = os.fork()
        except OSError:  # no process or memory left
            pid = 0
        else:
            if pid == 0:
                _become(self.entry, request, descriptors)
            self.running.add(pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return self.tell(Notice(number=request.number, pid=pid))

    def tell(self, notice: Notice) -> bool:
        try:
            self.link.send(msgspec.json.encode(notice))
        except OSError:
            return False
        return True

    def reap(self) -> bool:
        """Tell of every process that has ended, after its session and what had left it were killed."""
        while (pid := _ended()) is not None:
            if pid in self.running:
                _kill_group(pid, signal.SIGKILL)  # before its pid is free
                self.running.discard(pid)
                _, status = os.waitpid(pid, 0)
                left = self.kill_strays().count(pid)
                if not self.tell(Notice(ended=pid, status=status, left=left)):
                    return False
            else:
                os.waitpid(pid, 0)
                self.kill_strays()
        return True

    def kill_strays(self) -> list[int]:
        """What processes that are gone have left behind; the sessions of what was killed. What a running one's session
        holds is its own matter as yet."""
        found = {pid: _session(pid) for pid in _children() - self.running}
        found = {pid: session for pid, session in found.items() if session not in self.running}
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return list(found.values())

    def end_all(self) -> None:
        for pid in self.running:
            _kill_group(pid, signal.SIGKILL)
        self.running.clear()
        deadline = time.monotonic() + LAST_SECONDS
        while time.monotonic() < deadline:
            self.kill_strays()
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                time.sleep(0.005)


def _ended() -> int | None:
    """A child that has ended and still has its pid."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _kill_group(pid: int, signum: int) -> None:
    """To the process's group; to itself where it is so new that it has none yet."""
    try:
        os.killpg(pid, signum)
    except ProcessLookupError:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def _children() -> set[int]:
    """The pids of this process's children, those inherited from processes that are gone included."""
    us = os.getpid()
    try:
        return {int(pid) for pid in Path(f"/proc/{us}/task/{us}/children").read_text().split()}
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _is_child_of(int(pid), us)}


def _session(pid: int) -> int:
    found = proc.stat(pid)
    return found.session if found else 0


def _is_child_of(pid: int, parent: int) -> bool:
    found = proc.stat(pid)
    return found is not None and found.parent == parent


def _become(entry: Callable[[], None], request: Request, descriptors: list[int]) -> None:
    """Be an account's process, which never returns."""
    code = 1
    try:
        _settle_in(request, descriptors)
        entry()
        code = 0
    except MemoryError:
        code = OUT_OF_MEMORY
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as bug:
        # Not the error's text: it may quote a record.
        print(f"unexpected {type(bug).__name__}\n{''.join(traceback.format_tb(bug.__traceback__))}", file=sys.stderr)
    finally:
        with suppress(OSError, ValueError, MemoryError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _settle_in(request: Request, descriptors: list[int]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
    os.closerange(len(descriptors), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_CPU, request.cpu_seconds)
    # Not RLIMIT_AS: of each thread it counts 64 MB of address space that malloc sets aside and nobody uses. Not
    # RLIMIT_NPROC: it counts all processes of the user, also those of other programs.
    _limit(resource.RLIMIT_DATA, request.memory_mb << 20)
    faulthandler.enable()
    random.seed()


def _limit(kind: int, value: int) -> None:
    """Or a lower one that is there already, which only root may raise."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))
