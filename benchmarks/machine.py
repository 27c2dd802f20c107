"""What every measurement needs: a PostgreSQL server of its own on loopback, servers as processes, and a process tree
whose time, CPU and memory are measured."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg

from ebaysync.store.embedded import binaries

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: descendants whose parent ended are ours, so that their CPU time counts
SAMPLE = 0.1  # seconds; each sample looks at every process of the machine
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Measured:
    seconds: float
    cpu: float
    """seconds of all processes of the tree, PostgreSQL not among them"""
    peak_mb: float
    """the highest sum of the resident memory of all processes of the tree; shared pages count in each"""
    out: str


def measured(command: Sequence[str], environ: Mapping[str, str], given: str = "") -> Measured:
    """Run a command to its end. Raises RuntimeError if it fails."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    before, began, peak = _cpu(), time.perf_counter(), [0]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err, env=environ, text=True)
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        try:
            process.communicate(given)
            seconds = time.perf_counter() - began
        finally:
            process.kill()
            process.wait()
            watcher.join()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        for stream in (out, err):
            stream.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{out.read()}{err.read()}")
        return Measured(seconds, _cpu() - before, peak[0] / 1e6, out.read())


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        while process.returncode is None:
            total = 0
            for each in (top, *top.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += each.memory_info().rss
            peak[0] = max(peak[0], total)
            time.sleep(SAMPLE)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a new server on a free port of loopback, set up as PostgreSQL is by default."""
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    programs = binaries.readable(binaries.wheel(), user)
    folder = Path(tempfile.mkdtemp(prefix="ebaysync-bench-"))
    how: dict[str, Any] = {"env": {"PATH": os.defpath, "LC_ALL": "C"}, "cwd": "/"}
    if os.geteuid() == 0:
        os.chown(folder, user.pw_uid, user.pw_gid)
        how |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    create = [programs / "bin/initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    subprocess.run(create, check=True, capture_output=True, **how)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    own = ("-p", port, "-h", "127.0.0.1", "-k", "")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "bin/postgres", "-D", folder / "data", *own], stdout=log, stderr=log, **how
        )
    url = f"postgresql://postgres:bench@127.0.0.1:{port}"
    try:
        for _ in range(1000):
            with suppress(psycopg.OperationalError):
                psycopg.connect(f"{url}/postgres").close()
                break
            time.sleep(0.02)
        yield url
    finally:
        server.send_signal(2)
        server.wait()
        shutil.rmtree(folder)


@contextmanager
def process(*command: str) -> Iterator[IO[str]]:
    """A Python module that serves, in its own process; what it prints."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    with subprocess.Popen([sys.executable, "-m", *command], text=True, **how) as running:
        assert running.stdout
        try:
            yield running.stdout
        finally:
            running.terminate()
