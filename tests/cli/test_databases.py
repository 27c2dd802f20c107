"""The same short use of ebaysync on the PostgreSQL versions that are at hand, and behind PgBouncer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ebaysync.families import discover
from ebaysync.store.embedded import binaries

DEBIAN = Path("/usr/lib/postgresql/15")
PGBOUNCER = Path("/usr/sbin/pgbouncer")


def use(program: Any, simulator: Callable[..., Any], url: str) -> tuple[Any, str]:
    """migrate, accounts add, run, run-all, status: as on a new machine. The simulator and the account."""
    sim = simulator(sellers=1, orders_per_seller=40, days=10, things=10)
    program.environ |= {"EBAYSYNC_DATABASE_URL": url, "EBAYSYNC_SIMULATOR_URL": sim.url}
    ended = program("migrate")
    assert ended.code == 0, ended.err
    assert "applied 0001" in ended.out
    [name] = program.add_sellers(sim)
    first = program("run", "orders", "--account", name, "--json")
    assert (first.code, first.json["stored"]) == (0, 40), first.err
    [seller] = sim.world.sellers
    sim.world.touch(seller, next(iter(seller.orders)))
    second = program("run-all", "--now", "--json")
    runs = {run["family"]: run for run in second.json["accounts"][0]["runs"]}
    assert (second.code, runs["orders"]["stored"]) == (0, 1), second.err
    assert runs.keys() == discover().keys()
    [account] = program("status", "--json").json["accounts"]
    assert {family["last_status"] for family in account["families"]} == {"completed"}
    return sim, name


def take_over(program: Any, sim: Any, name: str, query: Callable[[str], Any], until: Callable[..., Any]) -> None:
    """A lease that is held, that of a process that is gone, and one that ran out; then three run-alls at once."""
    held = "SELECT count(*) FROM ebay_lease WHERE token IS NOT NULL AND api_family = 'orders'"
    again = ("run", "orders", "--account", name)
    sim.faults.add("slow", path="/order$", seconds=10, times=None)
    process = program.start(*again)
    until(lambda: query(held)[0][0] == 1, "its lease")
    assert program(*again).code == 11
    process.kill()
    process.communicate()
    sim.faults.clear()
    ended = program(*again)
    assert ended.code == 0, ended.err
    assert "took over" in ended.err
    elsewhere = "'elsewhere|x|x|1|1', lease_until = now()"
    query(f"UPDATE ebay_lease SET token = gen_random_uuid(), holder = {elsewhere} + interval '1 hour' RETURNING 1")
    assert program(*again).code == 11
    query(f"UPDATE ebay_lease SET holder = {elsewhere} - interval '1 second' RETURNING 1")
    assert program(*again).code == 0
    query("UPDATE ebay_lease SET token = NULL RETURNING 1")
    [seller] = sim.world.sellers
    sim.world.touch(seller, next(iter(seller.orders)))
    running = [program.start("run-all", "--now", "--family", "orders") for _ in range(3)]
    assert [(process.communicate()[1], process.returncode)[1] for process in running] == [0, 0, 0]
    assert query(held) == [(0,)]
    stored = "SELECT sum((summary_json->>'stored')::int) FROM ebay_worker_run WHERE api_family = 'orders'"
    assert query(stored) == [(42,)], "40 at first, then each touched order once"


def test_it_works_with_postgresql_16(program: Any, simulator: Callable[..., Any], servers: Any) -> None:
    root = binaries.wheel().with_name("pginstall")
    if not (root / "bin/postgres").exists():
        pytest.skip("the wheel brings no PostgreSQL 16")
    server = servers.postgres(binaries.readable(root, servers.user))
    assert server.version == "16"
    use(program, simulator, server.create("ebaysync"))


def test_it_works_with_debians_postgresql_15(program: Any, simulator: Callable[..., Any], servers: Any) -> None:
    if not (DEBIAN / "bin/postgres").exists():
        pytest.skip(f"{DEBIAN} is not here (apt-get install postgresql-15)")
    server = servers.postgres(DEBIAN)
    assert server.version == "15"
    use(program, simulator, server.create("ebaysync"))


def test_it_works_with_a_database_of_odd_settings_beside_other_peoples_tables_of_our_names(
    program: Any, simulator: Callable[..., Any], empty_database_url: str, odd: Callable[[str], None]
) -> None:
    odd(empty_database_url)
    use(program, simulator, empty_database_url)
    assert program("doctor", "--offline").code == 0
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM somebody.ebay_orders").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM public.ebay_orders").fetchone() == (40,)


def test_it_works_behind_pgbouncer_in_transaction_mode(
    program: Any, simulator: Callable[..., Any], servers: Any, own_server: Any, until: Callable[..., Any]
) -> None:
    """With two server connections for all clients, so that a session is another one from transaction to transaction."""
    if not PGBOUNCER.exists():
        reason = f"{PGBOUNCER} is not here (apt-get install pgbouncer)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not skip")
        pytest.skip(reason)
    own_server.create("pooled")
    folder = servers.folder()
    configuration, users = folder / "pgbouncer.ini", folder / "users"
    users.write_text('"postgres" "' + own_server.password + '"\n')
    port = servers.free_port()
    configuration.write_text(
        f"[databases]\npooled = host=127.0.0.1 port={own_server.port} password={own_server.password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = 2\n"
    )
    for path in (configuration, users):
        path.chmod(0o644)
    process = servers.start([PGBOUNCER, configuration], folder / "log")
    url = f"postgresql://postgres:{own_server.password}@127.0.0.1:{port}/pooled"

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    until(answers, "PgBouncer")
    sim, name = use(program, simulator, url)

    def query(sql: str) -> Any:
        with psycopg.connect(url, prepare_threshold=None) as connection:
            return connection.execute(sql).fetchall()

    take_over(program, sim, name, query, until)
    for wrong, code in ((url.replace("/pooled", "/other"), 10), (url.replace(own_server.password, "mistyped"), 10)):
        ended = program("status", environ={"EBAYSYNC_DATABASE_URL": wrong})
        assert ended.code == code
        assert "cannot be reached" not in ended.err
