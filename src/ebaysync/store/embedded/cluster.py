"""The embedded PostgreSQL's data directory and its owner: everything that a server needs before it starts. `server`
starts and stops it.

PostgreSQL refuses to run as root, so root's server runs as an unprivileged user, who often cannot enter the home (below
somebody's 0700 directory). No permission is changed for that. The data directory is the server's working directory,
entered while still root, and the server knows it as `/proc/self/cwd`, so that no path above it is looked up again.

That user is the service's account, or the owner of the home. Other programs run as `nobody`, so it is used only for a
home below a temporary directory, which `ebaysync demo` and tests have.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ebaysync import files
from ebaysync.errors import ConfigError, DatabaseError
from ebaysync.files import Directory
from ebaysync.store.embedded import binaries
from ebaysync.store.embedded.binaries import MAJOR

log = logging.getLogger("ebaysync.store.embedded")

NOBODY = "nobody"  # the user of root's server in a temporary home
HERE = "/proc/self/cwd"
LOG = "server.log"
CREATE_ACCOUNT = f"useradd --system --home-dir /var/lib/ebaysync --shell /usr/sbin/nologin {files.ACCOUNT}"

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

    folder: Directory  # only ours: data directory, locks, log
    user: pwd.struct_passwd
    programs: Path  # the wheel's bin, lib and share, or a copy

    @property
    def data(self) -> Path:
        """The path of the data directory, for messages and for connecting."""
        return self.folder.path / str(MAJOR)

    @property
    def log(self) -> Path:
        """The path of the server's log, for messages."""
        return self.folder.path / LOG

    @contextmanager
    def directory(self) -> Iterator[Directory]:
        """The data directory. Raises OSError, DatabaseError if it is not the server's user's."""
        with closing(self.folder.directory(str(MAJOR))) as found:
            if found.owner not in (self.user.pw_uid, self.folder.owner):
                raise DatabaseError(
                    f"{found.path} belongs to {files.user_name(found.owner)}, and the server's user is "
                    f"{self.user.pw_name}",
                    hint=f"chown -R {self.user.pw_name}: {shlex.quote(str(found.path))}",
                )
            yield found

    def process(self, place: Directory, keep_open: Sequence[int]) -> dict[str, Any]:
        """Arguments for subprocess: the server's user, in `place`, with no variable or descriptor of ours but
        `keep_open`.

        PGDATA, PGPORT or a locale in the caller's environment would change what PostgreSQL does.
        """
        drop = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return {
            "cwd": f"/proc/self/fd/{place.fd}",  # entered before the user changes
            "env": binaries.ENVIRON,
            "umask": 0o077,
            "pass_fds": keep_open,
            **(drop if os.geteuid() == 0 else {}),
        }


def locate(home: Path) -> Cluster:
    """The cluster of this home. The home is created if it does not exist.

    Raises ConfigError without the wheel, or if other users can change the home; DatabaseError if this user cannot use
    it.
    """
    programs = binaries.wheel()
    with (
        explained(home),
        closing(files.home(home)) as above,
    ):
        folder = above.directory("postgres", make=True)
        try:
            user = server_user(above, folder)
            refuse_other_major(folder)
        except BaseException:
            folder.close()
            raise
    return Cluster(folder, user, programs)


def server_user(home: Directory, folder: Directory) -> pwd.struct_passwd:
    """The server's user: ourselves; for root the owner of an existing cluster or home, else the service's account.
    Raises ConfigError if root finds no such account, or only one that other programs share."""
    if os.geteuid() != 0:
        us = _known(os.geteuid())
        if folder.owner != us.pw_uid:
            raise DatabaseError(
                f"{folder.path} belongs to root, and this is the user {us.pw_name}",
                hint=f"as root: chown -R {us.pw_name}: {shlex.quote(str(folder.path))}",
            )
        return us
    data = str(MAJOR)
    uid = folder.stat(data).st_uid if folder.exists(data) else folder.owner
    path = folder.path / data
    if folder.exists(data) and uid == 0:
        raise DatabaseError(
            f"{path} belongs to root, and PostgreSQL does not run as root",
            hint=f"give it back to the user it came from, e.g. chown -R {files.ACCOUNT}: {shlex.quote(str(path))}",
        )
    if not home.temporary and uid and files.user_name(uid) == NOBODY:
        create = "" if files.account() else f"{CREATE_ACCOUNT}; then "
        raise ConfigError(
            f"{path} belongs to {NOBODY}, as which other programs run: each could read the database",
            hint=f"{create}chown -R {files.ACCOUNT}: {shlex.quote(str(path))}",
        )
    if uid:
        return _known(uid)
    if found := files.account():
        return found
    if home.temporary:
        return _known(pwd.getpwnam(NOBODY).pw_uid)
    raise ConfigError(
        f"PostgreSQL does not run as root, and there is no user {files.ACCOUNT} to run it as",
        hint=f"{CREATE_ACCOUNT}; or set EBAYSYNC_DATABASE_URL to a PostgreSQL of your own",
    )


