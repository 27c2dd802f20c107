"""Secrets in the database that somebody moved or damaged, met by each command: the account stops without a request,
nothing is overwritten, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ebaysync import settings
from ebaysync.accounts import application, signing, vault
from ebaysync.log import Secret

Query = Callable[..., list[Any]]
Complains = Callable[..., None]
TOKEN_PATH = "/identity/v1/oauth2/token"
BLOBS = "SELECT ebay_account_id, refresh_token, access_token FROM ebay_tokens ORDER BY 1"


@pytest.fixture
def sim(
    program: Any,
    simulator: Callable[..., Any],
    added: Callable[..., list[str]],
    signing_key: Callable[..., None],
    database_url: str,
) -> Any:
    """Three sellers, the second of the United Kingdom; one order each."""
    found = simulator(sellers=3, orders_per_seller=1, signatures=True)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = found.url
    added(program, found)
    signing_key(found, settings.load(program.environ, env_file=False), database_url)
    return found


def keys_of(program: Any) -> vault.Vault:
    return vault.load(settings.load(program.environ, env_file=False), may_create=False)


def moved(name: str) -> str:
    """The tokens of another account in this one's row."""
    return (
        "UPDATE ebay_tokens t SET refresh_token = o.refresh_token, access_token = o.access_token FROM ebay_tokens o"
        f" WHERE t.ebay_account_id = (SELECT id FROM ebay_accounts WHERE name = '{name}')"
        " AND o.ebay_account_id <> t.ebay_account_id RETURNING 1"
    )


def test_every_command_stops_at_an_account_whose_tokens_were_moved(
    program: Any, sim: Any, query: Query, complains: Complains
) -> None:
    first, second, third = (seller.username for seller in sim.world.sellers)
    query(moved(first))
    before = query(BLOBS)
    mend = f"ebaysync accounts connect {first} --environment simulator"
    sim.journal.clear()
    told = ("is damaged, or was copied from another place", mend)
    complains(program("run", "orders", "--account", first), 2, *told, out=True)
    complains(program("run", "orders", "--account", first, "--json"), 2, *told, out=True)
    complains(program("backfill", "orders", "--account", first, "--days", "1"), 2, *told, out=True)
    doctor = program("doctor", "--account", first)
    assert doctor.code == 3
    assert all(words in " ".join(doctor.out.split()) for words in told), doctor.out
    assert {entry.seller for entry in sim.journal} <= {None}  # doctor asks for the quotas
    assert query(BLOBS) == before

    ended = program("run-all", "--now", "--json")
    assert ended.code == 3, ended.err
    by_name = {account["account"]: account for account in ended.json["accounts"]}
    assert by_name[first]["status"] == "error", by_name[first]
    assert {run["error"]["code"] for run in by_name[first]["runs"]} <= {"secret_key"}
    assert by_name[second]["status"] == by_name[third]["status"] == "completed"
    assert query("SELECT a.name FROM ebay_orders o JOIN ebay_accounts a ON a.id = o.ebay_account_id ORDER BY 1") == [
        *((name,) for name in sorted((second, third))),
    ]
    refreshed = program("refresh-tokens", "--force", "--json")
    assert refreshed.code == 3, refreshed.err
    assert {account["account"]: account["refreshed"] for account in refreshed.json["accounts"]} == {
        **{first: False, second: True, third: True}
    }
    assert first not in {entry.seller for entry in sim.journal}
    assert query(f"SELECT * FROM ({BLOBS}) b WHERE ebay_account_id = %s", before_id(query, first)) == [
        row for row in before if row[0] == before_id(query, first)
    ]
    assert "is damaged" in program("status", "--account", first).out

    renewed = program(
        *("accounts", "add", first, "-e", "simulator", "--refresh-token-stdin"),
        given=f"{sim.world.sellers[0].refresh_token}\n",
    )
    assert renewed.code == 0, renewed.err
    assert program("run", "orders", "--account", first).code == 0
    assert query("SELECT count(*) FROM ebay_orders") == [(3,)]


