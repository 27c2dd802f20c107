"""accounts connect, with real processes: from the consent page's address to the first order, and what goes wrong."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

Query = Callable[..., list[Any]]
Complains = Callable[..., None]
CONNECT = ("accounts", "connect", "alice", "--environment", "simulator")
TOKEN_PATH = "/identity/v1/oauth2/token"
SCOPE = "https://api.ebay.com/oauth/api_scope"
FORGED = "v%5E1.1%23i%5E1%23mistyped%3D%3D"


@pytest.fixture
def sim(simulator: Callable[..., Any], program: Any) -> Any:
    sim = simulator(sellers=2, orders_per_seller=3)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    return sim


class Asking:
    """A process that has printed the consent page's address and waits for a line."""

    def __init__(self, program: Any, *arguments: str) -> None:
        self.process = subprocess.Popen(
            program.command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=program.environ,
            cwd=program.folder,
        )
        said = self.process.stderr if "--json" in arguments else self.process.stdout
        assert said
        self.url = said.readline().strip()

    def click(self, **own: str) -> str:
        """The address that the seller's browser shows after the seller has agreed."""
        answer = httpx.get(self.url, params={**httpx.URL(self.url).params, **own})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def exposed(self) -> str:
        """What other users of the machine can read of the process, and what its children inherit."""
        folder = Path(f"/proc/{self.process.pid}")
        # Only root may read the latter.
        return "".join((folder / name).read_text() for name in ("cmdline", "environ")[: 1 + (os.geteuid() == 0)])

    def paste(self, line: str) -> Any:
        out, err = self.process.communicate(f"{line}\n", timeout=60)
        return SimpleNamespace(code=self.process.returncode, out=out, err=err)


def code_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["code"][0]


def exchanges(sim: Any) -> int:
    return len(sim.journal.of(TOKEN_PATH))


def test_from_the_address_of_the_consent_page_to_the_first_order(program: Any, sim: Any, query: Query) -> None:
    asking = Asking(program, "-v", *CONNECT)
    fields = parse_qs(urlsplit(asking.url).query, strict_parsing=True)
    assert urlsplit(asking.url).path == "/oauth2/authorize"
    assert (fields["client_id"], fields["redirect_uri"], fields["response_type"], fields["prompt"]) == (
        *(["simulator"], ["simulator"], ["code"], ["login"]),
    )
    asked = fields["scope"][0].split()
    assert {SCOPE, f"{SCOPE}/commerce.identity.readonly", f"{SCOPE}/sell.finances"} <= set(asked)
    landed = asking.click()
    exposed = asking.exposed()
    ended = asking.paste(landed)
    assert ended.code == 0, ended.err
    seller = sim.world.sellers[0]
    assert f"eBay user {seller.user_id} ({seller.username})" in ended.out
    state, code = fields["state"][0], code_of(landed)
    tokens = [*sim.app.ledger.access, *sim.app.ledger.refresh]
    for secret in (state, code, *tokens):
        for text in (exposed, ended.err, ended.out, json.dumps([entry.as_dict() for entry in sim.journal])):
            assert secret not in unquote(text)
    rows = query(
        "SELECT a.ebay_user_id, a.marketplace_id, u.scopes, now() - u.consented_at < '1 minute'::interval,"
        " t.refresh_expires_at - u.consented_at = '47304000 seconds'::interval"
        " FROM ebay_accounts a JOIN ebay_tokens t ON t.ebay_account_id = a.id"
        " JOIN ebay_authorizations u ON u.ebay_account_id = a.id"
    )
    assert rows == [(seller.user_id, seller.marketplace_id, asked, True, True)]
    assert query("SELECT success, triggered_by FROM ebay_token_refresh_log") == [(True, "accounts connect")]
    assert exchanges(sim) == 1
    assert program("run", "orders", "--account", "alice").code == 0
    assert query("SELECT count(*) FROM ebay_orders") == [(3,)]


def test_a_second_consent_renews_and_does_not_double(program: Any, sim: Any, query: Query) -> None:
    asking = Asking(program, *CONNECT, "--json")
    first = asking.paste(code_of(asking.click()))  # the bare code, decoded
    assert first.code == 0, first.err
    account = json.loads(first.out)
    sim.revoke(sim.world.sellers[0])
    query("UPDATE ebay_accounts SET needs_consent = true")
    query("UPDATE ebay_authorizations SET missing_scopes = '{x}'")
    asking = Asking(program, "accounts", "connect", "bob", "-e", "simulator", "--families", "orders,finances")
    again = asking.paste(asking.click().partition("code=")[2].partition("&")[0])  # the bare code, not decoded
    assert again.code == 0, again.err
    assert "bob: this eBay user is already here as 'alice'" in again.out
    assert query("SELECT id::text, name, needs_consent, is_active FROM ebay_accounts") == [
        (account["id"], "alice", False, True)
    ]
    base = [SCOPE, *(f"{SCOPE}/{name}" for name in ("commerce.identity.readonly", "sell.finances"))]
    assert query("SELECT scopes, missing_scopes FROM ebay_authorizations") == [
        ([*base, f"{SCOPE}/sell.fulfillment.readonly"], [])
    ]
    asking = Asking(program, *CONNECT)
    before = query("SELECT * FROM ebay_tokens")
    taken = asking.paste(asking.click(seller=sim.world.sellers[1].username))
    assert (taken.code, query("SELECT * FROM ebay_tokens")) == (2, before)
    assert "the name 'alice' belongs to the eBay user" in taken.err


