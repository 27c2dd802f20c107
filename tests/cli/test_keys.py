"""keys rotate, as processes: killed at any round trip to PostgreSQL, beside another one, beside a renewal of tokens,
and with the wrong key. keys signing create and list."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from benchmarks.proxy import Proxy, Strike
from ebaysync import settings
from ebaysync.accounts import application, consent, rotate, vault
from ebaysync.accounts.adding import KeysetContext, Obtained
from ebaysync.ebay import oauth
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.transport import Transport
from ebaysync.errors import SecretKeyError
from ebaysync.log import Secret
from ebaysync.settings import Settings
from ebaysync.store.database import Database

Query = Callable[..., list[Any]]
Until = Callable[..., Any]
KILLS = 14
KEYS = [f"the encryption key of the number {number}" for number in range(KILLS + 3)]


def vault_of(*keys: str) -> vault.Vault:
    return vault.load(Settings(secret_key=Secret(",".join(keys))), may_create=False)


class Stored:
    """Every secret in the database, with what it is bound to, read past the program."""

    def __init__(self, query: Query) -> None:
        self.blobs: dict[tuple[str, Any, str], bytes] = {}
        tokens = "SELECT environment, id, refresh_token, access_token FROM ebay_tokens JOIN ebay_accounts"
        for environment, owner, refresh, access in query(f"{tokens} ON id = ebay_account_id"):
            self.blobs[environment, owner, "refresh_token"] = refresh
            self.blobs[environment, owner, "access_token"] = access
        signing = "SELECT environment, client_id, signing_key_id, private_key FROM ebay_signing_keys"
        for environment, client, key_id, private in query(signing):
            self.blobs[environment, client, f"private_key {key_id}"] = private
        pending = "SELECT environment, client_id, name, refresh_token FROM ebay_pending_consents"
        for environment, client, name, refresh in query(pending):
            self.blobs[environment, client, consent.column(name)] = refresh
        keysets = "SELECT keyset, application_token FROM ebay_keysets WHERE application_token IS NOT NULL"
        for keyset, token in query(keysets):
            self.blobs[(*keyset.split(":"), "application_token")] = token

    def opened(self, *keys: str) -> dict[Any, str]:
        """What these keys open. The rest is left out."""
        found, box = {}, vault_of(*keys)
        for place, blob in self.blobs.items():
            if not blob:
                continue
            try:
                found[place] = box.open(blob, *place).reveal()
            except SecretKeyError:
                continue
        return found


@pytest.fixture
def stored(query: Query) -> Callable[[], Stored]:
    return lambda: Stored(query)


@pytest.fixture
def sim(
    program: Any,
    simulator: Callable[..., Any],
    added: Callable[..., list[str]],
    signing_key: Callable[..., None],
    database_url: str,
) -> Any:
    """Three accounts with tokens, a signing key, a kept consent and an application token, all sealed with KEYS[0]."""
    sim = simulator(sellers=3, orders_per_seller=0)
    program.environ |= {"EBAYSYNC_SIMULATOR_URL": sim.url, "EBAYSYNC_SECRET_KEY": KEYS[0]}
    added(program, sim)
    configured = settings.load(program.environ, env_file=False)
    signing_key(sim, configured, database_url)

    async def ask() -> None:
        db = Database(Secret(database_url))
        async with Transport(hosts(configured, "simulator")) as transport:
            keyset, keys, now = configured.keyset("simulator"), vault_of(KEYS[0]), datetime.now(UTC)
            await application.access_token(db, keys, transport, keyset)
            kept = Obtained(oauth.Grant(Secret("unused"), 0), Secret("kept"), now, now)
            await consent.keep(KeysetContext(db, keys, transport, keyset), "new", [], kept)
        await db.close()

    asyncio.run(ask())
    return sim


SECRETS = 3 * 2 + 1 + 1 + 1
ROWS = {"ebay_tokens": 3, "ebay_signing_keys": 1, "ebay_pending_consents": 1, "ebay_keysets": 1}


def rotated_here(url: str, *keys: str) -> rotate.Rotation:
    async def work() -> rotate.Rotation:
        db = Database(Secret(url))
        try:
            return await rotate.rotate(db, vault_of(*keys))
        finally:
            await db.close()

    return asyncio.run(work())


@pytest.mark.slow
def test_a_rotation_killed_at_any_round_trip_to_postgresql_leaves_all_readable_and_the_next_one_ends_it(
    program: Any, sim: Any, stored: Callable[[], Stored], database_url: str
) -> None:
    seed = int(os.environ.get("EBAYSYNC_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"EBAYSYNC_TEST_SEED={seed}")
    draw = random.Random(seed)
    secrets = stored().opened(KEYS[0])
    assert len(secrets) == SECRETS
    halfway = 0
    with Proxy(database_url) as proxy:
        program.environ |= {"EBAYSYNC_DATABASE_URL": proxy.url, "EBAYSYNC_SECRET_KEY": f"{KEYS[1]},{KEYS[0]}"}
        whole = program("keys", "rotate", "--json")
        assert whole.code == 0, whole.err
        assert {table["table"]: table["rotated"] for table in whole.json["tables"]} == ROWS
        trips = proxy.counts.round_trips
        assert trips >= KILLS

        for number in range(KILLS):  # spread over the whole rotation, each somewhere in its part
            old, new = KEYS[number + 1], KEYS[number + 2]
            strike = Strike(1 + (number * trips + draw.randrange(trips)) // KILLS, draw.random() < 0.5)
            what = f"round trip {strike.number} of {trips}, {'not answered' if strike.carried_out else 'not delivered'}"
            program.environ["EBAYSYNC_SECRET_KEY"] = f"{new},{old}"
            proxy.strike = strike
            process = program.start("keys", "rotate")
            assert strike.done.wait(60), what
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL, what

            left = stored()
            assert left.opened(new, old) == secrets, what
            done = left.opened(new)
            assert {*done, *left.opened(old)} == {*secrets}, what
            halfway += 0 < len(done) < SECRETS
            ended = rotated_here(database_url, new, old)
            assert ended.first_error is None, what
            after = stored()
            assert after.opened(new) == secrets, what
            assert after.opened(old) == {}, what
            assert {place: after.blobs[place] for place in done} == {place: left.blobs[place] for place in done}, what
            rows = sum(place[2] != "access_token" for place in done)  # which stands beside a refresh_token
            assert sum(count.current for count in ended.counts) == rows, what
            assert sum(count.rotated for count in ended.counts) == sum(ROWS.values()) - rows, what
    assert halfway > KILLS // 4
    program.environ["EBAYSYNC_SECRET_KEY"] = KEYS[KILLS + 1]
    program.environ["EBAYSYNC_DATABASE_URL"] = database_url
    again = program("keys", "rotate", "--json")
    assert {table["table"]: table["current"] for table in again.json["tables"]} == ROWS


@contextmanager
def waiting(url: str, until: Until) -> Iterator[Callable[[int], None]]:
    """Holds all rows of tokens; `so_many(n)` returns as soon as n others wait for one."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as eye:
        holder.execute("SELECT FROM ebay_tokens FOR UPDATE")
        yield lambda number: until(lambda: eye.execute(query).fetchone() == (number,), f"{number} to wait for a row")


