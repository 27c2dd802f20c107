"""Opens files and directories that nobody else can change: the home, the key file, the settings file.

A path is followed from the root directory down, each name relative to the directory that was opened before it. Each
directory on the way must belong to root or to us, and nobody else may write there. A directory with the sticky bit,
such as /tmp, is accepted, because nobody can replace there the files of others. Below the home no symbolic link is
followed; on the way to it, only those that nobody else can change.

Root may use the home of another user. Then it is that user for every access below it, so that a link or a hard link
that the user puts there reaches nothing that the user itself could not reach.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import secrets
import shlex
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TextIO

from ebaysync.errors import ConfigError

ACCOUNT = "ebaysync"  # the service's user and group
LARGEST = 1_000_000  # characters that are read of a file; somebody may have named a huge one
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as the kernel
_NO_REPLACE = 1  # RENAME_NOREPLACE of renameat2(2)


@dataclass(frozen=True)
class Directory:
    """An open directory on whose path nobody but root and `owner` can change anything."""

    path: Path
    fd: int
    owner: int  # uid: root, ourselves, or the user to whom root's way down led
    temporary: bool = False  # below a directory such as /tmp, where everybody may create files
    shared: bool = False  # such a directory itself

    def close(self) -> None:
        os.close(self.fd)

    def directory(self, name: str, *, make: bool = False) -> Directory:
        """A directory in it, not through a link; created with mode 0700 if `make`. Raises OSError, ConfigError."""
        with self._named(name):
            if make:
                with acting_as(self.owner), suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=self.fd)
            fd = os.open(name, _DIRECTORY, dir_fd=self.fd)
        try:
            return self._below(name, fd)
        except BaseException:
            os.close(fd)
            raise

    def _below(self, name: str, fd: int) -> Directory:
        state, path = os.fstat(fd), self.path / name
        owner = _owner(state)
        refuse_owner(path, owner, above=self)
        refuse_writers(path, state, fd)
        shared = bool(state.st_mode & stat.S_ISVTX and state.st_mode & stat.S_IWOTH)
        return Directory(path, fd, owner, self.temporary or shared, shared)

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a file in it, created with mode 0600; not through a link, and without waiting for the other
        end of a pipe. Raises OSError, ConfigError."""
        with self._named(name), acting_as(self.owner):
            return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=self.fd)

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Names the whole path in an OSError. Raises ConfigError instead if it is about a link."""
        path = self.path / name
        try:
            yield
        except OSError as error:
            error.filename = str(path)
            with suppress(OSError):
                if error.errno in (errno.ELOOP, errno.ENOTDIR) and stat.S_ISLNK(self.stat(name).st_mode):
                    raise ConfigError(
                        f"{path} is a symbolic link, and ebaysync follows none there",
                        hint=f"put the file or directory itself there; readlink {shlex.quote(str(path))} shows it",
                    ) from None
            raise

    def stat(self, name: str) -> os.stat_result:
        """The state of the file itself, not of the one that a link names. Raises OSError."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """Raises OSError."""
        fd = self.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        """Remove a file if it is there. Raises OSError."""
        with acting_as(self.owner), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def rename(self, name: str, to: str) -> None:
        """Raises OSError."""
        with acting_as(self.owner):
            os.rename(name, to, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def link(self, name: str, to: str) -> None:
        """Give a file a second name. Raises OSError, FileExistsError if that name is taken."""
        with acting_as(self.owner):
            os.link(name, to, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def sync(self) -> None:
        """Wait until its names are on the disk. Raises OSError."""
        fd = self.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


# --- who may change what ----------------------------------------------------------------------------------


def refuse_owner(path: Path, owner: int, above: Directory) -> None:
    """Raises ConfigError if another user owns the directory `path` or can replace it."""
    us = os.geteuid()
    if us != 0:
        if owner not in (0, us):
            raise ConfigError(
                f"{path} belongs to the user {user_name(owner)}, who could change what ebaysync finds there",
                hint=f"run ebaysync as {user_name(owner)}, or use a directory of your own",
            )
        return
    if above.shared and owner not in (0, _accounts_uid()):
        raise ConfigError(
            f"{path} belongs to the user {user_name(owner)}, and everybody may create a directory in {above.path}",
            hint="use a directory that root has created",
        )
    if above.owner not in (0, owner):
        raise ConfigError(
            f"{above.path} belongs to the user {user_name(above.owner)}, who can replace {path} of "
            f"{user_name(owner)} there",
            hint=f"give both to one user, e.g. chown -R {user_name(above.owner)}: {shlex.quote(str(path))}",
        )


def refuse_writers(path: Path, state: os.stat_result, fd: int) -> None:
    """Raises ConfigError if a user besides its owner and root can write there. `state` and `fd` are of `path`."""
    if stat.S_ISDIR(state.st_mode) and state.st_mode & stat.S_ISVTX:
        return
    if state.st_mode & stat.S_IWOTH:
        who = "every user"
    elif not state.st_mode & stat.S_IWGRP:
        return
    elif _has_acl(fd):
        who = "a user or group of its ACL"
    elif not _is_private_group(state):
        who = f"the group {group_name(state.st_gid)}"
    else:
        return
    raise ConfigError(f"{who} can write to {path}", hint=f"chmod go-w {shlex.quote(str(path))}")


def _has_acl(fd: int) -> bool:
    """Whether more users than the mode shows may have rights. The group's bits of the mode are the most of these."""
    try:
        return "system.posix_acl_access" in os.listxattr(f"/proc/self/fd/{fd}")
    except OSError:  # a file system without ACLs
        return False


