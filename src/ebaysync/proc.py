"""Facts of a process: /proc/PID/stat (proc(5)), who may look into it, and when to collect garbage."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

COLLECT_AFTER = (50_000, 20, 20)
"""thresholds for gc.set_threshold: objects, and collections of the generation before"""


@dataclass(frozen=True)
class ProcessStat:
    """`state` is one letter. `started` is in clock ticks since boot: a pid can be used again, pid and start cannot."""

    state: str
    parent: int
    session: int
    started: str

    @property
    def is_dead(self) -> bool:
        """A zombie: it has ended, but its parent has not waited for it yet."""
        return self.state in ("Z", "X")


PR_SET_DUMPABLE = 4


def write_no_core() -> None:
    """Let this process and its children write no core dump, which would contain secrets.

    The limit is 1 byte, not 0: if core_pattern names a program, the kernel ignores every other limit (core(5)).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = min(hard, 1) if hard != resource.RLIM_INFINITY else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def set_dumpable(dumpable: bool) -> None:
    """Say whether other processes of this user may read the memory, environment and descriptors (prctl(2)).

    A program that is executed starts as readable; a fork does not. Under systemd's MemoryDenyWriteExecute= some builds
    of libffi cannot import ctypes; there LimitCORE= and ProtectProc= do this.
    """
    with suppress(ImportError, MemoryError, OSError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)


def stat(pid: int) -> ProcessStat | None:
    """The process with this pid. None if it is gone or hidden from us (hidepid, systemd's ProtectProc)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name, which may contain spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return ProcessStat(state=fields[0], parent=int(fields[1]), session=int(fields[3]), started=fields[19])
