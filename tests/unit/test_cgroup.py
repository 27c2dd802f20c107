"""Control groups, on a folder that looks like one; what the kernel does with them is the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ebaysync.ops import cgroup

MARK = "user.test.delegate"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A unit's group as systemd delegates it, with this process in it."""
    group = tmp_path / "system.slice/ebaysync.service"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text("cpu memory pids\n")
    (group / "cgroup.procs").write_text("4242\n")
    (group / "cgroup.subtree_control").touch()
    (tmp_path / "own").write_text("0::/system.slice/ebaysync.service\n")
    try:
        os.setxattr(group, MARK, b"1")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    return group


def found(root: Path) -> cgroup.Delegated | None:
    return cgroup.delegated(root, root / "own", MARK)


def test_our_own_processes_make_room_for_groups_with_controllers(unit: Path, tmp_path: Path) -> None:
    assert found(tmp_path) is not None
    assert (unit / "ebaysync/cgroup.procs").read_text() == "4242"
    assert (unit / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_an_account_has_a_group_with_its_limits_that_is_killed_whole_and_removed(unit: Path, tmp_path: Path) -> None:
    group = cgroup.cgroup_for(found(tmp_path), "7", 256)
    own = unit / "account-7"
    group.add(77)
    assert (own / "memory.max").read_text() == str(256 * 2**20)
    assert int((own / "pids.max").read_text()) == cgroup.PROCESSES
    assert (own / "cgroup.procs").read_text() == "77"
    assert not group.ran_out_of_memory()
    (own / "memory.events").write_text("low 0\noom 3\noom_kill 1\n")
    assert group.ran_out_of_memory()
    (own / "cgroup.kill").touch()
    (own / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    group.end()
    assert (own / "cgroup.kill").read_text() == "1"


def test_a_group_that_nobody_has_delegated_to_us_is_left_alone(unit: Path, tmp_path: Path) -> None:
    os.removexattr(unit, MARK)
    assert found(tmp_path) is None
    assert sorted(path.name for path in unit.iterdir()) == [
        "cgroup.controllers",
        "cgroup.procs",
        "cgroup.subtree_control",
    ]


@pytest.mark.parametrize("own", ["0::/elsewhere\n", "4:memory:/x\n", ""])
def test_without_cgroup_2_there_is_none(tmp_path: Path, own: str) -> None:
    (tmp_path / "own").write_text(own)
    assert found(tmp_path) is None
    group = cgroup.cgroup_for(None, "7", 256)
    group.add(os.getpid())
    group.end()


def test_controllers_that_were_not_delegated_are_not_used(unit: Path, tmp_path: Path) -> None:
    (unit / "cgroup.controllers").write_text("pids\n")
    assert found(tmp_path) is None
    assert not (unit / "ebaysync").exists()


def test_a_group_that_cannot_be_made_is_no_reason_to_stop(unit: Path, tmp_path: Path) -> None:
    delegated = found(tmp_path)
    (unit / "account-7").touch()
    assert not cgroup.cgroup_for(delegated, "7", 256).ran_out_of_memory()
