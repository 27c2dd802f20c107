"""Records become rows, or are refused with a reason."""

from __future__ import annotations

import cProfile
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ebaysync.families import discover, disputes
from ebaysync.families.decoder import Decoder, Unusable
from ebaysync.families.family import MergeSpec, RecordVersions
from ebaysync.families.orders import FAMILY, keep_personal, may_lack
from ebaysync.store.payload import Unstorable, storable
from ebaysync.store.table import BOOL, INTEGER, NUMERIC, TIME, Column, Table

ORDER: dict[str, Any] = {
    "orderId": "01-00001-00001",
    "creationDate": "2026-11-01T10:00:00.000Z",
    "lastModifiedDate": "2026-11-02T10:00:00.000Z",
    "cancelStatus": {"cancelState": "NONE_REQUESTED", "cancelRequests": []},
    "pricingSummary": {"total": {"value": "12.50", "currency": "EUR"}},
    "fulfillmentStartInstructions": [
        {
            "shippingStep": {
                "shipTo": {
                    "fullName": "Ада Лавлейс",
                    "email": "ada@example.org",
                    "primaryPhone": {"phoneNumber": "123"},
                    "contactAddress": {"addressLine1": "1 St", "addressLine2": "Flat 2", "city": "Ely"},
                }
            }
        }
    ],
    "lineItems": [{"lineItemId": "77", "quantity": 2, "total": {"value": "12.50", "currency": "EUR"}}],
}


def order(**changed: Any) -> bytes:
    return msgspec.json.encode(ORDER | changed)


def test_every_family_can_be_found_and_has_what_the_loop_needs() -> None:
    for name, family in discover().items():
        assert name == family.name
        assert family.scopes
        assert family.every_minutes > 0
        for table in family.tables:
            assert set(table.key) <= {column.name for column in table.columns}


def test_the_columns_of_an_order_are_filled_from_their_places() -> None:
    rows = FAMILY.rows(order())
    [row] = rows["ebay_orders"]
    assert row["order_id"] == "01-00001-00001"
    assert row["creation_date"] == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert (row["total"], row["total_currency"]) == (Decimal("12.50"), "EUR")
    assert (row["ship_to_full_name"], row["ship_to_city"]) == ("Ада Лавлейс", "Ely")
    assert row["tax"] is None
    [line] = rows["order_line_items"]
    assert (line["line_item_id"], line["order_id"], line["quantity"]) == ("77", "01-00001-00001", 2)
    assert msgspec.json.decode(line["raw_payload"]) == ORDER["lineItems"][0]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"orderId": None}, "orderId"),
        ({"orderId": ""}, "order_id"),
        ({"orderId": "x" * 501}, "order_id"),
        ({"creationDate": "2026-11-01T10:00:00"}, "creationDate"),  # without a zone
        ({"creationDate": "9999-01-01T00:00:00Z"}, "creationDate"),
        ({"lastModifiedDate": "yesterday"}, "lastModifiedDate"),
        ({"pricingSummary": {"total": {"value": "Infinity"}}}, "not an amount"),
        ({"pricingSummary": {"total": {"value": "1.2.3"}}}, "total"),
        ({"pricingSummary": []}, "pricingSummary"),
        ({"lineItems": [{"quantity": 1}]}, "lineItemId"),
        ({"lineItems": [{"lineItemId": "1", "quantity": 2**70}]}, "quantity|integer|number|range"),
        ({"salesRecordReference": 10**80}, "a number of 81"),
    ],
)
def test_an_impossible_value_is_refused_with_its_place(changed: dict[str, Any], reason: str) -> None:
    text = json.dumps(ORDER | changed).encode()  # msgspec would not write such numbers
    with pytest.raises(Unusable, match=reason):
        FAMILY.rows(text)


