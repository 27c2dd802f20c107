"""What becomes of a portion's records between eBay's answers and the tables, with a family made up for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from ebaysync.families import discover
from ebaysync.families.family import DetailSpec, Family, MergeSpec, RecordVersions
from ebaysync.families.orders import FAMILY, ORDERS
from ebaysync.store.merge import Writer
from ebaysync.store.table import NUMERIC, Column
from ebaysync.sync import batch as batches
from ebaysync.sync.ages import Ages
from ebaysync.sync.details import Details
from ebaysync.sync.sources.calls import Calls

Query = Callable[..., list[Any]]

LISTED = b'{"orderId": "1", "creationDate": "2026-11-01T10:00:00.000Z", "lastModifiedDate": "2026-11-01T10:00:00.000Z"}'
PLACES = {
    "order_id": "list.orderId",
    "creation_date": "list.creationDate",
    "last_modified_date": "list.lastModifiedDate",
}


def both(parts: RecordVersions) -> bytes:
    """A record of two parts, of which the detail does not say whose it is."""
    old = msgspec.json.decode(parts.stored) if parts.stored else {}
    new = {"list": parts.listed, "detail": parts.detail}
    return msgspec.json.encode(old | {name: msgspec.json.decode(part) for name, part in new.items() if part})


def columns() -> tuple[Column, ...]:
    found = [replace(column, path=PLACES.get(column.name, column.path)) for column in ORDERS.columns]
    return tuple(Column("total", NUMERIC, "detail.total") if each.name == "total" else each for each in found)


def family() -> Family:
    table = replace(ORDERS, columns=columns(), version=None)
    detail = DetailSpec(
        lambda row: True,
        lambda row, stored: False,
        open_column="order_payment_status",
        final=("PAID",),
        born_column="creation_date",
    )
    return replace(
        FAMILY,
        tables=(table,),
        detail=detail,
        merge=MergeSpec(needs_stored=lambda row: True, compose=both),
        normal=("order_id", "total"),
    )


class Desk:
    """One account's reader, with details given by the test."""

    def __init__(self, bench: Any, account: Any) -> None:
        self.db, self.account, self.details, self.calls = bench.db, account, dict[str, bytes](), 0
        self.reader = Details(
            bench.db, batches.Composer(family()), Ages(family()), Calls(details=self._details), account.id, lambda: None
        )

    async def _details(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        self.calls += 1
        return {key: self.details[key] for key in keys if key in self.details}

    async def take(self, prepared: Any) -> list[batches.BatchCounts]:
        return [await self._store(batch) async for batch, _ in prepared]

    async def listed(self) -> batches.Listed:
        return await self.reader.composer.listed([LISTED])

    async def _store(self, batch: batches.Batch) -> batches.BatchCounts:
        writer = lambda connection: Writer(connection, self.account.id, "orders", None)  # noqa: E731
        return await self.db.transact(
            lambda c: batches.store(self.db, writer(c), self.reader.composer, batch, one_by_one=False)
        )


async def desk(bench: Callable[..., Any]) -> Desk:
    b = bench(orders_per_seller=0, sellers=1)
    return Desk(b, await b.add())


async def test_a_record_is_put_together_even_where_its_detail_fails_at_first_sight(
    bench: Callable[..., Any], query: Query
) -> None:
    d = await desk(bench)
    await d.take(d.reader.batches(await d.listed()))
    assert query("SELECT raw_payload FROM ebay_orders") == [({"list": msgspec.json.decode(LISTED)},)]


async def test_a_detail_that_does_not_say_whose_it_is_completes_the_stored_record(
    bench: Callable[..., Any], query: Query
) -> None:
    d = await desk(bench)
    await d.take(d.reader.batches(await d.listed()))
    d.details["1"] = b'{"total": "7.50"}'
    [outcome] = await d.take(d.reader.refetch(["1"]))
    assert (outcome.stored, outcome.quarantined) == (1, 0)
    assert query("SELECT order_id, total::text FROM ebay_orders") == [("1", "7.50")]


async def test_records_whose_detail_is_damaged_count_as_normalized_in_part(bench: Callable[..., Any]) -> None:
    d = await desk(bench)
    d.details["1"] = b'{"total": '
    [outcome] = await d.take(d.reader.batches(await d.listed()))
    assert (outcome.full, outcome.partial, outcome.quarantined) == (0, 1, 1)
    [outcome] = await d.take(d.reader.refetch(["1"]))
    assert (outcome.full, outcome.partial, outcome.quarantined) == (0, 0, 1)
    d.details["1"] = b'{"total": 7.5}'
    [outcome] = await d.take(d.reader.refetch(["1"]))
    assert (outcome.full, outcome.partial, outcome.quarantined) == (1, 0, 0)


async def test_a_detail_with_an_impossible_field_is_a_detail(bench: Callable[..., Any], query: Query) -> None:
    d = await desk(bench)
    d.details["1"] = b'{"total": "seven"}'
    [outcome] = await d.take(d.reader.batches(await d.listed()))
    assert (outcome.partial, outcome.quarantined, outcome.notes) == (1, 0, {("total", "not a number"): 1})
    assert query("SELECT raw_payload -> 'detail' FROM ebay_orders") == [({"total": "seven"},)]


async def test_a_detail_that_fails_is_asked_for_once_in_a_run(bench: Callable[..., Any]) -> None:
    d = await desk(bench)
    for _ in range(2):
        await d.take(d.reader.batches(await d.listed()))
    assert (d.calls, d.reader.tried) == (1, {"1"})


async def test_a_record_that_cannot_be_put_together_is_a_record_in_quarantine(bench: Callable[..., Any]) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()

    async def details(keys: Sequence[str]) -> Mapping[str, bytes]:
        return dict.fromkeys(keys, b"[]")

    family = discover()["disputes"]
    reader = Details(b.db, batches.Composer(family), Ages(family), Calls(details=details), account.id, lambda: None)
    records = [b"null", b'{"paymentDisputeId": "1", "paymentDisputeStatus": "OPEN"}']
    [(batch, _)] = [prepared async for prepared in reader.batches(await reader.composer.listed(records))]
    assert [record.key for record in batch.records] == ["1"]
    assert (len(batch.unusable), len(batch.damaged), list(batch.incomplete)) == (1, 1, ["1"])
