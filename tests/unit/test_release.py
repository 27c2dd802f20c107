"""What is handed out is whole: the sdist has everything that its tests need, the wheel its SQL and its types."""

from __future__ import annotations

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