def _is_private_group(state: os.stat_result) -> bool:
    """Whether the group has its owner as the only member, as many distributions create it for each user, whose files
    then are writable for the group."""
    try:
        owner, group = pwd.getpwuid(state.st_uid), grp.getgrgid(state.st_gid)
    except KeyError:
        return False
    if owner.pw_gid != state.st_gid or any(name != owner.pw_name for name in group.gr_mem):
        return False
    return all(user.pw_uid == state.st_uid for user in pwd.getpwall() if user.pw_gid == state.st_gid)


def _owner(state: os.stat_result) -> int:
    return 0 if state.st_uid == _roots_uid_here() else state.st_uid


@cache
def _roots_uid_here() -> int:
    """In a user namespace that does not have the host's root, root's files show as the overflow user's."""
    with suppress(OSError, ValueError):
        inside = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
        if inside != [["0", "0", "4294967295"]] and not any(outside == "0" for _, outside, _ in inside):
            return int(Path("/proc/sys/kernel/overflowuid").read_text())
    return 0


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"with the id {uid}"


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"with the id {gid}"


def account() -> pwd.struct_passwd | None:
    """The service's user; None if there is none on this host."""
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None


def _accounts_uid() -> int:
    """The service's user, or root if there is none."""
    known = account()
    return known.pw_uid if known else 0


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """As root, be this user within the block. Raises OSError if this host does not allow it."""
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        own_group = pwd.getpwuid(uid).pw_gid
    except KeyError:
        own_group = uid
    try:
        os.setgroups([])
        os.setegid(own_group)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


# --- paths ------------------------------------------------------------------------------------------------


def home(path: Path) -> Directory:
    """The home, which is created if it is missing. Raises OSError, ConfigError if another user can change it."""
    return directory(path, make=True, belongs_to=_accounts_uid())


def directory(path: Path, *, make: bool = False, belongs_to: int = 0) -> Directory:
    """The directory with this path. With `make` it and those above are created if they are missing; root gives it to
    the user `belongs_to` then. Raises OSError, ConfigError if another user can change it."""
    if make and not path.parent.exists():
        directory(path.parent, make=True).close()
    with parent(path) as (above, name):
        if make and not above.exists(name) and above.owner == 0 == os.geteuid():
            _create_for(above, name, belongs_to)
        return above.directory(name, make=make)


def _create_for(above: Directory, name: str, owner: int) -> None:
    """Create a directory of this user in one of root's, unless it is there. It has its owner before it has its name, so
    that another command never sees it as root's."""
    draft = f".{name[:200]}.{secrets.token_hex(4)}"
    os.mkdir(draft, 0o700, dir_fd=above.fd)
    try:
        os.chown(draft, owner, -1, dir_fd=above.fd, follow_symlinks=False)
        _rename_if_free(above, draft, name)
    except BaseException as error:
        os.rmdir(draft, dir_fd=above.fd)
        if not isinstance(error, FileExistsError):  # else another command was faster
            raise


def _rename_if_free(above: Directory, name: str, to: str) -> None:
    """Raises OSError, FileExistsError if `to` is taken. A plain rename would replace an empty directory, which another
    command may use already."""
    import ctypes  # here alone: some hosts cannot import it (proc.set_dumpable)

    names = (above.fd, os.fsencode(name), above.fd, os.fsencode(to))
    if ctypes.CDLL(None, use_errno=True).renameat2(*names, _NO_REPLACE) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code), str(above.path / to))
    os.rename(name, to, src_dir_fd=above.fd, dst_dir_fd=above.fd)  # a file system that cannot do better


