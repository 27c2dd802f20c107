"""Formats values for people."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from ebaysync.shown import escaped, line
from ebaysync.sync.summary import SHARED_CALLS

_SHARED_CALLS = re.compile(re.escape(SHARED_CALLS).replace(re.escape("{}"), "(.+)"))


UNWRAPPED = 10_000  # columns; more than any line has


def console() -> Console:
    """Prints tables to standard output. Lines are wrapped for a terminal only: a program reads line by line."""
    width = None if sys.stdout.isatty() else UNWRAPPED
    return Console(width=width, highlight=False, markup=False, emoji=False)


def styled(text: str, style: str = "") -> Text:
    """One line of a rendered answer. The text of others in it is escaped."""
    return Text(line(text), style)


def cell(content: RenderableType) -> RenderableType:
    return styled(content) if isinstance(content, str) else content


class Grid(Table):
    """A table without lines, whose cells are escaped. A cell that is a `Text` was made by `styled`."""

    def __init__(self, *heads: Column | str, show_header: bool = True) -> None:
        super().__init__(*heads, box=None, pad_edge=False, show_header=show_header)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(content and cell(content) for content in cells), **options)


def display(content: RenderableType) -> None:
    """Print a table or text, without the blanks that fill up a table's last column."""
    screen = console()
    with screen.capture() as captured:
        screen.print(content)
    typer.echo("\n".join(line.rstrip() for line in captured.get().split("\n")), nl=False)


def short(moment: str | None) -> str:
    """A time from JSON, to the minute."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%MZ") if moment else "–"


def exact(moment: str | None) -> str:
    """A time from JSON, to the second: eBay's windows have no fraction."""
    return re.sub(r"\.\d+", "", moment) if moment else "–"


def lasting(seconds: float | None) -> str:
    """A duration in its largest unit of which it has at least two."""
    if seconds is None:
        return "–"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def ago(moment: str | None) -> str:
    """How long ago a time from JSON is."""
    return f"{lasting((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())} ago" if moment else "–"


def prefixed(account: str, message: str) -> str:
    """A message that names its account once."""
    return f"{account}: {unprefixed(account, message)}"


def unprefixed(account: str, message: str) -> str:
    """A message without the account that it is about, whose name an error has escaped."""
    return message.removeprefix(f"{account}: ").removeprefix(f"{escaped(account)}: ")


def reason_of(facts: dict[str, Any]) -> str:
    """A run's reason, from its JSON, in few words; empty if it has none."""
    family = _counted_at(facts)
    return f"same calls as {family}" if family else facts.get("reason") or ""


def _counted_at(facts: dict[str, Any]) -> str | None:
    """The family whose calls also read this one."""
    found = _SHARED_CALLS.fullmatch(facts.get("reason") or "")
    return found[1] if found else None


def line_of(run: dict[str, Any], *, dry_run: bool = False) -> str:
    """A run, from its JSON, in one line."""
    head = f"{run['account']} {run['family']}: {run['status']}"
    if run["status"] == "skipped":
        return f"{head}, {run['reason']}"
    would = "would store" if dry_run else "stored"
    facts = f"{run['fetched']} read, {would} {run['stored']}, {run['unchanged']} unchanged"
    extra = f", {run['removed']} gone" if run["removed"] else ""
    extra += f", {run['quarantined']} in quarantine" if run["quarantined"] else ""
    behind = "" if run["caught_up"] or run["status"] != "completed" else ", not caught up yet"
    reason = reason_of(run)
    behind += f" ({reason})" if reason else ""
    calls = "" if _counted_at(run) else f"{run['calls']} call{'' if run['calls'] == 1 else 's'}, "
    return f"{head}, {facts}{extra}{behind}; {calls}{run['seconds']:.1f} s; cursor {exact(run['cursor'])}"


def table(*heads: str) -> Grid:
    """A heading that ends with > is for numbers."""
    columns = [
        Column(
            head.removesuffix(" >"),
            justify="right" if head.endswith(">") else "left",
            no_wrap=head not in ("account", "why"),
        )
        for head in heads
    ]
    return Grid(*columns)
