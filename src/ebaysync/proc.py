"""Facts of a process: /proc/PID/stat (proc(5)), and when to collect garbage."""

from __future__ import annotations

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


def stat(pid: int) -> ProcessStat | None:
    """The process with this pid. None if it is gone or hidden from us (hidepid, systemd's ProtectProc)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name, which may contain spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return ProcessStat(state=fields[0], parent=int(fields[1]), session=int(fields[3]), started=fields[19])