@pytest.mark.parametrize("text", [b"[]", b'"an order"', b"null", b"{", b"[" * 100_000, b'{"orderId": 1e999}'])
def test_what_is_no_record_is_refused(text: bytes) -> None:
    with pytest.raises(Unusable):
        FAMILY.rows(text)


@pytest.mark.parametrize("column_type", [TIME, NUMERIC, BOOL, INTEGER])
@pytest.mark.parametrize("value", ["Anna Schmidt", "+49170 1234567", ["Anna Schmidt"], {"Anna Schmidt": 1}])
def test_the_reason_names_the_field_and_never_the_value_which_may_be_a_person(column_type: str, value: Any) -> None:
    table = Table("things", key=("id",), columns=(Column("id"), Column("field", column_type)))
    family = replace(FAMILY, tables=(table,))
    with pytest.raises(Unusable, match="field") as refused:
        family.rows(msgspec.json.encode({"id": "1", "field": value}))
    assert "Anna" not in str(refused.value)
    assert "49170" not in str(refused.value)


def test_of_an_error_that_may_quote_the_record_only_its_kind_is_told() -> None:
    def strict(versions: RecordVersions) -> bytes:
        return str(int(versions.newest)).encode()

    with pytest.raises(Unusable, match=r"^ValueError$"):
        replace(FAMILY, merge=MergeSpec(compose=strict)).composed(RecordVersions(listed=b"Anna Schmidt"))


def test_unknown_fields_and_new_values_are_no_error() -> None:
    [row] = FAMILY.rows(order(brandNew={"a": [1]}, orderPaymentStatus="BARTERED"))["ebay_orders"]
    assert row["order_payment_status"] == "BARTERED"


def test_a_number_where_an_id_is_expected_becomes_text() -> None:
    [row] = FAMILY.rows(order(salesRecordReference=147))["ebay_orders"]
    assert row["sales_record_reference"] == "147"


def test_a_path_may_lead_to_the_last_of_a_list() -> None:
    decoder = Decoder(Table("things", key=("id",), columns=(Column("id"), Column("last", path="history[-1].at.day"))))
    for history, last in (
        ([], None),
        ([{"at": {"day": "1"}}, {"at": {"day": "2"}}], "2"),
        ([None], None),
        (None, None),
    ):
        raw = msgspec.json.encode({"id": "1", "history": history})
        assert decoder.row(raw, raw)["last"] == last


def test_nul_is_replaced_and_an_escaped_backslash_before_u0000_is_left_alone() -> None:
    assert storable(rb'{"a": "x\u0000y", "b": "\\u0000"}') == rb'{"a": "x\ufffdy", "b": "\\u0000"}'


def test_long_numbers_are_refused_and_long_strings_of_digits_are_not() -> None:
    assert storable(b'{"a": "%s"}' % (b"9" * 5000)) == b'{"a": "%s"}' % (b"9" * 5000)
    for bad in (b'{"a": %s}' % (b"9" * 5000), b'{"a": 1e400}', b'{"a": 1E-5000}'):
        with pytest.raises(Unstorable):
            storable(bad)


MASKED: dict[str, Any] = {"shippingStep": {"shipTo": {"contactAddress": {"city": "Ely"}}}}


def test_a_masked_order_gets_its_personal_fields_back_and_nothing_else() -> None:
    sent = order(fulfillmentStartInstructions=[MASKED], orderPaymentStatus="FULLY_REFUNDED", buyerCheckoutNotes=None)
    assert may_lack(FAMILY.rows(sent)["ebay_orders"][0])
    kept = msgspec.json.decode(keep_personal(order(buyerCheckoutNotes="hi", gone=1), sent))
    assert kept["fulfillmentStartInstructions"] == ORDER["fulfillmentStartInstructions"]
    assert kept["orderPaymentStatus"] == "FULLY_REFUNDED"
    assert kept["buyerCheckoutNotes"] is None
    assert "gone" not in kept


