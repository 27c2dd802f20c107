"""Shows what N accounts would get from a keyset: schedule --accounts N."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType

from ebaysync.cli.format import styled, table

UNITS = {"min": (1, 180), "h": (60, 4320), "d": (1440, math.inf)}
"""Minutes, and the longest time that is shown in them."""


def rendered(found: dict[str, Any]) -> RenderableType:
    shown: list[RenderableType] = []
    for keyset in found["keysets"]:
        present = keyset["present"]
        model = "the present one" if present == 1 else f"the {present:,} present ones"
        if found["typical"]:
            model = "typical ones: one in twenty is busy, and runs cost what is usual (no account is active yet)"
        if shown:
            shown.append("")
        shown += [
            styled(f"{found['accounts']:,} accounts with the keyset {keyset['keyset']}", style="bold"),
            styled(f"like {model}, in a whole quota day"),
            "",
            _families(keyset["families"]),
            "",
            _quotas(keyset["quotas"]),
            "",
            *(styled(line) for line in _verdict(keyset)),
        ]
    return Group(*shown)


def _families(listed: list[dict[str, Any]]) -> RenderableType:
    shown = table("family", "every >", "busy accounts >", "quiet accounts >", "old rows >")
    for family in listed:
        minutes = (_span(family[name]) for name in ("every_minutes", "busy", "quiet"))
        old_rows = family["old_rows_within_hours"]
        shown.add_row(family["family"], *minutes, _span(old_rows and [hours * 60 for hours in old_rows]))
    return shown


def _quotas(listed: list[dict[str, Any]]) -> RenderableType:
    shown = table("API", "quota >", "wanted >", "% >", "planned >", "request >")
    for quota in listed:
        shown.add_row(
            quota["api"],
            f"{quota['quota']:,}",
            f"{quota['wanted']:,}",
            f"{quota['share']:,.0%}",
            f"{quota['planned']:,}",
            f"{quota['request']:,}" if quota["request"] else "–",
        )
    return shown


def _verdict(keyset: dict[str, Any]) -> list[str]:
    if keyset["carries"] is None:
        return ["No quota is known."]
    lines = [
        f"At these intervals the keyset carries {keyset['carries']:,} accounts; {keyset['first_to_bind']} is the first "
        "quota to bind.",
        f"While only quiet accounts and old rows wait longer, it carries {keyset['carries_stretched']:,}; "
        f"{keyset['first_to_bind_stretched']} is the first to bind.",
    ]
    if any(quota["request"] for quota in keyset["quotas"]):
        lines.append(
            "For all at their intervals, request the quotas of the last column in eBay's Application Growth Check."
        )
    return lines


def _span(minutes: Sequence[float] | None) -> str:
    """A span of time in the unit that fits its end."""
    if minutes is None:
        return "–"
    unit, length = next((unit, length) for unit, (length, longest) in UNITS.items() if minutes[1] <= longest)
    least, most = (f"{value / length:,.0f}" for value in minutes)
    return f"{least} {unit}" if least == most else f"{least}–{most} {unit}"
