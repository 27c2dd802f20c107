"""Reads what all REST calls have in common: numbers, times, a seller's current things."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime

from ebaysync.sim.calls import Call, Refusal
from ebaysync.sim.model import Body, Seller, Thing


def number(call: Call, name: str, default: int, least: int, most: int, refusal: Refusal) -> int:
    """A whole number within bounds. Raises Refusal."""
    text = call.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise refusal
    return int(text)


def moment(text: str) -> datetime | None:
    """ISO 8601 in UTC with milliseconds and `Z`, as all of eBay's examples are; None: anything else."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text, re.ASCII):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def months_before(at: datetime, months: int) -> datetime:
    """The same day so many months earlier, or that month's last."""
    year, month = divmod(at.year * 12 + at.month - 1 - months, 12)
    return at.replace(year=year, month=month + 1, day=min(at.day, monthrange(year, month + 1)[1]))


def served(seller: Seller, kind: str, now: datetime) -> list[tuple[Thing, Body]]:
    """The seller's things of a kind that exist now, with their bodies."""
    things = seller.things.get(kind, {}).values()
    return [(thing, thing.body) for thing in things if thing.body is not None and thing.created <= now]
