"""merge: rows into their table, changes into ebay_events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from ebaysync.errors import DatabaseError
from ebaysync.store import statements
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database, RowRefused
from ebaysync.store.merge import Merged, Writer, lists, merge, portions
from ebaysync.store.table import NUMERIC, TIME, Column, Table

THINGS = Table(
    "things",
    key=("a", "b"),
    version="seen",
    volatile=(("timeLeft",), ("price", "converted")),
    in_own_table=("parts",),
    columns=(Column("a"), Column("b"), Column("seen", TIME), Column("amount", NUMERIC), Column("title")),
)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
Query = Callable[..., list[Any]]


def thing(a: str = "1", b: str = "2", *, hours: int = 0, amount: str | None = "1.50", **raw: Any) -> dict[str, Any]:
    return {
        "a": a,
        "b": b,
        "seen": NOON + timedelta(hours=hours),
        "amount": Decimal(amount) if amount else None,
        "title": raw.get("title"),
        "raw_payload": msgspec.Raw(msgspec.json.encode({"a": a} | raw)),
    }


class Store:
    def __init__(self, db: Database, account: UUID) -> None:
        self.db, self.account = db, account

    async def __call__(self, *rows: dict[str, Any]) -> Merged:
        return await self.db.transact(lambda c: merge(Writer(c, self.account, "things", None), THINGS, rows))


@pytest.fixture
async def store(db: Database) -> Store:
    account = uuid4()

    async def prepare(connection: Any) -> None:
        await connection.execute(
            "CREATE TABLE things (ebay_account_id uuid, a text, b text, seen timestamptz, amount numeric CHECK"
            " (amount < 1000), title text, raw_payload jsonb NOT NULL, first_seen_at timestamptz DEFAULT now(),"
            " updated_at timestamptz DEFAULT now(), PRIMARY KEY (ebay_account_id, a, b))"
        )
        await connection.execute(
            "INSERT INTO ebay_accounts (id, name, environment, ebay_user_id)"
            f" VALUES ('{account}', 'x', 'simulator', 'u')"
        )

    await db.transact(prepare)
    return Store(db, account)


async def test_a_missing_column_or_table_is_named_with_both_of_its_causes_and_without_data(store: Store) -> None:
    for statement, missing in (
        ("ALTER TABLE things DROP COLUMN title", '"title"'),
        ("DROP TABLE things", '"things"'),
    ):
        await store.db.execute(statement)
        with pytest.raises(DatabaseError, match=f"not as expected: .*{missing}.* does not exist") as caught:
            await store(thing(title="Jane Doe"))
        assert "Jane" not in caught.value.message
        assert caught.value.hint
        assert "ebaysync migrate" in caught.value.hint
        assert "declaration and its SQL file differ" in caught.value.hint


def keys(found: Sequence[tuple[str, ...]]) -> set[tuple[str, ...]]:
    return set(found)


async def test_new_rows_are_inserted_without_an_event(store: Store, query: Query) -> None:
    merged = await store(thing("1"), thing("2"))
    assert (len(merged.inserted), len(merged.updated)) == (2, 0)
    assert query("SELECT a, amount, raw_payload FROM things ORDER BY a") == [
        ("1", Decimal("1.50"), {"a": "1"}),
        ("2", Decimal("1.50"), {"a": "2"}),
    ]
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]


async def test_the_same_rows_again_write_nothing(store: Store, query: Query) -> None:
    await store(thing(title="x", n=1.0))
    before = query("SELECT xmin::text, updated_at FROM things")
    merged = await store(thing(title="x", n=1.0))
    assert not merged.touched
    assert query("SELECT xmin::text, updated_at FROM things") == before


async def test_a_change_is_one_event_with_the_changed_fields_alone(store: Store, query: Query) -> None:
    await store(thing(title="old", other=[1], parts=[1]))
    merged = await store(thing(title="new", amount="2.25", other=[1, 2], parts=[2], extra=True))
    assert merged.updated == {("1", "2")}
    [(key, event, changes)] = query("SELECT entity_key, event, changes FROM ebay_events")
    assert (key, event) == ("1/2", "changed")
    assert changes == {
        "title": ["old", "new"],
        "amount": [1.50, 2.25],
        "other": [[1], [1, 2]],
        "extra": [None, True],
    }
    assert query("SELECT updated_at > first_seen_at FROM things") == [(True,)]


async def test_amounts_in_events_keep_their_digits(store: Store, query: Query) -> None:
    await store(thing(amount="0.1"))
    await store(thing(amount="123.4567890123456789"))
    assert query("SELECT changes #>> '{amount,1}' FROM ebay_events") == [("123.4567890123456789",)]


async def test_fields_that_move_by_themselves_make_no_write_and_no_event(store: Store, query: Query) -> None:
    await store(thing(timeLeft="P1D", price={"value": 1, "converted": 2}))
    merged = await store(thing(timeLeft="P2D", price={"value": 1, "converted": 3}))
    assert not merged.touched
    merged = await store(thing(timeLeft="P3D", price={"value": 2, "converted": 3}))
    assert len(merged.updated) == 1


async def test_an_older_version_never_replaces_a_newer_one(store: Store, query: Query) -> None:
    await store(thing(hours=2, title="new"))
    assert not (await store(thing(hours=1, title="old"))).touched
    assert query("SELECT title FROM things") == [("new",)]


async def test_of_two_versions_in_one_batch_the_newer_is_stored(store: Store, query: Query) -> None:
    await store(thing(hours=2, title="new"), thing(hours=1, title="old"))
    assert query("SELECT title FROM things") == [("new",)]


async def test_rows_of_another_account_are_not_touched(store: Store, query: Query) -> None:
    await store(thing(title="mine"))
    other = Store(store.db, uuid4())
    assert len((await other(thing(title="theirs"))).inserted) == 1
    assert query("SELECT title FROM things WHERE ebay_account_id = %s", store.account) == [("mine",)]


async def test_a_value_that_postgresql_refuses_is_named_without_the_row(store: Store) -> None:
    with pytest.raises(RowRefused, match=r"things.*amount") as caught:
        await store(thing(amount="5000", title="Ada's secret"))
    assert "Ada" not in str(caught.value)


async def test_the_server_is_told_to_leave_parameters_out_of_its_log_of_errors(db: Database, query: Query) -> None:
    """Where its administrator has switched them on, and the client may rule."""
    setting = "log_parameter_max_length_on_error"
    [(name,)] = query("SELECT current_database()")
    query(f'ALTER DATABASE "{name}" SET {setting} = -1')
    assert query(f"SHOW {setting}") == [("-1",)]
    assert await db.rows(f"SHOW {setting}") == [("0",)]


async def test_writers_in_any_order_do_not_deadlock(store: Store) -> None:
    import asyncio

    rows = [thing(str(n)) for n in range(300)]

    async def write(turn: int) -> None:
        for hour in range(5):
            part = [row | {"title": f"{turn}/{hour}", "seen": NOON + timedelta(hours=hour)} for row in rows]
            await store(*(reversed(part) if turn % 2 else part))

    before = (await store.db.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))[0][0]
    await asyncio.gather(*(write(turn) for turn in range(4)))
    after = (await store.db.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))[0][0]
    assert after == before


async def test_a_field_that_is_null_or_left_out_is_no_change(store: Store, query: Query) -> None:
    await store(thing(note=None, inner={"a": 1, "b": None}, some=[{"c": None}]))
    assert not (await store(thing(inner={"a": 1}, some=[{}], gone=None))).touched
    merged = await store(thing(inner={"a": 2, "b": None}, some=[{}], gone=None))
    assert (len(merged.updated), query("SELECT changes FROM ebay_events")) == (1, [({"inner": [{"a": 1}, {"a": 2}]},)])


async def test_a_list_that_is_empty_or_left_out_makes_no_event(store: Store, query: Query) -> None:
    await store(thing(inner={"a": 1, "b": []}, some=[]))
    await store(thing(inner={"a": 1}))
    await store(thing(inner={"a": 1, "b": None}, some=None))
    assert query("SELECT changes FROM ebay_events") == []
    await store(thing(inner={"a": 1}, some=[{}]))
    assert query("SELECT changes FROM ebay_events") == [({"some": [None, [{}]]},)]


PARTS = Table(
    "parts",
    key=("id",),
    each="parts",
    parent_key=("of",),
    removable=True,
    volatile=(("list", "*", "watched"),),
    columns=(Column("id"), Column("of"), Column("title")),
)


@pytest.fixture
async def parts(store: Store) -> Store:
    await store.db.execute(
        "CREATE TABLE parts (ebay_account_id uuid, id text, of text, title text, raw_payload jsonb NOT NULL,"
        " first_seen_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now(), removed_at timestamptz,"
        " PRIMARY KEY (ebay_account_id, id))"
    )
    return store


def part(number: int, title: str = "x", **raw: Any) -> dict[str, Any]:
    return {"id": str(number), "of": "1", "title": title, "raw_payload": msgspec.Raw(msgspec.json.encode(raw))}


async def test_what_moves_by_itself_within_a_list_is_no_change(parts: Store, query: Query) -> None:
    async def put(**raw: Any) -> Merged:
        return await parts.db.transact(
            lambda c: merge(Writer(c, parts.account, "things", None), PARTS, [part(1, **raw)])
        )

    await put(list=[{"n": 1, "watched": 5}, {"n": 2}])
    assert not (await put(list=[{"n": 1, "watched": 6}, {"n": 2, "watched": 1}])).touched
    assert (await put(list=[{"n": 3, "watched": 6}, {"n": 2}])).updated


def looked_at(plan: dict[str, Any]) -> float:
    """Rows that a plan's nodes have returned or thrown away."""
    thrown = sum(plan.get(name, 0) for name in ("Rows Removed by Filter", "Rows Removed by Join Filter"))
    own = (plan["Actual Rows"] + thrown) * plan["Actual Loops"]
    return float(own + sum(looked_at(below) for below in plan.get("Plans", ())))


