"""Starts the program without importing it again: `python launcher.py SOCKET`.

Python and its imports cost more CPU time than most commands, and the tests start hundreds. This process imports the
program once and forks for each start. The new process gets arguments, environment, working directory and standard
streams of its own, and then does what `python -m ebaysync` does.

    request   {"arguments", "environ", "folder"} and three descriptors: stdin, stdout, stderr
    answers   the pid, then the exit status as subprocess has it
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import sys
from importlib import import_module

from ebaysync.cli.app import COMMANDS
from ebaysync.ops.forkserver import LAZY_IMPORTS

FOUR = 4  # bytes of a number in an answer


def main() -> None:
    for name in {module for modules in COMMANDS.values() for module in modules}:
        import_module(f"ebaysync.cli.{name}")
    for name in LAZY_IMPORTS:
        import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the handlers below are not waited for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        while True:
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                if _handle(link):
                    return
            link.close()


def _handle(link: socket.socket) -> bool:
    """Fork the program and report its end. True in the program's process."""
    message, streams, _, _ = socket.recv_fds(link, 2**20, 3)
    pid = os.fork()
    if pid == 0:
        link.close()
        _become(json.loads(message), streams)
        return True
    for stream in streams:
        os.close(stream)
    link.sendall(pid.to_bytes(FOUR, "big"))
    _, status = os.waitpid(pid, 0)
    link.sendall(os.waitstatus_to_exitcode(status).to_bytes(FOUR, "big", signed=True))
    os._exit(0)


def _become(request: dict[str, object], streams: list[int]) -> None:
    os.environ.clear()
    os.environ.update(request["environ"])  # type: ignore[arg-type]
    os.chdir(str(request["folder"]))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    sys.argv = ["ebaysync", *request["arguments"]]  # type: ignore[misc]


if __name__ == "__main__":
    main()
    runpy.run_module("ebaysync", run_name="__main__", alter_sys=True)
