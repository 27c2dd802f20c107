"""How large the history becomes in a year, and how long its questions take. By hand; not a test.

    python benchmarks/long_life.py [--accounts 100] [--days 365] [--url postgresql://…]

Fills a database of its own (of the embedded PostgreSQL in a temporary home, unless a server's URL is given) as a year
of 14 families every 5 minutes leaves it when `prune` ran every night: the runs that found nothing of the last days, the
others of 90 days, log lines of 30 days, all events. Then a last day that was not pruned yet is added, and timed:
`status`, `runs`, `events`, `logs`, and `prune` of that day.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from ebaysync.accounts import accounts
from ebaysync.accounts.accounts import Account
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.ops import history, prune, schedule, status
from ebaysync.ops.history import EventFilter
from ebaysync.ops.prune import Keep
from ebaysync.ops.signals import Stop
from ebaysync.settings import Settings
from ebaysync.store.database import Database
from ebaysync.store.embedded import server as embedded
from ebaysync.store.migrate import migrate

BUSY = 20  # one run in so many stores something
CHANGES = 3  # events of such a run

# What `sync/member` writes, with figures of the usual length.
SUMMARY = """jsonb_build_object('account', 'account-' || a, 'family', f, 'run_id', id, 'status', 'completed',
    'reason', NULL, 'window_from', at, 'window_to', at, 'cursor', at, 'caught_up', true, 'calls', 1,
    'fetched', 12, 'stored', CASE WHEN busy THEN 3 ELSE 0 END, 'unchanged', 9, 'removed', 0, 'quarantined', 0,
    'seconds', 0.417, 'error', NULL)"""
FILL = f"""
CREATE TEMPORARY TABLE made ON COMMIT DROP AS
SELECT gen_random_uuid() AS id, a, f, acc.id AS account, each + random() * %(step)s::interval AS at,
    %(all_busy)s OR random() * {BUSY} < 1 AS busy
FROM generate_series(now() - make_interval(days => %(from)s),
        now() - make_interval(days => %(to)s) - %(step)s::interval, %(step)s::interval) each,
    generate_series(1, %(accounts)s) a JOIN ebay_accounts acc ON acc.name = 'account-' || a,
    unnest(%(families)s::text[]) f;
INSERT INTO ebay_worker_run (id, ebay_account_id, ebay_user_id, api_family, status, trigger, started_at, finished_at,
    heartbeat_at, summary_json)
SELECT id, account, 'user-' || a, f, CASE WHEN busy AND random() < 0.1 THEN 'error' ELSE 'completed' END, 'run-all', at,
    at + interval '1 second', at, {SUMMARY}
FROM made ORDER BY at;
INSERT INTO ebay_api_worker_log (run_id, at, kind, details)
SELECT id, at, kind, CASE kind WHEN 'start' THEN jsonb_build_object('from', at, 'to', at) WHEN 'page' THEN
    jsonb_build_object('from', at, 'to', at, 'fetched', 12, 'stored', 0, 'unchanged', 12, 'quarantined', 0)
    ELSE {SUMMARY} END
FROM made, unnest(ARRAY['start', 'page', 'done']) kind
WHERE at > now() - make_interval(days => %(logs)s)
ORDER BY at;
INSERT INTO ebay_events (ebay_account_id, api_family, table_name, entity_key, event, changes, run_id, observed_at)
SELECT account, f, (%(tables)s::jsonb) ->> f, (random() * 100000)::int || '-' || a, 'changed',
    '{{"order_fulfillment_status": ["NOT_STARTED", "FULFILLED"], "last_modified_date": ["2026-01-01", "2026-01-02"]}}',
    id, at
