"""The work for an answer or a record grows no faster than its size, whatever it is made of.

The work is counted: the calls of functions, our own and built-in ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from ebaysync.ebay import json_repair
from ebaysync.ebay.trading import LISTS
from ebaysync.ebay.xml import Document
from ebaysync.errors import EbayError
from ebaysync.families import discover
from ebaysync.families.decoder import Notes
from ebaysync.families.family import RecordVersions
from ebaysync.store.merge import changes

Make = Callable[[int], bytes]
MOMENT = "2026-07-01T12:00:00.000Z"
SIZE = 500


def work(function: Callable[[], Any]) -> int:
    """How many functions are called."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        with suppress(EbayError, ValueError):
            function()
    finally:
        sys.setprofile(None)
    return calls


def is_linear(function: Callable[[bytes], Any], make: Make) -> bool:
    small, large = make(SIZE), make(8 * SIZE)
    function(make(1))  # what is made at the first use
    # Quadratic work would be 64 times as much.
    return work(lambda: function(large)) <= 12 * work(lambda: function(small)) + 1_000


XML: dict[str, Make] = {
    "attributes": lambda n: b"<R><L><Item %b/></L></R>" % b" ".join(b'a%d="1"' % i for i in range(n)),
    "attributes of many": lambda n: b"<R><L>%b</L></R>" % (b'<Item a="1" b="2"/>' * n),
    "names": lambda n: b"<R><L><Item>%b</Item></L></R>" % b"".join(b"<a%d/>" % i for i in range(n)),
    "one name": lambda n: b"<R><L><Item>%b</Item></L></R>" % (b"<a/>" * n),
    "texts between": lambda n: b"<R><L><Item>%b</Item></L></R>" % (b"<a/>t" * n),
    "records": lambda n: b"<R><L>%b</L></R>" % (b"<Item>1</Item>" * n),
    "references": lambda n: b"<R><L><Item>%b</Item></L></R>" % (b"&#1;" * n),
    "errors": lambda n: b"<R>%b</R>" % (b"<Errors><ErrorCode>1</ErrorCode></Errors>" * n),
    "depth": lambda n: b"<R>" + b"<a>" * n,
    "namespaces": lambda n: b"<R %b/>" % b" ".join(b'xmlns:a%d="u"' % i for i in range(n)),
}


@pytest.mark.parametrize("make", XML.values(), ids=XML.keys())
def test_xml_is_parsed_in_linear_work(make: Make) -> None:
    def parse(body: bytes) -> None:
        document = Document("x", [("L", "Item")], LISTS)
        for at in range(0, len(body), 1000):
            document.feed(body[at : at + 1000])
        with suppress(EbayError):
            document.close()

    assert is_linear(parse, make)


JSON: dict[str, Make] = {
    "commas": lambda n: b'{"orders":[{"a":1}%b]}' % (b"," * n),
    "brackets": lambda n: b'{"orders":[' + b"[" * n,
    "braces": lambda n: b'{"orders":[' + b'{"a":' * n,
    "closed too often": lambda n: b'{"orders":[{"a":1%b}' % (b"]" * n),
    "quotes": lambda n: b'{"orders":[{"a":' + b'"' * n,
    "no ends": lambda n: b'{"orders":[%b{"a":1}]}' % (b'{"a":[1},' * n),
    "controls": lambda n: b'{"orders":[%b]}' % b",".join([b'{"a":"\x01"}'] * n),
    "surrogates": lambda n: b'{"orders":[{"a":"%b"}]}' % (b"\\ud800" * n),
    "first names": lambda n: b'{"orders":[%b]}' % b",".join(b'{"a%d":]1}' % i for i in range(n)),
    "fields": lambda n: b'{"orders":[{%b}]}' % b",".join(b'"a%d":\x01' % i for i in range(n)),
}


@pytest.mark.parametrize("make", JSON.values(), ids=JSON.keys())
def test_broken_json_is_split_in_linear_work(make: Make) -> None:
    def split(body: bytes) -> None:
        json_repair.repaired(body)
        list(json_repair.splits_at_names(body, ("orders",)))
        if json_repair.is_whole(body):
            json_repair.split(body, ("orders",))

    assert is_linear(split, make)


def order(line: Callable[[int], Any]) -> Make:
    head = {"orderId": "1", "lastModifiedDate": MOMENT}
    return lambda n: msgspec.json.encode(head | {"lineItems": [line(i) for i in range(n)]})


ORDERS: dict[str, Make] = {
    "line items": order(lambda i: {"lineItemId": str(i), "quantity": 1}),
    "one id": order(lambda i: {"lineItemId": "1", "title": str(i)}),
    "no id": order(lambda i: {"title": str(i)}),
    "no objects": order(lambda i: i),
    "odd values": order(lambda i: {"lineItemId": str(i), "quantity": "many"}),
}


@pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS.keys())
def test_an_order_becomes_rows_and_events_in_linear_work(make: Make) -> None:
    family = discover()["orders"]

    def composed(record: bytes) -> None:
        rows = family.composed(RecordVersions(listed=record, stored=record), lambda document: document, Notes())
        payload = {"raw_payload": msgspec.json.decode(record)}
        [row] = rows[family.table.name]
        changes(family.table, payload, row | payload)

    assert is_linear(composed, make)


def test_a_long_text_of_the_whole_record_is_not_repeated_in_each_part() -> None:
    family = discover()["finances"]
    long = "x" * 100_000
    sale = {"transactionId": "1", "transactionType": "SALE", "transactionDate": MOMENT, "orderId": long}
    fees = [{"feeType": f"F{i}", "amount": {"value": "1", "currency": "USD"}} for i in range(100)]
    for line_item, number in (({"lineItemId": "1"}, 100), ({"lineItemId": long}, 0)):
        notes = Notes()
        record = msgspec.json.encode(sale | {"orderLineItems": [line_item | {"marketplaceFees": fees}]})
        rows = family.composed(RecordVersions(listed=record), lambda document: document, notes)
        assert rows["ebay_finances_transactions"][0]["order_id"] == long
        assert [row["order_id"] for row in rows["ebay_finances_fees"]] == [None] * number
        assert sum(len(str(row)) for row in rows["ebay_finances_fees"]) < len(long)
        assert any(name.startswith("ebay_finances_fees") for name, _ in notes.fields)
