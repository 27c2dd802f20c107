"""What every kind of test shares: a PostgreSQL server for the whole run, a database of its own for each test that
asks, the simulator, and the program as a process."""

from __future__ import annotations

import base64
import fcntl
import gc
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ebaysync import settings
from ebaysync.accounts import signing, vault
from ebaysync.ebay.signature import SITES
from ebaysync.log import Secret
from ebaysync.settings import Settings
from ebaysync.sim.journal import Entry
from ebaysync.sim.quirks import Quirks, Rates
from ebaysync.sim.server import Simulator
from ebaysync.sim.signing import SigningKey
from ebaysync.sim.world import World
from ebaysync.store.database import Database
from ebaysync.store.embedded import server as embedded
from ebaysync.store.migrate import migrate

MEMORY, ROOM = Path("/dev/shm"), 2 * 2**30
SHARED = Path(__file__).resolve().parents[1].parent / "shared"
TEMPLATE = "ebaysync_template"
FOLDER, BOUNCER = "EBAYSYNC_TEST_FOLDER", "EBAYSYNC_TEST_PGBOUNCER"
MODE = os.environ.get("EBAYSYNC_TEST_DATABASE", "")
"""odd: databases with settings that nobody expects. pgbouncer: behind PgBouncer in transaction mode."""
PGBOUNCER = Path("/usr/sbin/pgbouncer")
SOMEBODY = "ebaysync_test_somebody"
ODD = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kolkata",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "extra_float_digits": "-3",
    "search_path": "pg_temp, somebody, public, pg_catalog",
}
USUAL = ("EBAY", "COLUMNS", "HOME", "PATH", "LANG", "TMPDIR")  # Python does not read these at its start


def pytest_configure(config: pytest.Config) -> None:
    """A folder for the run's server, in memory where there is room. Hundreds of databases come and go, of 300 files
    each, and ext4 looks at all files that were deleted of late to create one: a fifth of the whole run's CPU time."""
    # Plans, worlds and rows are millions of objects without cycles: a tenth of the run's CPU time went into looking.
    gc.set_threshold(100_000, 20, 20)
    if hasattr(config, "workerinput"):
        return  # it has the controller's
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    folder = tempfile.mkdtemp(prefix="ebaysync-tests-", dir=MEMORY if roomy else None)
    os.environ[FOLDER] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


if MODE == "odd":
    # What tests ask themselves is not what is tested.
    _connect, _usual = psycopg.connect, {"search_path": "public", "DateStyle": "ISO", "IntervalStyle": "postgres"}
    _usual |= {"standard_conforming_strings": "on", "bytea_output": "hex"}
    _options = {"options": " ".join(f"-c {name}={value}" for name, value in _usual.items()), "client_encoding": "UTF8"}
    psycopg.connect = lambda url="", **given: _connect(url, **(_options | given))  # type: ignore[assignment]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of eBay's specifications and sample payloads beside the checkout.

    It is not part of the project: without it a test skips, but not in CI, where a skipped check would look
    like a passed one.
    """
    if not (SHARED / "ebay").is_dir():
        reason = "eBay's specifications and samples (../shared) are not here"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not skip")
        pytest.skip(reason)
    return SHARED


@pytest.fixture(scope="session")
def undocumented(shared: Path) -> Callable[[Iterable[Entry]], list[tuple[str, str | None]]]:
    """Which calls of a journal used what eBay's OpenAPI files do not have: the path with the query's parameter, or
    with None where the path itself is unknown to its API. APIs without a file are left out."""
    known: dict[str, dict[str, set[str]]] = {}  # by API, the parameters by the pattern of method and path
    for file in (shared / "ebay/specs/rest").glob("*.json"):
        document = json.loads(file.read_text())
        base = document["servers"][0]["variables"]["basePath"]["default"]
        for path, methods in document["paths"].items():
            pattern = re.sub(r"\{[^}]*\}", "[^/]+", re.sub(r"\{[^}]*\}$", ".+", path))  # a SKU may hold a slash
            for method, call in methods.items():
                if method == "servers":
                    continue
                names = {each["name"] for each in call.get("parameters", ()) if each["in"] == "query"}
                known.setdefault(base, {})[f"{method.upper()} {base}{pattern}"] = names

    def found(entry: Entry) -> list[tuple[str, str | None]]:
        base = next((base for base in known if entry.path.startswith(f"{base}/")), None)
        if base is None:
            return []
        call = f"{entry.method} {entry.path}"
        fitting = [names for pattern, names in known[base].items() if re.fullmatch(pattern, call)]
        if not fitting:
            return [(entry.path, None)]
        return [(entry.path, name) for name in entry.query if not any(name in names for names in fitting)]

    return lambda entries: [each for entry in entries for each in found(entry)]


def at(url: str, database: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server. EBAYSYNC_TEST_DATABASE_URL names another than the embedded one, whose login may
    create databases. All workers of a run share it."""
    if url := os.environ.get("EBAYSYNC_TEST_DATABASE_URL"):
        yield url
        return
    with embedded.attached(Path(os.environ[FOLDER]) / "server") as url:
        if MODE != "pgbouncer":
            yield url
            return
        with start_pgbouncer(url, Path(os.environ[FOLDER]) / f"pgbouncer-{os.getpid()}") as process:
            yield url
            process.kill()