def test_asterisks_are_a_mask_too() -> None:
    contact = {"fullName": "A** L******", "contactAddress": {"addressLine1": "****", "city": "Cam"}}
    sent = order(fulfillmentStartInstructions=[{"shippingStep": {"shipTo": contact}}])
    kept = msgspec.json.decode(keep_personal(order(), sent))
    ship_to = kept["fulfillmentStartInstructions"][0]["shippingStep"]["shipTo"]
    assert ship_to["fullName"] == "Ада Лавлейс"
    assert ship_to["contactAddress"] == {"addressLine1": "1 St", "addressLine2": "Flat 2", "city": "Cam"}


def test_a_second_address_line_that_was_taken_out_stays_out() -> None:
    contact = {"fullName": "Ada", "contactAddress": {"addressLine1": "9 Rd", "city": "Ely"}}
    sent = order(fulfillmentStartInstructions=[{"shippingStep": {"shipTo": contact}}])
    kept = msgspec.json.decode(keep_personal(order(), sent))
    ship_to = kept["fulfillmentStartInstructions"][0]["shippingStep"]["shipTo"]
    assert "addressLine2" not in ship_to["contactAddress"]
    assert (ship_to["fullName"], ship_to["email"]) == ("Ada", "ada@example.org")


def test_amounts_keep_their_digits_when_a_record_is_put_together() -> None:
    sent = order(fulfillmentStartInstructions=[MASKED], someAmount={"value": 1}).replace(
        b'"value":1}', b'"value":10.10}'
    )
    assert b'"value":10.10}' in keep_personal(order(), sent)


def test_the_sample_orders_become_rows(shared: Path) -> None:
    folder = shared / "ebay" / "samples" / "rest"
    page = msgspec.json.decode((folder / "orders_page_real.json").read_bytes())
    singles = [msgspec.json.decode(path.read_bytes()) for path in sorted(folder.glob("order_*.json"))]
    for record in [*page["orders"], *singles]:
        [row] = FAMILY.rows(msgspec.json.encode(record))["ebay_orders"]
        assert row["total"] == Decimal(record["pricingSummary"]["total"]["value"])
        assert row["payment_date"] - row["creation_date"] < timedelta(days=1)
    assert len(page["orders"]) + len(singles) == 8


def test_a_dispute_that_needs_no_action_any_more_has_no_date_to_respond_by() -> None:
    """respondByDate is "only returned for payment disputes in the ACTION_NEEDED state"."""
    asked = {"paymentDisputeId": "1", "paymentDisputeStatus": "ACTION_NEEDED", "respondByDate": "2026-11-25T00:00:00Z"}
    answered = {"paymentDisputeId": "1", "paymentDisputeStatus": "OPEN", "revision": 2}
    listed, detail = msgspec.json.encode(asked), msgspec.json.encode(answered)
    for versions in (RecordVersions(listed=listed, detail=detail), RecordVersions(detail=detail, stored=listed)):
        assert msgspec.json.decode(disputes.compose(versions)) == answered
    still = msgspec.json.encode(answered | {"paymentDisputeStatus": "ACTION_NEEDED"})
    assert msgspec.json.decode(disputes.compose(RecordVersions(listed=listed, detail=still)))["respondByDate"]


def test_the_record_is_decoded_once_for_all_of_its_children() -> None:
    """Decoding it again for each child would make 16,000 line items cost 16,000 times the whole order."""
    lines = [{"lineItemId": str(number), "quantity": 1} for number in range(2_000)]
    profile = cProfile.Profile()
    rows = profile.runcall(FAMILY.rows, order(lineItems=lines))
    assert {line["order_id"] for line in rows["order_line_items"]} == {ORDER["orderId"]}
    [reads] = [
        entry.callcount for entry in profile.getstats() if getattr(entry.code, "co_qualname", "") == "_Shape.read"
    ]
    assert reads == 1 + 1 + len(lines)  # the order, the order for the lines, each line
