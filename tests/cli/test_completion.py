"""Shell completion, asked of the real program as a shell asks it; and options that stand where people write them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ebaysync.families import discover


@pytest.fixture
def completed(program: Any) -> Callable[..., list[str]]:
    """`completed("ebaysync run o")`: what bash would offer after these words."""

    def ask(line: str, **environment: str) -> list[str]:
        words = line.split(" ")
        ended = subprocess.run(
            [sys.executable, "-m", "ebaysync"],
            env=program.environ
            | {"_EBAYSYNC_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
            | environment,
            cwd=program.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.stderr == ""
        return ended.stdout.split()

    return ask


def test_families_are_completed(completed: Callable[..., list[str]]) -> None:
    assert completed("ebaysync run or") == ["orders"]
    assert completed("ebaysync families disable ") == list(discover())
    beginning = [name for name in discover() if name.startswith("re")]
    assert {"refunds", "returns"} <= set(beginning)
    assert completed("ebaysync run-all --family re") == beginning


def test_accounts_are_completed(
    completed: Callable[..., list[str]], simulator: Callable[..., Any], program: Any, added: Any
) -> None:
    sim = simulator(sellers=3, orders_per_seller=0)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    names = sorted(added(program, sim))
    assert sorted(completed("ebaysync run orders --account ")) == names
    assert completed(f"ebaysync accounts show {names[0][:2]}") == [names[0]]


def test_no_account_is_completed_whose_name_a_shell_would_read_as_more_than_a_word(
    completed: Callable[..., list[str]], simulator: Callable[..., Any], program: Any, added: Any, query: Any
) -> None:
    sim = simulator(sellers=7, orders_per_seller=0)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    for name, new in zip(
        added(program, sim), ("a;id", "a$(id)", "a\nb", "a\x1b[2J", "-a", "a'b", "añ.b-1"), strict=True
    ):
        query("UPDATE ebay_accounts SET name = %s WHERE name = %s", new, name)
    assert completed("ebaysync accounts show ") == ["añ.b-1"]


def test_without_a_database_no_account_is_offered_and_nothing_is_said(
    completed: Callable[..., list[str]], program: Any
) -> None:
    assert completed("ebaysync status -a ", EBAYSYNC_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none") == []
    assert completed("ebaysync status -a ", EBAYSYNC_DATABASE_URL="") == []
    assert not (program.folder.parent / "home").exists()


def test_commands_are_completed(completed: Callable[..., list[str]]) -> None:
    assert completed("ebaysync re") == ["refresh-tokens", "resume"]


def test_a_reason_that_looks_like_an_option_is_a_reason(program: Any, query: Callable[..., Any]) -> None:
    for word in ("-q", "--verbose"):
        assert program("pause", "--reason", word).code == 0
        assert query("SELECT reason FROM ebay_worker_global_config") == [(word,)]


def test_verbose_may_stand_before_or_after_a_command(simulator: Callable[..., Any], program: Any, added: Any) -> None:
    sim = simulator(sellers=1, orders_per_seller=0)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    added(program, sim)
    for words, verbose in (
        (("refresh-tokens", "--force"), False),
        (("-v", "refresh-tokens", "--force"), True),
        (("refresh-tokens", "--force", "-v"), True),
        (("refresh-tokens", "--verbose", "--force"), True),
    ):
        ended = program(*words)
        assert ended.code == 0
        assert (" debug " in ended.err) == verbose, ended.err


@pytest.mark.parametrize("words", [("families", "-v"), ("accounts", "-q", "list"), ("accounts", "list", "-q")])
def test_they_may_stand_in_a_group(program: Any, words: tuple[str, ...]) -> None:
    assert program(*words).code == 0


def test_what_follows_two_dashes_is_no_option(program: Any) -> None:
    ended = program("accounts", "show", "--", "-v")
    assert ended.code == 2
    assert "there is no account '-v'" in ended.err
