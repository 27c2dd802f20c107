"""The embedded PostgreSQL: one server per home, shared by all commands that run at the same time.

The first command starts it, the last to leave stops it. Three locks in the home, all flock, which the kernel releases
when their holder dies:

    start.lock    held briefly to attach or leave: one command at a time
    in-use.lock   held shared by each command while it uses the server
    server.lock   held by the server itself: the postmaster and its children inherit the descriptor

So nothing is guessed from pid files. A server exists exactly as long as server.lock is held, including orphans of a
killed postmaster, and its socket tells who it is (SO_PEERCRED). A killed command leaves a running server, which the
next command finds, and stops if it is the last to leave. No process is looked up by name.

The socket is in the data directory. Only the server's user and root can get there, and it is the same for commands with
another /tmp (systemd's PrivateTmp). This module does not know the schema.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote
from weakref import WeakSet

import psycopg

from ebaysync import proc
from ebaysync.errors import DatabaseError
from ebaysync.store.embedded import binaries
from ebaysync.store.embedded import cluster as clusters
from ebaysync.store.embedded.binaries import MAJOR
from ebaysync.store.embedded.cluster import LOG, Cluster

log = logging.getLogger("ebaysync.store.embedded")

POLL = 0.01
TURN_SECONDS = 180  # seconds to wait for another command that starts or stops the server
START_SECONDS = 120  # seconds, including crash recovery; max_wal_size bounds that to a few seconds
STARTS = 3  # attempts, if somebody kills the server while it starts
STOP_SECONDS = 60
QUIT_SECONDS = 15
LOG_BYTES = 1_000_000  # bytes of the server's log; then it becomes server.log.1
SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path, less its terminating NUL


@contextmanager
def attached(home: Path) -> Iterator[str]:
    """A `postgresql://` URL of the home's server, which runs as long as this context.

    Child processes may use the URL as long as the context lasts. Blocks: call it from a thread if an event loop runs.
    Raises ConfigError without the wheel, else DatabaseError.
    """
    us = os.getpid()
    server = Server(clusters.locate(home))
    server.enter()
    try:
        yield server.url()
    finally:
        if os.getpid() == us:  # not a forked child that leaves the block
            server.leave()


class Lock:
    """A flock on a descriptor of its own. Forked children do not keep it."""

    opened: ClassVar[WeakSet[Lock]] = WeakSet()

    def __init__(self, cluster: Cluster, name: str) -> None:
        with clusters.explained(cluster.folder.path / name):
            self.file = clusters.appended(cluster.folder, name)
        self.opened.add(self)

    def take(self, how: int) -> bool:
        try:
            fcntl.flock(self.file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        fcntl.flock(self.file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close our descriptor. A process that inherited it still has the lock."""
        self.file.close()

    @classmethod
    def close_all(cls) -> None:
        for lock in list(cls.opened):
            lock.close()


# A child that is forked without exec (multiprocessing) would hold our locks after our own death.
os.register_at_fork(after_in_child=Lock.close_all)