def ended(process: Any) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_two_rotations_at_once_encrypt_nothing_twice(
    program: Any, sim: Any, stored: Callable[[], Stored], database_url: str, until: Until
) -> None:
    secrets = stored().opened(KEYS[0])
    program.environ["EBAYSYNC_SECRET_KEY"] = f"{KEYS[1]},{KEYS[0]}"
    with waiting(database_url, until) as so_many:
        both = [program.start("keys", "rotate", "--json") for _ in range(2)]
        so_many(2)
    told = [ended(process) for process in both]
    assert [code for code, _, _ in told] == [0, 0], told
    tables = [table for _, out, _ in told for table in json.loads(out)["tables"]]
    for name, rows in ROWS.items():
        assert sum(table["rotated"] for table in tables if table["table"] == name) == rows
        assert sum(table["current"] for table in tables if table["table"] == name) == rows
    assert stored().opened(KEYS[1]) == secrets


@pytest.mark.parametrize("first", ["rotate", "refresh"])
def test_an_access_token_that_is_renewed_while_keys_are_rotated_survives(
    program: Any, sim: Any, stored: Callable[[], Stored], database_url: str, until: Until, first: str
) -> None:
    program.environ["EBAYSYNC_SECRET_KEY"] = f"{KEYS[1]},{KEYS[0]}"
    before = set(stored().opened(KEYS[0]).values())
    commands = [("keys", "rotate"), ("refresh-tokens", "--force")]
    with waiting(database_url, until) as so_many:
        processes = []
        for number, command in enumerate(commands if first == "rotate" else reversed(commands), 1):
            processes.append(program.start(*command))
            so_many(number)
    told = [ended(process) for process in processes]
    assert [code for code, _, _ in told] == [0, 0], told
    found = stored().opened(KEYS[1])
    assert len(found) == SECRETS
    newest = {grant.seller.user_id: token for token, grant in sim.app.ledger.access.items() if grant.seller}
    kept = {found[place] for place in found if place[2] == "access_token"}
    assert kept == set(newest.values())
    assert not kept & before


