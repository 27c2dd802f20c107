"""Every answer of the simulator against eBay's own OpenAPI files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator

Simulate = Callable[..., Any]
ORDERS = "/sell/fulfillment/v1/order"

# Where captured answers leave out what the specification calls required:
# the persons of old orders (the specification's own notes say so), the carrier, and a line's empty refunds.
NOT_ALWAYS_THERE = {
    "ExtendedContact": {"fullName"},
    "Address": {"addressLine1"},
    "ShippingStep": {"shippingCarrierCode"},
    "LineItem": {"refunds"},
}
# eBay's files declare some enumerations without their values, and all of them as objects.
VALUES_IN_PROSE_ONLY = {"CurrencyCodeEnum", "CountryCodeEnum", "MarketplaceIdEnum"}


class Specification:
    """One of eBay's files, made usable: closed objects, enumerations of strings."""

    def __init__(self, path: Path) -> None:
        self.components: dict[str, Any] = json.loads(path.read_text())["components"]
        for name, schema in self.components["schemas"].items():
            if "properties" in schema:
                schema["additionalProperties"] = False
                needed = set(schema.get("required", ())) - NOT_ALWAYS_THERE.get(name, set())
                schema["required"] = sorted(needed)
            else:
                schema["type"] = "string"

    def check(self, name: str, document: object) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": self.components}
        errors = list(Draft202012Validator(schema).iter_errors(document))
        assert not errors, "\n".join(f"{error.json_path}: {error.message[:200]}" for error in errors[:10])


@pytest.fixture(scope="module")
def fulfillment(shared: Path) -> Specification:
    return Specification(shared / "ebay/specs/rest/sell_fulfillment_v1_oas3.json")


@pytest.fixture(scope="module")
def finances(shared: Path) -> Specification:
    return Specification(shared / "ebay/specs/rest/sell_finances_v1_oas3.json")


@pytest.fixture(scope="module")
def inventory(shared: Path) -> Specification:
    found = Specification(shared / "ebay/specs/rest/sell_inventory_v1_oas3.json")
    # Declared as a string; its text and every client's answers have arrays by name.
    lists = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
    found.components["schemas"]["Product"]["properties"]["aspects"] = lists
    return found


@pytest.fixture(scope="module")
def identity(shared: Path) -> Specification:
    return Specification(shared / "ebay/specs/rest/commerce_identity_v1_oas3.json")


@pytest.mark.parametrize("seller", range(6))
def test_pages_of_orders_follow_the_specification(seller: int, simulate: Simulate, fulfillment: Specification) -> None:
    caller = simulate(seed=20 + seller, sellers=6, orders_per_seller=120, days=200)
    caller.seller = caller.sim.world.sellers[seller]
    caller.login()
    for order_id in caller.seller.orders:
        caller.sim.world.touch(caller.seller, order_id)
    for parameters in ({"limit": "50"}, {"limit": "200", "fieldGroups": "TAX_BREAKDOWN"}):
        page = caller.page(**parameters)
        assert page["orders"], f"seed {20 + seller}"
        fulfillment.check("OrderSearchPagedCollection", page)


def test_single_orders_follow_the_specification(simulate: Simulate, fulfillment: Specification) -> None:
    caller = simulate(orders_per_seller=60, days=200)
    for order_id in caller.seller.orders:
        for _ in range(2):
            caller.sim.world.touch(caller.seller, order_id)
        fulfillment.check("Order", caller.get(f"{ORDERS}/{order_id}").json())


def test_refusals_follow_the_specification(simulate: Simulate, fulfillment: Specification) -> None:
    caller = simulate()
    for parameters in ({"limit": "0"}, {"filter": "x"}, {"filter": "creationdate:[..]"}):
        for error in caller.get(ORDERS, **parameters).json()["errors"]:
            fulfillment.check("ErrorDetailV3", error)


