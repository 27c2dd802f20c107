"""A cgroup per account process, if systemd has delegated one to us (`Delegate=memory pids`).

The kernel then counts the memory of the process and its children exactly, kills only them if they use too much, and
kills all of them when we say so. Without cgroup v2 and systemd's mark of a delegated group (`user.delegate`) nothing is
touched, and only rlimits apply. See https://systemd.io/CGROUP_DELEGATION and the kernel's cgroup-v2.rst.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Protocol

log = logging.getLogger(__name__)

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = {"memory", "pids"}
PROCESSES = 64  # processes and threads of one account
EMPTY_SECONDS = 1.0  # how long to wait after all processes of a group were killed
_MARK = "user.delegate"


class AccountCgroup(Protocol):
    """The cgroup of an account's process."""

    def add(self, pid: int) -> None:
        """Move a process into it. Call this before the process has its job."""

    def ran_out_of_memory(self) -> bool: ...

    def end(self) -> None:
        """Kill all processes in it and remove it. Blocks until they are gone."""


class Delegated:
    """The group that systemd delegated to us.

    Our own processes move into a child group, because a group that hands controllers to its children may not hold
    processes itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        ours = path / "ebaysync"
        ours.mkdir(exist_ok=True)
        # Before controllers are handed on: the kernel refuses that for a group that holds processes.
        for pid in (path / "cgroup.procs").read_text().split():
            (ours / "cgroup.procs").write_text(pid)
        (path / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(CONTROLLERS)))

    def account(self, name: str, memory_mb: int) -> DelegatedCgroup:
        return DelegatedCgroup(self.path / f"account-{name}", memory_mb)


class DelegatedCgroup:
    """A child of the delegated group."""

    def __init__(self, path: Path, memory_mb: int) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self._set("memory.max", str(memory_mb << 20))
        # Otherwise an account over its limit would slow the host down by swapping.
        self._set("memory.swap.max", "0", may_lack=True)  # a kernel without swap accounting
        # The kernel kills the whole group, not only the largest process of it.
        self._set("memory.oom.group", "1", may_lack=True)
        self._set("pids.max", str(PROCESSES))

    def _set(self, name: str, value: str, *, may_lack: bool = False) -> None:
        if not may_lack or (self.path / name).exists():
            (self.path / name).write_text(value)

    def add(self, pid: int) -> None:
        try:
            (self.path / "cgroup.procs").write_text(str(pid))
        except OSError as error:  # it has ended already, or the kernel refuses: rlimits still apply
            log.debug("%s: %s", self.path, error.strerror)

    def ran_out_of_memory(self) -> bool:
        try:
            lines = (self.path / "memory.events").read_text().splitlines()
        except OSError:
            return False
        return any(line.split()[0] == "oom_kill" and line.split()[1] != "0" for line in lines)

    def end(self) -> None:
        try:
            self._set("cgroup.kill", "1", may_lack=True)  # since Linux 5.14
            deadline = time.monotonic() + EMPTY_SECONDS
            while self._populated() and time.monotonic() < deadline:
                time.sleep(0.002)
            self.path.rmdir()
        except OSError as error:
            log.debug("%s is not removed: %s", self.path, error.strerror)

    def _populated(self) -> bool:
        return "populated 1" in (self.path / "cgroup.events").read_text()


class NoCgroup:
    """Stands in where no group was delegated."""

    def add(self, pid: int) -> None:
        return

    def ran_out_of_memory(self) -> bool:
        return False

    def end(self) -> None:
        return


def delegated(root: Path = ROOT, own: Path = Path("/proc/self/cgroup"), mark: str = _MARK) -> Delegated | None:
    """The group that systemd delegated to us, ready for accounts; None if there is none."""
    try:
        line = next((line for line in own.read_text().splitlines() if line.startswith("0::/")), "")
        path = root / line.removeprefix("0::/")
        if path.name == "ebaysync":  # this command was started by another one of ours
            path = path.parent
        if not line or os.getxattr(path, mark) != b"1":
            return None
        if not set((path / "cgroup.controllers").read_text().split()) >= CONTROLLERS:
            return None
        return Delegated(path)
    except OSError as error:
        log.debug("no control groups for accounts: %s", error.strerror)
        return None


def cgroup_for(parent: Delegated | None, name: str, memory_mb: int) -> AccountCgroup:
    if parent is None:
        return NoCgroup()
    try:
        return parent.account(name, memory_mb)
    except OSError as error:
        log.debug("no control group for the account %s: %s", name, error.strerror)
        return NoCgroup()