def test_a_wrong_or_lost_key_changes_nothing_and_is_one_line(
    program: Any, sim: Any, content: Callable[..., Any], complains: Callable[..., None], database_url: str
) -> None:
    before = content(database_url)
    program.environ["EBAYSYNC_SECRET_KEY"] = KEYS[1]
    wrong = program("keys", "rotate")
    complains(wrong, 2, "6 rows cannot be read and were left as they are", "EBAYSYNC_SECRET_KEY", out=True)
    del program.environ["EBAYSYNC_SECRET_KEY"]
    complains(program("keys", "rotate"), 2, "secret.key does not exist")
    assert content(database_url) == before


def test_an_application_token_whose_key_is_gone_is_dropped(
    program: Any, sim: Any, stored: Callable[[], Stored], query: Query
) -> None:
    foreign = vault_of("the key of nobody any more").seal(Secret("x"), "simulator", "simulator", "application_token")
    query("UPDATE ebay_keysets SET application_token = %s", foreign)
    program.environ["EBAYSYNC_SECRET_KEY"] = f"{KEYS[1]},{KEYS[0]}"
    done = program("keys", "rotate")
    assert done.code == 0, done.err
    assert "ebay_keysets: 0 encrypted anew, 0 already were, 0 not readable, 1 dropped" in done.out
    assert query("SELECT application_token FROM ebay_keysets") == [(None,)]
    assert len(stored().opened(KEYS[1])) == SECRETS - 1


def test_a_key_that_was_cut_encrypts_nothing_and_no_consent_is_asked_for(
    program: Any, simulator: Any, sim: Any, complains: Callable[..., None], stored: Callable[[], Stored], query: Query
) -> None:
    query("UPDATE ebay_keysets SET application_token = NULL, limits_asked_at = NULL")
    secrets = stored().opened(KEYS[0])
    blobs = stored().blobs
    another = simulator(sellers=1, orders_per_seller=0, seed=2)
    good = program.environ["EBAYSYNC_SECRET_KEY"]
    program.environ |= {"EBAYSYNC_SECRET_KEY": good[:20], "EBAYSYNC_SIMULATOR_URL": another.url}
    told = ("encrypted with a key that is not in EBAYSYNC_SECRET_KEY", "put that key back, whole")
    complains(program("accounts", "connect", "new", "-e", "simulator"), 2, *told)
    add = ("accounts", "add", "new", "-e", "simulator", "--refresh-token-stdin")
    complains(program(*add, given=f"{another.world.sellers[0].refresh_token}\n"), 2, *told)
    complains(program("keys", "signing", "create", "-e", "simulator", "--renew"), 2, *told)
    complains(program("run", "orders", "--account", sim.world.sellers[0].username), 2, "is not in", out=True)
    assert program("run-all", "--now").code == 2
    assert program("doctor").code == 3
    assert list(another.journal) == []
    assert stored().blobs == blobs
    program.environ |= {"EBAYSYNC_SECRET_KEY": f"{KEYS[1]},{good}", "EBAYSYNC_SIMULATOR_URL": sim.url}
    assert program("keys", "signing", "create", "-e", "simulator", "--renew").code == 0, "a rotation has begun"
    assert stored().opened(KEYS[0]) == secrets
    assert len(stored().opened(KEYS[1])) == 2


def test_a_lost_key_is_given_up_on_demand_and_the_sellers_are_connected_again(
    program: Any, sim: Any, complains: Callable[..., None], stored: Callable[[], Stored], query: Query
) -> None:
    program.environ["EBAYSYNC_SECRET_KEY"] = KEYS[1]
    drop = ("keys", "rotate", "--drop-unreadable", "--json")
    tables = program(*drop).json["tables"]
    assert {table["table"]: table["dropped"] for table in tables} == ROWS
    assert {table["dropped"] for table in program(*drop).json["tables"]} == {0}
    assert stored().opened(*KEYS) == {}
    first, *others = sim.world.sellers
    complains(program("run", "orders", "--account", first.username), 2, "accounts connect", out=True)
    for seller in (first, *others):
        add = ("accounts", "add", seller.username, "-e", "simulator", "--refresh-token-stdin")
        assert program(*add, given=f"{seller.refresh_token}\n").code == 0
    assert program("keys", "signing", "create", "-e", "simulator").code == 0
    assert program("run-all", "--now").code == 0
    assert query("SELECT count(*) FROM ebay_accounts") == [(3,)]


