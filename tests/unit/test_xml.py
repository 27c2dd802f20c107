"""XML to JSON: what is lost (nothing that may be there), what is refused, and that memory stays flat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from lxml import etree

from ebaysync.ebay import xml
from ebaysync.ebay.xml import Cleaner, Document
from ebaysync.errors import AnswerNotUnderstood, EbayUnreachable, XmlBroken

RECORDS = [("L", "I")]


def read(body: bytes | str, piece: int = 10**9, **options: Any) -> Document:
    data = body.encode() if isinstance(body, str) else body
    document = Document("Call", options.get("records", RECORDS), options.get("lists", ()))
    for at in range(0, len(data), piece):
        document.feed(data[at : at + piece])
    document.close()
    return document


def records(document: Document) -> list[Any]:
    return [msgspec.json.decode(record) for _, record in document.records]


def cleaned(data: bytes, piece: int = 10**9) -> bytes:
    cleaner = Cleaner()
    pieces = (data[at : at + piece] for at in range(0, len(data), piece))
    return b"".join(map(cleaner.feed, pieces)) + cleaner.feed(b"", last=True)


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("<a>1.00</a>", {"a": "1.00"}),
        ("<a/>", {"a": None}),
        ("<a></a>", {"a": None}),
        ("<a> </a>", {"a": " "}),
        ('<a c="USD">1.0</a>', {"a": {"@c": "USD", "#text": "1.0"}}),
        ('<a c=""/>', {"a": {"@c": ""}}),
        ("<a>x</a><a/><a>y</a>", {"a": ["x", None, "y"]}),
        ("<a><b>1</b></a><a><b>2</b></a>", {"a": [{"b": "1"}, {"b": "2"}]}),
        ("<a>\n <b/>\n</a>", {"a": {"b": None}}),
        ("<a>x<b/>y</a>", {"a": {"b": None, "#text": "xy"}}),
        ("<once>x</once>", {"once": ["x"]}),
        ("<once>x</once><once>y</once>", {"once": ["x", "y"]}),
        ("<once/>", {"once": [None]}),
        ("<P><Q>x</Q></P><R><Q>y</Q></R>", {"P": {"Q": ["x"]}, "R": {"Q": "y"}}),
        ('<n:a xmlns:n="u:o" n:b="1">x</n:a>', {"a": {"@b": "1", "#text": "x"}}),
        ("<a><![CDATA[<b>&amp; &#11; <!DOCTYPE html>]]></a>", {"a": "<b>&amp; &#11; <!DOCTYPE html>"}),
        ("<a>x<!-- no text -->y<?pi?></a>", {"a": "xy"}),
        ("<a>&lt;&#233;&#x1F642;</a>", {"a": "<é🙂"}),
    ],
)
def test_an_element_becomes_json_without_loss(element: str, value: dict[str, Any]) -> None:
    document = read(f"<R xmlns='urn:x'><L><I>{element}</I></L></R>", lists={"once", "P/Q"})
    assert records(document) == [value]


def test_records_come_in_order_and_the_rest_is_the_head() -> None:
    body = """<?xml version="1.0" encoding="UTF-8"?>
      <R xmlns="urn:x"><Ack>Success</Ack>
        <L> <I><n>1</n></I> <I/> <I>text</I> <Total>3</Total> </L>
        <M><J k="v">4</J></M><L><I><n>5</n></I></L><End/></R>"""
    document = read(body, records=[("L", "I"), ("M", "J")])
    paths = [path for path, _ in document.records]
    assert paths == [("L", "I"), ("L", "I"), ("L", "I"), ("M", "J"), ("L", "I")]
    assert records(document) == [{"n": "1"}, {}, {"#text": "text"}, {"@k": "v", "#text": "4"}, {"n": "5"}]
    assert document.root == "R"
    assert document.head == {"Ack": "Success", "L": [{"Total": "3"}, None], "M": None, "End": None}


def test_two_megabytes_of_text_are_one_value() -> None:
    text = "x" * 2_500_000
    assert records(read(f"<R><L><I><Text>{text}</Text></I></L></R>", 65_536)) == [{"Text": text}]


@pytest.mark.parametrize(
    ("data", "clean"),
    [
        (b"a\x00\x0b\x1fb\t\r\n", b"ab\t\r\n"),
        (b"a&#11;&#x0B;&#0;&#xFFFE;&#xD83D;&#1114112;&#x110000;b", b"ab"),
        (b"&#00000000000000000011;&#x00000000000000B;", b""),
        (b"&#9;&#xA;&#13;&#xD7FF;&#xE000;&#xFFFD;&#x10FFFF;&#128578;", None),
        (b"&amp;&#x;&#;& &#xG;", None),
        ("\ufffe\uffff\U0001fffe\x7f\x85é\U0001f642".encode(), "\U0001fffe\x7f\x85é\U0001f642".encode()),
        (b"\xff\xc3(\xed\xa0\x80\xe2\x82", "\ufffd\ufffd(\ufffd\ufffd\ufffd\ufffd".encode()),
        (b"<![CDATA[&#11;]] ]]>&#11;]]>&#11;", b"<![CDATA[&#11;]] ]]>]]>"),
        (b"&#" + b"0" * 100 + b"11;", None),
        (b"end &#1", None),
    ],
)
@pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 6, 7, 10**9])
def test_what_xml_forbids_is_taken_out_wherever_pieces_are_cut(data: bytes, clean: bytes | None, piece: int) -> None:
    assert cleaned(data, piece) == (data if clean is None else clean)


BODY = """<?xml version="1.0" encoding="UTF-8"?><R xmlns="urn:x"><Ack>Success</Ack><L><I><n>caf&#233; &#x1F642;&#11;
\x0b é €</n><m a="&amp;&#x0;">x<![CDATA[ &#11; ]]>y</m></I>
<I><n/></I></L><!-- no --><E><c>1</c></E></R>"""


@pytest.mark.parametrize("piece", range(1, 8))
def test_pieces_of_any_size_give_the_same_document(piece: int) -> None:
    whole, cut = read(BODY), read(BODY, piece)
    assert records(whole)[0] == {"n": "café 🙂\n é €", "m": {"@a": "&", "#text": "x &#11; y"}}
    assert (cut.records, cut.head) == (whole.records, whole.head)


@pytest.mark.parametrize(
    "body",
    [
        "<R><L></R>",
        "<R>Tom & Jerry</R>",
        "<R>Tom & Jerry; Spike</R>",
        "<R>AT&T</R>",
        "<R>&nbsp;</R>",
        '<R a="&x;"/>',
        "<R a=1/>",
        "<R/><R/>",
        "<R/>text",
        "<html><br></html>",
        '{"Ack": "Success"}',
        '<!DOCTYPE R [<!ENTITY e "x">]><R>&e;</R>',
        "<!DOCTYPE html><html/>",
        '<!-- <![CDATA[ --><!DOCTYPE R [<!ENTITY e "secret">]><R>&e;</R>',
        "<a>" * 100 + "</a>" * 100,
        "<a>" * 1000 + "</a>" * 1000,
        "<R>".encode("utf-16"),
        b'<?xml version="1.0" encoding="ISO-8859-1"?><R>\xe9</R>',
        b'<?xml version="1.0" encoding="no-such"?><R/>',
        b'<?xml version="1.0" encoding="UTF-16"?><R/>',
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 10**9])
def test_what_is_whole_but_no_xml_keeps_its_bytes(body: str | bytes, piece: int) -> None:
    data = body.encode() if isinstance(body, str) else body
    with pytest.raises(XmlBroken, match="Call: the XML ") as caught:
        read(data, piece)
    assert caught.value.document == data
    assert not caught.value.transient
    assert not {"Jerry", "secret", "nbsp"} & set(caught.value.message.split())


def test_of_a_large_broken_document_the_beginning_is_kept() -> None:
    with pytest.raises(XmlBroken) as caught:
        read(f"<R>{'x' * xml.KEPT}<L></R>")
    assert caught.value.document == b"<R>" + b"x" * (xml.KEPT - 3)


@pytest.mark.parametrize("piece", [1, 7, 10**9])
def test_a_document_that_is_cut_anywhere_is_worth_another_try(piece: int) -> None:
    body = BODY.encode()
    for end in range(0, len(body), 3):
        with pytest.raises(EbayUnreachable, match="cut short"):
            read(body[:end], piece)


def test_more_elements_in_one_place_than_can_be_held_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml, "MOST_HELD", 50)
    assert len(read(f"<R><L>{'<I><n/></I>' * 1000}</L></R>").records) == 1000
    for body in (f"<R>{'<n/>' * 60}</R>", f"<R><L><I/><I>{'<n/>' * 60}</I></L></R>"):
        with pytest.raises(AnswerNotUnderstood, match="more than 50 elements"):
            read(body, 20)


def test_a_lack_of_memory_is_never_taken_for_a_broken_document(monkeypatch: pytest.MonkeyPatch) -> None:
    class Poor:
        feed_error_log: tuple[()] = ()

        def feed(self, _: bytes) -> None:
            raise etree.XMLSyntaxError("out of memory", etree.ErrorTypes.ERR_NO_MEMORY, 1, 1)

    monkeypatch.setattr(xml, "_parser", Poor)
    with pytest.raises(MemoryError):
        read("<R/>")


FLAT = """
import resource, sys
from ebaysync.ebay.xml import Document

def body(items):
    yield b'<R xmlns="urn:x"><L>'
    for at in range(0, items, 500):
        yield b"\\n".join(
            b'<I><n>%d</n><t>caf&#233; %s</t><p c="USD">1.0</p></I>' % (n, b"x" * 100) for n in range(at, at + 500)
        )
    yield b"</L></R>"

document = Document("Call", [("L", "I")])
count = 0
for piece in body(int(sys.argv[1])):
    document.feed(piece)
    count += len(document.records)
    document.records.clear()
document.close()
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_the_memory_does_not_grow_with_the_document() -> None:
    def peaks() -> Iterator[int]:
        for items in (1_000, 100_000):
            found = subprocess.run(
                [sys.executable, "-c", FLAT, str(items)], capture_output=True, text=True, timeout=300, check=True
            )
            count, peak = map(int, found.stdout.split())
            assert count == items
            yield peak

    small, large = peaks()
    assert large < small * 1.3


@pytest.mark.parametrize("piece", [1, 2, 7, 10**9])
@pytest.mark.parametrize("head", ["\n", " \t\r\n", "\ufeff", "\ufeff\n ", "\n\ufeff"], ids=ascii)
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="UTF-8"?>'])
def test_white_space_or_a_byte_order_mark_before_the_document_is_no_fault(
    head: str, declaration: str, piece: int
) -> None:
    document = read(f"{head}{declaration}<R><L><I>\ufeff x</I></L></R>", piece)
    assert records(document) == [{"#text": "\ufeff x"}]


@pytest.mark.parametrize("piece", [1, 5, 8, 9, 10**9])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("&#xD83D;&#xDE00;", "😀"),
        ("&#xd83d;&#xde00;", "😀"),
        ("&#55357;&#56832;", "😀"),
        ("&#x0D83D;&#056832;", "😀"),
        ("a&#xD83D;&#xDE00;&#xD83D;&#xDE01;b", "a😀😁b"),
        ("&#xDBFF;&#xDFFF;", "\U0010ffff"),
        ("a&#xD83D;b", "ab"),
        ("a&#xDE00;&#xD83D;b", "ab"),
        ("a&#xD83D; &#xDE00;b", "a b"),
        ("a&#xD83D;&#xD83D;&#xDE00;b", "a😀b"),
        ("a&#xD83D;&#233;b", "aéb"),
        ("&#55000;&#57500;", "\ud6d8\ue09c"),
        ("<![CDATA[&#xD83D;&#xDE00;]]>", "&#xD83D;&#xDE00;"),
    ],
)
def test_a_surrogate_pair_of_two_references_is_one_character(text: str, value: str, piece: int) -> None:
    assert records(read(f"<R><L><I><t>{text}</t></I></L></R>", piece)) == [{"t": value}]


def test_an_element_with_very_many_attributes_is_refused_and_blamed_on_a_record() -> None:
    few, many = (" ".join(f'a{n}="{n}"' for n in range(count)) for count in (xml.MOST_ATTRIBUTES, 20_000))
    assert len(records(read(f"<R><L><I {few}/></L></R>"))[0]) == xml.MOST_ATTRIBUTES
    for body in (f"<R><L><I/><I><t {many}/></I></L></R>", f"<R><L/><t {many}/></R>"):
        with pytest.raises(XmlBroken, match="20000 attributes") as caught:
            read(body)
        assert caught.value.by_a_record
