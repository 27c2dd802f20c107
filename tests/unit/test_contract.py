"""What every family must hold to, whichever it is: found by discover(), not listed here."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module

import pytest

from ebaysync.ebay.rest import Api
from ebaysync.families import discover
from ebaysync.families.decoder import Unusable
from ebaysync.families.family import Family
from ebaysync.store.table import NUMERIC
from ebaysync.sync.sources import open_source
from ebaysync.sync.sources.calls import Calls

FAMILIES = list(discover().values())
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def calls(family: Family) -> Calls:
    return open_source(family, Api(None, None, "EBAY_US"))  # type: ignore[arg-type] - nothing is asked


@every_family
def test_a_family_is_named_as_its_module_and_says_what_it_keeps(family: Family) -> None:
    assert import_module(f"ebaysync.families.{family.name}").FAMILY is family
    assert family.about
    assert family.calls
    assert family.tables
    assert family.every_minutes >= 5


@every_family
def test_a_family_is_read_in_the_way_that_its_cursor_says(family: Family) -> None:
    source = calls(family)
    assert (source.ask is not None) == (family.cursor_type == "window")
    assert (source.scan is not None) == (family.cursor_type != "window")
    assert (source.details is not None) == (family.detail is not None)
    if family.detail and family.detail.open_column:
        assert family.detail.open_column in {column.name for column in family.table.columns}
        assert family.detail.final


@every_family
def test_families_of_one_source_agree_on_how_it_is_read(family: Family) -> None:
    for other in FAMILIES:
        if other.source == family.source:
            for name in ("cursor_type", "every_minutes"):
                assert getattr(other, name) == getattr(family, name), (other.name, name)
            # Each has its own name for the time that the window filters.
            windows = [replace(each.window, column=None) for each in (other, family)]
            assert windows[0] == windows[1], other.name


@every_family
def test_no_window_is_asked_for_that_eBay_does_not_reach(family: Family) -> None:  # noqa: N802
    for span in (family.window.first_reach, family.window.sweep, family.window.widest):
        assert span is None or family.window.furthest_reach is None or span <= family.window.furthest_reach


@every_family
def test_what_a_snapshot_or_a_record_no_longer_has_can_be_marked(family: Family) -> None:
    assert family.table.removable == (family.cursor_type == "snapshot")
    for part in family.tables[1:]:
        assert part.removable
        assert part.each
        assert len(part.parent_key) == len(family.table.key)
        assert set(part.parent_key) <= {column.name for column in part.columns}


@every_family
def test_columns_are_snake_case_and_an_amount_has_its_currency(family: Family) -> None:
    plain = {"weight", "exchange_rate"}  # numbers that are no money
    for table in family.tables:
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert set(table.key) <= set(names)
        for column in table.columns:
            assert re.fullmatch("[a-z][a-z0-9_]*", column.name)
            if column.type == NUMERIC and column.name not in plain:
                assert {f"{column.name}_currency", "currency"} & set(names), column.name


@every_family
def test_scopes_are_eBays_own(family: Family) -> None:  # noqa: N802
    for scope in family.scopes:
        assert re.fullmatch(r"https://api\.ebay\.com/oauth/api_scope(/[a-z.]+)?", scope)


@every_family
def test_a_record_that_is_no_record_is_unusable_and_no_crash(family: Family) -> None:
    deep, digits = b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b'{"a": ' + b"9" * 10**6 + b"}"
    for raw in (b"{}", b"[]", b"null", b'"x"', b"1", b"{", b'{"a":' * 2000, b"\xff", deep, digits, b'{"a":"\x01"}'):
        with pytest.raises(Unusable, match=r"\S"):
            family.rows(raw)
        assert family.key_of(raw) is None
        assert not family.own_records or family.own_records(raw) in (True, False)
