"""Measures every row of benchmarks/RESULTS.md: python -m benchmarks.run [--rows import counts …] [--runs 3]

Contestants take turns in each round; figures are medians. They share one PostgreSQL on loopback, the pages come from a
process of its own. A row that was not measured this time keeps its last figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import psycopg

from benchmarks.machine import ROOT, Measured, measured, postgres, process
from benchmarks.proxy import Proxy

BIN, DLT = ROOT / ".venv/bin", ROOT / ".venv-bench/bin/python"
JSON, TABLE = ROOT / "benchmarks/results.json", ROOT / "benchmarks/RESULTS.md"
PAGE = 200


class Program:
    """ebaysync with a database, a home and accounts of its own: bench, bench2, …"""

    def __init__(self, database: str, ebay: str, *tokens: str) -> None:
        self.database, self.home = database, tempfile.mkdtemp(prefix="ebaysync-bench-home-")
        self.environ = {
            "PATH": os.environ["PATH"],
            "EBAYSYNC_DATABASE_URL": database,
            "EBAYSYNC_HOME": self.home,
            "EBAYSYNC_SIMULATOR_URL": ebay,
            "EBAYSYNC_SETTLE_SECONDS": "0",
        }
        self("migrate")
        self.accounts = ["bench", *(f"bench{number}" for number in range(2, len(tokens) + 1))]
        for name, token in zip(self.accounts, tokens, strict=True):
            self("accounts", "add", name, "-e", "simulator", "--refresh-token-stdin", given=token)
        if tokens[1:]:  # some are sellers whose calls must be signed
            self("keys", "signing", "create", "-e", "simulator")

    def __call__(self, *arguments: str, given: str = "", database: str | None = None) -> Measured:
        environ = self.environ | ({"EBAYSYNC_DATABASE_URL": database} if database else {})
        return measured([str(BIN / "ebaysync"), *arguments], environ, given)

    def orders(self, **how: Any) -> Measured:
        return self("run", "orders", "--account", "bench", **how)

    def sql(self, statement: str) -> list[Any]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


class Bench:
    def __init__(self, server: str, runs: int, orders: int) -> None:
        self.server, self.runs, self.orders_number = server, runs, orders
        self.found: dict[str, dict[str, Any]] = {}
        self.number = 0

    def row(self, work: str, wanted: str, result: str, **figures: Any) -> None:
        print(f"{work}\n    {result}   (wanted: {wanted})", flush=True)
        self.found[work] = {"wanted": wanted, "result": result, "load": round(os.getloadavg()[1], 1), **figures}

    def database(self) -> str:
        self.number += 1
        with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE bench_{self.number}".encode())
        return f"{self.server}/bench_{self.number}"

    @contextmanager
    def pages(self, orders: int) -> Iterator[str]:
        with process("benchmarks.pages", "--orders", str(orders)) as said:
            yield f"http://127.0.0.1:{said.readline().strip()}"

    @contextmanager
    def seller(self, accounts: int = 1) -> Iterator[Program]:
        """Accounts of the simulator with all families and 150 orders, nothing of it read yet."""
        options = ("--port", "0", "--sellers", str(accounts), "--orders", "150", "--things", "5", "--json")
        with process("ebaysync", "simulator", *options) as said:
            text = "".join(iter(said.readline, "}\n")) + "}"
            world = json.loads(text)
            yield Program(self.database(), world["url"], *(f"{each['refreshToken']}\n" for each in world["sellers"]))

    def contestant(self, name: str, pages: str) -> Measured:
        """One first import into a database of its own."""
        database = self.database()
        if name == "floor":
            return measured([sys.executable, "-m", "benchmarks.floor", pages, database], dict(os.environ))
        if name == "dlt":
            with dlt_of(pages, database) as run:
                return run()
        return Program(database, pages, "bench\n").orders()


@contextmanager
def settings(bench: Bench, **values: str) -> Iterator[None]:
    """The server's settings for a while."""
    changes = [f"ALTER SYSTEM SET {name} = '{value}'" for name, value in values.items()]
    with psycopg.connect(f"{bench.server}/postgres", autocommit=True) as connection:
        for statement in (*changes, "SELECT pg_reload_conf()"):
            connection.execute(statement.encode())
        yield
        for statement in ("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()"):
            connection.execute(statement.encode())


