"""The README's tables are what the code says. To write them anew: README=write pytest tests/unit/test_readme.py"""

from __future__ import annotations

import os
import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from ebaysync import errors
from ebaysync.errors import EbaysyncError
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.settings import Settings

README = Path(__file__).resolve().parents[2] / "README.md"


def table(*rows: tuple[str, ...]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *body))


def families() -> str:
    rows = []
    for family in discover().values():
        scopes = ", ".join(f"`{scope.rpartition('/')[2]}`" for scope in family.scopes)
        tables = " · ".join(f"`{t.name}` ({', '.join(t.key)})" for t in family.tables)
        rows.append(
            (
                f"`{family.name}`",
                f"{family.about} ({family.calls})",
                cursor(family),
                f"{family.every_minutes} min",
                scopes or "any",
                tables,
            )
        )
    return table(("family", "what (eBay's calls)", "cursor", "every", "scope", "tables (key after the account)"), *rows)


def cursor(family: Family) -> str:
    """How far and how a family is read."""
    said = [{"window": "window", "snapshot": "all there is", "rolling": "all that eBay shows"}[family.cursor_type]]
    reach = family.first_reach or (timedelta(days=90) if family.cursor_type == "window" else None)
    if reach:
        said.append(f"first {reach.days} d")
    if family.overlap:
        said.append(f"overlap {family.overlap // timedelta(hours=1)} h")
    if family.sweep:
        said.append(f"sweep {family.sweep.days} d")
    if family.detail and family.detail.open_column:
        said.append("open ones again")
    return ", ".join(said)


def settings() -> str:
    rows = []
    for field in fields(Settings):
        shown = field.default
        default = "–" if field.metadata["secret"] or not isinstance(shown, str | int) else f"`{shown}`"
        if field.name == "home":
            default = "the user's data dir; `/var/lib/ebaysync` for root"
        rows.append((f"`{field.metadata['name']}`", default, field.metadata["help"]))
    return table(("variable", "default", "meaning"), *rows)


def exit_codes() -> str:
    found: dict[int, list[str]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, EbaysyncError) and kind is not errors.Interrupted:
            found.setdefault(kind.exit_code, []).append(f"`{kind.code}`")
    meaning = {
        0: "done; also: nothing due, paused, disabled, resting because a quota is spent, held by another run (in"
        " `run-all`), records in quarantine",
        1: "a bug",
        2: "wrong usage or settings, a keyset that eBay does not accept, a key that does not fit the stored secrets",
        3: "`run-all`, `backfill`, `refresh-tokens`, `doctor`: at least one account or family failed; "
        "the rest is stored",
        10: "database unreachable, too old or not migrated",
        11: "`run`: another run holds this account and family",
        12: "the seller must consent again, or has not consented to this family's scope",
        13: "eBay refused or failed",
    }
    words = {code: ", ".join(dict.fromkeys(kinds)) for code, kinds in found.items() if code in meaning}
    rows = [(str(code), text, words.get(code, "–")) for code, text in meaning.items()]
    rows.append(("130, 143", "interrupted by SIGINT, SIGTERM, after the current slice", "`interrupted`"))
    return table(("code", "meaning", "`error.code` in `--json`"), *rows)


@pytest.mark.parametrize("name", ["families", "settings", "exit codes"])
def test_the_readme_says_what_the_code_says(name: str) -> None:
    text = README.read_text()
    made = {"families": families, "settings": settings, "exit codes": exit_codes}[name]()
    block = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
    if os.environ.get("README") == "write":
        README.write_text(block.sub(lambda _: f"{made}\n", text))
        return
    found = block.search(text)
    assert found
    assert found[0] == f"{made}\n"
