"""The kinds of faults that stay, and how one is put into a family's calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ebaysync.sim import faults_answers
from ebaysync.sim.faults import Fault
from ebaysync.sim.model import Seller
from ebaysync.sim.server import Simulator

from .places import Options, Place, offer_of

Applies = Callable[[Place], bool]


@dataclass(frozen=True)
class Kind:
    """`comes_to` is one of CHECKS, `where` the calls that are struck: list, detail, or all of the seller.

    `neighbour`: whether another family must go on. A limit or a dead token is the API's or the account's.
    """

    group: str
    name: str
    comes_to: str
    where: str
    options: Options
    only: Applies = lambda place: True
    neighbour: bool = True

    def fits(self, place: Place) -> bool:
        return self.only(place) and (self.where != "detail" or place.detail is not None)


def rest(place: Place) -> bool:
    return not place.trading


def trading(place: Place) -> bool:
    return place.trading


def counted(place: Place) -> bool:
    return place.counted


def windowed(place: Place) -> bool:
    return place.windowed


DENIED: Options = {"kind": "status", "status": 403, "code": 1100}
KINDS: Sequence[Kind] = (
    *(
        Kind(
            "a record",
            f"record {what}",
            "quarantined",
            "list",
            {"kind": "record", "what": what},
            rest if what == "digits" else lambda place: True,
        )
        for what in faults_answers.RECORDS
    ),
    *(
        Kind("a refused detail", f"detail {status}", "detail", "detail", options, neighbour=False)
        for status, options in {
            403: DENIED,
            **{status: {"kind": "status", "status": status} for status in (404, 429, 500)},
        }.items()
    ),
    Kind("a broken detail", "detail truncated", "detail", "detail", {"kind": "truncated"}),
    *(
        Kind("a broken detail", f"detail {what}", "detail", "detail", {"kind": "record", "what": what}, rest)
        for what in ("control", "deep", "digits", "other")
    ),
    *(
        Kind("a broken detail", f"detail {what}", "detail", "detail", {"kind": "envelope", "what": what}, rest)
        for what in ("empty_object", "errors", "warnings")
    ),
    Kind("counts", "counted, never sent", "agreed", "list", {"kind": "unsent"}, counted),
    Kind("counts", "an item twice", "agreed", "list", {"kind": "twice"}),
    Kind("counts", "total one too high", "agreed", "list", {"kind": "total", "by": 1}, counted),
    Kind("counts", "total one too low", "agreed", "list", {"kind": "total", "by": -1}, counted),
    Kind("a filter", "no filter", "failed", "list", {"kind": "no_filter", "what": "window and page"}, windowed),
    Kind("a leak", "rows from outside", "bounded", "list", {"kind": "outside"}, windowed),
    Kind("a page", "page truncated", "failed", "list", {"kind": "truncated"}),
    Kind("a page", "page 500", "failed", "list", {"kind": "status", "status": 500}),
    Kind("a page", "page html", "failed", "list", {"kind": "html"}),
    *(
        Kind("an envelope", f"envelope {what}", "failed", "list", {"kind": "envelope", "what": what})
        for what in faults_answers.ENVELOPES
    ),
    Kind("text", "numbers as text", "well", "list", {"kind": "text_numbers"}, rest),
    Kind("a scope", "1100 always", "failed", "list", DENIED, rest),
    Kind("an old token", "1100 for the first token", "well", "list", {**DENIED, "first_token": True}, rest),
    *(
        Kind(
            "a scope",
            f"token {code} always",
            "failed",
            "list",
            {"kind": "trading_error", "code": code},
            trading,
            neighbour=False,
        )
        for code in (16110, 932, 21917053)
    ),
    Kind(
        "an old token",
        "token 16110 for the first token",
        "well",
        "list",
        {"kind": "trading_error", "code": 16110, "first_token": True},
        trading,
    ),
    *(
        Kind(
            "a limit",
            "429" if seconds is None else f"429 with Retry-After {seconds}",
            "limited",
            "list",
            {"kind": "status", "status": 429, "retry_after": seconds},
            neighbour=False,
        )
        for seconds in (None, 10**9, 10**19)
    ),
    *(
        Kind("a Date", f"Date of {what}", "bounded", "seller", {"kind": "date", "what": what}, neighbour=False)
        for what in ("1969", "2037", "9999")
    ),
    *(
        Kind(
            "a Date", f"Date {by:+} s", "bounded", "seller", {"kind": "date", "what": "off", "by": by}, neighbour=False
        )
        for by in (3600, -3600, 7200)
    ),
)


def strike(kind: Kind, place: Place, sim: Simulator, seller: Seller, victim: str) -> Fault:
    """Put the fault into the family's calls of one seller, until it is removed. `victim` is the record that it is
    about, if it is about one."""
    options = dict(kind.options)
    # The calls of an offer and of its item both name it by its SKU.
    name = offer_of(sim.world, seller, victim) if place.kind == "offer" else victim
    if kind.where == "list":
        options |= place.page
        if options["kind"] in ("record", "unsent"):
            options["of"] = place.named(name)
    elif kind.where == "detail":
        assert place.detail
        options |= place.detail(name)
    return sim.faults.add(options.pop("kind"), seller=seller.username, times=None, **options)