async def test_the_work_for_a_records_children_grows_with_their_number_and_not_with_its_square(parts: Store) -> None:
    """Counted by PostgreSQL, as the rows that each step looks at."""
    work = []
    for count in (1_000, 16_000):
        children = [part(number, "new") for number in range(count)]

        async def explained(connection: Any, rows: list[dict[str, Any]] = children) -> float:
            await connection.execute("DELETE FROM parts")
            writer = Writer(connection, parts.account, "things", None)
            await merge(writer, PARTS, [row | {"title": "old"} for row in rows])
            [(_, sent)] = portions(rows)
            values: dict[str, Any] = {"account": parts.account, **sent}
            values |= lists("keys", [["1"]], 1) | lists("keep", [[row["id"]] for row in rows], 1)
            found = 0.0
            for statement in (statements.upsert(PARTS), statements.removal(PARTS, PARTS.parent_key)):
                analyzed = statements.Made(b"EXPLAIN (ANALYZE, FORMAT JSON) " + statement)
                found += looked_at((await connection.execute(analyzed, values)).one()[0][0]["Plan"])
            return found

        work.append(await parts.db.transact(explained) / count)
    assert work[1] < work[0] * 1.5


async def test_each_of_many_changed_rows_has_its_event(parts: Store, query: Query) -> None:
    for title in ("x", "y"):
        rows = [part(number, title) for number in range(300)]
        await parts.db.transact(lambda c, r=rows: merge(Writer(c, parts.account, "things", None), PARTS, r))  # type: ignore[misc]
    told = query("SELECT entity_key, event, changes FROM ebay_events ORDER BY id")
    assert sorted(told) == [(key, "changed", {"title": ["x", "y"]}) for key in sorted(map(str, range(300)))]