@contextmanager
def parent(path: Path) -> Iterator[tuple[Directory, str]]:
    """The directory that holds `path`, and the name of `path` in it, which may not exist. Raises OSError, ConfigError
    if another user can change it."""
    with ExitStack() as opened:

        def keep(found: Directory) -> Directory:
            opened.enter_context(closing(found))
            return found

        root = keep(Directory(Path("/"), os.open("/", _DIRECTORY), 0))
        way = [root]
        whole = path if path.is_absolute() else os.getcwd() / path  # which may have been deleted
        names = deque(part for part in str(whole).split("/") if part not in ("", "."))
        links = 0
        while names:
            name, here = names.popleft(), way[-1]
            if name == "..":
                way = way[:-1] or way
                continue
            target = _followed(here, name)
            if target is not None:
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
                names.extendleft(part for part in reversed(target.split("/")) if part not in ("", "."))
                if target.startswith("/"):
                    way = [root]
            elif names:
                way.append(keep(here.directory(name)))
            else:
                yield here, name
                return
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _followed(here: Directory, name: str) -> str | None:
    """The target of a symbolic link; None if it is none. Raises ConfigError if another user could change the link."""
    try:
        state = here.stat(name)
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(state.st_mode):
        return None
    us, owner = os.geteuid(), _owner(state)
    if owner not in (0, us) or (us == 0 and here.owner != 0):
        whose = user_name(owner if owner != 0 else here.owner)
        raise ConfigError(
            f"{here.path / name} is a symbolic link that the user {whose} can change",
            hint="name the file or directory itself",
        )
    return os.readlink(name, dir_fd=here.fd)


# --- files with secrets -----------------------------------------------------------------------------------


def private_text(
    path: Path,
    holds_secret: Callable[[str], bool] = lambda _: True,
    also_of: Collection[int] = (),
    *,
    in_home: bool = False,
) -> str:
    """The text of a file that may hold secrets.

    The file and its directory must belong to root, to us, to a user in `also_of`, or for root to the owner of the home
    if it is `in_home`. Nobody else may write them. If the file holds a secret, nobody else may read it, except root's
    group, which the operators share. A credential as systemd creates it is accepted. Raises OSError,
    UnicodeDecodeError, ConfigError.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and path.resolve().is_relative_to(Path(credentials).resolve()):
        with _regular(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), path) as file:
            return file.read(LARGEST)
    with parent(path) as (above, name):
        shown = replace(above, path=path.parent)
        if in_home:
            return _private(shown, name, holds_secret, {*also_of, above.owner})
        if os.geteuid() == 0 and above.owner not in {0, *also_of}:
            raise ConfigError(
                f"{shown.path} belongs to the user {user_name(above.owner)}, who could replace {name} there",
                hint="put the file into a directory of root",
            )
        return _private(shown, name, holds_secret, also_of)


def working_text(name: str, holds_secret: Callable[[str], bool]) -> str | None:
    """The same for a file in the working directory; None if it is not there."""
    here = Directory(Path(), os.open(".", _DIRECTORY), os.geteuid())
    with closing(here):
        if not here.exists(name) or stat.S_ISDIR(here.stat(name).st_mode):  # a virtual environment, perhaps
            return None
        state, path = os.fstat(here.fd), Path(os.getcwd())
        refuse_owner(path, _owner(state), above=here)
        refuse_writers(path, state, here.fd)
        return _private(here, name, holds_secret, ())


def _private(above: Directory, name: str, holds_secret: Callable[[str], bool], also_of: Collection[int]) -> str:
    path = above.path / name
    try:
        fd = above.open(name, os.O_RDONLY)
    except PermissionError:
        owner = above.stat(name).st_uid
        if os.geteuid() == 0 and owner != above.owner:
            raise ConfigError(
                f"{path} belongs to {user_name(owner)}, and its directory to {user_name(above.owner)}, who cannot "
                "read it",
                hint=f"chown {user_name(above.owner)}: {shlex.quote(str(path))}",
            ) from None
        raise
    with _regular(fd, path) as file:
        text = file.read(LARGEST)
        _refuse_others(path, os.fstat(fd), fd, lambda: holds_secret(text), also_of)
    return text


def _refuse_others(
    path: Path, state: os.stat_result, fd: int, holds_secret: Callable[[], bool], also_of: Collection[int]
) -> None:
    """Raises ConfigError if a user who is not named can change the file, or read it while it holds a secret."""
    us, owner, quoted = os.geteuid(), _owner(state), shlex.quote(str(path))
    if owner not in {0, us, *also_of}:
        hint = "use a file of your own, or work in another directory"
        if us == 0:
            hint = f"chown root {quoted}, if you trust what is in it"
        if owner == _accounts_uid():
            hint = f"as root: chown root:{ACCOUNT} {quoted} && chmod 640 {quoted}"
        raise ConfigError(f"{path} belongs to the user {user_name(owner)}, who could change it", hint=hint)
    refuse_writers(path, state, fd)
    readers = state.st_mode & 0o077
    if owner == 0 and not (readers & 0o070 and _has_acl(fd)):
        readers &= 0o007
    if readers and holds_secret():
        mode = stat.S_IMODE(state.st_mode)
        raise ConfigError(
            f"{path} holds secrets and others can read it (mode {mode:04o})",
            hint=f"chmod {'o=' if owner == 0 and state.st_gid else '600'} {quoted}",
        )


def _regular(fd: int, path: Path) -> TextIO:
    """The open file as text. Raises ConfigError, and closes it, if it is not a regular file."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(f"{path} is not a regular file")
    return os.fdopen(fd, encoding="utf-8")
