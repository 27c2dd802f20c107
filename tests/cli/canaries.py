"""What must turn up nowhere: every secret and every person of a test, in every spelling."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import psycopg

from ebaysync.families import discover
from ebaysync.sim.kinds import messages, purchases
from ebaysync.sim.people import NAMES, NOTES, PLACES
from ebaysync.sim.server import Simulator

LONG = 12  # bytes; something shorter turns up in hexadecimal digits and base64 by chance
WORD = 8  # characters; something shorter is an ordinary word somewhere
PERSONAL = frozenset(
    (
        *("fullName", "email", "phoneNumber", "addressLine1", "addressLine2", "city", "taxpayerId"),
        *("buyerCheckoutNotes", "message", "recipientEmail", "senderName", "buyer", "buyerUsername", "note"),
        *("comment", "description", "notes", "sender", "recipient", "subject", "text", "shop"),
    )
)
DATA = {"ebay_events": ("changes",), "ebay_quarantine": ("payload",)}  # where a person may be, beside domain tables
MAY_HOLD = {("ebay_signing_keys", "jwe")}  # with it eBay knows the public half, and it opens nothing


def spellings(value: str) -> set[str]:
    """As it is; as URLs, JSON, XML and Python write it; as the digits of a bytea; inside of base64, wherever it
    begins."""
    raw = value.encode(errors="surrogatepass")
    found = {value, quote(raw), quote(raw, safe=""), quote_plus(raw), escape(value), repr(value)[1:-1]}
    found |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    if len(raw) >= LONG:
        found.add(raw.hex())
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + raw).decode()
            found.add(coded[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6])
    return found


class Canaries:
    """Each spelling of each value, by what it is. Of tokens, whose heads are alike, also pieces of both ends: what was
    cut is a leak, too."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def add(self, what: str, values: Iterable[str]) -> None:
        for value in values:
            self._marks |= dict.fromkeys(spellings(value), f"{what} {value[:40]}")

    def add_tokens(self, what: str, tokens: Iterable[str]) -> None:
        for token in tokens:
            self.add(what, (token, token[40:72], token[-24:]))

    def within(self, text: str) -> list[str]:
        return sorted({what for mark, what in self._marks.items() if mark in text})


def persons(sim: Simulator) -> Canaries:
    """Everyone and every word of theirs in a simulator's world."""
    found = Canaries()
    found.add("name", NAMES)
    found.add("street", (line for place in PLACES for line in place[4:] if line))
    found.add("note", (line for note in NOTES for line in note.splitlines()))
    found.add("word", (part for word in messages.WORDS for part in re.findall(r"[^\W\d_][\w ]{9,}", word)))
    found.add("other seller", purchases.SELLERS)
    own = {seller.username for seller in sim.world.sellers} | {"eBay"}
    for seller in sim.world.sellers:
        bodies: list[Any] = [order.body() for order in seller.orders.values()]
        for things in seller.things.values():
            bodies += [version.body for thing in things.values() for version in thing.versions if version.body]
        mails = seller.things.get("message", {})
        bodies += [messages.facts(mail.id, mail.body or {}, seller) for mail in mails.values()]
        found.add("person", {text for body in bodies for text in _personal(body) if len(text) > 3} - own)
    return found


def private(url: str, sim: Simulator) -> set[str]:
    """Every line in the columns that the role for reports may not read, as they stand now."""
    own = {text for seller in sim.world.sellers for text in (seller.username, seller.user_id)} | {"[erased]"}
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT p.table_name, p.column_name FROM ebay_private_columns p JOIN information_schema.columns c"
            " USING (table_name, column_name) JOIN information_schema.tables t USING (table_name)"
            " WHERE c.data_type = 'text' AND t.table_type = 'BASE TABLE'"
        ).fetchall()
        values = {
            value
            for table, column in columns
            for (value,) in connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL")
        }
    assert {table for table, _ in columns} >= {"ebay_orders", "ebay_messages", "ebay_returns", "ebay_cases"}
    lines = {line.strip() for value in values for line in value.splitlines()}
    return {line for line in lines if len(line) >= WORD and line not in own}


def _personal(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            buyers = name in ("buyer", "registrant") and key == "username"
            yield from _personal(each, "buyer" if buyers else key)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _personal(each, name)
    elif isinstance(value, str) and name in PERSONAL:
        yield value


def stored(url: str) -> dict[tuple[str, str], str]:
    """All of a database as text, by table and column."""
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
            " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        ).fetchall()
        read = "SELECT coalesce(string_agg(to_jsonb(t.{1})::text, E'\\n'), '') FROM {0} t"
        return {
            (table, column): connection.execute(read.format(table, column)).fetchone()[0]  # type: ignore[index]
            for table, column in columns
        }


def holds_data(table: str, column: str) -> bool:
    """Whether persons may be there."""
    domain = {each.name for family in discover().values() for each in family.tables}
    return table in domain or column in DATA.get(table, ())


def entries(log: str) -> list[tuple[str, str]]:
    """PostgreSQL's log: what kind of entry, and its text."""
    parts = re.split(r"(?m)^\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] (\w+):  ", log)
    return list(zip(parts[1::2], parts[2::2], strict=True))
