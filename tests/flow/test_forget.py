"""A person is erased: from tables, raw payloads, events and quarantine, and no later read brings the person back."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebaysync.errors import UsageError
from ebaysync.families import discover
from ebaysync.families.personal_data import erase, is_place, words
from ebaysync.ops.forget import FEW, forget
from ebaysync.ops.notices import names_of_notices
from ebaysync.store.embedded import binaries

Query = Callable[..., list[Any]]
# Where people are named, one column of each kind.
PEOPLE = {
    "ebay_orders": "buyer_username",
    "ebay_finances_transactions": "buyer_username",
    "ebay_disputes": "buyer_username",
    "ebay_messages": "sender",
    "ebay_buyer": "seller_user_id",
    "ebay_cancellations": "buyer_login_name",
    "ebay_cases": "buyer",
    "ebay_inquiries": "buyer",
    "ebay_returns": "buyer_login_name",
}


def everything(url: str) -> str:
    """What pg_dump writes of the whole database, in lower case; bytes and JSON's escapes as what they stand for."""
    program = binaries.readable(binaries.wheel(), pwd.getpwuid(os.geteuid())) / "bin/pg_dump"
    dump = subprocess.run([program, "--dbname", url], check=True, capture_output=True, cwd="/").stdout.decode()
    dump = re.sub(r"\\\\x([0-9a-f]+)", lambda found: bytes.fromhex(found[1]).decode(errors="replace"), dump)
    dump = re.sub(r"\\+u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), dump)
    assert "PostgreSQL database dump complete" in dump
    return dump.lower()


async def read_all(b: Any, account: Any, **asked: Any) -> None:
    for family in discover().values():
        options = {name: value for name, value in asked.items() if name != "sweep" or family.window.sweep}
        summary = await b.run(account, family.name, **options)
        assert summary.status == "completed", summary.as_dict()


async def test_whoever_is_erased_is_nowhere_and_does_not_come_back(
    bench: Callable[..., Any], query: Query, database_url: str
) -> None:
    b = bench(seed=3, sellers=1, orders_per_seller=40, things=30)
    account = await b.add()
    await read_all(b, account)
    [seller] = b.sim.world.sellers
    for order_id in list(seller.orders)[:20]:
        b.sim.world.touch(seller, order_id)
    await read_all(b, account)
    own = {seller.username.lower(), seller.user_id.lower(), "ebay"}
    people = set()
    for table, column in PEOPLE.items():
        found = {name for (name,) in query(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY 1")}
        people |= set(sorted(name for name in found if name.lower() not in own)[:2])
    assert len(people) >= 8
    mine = "buyer_username = ANY(%s)"
    own_data = "SELECT unnest(ARRAY[ship_to_email, ship_to_primary_phone]) FROM ebay_orders WHERE {}"
    told = {value.lower() for (value,) in query(own_data.format(mine), list(people)) if value}
    told -= {value.lower() for (value,) in query(own_data.format(f"NOT {mine}"), list(people)) if value}
    assert len(told) >= 2
    query(
        "INSERT INTO ebay_quarantine (ebay_account_id, api_family, reason, payload) VALUES (%s, 'orders', 'x', %s)",
        account.id,
        f"<UserID>{min(people)}</UserID>".encode(),
    )
    before = everything(database_url)
    assert [trace for trace in people | told if trace.lower() not in before] == []
    events = query("SELECT count(*) FROM ebay_events")
    others = query("SELECT count(*) FROM ebay_orders WHERE buyer_username <> ALL(%s)", list(people))

    names = [name.upper() if name.isascii() else name for name in sorted(people)]
    for few in (names[first : first + FEW] for first in range(0, len(names), FEW)):
        assert await forget(b.db, few, b.sleep), few
    after = everything(database_url)
    assert [trace for trace in people | told if trace.lower() in after] == []
    assert query("SELECT count(*) FROM ebay_events") == events
    assert query("SELECT count(*) FROM ebay_orders WHERE buyer_username <> '[erased]'") == others
    erased = query(
        "SELECT DISTINCT ship_to_full_name, ship_to_email, ship_to_city FROM ebay_orders"
        " WHERE buyer_username = '[erased]'"
    )
    assert {value for row in erased for value in row} <= {"[erased]", None}
    assert await forget(b.db, sorted(people), b.sleep) == {}

    await read_all(b, account, sweep=True)
    for family in discover().values():
        if family.cursor_type == "window":
            await b.run(account, family.name, walk="backfill", days=60)
    again = everything(database_url)
    assert [trace for trace in people | told if trace.lower() in again] == []
    assert query("SELECT count(*) FROM ebay_events") == events
    totals = query("SELECT total FROM ebay_orders WHERE buyer_username = '[erased]'")
    assert totals
    assert None not in {total for (total,) in totals}


async def test_a_change_of_an_erased_persons_order_is_stored_without_the_person(
    bench: Callable[..., Any], query: Query, database_url: str
) -> None:
    b = bench(seed=5, sellers=1, orders_per_seller=5)
    account = await b.add()
    await b.run(account)
    [(order_id, name, full_name)] = query(
        "SELECT order_id, buyer_username, ship_to_full_name FROM ebay_orders"
        " WHERE ship_to_full_name IS NOT NULL ORDER BY 1 LIMIT 1"
    )
    await forget(b.db, [name], b.sleep)
    [seller] = b.sim.world.sellers
    b.sim.world.touch(seller, order_id)
    summary = await b.run(account)
    assert summary.stored >= 1
    [row] = query("SELECT buyer_username, raw_payload::text FROM ebay_orders WHERE order_id = %s", order_id)
    assert row[0] == "[erased]"
    assert name not in row[1]
    assert full_name not in row[1]
    told = query("SELECT changes::text FROM ebay_events WHERE entity_key = %s", order_id)
    assert told
    assert not any(name in text for (text,) in told)


async def test_a_record_whose_payload_was_pruned_is_erased_by_its_columns(
    bench: Callable[..., Any], query: Query
) -> None:
    b = bench(seed=5, sellers=1, orders_per_seller=5)
    await b.run(await b.add())
    query("UPDATE ebay_orders SET raw_payload = 'null' RETURNING 1")
    [(name,)] = query("SELECT buyer_username FROM ebay_orders WHERE ship_to_city IS NOT NULL ORDER BY 1 LIMIT 1")
    assert await forget(b.db, [name], b.sleep) == {"ebay_orders": 1}
    assert query("SELECT ship_to_city FROM ebay_orders WHERE buyer_username = '[erased]'") == [("[erased]",)]
    assert await forget(b.db, [name], b.sleep) == {}


async def test_whoever_has_the_same_real_name_and_address_keeps_them(bench: Callable[..., Any], query: Query) -> None:
    b = bench(seed=5, sellers=1, orders_per_seller=60)
    await b.run(await b.add())
    shared = """
        SELECT min(buyer_username), max(buyer_username), ship_to_full_name FROM ebay_orders
        WHERE ship_to_full_name IS NOT NULL GROUP BY 3 HAVING count(DISTINCT buyer_username) > 1 ORDER BY 3 LIMIT 1"""
    [(gone, stays, full_name)] = query(shared)
    whole = "SELECT o::text FROM ebay_orders o WHERE buyer_username = %s ORDER BY 1"
    before = query(whole, stays)
    await forget(b.db, [gone], b.sleep)
    assert query(whole, stays) == before
    assert full_name in before[0][0]
    assert query("SELECT count(*) FROM ebay_orders WHERE ship_to_full_name = '[erased]'") != [(0,)]


def message(name: str) -> str:
    """The text of a message that names somebody in every way that JSON knows to write it."""
    return f'Hello,\n{name} said:\t{name}\\n ({name}) "{name}" n{name}\r\n{name}'


async def test_a_name_is_found_wherever_json_puts_a_sign_before_it(
    bench: Callable[..., Any], query: Query, database_url: str
) -> None:
    b = bench(seed=5, sellers=1, orders_per_seller=0, things=5)
    account = await b.add()
    await b.run(account, "messages")
    query(
        "UPDATE ebay_messages SET text = %s, raw_payload = jsonb_set(raw_payload, '{Text}', %s) RETURNING 1",
        *(message("some.body_1"), json.dumps("Hello,\nsome.body_1")),
    )
    query(
        "INSERT INTO ebay_events (ebay_account_id, api_family, table_name, entity_key, event, changes)"
        " VALUES (%s, 'messages', 'ebay_messages', 'k', 'changed', %s)",
        *(account.id, json.dumps({"text": ["\tsome.body_1", message("nsome.body_1")]})),
    )
    payloads = (message("some.body_1"), json.dumps("\nsome.body_1"), "nobody", "C:\\body_2")
    for number, payload in enumerate(payloads):
        query(
            "INSERT INTO ebay_quarantine (ebay_account_id, api_family, reason, payload) VALUES (%s, 'x', %s, %s)",
            *(account.id, str(number), payload.encode()),
        )
    assert await forget(b.db, ["some.body_1", "body_2"], b.sleep)
    left = everything(database_url)
    assert left.count("nsome.body_1") > 0  # another person, whose name ends like this one
    assert "some.body_1" not in left.replace("nsome.body_1", "")
    assert query("SELECT reason FROM ebay_quarantine") == [("2",)]


async def test_of_many_names_in_one_go_those_that_are_there_are_erased(
    bench: Callable[..., Any], query: Query, database_url: str
) -> None:
    b = bench(seed=5, sellers=1, orders_per_seller=20, things=5)
    account = await b.add()
    await read_all(b, account)
    names = [name for (name,) in query("SELECT DISTINCT buyer_username FROM ebay_orders ORDER BY 1")]
    gone, stay = names[:3], names[3:]
    query(
        "INSERT INTO ebay_quarantine (ebay_account_id, api_family, reason, payload) VALUES (%s, 'orders', 'x', %s)",
        *(account.id, b"<UserID>only-here</UserID>"),
    )
    strangers = [f"stranger-{number}" for number in range(2000)]
    done = await forget(b.db, [*strangers, *(name.upper() for name in gone), "only-here"], b.sleep)
    assert done["ebay_quarantine"] == 1
    left = everything(database_url)
    assert [name for name in (*gone, "only-here", "stranger-") if name in left] == []
    assert [name for name in stay if name not in left] == []
    assert query("SELECT count(*) FROM ebay_forgotten") == [(2000 + len(gone) + 1,)]
    await read_all(b, account, sweep=True)
    again = everything(database_url)
    assert [name for name in gone if name in again] == []
    assert await forget(b.db, [*strangers, *gone], b.sleep) == {}


async def test_a_part_of_a_longer_name_is_another_person(bench: Callable[..., Any], query: Query) -> None:
    b = bench(seed=5, sellers=1, orders_per_seller=5)
    await b.run(await b.add())
    [(name,)] = query("SELECT buyer_username FROM ebay_orders ORDER BY 1 LIMIT 1")
    assert await forget(b.db, [name[:-1]], b.sleep) == {}
    assert query("SELECT count(*) FROM ebay_orders WHERE buyer_username = %s", name) != [(0,)]


async def test_a_seller_of_ours_and_what_is_no_name_are_refused(bench: Callable[..., Any]) -> None:
    b = bench(sellers=1, orders_per_seller=1)
    account = await b.add()
    with pytest.raises(UsageError, match="is the seller of the account"):
        await forget(b.db, [account.username], b.sleep)
    for text in ("", "x", "two words", "a" * 65, "%", "semi;colon"):
        with pytest.raises(UsageError, match="no eBay user name"):
            await forget(b.db, [text], b.sleep)


def notice(**data: str) -> dict[str, Any]:
    return {"metadata": {"topic": "MARKETPLACE_ACCOUNT_DELETION"}, "notification": {"data": data}}


def test_notices_are_taken_as_they_come(shared: Path) -> None:
    one, two = notice(username="first", userId="id1"), notice(userId="id2", eiasToken="x")
    assert names_of_notices(json.dumps(one).encode()) == [["first", "id1"]]
    assert names_of_notices(json.dumps([one, two]).encode()) == [["first", "id1"], ["id2"]]
    assert names_of_notices(f"{json.dumps(one)}\n\n{json.dumps(two)}\n".encode()) == [["first", "id1"], ["id2"]]
    sample = (shared / "ebay/samples/rest/marketplace_account_deletion_notification.json").read_bytes()
    data = json.loads(sample)["notification"]["data"]
    assert names_of_notices(sample) == [[data["username"], data["userId"]]]
    for wrong, said in (
        (b"nonsense", "no JSON"),
        (b"[{}]", "notice 1"),
        (json.dumps([one, notice()]).encode(), "notice 2"),
    ):
        with pytest.raises(UsageError, match=said):
            names_of_notices(wrong)


def strings(node: Any, field: str = "") -> list[tuple[str, str]]:
    """Each string of a document with the name of its field."""
    if isinstance(node, dict):
        return [each for name, value in node.items() for each in strings(value, name if name != "#text" else field)]
    if isinstance(node, list):
        return [each for value in node for each in strings(value, field)]
    return [(field, node)] if isinstance(node, str) else []


async def test_a_word_that_stands_where_no_person_can_changes_nothing(
    bench: Callable[..., Any], query: Query, content: Callable[..., Any], database_url: str
) -> None:
    """A user may be called `true`, `PAID`, `USD` or as a SKU."""
    b = bench(seed=3, sellers=1, orders_per_seller=30, things=20)
    account = await b.add()
    await read_all(b, account)
    tables = [family.table.name for family in discover().values()]
    leaves = [leaf for table in tables for (raw,) in query(f"SELECT raw_payload FROM {table}") for leaf in strings(raw)]
    of_people = {word for field, value in leaves if is_place(field) for word in words(value.encode())}
    own = {account.username.lower(), account.ebay_user_id.lower()}
    of_things = {word for field, value in leaves if not is_place(field) for word in words(value.encode())}
    names = sorted(of_things - of_people - own)
    assert {"true", "paid", "usd", "ebay_us"} <= set(names)
    skus = query("SELECT lower(sku) FROM ebay_inventory_items WHERE sku ~ '^[A-Za-z0-9_*-]{3,64}$'")
    assert {sku for (sku,) in skus} & set(names)
    before = content(database_url, "ebay_forgotten", "ebay_forgotten_salt")
    comments = everything(database_url).count("[erased]")
    assert await forget(b.db, names, b.sleep) == {}
    assert await forget(b.db, ["true", "PAID", "USD"], b.sleep) == {}
    assert content(database_url, "ebay_forgotten", "ebay_forgotten_salt") == before

    [seller] = b.sim.world.sellers
    for order_id in list(seller.orders)[:10]:
        b.sim.world.touch(seller, order_id)
    await read_all(b, account, sweep=True)
    assert everything(database_url).count("[erased]") == comments
    assert query("SELECT count(*) FROM ebay_quarantine") == [(0,)]


async def test_quarantine_keeps_ebays_bytes_unless_the_person_stands_there(
    bench: Callable[..., Any], query: Query
) -> None:
    b = bench(seed=5, sellers=1, orders_per_seller=1)
    account = await b.add()
    kept = [
        b'{"ReserveMet":"true",  "n": 1.50, "title": "alice in wonderland", "alice": "x"}',
        b"<Item><ReserveMet>true</ReserveMet><Title>alice</Title></Item",
        b'{"sku": "alice", "reserve": "true", "amount": {"currency"',
        b'{"emailFlag": "true", "NewUser": "true", "newBuyer": "true"}',
    ]
    gone = [
        b'{"buyer": {"username": "ALICE"}}',
        b'{"buyer": {"username": "alice"}, "amount": {"currency"',
        b'{"buyer": {"username": "\\u0061lice"}, "amount": {"currency"',
        b"<Message><Sender>alice</Sender><Text>hi</Text",
        b"<Message><ns:Text>Dear &#97;lice, ...</ns:Text",
        b"<Message><Text><![CDATA[<p>Dear alice</p>]]></Text",
        b"a text that alice wrote",
    ]
    for payload in (*kept, *gone):
        query(
            "INSERT INTO ebay_quarantine (ebay_account_id, api_family, reason, payload) VALUES (%s, 'x', 'y', %s)",
            *(account.id, payload),
        )
    assert await forget(b.db, ["alice", "true"], b.sleep) == {"ebay_quarantine": len(gone)}
    assert [bytes(payload) for (payload,) in query("SELECT payload FROM ebay_quarantine ORDER BY id")] == kept


def test_only_the_content_of_a_field_is_cleaned_where_nothing_can_be_decoded() -> None:
    assert erase(b'{"sender": "sender", "sku": "sender"', ["sender"]) == b'{"sender": "[erased]", "sku": "sender"'
    assert erase(b"<Sender>sender</Sender><SKU>sender</SKU", ["sender"]) == b"<Sender>[erased]</Sender><SKU>sender</SKU"


def test_what_somebody_said_in_a_history_is_erased_and_the_description_of_an_item_stays() -> None:
    said = {"buyer": "alice", "history": [{"description": "call me"}], "description": "alice, a doll"}
    cleaned = json.loads(erase(json.dumps(said).encode(), ["alice"]))
    assert cleaned == {"buyer": "[erased]", "history": [{"description": "[erased]"}], "description": "alice, a doll"}


def test_every_column_with_a_user_is_a_place() -> None:
    assert [column for column in PEOPLE.values() if not is_place(column)] == []
