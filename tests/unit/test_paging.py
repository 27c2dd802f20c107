"""What the pages of eBay's REST lists say of themselves, and what they leave out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest

from ebaysync.ebay.rest import Api, stamp
from ebaysync.sync.slices import PageReader, Slice, Slicing
from ebaysync.sync.sources import discover
from ebaysync.sync.walk import read

START = datetime(2026, 8, 1, tzinfo=UTC)
SPAN = Slice(START, START + timedelta(days=90))
LISTS = {
    "orders": ("orders", "orderId", "lastModifiedDate"),
    "transactions": ("transactions", "transactionId", "transactionDate"),
    "payouts": ("payouts", "payoutId", "payoutDate"),
    "disputes": ("paymentDisputeSummaries", "paymentDisputeId", "openDate"),
}


class Lists:
    """An Api with a list of one kind, whose envelopes say less than the specification has them say, or something
    else."""

    marketplace_id = None

    def __init__(self, source: str, moments: list[datetime], most: int, envelope: Callable[[dict[str, Any]], Any]):
        self.name, self.key, self.field = LISTS[source]
        self.rows = [(at, {self.key: str(number), self.field: stamp(at)}) for number, at in enumerate(moments)]
        self.most, self.envelope = most, envelope

    async def get(self, host: str, path: str, kind: type[Any], params: Any = (), **_: Any) -> Any:
        asked = dict(params)
        start, end = self._window(asked)
        rows = [row for at, row in self.rows if start <= at <= end]
        limit, offset = min(int(asked["limit"]), self.most), int(asked["offset"])
        page: dict[str, Any] = {"limit": limit, "offset": offset, "total": len(rows)}
        page[self.name] = rows[offset : offset + limit]
        if offset + limit < len(rows):
            page["next"] = f"{path}?limit={limit}&offset={offset + limit}"
        return msgspec.json.decode(msgspec.json.encode(self.envelope(page)), type=kind)

    def _window(self, asked: dict[str, str]) -> tuple[datetime, datetime]:
        if "open_date_from" in asked:
            return datetime.fromisoformat(asked["open_date_from"]), datetime.fromisoformat(asked["open_date_to"])
        start, end = asked["filter"].split("[")[1].rstrip("]").split("..")
        return datetime.fromisoformat(start), datetime.fromisoformat(end)


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda page: {name: value for name, value in page.items() if name not in names}


def counting_the_page(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"total": page["limit"]} if "next" in page else page


async def everything(source: str, lists: Lists) -> set[str]:
    calls = discover()[source](cast(Api, lists))
    assert calls.ask

    def key(record: bytes) -> str:
        return str(msgspec.json.decode(record)[lists.key])

    portions = read(PageReader(calls.ask, key, calls.page_size), Slicing(SPAN, timedelta(days=90)))
    return {key(record) async for portion in portions for record in portion.records}


spread = [START + timedelta(hours=5 * number) for number in range(420)]
dense = [*spread, *[START + timedelta(days=50)] * 230]
promised = pytest.mark.parametrize("source", sorted(LISTS))
unpromised = pytest.mark.parametrize("source", ["transactions", "payouts"])


@promised
@pytest.mark.parametrize("said", [("next",), ()], ids=["no next", "all"])
@pytest.mark.parametrize("rows", [spread, dense], ids=["spread", "dense"])
async def test_fewer_records_at_once_than_were_asked_for_are_no_end(
    source: str, said: tuple[str, ...], rows: list[datetime]
) -> None:
    assert len(await everything(source, Lists(source, rows, 50, without(*said)))) == len(rows)


@promised
async def test_a_total_that_counts_the_page_is_no_end_while_another_page_follows(source: str) -> None:
    assert len(await everything(source, Lists(source, spread, 50, counting_the_page))) == len(spread)


@unpromised
@pytest.mark.parametrize("said", [("total",), ("total", "next"), ("total", "limit")], ids=" and ".join)
@pytest.mark.parametrize("most", [50, 200])
@pytest.mark.parametrize("rows", [spread, dense], ids=["spread", "dense"])
async def test_a_full_page_without_a_total_is_not_taken_for_the_last(
    source: str, said: tuple[str, ...], most: int, rows: list[datetime]
) -> None:
    assert len(await everything(source, Lists(source, rows, most, without(*said)))) == len(rows)
