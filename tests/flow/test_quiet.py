"""What a run over all families costs when there is nothing new: the calls that docs/quotas.md names, and not a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from ebaysync.families import discover
from ebaysync.ops.account import by_source
from ebaysync.sim.journal import Entry
from ebaysync.sim.kinds.messages import FOLDERS
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run

Query = Callable[..., list[Any]]


async def run_all(b: Any, account: Any) -> int:
    """Every family, those of one source together; the calls that the runs told of."""
    async with b.worker(account) as worker:
        done = [
            summary
            for together in by_source(list(discover().values()))
            for summary in await run(worker, together, RunOptions("run-all"))
        ]
    assert {summary.status for summary in done} == {"completed"}
    return sum(summary.calls for summary in done)


# Where a record is asked for by its id.
DETAILS = {
    "/sell/fulfillment/v1/payment_dispute/": "disputes",
    "/post-order/v2/casemanagement/": "cases",
    "/post-order/v2/inquiry/": "inquiries",
    "/post-order/v2/return/": "returns",
}


def asked(entries: list[Entry]) -> Counter[str]:
    """Calls by their name or path; of those by id, the path before it."""

    def name(entry: Entry) -> str:
        by_id = (path for path in DETAILS if entry.path.startswith(path) and not entry.path.endswith("/search"))
        return entry.query.get("call") or next(by_id, entry.path)

    return Counter(name(entry) for entry in entries)


def still_open(query: Query, name: str) -> list[Any]:
    family = discover()[name]
    assert family.detail
    column, final = family.detail.open_column, list(family.detail.final)
    return query(f"SELECT 1 FROM {family.table.name} WHERE ({column} = ANY(%s)) IS NOT TRUE", final)


async def test_a_run_of_all_families_with_nothing_new_costs_what_the_docs_say_and_writes_no_domain_row(
    bench: Callable[..., Any], query: Query
) -> None:
    b = bench(seed=2, sellers=1, orders_per_seller=40, things=40)
    account = await b.add()
    for _ in range(2):  # the second one asks once more for what the first one has opened
        await run_all(b, account)
    tables = [table.name for family in discover().values() for table in family.tables]
    before = [query(f"SELECT ctid::text, xmin::text FROM {name} ORDER BY ctid") for name in tables]
    events = query("SELECT count(*) FROM ebay_events")
    b.sim.journal.clear()
    told = await run_all(b, account)
    entries = [entry for entry in b.sim.journal if not entry.path.startswith("/identity")]
    assert told == len(entries)
    assert [query(f"SELECT ctid::text, xmin::text FROM {name} ORDER BY ctid") for name in tables] == before
    assert query("SELECT count(*) FROM ebay_events") == events

    [[items]] = query("SELECT count(*) FROM ebay_inventory_items WHERE removed_at IS NULL")
    folders = {0, 1, *FOLDERS}
    open_rows = {path: len(still_open(query, name)) for path, name in DETAILS.items()}
    assert all(open_rows.values()), "or the test would prove nothing"
    assert asked(entries) == {
        "/sell/fulfillment/v1/order": 1,
        "/sell/finances/v1/transaction": 1,
        "/sell/finances/v1/payout": 1,
        "/sell/fulfillment/v1/payment_dispute_summary": 1,
        "/sell/inventory/v1/inventory_item": 1,
        "/sell/inventory/v1/offer": items,
        "/post-order/v2/cancellation/search": 1,
        "/post-order/v2/casemanagement/search": 1,
        "/post-order/v2/inquiry/search": 1,
        "/post-order/v2/return/search": 1,
        "GetMyMessages": 1 + len(folders) * (1),
        "GetMyeBaySelling": 1,
        "GetMyeBayBuying": 1,
        **open_rows,
    }