def test_the_user_follows_the_specification(simulate: Simulate, identity: Specification) -> None:
    caller = simulate()
    identity.check("UserResponse", caller.get("/commerce/identity/v1/user/").json())


def signed_in(simulate: Simulate, seller: int, **options: Any) -> Any:
    """A caller for one seller of six, with the headers that the APIs ask for."""
    caller = simulate(seed=20 + seller, sellers=6, orders_per_seller=120, **options)
    caller.seller = caller.sim.world.sellers[seller]
    caller.login()
    caller.http.headers.update({"x-ebay-c-marketplace-id": caller.seller.marketplace_id, "accept-language": "en-US"})
    return caller


def stir(caller: Any, *kinds: str) -> None:
    for kind in kinds:
        for thing in caller.sim.world.things(caller.seller, kind).values():
            for _ in range(3):
                caller.sim.world.move_thing(thing)


@pytest.mark.parametrize("seller", range(6))
def test_finances_follow_the_specification(seller: int, simulate: Simulate, finances: Specification) -> None:
    caller = signed_in(simulate, seller, things={"transaction": 150, "payout": 20, "dispute": 5})
    stir(caller, "transaction", "payout")
    page = caller.get("/sell/finances/v1/transaction", limit="200").json()
    for row in page["transactions"]:  # captured answers write it so
        if "ebayCollectedTaxAmount" in row:
            row["eBayCollectedTaxAmount"] = row.pop("ebayCollectedTaxAmount")
    finances.check("Transactions", page)
    page = caller.get("/sell/finances/v1/payout", limit="200").json()
    finances.check("Payouts", page)
    finances.check("Payout", caller.get(f"/sell/finances/v1/payout/{page['payouts'][0]['payoutId']}").json())
    for error in caller.get("/sell/finances/v1/payout", limit="0").json()["errors"]:
        finances.check("Error", error)


def test_transactions_have_the_shape_of_captured_ones(simulate: Simulate, shared: Path) -> None:
    captured: set[str] = set()
    for file in (shared / "ebay/samples/rest").glob("transaction*_real.json"):
        sample = json.loads(file.read_text())
        for row in sample.get("transactions", [sample]):
            captured |= paths(row)
    caller = signed_in(simulate, 0, things={"transaction": 200, "payout": 20})
    drawn: set[str] = set()
    for row in caller.get("/sell/finances/v1/transaction", limit="200").json()["transactions"]:
        drawn |= paths(row)
    assert captured <= drawn


@pytest.mark.parametrize("seller", range(6))
def test_disputes_follow_the_specification(seller: int, simulate: Simulate, fulfillment: Specification) -> None:
    caller = signed_in(simulate, seller, things={"dispute": 60})
    stir(caller, "dispute")
    page = caller.get("/sell/fulfillment/v1/payment_dispute_summary").json()
    assert page["total"]
    fulfillment.check("DisputeSummaryResponse", page)
    for dispute_id in caller.sim.world.things(caller.seller, "dispute"):
        fulfillment.check("PaymentDispute", caller.get(f"/sell/fulfillment/v1/payment_dispute/{dispute_id}").json())
    for error in caller.get("/sell/fulfillment/v1/payment_dispute/1").json()["errors"]:
        fulfillment.check("ErrorDetailV3", error)


@pytest.mark.parametrize("seller", range(6))
def test_the_inventory_follows_the_specification(
    seller: int, simulate: Simulate, inventory: Specification, undocumented: Any
) -> None:
    caller = signed_in(simulate, seller, things={"inventory_item": 40, "offer": 40})
    stir(caller, "inventory_item", "offer")
    page = caller.get("/sell/inventory/v1/inventory_item", limit="20").json()
    inventory.check("InventoryItems", page)
    checked = 0
    for row in page["inventoryItems"]:
        one = caller.get(f"/sell/inventory/v1/inventory_item/{quote(row['sku'], safe='')}").json()
        inventory.check("InventoryItemWithSkuLocaleGroupid", one)
        offers = caller.get("/sell/inventory/v1/offer", sku=row["sku"])
        if offers.status_code == 200:
            inventory.check("Offers", offers.json())
            checked += 1
    assert checked
    for error in caller.get("/sell/inventory/v1/offer").json()["errors"]:
        inventory.check("Error", error)
    assert undocumented(caller.sim.journal) == []


