"""doctor, with real processes: what it prints, and the code it ends with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Query = Callable[..., list[Any]]


def test_what_failed_is_told_with_how_to_mend_it_and_ends_with_3(
    program: Any, simulator: Callable[..., Any], added: Callable[..., list[str]], query: Query
) -> None:
    sim = simulator(sellers=5, orders_per_seller=0, signatures=True)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    before = program("doctor")
    assert before.code == 0, before.err
    assert "accounts connect NAME" in before.out
    names = added(program, sim)
    ended = program("doctor")
    assert (ended.code, ended.err) == (3, "")
    [failed] = [line for line in ended.out.splitlines() if line.startswith("failed")]
    assert "signing" in failed
    assert "there is no signing key" in failed
    assert "→ ebaysync keys signing create --environment simulator" in ended.out
    [tokens] = [line for line in ended.out.splitlines() if line.split()[1] == "token"]
    assert "5 times" in tokens
    assert program("keys", "signing", "create", "-e", "simulator").code == 0
    mended = program("doctor", "--account", names[1], "--json")
    assert mended.code == 0, mended.out
    answer = mended.json
    assert answer["status"] == "warning"  # nothing has run yet
    assert {key for finding in answer["findings"] for key in finding} == {
        *("check", "subject", "status", "message", "hint"),
    }
    assert [finding["subject"] for finding in answer["findings"] if finding["check"] == "token"] == [names[1]]
    assert query("SELECT DISTINCT triggered_by FROM ebay_token_refresh_log") == [("accounts add",)]


def test_a_set_up_that_cannot_be_looked_into_ends_with_the_code_of_its_cause(
    program: Any, complains: Callable[..., None]
) -> None:
    gone = program("doctor", "--json", environ={"EBAYSYNC_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    assert gone.code == 10
    [finding] = gone.json["findings"]
    assert (finding["check"], finding["status"]) == ("database", "failed")
    assert "cannot be reached" in finding["message"]
    complains(program("doctor", environ={"EBAYSYNC_JOBS": "many"}), 2, "EBAYSYNC_JOBS")
    complains(program("doctor", "--account", "nobody"), 2, "there is no account 'nobody'")
