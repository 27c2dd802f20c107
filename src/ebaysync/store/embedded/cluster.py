"""The embedded PostgreSQL's data directory and its owner: everything that a server needs before it starts. `server`
starts and stops it.

PostgreSQL refuses to run as root, so root's server runs as an unprivileged user, who often cannot enter the home (below
somebody's 0700 directory). No permission is changed for that. The data directory is the server's working directory,
entered while still root, and the server knows it as `/proc/self/cwd`, so that no path above it is looked up again.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ebaysync.errors import DatabaseError
from ebaysync.store.embedded import binaries
from ebaysync.store.embedded.binaries import MAJOR

log = logging.getLogger("ebaysync.store.embedded")

SYSTEM_USERS = ("ebaysync", "nobody")  # users for root's server; the first that exists
HERE = "/proc/self/cwd"

# Written to postgresql.conf once, so that they can be tuned there.
SETTINGS = {
    # A short-lived server of one host: few processes, so that it starts and stops fast.
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "io_method": "sync",
    # Neither Docker's 64 MB of /dev/shm nor logind's RemoveIPC can remove shared memory from under it.
    "dynamic_shared_memory_type": "mmap",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    # The default of a minute is longer than most commands run: tables would never be vacuumed.
    "autovacuum_naptime": "5s",
    # The query of a killed command ends too.
    "client_connection_check_interval": "10s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Rows and values, and with them personal data, stay out of the server's log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
# Set at every start: the rest of this package relies on them.
FIXED = {
    "listen_addresses": "",
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "hba_file": f"{HERE}/pg_hba.conf",
    "ident_file": f"{HERE}/pg_ident.conf",
    "cluster_name": "ebaysync",
    "fsync": "on",
    "logging_collector": "off",
}
# CREATEDB and CREATEROLE, not SUPERUSER: enough for any schema, but no access to the host's files or shell.
BOOTSTRAP = "CREATE ROLE ebaysync LOGIN CREATEDB CREATEROLE\nCREATE DATABASE ebaysync OWNER ebaysync\n"


@dataclass(frozen=True)
class Cluster:
    """A data directory, with the user and the binaries of its server."""

    folder: Path  # only ours: data directory, locks, log
    user: pwd.struct_passwd
    programs: Path  # the wheel's bin, lib and share, or a copy

    @property
    def data(self) -> Path:
        return self.folder / str(MAJOR)

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def process(self, place: Path, keep_open: Sequence[int]) -> dict[str, Any]:
        """Arguments for subprocess: the server's user, in `place`, with no variable or descriptor of ours but
        `keep_open`.

        PGDATA, PGPORT or a locale in the caller's environment would change what PostgreSQL does.
        """
        drop = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return {
            "cwd": place,  # entered before the user changes
            "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            "umask": 0o077,
            "pass_fds": keep_open,
            **(drop if os.geteuid() == 0 else {}),
        }


def locate(home: Path) -> Cluster:
    """The cluster of this home, created if it does not exist and `create` is given.

    Raises ConfigError without the wheel, DatabaseError if this user cannot use this home.
    """
    programs = binaries.wheel()
    home = Path(os.path.abspath(home))
    folder = home / "postgres"
    with explained(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        give(folder, home)
        user = server_user(home, folder / str(MAJOR))
        refuse_other_major(folder)
    return Cluster(folder, user, programs)


def server_user(home: Path, data: Path) -> pwd.struct_passwd:
    """The server's user: ourselves; for root the owner of an existing cluster, else an unprivileged system account.
    Raises DatabaseError if root finds no such account."""
    owners = [place.stat().st_uid for place in (data, home) if place.exists()]
    try:
        if os.geteuid() != 0:
            if any(owner != os.geteuid() for owner in owners):
                name = pwd.getpwuid(next(o for o in owners if o != os.geteuid())).pw_name
                raise DatabaseError(
                    f"the embedded database in {home} belongs to the user {name}",
                    hint=f"run ebaysync as {name}, or set EBAYSYNC_HOME to a directory of your own",
                )
            return pwd.getpwuid(os.geteuid())
        if data.exists() and owners[0] == 0:
            raise DatabaseError(
                f"{data} belongs to root, and PostgreSQL does not run as root",
                hint=f"give it back to the user it came from, e.g. chown -R nobody {data}",
            )
        for owner in owners:
            if owner != 0:
                return pwd.getpwuid(owner)
    except KeyError as error:
        raise DatabaseError(
            f"the embedded PostgreSQL needs a name for each user id: {error.args[0]}",
            hint="add the user to /etc/passwd, or set EBAYSYNC_DATABASE_URL",
        ) from error
    for name in SYSTEM_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise DatabaseError(
        f"PostgreSQL does not run as root, and there is no user {' or '.join(SYSTEM_USERS)} to run it as",
        hint="adduser --system ebaysync, or set EBAYSYNC_DATABASE_URL",
    )


def refuse_other_major(folder: Path) -> None:
    """Raises DatabaseError if the cluster belongs to another major version."""
    others = sorted(p.name for p in folder.iterdir() if p.name.isdigit() and p.name != str(MAJOR))
    if others and not (folder / str(MAJOR)).exists():
        raise DatabaseError(
            f"{folder / others[-1]} was made by PostgreSQL {others[-1]}, and the wheel's is {MAJOR}",
            hint="dump it with the old version's pg_dump, move that directory away, and restore the dump",
        )


# --- data directory ---------------------------------------------------------------------------------------


def create(cluster: Cluster, keep_open: Sequence[int]) -> None:
    """Create the cluster, role and database. The name of the directory changes only when all is done.

    The caller holds the lock. `keep_open` are descriptors that every process started here inherits.
    """
    log.info("setting up PostgreSQL %s in %s (once, a few seconds)", MAJOR, cluster.data)
    unfinished = cluster.data.with_suffix(".new")
    with explained(cluster.folder):
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        give(unfinished, cluster.user)
    try:
        settings = [word for pair in SETTINGS.items() for word in ("--set", "=".join(pair))]
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = ("--username=postgres", "--auth-local=peer", "--auth-host=reject", "--data-checksums")
        step(cluster, unfinished, keep_open, ["initdb", "-D", HERE, *locale, *access, *settings])
        single = ["postgres", "--single", "-D", HERE, "-c", "exit_on_error=on", "postgres"]
        step(cluster, unfinished, keep_open, single, BOOTSTRAP)
        with explained(cluster.folder):
            unfinished.rename(cluster.data)
            sync(cluster.folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def step(cluster: Cluster, place: Path, keep_open: Sequence[int], command: list[str], script: str = "") -> None:
    """Raises DatabaseError with the command's own message."""
    with explained(cluster.folder):
        done = subprocess.run(  # noqa: S603
            [str(cluster.programs / "bin" / command[0]), *command[1:]],
            input=script,
            text=True,
            errors="replace",
            capture_output=True,
            check=False,
            **cluster.process(place, keep_open),
        )
    if done.returncode:
        raise DatabaseError(
            f"{command[0]} could not set up {cluster.data}: {reason(done.stderr)}",
            hint="fix that and run the command again; nothing was left half done",
        )


