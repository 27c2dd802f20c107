"""systemd's units and crontab.example: what they start is what the program understands, and they are as closed as they
say. systemd-analyze judges them without a running systemd."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from ebaysync.accounts import vault
from ebaysync.cli.app import app
from ebaysync.settings import load

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "systemd").iterdir())
OURS = "/usr/local/bin/ebaysync"
RUN_ALL, TOKENS, HOUSEKEEPING = ("ebaysync.service", "ebaysync-refresh-tokens.service", "ebaysync-housekeeping.service")


FAILURE = "ebaysync-failure@.service"


def settings_of(name: str) -> list[tuple[str, str]]:
    """The directives of a unit in their order, without comments."""
    lines = (ROOT / "systemd" / name).read_text().splitlines()
    return [(key, value) for key, _, value in (line.partition("=") for line in lines if re.match(r"[A-Z]", line))]


def value(name: str, directive: str) -> str:
    found = [value for key, value in settings_of(name) if key == directive]
    assert len(found) == 1, (name, directive, found)
    return found[0]


def understood(words: list[str]) -> str:
    """The command that the program makes of these words, parsed as it parses them and not run."""
    main = typer.main.get_command(app)
    context = main.make_context("ebaysync", words)
    rest = [*context._protected_args, *context.args]
    name, command, rest = main.resolve_command(context, rest)  # type: ignore[attr-defined]
    command.make_context(name, rest, parent=context)
    return str(name)


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None and os.environ.get("CI"):
        pytest.fail("systemd-analyze is not here, and CI must not skip: apt-get install systemd")
    if found is None:
        pytest.skip("systemd-analyze is not here")
    return found


def test_every_unit_starts_a_command_that_there_is() -> None:
    started = {
        unit.name: understood(shlex.split(command)[1:])
        for unit in UNITS
        for key, command in settings_of(unit.name)
        if key == "ExecStart" and command.startswith(OURS)
    }
    assert started == {RUN_ALL: "run-all", TOKENS: "refresh-tokens", HOUSEKEEPING: "prune"}


def test_cron_starts_the_same_commands_each_behind_a_lock_that_no_child_inherits() -> None:
    lines = [line for line in (ROOT / "crontab.example").read_text().splitlines() if re.match(r"[*0-9]", line)]
    started = []
    for line in lines:
        words = shlex.split(line.split(None, 5)[5].partition(">")[0])
        lock, ours = words[: words.index("ebaysync")], words[words.index("ebaysync") + 1 :]
        assert lock[:5] == ["flock", "-n", "-E", "75", "-o"]
        started.append(understood(ours))
    assert sorted(started) == ["prune", "refresh-tokens", "run-all"]


@pytest.mark.parametrize("name", [RUN_ALL, TOKENS, HOUSEKEEPING, FAILURE])
def test_a_service_is_as_closed_as_the_program_allows(analyze: str, name: str) -> None:
    command = [analyze, "security", "--offline=true", "--threshold=15", "--no-pager", str(ROOT / "systemd" / name)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    last = judged.stdout.strip().splitlines()[-1]
    found = re.search(r"exposure level for \S+: ([0-9.]+)", last)
    assert found, judged.stdout + judged.stderr
    assert float(found[1]) <= 1.5, judged.stdout
    assert judged.returncode == 0


def test_systemd_understands_every_directive(analyze: str, tmp_path: Path) -> None:
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(OURS, "/bin/true"))
    units = [str(tmp_path / unit.name) for unit in UNITS]
    # Others' units of this machine may be told of as well.
    said = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False).stderr
    assert [line for line in said.splitlines() if "ebaysync" in line] == []


def test_what_keeps_one_account_from_ending_the_others_is_set() -> None:
    assert value(RUN_ALL, "Type") == "oneshot"
    assert value(RUN_ALL, "OOMPolicy") == "continue"
    assert value(RUN_ALL, "TimeoutStartSec")
    assert value(RUN_ALL, "SuccessExitStatus") == "143"
    assert value(RUN_ALL, "OnFailure") == "ebaysync-failure@%n.service"
    assert value(RUN_ALL, "StateDirectory") == "ebaysync"
    assert value(RUN_ALL, "LoadCredential").startswith("secret.key:")
    assert value("ebaysync.timer", "OnCalendar") == "*:0/5"
    assert value("ebaysync.timer", "Persistent") == "yes"
    assert value("ebaysync.timer", "RandomizedDelaySec")


@pytest.mark.parametrize("named", ["secret.key", "{directory}/secret.key"])
def test_a_credential_as_systemd_lays_it_is_the_key(tmp_path: Path, named: str) -> None:
    """Owner root, mode 0440, in a directory that the unit alone may enter; named as the units name it."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    key = folder / "secret.key"
    key.write_text("k" * 40)
    key.chmod(0o440)
    environ = {"EBAYSYNC_SECRET_KEY_FILE": named.format(directory=folder)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREDENTIALS_DIRECTORY", str(folder))
        assert vault.load(load(environ, env_file=False), may_create=False).source == str(key)
