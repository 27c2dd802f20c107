"""The program as others see it: processes, their output, their exit codes, and what they leave in the database."""

from __future__ import annotations

import asyncio
import os
import pty
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from ebaysync import settings
from ebaysync.accounts import adding, vault
from ebaysync.accounts.adding import Consent, KeysetContext
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.transport import Transport
from ebaysync.log import Secret
from ebaysync.store.database import Database
from ebaysync.store.embedded import binaries

LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warning)")


def _until(holds: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Poll until something holds, and return it. Fails when it does not come about."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.002)
    return found


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    return _until


@pytest.fixture(scope="session")
def complains() -> Callable[..., None]:
    """`complains(ended, code, *words)`: one clear line on standard error, perhaps a hint beneath it, nothing else."""

    def check(ended: Any, code: int, *words: str, out: bool = False) -> None:
        said = f"exit {ended.code}\n{ended.err}{ended.out}"
        lines = [line for line in ended.err.splitlines() if not LOG_LINE.match(line)]
        assert ended.code == code, said
        assert lines, said
        assert lines[0].startswith("ebaysync: "), said
        assert len(lines) == 1 or (len(lines) == 2 and re.match(r"  \S", lines[1])), said
        for word in words:
            assert word in ended.err, f"{word!r} is not in\n{said}"
        assert out or not ended.out, said

    return check


@pytest.fixture
def terminal(program: Any) -> Callable[..., tuple[list[str], str]]:
    """`terminal("status")`: the lines that a terminal of 80 columns shows of standard output, and standard error."""

    def run(*arguments: str) -> tuple[list[str], str]:
        ours, its = pty.openpty()
        process = subprocess.Popen(
            program.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=its,
            stderr=subprocess.PIPE,
            text=True,
            env=program.environ | {"COLUMNS": "80", "TERM": "dumb"},
            cwd=program.folder,
        )
        os.close(its)
        shown = b""
        with open(ours, "rb", buffering=0) as screen:
            try:
                while piece := screen.read(4096):
                    shown += piece
            except OSError:  # Linux's way to say that nobody writes any more
                pass
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        lines = [line.rstrip() for line in shown.decode().splitlines()]
        assert max(map(len, lines)) <= 80
        return lines, err

    return run


@pytest.fixture(scope="session")
def descendants() -> Callable[[int], list[int]]:
    """The pids of a process's children and their children, as /proc shows them."""

    def find(pid: int) -> list[int]:
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
        found, new = [], [pid]
        while new:
            new = [child for child, parent in parents.items() if parent in new]
            found += new
        return found

    return find


@pytest.fixture(scope="session")
def added() -> Callable[[Any, Any], list[str]]:
    """`added(program, sim)`: every seller of a simulator as an account of the program's, and their names. What
    `accounts add` does, without a process for each."""

    async def add(environ: dict[str, str], sim: Any) -> list[str]:
        configured = settings.load(environ, env_file=False)
        assert configured.database_url
        db, keyset = Database(configured.database_url), configured.keyset("simulator")
        keys = vault.load(configured, may_create=True)
        async with Transport(hosts(configured, "simulator")) as transport:
            for seller in sim.world.sellers:
                token = Secret(seller.refresh_token)
                context = KeysetContext(db, keys, transport, keyset)
                await adding.add(context, seller.username, token, Consent())
        await db.close()
        return [seller.username for seller in sim.world.sellers]

    return lambda program, sim: asyncio.run(add(program.environ, sim))


@dataclass
class OwnServer:
    """A PostgreSQL server on loopback that a test started."""

    version: str
    port: int
    process: subprocess.Popen[bytes]
    password: str
    log: Path

    def url(self, database: str = "postgres", *, password: str | None = None) -> str:
        return f"postgresql://postgres:{quote(password or self.password, safe='')}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        with psycopg.connect(self.url(), autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)


class OwnServers:
    """Starts servers on loopback with a password, as an unprivileged user where we are root. Stops them by pid."""

    def __init__(self) -> None:
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.running: list[subprocess.Popen[Any]] = []
        self.folders: list[Path] = []

    def folder(self) -> Path:
        """A new directory of the unprivileged user's."""
        found = Path(tempfile.mkdtemp(prefix="ebaysync-test-"))
        self.folders.append(found)
        if os.geteuid() == 0:
            os.chown(found, self.user.pw_uid, self.user.pw_gid)
        return found

    def identity(self) -> dict[str, Any]:
        drop = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return {"env": {"PATH": os.defpath, "LC_ALL": "C"}, **(drop if os.geteuid() == 0 else {})}

    def newest(self) -> Path:
        """The wheel's binaries of PostgreSQL 18."""
        return binaries.readable(binaries.wheel(), self.user)

    @staticmethod
    def free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def postgres(self, root: Path, password: str = "f1rst-of-all", **settings: str) -> OwnServer:
        """A new cluster from `root`/bin, listening on a free port of loopback, with scram passwords."""
        own = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        folder = self.folder()
        data, secret = folder / "data", folder / "password"
        secret.write_text(password)
        secret.chmod(0o644)
        options = ("-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(secret), "-E", "UTF8", "--no-sync")
        subprocess.run(
            [root / "bin/initdb", "-D", data, *options], check=True, capture_output=True, cwd="/", **self.identity()
        )
        for _ in range(5):  # the port was free a moment ago
            port = self.free_port()
            process = self.start(
                [root / "bin/postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F", *own],
                folder / "log",
            )
            server = OwnServer("", port, process, password, folder / "log")
            if _until(lambda s=server: s.process.poll() is not None or listening(s), "PostgreSQL") and listening(
                server
            ):
                return server
        raise AssertionError((folder / "log").read_text())

    def start(self, command: list[Any], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                **self.identity(),
            )
        self.running.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self.running):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(30)
        for folder in self.folders:
            shutil.rmtree(folder)


def listening(server: OwnServer) -> bool:
    try:
        with psycopg.connect(server.url(), connect_timeout=5) as connection:
            server.version = str(connection.info.server_version // 10_000)
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture(scope="module")
def servers() -> Iterator[OwnServers]:
    found = OwnServers()
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def own_server(servers: OwnServers) -> OwnServer:
    """PostgreSQL 18 of the wheel on loopback, where a password is asked for."""
    return servers.postgres(servers.newest())
