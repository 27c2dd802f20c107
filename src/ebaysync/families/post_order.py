"""The common part of cases, inquiries and returns: two calls show one record, and either may be newer.

raw_payload holds each part under a name. A case or inquiry has `summary` (from the search) and `detail` (from the call
by id). A return has `listed` (from the search), and `summary` and `detail` (the two parts of the answer by id). A part
that did not come this time stays as stored. A part that is known to be older than those beside it moves to `earlier`;
columns whose value may change or end do not read from there.

The search shows what was created in the last 90 days. An open row whose record there has changed is fetched by id;
others when their detail has an age.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from ebaysync.families.decoder import Decoder, Unusable
from ebaysync.families.family import DetailSpec, Family, MergeSpec, RecordVersions, WindowSpec
from ebaysync.store.payload import without_nulls
from ebaysync.store.table import TIME, Column, Row, Stored, Table

EARLIER = "earlier"
REACH = timedelta(days=545)
"""eBay goes back 18 months of the calendar: at least 546 days, from the first of March."""
WIDEST = timedelta(days=90)
"""The width to which eBay completes a half-open window. No wider one is documented."""

SCOPES = ("https://api.ebay.com/oauth/api_scope/sell.fulfillment.readonly",)
"""eBay documents none for this API; tokens with sell.fulfillment were seen to work."""

Named = dict[str, msgspec.Raw]


def anywhere(*places: str) -> str:
    """The path of a value that never changes or ends: the first of these places that has it, also in an older part."""
    return "|".join((*places, *(f"{EARLIER}.{place}" for place in places)))


def date(name: str, path: str, *, required: bool = False) -> Column:
    """A time, which this API writes as {"value": …} or null."""
    return Column(name, TIME, "|".join(f"{place}.value" for place in path.split("|")), required)


def differ(*names: str) -> Callable[[Row, Row], bool]:
    """Whether two rows differ in one of these columns."""
    return lambda one, other: any(one[name] != other[name] for name in names)


def moved_on(status: str) -> Callable[[Row, Row], bool]:
    """Whether a row has another status than the other one, or a later modification."""

    def later(summary: Row, detail: Row) -> bool:
        then, now = summary["last_modified_date"], detail["last_modified_date"]
        return bool(summary[status] != detail[status] or (then and now and now > then))

    return later


@dataclass(frozen=True)
class Composition:
    """How a record of one of the three families is composed.

    `listed` names the search's record; `version` are its fields that tell versions apart (none: all of it). `unpacked`:
    the answer by id has parts of its own. `outdated` compares two rows, one from the search's record and one from the
    answer by id, and says whether the record is of another version than the answer.
    """

    table: Table
    status: str
    final: tuple[str, ...]
    listed: str
    outdated: Callable[[Row, Row], bool]
    version: tuple[str, ...] = ()
    unpacked: bool = False
    decoder: Decoder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", Decoder(self.table))

    def compose(self, versions: RecordVersions) -> bytes:
        """The newest of each part; those that are older than the others go to `earlier`."""
        known, earlier = _stored(versions.stored)
        listed = {self.listed: msgspec.Raw(versions.listed)} if versions.listed else {}
        answer = self._answer(versions.detail) if versions.detail else {}
        # The last part with a name counts: what came now replaces what is stored.
        everything = {**earlier, **known, **listed, **answer}
        aside = self._aside(known, earlier, listed, answer) & everything.keys()
        document: dict[str, Any] = {name: raw for name, raw in everything.items() if name not in aside}
        if aside:
            document[EARLIER] = {name: everything[name] for name in everything if name in aside}
        return msgspec.json.encode(document)

    def _aside(self, known: Named, earlier: Named, listed: Named, answer: Named) -> set[str]:
        """The names of the parts that are older than what came now, or than what is stored beside them."""
        came = {**listed, **answer}
        if listed and answer:
            return {*known, *earlier} - came.keys()
        if answer:
            aside = earlier.keys() - came.keys() - {self.listed}
            old = {**earlier, **known}.get(self.listed)
            return aside | {self.listed} if old is not None and self._is_outdated(old, answer) else aside
        old = {**earlier, **known}.get(self.listed)
        if listed and (old is None or self._version(old) != self._version(listed[self.listed])):
            return {*known, *earlier} - came.keys()
        return {*earlier}

    def _is_outdated(self, listed: msgspec.Raw, answer: Named) -> bool:
        try:
            return self.outdated(self._row({self.listed: listed}), self._row(answer))
        except (ValueError, RecursionError):
            return False  # an answer that does not say which record it belongs to

    def _row(self, named: Named) -> Row:
        raw = msgspec.json.encode(named)
        return self.decoder.row(raw)

    def _answer(self, raw: bytes) -> Named:
        return _object(raw) if self.unpacked else {"detail": msgspec.Raw(raw)}

    def _version(self, listed: msgspec.Raw) -> Any:
        record = without_nulls(msgspec.json.decode(listed))
        return {name: record.get(name) for name in self.version} if self.version else record

    def is_current(self, row: Row, stored: Stored) -> bool:
        """Whether the row is stored with the detail of this version. An open record's version is the whole of it."""
        known, _ = _stored(stored.raw)
        shown, _ = _stored(bytes(row["raw_payload"]))
        if "detail" not in known or self.listed not in known:
            return False
        before, now = known[self.listed], shown[self.listed]
        if row[self.status] in self.final:
            return bool(self._version(before) == self._version(now))
        return bool(without_nulls(msgspec.json.decode(before)) == without_nulls(msgspec.json.decode(now)))


def family(composition: Composition, *, name: str, api: str, about: str, calls: str, normal: tuple[str, ...]) -> Family:
    """The declaration that the three families share."""
    return Family(
        name=name,
        about=about,
        source=name,
        calls=calls,
        every_minutes=30,
        quiet_minutes=90,
        costs={api: 1},
        cursor_type="window",
        scopes=SCOPES,
        tables=(composition.table,),
        window=WindowSpec(first_reach=REACH, furthest_reach=REACH, sweep=WIDEST, widest=WIDEST),
        detail=DetailSpec(
            lambda row: True,
            composition.is_current,
            open_column=composition.status,
            final=composition.final,
            seller_must_act=lambda row: row["respond_by_date"] is not None,
            born_column="creation_date",
            api=api,
        ),
        merge=MergeSpec(needs_stored=lambda row: True, compose=composition.compose),
        normal=normal,
        # eBay's pages: "not supported in the Sandbox".
        absent_in=frozenset({"sandbox"}),
    )


def _stored(raw: bytes | None) -> tuple[Named, Named]:
    """The parts of a stored record, and its older ones."""
    known = _object(raw) if raw else {}
    aside = known.pop(EARLIER, None)
    return known, _object(bytes(aside)) if aside is not None else {}


def _object(raw: bytes) -> Named:
    """The fields of a JSON object that are not null. Raises Unusable."""
    try:
        found = msgspec.json.decode(raw, type=Named)
    except (ValueError, RecursionError) as error:
        raise Unusable.by(error) from None
    return {name: value for name, value in found.items() if bytes(value) != b"null"}