def before_id(query: Query, name: str) -> Any:
    return query("SELECT id FROM ebay_accounts WHERE name = %s", name)[0][0]


def test_tokens_of_another_environment_do_not_open(program: Any, sim: Any, query: Query, complains: Complains) -> None:
    seller = sim.world.sellers[0]
    owner = before_id(query, seller.username)
    foreign = keys_of(program).seal(Secret(seller.refresh_token), "production", owner, "refresh_token")
    query("UPDATE ebay_tokens SET refresh_token = %s, access_token = NULL WHERE ebay_account_id = %s", foreign, owner)
    before = query(BLOBS)
    sim.journal.clear()
    complains(program("run", "orders", "--account", seller.username), 2, "copied from another place", out=True)
    query("UPDATE ebay_accounts SET environment = 'sandbox' WHERE id = %s", owner)  # nor does a row that was moved
    query("UPDATE ebay_tokens SET client_id = 'x' WHERE ebay_account_id = %s", owner)
    sandbox = {"EBAY_SANDBOX_CLIENT_ID": "x", "EBAY_SANDBOX_CLIENT_SECRET": "secret"}
    told = program("run", "orders", "--account", seller.username, environ=sandbox)
    complains(told, 2, "copied from another place", "--environment sandbox", out=True)
    assert len(sim.journal) == 0
    assert query(BLOBS) == before


def test_a_signing_key_that_was_moved_or_damaged_signs_nothing_and_stops_nothing_else(
    program: Any, sim: Any, query: Query, complains: Complains
) -> None:
    american, british, _ = (seller.username for seller in sim.world.sellers)
    read = "SELECT signing_key_id, private_key FROM ebay_signing_keys"
    [(key_id, good)] = query(read)
    opened = keys_of(program).open(good, "simulator", "simulator", signing.column(key_id))
    for foreign in (
        keys_of(program).seal(opened, "production", "simulator", signing.column(key_id)),
        keys_of(program).seal(opened, "simulator", "other", signing.column(key_id)),
        keys_of(program).seal(opened, "simulator", "simulator", signing.column("other")),
        bytes([*good[:-1], good[-1] ^ 1]),
    ):
        query("UPDATE ebay_signing_keys SET private_key = %s", foreign)
        sim.journal.clear()
        mend = "ebaysync keys signing create --environment simulator --renew"
        complains(program("run", "finances", "--account", british), 2, "is damaged", mend, out=True)
        assert [entry for entry in sim.journal if "finances" in entry.path] == []
        assert query(read) == [(key_id, foreign)]
    assert program("run", "orders", "--account", british).code == 0
    assert program("run", "finances", "--account", american).code == 0
    assert program("keys", "signing", "create", "-e", "simulator", "--renew").code == 0
    # Of two keys the one that ends last is used: here the new one ends before the old.
    query("UPDATE ebay_signing_keys SET expires_at = now() WHERE signing_key_id = %s", key_id)
    assert program("run", "finances", "--account", british).code == 0


def test_an_application_token_that_does_not_open_is_asked_for_anew(program: Any, sim: Any, query: Query) -> None:
    create = ("keys", "signing", "create", "-e", "simulator", "--renew")
    assert program(*create).code == 0
    [(good,)] = query("SELECT application_token FROM ebay_keysets")
    foreign = keys_of(program).seal(Secret("x"), "sandbox", "simulator", application.COLUMN)
    for bad in (foreign, bytes([*good[:-1], good[-1] ^ 1]), good[:10], b""):
        query("UPDATE ebay_keysets SET application_token = %s", bad)
        sim.journal.clear()
        assert program(*create).code == 0
        assert len(sim.journal.of(TOKEN_PATH)) == 1
        [(stored,)] = query("SELECT application_token FROM ebay_keysets")
        assert keys_of(program).open(stored, "simulator", "simulator", application.COLUMN)
    sim.journal.clear()
    assert program(*create).code == 0
    assert len(sim.journal.of(TOKEN_PATH)) == 0