async def test_a_change_that_is_nested_too_deeply_to_be_compared_is_refused_as_that_row(store: Store) -> None:
    """PostgreSQL holds what no JSON decoder reads."""
    deep = {"raw_payload": msgspec.Raw(b'{"x":' + b"[" * 2000 + b"]" * 2000 + b"}")}
    assert len((await store(thing() | deep, thing("2"))).inserted) == 2
    with pytest.raises(RowRefused, match="nested too deeply"):
        await store(thing(hours=1) | deep, thing("2", hours=1))
    assert len((await store(thing("2", hours=1))).updated) == 1


async def test_an_unchanged_row_is_not_even_locked(parts: Store, query: Query) -> None:
    rows = [part(number, "x") for number in range(3)]
    for _ in range(2):
        await parts.db.transact(lambda c: merge(Writer(c, parts.account, "things", None), PARTS, rows))
    assert query("SELECT id FROM parts WHERE xmax <> 0") == []


async def test_the_same_row_of_two_writers_at_once_is_one_row_without_an_event(parts: Store, query: Query) -> None:
    """A live run and a backfill may read a record at the same time. The second one waits, and changes nothing."""
    rows = [part(1, "x")]
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

    def stored(connection: Connection) -> Any:
        return merge(Writer(connection, parts.account, "things", None), PARTS, rows)

    async def first(connection: Connection) -> Any:
        await stored(connection)
        other = asyncio.create_task(parts.db.transact(stored))
        while not query(waits):  # noqa: ASYNC110 - PostgreSQL tells nobody that somebody waits
            await asyncio.sleep(0.01)
        return other

    other = await parts.db.transact(first)
    assert (await other).touched == set()
    assert query("SELECT count(*) FROM parts") == [(1,)]
    assert query("SELECT event FROM ebay_events") == []
