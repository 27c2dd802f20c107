"""What an account's process may do without harm to any other, and how all of them end: of themselves, by a signal, or
with a parent that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ebaysync.ops.pool import ENVIRONMENT

from .poisoned import LINES

Query = Callable[..., list[Any]]
POISONED = str(Path(__file__).with_name("poisoned.py"))
SECRETS = {"PGPASSWORD": "canary-pg", "EBAY_CLIENT_SECRET": "canary-client"}
NAMED = {
    "segfault": "SIGSEGV",
    "leave": "with code 0 without a result",
    "loop": "limit",
    "hog": "256 MB of memory",
    "flood": ("standard output without end", "limit"),  # as fast as the machine is
    "grandchild": "with code 0 without a result",
    "litter": "1 other behind",
}


@pytest.fixture
def start(program: Any) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the program with poisons by account; whatever a failed test leaves of it is ended."""
    running: list[subprocess.Popen[str]] = []

    def begin(poisons: dict[str, str], *arguments: str, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, POISONED, json.dumps(poisons), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=program.environ | (environ or {}),
                cwd=program.folder,
            )
        )
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()  # type: ignore[union-attr]
        process.stderr.close()  # type: ignore[union-attr]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
def test_fifty_accounts_are_complete_beside_one_of_each_poison_which_status_names(
    program: Any, simulator: Any, added: Any, query: Query, start: Any
) -> None:
    sim = simulator(sellers=50 + len(NAMED) + 1, orders_per_seller=3)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_MAX_WINDOW_HOURS": "2400"}
    names = added(program, sim)
    poisons = dict(zip(names, NAMED, strict=False))
    endless = names[len(NAMED)]
    sim.faults.add("endless", path="/order$", seller=endless, times=None)
    bad = {*poisons, endless}
    limits = {"EBAYSYNC_ACCOUNT_TIMEOUT": "10", "TEST_GRACE": "1", "EBAYSYNC_ACCOUNT_MEMORY_MB": "256"}
    process = start(poisons, "run-all", "-f", "orders", "--json", "--jobs", "6", environ=limits)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 3, err
    accounts = {account["account"]: account for account in json.loads(out)["accounts"]}
    assert {name: accounts[name]["status"] for name in names if name not in bad} == dict.fromkeys(
        set(names) - bad, "completed"
    ), err
    stored = dict(
        query("SELECT a.name, count(*) FROM ebay_orders JOIN ebay_accounts a ON a.id = ebay_account_id GROUP BY 1")
    )
    assert {name: stored.get(name) for name in names if name not in bad} == {
        seller.username: len(seller.orders) for seller in sim.world.sellers if seller.username not in bad
    }
    told = {
        account["account"]: family["last_error"]
        for account in program("status", "--json").json["accounts"]
        for family in account["families"]
        if family["family"] == "orders"
    }
    assert {name for name, error in told.items() if error} == bad
    for name, poison in poisons.items():
        words = NAMED[poison]
        assert any(word in told[name] for word in ([words] if isinstance(words, str) else words)), poison
        assert name in err
    assert any(word in told[endless] for word in ("larger than", "limit"))
    assert len(err) < 1_000_000


def test_nothing_that_a_process_prints_disturbs_its_results(
    program: Any, simulator: Any, added: Any, start: Any
) -> None:
    sim = simulator(sellers=1, orders_per_seller=3)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_MAX_WINDOW_HOURS": "2400"}
    [name] = added(program, sim)
    out, err = start({name: "chatter"}, "run-all", "-f", "orders", "--json").communicate(timeout=60)
    [account] = json.loads(out)["accounts"]
    assert account["status"] == "completed"
    assert account["runs"][0]["stored"] == 3
    assert '{"run": "no", "done": true}' in err
    assert "\\x3c3>forged\n\\x1b[2J\\u202egpj\n" in err


def test_results_of_a_wrong_shape_fail_their_account_alone_with_one_line(
    program: Any, simulator: Any, added: Any, query: Query, start: Any
) -> None:
    sim = simulator(sellers=len(LINES) + 1, orders_per_seller=3)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_MAX_WINDOW_HOURS": "2400"}
    good, *bad = added(program, sim)
    poisons = dict(zip(bad, LINES, strict=True))
    process = start(poisons, "run-all", "-f", "orders", "--json", "--jobs", "4")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 3, err
    accounts = {account["account"]: account for account in json.loads(out)["accounts"]}
    assert accounts[good]["status"] == "completed"
    assert accounts[good]["runs"][0]["stored"] == 3
    told = {poisons[name]: accounts[name]["error"]["message"].removeprefix(f"{name}: its process ") for name in bad}
    once = ("endless", "endless_done", "twice_done")  # its first result is right
    for name, poison in poisons.items():
        assert accounts[name]["status"] == ("partial" if poison in once else "error"), poison
        assert err.count(f"{name}: its process ") == 1, poison
    assert told.pop("long_line") == told.pop("no_newline") == "wrote a result of more than 1000000 bytes, and was ended"
    assert told.pop("twice_done") == told.pop("endless_done") == "wrote more after its last result, and was ended"
    for poison in ("endless", "other_account", "other_family"):
        assert told.pop(poison) == "reported a family twice, or one that it was not asked for, and was ended"
    assert told.pop("done_without_runs") == "ended without a result of orders"
    assert set(told.values()) == {"wrote a line that is not a result, and was ended"}
    states = "SELECT a.name FROM ebay_sync_state JOIN ebay_accounts a ON a.id = ebay_account_id WHERE last_status = %s"
    assert {name for (name,) in query(states, "error")} == set(bad)
    assert "Traceback" not in err