@contextmanager
def dlt_of(pages: str, database: str) -> Iterator[Callable[[], Measured]]:
    folder = tempfile.mkdtemp(prefix="ebaysync-bench-dlt-")
    environ = {"PATH": os.environ["PATH"], "HOME": folder, "DLT_DATA_DIR": folder, "RUNTIME__DLTHUB_TELEMETRY": "false"}
    yield lambda: measured([str(DLT), str(ROOT / "benchmarks/dlt_orders.py"), pages, database, folder], environ)
    shutil.rmtree(folder)


def get(url: str) -> None:
    urllib.request.urlopen(url).close()


def first_import(bench: Bench) -> None:
    with bench.pages(bench.orders_number) as pages:
        for seconds, wanted in ((0.0, "≥ 5 × dlt, ≤ 2 × floor"), (0.1, "≥ 4 × dlt, < floor")):
            get(f"{pages}/latency?seconds={seconds}")
            runs: dict[str, list[Measured]] = {"ebaysync": [], "dlt": [], "floor": []}
            for _ in range(bench.runs):
                for name, done in runs.items():
                    done.append(bench.contestant(name, pages))
            time = {name: round(median(run.seconds for run in done), 2) for name, done in runs.items()}
            cpu = {name: round(median(run.cpu for run in done), 2) for name, done in runs.items()}
            peak = {name: round(max(run.peak_mb for run in done)) for name, done in runs.items()}
            all_times = {name: [round(run.seconds, 1) for run in done] for name, done in runs.items()}
            shown = f"{time['ebaysync']} s ({cpu['ebaysync']} s CPU); dlt {time['dlt']} s, floor {time['floor']} s: "
            shown += f"{time['dlt'] / time['ebaysync']:.2f} × dlt, {time['ebaysync'] / time['floor']:.2f} × floor"
            work = f"first import, {bench.orders_number:,} orders, {seconds * 1000:.0f} ms per request"
            bench.row(work, wanted, shown, seconds=time, cpu=cpu, peak_mb=peak, runs=all_times)
            if not seconds:
                shown = f"{peak['ebaysync']} MB; dlt {peak['dlt']} MB"
                bench.row(f"memory, {bench.orders_number:,} orders", "≤ 100 MB", shown, peak_mb=peak)


def counts(bench: Bench) -> None:
    with bench.seller() as program, Proxy(program.database) as proxy:
        for _ in range(2):  # the second one asks once more for what the first one has opened
            program("run-all", "--now")
        account = ("run", "orders", "--account", "bench")
        for work, arguments, wanted in (
            ("round trips: a quiet `run orders`", account, "≤ 15, ≤ 3 commits"),
            ("round trips: a quiet `run-all --now`, all families", ("run-all", "--now"), "≤ 100, ≤ 20 commits"),
            ("round trips: `run-all`, nothing due", ("run-all",), "≤ 10"),
            ("round trips: `status`", ("status",), "≤ 5"),
        ):
            proxy.taken()
            program(*arguments, database=proxy.url)
            found = proxy.taken()
            bench.row(work, wanted, f"{found.round_trips}, {found.commits} commits", **vars(found))
        proxy.delay = 0.02
        slow = program("run-all", "--now", database=proxy.url).seconds
        bench.row("20 ms to PostgreSQL, a quiet `run-all --now`", "≤ 3 s", f"{slow:.1f} s", seconds=slow)
    with bench.pages(bench.orders_number) as pages:
        program = Program(bench.database(), pages, "bench\n")
        with Proxy(program.database) as proxy:
            program.orders(database=proxy.url)
            found, number = proxy.taken(), bench.orders_number / PAGE
        result = f"{found.round_trips / number:.1f}, {bench.orders_number / found.commits:.0f} orders per commit"
        bench.row("round trips: first import, per page", "≤ 2, about 2,000 per commit", result, **vars(found))