@pytest.fixture(scope="session")
def template(server: str, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """A migrated database, made once for all workers, that each test's own is cloned from."""
    import asyncio

    base = tmp_path_factory.getbasetemp()
    folder = base if worker_id == "master" else base.parent
    name = f"{TEMPLATE}_{folder.name.replace('-', '_')}"

    async def make() -> None:
        db = Database(Secret(at(server, name)))
        await migrate(db)
        await db.close()
        if MODE == "odd":
            make_odd(at(server, name))

    with (folder / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with psycopg.connect(server, autocommit=True) as admin:
            done = admin.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
            if done is None or not (folder / "template.done").exists():
                admin.execute(f'DROP DATABASE IF EXISTS "{name}"')
                admin.execute(f'CREATE DATABASE "{name}"')
                asyncio.run(make())
                (folder / "template.done").touch()
    return name


def make_odd(url: str) -> None:
    """Give a database settings that nobody expects, and a schema with other people's tables of our names, which is
    searched first."""
    with psycopg.connect(url, autocommit=True) as admin:
        database = admin.info.dbname
        with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            admin.execute(f"CREATE ROLE {SOMEBODY}")
            if admin.info.server_version >= 160_000:  # to give tables to it, but not to count as its member
                admin.execute(f"GRANT {SOMEBODY} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE")
        admin.execute(f"CREATE SCHEMA IF NOT EXISTS somebody; GRANT ALL ON SCHEMA somebody TO {SOMEBODY}")
        names = {"ebaysync_schema", "ebay_accounts", "ebay_orders"}
        names |= {name for (name,) in admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        for name in names:
            if admin.execute("SELECT to_regclass(%s)", [f"somebody.{name}"]).fetchone() != (None,):
                continue
            admin.execute(f"CREATE TABLE somebody.{name} (theirs int); GRANT ALL ON somebody.{name} TO PUBLIC")
            admin.execute(f"ALTER TABLE somebody.{name} OWNER TO {SOMEBODY}")
        admin.execute(
            "CREATE OR REPLACE FUNCTION somebody.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
            " AS 'SELECT CAST(NULL AS timestamptz)'"
        )
        admin.execute("GRANT USAGE ON SCHEMA somebody TO PUBLIC")
        for setting, value in ODD.items():
            wanted = value if setting == "search_path" else f"'{value}'"
            admin.execute(f'ALTER DATABASE "{database}" SET {setting} = {wanted}')
        # No superuser, or no such locale: then the texts of the server stay English.
        with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue):
            admin.execute(f"ALTER DATABASE \"{database}\" SET lc_messages = 'de_DE.UTF-8'")


@contextmanager
def own_database(server: str, clause: str = "") -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        if MODE == "pgbouncer" and (template := clause.partition('"')[2].rstrip('"')):
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                " AND backend_type = 'client backend'",
                [template],
            )
        if clause and admin.info.server_version >= 150_000:
            clause += " STRATEGY FILE_COPY"  # less than half the time of the default, which logs each page
        admin.execute(f'CREATE DATABASE "{name}" {clause}')
        url = at(server, name)
        if MODE == "odd":
            make_odd(url)
        yield at(os.environ[BOUNCER], name) if MODE == "pgbouncer" else url
        admin.execute(f'DROP DATABASE "{name}" {"(FORCE)" if MODE == "pgbouncer" else ""}')


def start_pgbouncer(server: str, folder: Path) -> subprocess.Popen[bytes]:
    """PgBouncer in transaction mode before all databases of the embedded server, on a socket in `folder`."""
    parts = urlsplit(server)
    host = dict(parse_qsl(parts.query))["host"]
    own = Path(host).stat().st_uid
    folder.mkdir()
    folder.chmod(0o777)
    for above in Path(host).parents:  # PgBouncer does not run as root
        if above.is_relative_to(folder.parent):
            above.chmod(0o711)
    # The embedded server admits root alone where it runs as nobody.
    for access in folder.parent.glob("server/**/pg_ident.conf"):
        with access.open("a") as file:
            file.write(f'ebaysync "{pwd.getpwuid(own).pw_name}" all\n')
    for pid in folder.parent.glob("server/**/postmaster.pid"):
        os.kill(int(pid.read_text().split()[0]), signal.SIGHUP)
    users, configuration = folder / "users", folder / "pgbouncer.ini"
    users.write_text(f'"{parts.username}" ""\n')
    configuration.write_text(
        f"[databases]\n* = host={host} port=5432\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n"
        f"unix_socket_dir = {folder}\nauth_type = trust\nauth_file = {users}\nauth_user = {parts.username}\n"
        "auth_query = SELECT rolname, '' FROM pg_roles WHERE rolname = $1\n"
        "pool_mode = transaction\ndefault_pool_size = 8\nmax_client_conn = 2000\nserver_idle_timeout = 5\n"
    )
    process = subprocess.Popen(
        [PGBOUNCER, "-q", configuration], user=own if os.geteuid() == 0 else None, stdin=subprocess.DEVNULL
    )
    url = f"postgresql://{parts.username}@/postgres?host={folder}&port=6432"
    while True:
        assert process.poll() is None, "PgBouncer did not start"
        with suppress(psycopg.OperationalError):
            psycopg.connect(url).close()
            break
    os.environ[BOUNCER] = url
    return process


@pytest.fixture(scope="session")
def databases(server: str) -> Callable[[str], AbstractContextManager[str]]:
    """`databases(template)`: another database of that content, for as long as the context."""
    return lambda template: own_database(server, f'TEMPLATE "{template}"')


@pytest.fixture(scope="session")
def content() -> Callable[..., dict[str, str]]:
    """What each table of a database holds, as a digest: to see whether anything was written."""

    def read(url: str, *without: str) -> dict[str, str]:
        with psycopg.connect(url) as connection:
            names = [
                row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            ]
            digest = "SELECT md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '')) FROM {} t"
            return {
                name: connection.execute(digest.format(name)).fetchone()[0]  # type: ignore[index]
                for name in sorted(names)
                if name not in without
            }

    return read


@pytest.fixture
def database_url(server: str, template: str) -> Iterator[str]:
    """A migrated, empty database of this test's own."""
    with own_database(server, f'TEMPLATE "{template}"') as url:
        yield url


@pytest.fixture
def empty_database_url(server: str) -> Iterator[str]:
    """A database without a schema."""
    with own_database(server) as url:
        yield url


@pytest.fixture(scope="session")
def odd() -> Callable[[str], None]:
    """`odd(url)`: give that database settings that nobody expects, and other people's tables of our names."""
    return make_odd


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    found = Database(Secret(database_url))
    yield found
    await found.close()


@pytest.fixture
def query(database_url: str) -> Callable[..., list[Any]]:
    """Rows of a query, as a person with psql would see them."""

    def rows(sql: str, *values: Any) -> list[Any]:
        with psycopg.connect(database_url) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            cursor = connection.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    return rows


def _world_of(**options: Any) -> World:
    """A world whose rates and quirks stand beside its other options, by name."""
    apart: dict[type, dict[str, Any]] = {
        kind: {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}
        for kind in (Rates, Quirks)
    }
    return World(**options, rates=Rates(**apart[Rates]), quirks=Quirks(**apart[Quirks]))


@pytest.fixture(scope="session")
def world_of() -> Callable[..., World]:
    """`world_of(sellers=2, changes_per_hour=3, won_shape="order")`"""
    return _world_of


@pytest.fixture
def simulator() -> Iterator[Callable[..., Simulator]]:
    """Makes simulators: `simulator(sellers=2, orders_per_seller=50, …)`, or of a World that is there."""
    running: list[Simulator] = []

    def make(world: World | None = None, **options: Any) -> Simulator:
        sim = Simulator(world or _world_of(**options))
        sim.__enter__()
        running.append(sim)
        return sim

    yield make
    for sim in running:
        sim.__exit__(None, None, None)


def give_signing_key(sim: Simulator, configured: Settings, database_url: str) -> None:
    """A signing key for the simulator's keyset, without a call, where one of its sellers has to sign."""
    if not any(f"EBAY_{seller.market.country}" in SITES for seller in sim.world.sellers):
        return
    private = Ed25519PrivateKey.generate()
    jwe, key_id, ends = f"jwe.{uuid4().hex}", uuid4().hex, 4_000_000_000
    sim.world.signing_keys[jwe] = SigningKey(private.public_key(), {"signingKeyId": key_id, "expirationTime": ends})
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secret = Secret(base64.b64encode(der).decode())
    client = configured.keyset("simulator").client_id
    blob = vault.load(configured, may_create=True).seal(secret, "simulator", client, signing.column(key_id))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO ebay_signing_keys VALUES"
            " ('simulator', %s, %s, 'ED25519', %s, '', %s, now(), to_timestamp(%s))",
            (client, key_id, jwe, blob, ends),
        )