@dataclass
class AtWork:
    """A run-all whose accounts wait for eBay, and its processes: the forkserver and one per account."""

    process: subprocess.Popen[str]
    children: list[int]
    sim: Any

    @property
    def server(self) -> int:
        [found] = [pid for pid in self.children if parent(pid) == self.process.pid]
        return found

    def is_gone(self) -> bool:
        return not any(alive(child) for child in self.children)


@pytest.fixture
def at_work(program: Any, simulator: Any, added: Any, start: Any, until: Any, descendants: Any) -> Callable[..., Any]:
    def begin(*, deaf: bool = False, jobs: int = 3, environ: dict[str, str] | None = None) -> AtWork:
        sim = simulator(sellers=3, orders_per_seller=5)
        program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
        names = added(program, sim)
        for name in names:
            sim.faults.add("slow", path="/order$", seller=name, seconds=90, after=1)
        poisons = {names[0]: "deaf"} if deaf else {}
        process = start(poisons, "run-all", "-f", "orders", "--jobs", str(jobs), environ=environ)
        waiting = jobs - len(poisons)
        until(lambda: sum("slow" in entry.faults for entry in sim.journal) == waiting, "accounts at work")
        if deaf:
            assert any(line == "deaf\n" for line in process.stderr)
        children = descendants(process.pid)
        assert len(children) == jobs + 1
        return AtWork(process, children, sim)

    return begin


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_all_within_thirty_seconds_the_one_that_does_not_hear_it_included(
    at_work: Any, query: Query, until: Any, signum: int, code: int
) -> None:
    it = at_work(deaf=True, environ={"TEST_STOP_GRACE": "1"})
    it.process.send_signal(signum)
    it.process.communicate(timeout=30)
    assert it.process.returncode == code
    until(it.is_gone, "the processes to go", 5)
    assert query("SELECT status, count(*) FROM ebay_worker_run GROUP BY 1") == [("interrupted", 2)]
    assert query("SELECT count(*) FROM ebay_lease WHERE token IS NOT NULL") == [(0,)]


def test_a_unit_that_is_stopped_signals_every_process_and_all_end_as_after_one(
    at_work: Any, query: Query, until: Any
) -> None:
    it = at_work()
    for pid in (*it.children, it.process.pid):
        os.kill(pid, signal.SIGTERM)
    it.process.communicate(timeout=30)
    assert it.process.returncode == 143
    until(it.is_gone, "the processes to go", 5)
    assert query("SELECT status, count(*) FROM ebay_worker_run GROUP BY 1") == [("interrupted", 3)]


def test_a_second_signal_ends_all_at_once(at_work: Any, until: Any) -> None:
    it = at_work(deaf=True)
    it.process.send_signal(signal.SIGTERM)
    until(lambda: sum(alive(child) for child in it.children) <= 2, "the accounts that hear to go")
    it.process.send_signal(signal.SIGTERM)
    it.process.communicate(timeout=5)
    assert it.process.returncode == 143
    until(it.is_gone, "the processes to go with it", 5)


def test_with_a_killed_parent_all_end_within_five_seconds_whatever_they_do(at_work: Any, until: Any) -> None:
    it = at_work(deaf=True)
    it.process.kill()
    until(it.is_gone, "the processes to go with their parent", 5)


def test_a_killed_forkserver_takes_only_the_accounts_of_the_moment_with_it(at_work: Any, until: Any) -> None:
    it = at_work(jobs=2)
    it.sim.faults.clear()
    os.kill(it.server, signal.SIGKILL)
    out, err = it.process.communicate(timeout=60)
    assert it.process.returncode == 3
    assert err.count("the process that the accounts' are forked from was killed") == 2
    assert out.count("orders: completed") == 1
    until(it.is_gone, "the processes to go with it", 5)


@pytest.mark.skipif(os.geteuid() != 0, reason="the processes let nobody but root look into them")
def test_processes_have_no_secret_in_their_environment_and_nothing_of_their_parents_open(at_work: Any) -> None:
    it = at_work(environ=SECRETS)
    environ = Path(f"/proc/{it.process.pid}/environ").read_text()
    assert all(secret in environ for secret in SECRETS.values())
    parents = sockets(it.process.pid)
    assert parents
    for child in it.children:
        shown = [Path(f"/proc/{child}/{name}").read_text() for name in ("environ", "cmdline")]
        names = {line.partition("=")[0] for line in shown[0].split("\0") if line}
        assert names <= {*ENVIRONMENT, "LC_CTYPE"}  # which Python sets by itself
        assert not [secret for secret in SECRETS.values() for text in shown if secret in text]
        assert not sockets(child) & parents
        assert child == it.server or not sockets(child) & sockets(it.server)
        assert os.getsid(child) == child


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def sockets(pid: int) -> set[str]:
    found = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    return {each for each in found if each.startswith("socket:")}