def families(bench: Bench) -> None:
    """What one more account costs: the difference of a command with five accounts and with one, by four."""
    first, quiet, start, calls = [], [], [], 0
    for _ in range(bench.runs):
        with bench.seller(accounts=5) as program:
            one = ("run-all", "--now", "--account", "bench")
            run = program(*one, "--json")
            [account] = json.loads(run.out)["accounts"]
            calls = next(each["calls"] for each in account["runs"] if each["family"] == "orders")
            others = [option for name in program.accounts[1:] for option in ("--account", name)]
            begun = program("run-all", "--now", *others).cpu
            program("run-all", "--now")
            single = median(program(*one).cpu for _ in range(3))
            quiet.append((median(program("run-all", "--now").cpu for _ in range(3)) - single) / 4)
            start.append(single - quiet[-1])
            first.append((begun - start[-1]) / 4)
    work, shown = "CPU: a quiet account, all families", f"{median(quiet):.2f} s, and {median(start):.2f} s per command"
    bench.row(work, "≤ 0.25 s", shown, cpu=quiet, command=start)
    result = f"{median(first):.2f} s; orders {calls} calls"
    bench.row("CPU: first run of an account, all families, 150 orders", "≤ 0.7 s", result, cpu=first, calls=calls)


def start(bench: Bench) -> None:
    with bench.seller() as program:
        program("run-all", "--now")
        python = str(BIN / "python")
        typer, drivers = "import typer", "import typer, psycopg, sqlalchemy"
        for command, imports, limit in (
            (("--help",), typer, 2),
            (("status",), drivers, 1.5),
            (("run-all",), drivers, 1.5),
        ):
            ours, plain = [], []
            for _ in range(5 * bench.runs):
                ours.append(program(*command).seconds)
                plain.append(measured([python, "-c", imports], program.environ).seconds)
            ratio = median(ours) / median(plain)
            result = f"{median(ours):.2f} s, {ratio:.1f} × ({median(plain):.2f} s)"
            work = f"start: `{' '.join(command)}` against `{imports}`"
            bench.row(work, f"≤ {limit} ×", result, seconds=median(ours), plain=median(plain))


def wal(bench: Bench) -> None:
    # A checkpoint in between would add whole pages by chance.
    calm = settings(bench, autovacuum="off", checkpoint_timeout="1d", max_wal_size="10GB")
    with calm, bench.pages(bench.orders_number) as pages:
        program = Program(bench.database(), pages, "bench\n")
        program.orders()
        backfill = ("backfill", "orders", "--days", "15", "--account", "bench")
        program(*backfill)  # whatever the first reading of new rows costs once
        before = program.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
        program(*backfill)
        [(size,)] = program.sql(f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}')::bigint")
        [(read,)] = program.sql(
            "SELECT min((summary_json->>'fetched')::int) FROM ebay_worker_run WHERE trigger = 'backfill'"
        )
        result = f"{size / 1e6:.2f} MB ({read:,} read)"
        bench.row(f"WAL of re-reading {bench.orders_number:,} unchanged orders", "≤ 1 MB", result, bytes=int(size))


def incremental(bench: Bench) -> None:
    number = 5 * bench.orders_number
    with ExitStack() as stack:
        pages = stack.enter_context(bench.pages(number))
        program, dlt = Program(bench.database(), pages, "bench\n"), stack.enter_context(dlt_of(pages, bench.database()))
        program.orders()
        dlt()
        ours, theirs = [], []
        for _ in range(2 * bench.runs + 1):
            get(f"{pages}/touch?n=100")
            ours.append(program.orders().seconds)
            theirs.append(dlt().seconds)
        ratio = median(theirs) / median(ours)
        result = f"{ratio:.2f} × ({median(ours):.2f} s; dlt {median(theirs):.2f} s)"
        bench.row(f"incremental, 100 changed of {number:,}", "≥ 2.5 × dlt", result, seconds=ours, dlt=theirs)


