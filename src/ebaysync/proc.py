"""What Linux says of a process in /proc/PID/stat (proc(5))."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessStat:
    """`state` is one letter; `started` is in clock ticks since boot, as text; pids are used again, the pair is not."""

    state: str
    parent: int
    session: int
    started: str

    @property
    def is_dead(self) -> bool:
        """A zombie, whose parent has not taken notice of its end."""
        return self.state in ("Z", "X")


def stat(pid: int) -> ProcessStat | None:
    """The process with this pid; None if it is gone, or hidden from us (hidepid, systemd's ProtectProc)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name, which may contain blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    return ProcessStat(state=fields[0], parent=int(fields[1]), session=int(fields[3]), started=fields[19])