def _known(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError as error:
        raise DatabaseError(
            f"the embedded PostgreSQL needs a name for each user id: {error.args[0]}",
            hint="add the user to /etc/passwd, or set EBAYSYNC_DATABASE_URL",
        ) from error


def refuse_other_major(folder: Directory) -> None:
    """Raises DatabaseError if the cluster belongs to another major version."""
    versions = sorted(name for name in folder.names() if name.isdigit())
    if versions and str(MAJOR) not in versions:
        raise DatabaseError(
            f"{folder.path / versions[-1]} was made by PostgreSQL {versions[-1]}, and the wheel's is {MAJOR}",
            hint="dump it with the old version's pg_dump, move that directory away, and restore the dump",
        )


# --- data directory ---------------------------------------------------------------------------------------


def create(cluster: Cluster, keep_open: Sequence[int]) -> None:
    """Create the cluster, role and database. The name of the directory changes only when all is done.

    The caller holds the lock. `keep_open` are descriptors that every process started here inherits.
    """
    log.info("setting up PostgreSQL %s in %s (once, a few seconds)", MAJOR, cluster.data)
    folder, unfinished = cluster.folder, f"{MAJOR}.new"
    _remove(folder, unfinished)
    try:
        with explained(folder.path):
            if folder.owner == 0 == os.geteuid():  # its own user cannot create it there
                os.mkdir(unfinished, 0o700, dir_fd=folder.fd)
                owner = (cluster.user.pw_uid, cluster.user.pw_gid)
                os.chown(unfinished, *owner, dir_fd=folder.fd, follow_symlinks=False)
            place = folder.directory(unfinished, make=True)
        with closing(place):
            settings = [word for pair in SETTINGS.items() for word in ("--set", "=".join(pair))]
            locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
            access = ("--username=postgres", "--auth-local=peer", "--auth-host=reject", "--data-checksums")
            step(cluster, place, keep_open, ["initdb", "-D", HERE, *locale, *access, *settings])
            single = ["postgres", "--single", "-D", HERE, "-c", "exit_on_error=on", "postgres"]
            step(cluster, place, keep_open, single, BOOTSTRAP)
        with explained(folder.path):
            folder.rename(unfinished, str(MAJOR))
            folder.sync()
    finally:
        _remove(folder, unfinished)


def _remove(folder: Directory, name: str) -> None:
    """Remove a directory with all that is in it, if it is there. Links in it are not followed."""
    with explained(folder.path), files.acting_as(folder.owner):
        if folder.exists(name):
            shutil.rmtree(name, dir_fd=folder.fd)


def step(cluster: Cluster, place: Directory, keep_open: Sequence[int], command: list[str], script: str = "") -> None:
    """Raises DatabaseError with the command's own message."""
    with explained(cluster.folder.path):
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


def write_access(cluster: Cluster, place: Directory) -> None:
    """Write pg_hba.conf: the server's user and root may connect, as any role. Written at each start.

    Root only, if that user is `nobody`, as which other programs run.
    """
    own = {cluster.user.pw_name} - ({NOBODY} if os.geteuid() == 0 else set())
    names = sorted(own | {_known(0).pw_name})
    top = "# Written by ebaysync at each start of the server.\n"
    texts = {
        "pg_hba.conf": "local all all peer map=ebaysync\n",
        "pg_ident.conf": "".join(f'ebaysync "{name}" all\n' for name in names),
    }
    with explained(place.path):
        for name, text in texts.items():
            with appended(place, name) as file:
                file.truncate(0)
                file.write((top + text).encode())


# --- files ------------------------------------------------------------------------------------------------


def appended(place: Directory, name: str) -> IO[bytes]:
    """A file, open for appending, created if it does not exist. Raises OSError, ConfigError."""
    return os.fdopen(place.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT), "ab", buffering=0)


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
