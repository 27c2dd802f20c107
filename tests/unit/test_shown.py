"""Others' text in a form that a terminal, a log and a shell do not obey."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import unicodedata
from uuid import UUID

import pytest

from ebaysync import log
from ebaysync.cli.format import display, styled, table
from ebaysync.errors import EbaysyncError
from ebaysync.shown import account_word, escaped, json_escaped, line, word

PLAIN = [
    "alice",
    "Grüße, 漢字, עברית, ไทย",
    "e\u0301",
    "👩\u200d👩\u200d👧",
    "می\u200cخواهم",
    "[bold]x[/bold]",
    "\\n",
    "a\xa0b",
    "",
]


@pytest.mark.parametrize("text", PLAIN)
def test_letters_of_every_script_and_emoji_stay(text: str) -> None:
    assert escaped(text) == text


def test_every_control_and_every_mark_of_direction_is_escaped() -> None:
    for code in range(0x110000):
        character = chr(code)
        is_control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        turns = unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        is_hidden = character in "\u200e\u200f\u061c\u200b\u200c\u200d\u2060\ufeff\xad\u180e\u3164\uffa0"
        if is_control or turns or is_hidden:
            shown = escaped(f"a{character}b")
            assert shown.isprintable(), hex(code)
            assert shown.startswith("a\\"), hex(code)


def test_a_joiner_stays_where_it_joins_and_nowhere_else() -> None:
    for joiner, shown in (("\u200c", "\\u200c"), ("\u200d", "\\u200d")):
        for text in ("क{}ष", "❤\ufe0f{}🔥"):
            assert escaped(text.format(joiner)) == text.format(joiner)
        for text in ("al{}ice", "{}क", "क{}", "क{0}{0}ष", "{}"):
            assert escaped(text.format(joiner)) == text.format(shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("one\r\ntwo\tthree", "one\\r\\ntwo\\tthree"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("\udcff", "\\xff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_an_escape_is_visible(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_line_is_not_taken_by_journald_for_one_with_a_priority() -> None:
    assert line("<0>alice: done") == "\\x3c0>alice: done"
    assert line("<alice>") == "<alice>"


@pytest.mark.parametrize("text", ["\x7f\x9b\u202e\u2028\ufeff\U000e0041", 'a"\\\n\x1b\u202e', "漢字"])
def test_json_keeps_its_content(text: str) -> None:
    document = json_escaped(json.dumps({"text": text}, ensure_ascii=False, indent=2))
    assert json.loads(document) == {"text": text}
    assert document.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["alice", "it's a; shop", "$(id)", "!!", "two words", "Grüße"])
def test_a_shell_reads_back_the_word_that_was_meant(name: str) -> None:
    said = subprocess.run(["/bin/sh", "-c", f"printf %s {word(name)}"], capture_output=True, text=True, check=True)
    assert said.stdout == name


def test_an_account_whose_name_cannot_be_shown_is_called_by_its_id() -> None:
    own = UUID(int=7)
    assert account_word("my shop", own) == "'my shop'"
    for name in ("my\x1bshop", "-v", "", " ", "my\u200dshop", "my\u3164shop"):
        assert account_word(name, own) == str(own)


def test_a_log_line_of_text_is_one_line_and_one_of_json_is_exact() -> None:
    message = "alice: \x1b[31m\nfake\u202e"
    for form in ("text", "json"):
        stream = io.StringIO()
        log.set_up(form=form, stream=stream)
        logging.getLogger("ebaysync.test").warning("%s", message)
        said = stream.getvalue()
        assert said.count("\n") == 1
        assert said[:-1].isprintable()
        if form == "json":
            assert json.loads(said)["message"] == message


def test_what_an_error_says_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up()
    error = EbaysyncError("eBay says \x1b]0;title\x07\nand more", hint="run: x\u202e")
    log.notify(error.message, error.hint)
    assert capsys.readouterr().err == "ebaysync: eBay says \\x1b]0;title\\x07\\nand more\n  run: x\\u202e\n"


def test_the_cells_of_a_table_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    grid = table("account", "why")
    grid.add_row("a\x1b[2J\nb", styled("\u202e[red]"))
    display(grid)
    assert capsys.readouterr().out.splitlines()[1].split() == ["a\\x1b[2J\\nb", "\\u202e[red]"]