FROM made, generate_series(1, {CHANGES}) WHERE busy ORDER BY at;
"""


def fill(url: str, number: int, days: int) -> None:
    families = list(discover())
    tables = {family.name: family.table.name for family in discover().values()}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for index in range(1, number + 1):
            connection.execute(
                "INSERT INTO ebay_accounts (name, environment, ebay_user_id) VALUES (%s, 'simulator', %s)",
                (f"account-{index}", f"user-{index}"),
            )
        connection.execute(
            "INSERT INTO ebay_sync_state (ebay_account_id, ebay_user_id, api_family, cursor_type, cursor_value,"
            " last_run_at, last_status) SELECT id, ebay_user_id, f, 'window', to_json(now()) #>> '{}', now(),"
            " 'completed' FROM ebay_accounts, unnest(%s::text[]) f",
            (families,),
        )
        events = _without_indexes(connection, "ebay_events")
        for day in range(days - 1, -1, -1):
            quiet_too = day <= prune.QUIET_DAYS  # the newest day one more than prune keeps of quiet runs
            values = {
                "from": day + 1,
                "to": day,
                "step": "5 minutes" if quiet_too else f"{5 * BUSY} minutes",
                "all_busy": not quiet_too,
                "accounts": number,
                "families": families,
                "tables": Jsonb(tables),
                "logs": 31,
            }
            # Of runs that are older only the events are left.
            statements = [part for part in FILL.split(";\n") if day <= 91 or "ebay_worker_run (" not in part]
            with connection.transaction():
                for statement in statements:
                    if statement.strip():
                        connection.execute(statement, {n: v for n, v in values.items() if f"%({n})s" in statement})
            if day % 30 == 0:
                print(f"  filled up to {day} days ago", flush=True)
        for statement in events:
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE")


def _without_indexes(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """Drop a table's indexes but the key's, to fill it faster; the statements that make them anew."""
    rows = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexname NOT LIKE '%%_pkey'", (table,)
    ).fetchall()
    for name, _ in rows:
        connection.execute(f"DROP INDEX {name}")
    return [definition for _, definition in rows]


SIZES = """
SELECT relname, reltuples::bigint, pg_size_pretty(pg_table_size(oid)), pg_size_pretty(pg_indexes_size(oid)),
    pg_size_pretty(pg_total_relation_size(oid))
FROM pg_class WHERE relname IN ('ebay_worker_run', 'ebay_api_worker_log', 'ebay_events')
ORDER BY pg_total_relation_size(oid) DESC
"""


def sizes(url: str) -> None:
    with psycopg.connect(url) as connection:
        for row in connection.execute(SIZES):
            print("  {:22} {:>12,} rows  {:>9} table  {:>9} indexes  {:>9} in all".format(*row))
        for name, size in connection.execute(
            "SELECT indexrelname, pg_size_pretty(pg_relation_size(indexrelid)) FROM pg_stat_user_indexes"
            " WHERE relname IN ('ebay_worker_run', 'ebay_api_worker_log', 'ebay_events') ORDER BY 1"
        ):
            print(f"    {name:62} {size:>9}")


async def timed(what: str, ask: Callable[[], Awaitable[Any]], times: int = 3) -> Any:
    """The best and the worst of some."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        answer = await ask()
        took.append((time.perf_counter() - began) * 1000)
    print(f"  {what:52} {min(took):8.1f} … {max(took):8.1f} ms", flush=True)
    return answer


async def _status(db: Database, found: Sequence[Account]) -> Any:
    return await status.collect(db, found, await schedule.plan(Settings(), db))


async def ask(url: str) -> None:
    db = Database(Secret(url))
    found = await accounts.every(db)
    one = [found[0].id]
    await timed(f"status of {len(found)} accounts", lambda: _status(db, found))
    runs = await timed("runs", lambda: history.runs(db, [], None, None, 20))
    await timed("runs --status error", lambda: history.runs(db, [], None, "error", 20))
    await timed("runs --account A", lambda: history.runs(db, one, None, None, 20))
    await timed("runs --account A --status error", lambda: history.runs(db, one, None, "error", 20))
    await timed("runs --family orders", lambda: history.runs(db, [], "orders", None, 20))
    await timed("logs RUN", lambda: history.log(db, runs[0]["run_id"][:10]))
    events = await timed("events", lambda: history.events(db, EventFilter(), 20))
    await timed("events --key K", lambda: history.events(db, EventFilter(key=events[0]["key"]), 20))
    await timed("events --key (none)", lambda: history.events(db, EventFilter(key=str(uuid4())), 20))
    await timed("events --account A", lambda: history.events(db, EventFilter(one), 20))
    await timed("events --family payouts", lambda: history.events(db, EventFilter(family="payouts"), 20))
    await timed("prune --dry-run", lambda: prune.counted(db, Keep(90, 30)), 1)
    done = await timed("prune of one day", lambda: prune.pruned(db, Keep(90, 30), Stop()), 1)
    print(f"    {done}")
    await timed("prune again", lambda: prune.pruned(db, Keep(90, 30), Stop()), 1)
    await db.close()


async def schema(url: str) -> None:
    db = Database(Secret(url))
    await migrate(db)
    await db.close()


def bench(url: str, number: int, days: int) -> None:
    asyncio.run(schema(url))
    began = time.monotonic()
    fill(url, number, days)
    print(f"filled in {time.monotonic() - began:.0f} s")
    sizes(url)
    asyncio.run(ask(url))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--url", help="an empty database; default: an embedded one, removed afterwards")
    options = parser.parse_args()
    if options.url:
        bench(options.url, options.accounts, options.days)
        return
    with tempfile.TemporaryDirectory(prefix="ebaysync-long-life-") as home, embedded.attached(Path(home)) as url:
        bench(url, options.accounts, options.days)


if __name__ == "__main__":
    main()