def write_access(cluster: Cluster) -> None:
    """Write pg_hba.conf: the server's user and root may connect, as any role. Written at each start."""
    names = sorted({cluster.user.pw_name, pwd.getpwuid(0).pw_name})
    top = "# Written by ebaysync at each start of the server.\n"
    files = {
        "pg_hba.conf": "local all all peer map=ebaysync\n",
        "pg_ident.conf": "".join(f'ebaysync "{name}" all\n' for name in names),
    }
    with explained(cluster.data):
        for name, text in files.items():
            with opened(cluster.data / name, cluster.user) as file:
                file.truncate(0)
                file.write((top + text).encode())


# --- files ------------------------------------------------------------------------------------------------


def opened(path: Path, owner: Path | pwd.struct_passwd) -> IO[bytes]:
    """Open for appending. If root works in another user's directory, the file becomes that user's, and a symbolic link
    is not followed."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    give(fd, owner)
    return os.fdopen(fd, "ab", buffering=0)


def give(what: Path | int, owner: Path | pwd.struct_passwd) -> None:
    if os.geteuid() != 0:
        return
    if isinstance(owner, Path):
        of = owner.stat()
        uid, gid = of.st_uid, of.st_gid
    else:
        uid, gid = owner.pw_uid, owner.pw_gid
    if isinstance(what, int):
        os.fchown(what, uid, gid)
    else:
        os.chown(what, uid, gid, follow_symlinks=False)


def sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def reason(output: str) -> str:
    """The first error line of a PostgreSQL program: later ones are its consequences."""
    found = re.search(r"(?:ERROR|FATAL|PANIC|error): .*", output)
    return found[0] if found else (output.strip().splitlines() or ["it gave no reason"])[-1]


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """An operating system's error as one that names the place and the fix. Raises DatabaseError."""
    try:
        yield
    except OSError as error:
        raise DatabaseError(
            f"the embedded database cannot use {error.filename or place}: {error.strerror or error}",
            hint="EBAYSYNC_HOME must be a directory of this user, with room in it; "
            "or set EBAYSYNC_DATABASE_URL to a PostgreSQL of your own",
        ) from error
