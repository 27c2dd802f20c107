"""The documentation says what the code says, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ebaysync.cli.app import COMMANDS, PANELS, Commands
from ebaysync.families import discover
from ebaysync.rechecks import CONCLUSIONS

TOP = Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
REFERENCE = ("commands", "settings", "families", "tables", "exit-codes")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", REFERENCE)
def test_a_page_of_the_reference_is_what_the_code_says(generate: Any, name: str) -> None:
    page = (DOCS / "reference" / f"{name}.md").read_text()
    assert page == generate.pages()[name], "run: make docs-reference"


def test_every_page_of_the_reference_is_generated(generate: Any) -> None:
    assert set(generate.pages()) == set(REFERENCE) == {path.stem for path in (DOCS / "reference").glob("*.md")}


def test_the_readme_is_one_page_and_names_every_kind_of_data() -> None:
    text = (TOP / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert [name for name in discover() if f"  {name} " not in text] == []


def test_quotas_say_what_every_source_costs(generate: Any) -> None:
    text = (DOCS / "quotas.md").read_text()
    assert text == generate.quotas_page(), "run: make docs-reference"
    costs = text[text.index("| families |") :].partition("\n\n")[0]
    assert [name for name in discover() if not re.search(rf"\b{name}\b", costs)] == []


def test_the_page_on_correctness_lists_every_conclusion_and_when_it_is_asked_again() -> None:
    page = (DOCS / "correctness.md").read_text()
    table = page[page.index("| conclusion |") :].partition("\n\n")[0].splitlines()[2:]
    assert table == [f"| {c.what} | {c.learned_from} | {c.stored_in} | {c.asked_again} |" for c in CONCLUSIONS]


def test_each_control_in_the_threat_model_names_tests_that_exist() -> None:
    controls = (DOCS / "security.md").read_text().partition("## Controls")[2].partition("## Remaining")[0]
    rows = [line for line in controls.splitlines() if re.match(r"\| (?!threat|---)", line)]
    assert len(rows) > 10
    for row in rows:
        file = ""
        named = re.findall(r"`(tests/[\w/]+\.py)?::(\w+)`", row)
        assert named, row
        for path, name in named:
            file = path or file
            assert f"def {name}(" in (TOP / file).read_text(), f"{file}::{name}"


def test_every_command_is_in_the_reference() -> None:
    text = (DOCS / "reference/commands.md").read_text()
    assert [name for name in COMMANDS if f"## ebaysync {name}\n" not in text] == []


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), *TOP.glob("*.md")]), ids=lambda page: page.name)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    broken = [target for target, _ in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert broken == []


def test_each_line_of_the_help_is_the_first_one_of_the_commands_own_help() -> None:
    commands = Commands(name="ebaysync")
    for panel in PANELS.values():
        for name, (line, *_) in panel.items():
            assert commands.get_command(None, name).get_short_help_str(200) == line


def test_the_help_imports_no_command() -> None:
    code = "import sys; from ebaysync.cli.app import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"sqlalchemy", "psycopg", "httpx", "msgspec", "ebaysync.families"}
    assert not heavy & set(ended.stdout.split())
