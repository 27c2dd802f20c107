"""The forkserver: the process from which account processes are forked.

It has imported everything and opened nothing, so a fork takes milliseconds, where starting Python takes a quarter of a
second. The parent starts it with exec, an allow-listed environment and one socket:

    request   {"number", "memory_mb", "cpu_seconds"} and four descriptors: job, stdout, stderr, results
              {"kill", "signum"}: send a signal to that process's group
    notice    {"number", "pid"}: the process was started
              {"ended", "status", "strays"}: the process with this pid ended, with its status from os.wait()

Only the forkserver waits for the processes, so no signal can reach a pid that is used again. It is their subreaper
(prctl(2)): a process that an account's process leaves behind becomes a child of the forkserver, which kills it. When
the socket closes, the parent is gone, so the forkserver kills all processes and ends.

Why not multiprocessing's forkserver: it passes on the whole environment, starts a second process for semaphores,
imports the program's main module again and cannot hand descriptors to a process.
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

JOB, STDOUT, STDERR, RESULTS = range(4)  # descriptors of an account's process
MESSAGE = 4096
OUT_OF_MEMORY = 83  # exit code at the memory limit; neither Python nor a shell uses it
OPEN_FILES = 256  # six connections to eBay, five to PostgreSQL, and some for DNS
REAP_SECONDS = 2.0  # how long to wait until killed processes are gone
PR_SET_CHILD_SUBREAPER = 36

# Libraries import these at first use. Imported here, they are shared by all processes.
LAZY_IMPORTS = (
    "anyio._backends._asyncio",
    "httpcore._backends.anyio",
    "psycopg.pq",
    "sqlalchemy.dialects.postgresql.psycopg",
    "encodings.idna",
)


class ForkRequest(msgspec.Struct, omit_defaults=True):
    """A request of the parent: a new process with this number and limits, or a signal to a running one."""

    number: int = 0
    memory_mb: int = 0
    cpu_seconds: int = 0
    kill: int = 0
    signum: int = 0


class ForkNotice(msgspec.Struct, omit_defaults=True):
    """A report of the forkserver: request `number` became process `pid` (0: it could not be started), or process
    `ended`.

    `strays` is how many processes it left behind; they were killed.
    """

    number: int = 0
    pid: int = 0
    ended: int = 0
    status: int = 0
    strays: int = 0


def serve(entry: Callable[[], None]) -> None:
    """Fork a process that calls `entry` for each request, until the parent's socket on standard input closes."""
    proc.write_no_core()
    proc.set_dumpable(False)  # and so of every process that is forked
    for name in LAZY_IMPORTS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that garbage collection in a process does not write to shared pages
    # The parent handles signals to the whole unit or terminal, and closes its socket.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    _adopt_orphans()
    with socket.socket(fileno=os.dup(0)) as link:
        server = _ForkLoop(link, entry)
        try:
            server.work()
        finally:
            server.end_all()


def _adopt_orphans() -> None:
    """Become the subreaper.

    Under systemd's MemoryDenyWriteExecute= some builds of libffi cannot import ctypes. Then a stray that has a session
    of its own is found only when the unit ends.
    """
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, MemoryError, OSError):
        return


class _ForkLoop:
    def __init__(self, link: socket.socket, entry: Callable[[], None]) -> None:
        self.link, self.entry = link, entry
        self.running: set[int] = set()
        self.woken, self.waking = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(self.waking, False)
        # A pipe, because a signal just before `select` would otherwise be noticed only after it.
        signal.set_wakeup_fd(self.waking, warn_on_full_buffer=False)
        # Without a handler, Python writes nothing to the pipe.
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
        """Handle one request. False if the parent is gone."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self.link, MESSAGE, 4)
        except ConnectionError:
            return False
        if not message:
            return False
        request = msgspec.json.decode(message, type=ForkRequest)
        if request.kill:
            # Once reaped, a pid may be that of a stranger.
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
        return self.notify(ForkNotice(number=request.number, pid=pid))

    def notify(self, notice: ForkNotice) -> bool:
        try:
            self.link.send(msgspec.json.encode(notice))
        except OSError:
            return False
        return True

    def reap(self) -> bool:
        """Report every process that has ended, after killing its group and its strays."""
        while (pid := _ended()) is not None:
            if pid in self.running:
                _kill_group(pid, signal.SIGKILL)  # before its pid is free
                self.running.discard(pid)
                _, status = os.waitpid(pid, 0)
                strays = self.kill_strays().count(pid)
                if not self.notify(ForkNotice(ended=pid, status=status, strays=strays)):
                    return False
            else:
                os.waitpid(pid, 0)
                self.kill_strays()
        return True

    def kill_strays(self) -> list[int]:
        """Kill what ended processes left behind, and return the strays' session ids. Strays of running ones stay."""
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
        deadline = time.monotonic() + REAP_SECONDS
        while time.monotonic() < deadline:
            self.kill_strays()
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                time.sleep(0.005)


def _ended() -> int | None:
    """The pid of a child that has ended and was not waited for yet."""
    try:
        # WNOWAIT leaves it a zombie, so that its pid cannot be used again before its group is killed.
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _kill_group(pid: int, signum: int) -> None:
    """Signal the process's group, or only the process if it is too new to have a group."""
    try:
        os.killpg(pid, signum)
    except ProcessLookupError:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def _children() -> set[int]:
    """The pids of this process's children, including strays that it inherited."""
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


def _become(entry: Callable[[], None], request: ForkRequest, descriptors: list[int]) -> None:
    """Turn into an account's process. Never returns."""
    code = 1
    try:
        _set_up_process(request, descriptors)
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
        # Not sys.exit: that would run the exit handlers and `finally` blocks of the forkserver in the fork.
        os._exit(code)


def _set_up_process(request: ForkRequest, descriptors: list[int]) -> None:
    os.setsid()
    # Inherited: its signals would wake the forkserver.
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
    # Among the rest is the socket to the parent. Open here, it would hide that the forkserver has ended.
    os.closerange(len(descriptors), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_CPU, request.cpu_seconds)
    # Not RLIMIT_AS: it counts 64 MB of unused address space that malloc reserves per thread. Not RLIMIT_NPROC: it
    # counts all processes of the user, including those of other programs.
    _limit(resource.RLIMIT_DATA, request.memory_mb << 20)
    faulthandler.enable()
    # The fork has copied the generator's state: all processes would draw the same numbers.
    random.seed()


def _limit(kind: int, value: int) -> None:
    """Set a limit, but never above the hard limit, which only root may raise."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))
