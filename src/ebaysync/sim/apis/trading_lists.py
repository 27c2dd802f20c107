"""The common part of GetMyeBaySelling and GetMyeBayBuying: which lists are asked for, and their pages.

Sources: the WSDL's ItemListCustomizationType and PaginationType; eBay's page of GetMyeBaySelling for the limit of
25,000 items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from ebaysync.sim.apis.trading_requests import Request
from ebaysync.sim.trading_xml import BAD_INPUT, OUT_OF_RANGE, Failed, pages

T = TypeVar("T")
MOST_PER_PAGE = 200
MOST_ENTRIES, MOST_PAGES = 25_000, 125
DAYS = 31  # "Default is 31 days" (BuyingSummary)


@dataclass(frozen=True, slots=True)
class Page:
    number: int
    size: int


def asked(request: Request, name: str) -> bool:
    """With ReturnAll every list but those with Include=false; else those with Include or any other field."""
    include = request.text(f"{name}.Include")
    if include:
        return include in ("true", "1")
    return request.holds(name) or "ReturnAll" in request.values.get("DetailLevel", [])


def page(request: Request, prefix: str, default: int) -> Page:
    """Raises Failed: a page number or size out of range."""
    path = f"{prefix}Pagination."
    size, number = request.number(path + "EntriesPerPage", default), request.number(path + "PageNumber", 1)
    if not 1 <= size <= MOST_PER_PAGE:
        raise Failed(BAD_INPUT, path + "EntriesPerPage")
    if number < 1:
        raise Failed(OUT_OF_RANGE)
    return Page(number, size)


def days(request: Request, name: str) -> int:
    """Raises Failed: a number of days out of range."""
    path = f"{name}.DurationInDays"
    found = request.number(path, DAYS)
    if not 0 <= found <= 60:
        raise Failed(BAD_INPUT, path)
    return found


def cut(rows: Sequence[T], asked_for: Page, capped: bool = False) -> tuple[Sequence[T], int, int]:
    """One page, the number of pages and of entries. Beyond 25,000 entries all numbers stand still, and so does the page
    after the 125th. Raises Failed: a page behind the last one."""
    number, total = asked_for.number, len(rows)
    count = pages(total, asked_for.size)
    if capped and total > MOST_ENTRIES:
        number, count, total = min(number, MOST_PAGES), MOST_PAGES, MOST_ENTRIES
    elif number > max(1, count):
        raise Failed(OUT_OF_RANGE)
    return rows[(number - 1) * asked_for.size : number * asked_for.size], count, total


def recent(now: datetime, at: datetime, most_days: int) -> bool:
    return (now - at).total_seconds() <= most_days * 86400