def test_each_refusal_is_one_line_with_its_code(program: Any, sim: Any, complains: Complains, query: Query) -> None:
    declined = Asking(program, *CONNECT)
    complains(declined.paste(declined.click(decision="decline")), 12, "declined", out=True)
    assert exchanges(sim) == 0
    complains(program(*CONNECT, given=f"{FORGED}\n"), 12, "alice", "does not accept this code", "mistyped", out=True)
    assert exchanges(sim) == 1
    wrong = program(*CONNECT, given=f"{FORGED}\n", environ={"EBAYSYNC_SIMULATOR_CLIENT_SECRET": "wrong-secret"})
    complains(wrong, 2, "does not accept the client id", out=True)
    keyset = {"EBAY_CLIENT_ID": "x", "EBAY_CLIENT_SECRET": "secret"}
    production = ("accounts", "connect", "alice", "-e", "production")
    complains(program(*production, environ=keyset), 2, "EBAY_RU_NAME is not set")
    assert query("SELECT count(*) FROM ebay_accounts") == [(0,)]


def test_a_consent_that_was_cut_short_goes_on_without_the_page(
    program: Any, sim: Any, query: Query, until: Callable[..., Any]
) -> None:
    sim.faults.add("slow", path="/commerce/identity/", seconds=300)
    asking = Asking(program, *CONNECT, "--json")
    landed = asking.click()
    assert asking.process.stdin
    asking.process.stdin.write(f"{landed}\n")
    asking.process.stdin.flush()
    until(lambda: sim.journal.of("/commerce/identity/v1/user/"), "the question whose consent it is")
    asking.process.kill()
    asking.process.communicate()
    assert query("SELECT count(*) FROM ebay_accounts") == [(0,)]
    sim.faults.clear()
    again = program(*CONNECT, "--json")
    assert again.code == 0, again.err
    assert again.json["ebay_user_id"] == sim.world.sellers[0].user_id
    assert "alice: going on with the seller's consent of " in again.err
    assert program("run", "orders", "--account", "alice").code == 0
    assert query("SELECT count(*) FROM ebay_orders") == [(3,)]
    assert query("SELECT refresh_token FROM ebay_pending_consents") == [(None,)]
    assert query("SELECT calls FROM ebay_api_usage WHERE api = 'identity'") == [(1,)]


def test_at_a_terminal_a_wrong_line_can_be_pasted_again(program: Any, sim: Any, query: Query) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        program.command(*CONNECT),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=program.environ,
        cwd=program.folder,
    ) as process:
        assert process.stdout
        page = process.stdout.readline().strip()
        landed = httpx.get(page).headers["location"]
        for line in ("what is this", landed.replace("state=", "state=x"), landed):
            os.write(ours, f"{line}\n".encode())
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, err
    assert err.count("Then paste the address") == 3
    assert "neither an address nor a code" in err
    assert "its state differs" in err
    assert sim.world.sellers[0].user_id in out
    assert exchanges(sim) == 1


def test_whoever_is_known_already_is_told_the_command_that_renews(
    program: Any, sim: Any, complains: Complains, query: Query
) -> None:
    first, second = sim.world.sellers
    for name, seller in (("alice", first), ("bob's", second)):
        add = ("accounts", "add", name, "-e", "simulator", "--refresh-token-stdin")
        assert program(*add, given=f"{seller.refresh_token}\n").code == 0
    renew = "ebaysync accounts connect alice --environment simulator"
    asking = Asking(program, "accounts", "connect", "bob's", "-e", "simulator")
    complains(asking.paste(asking.click(seller=first.username)), 2, "belongs to the eBay user", renew, out=True)
    other = ("accounts", "add", "bob's", "-e", "simulator", "--refresh-token-stdin")
    own = "ebaysync accounts add alice --environment simulator --refresh-token-stdin"
    complains(program(*other, given=f"{first.refresh_token}\n"), 2, "belongs to the eBay user", own)
    for known in (first.username, first.user_id):
        complains(program("accounts", "connect", known, "-e", "simulator"), 2, "of the account 'alice'", renew)
    query("UPDATE ebay_accounts SET environment = 'sandbox' WHERE name = 'alice'")
    elsewhere = "ebaysync accounts connect alice --environment sandbox"
    complains(program(*CONNECT), 2, "is of the environment sandbox", elsewhere)


def test_an_account_is_renewed_by_its_id_as_long_as_it_is_there(
    program: Any, sim: Any, complains: Complains, query: Query
) -> None:
    asking = Asking(program, *CONNECT)
    assert asking.paste(asking.click()).code == 0
    [(id_,)] = query("UPDATE ebay_accounts SET name = '-v', is_active = false, needs_consent = true RETURNING id::text")
    by_id = ("accounts", "connect", id_, "-e", "simulator")
    asking = Asking(program, *by_id)
    ended = asking.paste(asking.click())
    assert ended.code == 0, ended.err
    assert f"the account is disabled; to read it: ebaysync accounts enable {id_}" in ended.out
    assert query("SELECT name, needs_consent FROM ebay_accounts") == [("-v", False)]
    assert program("accounts", "remove", id_, "--yes").code == 0
    complains(program(*by_id), 2, f"no account with the id {id_}")
