"""Questions about the past are answered by indexes: PostgreSQL's own plans, on tables large enough to choose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Executable, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement

from ebaysync.accounts import accounts
from ebaysync.errors import UsageError
from ebaysync.log import Secret
from ebaysync.ops import history, status
from ebaysync.ops.history import EventFilter
from ebaysync.store.database import Database

Query = Callable[..., list[Any]]
HISTORY = {"ebay_worker_run", "ebay_api_worker_log", "ebay_events"}


@pytest.fixture
def past(query: Query) -> None:
    """15,000 runs of two accounts and three families."""
    query(
        "INSERT INTO ebay_accounts (name, environment, ebay_user_id)"
        " VALUES ('a', 'simulator', 'u'), ('b', 'simulator', 'v') RETURNING 1"
    )
    query(
        "INSERT INTO ebay_worker_run (ebay_account_id, ebay_user_id, api_family, status, trigger, started_at)"
        " SELECT id, 'u', CASE n % 3 WHEN 0 THEN 'orders' WHEN 1 THEN 'messages' ELSE 'returns' END,"
        " CASE WHEN n % 50 = 0 THEN 'error' ELSE 'completed' END, 'x', now() - n * interval '1 hour'"
        " FROM ebay_accounts, generate_series(1, 7500) n RETURNING 1"
    )
    query(
        "INSERT INTO ebay_api_worker_log (run_id, kind) SELECT id, kind FROM ebay_worker_run,"
        " unnest(ARRAY['start', 'done']) kind RETURNING 1"
    )
    query(
        "INSERT INTO ebay_events (ebay_account_id, api_family, table_name, entity_key, event, changes, observed_at)"
        " SELECT ebay_account_id, api_family, 'ebay_' || api_family, (row_number() OVER ())::text, 'changed',"
        " '{\"x\": [1, 2]}', started_at FROM ebay_worker_run RETURNING 1"
    )
    for table in (*HISTORY, "ebay_accounts"):
        query(f"ANALYZE {table}")


class Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement: Any) -> None:
        self.statement = text(statement) if isinstance(statement, str) else statement


@compiles(Explain)
def _explained(element: Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (ANALYZE, FORMAT JSON) {compiler.process(element.statement, **options)}"


class Explaining(Database):
    """Notes what each query reads of the history, and how many rows of it."""

    def __init__(self, url: Secret) -> None:
        super().__init__(url)
        self.read: list[tuple[str, str, float]] = []

    async def rows(self, query: Any, **values: Any) -> list[Any]:
        async def explain(connection: Any) -> Any:
            plan = await connection.execute(Explain(query), values)
            return plan.scalar()

        self._note((await self.transact(explain))[0]["Plan"])
        return await super().rows(query, **values)

    def _note(self, node: dict[str, Any]) -> None:
        if node.get("Relation Name") in HISTORY:
            rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            self.read.append((node["Node Type"], node["Relation Name"], rows))
        for child in node.get("Plans", ()):
            self._note(child)


async def _account(db: Database) -> list[Any]:
    return [(await accounts.find(db, "a")).id]


async def _first_run(db: Database) -> str:
    return str((await history.runs(db, [], None, None, 1))[0]["run_id"])


WHEN = datetime(2020, 1, 1, tzinfo=UTC)
QUESTIONS: dict[str, Callable[[Database], Awaitable[Any]]] = {
    "status": lambda db: _status(db),
    "runs": lambda db: history.runs(db, [], None, None, 20),
    "runs of an account": lambda db: _of_account(db, None, None),
    "runs of a family": lambda db: history.runs(db, [], "returns", None, 20),
    "runs of a family without any": lambda db: history.runs(db, [], "payouts", None, 20),
    "failed runs": lambda db: history.runs(db, [], None, "error", 20),
    "failed runs of an account": lambda db: _of_account(db, "orders", "error"),
    "logs": lambda db: _log(db),
    "events": lambda db: history.events(db, EventFilter(), 20),
    "events since": lambda db: history.events(db, EventFilter(since=WHEN), 20),
    "events of an account": lambda db: _events(db),
    "events of a table without any": lambda db: history.events(db, EventFilter(family="buyer"), 20),
    "events of a record": lambda db: history.events(db, EventFilter(key="77", since=WHEN), 20),
    "events of no record": lambda db: history.events(
        db, EventFilter(family="orders", table="ebay_orders", key="nothing"), 20
    ),
}


async def _status(db: Database) -> Any:
    await db.rows(status._STATES, accounts=[account.id for account in await accounts.every(db)])


async def _of_account(db: Database, family: str | None, state: str | None) -> Any:
    return await history.runs(db, await _account(db), family, state, 20)


async def _log(db: Database) -> Any:
    return await history.log(db, (await _first_run(db))[:10])


async def _events(db: Database) -> Any:
    return await history.events(db, EventFilter(await _account(db)), 20)


async def test_no_question_scans_the_history(past: None, database_url: str) -> None:
    for name, ask in QUESTIONS.items():
        db = Explaining(Secret(database_url))
        await ask(db)
        await db.close()
        scans = [(table, kind) for kind, table, _ in db.read if "Seq Scan" in kind]
        assert not scans, f"{name}: {scans}"
        assert sum(rows for _, _, rows in db.read) < 2500, f"{name}: {db.read}"
        assert bool(db.read) == (name != "status"), name


async def test_runs_and_events_come_newest_first_and_as_asked(past: None, db: Database, query: Query) -> None:
    one = await _account(db)
    runs = await history.runs(db, one, None, "error", 7)
    expected = query(
        "SELECT id::text FROM ebay_worker_run WHERE ebay_account_id = %s AND status = 'error'"
        " ORDER BY started_at DESC LIMIT 7",
        one[0],
    )
    assert [run["run_id"] for run in runs] == [row[0] for row in expected]
    assert await history.runs(db, [], "payouts", None, 7) == []
    assert {run["status"] for run in await history.runs(db, [], "orders", "completed", 20)} == {"completed"}
    events = await history.events(db, EventFilter(one, family="returns"), 5)
    assert [event["observed_at"] for event in events] == sorted((e["observed_at"] for e in events), reverse=True)
    assert {(event["account"], event["table"]) for event in events} == {("a", "ebay_returns")}
    since = datetime.fromisoformat(events[2]["observed_at"])
    assert len(await history.events(db, EventFilter(one, family="returns", since=since), 5)) == 3
    assert [event["key"] for event in await history.events(db, EventFilter(key="77"), 5)] == ["77"]


async def test_a_run_is_found_by_the_beginning_of_its_id(past: None, db: Database) -> None:
    run = await _first_run(db)
    found = await history.log(db, run[:13])
    assert (found["run_id"], [line["kind"] for line in found["lines"]]) == (run, ["start", "done"])
    for wrong, words in (("a", "several"), ("0" * 32, "no run"), ("xyz", "no run's id")):
        with pytest.raises(UsageError, match=words):
            await history.log(db, wrong)