def test_a_rotation_gives_up_an_access_token_that_is_damaged_and_a_run_gets_a_new_one(
    program: Any, sim: Any, stored: Callable[[], Stored], query: Query
) -> None:
    query("UPDATE ebay_tokens SET access_token = set_byte(access_token, 40, 255 - get_byte(access_token, 40))")
    program.environ["EBAYSYNC_SECRET_KEY"] = f"{KEYS[1]},{KEYS[0]}"
    done = program("keys", "rotate", "--json")
    assert (done.code, done.json["tables"][0]["dropped"], done.json["tables"][0]["unreadable"]) == (0, 3, 0)
    assert program("refresh-tokens").code == 0
    assert len(stored().opened(KEYS[1])) == SECRETS


# --- keys signing list ------------------------------------------------------------------------------------

CLIENT = "Somebody-ebaysync-PRD-1234567890ab-12345678"
LEFT = {  # in the order of the list: environment, number of the key, what is left of it, what that means
    ("production", 1): ("-1 second", "expired"),
    ("sandbox", 2): ("59 days 23 hours", "renew"),
    ("simulator", 3): ("60 days 1 hour", "valid"),
    ("simulator", 4): ("59 days", "replaced"),
    ("simulator", 5): ("-3 days", "expired"),
}


def key_id(number: int) -> str:
    return f"3f2504e0-4f89-11d3-9a0c-0305e82c330{number}"


@pytest.fixture
def five_keys(query: Query) -> list[tuple[str, str, str, str]]:
    """Environment, id, day of the end and state of each of LEFT."""
    for (environment, number), (left, _) in LEFT.items():
        query(
            "INSERT INTO ebay_signing_keys VALUES (%s, %s, %s, 'ED25519', 'a-jwe', 'its public half',"
            " 'its-private-half', now() - interval '2 years', now() + %s::interval)",
            *(environment, CLIENT, key_id(number), left),
        )
    ends = dict(query("SELECT signing_key_id, to_char(expires_at, 'YYYY-MM-DD') FROM ebay_signing_keys"))
    states = {key_id(number): (environment, state) for (environment, number), (_, state) in LEFT.items()}
    return [(environment, name, ends[name], state) for name, (environment, state) in states.items()]


def test_signing_keys_are_listed_with_their_state_and_without_what_is_secret(
    program: Any, five_keys: list[tuple[str, str, str, str]]
) -> None:
    ended = program("keys", "signing", "list", "--json")
    assert (ended.code, ended.err) == (0, "")
    listed = ended.json["keys"]
    assert [
        (key["environment"], key["signing_key_id"], key["expires_at"][:10], key["state"]) for key in listed
    ] == five_keys
    fields = ("environment", "client_id", "signing_key_id", "cipher", "public_key", "created_at", "expires_at", "state")
    assert all(tuple(key) == fields for key in listed)
    assert {(key["client_id"], key["cipher"], key["public_key"]) for key in listed} == {
        (CLIENT, "ED25519", "its public half")
    }
    assert "private-half" not in ended.out


def test_a_terminal_shows_the_whole_of_each_signing_key_and_how_to_renew_the_one_that_ends(
    terminal: Callable[..., tuple[list[str], str]], five_keys: list[tuple[str, str, str, str]]
) -> None:
    [head, *lines], err = terminal("keys", "signing", "list")
    heads = ("environment", "client id", "signing key", "cipher", "until", "state")
    starts = [head.index(name) for name in heads]
    rows: list[list[str]] = []
    for line in lines:
        cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        if cells[0]:
            rows.append(cells)
        else:  # goes on with the one above
            rows[-1] = [above + cell for above, cell in zip(rows[-1], cells, strict=True)]
    assert rows == [
        [environment, CLIENT, name, "ED25519", until, state] for environment, name, until, state in five_keys
    ]
    mend = "make a new one: ebaysync keys signing create --environment"
    assert err.splitlines() == [f"{mend} production", f"{mend} sandbox"]


def test_a_signing_key_is_made_where_none_is_valid(program: Any, simulator: Any, query: Query) -> None:
    sim = simulator(sellers=1, orders_per_seller=0)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    create, listed = ("keys", "signing", "create", "-e", "simulator"), ("keys", "signing", "list", "--json")
    assert program(*listed).json == {"keys": []}
    first = program(*create, "--json").json
    assert (first["cipher"], first["state"], first.keys() & {"private_key", "jwe"}) == ("ED25519", "valid", set())
    assert query("SELECT calls FROM ebay_api_usage WHERE api = 'key_management'") == [(1,)]
    refused = program(*create)
    assert (refused.code, "--renew" in refused.err) == (2, True)
    for left, states in (("59 days", ["valid", "replaced"]), ("-1 second", ["valid", "expired"])):
        query("DELETE FROM ebay_signing_keys WHERE signing_key_id <> %s", first["signing_key_id"])
        query("UPDATE ebay_signing_keys SET expires_at = now() + %s::interval", left)
        assert program(*create).code == 0
        assert [key["state"] for key in program(*listed).json["keys"]] == states