def test_an_offer_has_the_shape_of_the_captured_one(simulate: Simulate, shared: Path) -> None:
    sample = json.loads((shared / "ebay/samples/rest/offer_published_real.json").read_text())
    caller = signed_in(simulate, 0, things={"inventory_item": 20, "offer": 20})
    drawn = set().union(*(paths(t.body) for t in caller.sim.world.things(caller.seller, "offer").values()))
    assert paths(sample) <= drawn
    answer = caller.get("/sell/inventory/v1/offer", sku="unknown")
    assert answer.json() == json.loads((shared / "ebay/samples/rest/error_404_25713_no_offer.json").read_text())


def test_calls_with_parameters_that_ebay_does_not_document_are_told(simulate: Simulate, undocumented: Any) -> None:
    caller = signed_in(simulate, 0, things={"payout": 1})
    caller.get("/sell/finances/v1/transaction", filter="transactionType:{SALE}", limit="1", offset="0", sort="x")
    caller.get("/sell/finances/v1/transaction", fieldGroups="ALL")
    caller.get("/sell/finances/v1/payout/1", limit="1")
    caller.get("/sell/finances/v1/payouts")
    assert undocumented(caller.sim.journal) == [
        ("/sell/finances/v1/transaction", "fieldGroups"),
        ("/sell/finances/v1/payout/1", "limit"),
        ("/sell/finances/v1/payouts", None),
    ]


def test_refusals_are_those_that_were_seen(simulate: Simulate, shared: Path) -> None:
    caller = simulate()
    samples = shared / "ebay/samples/rest"
    answer = caller.get(ORDERS, filter="lastModifiedDate:[2026-06-01T00:00:00.000Z..]")
    assert answer.json() == json.loads((samples / "error_400_30700.json").read_text())
    caller.sim.faults.add("status", status=429)
    assert caller.get(ORDERS).json() == json.loads((samples / "error_429_2001.json").read_text())
    caller.sim.narrow(caller.seller)
    assert caller.get(ORDERS).json() == json.loads((samples / "error_403_1100.json").read_text())
    caller.sim.expire_tokens()
    assert caller.get(ORDERS).json() == json.loads((samples / "error_401_1001.json").read_text())


def test_an_empty_page_looks_like_the_sample(simulate: Simulate, shared: Path) -> None:
    sample = json.loads((shared / "ebay/samples/rest/orders_empty.json").read_text())
    page = simulate(orders_per_seller=0).page(limit="200")
    assert page.keys() == sample.keys()
    assert {**page, "href": ""} == {**sample, "href": ""}


def test_orders_have_the_shape_of_captured_ones(simulate: Simulate, shared: Path) -> None:
    """Every field that was captured (but the decommissioned legacyOrderId) appears somewhere in the world."""
    captured: set[str] = set()
    for order in json.loads((shared / "ebay/samples/rest/orders_page_real.json").read_text())["orders"]:
        captured |= paths(order)
    caller = simulate(orders_per_seller=200, days=60)
    for order_id in caller.seller.orders:
        caller.sim.world.touch(caller.seller, order_id)
        caller.sim.world.touch(caller.seller, order_id)
    drawn: set[str] = set()
    for row in caller.page(limit="200")["orders"]:
        drawn |= paths(row)
    assert captured - drawn == {"legacyOrderId"}


def paths(node: object, at: str = "") -> set[str]:
    if isinstance(node, dict):
        return set().union(*(paths(value, f"{at}.{key}".lstrip(".")) for key, value in node.items()), {at} - {""})
    if isinstance(node, list):
        return set().union(*(paths(value, at) for value in node), {at})
    return {at}
