"""eBay's own sample payloads, the whole way into the tables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_httpx import HTTPXMock

Query = Callable[..., list[Any]]


def samples(shared: Path) -> dict[str, dict[str, Any]]:
    """Every sample order by its id, as getOrder shows it."""
    folder = shared / "ebay" / "samples" / "rest"
    found = json.loads((folder / "orders_page_real.json").read_text())["orders"]
    found += [json.loads(path.read_text()) for path in sorted(folder.glob("order_*.json"))]
    return {order["orderId"]: order for order in found}


def refresh_grant(folder: Path) -> dict[str, Any]:
    """The sample's shape, with a token in place of its ellipsis."""
    grant: dict[str, Any] = json.loads((folder / "oauth_token_refresh_grant.json").read_text())
    return grant | {"access_token": "v^1.1#i^1#f^0#x"}


def as_listed(order: dict[str, Any]) -> dict[str, Any]:
    return order | {"cancelStatus": order["cancelStatus"] | {"cancelRequests": []}}


async def test_every_sample_order_is_in_the_tables_as_it_was_sent(
    shared: Path, bench: Callable[..., Any], query: Query, httpx_mock: HTTPXMock
) -> None:
    """Two runs, one in January 2025 when the real ones were captured, one in July 2026, by the Date of the answers."""
    b = bench(orders_per_seller=0, sellers=1).with_settings(initial_backfill_days=300, max_window_hours=24 * 900)
    orders = samples(shared)
    assert len(orders) == 8
    date = {"Date": "Sat, 11 Jan 2025 12:00:00 GMT"}

    def listed(request: httpx.Request) -> httpx.Response:
        start, end = re.findall(r"[\d-]+T[\d:.]+Z", request.url.params["filter"])
        if datetime.fromisoformat(end) > parsedate_to_datetime(date["Date"]):
            refusal = {"errors": [{"errorId": 30850, "message": "a bound in the future"}]}
            return httpx.Response(400, json=refusal, headers=date)
        found = [as_listed(o) for o in orders.values() if start <= o["lastModifiedDate"] <= end]
        page = {"total": len(found), "limit": 200, "offset": 0, "orders": found}
        return httpx.Response(200, json=page, headers=date)

    base = b.sim.url
    folder = shared / "ebay" / "samples" / "rest"
    owner = json.loads((folder / "identity_get_user_constructed.json").read_text())
    tokens = refresh_grant(folder)
    httpx_mock.add_response(url=f"{base}/identity/v1/oauth2/token", json=tokens, headers=date)
    httpx_mock.add_response(url=f"{base}/commerce/identity/v1/user/", json=owner, headers=date)
    httpx_mock.add_callback(listed, url=re.compile(rf"{base}/sell/fulfillment/v1/order\?.*"), is_reusable=True)
    for order in orders.values():
        if order["cancelStatus"]["cancelState"] != "NONE_REQUESTED":
            detail = f"{base}/sell/fulfillment/v1/order/{order['orderId']}"
            httpx_mock.add_response(url=detail, json=order, headers=date)

    account = await b.add()
    assert (account.ebay_user_id, account.username) == (owner["userId"], owner["username"])
    query("UPDATE ebay_tokens SET access_expires_at = '2099-01-01' RETURNING 1")
    first = await b.run(account)
    date["Date"] = "Wed, 22 Jul 2026 12:00:00 GMT"
    second = await b.run(account)
    assert (first.status, second.status, first.stored + second.stored) == ("completed", "completed", 8)
    assert dict(query("SELECT order_id, raw_payload FROM ebay_orders")) == orders
    for order_id, total, due in query("SELECT order_id, total, total_due_seller FROM ebay_orders"):
        assert total == Decimal(orders[order_id]["pricingSummary"]["total"]["value"])
        assert due == Decimal(orders[order_id]["paymentSummary"]["totalDueSeller"]["value"])
    lines = {line["lineItemId"]: line for order in orders.values() for line in order["lineItems"]}
    assert dict(query("SELECT line_item_id, raw_payload FROM order_line_items")) == lines


ERRORS = {
    "error_400_30700.json": (400, "rejected"),
    "error_401_1001.json": (401, "unauthorized"),
    "error_403_1100.json": (403, "missing_scope"),
    "error_429_2001.json": (429, "busy"),
}


@pytest.mark.parametrize("name", sorted(ERRORS))
async def test_every_sample_error_ends_in_its_own_error(
    shared: Path, bench: Callable[..., Any], query: Query, httpx_mock: HTTPXMock, name: str
) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    folder = shared / "ebay" / "samples" / "rest"
    tokens = refresh_grant(folder)
    owner = json.loads((folder / "identity_get_user_constructed.json").read_text())
    httpx_mock.add_response(url=re.compile(r".*/oauth2/token"), json=tokens, is_reusable=True)
    httpx_mock.add_response(url=re.compile(r".*/user/"), json=owner)
    status, code = ERRORS[name]
    body = json.loads((folder / name).read_text())
    httpx_mock.add_response(url=re.compile(r".*/order\?.*"), status_code=status, json=body, is_reusable=True)
    summary = await b.run(await b.add())
    assert (summary.status, summary.failure.code) == ("error", code)
    assert summary.failure.exit_code == (12 if code == "missing_scope" else 13)
    assert str(body["errors"][0]["errorId"]) in summary.failure.message
    assert query("SELECT cursor_value, last_error FROM ebay_sync_state") == [(None, summary.failure.message)]
