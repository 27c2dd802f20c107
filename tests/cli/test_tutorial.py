"""docs/tutorial.md shows what the program really does.

Its `console` blocks are run one after another in one shell. To write their output anew:
TUTORIAL=write pytest tests/cli/test_tutorial.py
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
PORT = "8090"
# What differs from run to run. Order of lines does, too: accounts and families run side by side.
VARIES = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z", "TIME"),
    (r"\b\d\d-\d\d \d\d:\d\dZ", "TIME"),
    (r"\b\d+(\.\d+)? (s|min|h|d)\b", "SPAN"),
    (r"\b\d+ calls?\b", "CALLS"),
    (r"[\d,]+ of [\d,]+ calls of \S+", "CALLS"),
    (r"(\d+) read, stored \1, 0 unchanged", "ALL read and stored"),
    (r"\b\d+ times\b", "TIMES"),
    (r"^[0-9a-f]{8}\b", "RUN"),
    (r"read from \S+/secret\.key", "read from KEY"),
    (r"version 1\d\.\d+", "VERSION"),
    (r" +", " "),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not in pytest's own folder: as root, PostgreSQL runs as another user, who must reach it."""
    made = Path(tempfile.mkdtemp(prefix="ebaysync-tutorial-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture
def shell(folder: Path, port: str) -> Iterator[Callable[[str], str]]:
    """`shell("ebaysync status")`: a line for a shell that stays, and what it printed to standard output."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "COLUMNS": "100",
        "LC_ALL": "C.UTF-8",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-m"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env=environment,
        )
    assert process.stdin
    assert process.stdout
    stdin, stdout = process.stdin, process.stdout

    def run(line: str) -> str:
        line = line.replace(PORT, port)
        stdin.write(f'{line}\necho "<$?>"\n')
        stdin.flush()
        said = ""
        while not (end := re.search(r"<(\d+)>\n$", said)):
            read = stdout.readline()
            assert read, (folder / "log").read_text()
            said += read
        assert end[1] == "0", f"{line}\n{said}\n{(folder / 'log').read_text()}"
        return said[: end.start()].replace(port, PORT).replace(str(folder), "/home/you/ebaysync-tutorial")

    yield run
    stdin.write("kill $(jobs -p) 2>/dev/null\n")
    stdin.close()
    process.wait(30)
    stdout.close()


def commands(block: str) -> list[str]:
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


def settled(text: str) -> list[str]:
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return sorted(line.strip() for line in text.splitlines())


def test_the_tutorial_shows_what_its_commands_print(
    shell: Callable[[str], str], folder: Path, until: Callable[..., Any]
) -> None:
    text, shown = TUTORIAL.read_text(), list[str]()
    sellers = folder / "sellers.txt"
    for block in BLOCK.findall(text):
        made = ""
        for command in commands(block):
            made += f"$ {command}\n{shell(command)}"
            if command.endswith("&"):  # a person takes longer for the next step than the simulator for its start
                until(lambda: sellers.exists() and "_seller_3" in sellers.read_text(), "the simulator")
        shown.append("\n".join(line.rstrip() for line in made.splitlines()) + "\n")
    if os.environ.get("TUTORIAL") == "write":
        parts = iter(shown)
        TUTORIAL.write_text(BLOCK.sub(lambda _: next(parts), text))
        return
    assert [settled(block) for block in BLOCK.findall(text)] == [settled(block) for block in shown]
