"""Text that people read is plain English: docstrings, comments, messages, help, SQL comments, documentation."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Words and phrases that a reader would have to look up or read twice, and what to write instead.
PHRASES = {
    r"\bmend(s|ed|ing)?\b": "fix, repair or hint",
    r"\bto be had\b": "available; or say who gets it",
    r"\bno matter of\b": "does not affect",
    r"\bgoes without saying\b": "the default",
    r"\bmade anew\b": "made again",
    r"\bfor want of\b": "for lack of",
    r"\bby (his|her|its|their) own word\b": "as it declares",
    r"\bdearest?\b": "most expensive",
    r"\bwhoso|\bthereof\b|\bwhereof\b|\bhereof\b|\btherein\b|\bwherein\b": "a plain preposition",
    r"\bmay not be had\b": "cannot be read",
    r"\b(is|are|was|were) told of\b": "reported",
    r"\bnone of ours\b": "not ours",
    r"\bof one's own\b": "its own",
    r"\blet(s)? .{1,20} run no more\b": "disable",
    r"\bas yet\b": "yet",
    r"\bsomebody else's\b": "another's",
    r"\bbut for\b": "except",
}
# A sentence that begins with one of these needs a second reading.
START = re.compile(r"(?:^|(?<=[.!?] )|(?<=\n\n))(Of|What|Where|Whoever|By|Whose|Whatever)\b(?![^.]*\?)")
# SQL files that were released are never edited; what they say stays.
RELEASED = {f"{number:04}" for number in range(1, 20)}


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Messages, hints and help texts, with the text around their values."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def comments(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if found := re.search(r"--\s+(.*)|COMMENT ON .* IS '(.*)'", line):
            yield number, found[1] or found[2]


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Every text with its place, paragraphs on one line each."""
    found: list[tuple[Path, int, str]] = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        found += [(path, line, text) for line, text in (*docstrings(path), *strings(path))]
    for path in sorted((ROOT / "sql").glob("*.sql")):
        if path.name[:4] not in RELEASED:
            found += [(path, line, text) for line, text in comments(path)]
    for path in (*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))):
        prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        found.append((path, 1, re.sub(r"^[-*|#] ?", "", prose, flags=re.MULTILINE)))
    return tuple(
        dict.fromkeys(
            (f"{path.relative_to(ROOT)}:{line}", re.sub(r"(?<!\n)\n(?!\n)\s*", " ", text)) for path, line, text in found
        )
    )


@pytest.mark.parametrize(("phrase", "instead"), PHRASES.items())
def test_no_text_has_a_phrase_that_needs_a_second_reading(phrase: str, instead: str) -> None:
    found = [f"{place}: {text[:100]}" for place, text in texts() if re.search(phrase, text, re.IGNORECASE)]
    assert not found, f"write instead: {instead}\n" + "\n".join(found)


def test_no_sentence_begins_with_a_word_that_hides_its_subject() -> None:
    found = [f"{place}: {text[hit.start() :][:80]}" for place, text in texts() for hit in START.finditer(text)]
    assert not found, "\n".join(found)


def test_the_test_sees_every_kind_of_text() -> None:
    kinds = {place.rpartition(":")[0].rpartition(".")[2] for place, _ in texts()}
    assert kinds == {"py", "sql", "md"}
    assert START.search("Stored once. Of a record the newest.")