def table_size(bench: Bench) -> None:
    """Time and blocks that PostgreSQL needs for a run of 2,000 changed orders, beside 1,000 and 1,000,000 more.

    The least of several runs, since disk and neighbours only add to it.
    """
    figures = {}
    for size in (1_000, 1_000_000):
        with settings(bench, autovacuum="off"), bench.pages(4_000) as pages:
            program = Program(bench.database(), pages, "bench\n")
            program.orders()
            for table in ("ebay_orders", "order_line_items"):
                fill(program, table, size)
            done = []
            for _ in range(2 * bench.runs):
                get(f"{pages}/touch?n=2000")
                before = spent(program)
                program.orders()
                done.append([now - then for now, then in zip(spent(program), before, strict=True)])
            figures[size] = [min(column) for column in zip(*done, strict=True)]
    (time, blocks), (time_many, blocks_many) = figures.values()
    result = (
        f"{time_many / time - 1:+.0%} time ({time:.0f} → {time_many:.0f} ms), {blocks_many / blocks - 1:+.0%} blocks"
    )
    bench.row("2,000 changed orders, 1,000 → 1,000,000 rows, no autovacuum", "≤ +10 %", result, figures=figures)


def fill(program: Program, table: str, size: int) -> None:
    """More rows of the same account, that look like the stored ones but for keys and payload."""
    names = [
        name
        for (name,) in program.sql(
            f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
            " AND attgenerated = ''"
        )
    ]
    keys = ("order_id", "line_item_id")
    values = {"raw_payload": "'{}'"} | {name: f"copy || '-' || {name}" for name in keys}
    chosen = ", ".join(values.get(name, name) for name in names)
    source = f"(SELECT * FROM {table} LIMIT 1000) AS sample"
    copies = f"{source}, generate_series(1, {size // 1000}) AS copy"
    program.sql(f"INSERT INTO {table} ({', '.join(names)}) SELECT {chosen} FROM {copies}")


def spent(program: Program) -> tuple[float, float]:
    """Milliseconds and blocks of the database's sessions until now. They report when they end."""
    columns = "active_time, blks_hit + blks_read"
    [row] = program.sql(f"SELECT {columns} FROM pg_stat_database WHERE datname = current_database()")
    return float(row[0]), float(row[1])


ROWS: dict[str, Callable[[Bench], None]] = {
    "start": start,
    "counts": counts,
    "families": families,
    "wal": wal,
    "import": first_import,
    "table": table_size,
    "incremental": incremental,
}


def write(found: dict[str, dict[str, Any]]) -> None:
    kept = json.loads(JSON.read_text())["rows"] if JSON.exists() else {}
    info = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in info if "model name" in line), "unknown")
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GB"
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    machine = f"{os.cpu_count()} cores of {cpu}, {memory}, {system}"
    today = datetime.now(UTC).date().isoformat()
    rows = kept | {work: {"measured": today, **row} for work, row in found.items()}
    JSON.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2, ensure_ascii=False) + "\n")
    columns = ("result", "wanted", "measured", "load")
    lines = [f"| {work} | {' | '.join(str(row[name]) for name in columns)} |" for work, row in rows.items()]
    note = "Times are medians. Load is the machine's load average over five minutes: above 2, others took part."
    head = ["# Results of `make bench`", "", f"{machine}. {note}", ""]
    head += ["| work | result | wanted | measured | load |", "| --- | --- | --- | --- | --- |"]
    TABLE.write_text("\n".join([*head, *lines]) + "\n")


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--orders", type=int, default=20_000)
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="ebaysync-bench-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user if we are root
        tempfile.tempdir = folder
        with postgres() as server:
            bench = Bench(server, options.runs, options.orders)
            for name in options.rows:
                ROWS[name](bench)
                write(bench.found)


if __name__ == "__main__":
    main()
