"""Tokens: renewed by one at a time, on record, never lost, and no row stays locked while nobody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from ebaysync.accounts.accounts import find
from ebaysync.accounts.adding import Consent, KeysetContext, OwnerUnknown, add
from ebaysync.accounts.consent import code_in, connect, resume
from ebaysync.accounts.expiry import ending
from ebaysync.accounts.tokens import open_api
from ebaysync.accounts.vault import load
from ebaysync.ebay import oauth
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.transport import Transport
from ebaysync.errors import ConsentNeeded, EbayBusy, EbayError, KeysetRejected, SecretKeyError, UsageError
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.ops.status import look
from ebaysync.sim.clock import ManualClock
from ebaysync.sync.context import RunOptions
from ebaysync.sync.run import run

Query = Callable[..., list[Any]]
Benches = Callable[..., Any]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOKEN = "/identity/v1/oauth2/token"


def expire(query: Query) -> None:
    query("UPDATE ebay_tokens SET access_expires_at = now() + interval '14 minutes' RETURNING 1")


async def test_only_what_ends_within_15_minutes_is_renewed(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()
    b.sim.journal.clear()
    for left, asked in (("16 minutes", 0), ("14 minutes", 1), ("-1 minutes", 2)):
        query("UPDATE ebay_tokens SET access_expires_at = now() + %s::interval RETURNING 1", left)
        async with open_api(b.settings, b.db, account, "refresh-tokens", b.sleep) as (_, tokens):
            await tokens.refresh(force=False)
        assert len(b.sim.journal.of(TOKEN)) == asked
    blob = query("SELECT refresh_token FROM ebay_tokens")
    assert blob[0][0]  # eBay's answer has none; ours stays


async def test_of_many_that_need_a_new_token_at_once_one_asks_ebay(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()
    expire(query)
    b.sim.journal.clear()
    b.sim.faults.add("slow", path=TOKEN, seconds=0.2)

    async def one() -> str:
        async with open_api(b.settings, b.db, account, "run", b.sleep) as (api, _):
            return (await api.credentials.access_token()).reveal()

    tokens = await asyncio.gather(*(one() for _ in range(4)))
    assert len(set(tokens)) == 1
    assert len(b.sim.journal.of(TOKEN)) == 1


async def test_each_attempt_is_on_record_and_no_row_is_locked_between_two(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()
    expire(query)
    open_while_waiting = []

    async def sleep(seconds: float) -> None:
        open_while_waiting.append(query("SELECT 1 FROM ebay_tokens FOR UPDATE NOWAIT"))

    b.sleep = sleep
    b.sim.faults.add("status", path=TOKEN, status=429, retry_after=50, times=2)
    async with open_api(b.settings, b.db, account, "run", b.sleep) as (api, _):
        await api.credentials.access_token()
    assert open_while_waiting == [[(1,)], [(1,)]]
    log = query("SELECT triggered_by, success, error_code FROM ebay_token_refresh_log ORDER BY id")
    assert log == [("accounts add", True, None), ("run", False, "busy"), ("run", False, "busy"), ("run", True, None)]


async def test_a_keyset_that_ebay_does_not_accept_marks_no_account(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()
    expire(query)
    wrong = b.with_settings(simulator_client_secret=Secret("not the secret"))
    summary = await wrong.run(account)
    assert isinstance(summary.failure, KeysetRejected)
    assert summary.failure.exit_code == 2
    assert query("SELECT needs_consent FROM ebay_accounts") == [(False,)]
    assert (await b.run(account)).status == "completed"


def tampered(blob: bytes) -> dict[str, bytes]:
    """A blob with each of its regions changed, cut at each border and within, and with more than there was."""
    regions = {"version": 0, "key id": 3, "nonce": 10, "ciphertext": 30, "tag": len(blob) - 5}
    flipped = {name: blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :] for name, at in regions.items()}
    cut = {f"cut to {length}": blob[:length] for length in (0, 1, 5, 10, 17, 20, 33, len(blob) - 1)}
    return flipped | cut | {"longer": blob + b"x", "shifted": blob[1:] + blob[:1]}


async def tampered_and_moved(b: Any, query: Query, column: str) -> tuple[Any, bytes, dict[str, bytes]]:
    """Two accounts: the first, its blob in a column, and what somebody may put there instead."""
    first, second = await b.add(0), await b.add(1)
    read = f"SELECT {column} FROM ebay_tokens WHERE ebay_account_id = %s"
    [(good,)], [(others,)] = query(read, first.id), query(read, second.id)
    key = load(b.settings, may_create=False)
    secret = key.open(good, "simulator", first.id, column)
    other_column = "access_token" if column == "refresh_token" else "refresh_token"
    moved = {
        "another account's": others,
        "of the other column": key.seal(secret, "simulator", first.id, other_column),
        "of another environment": key.seal(secret, "production", first.id, column),
    }
    return first, good, {**tampered(good), **moved}


async def test_a_tampered_refresh_token_stops_the_account_without_a_request_once_its_access_token_has_ended(
    bench: Benches, query: Query
) -> None:
    b = bench(orders_per_seller=0, sellers=2)
    first, good, changed = await tampered_and_moved(b, query, "refresh_token")
    write = "UPDATE ebay_tokens SET refresh_token = %s WHERE ebay_account_id = %s RETURNING 1"
    query(write, changed["tag"], first.id)
    assert (await b.run(first)).status == "completed", "the access token is good"
    query("UPDATE ebay_tokens SET access_expires_at = clock_timestamp() RETURNING 1")
    b.sim.journal.clear()
    for what, bad in changed.items():
        query(write, bad, first.id)
        before = query("SELECT t.*::text FROM ebay_tokens t ORDER BY 1")
        summary = await b.run(first)
        assert isinstance(summary.failure, SecretKeyError), what
        if what not in ("version", "key id", "shifted"):  # these name a key that is not there
            assert f"accounts connect {first.name} " in str(summary.failure.hint), what
        assert [entry.seller for entry in b.sim.journal] == [], what
        assert query("SELECT t.*::text FROM ebay_tokens t ORDER BY 1") == before, what
    query(write, good, first.id)
    assert (await b.run(first)).status == "completed"


async def test_a_tampered_access_token_is_replaced_with_the_refresh_token_beside_it_and_told_once(
    bench: Benches, query: Query, caplog: pytest.LogCaptureFixture
) -> None:
    b = bench(orders_per_seller=0, sellers=2)
    first, _, changed = await tampered_and_moved(b, query, "access_token")
    for what, bad in changed.items():
        query("UPDATE ebay_tokens SET access_token = %s WHERE ebay_account_id = %s RETURNING 1", bad, first.id)
        asked = len(b.sim.journal.of(TOKEN))
        caplog.clear()
        for _ in range(2):
            assert (await b.run(first)).status == "completed", what
        assert len(b.sim.journal.of(TOKEN)) == asked + 1, what
        assert caplog.text.count("the stored access token was damaged") == (1 if bad else 0), what
    assert query("SELECT needs_consent FROM ebay_accounts WHERE id = %s", first.id) == [(False,)]


async def test_a_seller_that_is_added_again_renews_its_consent(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()
    query("UPDATE ebay_accounts SET needs_consent = true RETURNING 1")
    assert (await b.add()).id == account.id
    assert query("SELECT count(*), bool_or(needs_consent) FROM ebay_accounts") == [(1, False)]


async def added(b: Any, name: str, index: int, **said: Any) -> Any:
    keys = load(b.settings, may_create=True)
    async with Transport(hosts(b.settings, "simulator"), sleep=b.sleep) as transport:
        token = Secret(b.sim.world.sellers[index].refresh_token)
        context = KeysetContext(b.db, keys, transport, b.settings.keyset("simulator"))
        return await add(context, name, token, Consent(**said))


async def test_a_name_that_means_another_account_is_refused(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=2)
    account = await b.add(0)
    with pytest.raises(UsageError, match="of the account"):
        await added(b, account.ebay_user_id, 1)
    with pytest.raises(UsageError, match="belongs to the eBay user"):
        await added(b, str(account.id), 1)
    assert (await added(b, str(account.id), 0)).name == account.name
    with pytest.raises(UsageError, match="already here as"):
        await added(b, "other", 0)
    with pytest.raises(UsageError, match="belongs to the eBay user"):
        await added(b, account.name, 1)
    with pytest.raises(UsageError, match="not to somebody"):
        await added(b, "other", 1, ebay_user_id="somebody")
    assert query("SELECT count(*) FROM ebay_accounts") == [(1,)]
    for word in (account.name, str(account.id), account.ebay_user_id, account.username):
        assert (await find(b.db, word)).id == account.id


async def test_without_the_identity_scope_the_user_id_must_be_said(bench: Benches) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    b.sim.narrow(b.sim.world.sellers[0], "https://api.ebay.com/oauth/api_scope/sell.fulfillment.readonly")
    with pytest.raises(UsageError, match="Identity") as caught:
        await added(b, "x", 0)
    assert "--ebay-user-id" in str(caught.value.hint)
    assert (await added(b, "x", 0, ebay_user_id="abc")).ebay_user_id == "abc"


async def test_a_mistyped_refresh_token_is_told_and_stores_nothing(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    b.sim.revoke(b.sim.world.sellers[0])
    with pytest.raises(ConsentNeeded, match="no longer accepts"):
        await added(b, "x", 0)
    assert query("SELECT count(*) FROM ebay_accounts") == [(0,)]


async def consented(b: Any, name: str, said: Consent, seller: int = 0, **wrong: Any) -> Any:
    """What `accounts connect` does after the seller has agreed."""
    keyset = b.settings.keyset("simulator")
    page = oauth.consent_page(b.sim.url, keyset, said.scopes or (), "s")
    chosen = {**httpx.URL(page).params, "seller": b.sim.world.sellers[seller].username}
    landed = (await asyncio.to_thread(httpx.get, page, params=chosen)).headers["location"]
    code = code_in(landed, "s")
    if "wait" in wrong:
        b.sim.world.clock.advance(wrong["wait"])
    keyset = replace(keyset, ru_name=wrong.get("ru_name", keyset.ru_name))
    keys = load(b.settings, may_create=True)
    async with Transport(hosts(b.settings, "simulator"), sleep=b.sleep) as transport:
        context = KeysetContext(b.db, keys, transport, keyset)
        account, _ = await connect(context, name, wrong.get("code", code), said)
        if wrong.get("twice"):
            await connect(context, name, code, said)
        return account


BASE = "https://api.ebay.com/oauth/api_scope"
IDENTITY = f"{BASE}/commerce.identity.readonly"


async def test_an_expired_used_or_foreign_code_is_told_and_asked_about_once(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=1, clock=ManualClock(NOON))
    for asked, wrong in enumerate(({"wait": 299}, {"ru_name": "other"}, {"code": Secret("v^1.1#nobody")}), 1):
        with pytest.raises(ConsentNeeded, match="does not accept this code"):
            await consented(b, "x", Consent((IDENTITY,)), **wrong)
        assert len(b.sim.journal.of(TOKEN)) == asked
    assert query("SELECT count(*) FROM ebay_accounts") == [(0,)]
    with pytest.raises(ConsentNeeded, match="does not accept this code"):
        await consented(b, "x", Consent((IDENTITY,)), twice=True)


IDENTITY_PATH = "/commerce/identity/"
KEPT = "SELECT name, scopes, refresh_token IS NOT NULL FROM ebay_pending_consents"


async def resumed(b: Any, name: str, *scopes: str, **said: Any) -> Any:
    """What `accounts connect` does before it shows the page."""
    keys, keyset = load(b.settings, may_create=True), b.settings.keyset("simulator")
    async with Transport(hosts(b.settings, "simulator"), sleep=b.sleep) as transport:
        found = await resume(KeysetContext(b.db, keys, transport, keyset), name, Consent(scopes, **said))
    return found and found[0]


async def test_a_consent_whose_seller_ebay_does_not_tell_is_kept_and_gone_on_with(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=1, sellers=1, clock=ManualClock(NOON))
    b.sim.faults.add("status", path=IDENTITY_PATH, status=500, times=None)
    with pytest.raises(EbayError) as caught:
        await consented(b, "x", Consent((IDENTITY,)))
    assert "the seller's consent is kept: run the same command again" in str(caught.value.hint)
    assert query(KEPT) == [("x", [IDENTITY], True)]
    with pytest.raises(EbayError, match="500"):
        await resumed(b, "x", IDENTITY)
    assert query("SELECT count(*) FROM ebay_accounts") == [(0,)]
    b.sim.world.clock.advance(9_000)  # seconds: the code and the access token are of no use any more
    b.sim.faults.clear()
    assert await resumed(b, "y", IDENTITY) is None  # under another name, or to other scopes, it is another one
    assert await resumed(b, "x", IDENTITY, BASE) is None
    b.sim.journal.clear()
    account = await resumed(b, "x", IDENTITY)
    assert [entry.path for entry in b.sim.journal] == [TOKEN, f"{IDENTITY_PATH}v1/user/"]
    assert (account.name, account.ebay_user_id) == ("x", b.sim.world.sellers[0].user_id)
    assert query("SELECT scopes, missing_scopes FROM ebay_authorizations") == [([IDENTITY], [])]
    kept = "u.consented_at = p.consented_at AND t.refresh_expires_at = p.refresh_expires_at"
    assert query(f"SELECT {kept} FROM ebay_authorizations u, ebay_tokens t, ebay_pending_consents p") == [(True,)]
    assert query(KEPT) == [("x", [IDENTITY], False)]
    assert await resumed(b, "x", IDENTITY) is None


async def test_a_consent_that_may_not_ask_identity_is_kept_until_its_seller_is_said(
    bench: Benches, query: Query
) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    with pytest.raises(OwnerUnknown) as caught:
        await consented(b, "x", Consent((BASE,)))
    assert "--ebay-user-id" in str(caught.value.hint)
    assert query(KEPT) == [("x", [BASE], True)]
    assert (await resumed(b, "x", BASE, ebay_user_id="U-1")).ebay_user_id == "U-1"


async def test_a_kept_consent_ends_with_the_seller_that_is_another_one_or_withdraws_it(
    bench: Benches, query: Query
) -> None:
    b = bench(orders_per_seller=0, sellers=2)
    await added(b, "x", 1)
    for undo in ("another seller", "revoked", "key lost"):
        b.sim.faults.add("empty", path=IDENTITY_PATH, times=None)
        with pytest.raises(EbayError):
            await consented(b, "x", Consent((IDENTITY,)))
        b.sim.faults.clear()
        before = query("SELECT * FROM ebay_tokens")
        assert query(KEPT) == [("x", [IDENTITY], True)], undo
        if undo == "another seller":
            with pytest.raises(UsageError, match="belongs to the eBay user"):
                await resumed(b, "x", IDENTITY)
            assert query(KEPT) == [("x", [IDENTITY], False)]
        elif undo == "revoked":
            b.sim.revoke(b.sim.world.sellers[0])
            assert await resumed(b, "x", IDENTITY) is None
        else:
            query("UPDATE ebay_pending_consents SET refresh_token = substr(refresh_token, 2) RETURNING 1")
            b.sim.journal.clear()
            assert await resumed(b, "x", IDENTITY) is None
            assert len(b.sim.journal) == 0
        assert query("SELECT * FROM ebay_tokens") == before
    await consented(b, "x", Consent((IDENTITY,)), seller=1)  # the next one takes its place
    assert query(KEPT) == [("x", [IDENTITY], False)]


async def test_a_code_whose_exchange_fails_is_not_tried_again(bench: Benches) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    b.sim.faults.add("status", path=TOKEN, status=503, times=None)
    with pytest.raises(EbayBusy) as caught:
        await consented(b, "x", Consent((IDENTITY,)))
    assert "run the command again" in str(caught.value.hint)
    assert len(b.sim.journal.of(TOKEN)) == 1


async def test_a_scope_known_to_be_missing_costs_no_call(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=1, sellers=1)
    account = await consented(b, "x", Consent((IDENTITY, f"{BASE}/sell.fulfillment")))
    b.sim.journal.clear()
    summary = await b.run(account, "finances")
    assert (summary.status, summary.reason) == ("skipped", "the seller has not consented to sell.finances")
    assert summary.failure.exit_code == 12
    assert "accounts connect x" in summary.failure.hint
    assert len(b.sim.journal) == 0
    assert (await b.run(account, "orders")).status == "completed"  # the superset of its scope is enough
    found = (await look(b.settings, b.db, [account])).found
    assert f"{BASE}/sell.finances" in found["accounts"][0]["token"]["missing_scopes"]


async def test_a_refusal_is_no_proof_that_a_scope_is_missing(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=1, sellers=1)
    account = await b.add()  # scopes unknown
    b.sim.narrow(b.sim.world.sellers[0], BASE, IDENTITY)
    for _ in range(2):
        summary = await b.run(account, "finances")
        assert (summary.status, summary.failure.code) == ("error", "missing_scope")
        assert "it needs sell.finances" in summary.failure.message
    found = (await look(b.settings, b.db, [account])).found
    assert found["accounts"][0]["token"]["missing_scopes"] == []
    await consented(b, account.name, Consent((IDENTITY, f"{BASE}/sell.finances")))
    assert (await b.run(account, "finances")).status == "completed"


async def test_a_refusal_in_spite_of_the_consent_on_record_is_told_each_time(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=1, sellers=1)
    account = await consented(b, "x", Consent((IDENTITY, f"{BASE}/sell.finances")))
    b.sim.narrow(b.sim.world.sellers[0], IDENTITY)
    for _ in range(2):
        summary = await b.run(account, "finances")
        assert (summary.status, summary.failure.code) == ("error", "missing_scope")
        assert "although the consent on record has sell.finances" in summary.failure.message


async def test_a_consent_that_ends_is_warned_of_in_its_last_14_days(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()
    assert await ending(b.db, [account]) is None
    told = ("13.5 days", "(13 days)"), ("1.5 days", "(1 day)"), ("5 hours", "(less than a day)"), ("-1 days", "(ended)")
    for left, said in (("15 days", None), *told):
        query("UPDATE ebay_tokens SET refresh_expires_at = now() + %s::interval", left)
        line = await ending(b.db, [account])
        assert (line is None) if said is None else (said in str(line) and "accounts connect" in str(line))


async def test_after_the_consent_is_gone_no_family_spends_a_call(bench: Benches) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()
    b.sim.revoke(b.sim.world.sellers[0])
    async with b.worker(account) as worker:
        spent = []
        for name in ("orders", "finances", "messages"):
            summary = (await run(worker, [discover()[name]], RunOptions("run")))[0]
            assert summary.failure
            assert summary.failure.code == "needs_consent"
            spent.append(len(b.sim.journal))
        assert spent[1:] == spent[:-1]


# ---- a consent that eBay refuses, and takes again

MARKS = (
    "SELECT a.needs_consent, t.refused_since IS NOT NULL, t.retry_at IS NOT NULL FROM ebay_accounts a, ebay_tokens t"
)
DAY = "SELECT t.retry_at - now() BETWEEN '23 hours' AND '25 hours' FROM ebay_tokens t"


async def test_a_dead_consent_is_tried_once_a_day_and_the_mark_is_taken_back_when_it_works(
    bench: Benches, query: Query
) -> None:
    b = bench(orders_per_seller=1, sellers=1)
    account = await b.add()
    expire(query)
    b.sim.revoke(b.sim.world.sellers[0])
    for _ in range(2):
        assert (await b.run(account)).failure.code == "needs_consent"
        assert (query(MARKS), query(DAY)) == ([(True, True, True)], [(True,)])
    since = query("SELECT refused_since FROM ebay_tokens")
    b.sim.journal.clear()
    assert (await b.run(account)).failure.code == "needs_consent"
    assert len(b.sim.journal) == 0
    for asked in (1, 1):
        query("UPDATE ebay_tokens SET retry_at = now()")
        b.sim.journal.clear()
        await b.run(account)
        assert (len(b.sim.journal), query(DAY)) == (asked, [(True,)])
    assert query("SELECT refused_since FROM ebay_tokens") == since
    b.sim.unrevoke(b.sim.world.sellers[0])
    assert (await b.run(account)).failure.code == "needs_consent", "not before its time"
    query("UPDATE ebay_tokens SET retry_at = now()")
    assert (await b.run(account)).status == "completed"
    assert query(MARKS) == [(False, False, False)]


async def test_a_mark_without_a_next_try_is_tried_at_once(bench: Benches, query: Query) -> None:
    """As an earlier version left it. The stored access token, which still lasts, is not trusted."""
    b = bench(orders_per_seller=1, sellers=1)
    account = await b.add()
    query("UPDATE ebay_accounts SET needs_consent = true")
    b.sim.journal.clear()
    assert (await b.run(account)).status == "completed"
    assert (len(b.sim.journal.of(TOKEN)), query(MARKS)) == (1, [(False, False, False)])


async def test_force_tries_a_dead_consent_at_once(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=1, sellers=1)
    account = await b.add()
    expire(query)
    b.sim.revoke(b.sim.world.sellers[0])
    await b.run(account)
    b.sim.unrevoke(b.sim.world.sellers[0])
    async with open_api(b.settings, b.db, account, "refresh-tokens", b.sleep) as (_, tokens):
        with pytest.raises(ConsentNeeded):
            await tokens.refresh(force=False)
    async with open_api(b.settings, b.db, account, "refresh-tokens", b.sleep) as (_, tokens):
        assert (await tokens.refresh(force=True)).refreshed
    assert query(MARKS) == [(False, False, False)]


async def test_of_many_whose_daily_try_is_due_one_asks_ebay(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=0, sellers=1)
    account = await b.add()
    expire(query)
    b.sim.revoke(b.sim.world.sellers[0])
    await b.run(account)
    query("UPDATE ebay_tokens SET retry_at = now()")
    b.sim.journal.clear()
    b.sim.faults.add("slow", path=TOKEN, seconds=0.2)
    summaries = await asyncio.gather(*(b.run(account, family) for family in ("orders", "payouts", "messages")))
    assert {summary.failure.code for summary in summaries} == {"needs_consent"}
    assert len(b.sim.journal.of(TOKEN)) == 1


# ---- the keyset of a consent


async def test_tokens_of_another_keyset_are_refused_before_any_call_and_nothing_is_marked(
    bench: Benches, query: Query
) -> None:
    b = bench(orders_per_seller=1, sellers=1)
    account = await b.add()
    b.sim.other_keyset("second", "secret")
    other = b.with_settings(simulator_client_id="second", simulator_client_secret=Secret("secret"))
    for left in ("1 hour", "-1 hour"):
        query("UPDATE ebay_tokens SET access_expires_at = now() + %s::interval", left)
        b.sim.journal.clear()
        failure = (await other.run(account)).failure
        assert (failure.exit_code, len(b.sim.journal)) == (2, 0)
        assert "belongs to the client id simulator, but EBAYSYNC_SIMULATOR_CLIENT_ID is second" in failure.message
        assert "accounts connect" in failure.hint
    assert query(MARKS) == [(False, False, False)]
    assert query("SELECT retry_at, failures FROM ebay_sync_state") == [(None, 0)]
    assert (await b.run(account)).status == "completed"


async def test_the_keyset_of_tokens_from_before_is_learned_with_the_next_refresh(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=1, sellers=1)
    account = await b.add()
    assert query("SELECT client_id FROM ebay_tokens") == [("simulator",)]
    query("UPDATE ebay_tokens SET client_id = NULL")
    assert (await b.run(account)).status == "completed"
    assert query("SELECT client_id FROM ebay_tokens") == [(None,)]
    expire(query)
    assert (await b.run(account)).status == "completed"
    assert query("SELECT client_id FROM ebay_tokens") == [("simulator",)]


async def test_a_consent_to_another_keyset_replaces_the_first(bench: Benches, query: Query) -> None:
    b = bench(orders_per_seller=1, sellers=1)
    account = await b.add()
    b.sim.other_keyset("second", "secret")
    other = b.with_settings(simulator_client_id="second", simulator_client_secret=Secret("secret"))
    await consented(other, account.name, Consent((IDENTITY, f"{BASE}/sell.fulfillment")))
    assert query("SELECT client_id FROM ebay_tokens") == [("second",)]
    expire(query)
    assert (await other.run(account)).status == "completed"
    assert (await b.run(account)).failure.exit_code == 2
