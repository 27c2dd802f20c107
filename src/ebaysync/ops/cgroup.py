"""A control group for each account's process, where systemd has delegated us one (`Delegate=memory pids`): the kernel
counts the memory of all that is in it exactly, ends it alone when it takes too much, and ends it whole when we say so.

Only where the mark that systemd puts on a delegated group is there (`user.delegate`), and of cgroup v2: otherwise no
group is touched, and rlimits alone hold. See https://systemd.io/CGROUP_DELEGATION and the kernel's cgroup-v2.rst.
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
PROCESSES = 64  # and threads, of one account's
EMPTY_WITHIN = 1.0  # seconds, after all in a group were killed
_MARK = "user.delegate"


class Group(Protocol):
    """An account's group."""

    def take(self, pid: int) -> None:
        """Put a process into it, before it has anything to do."""

    def ran_out_of_memory(self) -> bool: ...

    def end(self) -> None:
        """Kill all that is in it, and remove it. Blocks for as long as that takes."""


class Delegated:
    """Our delegated group. Our own processes move into a group within it, because a group with controllers for those
    below it may hold no process itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ours = path / "ebaysync"
        ours.mkdir(exist_ok=True)
        for pid in (path / "cgroup.procs").read_text().split():
            (ours / "cgroup.procs").write_text(pid)
        (path / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(CONTROLLERS)))

    def account(self, name: str, memory_mb: int) -> Account:
        return Account(self.path / f"account-{name}", memory_mb)


class Account:
    """A Group in a delegated one."""

    def __init__(self, path: Path, memory_mb: int) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self._set("memory.max", str(memory_mb << 20))
        self._set("memory.swap.max", "0", may_lack=True)  # a kernel without swap accounting
        self._set("memory.oom.group", "1", may_lack=True)
        self._set("pids.max", str(PROCESSES))

    def _set(self, name: str, value: str, *, may_lack: bool = False) -> None:
        if not may_lack or (self.path / name).exists():
            (self.path / name).write_text(value)

    def take(self, pid: int) -> None:
        try:
            (self.path / "cgroup.procs").write_text(str(pid))
        except OSError as error:  # it has ended already, or the kernel refuses: rlimits hold
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
            deadline = time.monotonic() + EMPTY_WITHIN
            while self._populated() and time.monotonic() < deadline:
                time.sleep(0.002)
            self.path.rmdir()
        except OSError as error:
            log.debug("%s is not removed: %s", self.path, error.strerror)

    def _populated(self) -> bool:
        return "populated 1" in (self.path / "cgroup.events").read_text()


class Nothing:
    """A Group where there are none."""

    def take(self, pid: int) -> None:
        return

    def ran_out_of_memory(self) -> bool:
        return False

    def end(self) -> None:
        return


def delegated(root: Path = ROOT, own: Path = Path("/proc/self/cgroup"), mark: str = _MARK) -> Delegated | None:
    """Our delegated group, ready for accounts; None where there is none."""
    try:
        line = next((line for line in own.read_text().splitlines() if line.startswith("0::/")), "")
        path = root / line.removeprefix("0::/")
        if path.name == "ebaysync":  # a command that another one of ours has started
            path = path.parent
        if not line or os.getxattr(path, mark) != b"1":
            return None
        if not set((path / "cgroup.controllers").read_text().split()) >= CONTROLLERS:
            return None
        return Delegated(path)
    except OSError as error:
        log.debug("no control groups for accounts: %s", error.strerror)
        return None


def group_of(parent: Delegated | None, name: str, memory_mb: int) -> Group:
    if parent is None:
        return Nothing()
    try:
        return parent.account(name, memory_mb)
    except OSError as error:
        log.debug("no control group for the account %s: %s", name, error.strerror)
        return Nothing()
