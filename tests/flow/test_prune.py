"""What prune has taken out of rows stays out, whatever is read again; and prune beside others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ebaysync.errors import Interrupted
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.ops import forget, prune
from ebaysync.ops.prune import Keep
from ebaysync.store.database import Database
from ebaysync.sync.stop import Stop

Query = Callable[..., list[Any]]
ORDERS = discover()["orders"]


async def test_payloads_that_were_taken_out_are_no_change_when_they_are_read_again(
    bench: Callable[..., Any], query: Query
) -> None:
    b = bench(orders_per_seller=12, sellers=1, things=16).with_settings(max_window_hours=24 * 30)
    account = await b.add()
    names = [family.name for family in discover().values()]
    for name in names:
        await b.run(account, name)
    tables = [table.name for family in discover().values() for table in family.tables]
    for table in tables:
        query(f"UPDATE {table} SET updated_at = updated_at - interval '200 days' RETURNING 1")
    done = await prune.pruned(b.db, Keep(90, 30, raw=100), b.stop)
    assert done["payloads"] > 50
    assert query("SELECT count(*) FROM ebay_orders WHERE raw_payload <> 'null'") == [(0,)]
    assert query("SELECT count(*) FROM ebay_inventory_items WHERE raw_payload = 'null'") == [(0,)]  # still for sale
    assert query("SELECT count(*) FROM ebay_returns WHERE raw_payload = 'null' AND state <> 'CLOSED'") == [(0,)]
    versions = {table: query(f"SELECT ctid::text, xmin::text FROM {table} ORDER BY 1") for table in tables}
    for name in names:
        summary = await b.run(account, name, sweep=bool(discover()[name].window.sweep))
        assert (summary.status, summary.stored, summary.quarantined) == ("completed", 0, 0), name
    for name in names:
        if discover()[name].cursor_type != "snapshot":
            summary = await b.run(account, name, walk="backfill", days=80)
            assert (summary.status, summary.stored, summary.quarantined) == ("completed", 0, 0), name
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]
    assert {table: query(f"SELECT ctid::text, xmin::text FROM {table} ORDER BY 1") for table in tables} == versions
    assert (await prune.counted(b.db, Keep(90, 30, raw=100)))["payloads"] == 0


async def test_a_real_change_of_an_order_without_payload_is_told_and_brings_the_payload_back(
    bench: Callable[..., Any], query: Query
) -> None:
    b = bench(orders_per_seller=6, sellers=1).with_settings(max_window_hours=24 * 30)
    account = await b.add()
    await b.run(account)
    query("UPDATE ebay_orders SET updated_at = updated_at - interval '200 days' RETURNING 1")
    [(order, total)] = query("SELECT order_id, total FROM ebay_orders ORDER BY 1 LIMIT 1")
    await prune.pruned(b.db, Keep(90, 30, raw=100), b.stop)
    query("UPDATE ebay_orders SET total = total + 1, ship_to_county = 'Kept' WHERE order_id = %s RETURNING 1", order)
    summary = await b.run(account, walk="backfill", days=100)
    assert summary.stored == 1
    [(changes,)] = query("SELECT changes FROM ebay_events WHERE table_name = 'ebay_orders'")
    assert {name: new for name, (_, new) in changes.items()} == {"total": float(total)}
    found = query("SELECT raw_payload ->> 'orderId', ship_to_county FROM ebay_orders WHERE order_id = %s", order)
    assert found == [(order, "Kept")]


PERSONAL = [column.name for column in ORDERS.table.columns if column.personal]


async def test_addresses_that_were_erased_do_not_come_back_and_leave_no_trace(
    bench: Callable[..., Any], query: Query
) -> None:
    b = bench(orders_per_seller=20, sellers=1).with_settings(max_window_hours=24 * 30)
    account = await b.add()
    await b.run(account)
    [(order, name, street)] = query(
        "SELECT order_id, ship_to_full_name, ship_to_address_line1 FROM ebay_orders"
        " WHERE creation_date < now() - interval '10 days' AND ship_to_address_line1 IS NOT NULL ORDER BY 1 LIMIT 1"
    )
    # An event that tells of a move, as the run would have written it.
    query(
        "INSERT INTO ebay_events (ebay_account_id, api_family, table_name, entity_key, event, changes)"
        " VALUES (%s, 'orders', 'ebay_orders', %s, 'changed', %s) RETURNING 1",
        *(account.id, order, f'{{"ship_to_address_line1": ["{street}", "x"], "buyer": [1, 2], "total": [1, 2]}}'),
    )
    done = await prune.pruned(b.db, Keep(90, 30, addresses=10), b.stop)
    assert done["addresses"] > 0
    old = "creation_date < now() - interval '10 days'"
    assert query(f"SELECT count(*) FROM ebay_orders WHERE {old} AND num_nonnulls({', '.join(PERSONAL)}) > 0") == [(0,)]
    assert query(f"SELECT count(*) FROM ebay_orders WHERE NOT {old} AND ship_to_full_name IS NULL") == [(0,)]
    assert query("SELECT changes FROM ebay_events") == [({"total": [1, 2]},)]
    versions = query("SELECT ctid::text, xmin::text FROM ebay_orders ORDER BY 1")
    summary = await b.run(account, walk="backfill", days=100)
    assert (summary.fetched, summary.stored) == (20, 0)
    assert query("SELECT ctid::text, xmin::text FROM ebay_orders ORDER BY 1") == versions
    # A real change is stored and told, without the person.
    query("UPDATE ebay_orders SET total = total + 1 WHERE order_id = %s RETURNING 1", order)
    assert (await b.run(account, walk="backfill", days=99)).stored == 1
    whole = query(
        "SELECT (SELECT string_agg(o::text, ' ') FROM ebay_orders o WHERE order_id = %s),"
        " (SELECT string_agg(e::text, ' ') FROM ebay_events e)",
        order,
    )
    assert all(word not in text for text in whole[0] for word in (name, street))
    assert (await prune.pruned(b.db, Keep(90, 30, addresses=10), b.stop))["addresses"] == 0


async def test_a_person_is_forgotten_in_rows_without_payload_as_well(bench: Callable[..., Any], query: Query) -> None:
    b = bench(orders_per_seller=6, sellers=1).with_settings(max_window_hours=24 * 100)
    account = await b.add()
    await b.run(account)
    query("UPDATE ebay_orders SET updated_at = now() - interval '200 days' RETURNING 1")
    await prune.pruned(b.db, Keep(90, 30, raw=90), b.stop)
    [(order, buyer, street)] = query(
        "SELECT order_id, buyer_username, ship_to_address_line1 FROM ebay_orders"
        " WHERE ship_to_address_line1 IS NOT NULL LIMIT 1"
    )
    await forget.forget(b.db, [buyer], b.sleep)
    [(whole,)] = query("SELECT o::text FROM ebay_orders o WHERE order_id = %s", order)
    assert buyer not in whole
    assert street not in whole
    assert (await b.run(account, walk="backfill", days=90)).stored == 0
    assert query("SELECT count(*) FROM ebay_events") == [(0,)]


AGES = "unnest(ARRAY[1, 8, 40, 100]) days"
QUIET = '{"stored": 0, "removed": 0, "quarantined": 0, "error": null}'


def fill(query: Query, times: int = 1) -> None:
    """Runs that found something and runs that did not, with their lines, and all else that ages, of four ages."""
    query("INSERT INTO ebay_accounts (name, environment, ebay_user_id) VALUES ('a', 'simulator', 'u') RETURNING 1")
    query(
        "INSERT INTO ebay_worker_run (ebay_account_id, ebay_user_id, api_family, status, trigger, started_at,"
        " heartbeat_at, summary_json) SELECT a.id, 'u', 'orders', status, 'x', now() - make_interval(days => days),"
        " now() - make_interval(days => days), CASE WHEN quiet THEN %s::jsonb ELSE %s::jsonb END"
        f" FROM ebay_accounts a, {AGES}, unnest(ARRAY[true, false]) quiet,"
        " unnest(ARRAY['completed', 'running']) status, generate_series(1, %s) RETURNING 1",
        *(QUIET, QUIET.replace('"stored": 0', '"stored": 3'), times),
    )
    query(
        "INSERT INTO ebay_api_worker_log (run_id, at, kind) SELECT id, started_at, 'start' FROM ebay_worker_run"
        " ORDER BY started_at RETURNING 1"
    )
    query(
        "INSERT INTO ebay_events (ebay_account_id, api_family, table_name, entity_key, event, observed_at)"
        " SELECT id, 'orders', 'ebay_orders', 'k', 'changed', now() - make_interval(days => days)"
        f" FROM ebay_accounts, {AGES} ORDER BY days DESC RETURNING 1"
    )
    query(
        "INSERT INTO ebay_quarantine (ebay_account_id, api_family, reason, payload, at) SELECT id, 'orders', 'r',"
        f" days::text::bytea, now() - make_interval(days => days) FROM ebay_accounts, {AGES} ORDER BY days DESC"
        " RETURNING 1"
    )
    query(
        "INSERT INTO ebay_token_refresh_log (ebay_account_id, success, triggered_by, attempted_at) SELECT id, true,"
        f" 'x', now() - make_interval(days => days) FROM ebay_accounts, {AGES} ORDER BY days DESC RETURNING 1"
    )
    query(
        "INSERT INTO ebay_pending_consents SELECT 'simulator', 'c', days::text, '{}', now() - make_interval(days =>"
        f" days), now(), 'token' FROM {AGES} ON CONFLICT DO NOTHING RETURNING 1"
    )


async def test_prune_deletes_what_it_announced_and_nothing_the_second_time(db: Database, query: Query) -> None:
    fill(query)
    keep = Keep(runs=90, logs=30, events=50)
    announced = await prune.counted(db, keep)
    done = await prune.pruned(db, keep, Stop())
    # Of four ages and four kinds: quiet ones of 8, 40 and 100 days (a run that is at work for days is none of them),
    # of the others those of 100; what never ended, when it is that old.
    assert {name: announced[name] for name in ("quiet_runs", "runs")} == {"quiet_runs": 3, "runs": 3}
    assert done == announced | {"log_lines": 3}  # those of pruned runs went with them
    ages = "SELECT extract(day FROM now() - {})::int FROM {} GROUP BY 1 ORDER BY 1"
    assert query(ages.format("started_at", "ebay_worker_run")) == [(1,), (8,), (40,)]
    assert query(ages.format("at", "ebay_api_worker_log")) == [(1,), (8,)]
    assert query(ages.format("observed_at", "ebay_events")) == [(1,), (8,), (40,)]
    assert query(ages.format("at", "ebay_quarantine")) == [(1,), (8,), (40,)]
    assert query(ages.format("attempted_at", "ebay_token_refresh_log")) == [(1,), (8,), (40,)]
    assert query(ages.format("consented_at", "ebay_pending_consents")) == [(1,)]
    assert not any((await prune.pruned(db, keep, Stop())).values())
    assert not any((await prune.counted(db, keep)).values())


async def test_a_run_that_is_at_work_is_kept_however_long_ago_it_began(db: Database, query: Query) -> None:
    fill(query)
    query("UPDATE ebay_worker_run SET heartbeat_at = now() WHERE status = 'running' RETURNING 1")
    await prune.pruned(db, Keep(runs=90, logs=30), Stop())
    old = "SELECT DISTINCT status FROM ebay_worker_run WHERE started_at < now() - interval '90 days'"
    assert query(old) == [("running",)]


async def test_without_a_limit_events_payloads_and_addresses_are_kept(db: Database, query: Query) -> None:
    fill(query)
    done = await prune.pruned(db, Keep(runs=1, logs=1), Stop())
    assert set(done) == {
        "quiet_runs",
        "runs",
        "log_lines",
        "quarantine",
        "token_refreshes",
        "api_usage",
        "pending_consents",
    }
    assert query("SELECT count(*) FROM ebay_events") == [(4,)]


async def test_two_prunes_at_once_share_the_work_beside_a_writer(
    db: Database, query: Query, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "ROWS", 7)
    monkeypatch.setattr(prune, "PAUSE", 0)
    fill(query, times=20)
    other = Database(Secret(database_url))
    keep = Keep(runs=90, logs=30)
    expected = await prune.counted(db, keep)
    both = await asyncio.gather(prune.pruned(db, keep, Stop()), prune.pruned(other, keep, Stop()))
    await other.close()
    for name in ("quiet_runs", "runs", "quarantine", "token_refreshes"):
        assert sum(done[name] for done in both) == expected[name]


async def test_a_signal_ends_prune_after_its_batch_and_the_next_one_goes_on(
    db: Database, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "ROWS", 10)
    fill(query, times=10)
    stop = Stop()
    with pytest.raises(Interrupted):
        await prune.pruned(db, Keep(90, 30), stop, lambda number: number >= 5 and not stop.signum and stop.request(15))
    [(left,)] = query("SELECT count(*) FROM ebay_worker_run")
    assert 100 < left < 160
    await prune.pruned(db, Keep(90, 30), Stop())
    assert query("SELECT count(*) FROM ebay_worker_run") == [(100,)]


async def test_a_row_that_somebody_else_writes_is_left_for_the_next_night(
    bench: Callable[..., Any], query: Query, database_url: str
) -> None:
    b = bench(orders_per_seller=4, sellers=1).with_settings(max_window_hours=24 * 100)
    await b.run(await b.add())
    query("UPDATE ebay_orders SET updated_at = now() - interval '200 days' RETURNING 1")
    with psycopg.connect(database_url) as writer:
        writer.execute("SELECT FROM ebay_orders ORDER BY order_id LIMIT 1 FOR UPDATE")
        done = await asyncio.wait_for(prune.pruned(b.db, Keep(90, 30, raw=90), b.stop), 8)
        assert done["payloads"] == 3
    assert (await prune.pruned(b.db, Keep(90, 30, raw=90), b.stop))["payloads"] == 1