class Server:
    """The home's server, as one command sees it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.start_lock = Lock(cluster, "start.lock")
        self.in_use = Lock(cluster, "in-use.lock")
        self.child: subprocess.Popen[bytes] | None = None
        self.directory: int | None = None

    # --- coming and leaving

    def enter(self) -> None:
        """Start the server unless it runs, and count as one who uses it. Raises DatabaseError."""
        try:
            with self.turn():
                self.in_use.take(fcntl.LOCK_SH)  # it is held exclusively only during a turn
                try:
                    self.bring_up()
                except BaseException:
                    self.withdraw()
                    raise
        except BaseException:
            self.close()
            raise

    def leave(self) -> None:
        try:
            with self.turn():
                self.withdraw()
        except DatabaseError as error:
            log.warning("%s; the next command stops it", error.message)
        finally:
            self.close()

    def withdraw(self) -> None:
        """Stop the server unless somebody else uses it. In our turn, so that nobody attaches meanwhile."""
        self.in_use.release()
        if self.in_use.take(fcntl.LOCK_EX):
            self.stop()

    def close(self) -> None:
        self.in_use.close()
        self.start_lock.close()
        self.cluster.folder.close()
        if self.directory is not None:
            os.close(self.directory)
        if self.child and self.child.poll() is None:
            self.child.returncode = 0  # it goes on running on purpose: no ResourceWarning

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises DatabaseError if the lock is not free in time."""
        deadline = time.monotonic() + TURN_SECONDS
        while not self.start_lock.take(fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"another command has been starting or stopping the embedded database in "
                    f"{self.cluster.folder.path} for {TURN_SECONDS} s",
                    hint=f"find it with fuser {shlex.quote(str(self.cluster.folder.path / 'start.lock'))} and end it",
                )
            time.sleep(POLL)
        try:
            yield
        finally:
            self.start_lock.release()

    # --- starting

    def bring_up(self) -> None:
        """Raises DatabaseError if the server does not start."""
        began = time.monotonic()
        starts = 0
        while not self.answers():
            # Held by a server that will answer soon, by one that is ending, or by nobody.
            with closing(Lock(self.cluster, "server.lock")) as lock:
                if lock.take(fcntl.LOCK_EX):
                    killed = self.child is None or self.child.wait() < 0
                    if not killed or starts == STARTS:
                        raise self.failed()
                    self.start(lock)
                    starts += 1
            if time.monotonic() > began + START_SECONDS:
                raise DatabaseError(
                    f"PostgreSQL in {self.cluster.data} takes nobody after {START_SECONDS} s",
                    hint=f"its log: {self.cluster.log}",
                )
            time.sleep(POLL)
        log.debug("database ready after %.0f ms", (time.monotonic() - began) * 1000)

    def answers(self) -> bool:
        """Whether we can log in. Asks only a server that says it is ready, because it logs failed attempts. Raises
        DatabaseError if it refuses the login."""
        if not self.says_ready() or self.postmaster() is None:
            return False
        try:
            psycopg.connect(self.url(), connect_timeout=10).close()
        except psycopg.OperationalError as error:
            text = str(error)
            if "too many clients" in text or "connection slots" in text:
                return True
            if "the database system is" in text or self.postmaster() is None:
                return False  # it is just ending
            raise DatabaseError(
                f"PostgreSQL in {self.cluster.data} refuses us: {text.strip().splitlines()[-1].strip()}",
                hint=f"its log: {self.cluster.log}; PG… variables in the environment can be the cause too",
            ) from error
        return True

    def says_ready(self) -> bool:
        with (
            clusters.explained(self.cluster.data),
            suppress(FileNotFoundError, IndexError),
            self.cluster.directory() as place,
            os.fdopen(place.open("postmaster.pid", os.O_RDONLY), "rb") as file,
        ):
            return file.read(10_000).splitlines()[7].strip() == b"ready"
        return False

    def start(self, lock: Lock) -> None:
        """Start a server that outlives this process, with its own session, output and lock. Raises DatabaseError."""
        programs = binaries.readable(self.cluster.programs, self.cluster.user)
        cluster = replace(self.cluster, programs=programs)
        inherited = (lock.file.fileno(),)
        if not cluster.folder.exists(str(MAJOR)):
            clusters.create(cluster, inherited)
        if self.postmaster() is not None:
            raise DatabaseError(
                f"a server that ebaysync did not start uses {cluster.data}", hint="stop it, then try again"
            )
        options = [word for pair in clusters.FIXED.items() for word in ("-c", "=".join(pair))]
        with clusters.explained(cluster.data), cluster.directory() as place:
            clusters.write_access(cluster, place)
            # Nobody holds the lock, so remove the files. PostgreSQL would refuse to start if their pid is somebody's by
            # now.
            for stale in ("postmaster.pid", f"{SOCKET}.lock"):
                place.remove(stale)
            folder = cluster.folder
            if folder.exists(LOG) and folder.stat(LOG).st_size > LOG_BYTES:
                folder.rename(LOG, f"{LOG}.1")
            with clusters.appended(folder, LOG) as output:
                self.log_before = os.fstat(output.fileno()).st_size
                self.child = subprocess.Popen(  # noqa: S603
                    [str(cluster.programs / "bin/postgres"), "-D", clusters.HERE, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    **cluster.process(place, inherited),
                )

    def failed(self) -> DatabaseError:
        with (
            clusters.explained(self.cluster.log),
            os.fdopen(self.cluster.folder.open(LOG, os.O_RDONLY), "rb") as file,
        ):
            file.seek(self.log_before)
            said = file.read().decode(errors="replace")
        return DatabaseError(
            f"PostgreSQL in {self.cluster.data} did not start: {clusters.reason(said)}",
            hint=f"its log: {self.cluster.log}",
        )

    # --- stopping

    def stop(self) -> None:
        """Fast shutdown, then the immediate one, which loses nothing committed either."""
        for signum, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, QUIT_SECONDS)):
            deadline = time.monotonic() + seconds
            told = False
            while time.monotonic() < deadline:
                if self.gone():
                    if self.child:
                        self.child.wait()
                    return
                pid = None if told else self.postmaster()
                if pid:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signum)
                    told = True
                time.sleep(POLL)
        log.warning("the embedded PostgreSQL in %s does not stop; its log: %s", self.cluster.data, self.cluster.log)

    def gone(self) -> bool:
        with closing(Lock(self.cluster, "server.lock")) as lock:
            return lock.take(fcntl.LOCK_EX)

    def postmaster(self) -> int | None:
        """The pid of the process that listens on the data directory's socket, as the kernel reports it.

        0 in a container that cannot see it. Needs neither /proc nor CAP_SYS_PTRACE, which root in Docker lacks.
        """
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(f"{self.host()}/{SOCKET}")
            except OSError:
                return None
            said = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", said)
        return int(pid) if uid == self.cluster.user.pw_uid else None

    # --- connecting

    def url(self) -> str:
        # requirepeer: libpq talks to no other user's server, whatever is at that path by now.
        host, user = (quote(os.fsencode(part), safe="") for part in (self.host(), self.cluster.user.pw_name))
        return f"postgresql://ebaysync@/ebaysync?host={host}&port=5432&requirepeer={user}"

    def host(self) -> str:
        """The data directory under a name that fits into a socket's address and is one host to libpq."""
        path = str(self.cluster.data)
        if "," not in path and len(os.fsencode(f"{path}/{SOCKET}")) <= SOCKET_PATH_BYTES:
            return path
        if self.directory is None:
            with clusters.explained(self.cluster.data), self.cluster.directory() as place:
                self.directory = os.dup(place.fd)
            # Only so can child processes use this name. A core dump is still not written.
            proc.set_dumpable(True)
        # Our own pid, not "self": child processes use it too.
        return f"/proc/{os.getpid()}/fd/{self.directory}"