@pytest.fixture(scope="session")
def signing_key() -> Callable[[Simulator, Settings, str], None]:
    return give_signing_key


@dataclass
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Program:
    """The real program: `program("run", "orders", "--account", "x")`, in a clean environment of its own."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    launcher: Path | None = None
    """the socket of tests/launcher.py, which starts the program faster; None: Python starts it"""

    def __call__(self, *arguments: str, given: str = "", environ: dict[str, str] | None = None) -> Ended:
        whole = self.environ | (environ or {})
        usual = self.command is type(self).command and all(name.startswith(USUAL) for name in whole)
        if self.launcher and usual:
            return self._launched(self.launcher, arguments, given, whole)
        ended = subprocess.run(
            self.command(*arguments),
            input=given,
            capture_output=True,
            text=True,
            env=whole,
            cwd=self.folder,
            timeout=300,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def _launched(self, launcher: Path, arguments: Sequence[str], given: str, environ: dict[str, str]) -> Ended:
        request = {"arguments": arguments, "environ": environ, "folder": str(self.folder)}
        with socket.socket(socket.AF_UNIX) as link, ExitStack() as files:
            stdin, stdout, stderr = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            stdin.write(given.encode())
            stdin.seek(0)
            link.settimeout(300)
            link.connect(str(launcher))
            socket.send_fds(link, [json.dumps(request).encode()], [each.fileno() for each in (stdin, stdout, stderr)])
            pid = int.from_bytes(link.recv(4, socket.MSG_WAITALL), "big")
            try:
                code = int.from_bytes(link.recv(4, socket.MSG_WAITALL), "big", signed=True)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise
            stdout.seek(0)
            stderr.seek(0)
            return Ended(code, stdout.read().decode(), stderr.read().decode())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
            cwd=self.folder,
        )

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "ebaysync", *arguments]

    def add_sellers(self, sim: Simulator, *arguments: str) -> list[str]:
        """Add every seller of a simulator under its user name; the names."""
        names = []
        for seller in sim.world.sellers:
            ended = self(
                *("accounts", "add", seller.username, "-e", "simulator", "--refresh-token-stdin", *arguments),
                given=f"{seller.refresh_token}\n",
            )
            assert ended.code == 0, ended.err
            names.append(seller.username)
        configured = settings.load(self.environ, env_file=False)
        give_signing_key(sim, configured, self.environ["EBAYSYNC_DATABASE_URL"])
        return names


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a process that starts the program (tests/launcher.py)."""
    path = tmp_path_factory.mktemp("launcher") / "socket"
    with subprocess.Popen([sys.executable, str(Path(__file__).with_name("launcher.py")), str(path)]) as process:
        while not path.exists():
            assert process.poll() is None, "the launcher did not start"
            time.sleep(0.005)
        yield path
        process.kill()


@pytest.fixture
def program(tmp_path: Path, database_url: str, launcher: Path) -> Program:
    """The program with a database, a home and a working directory of this test's own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME", "TMPDIR") if name in os.environ}
    own = {
        "EBAYSYNC_DATABASE_URL": database_url,
        "EBAYSYNC_HOME": str(tmp_path / "home"),
        "EBAYSYNC_SETTLE_SECONDS": "0",
        "COLUMNS": "200",
    }
    folder = tmp_path / "cwd"
    folder.mkdir()
    return Program(folder, kept | own, launcher)
