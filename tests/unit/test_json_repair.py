"""A JSON page is split around the records that no decoder accepts."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import httpx
import msgspec
import pytest

from ebaysync.ebay.fulfillment import OrdersPage
from ebaysync.ebay.json_repair import BOM, field_of, is_whole, repaired, split
from ebaysync.ebay.rest import decoded
from ebaysync.ebay.transport import Answer, Request
from ebaysync.errors import EbayUnreachable

GOOD = rb'{"id": "1", "text": "a,]}{ \" \\", "list": [[1, {}], "]"]}'
BAD = b'{"id": 2, "text": "a\x01b,]}"}'


@pytest.mark.parametrize("body", [b"{}", b"[]", b' {"a": "}"} \n', BOM + b"{}", GOOD, BAD, b'["\x01", "\\q"]'])
def test_a_body_that_comes_to_its_end_is_whole(body: bytes) -> None:
    assert is_whole(body)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a": "}', b'{"a": [}', b'{"a": "\\', b"{}{}", b"{},", b"1", b'"x"', b"oops", b"]", b"<p>"]
)
def test_anything_else_was_cut_or_is_no_object(body: bytes) -> None:
    assert not is_whole(body)


def test_no_piece_of_a_body_is_whole() -> None:
    body = b'{"total": 3, "rows": [%b, %b]}' % (GOOD, BAD)
    assert is_whole(body)
    assert not any(is_whole(body[:end]) for end in range(len(body)))


def test_only_the_named_lists_are_split_and_all_else_stays_as_it_is() -> None:
    page = b'{"n": 1.50, "rows": [%b, %b ,%b], "rows2": [], "x\x02": 1, "w": ["\x01"]}' % (GOOD, BAD, GOOD)
    found = split(page, ["rows", "rows2"])
    assert msgspec.json.decode(found.body, type=dict[str, msgspec.Raw])["n"] == msgspec.Raw(b"1.50")
    assert json.loads(found.body) == {"n": 1.5, "rows": [json.loads(GOOD)] * 2, "rows2": []}
    [(document, reason)] = found.broken
    assert document == BAD
    assert "invalid character" in reason


def test_the_key_of_an_undecodable_record_is_found_where_it_can_be_read() -> None:
    assert field_of(BAD, "id") == "2"
    assert field_of(BAD, "text") is None
    assert field_of(b'{"a": {"id": 1}, "\x01": 2, "id": "x\\ud800"}', "id") == "x\ufffd"
    assert field_of(b'{"id": {"a": 1}}', "id") is None
    assert field_of(b'{"id": ' + b"9" * 5000 + b"}", "id") is None
    assert field_of(b"oops", "id") is None


@pytest.mark.parametrize(
    ("body", "clean"),
    [
        (b'{"a": "\xff"}', '{"a": "\ufffd"}'.encode()),
        (rb'{"a": "\ud83d\ude00"}', rb'{"a": "\ud83d\ude00"}'),
        (rb'{"a": "\ud83d"}', rb'{"a": "\ufffd"}'),
        (rb'{"a": "\ude00\ud83d"}', rb'{"a": "\ufffd\ufffd"}'),
        (rb'{"a": "\\ud83d"}', rb'{"a": "\\ud83d"}'),
        (BOM + b"{}", b"{}"),
    ],
)
def test_bytes_and_surrogates_that_no_text_has_are_replaced(body: bytes, clean: bytes) -> None:
    assert repaired(body) == clean
    json.loads(clean)


def test_whatever_the_records_are_each_is_stored_or_broken_and_none_is_changed() -> None:
    random = Random(14)

    def value(depth: int) -> Any:
        kind = random.randrange(6 if depth else 4)
        if kind == 4:
            return [value(depth - 1) for _ in range(random.randrange(4))]
        if kind == 5:
            return {text(): value(depth - 1) for _ in range(random.randrange(4))}
        return (None, random.random(), random.randrange(10**9), text())[kind]

    def text() -> str:
        return "".join(random.choices('ab\\"{}[],: é😀\n\t', k=random.randrange(8)))

    for _ in range(300):
        rows = [value(4) for _ in range(random.randrange(1, 6))]
        sent = [json.dumps(row, ensure_ascii=random.random() < 0.5).encode() for row in rows]
        bad = random.randrange(len(rows))
        sent[bad] = b'["%b", "\x00"]' % sent[bad].replace(b"\\", b"").replace(b'"', b"")
        page = b'{"rows" :[ %b],"total":%d}' % (b", ".join(sent), len(rows))
        found = split(page, ["rows"])
        kept = [row for at, row in enumerate(rows) if at != bad]
        assert json.loads(found.body) == {"rows": kept, "total": len(rows)}
        assert [document for document, _ in found.broken] == [sent[bad]]


REQUEST = Request("GET", "https://api.ebay.com/sell/fulfillment/v1/order")


def page_of(body: bytes) -> OrdersPage:
    return decoded(Answer(200, httpx.Headers(), body, REQUEST), OrdersPage)


def orders(random: Random) -> list[bytes]:
    def lines() -> list[Any]:
        return [{"lineItemId": str(n), "taxes": [{"a": 1}, {"a": 2}]} for n in range(random.randrange(4))]

    def note() -> str:
        return random.choice(["", "a", ']}, "', '},{"orderId":"x"', 'q"\\'])

    found = [
        {"orderId": f"{n}-1", "note": note(), "lineItems": lines(), "buyer": {"username": "u"}, **more}
        for n, more in enumerate(random.choices([{}, {"flag": True}], k=random.randrange(2, 9)))
    ]
    return [json.dumps(each, separators=random.choice([(",", ":"), (", ", ": ")])).encode() for each in found]


def damaged(random: Random, record: bytes) -> bytes:
    """The record with a quote or bracket too many or too few."""
    if random.random() < 0.3:
        return b'{"odd": %c, %b' % (random.choice(b'{}[]"'), record[1:])
    if random.random() < 0.5:
        at = random.choice([at for at, byte in enumerate(record) if byte in b'{}[]"'])
        return record[:at] + record[at + 1 :]
    at = random.randrange(1, len(record))
    return record[:at] + random.choice([b"{", b"}", b"[", b"]", b'"']) + record[at:]


@pytest.mark.parametrize("total_last", [False, True])
def test_a_bracket_or_a_quote_too_many_or_too_few_costs_one_record(total_last: bool) -> None:
    random, alone = Random(14), 0
    for _ in range(300):
        sent = orders(random)
        bad = random.randrange(len(sent))
        good = [record for at, record in enumerate(sent) if at != bad]
        sent[bad] = damaged(random, sent[bad])
        rows, count = b'"orders": [%b]' % b", ".join(sent), b'"total": %d, "limit": 200' % len(sent)
        try:
            page = page_of(b"{%b, %b}" % ((rows, count) if total_last else (count, rows)))
        except EbayUnreachable:
            continue  # nothing of the page is stored
        stored = [bytes(record) for record in page.orders or ()]
        kept = b"".join(document for document, _ in page.broken)
        assert not [record for record in good if record not in stored and record not in kept]
        alone += [document for document, _ in page.broken] == [sent[bad]] or not page.broken
    assert alone > 280


def test_a_page_that_was_cut_is_never_taken_for_a_damaged_one() -> None:
    random = Random(14)
    for _ in range(30):
        body = b'{"total": 3, "limit": 200, "orders": [%b]}' % b",".join(orders(random))
        for end in range(1, len(body), 7):
            with pytest.raises(EbayUnreachable):
                page_of(body[:end])


def test_damaged_records_are_not_told_apart_if_the_page_does_not_count_them() -> None:
    rows = b'{"orderId": "1"}, {"orderId": "2", "a": ]}, {"orderId": "3"}'
    assert len(page_of(b'{"total": 3, "orders": [%b]}' % rows).broken) == 1
    for counts in (b'"a": 0', b'"total": 2', b'"total": 4'):
        with pytest.raises(EbayUnreachable):
            page_of(b'{%b, "orders": [%b]}' % (counts, rows))


def test_a_page_of_damaged_records_takes_no_long_time() -> None:
    rows = b",".join([b'{"orderId": "1", "a": [{"b": 1}, {"b": ]}]}'] * 20_000)
    with pytest.raises(EbayUnreachable):
        page_of(b'{"total": 20000, "orders": [%b]}' % rows)


def test_a_string_without_an_end_and_deep_nesting_take_one_pass() -> None:
    """Each of a million quotes would be the begin of a string up to the end, which is 10^12 steps."""
    assert not is_whole(b'{"a": "' + rb"\"" * 10**6 + b"}")
    deep = b"[" * 10**6 + b"]" * 10**6
    [(document, reason)] = split(b'{"rows": [%b, 1]}' % deep, ["rows"]).broken
    assert (len(document), "nested too deeply" in reason) == (len(deep), True)
