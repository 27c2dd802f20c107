"""The same short use of ebaysync on the PostgreSQL versions that are at hand, and behind PgBouncer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ebaysync.families import discover
from ebaysync.store import binaries

DEBIAN = Path("/usr/lib/postgresql/15")
PGBOUNCER = Path("/usr/sbin/pgbouncer")


def use(program: Any, simulator: Callable[..., Any], url: str) -> None:
    """migrate, accounts add, run, run-all, status: as on a new machine."""
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


def test_it_works_behind_pgbouncer_in_transaction_mode(
    program: Any, simulator: Callable[..., Any], servers: Any, own_server: Any, until: Callable[..., Any]
) -> None:
    """With two server connections for all clients, so that a session is another one from transaction to transaction."""
    if not PGBOUNCER.exists():
        pytest.skip(f"{PGBOUNCER} is not here (apt-get install pgbouncer)")
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
    use(program, simulator, url)
    for wrong, code in ((url.replace("/pooled", "/other"), 10), (url.replace(own_server.password, "mistyped"), 10)):
        ended = program("status", environ={"EBAYSYNC_DATABASE_URL": wrong})
        assert ended.code == code
        assert "cannot be reached" not in ended.err
