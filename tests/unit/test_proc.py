"""What is read of a process in /proc."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ebaysync import proc


def test_this_process_is_alive_and_in_its_session() -> None:
    found = proc.stat(os.getpid())
    assert found
    assert (found.parent, found.session, found.is_dead) == (os.getppid(), os.getsid(0), False)


def test_a_name_with_blanks_and_parentheses_is_no_field(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    sleep = shutil.which("sleep")
    assert sleep
    shutil.copy(sleep, program)
    with subprocess.Popen([program, "60"]) as process:
        found = proc.stat(process.pid)
        process.kill()
    assert found
    assert (found.parent, found.session) == (os.getpid(), os.getsid(0))


def test_a_zombie_is_dead_and_a_process_that_is_gone_is_none() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        found = proc.stat(process.pid)
        assert found
        assert found.is_dead
    assert proc.stat(process.pid) is None
