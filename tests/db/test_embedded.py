"""The embedded PostgreSQL, with real servers and real processes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from ebaysync.errors import ConfigError, DatabaseError
from ebaysync.store.embedded import binaries, cluster
from ebaysync.store.embedded import server as embedded

Start = Callable[..., "Command"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who has to change users")

HOLD = """
import os, sys, subprocess
from pathlib import Path
from ebaysync.store.embedded import server as embedded
with embedded.attached(Path(sys.argv[1])) as url:
    child = 0
    if "fork" in sys.argv:
        child = os.fork()
        if child == 0:
            os.closerange(0, 3)
            import signal
            signal.pause()
    if "exec" in sys.argv:
        child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid
    print(child, url, flush=True)
    sys.stdin.readline()
"""


class Command:
    """Another ebaysync command, which uses the home's server until it is told to leave."""

    def __init__(self, home: Path, *how: str, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-W", "error", "-c", HOLD, str(home), *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ready(self) -> str:
        """The URL, once the server is there."""
        assert self.process.stdout
        line = self.process.stdout.readline().split()
        assert line, "the command failed"
        self.child = int(line[0])
        return line[1]

    def leave(self) -> int:
        self.process.communicate("\n", timeout=60)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A home that was used before. To be copied."""
    with tempfile.TemporaryDirectory(prefix="ebs-") as above:
        with embedded.attached(Path(above) / "home"):
            pass
        yield Path(above) / "home"


@pytest.fixture
def home(fresh: Path, made: Path) -> Path:
    """A home with a cluster in it, below a directory that nobody else can enter, by a short name."""
    subprocess.run(["cp", "-a", made, fresh], check=True)
    return fresh


@pytest.fixture
def fresh() -> Iterator[Path]:
    """The same, but nothing is there yet."""
    above = Path(tempfile.mkdtemp(prefix="ebs-"))
    yield above / "home"
    for left in above.rglob("postmaster.pid"):
        pid = int(left.read_text().split()[0])
        if cwd(pid) == left.parent:
            os.kill(pid, signal.SIGQUIT)
            eventually(lambda: not alive(pid))  # noqa: B023
    shutil.rmtree(above)


@pytest.fixture
def command(fresh: Path) -> Iterator[Start]:
    """Starts commands in the home; those still there are killed at the end."""
    started: list[Command] = []

    def start(*how: str, prefix: tuple[str, ...] = ()) -> Command:
        started.append(Command(fresh, *how, prefix=prefix))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


def data(home: Path) -> Path:
    return home / "postgres/18"


def postmaster(home: Path) -> int:
    return int((data(home) / "postmaster.pid").read_text().split()[0])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cwd(pid: int) -> Path | None:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return None


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def rows(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")]


# --- sharing


def test_two_commands_share_one_server_and_the_last_to_leave_stops_it(home: Path, command: Start) -> None:
    first, second = command(), command()
    assert first.ready() == second.ready()
    pid = postmaster(home)
    assert first.leave() == 0
    assert alive(pid)
    assert second.leave() == 0
    assert not alive(pid)
    assert not (data(home) / "postmaster.pid").exists()


def test_eight_that_start_at_the_same_instant_get_one_server(fresh: Path, command: Start) -> None:
    commands = [command() for _ in range(8)]
    for one in commands:
        one.ready()
    pid = postmaster(fresh)
    log = (fresh / "postgres/server.log").read_text()
    assert log.count("starting PostgreSQL") == 1
    for one in commands:
        assert one.leave() == 0
    assert not alive(pid)


def test_who_comes_while_the_last_one_leaves_gets_a_server_that_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = threading.Event()
    left = threading.Event()

    def come() -> None:
        with embedded.attached(home) as url:
            came.set()
            assert left.wait(30)
            with psycopg.connect(url) as connection:
                connection.execute("SELECT 1")

    with ThreadPoolExecutor(1) as pool:
        with embedded.attached(home):
            stop = embedded.Server.stop

            def stop_when_somebody_comes(server: embedded.Server) -> None:
                monkeypatch.undo()
                nonlocal coming
                coming = pool.submit(come)
                came.wait(0.5)  # in vain: it is our turn
                stop(server)
                left.set()

            coming: Future[None] | None = None
            monkeypatch.setattr(embedded.Server, "stop", stop_when_somebody_comes)
        assert coming is not None
        coming.result()


def test_two_uses_in_one_process_share_the_server_too(home: Path) -> None:
    with embedded.attached(home):
        pid = postmaster(home)
        with embedded.attached(home) as url:
            assert postmaster(home) == pid
        with psycopg.connect(url):
            pass
    assert not alive(pid)


def test_a_killed_command_leaves_a_server_that_the_next_takes_over_and_stops(home: Path, command: Start) -> None:
    killed = command()
    killed.ready()
    pid = postmaster(home)
    killed.kill()
    assert alive(pid)
    next_one = command()
    next_one.ready()
    assert postmaster(home) == pid
    assert next_one.leave() == 0
    assert not alive(pid)


@pytest.mark.parametrize("how", ["fork", "exec"])
def test_the_child_of_a_killed_command_does_not_keep_the_server_for_ever(home: Path, command: Start, how: str) -> None:
    killed = command(how)
    killed.ready()
    pid = postmaster(home)
    killed.kill()
    try:
        assert alive(killed.child)
        with embedded.attached(home):
            assert postmaster(home) == pid
        assert not alive(pid)
    finally:
        os.kill(killed.child, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_that_falls_out_of_the_block_does_not_stop_the_server(home: Path) -> None:
    context = embedded.attached(home)
    context.__enter__()
    pid = postmaster(home)
    child = os.fork()
    if child == 0:
        context.__exit__(None, None, None)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert alive(pid)
    context.__exit__(None, None, None)
    assert not alive(pid)


def test_ctrl_c_at_the_command_that_started_it_leaves_the_server_to_the_others(home: Path, command: Start) -> None:
    first = command()
    first.ready()
    second = command()
    pid = postmaster(home)
    with psycopg.connect(second.ready()) as connection:
        os.killpg(first.process.pid, signal.SIGINT)
        first.process.communicate()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert postmaster(home) == pid
    assert second.leave() == 0
    assert not alive(pid)


def test_a_failure_inside_stops_the_server_all_the_same(home: Path) -> None:
    with pytest.raises(ZeroDivisionError), embedded.attached(home):
        raise ZeroDivisionError
    assert not (data(home) / "postmaster.pid").exists()


def test_the_url_serves_child_processes(fresh: Path) -> None:
    for place in (fresh, fresh / ("far " * 10) / ("away" * 20)):
        with embedded.attached(place) as url:
            ask = "import psycopg, sys; print(psycopg.connect(sys.argv[1]).execute('SELECT 1').fetchone())"
            asked = [sys.executable, "-c", ask, url]
            assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "(1,)\n"


@pytest.mark.parametrize("name", ["a,b c@d%41", "Übersicht", "x" * 200])
def test_a_home_may_have_any_name(fresh: Path, name: str) -> None:
    for _ in range(2):
        with embedded.attached(fresh / name) as url, psycopg.connect(url) as connection:
            assert connection.execute("SELECT current_user, current_database()").fetchone() == ("ebaysync",) * 2


# --- durability


def test_a_kill_9_of_the_server_loses_nothing_committed(home: Path, command: Start) -> None:
    holder = command()
    url = holder.ready()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
        with psycopg.connect(url) as busy:
            busy.execute("INSERT INTO kept VALUES (1001)")  # never committed
            pid = postmaster(home)
            os.kill(pid, signal.SIGKILL)
            with embedded.attached(home) as again:
                assert postmaster(home) != pid
                assert again == url
                assert rows(again) == list(range(1, 1001))
            busy.close()
    assert holder.leave() == 0


def test_a_pid_that_is_somebody_elses_by_now_neither_hinders_nor_dies(home: Path) -> None:
    with embedded.attached(home):
        owner = data(home).stat()
        left = (data(home) / "postmaster.pid").read_text()
    drop = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    other = subprocess.Popen(["sleep", "600"], cwd="/", **drop)
    try:
        lines = [str(other.pid), *left.splitlines()[1:]]
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (data(home) / name).write_text("\n".join(lines) + "\n")
        with embedded.attached(home):
            assert postmaster(home) != other.pid
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_cluster_half_made_is_made_anew(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = fresh / "postgres/18.new"
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    monkeypatch.setattr(cluster, "BOOTSTRAP", "CREATE ROLE ebaysync LOGIN\nCREATE NONSENSE\n")
    with pytest.raises(DatabaseError, match='syntax error at or near "NONSENSE"'), embedded.attached(fresh):
        pass
    assert not half.exists()
    assert not data(fresh).exists()
    monkeypatch.undo()
    with embedded.attached(fresh) as url, psycopg.connect(url):
        pass


# --- users and permissions


@as_root
def test_roots_server_is_another_users_and_no_permission_is_changed(fresh: Path) -> None:
    with embedded.attached(fresh) as url:
        server = Path(f"/proc/{postmaster(fresh)}")
        assert server.stat().st_uid == data(fresh).stat().st_uid != 0
        assert "Groups:\t \n" in (server / "status").read_text()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (
                False,
            )
    for place in (fresh, fresh.parent, fresh / "postgres"):
        assert place.stat().st_mode & 0o777 == 0o700
        assert place.stat().st_uid == 0


@as_root
def test_binaries_that_the_servers_user_cannot_reach_are_copied_once(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = fresh.parent / "checkout"
    install = hidden_wheel(private, 0)
    before = permissions(private)
    with tempfile.TemporaryDirectory(prefix="ebs-") as open_place:
        os.chmod(open_place, 0o755)
        copies = Path(open_place) / "cache"
        monkeypatch.setattr(binaries, "COPIES", (private / "of-no-use", copies))
        monkeypatch.setattr(binaries, "wheel", lambda: install)
        umask = os.umask(0o077)
        try:
            for _ in range(2):
                with embedded.attached(fresh) as url, psycopg.connect(url) as connection:
                    assert connection.execute("SELECT now() AT TIME ZONE 'Europe/Berlin' IS NOT NULL").fetchone()
                    running = os.readlink(f"/proc/{postmaster(fresh)}/exe")
                    assert running.startswith(str(copies))
        finally:
            os.umask(umask)
        assert len(list(copies.iterdir())) == 1
        shutil.rmtree(private / "of-no-use")
    assert permissions(private) == before


@as_root
def test_a_place_for_copies_that_somebody_else_made_first_is_not_trusted(fresh: Path) -> None:
    fresh.mkdir()
    os.chown(fresh, 65534, 65534)
    with pytest.raises(PermissionError, match="others can write"):
        binaries.copied(binaries.wheel(), fresh)


@as_root
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_normal_user_with_home_and_checkout_in_a_0700_home(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    fresh.parent.chmod(0o755)
    theirs = fresh.parent / "theirs"  # a home that root has given them
    theirs.mkdir(mode=0o700)
    install = hidden_wheel(theirs / "venv", nobody.pw_uid)
    fresh = theirs / "home"
    fresh.mkdir(mode=0o700)
    for place in (theirs, fresh):
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
    before = permissions(theirs)
    monkeypatch.setattr(binaries, "wheel", lambda: install)

    def both_ways() -> None:
        with embedded.attached(fresh) as url, psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")

    # A fork, because this user may be unable to read our Python.
    for _ in range(2):
        # Root may look in, even first, and leaves the home as usable as it was.
        both_ways()
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            try:
                both_ways()
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert {f.stat().st_uid for f in fresh.rglob("*")} == {nobody.pw_uid}
    after = permissions(theirs)
    assert {place: after[place] for place in before} == before


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_root_with_dockers_few_rights_is_enough(home: Path, command: Start) -> None:
    few = "chown,dac_override,fsetid,fowner,mknod,net_raw,setgid,setuid,setfcap,setpcap,kill,audit_write"
    kept = ",".join(f"+{one}" for one in few.split(","))
    prefix = ("setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all")
    killed = command(prefix=prefix)
    killed.ready()
    pid = postmaster(home)
    killed.kill()
    next_one = command(prefix=prefix)
    next_one.ready()
    assert postmaster(home) == pid
    assert next_one.leave() == 0
    assert not alive(pid)


def hidden_wheel(above: Path, uid: int) -> Path:
    """A copy of the wheel below a directory that only this user can enter."""
    source = binaries.wheel()
    install = above / source.parent.name / source.name
    for part in ("bin/initdb", "bin/postgres"):
        (install / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / part, install / part)
    for part in ("lib/postgresql", "share"):
        shutil.copytree(source / part, install / part)
    libraries = source.parent.with_name(f"{source.parent.name}.libs")
    shutil.copytree(libraries, above / libraries.name)
    os.chown(above, uid, -1)
    above.chmod(0o700)
    return install


def permissions(place: Path) -> dict[Path, tuple[int, int, int]]:
    found = {p: p.lstat() for p in (place.parent, place, *place.rglob("*"))}
    return {p: (s.st_mode, s.st_uid, s.st_gid) for p, s in found.items()}


# --- what can go wrong


def test_without_the_wheel_the_setting_and_the_extra_are_named(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "WHEEL", "no_such_wheel")
    with pytest.raises(ConfigError, match="EBAYSYNC_DATABASE_URL") as caught, embedded.attached(fresh):
        pass
    assert "ebaysync[embedded]" in str(caught.value.hint)
    assert not fresh.exists()


def test_the_wheels_own_python_is_never_imported(home: Path) -> None:
    look = (
        "import sys; from pathlib import Path; from ebaysync.store.embedded import server as embedded\n"
        "with embedded.attached(Path(sys.argv[1])): pass\n"
        "assert not [name for name in sys.modules if 'pgserver' in name]"
    )
    subprocess.run([sys.executable, "-c", look, str(home)], check=True)


def test_a_server_that_cannot_start_says_why_and_where_its_log_is(home: Path) -> None:
    with embedded.attached(home):
        pass
    with (data(home) / "postgresql.conf").open("a") as settings:
        settings.write("shared_buffers = 'much'\n")
    with pytest.raises(DatabaseError) as caught, embedded.attached(home):
        pass
    assert "FATAL" in caught.value.message
    assert str(data(home)) in caught.value.message
    assert str(home / "postgres/server.log") in str(caught.value.hint)


def test_a_server_killed_while_it_starts_is_started_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = embedded.Server.start
    killed: list[int] = []

    def and_kill(server: embedded.Server, lock: embedded.Lock) -> None:
        start(server, lock)
        if not killed:
            assert server.child
            killed.append(server.child.pid)
            server.child.kill()

    monkeypatch.setattr(embedded.Server, "start", and_kill)
    with embedded.attached(home):
        assert [postmaster(home)] != killed != []


def test_what_keeps_us_from_logging_in_is_said_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "nobody-knows")
    with pytest.raises(DatabaseError, match='"nobody-knows" not found'), embedded.attached(home):
        pass
    assert not (data(home) / "postmaster.pid").exists()


def test_data_of_another_major_version_is_left_alone(fresh: Path) -> None:
    (fresh / "postgres/17").mkdir(parents=True)
    with pytest.raises(DatabaseError, match="PostgreSQL 17"), embedded.attached(fresh):
        pass
    assert not data(fresh).exists()


def test_a_home_that_cannot_be_one_is_named(fresh: Path) -> None:
    fresh.write_text("a file")
    with pytest.raises(DatabaseError, match=str(fresh)) as caught, embedded.attached(fresh):
        pass
    assert "EBAYSYNC_HOME" in str(caught.value.hint)


def test_the_log_of_the_server_does_not_grow_for_ever(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOG_BYTES", 100)
    for _ in range(4):
        with embedded.attached(home):
            pass
    assert {p.name for p in home.glob("postgres/server.log*")} == {"server.log", "server.log.1"}
    assert (home / "postgres/server.log").read_text().count("starting PostgreSQL") == 1
