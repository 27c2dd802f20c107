"""What a run of every family must do, whichever it is: found by discover(), not listed here."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest

from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.sim.faults_json import SPOILERS

every_family = pytest.mark.parametrize("family", discover().values(), ids=lambda family: family.name)
Query = Callable[..., list[Any]]
LISTS = "/(order|payment_dispute_summary|transaction|payout|inventory_item|offer|search)$"
LIST_OF = {"offers": "/offer$", "inventory": "/inventory_item$"}


def versions(query: Query, family: Family) -> list[Any]:
    return [query(f"SELECT ctid::text, xmin::text FROM {table.name} ORDER BY 1") for table in family.tables]


@every_family
async def test_a_seller_without_anything_is_read_to_the_end(bench: Callable[..., Any], family: Family) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    summary = await b.run(await b.add(), family.name)
    assert (summary.status, summary.caught_up, summary.fetched, summary.failure) == ("completed", True, 0, None)
    assert summary.cursor is not None


@every_family
async def test_a_first_run_stores_all_and_a_second_one_writes_nothing(
    bench: Callable[..., Any], query: Query, family: Family
) -> None:
    b = bench(orders_per_seller=40, sellers=1, things=30)
    account = await b.add()
    first = await b.run(account, family.name)
    assert (first.status, first.quarantined, first.failure) == ("completed", 0, None)
    assert first.stored == first.fetched > 0
    before = versions(query, family)
    second = await b.run(account, family.name)
    assert (second.status, second.stored, second.removed) == ("completed", 0, 0)
    assert versions(query, family) == before
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]
    assert second.cursor >= first.cursor
    assert b.sim.world.undeclared == []


@every_family
async def test_values_that_come_and_go_by_themselves_make_no_write_and_no_event(
    bench: Callable[..., Any], query: Query, family: Family
) -> None:
    """Nothing happens in this world, and yet no two answers are the same."""
    b = bench(orders_per_seller=40, sellers=1, things=30, restless=True)
    account = await b.add()
    first = await b.run(account, family.name)
    assert (first.status, first.quarantined, first.stored > 0) == ("completed", 0, True)
    await b.run(account, family.name)  # a picture that was left out at first sight is learned once
    before = versions(query, family)
    for _ in range(3):
        again = await b.run(account, family.name, sweep=True)
        assert (again.status, again.stored, again.removed) == ("completed", 0, 0)
        assert versions(query, family) == before
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]
    assert b.sim.app.errors == []


@every_family
async def test_a_dry_run_writes_nothing(bench: Callable[..., Any], query: Query, family: Family) -> None:
    b = bench(orders_per_seller=20, sellers=1, things=10)
    summary = await b.run(await b.add(), family.name, dry_run=True)
    assert (summary.status, summary.stored) == ("completed", summary.fetched)
    assert all(rows == [] for rows in versions(query, family))
    assert query("SELECT count(*) FROM ebay_worker_run") == [(0,)]


@every_family
async def test_a_refusal_in_mid_run_stores_no_cursor_and_marks_nothing(
    bench: Callable[..., Any], query: Query, family: Family
) -> None:
    b = bench(orders_per_seller=20, sellers=1, things=10)
    account = await b.add()
    await b.run(account, family.name)
    before = query("SELECT cursor_value FROM ebay_sync_state")
    b.sim.faults.add("status", path="^/(sell|post-order|ws)", status=400, times=None)
    summary = await b.run(account, family.name)
    assert (summary.status, summary.removed) == ("error", 0)
    assert query("SELECT cursor_value FROM ebay_sync_state") == before


@every_family
async def test_an_answer_that_is_a_page_for_people_is_never_taken_for_no_data(
    bench: Callable[..., Any], query: Query, family: Family
) -> None:
    b = bench(orders_per_seller=20, sellers=1, things=10)
    account = await b.add()
    await b.run(account, family.name)
    known = [len(rows) for rows in versions(query, family)]
    b.sim.faults.add("html", path="^/(sell|post-order|ws)", times=None)
    summary = await b.run(account, family.name)
    assert (summary.status, summary.removed) == ("error", 0)
    assert [len(rows) for rows in versions(query, family)] == known


SUCCESS = '<{call}Response xmlns="urn:ebay:apis:eBLBaseComponents"><Ack>%s</Ack>%s</{call}Response>'
NOT_ASKED_FOR = [  # JSON, XML
    ("{}", SUCCESS % ("Success", "")),
    ('{"errors": [{"errorId": 135000}]}', SUCCESS % ("Warning", "<Other/>")),
    ('{"warnings": [{"errorId": 1}]}', SUCCESS % ("Success", "<SoldList><ItemArray/></SoldList>")),
    ('{"something": [], "offset": 0}', SUCCESS % ("Success", "<Errors><SeverityCode>Warning</SeverityCode></Errors>")),
]


@every_family
async def test_a_success_without_what_was_asked_for_is_an_error_that_is_over_when_it_is_over(
    bench: Callable[..., Any], query: Query, family: Family
) -> None:
    b = bench(orders_per_seller=20, sellers=1, things=10)
    account = await b.add()
    await b.run(account, family.name)
    before = versions(query, family)
    cursors = query("SELECT cursor_value FROM ebay_sync_state")
    for json, xml in NOT_ASKED_FOR:
        b.sim.faults.add("body", path="^/(sell|post-order)", says=json, times=None)
        b.sim.faults.add("body", path="^/ws", says=xml, times=None)
        summary = await b.run(account, family.name)
        b.sim.faults.clear()
        assert (summary.status, summary.removed) == ("error", 0)
        # A window that is not answered is asked for again without its trailing part, and in halves.
        assert summary.calls <= 3 + (family.window.sweep is not None)
        assert (summary.failure.code, summary.failure.exit_code) == ("not_understood", 13)
        assert versions(query, family) == before
        assert query("SELECT cursor_value FROM ebay_sync_state") == cursors
    summary = await b.run(account, family.name)
    assert (summary.status, summary.stored, summary.removed) == ("completed", 0, 0)


JSON_FAMILIES = [family for family in discover().values() if not family.calls.startswith("Trading")]


@pytest.mark.parametrize(
    ("family", "what"),
    [*zip(JSON_FAMILIES, cycle(["control", "deep", "digits"]))],
    ids=lambda value: getattr(value, "name", value),
)
async def test_an_undecodable_record_is_in_quarantine_and_the_others_of_its_page_are_stored(
    bench: Callable[..., Any], query: Query, family: Family, what: str
) -> None:
    b = bench(orders_per_seller=20, sellers=1, things=10)
    account = await b.add()
    good = await b.run(account, family.name, dry_run=True)
    lists = [entry for entry in b.sim.journal if entry.rows and re.search(LIST_OF.get(family.name, LISTS), entry.path)]
    one = lists[0].rows[0][0]
    one = one if family.name == "inventory" else one.rpartition("/")[2]  # a SKU may have a slash
    b.sim.faults.add("json_spoil", path=LISTS, what=what, of=one, times=None)
    summary = await b.run(account, family.name)
    b.sim.faults.clear()
    assert (summary.status, summary.caught_up, summary.quarantined) == ("completed", True, 1)
    assert summary.stored >= good.stored - 2
    [(reason, payload)] = query("SELECT reason, payload FROM ebay_quarantine")
    assert reason
    assert SPOILERS[what] in payload
    again = await b.run(account, family.name)
    assert (again.status, again.quarantined, again.failure) == ("completed", 0, None)


@every_family
async def test_a_backfill_reads_what_can_be_read_again_and_moves_no_cursor(
    bench: Callable[..., Any], query: Query, family: Family
) -> None:
    b = bench(orders_per_seller=20, sellers=1, things=80)
    account = await b.add()
    first = await b.run(account, family.name)
    before = query("SELECT cursor_value FROM ebay_sync_state")
    if family.cursor_type != "snapshot":
        summary = await b.run(account, family.name, walk="backfill", days=60)
        assert (summary.status, summary.stored, summary.caught_up) == ("completed", 0, True)
        assert 0 < summary.fetched <= first.fetched
    assert query("SELECT cursor_value FROM ebay_sync_state") == before
