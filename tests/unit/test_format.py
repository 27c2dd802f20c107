"""What people read of a run, and of tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ebaysync.cli.format import Grid, display, line_of, prefixed
from ebaysync.errors import EbaysyncError
from ebaysync.shown import escaped
from ebaysync.sync.summary import SHARED_CALLS, Summary

CURSOR = datetime(2026, 11, 27, 21, 55, 49, tzinfo=UTC)


def test_a_run_is_one_line_with_its_calls_and_its_cursor_to_the_second() -> None:
    run = Summary("alice", "orders", cursor=CURSOR, caught_up=True, calls=1, fetched=2, stored=2, seconds=0.14)
    told = "alice orders: completed, 2 read, stored 2, 0 unchanged; 1 call, 0.1 s; cursor 2026-11-27T21:55:49Z"
    assert line_of(run.as_dict()) == told


def test_a_run_by_the_calls_of_another_family_names_it_and_counts_none() -> None:
    run = Summary("alice", "refunds", cursor=CURSOR, caught_up=True, reason=SHARED_CALLS.format("finances"))
    told = "alice refunds: completed, 0 read, stored 0, 0 unchanged (same calls as finances); 0.0 s; cursor "
    assert line_of(run.as_dict()) == f"{told}2026-11-27T21:55:49Z"
    assert run.as_dict()["reason"] == "read with finances, where the calls are counted", "scripts read this"


def test_a_run_without_a_cursor_shows_a_dash() -> None:
    assert line_of(Summary("alice", "orders", status="error").as_dict()).endswith("; cursor –")


def test_no_line_of_a_table_ends_with_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    table = Grid("name", "value")
    table.add_row("a", "short")
    table.add_row("b", "much longer")
    display(table)
    display("\nafter it")
    assert capsys.readouterr().out == "name  value\na     short\nb     much longer\n\nafter it\n"


def test_a_message_names_its_account_once_also_where_an_error_has_escaped_the_name() -> None:
    for name in ("alice", "al\x1bice"):
        for message in ("eBay is busy", f"{name}: eBay is busy", EbaysyncError(f"{name}: eBay is busy").message):
            assert escaped(prefixed(name, message)) == f"{escaped(name)}: eBay is busy"
