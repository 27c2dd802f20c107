"""What doctor finds: each thing that can be wrong, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ebaysync.accounts import accounts
from ebaysync.families import discover
from ebaysync.log import Secret
from ebaysync.ops.doctor import Finding, diagnose, worst
from ebaysync.sim.clock import ManualClock

Benches = Callable[..., Any]
Query = Callable[..., list[Any]]
NEW_KEY, OLD_KEY = "a new key of 32 characters------", "an old key of 32 characters-----"


async def ask(bench: Any, **options: Any) -> list[Finding]:
    bench.sim.journal.clear()
    return await diagnose(bench.settings, bench.db, await accounts.every(bench.db), bench.stop, **options)


def complaints(found: list[Finding], check: str | None = None) -> list[Finding]:
    """Warnings and failures; that nothing has run yet is none here."""
    bad = [finding for finding in found if finding.status != "ok" and finding.check != "runs"]
    return [finding for finding in bad if check in (None, finding.check)]


def only(found: list[Finding], check: str, status: str, *words: str) -> Finding:
    """The one complaint, which is of this check, has these words in it and says how to mend it."""
    [finding] = complaints(found)
    assert (finding.check, finding.status) == (check, status), finding
    for word in words:
        assert word in f"{finding.message} → {finding.hint}", finding
    assert finding.hint
    return finding


def british(bench: Benches, **options: Any) -> Any:
    """A bench of an American and a British seller, where signatures are verified."""
    return bench(sellers=2, orders_per_seller=0, signatures=True, **options)


async def test_where_all_is_well_each_account_costs_one_call_and_each_signing_key_one(
    bench: Benches, query: Query
) -> None:
    b = british(bench)
    for index in range(2):
        await b.add(index)
    found = await ask(b)
    assert complaints(found) == []
    asked = [(entry.method, entry.path, entry.seller, entry.status) for entry in b.sim.journal]
    american, englishman = (seller.username for seller in b.sim.world.sellers)
    identity = "/commerce/identity/v1/user/"
    assert asked[0] == ("POST", "/identity/v1/oauth2/token", None, 200)
    assert sorted(asked[1:3]) == sorted([("GET", identity, american, 200), ("GET", identity, englishman, 200)])
    assert asked[3:] == [("GET", "/sell/finances/v1/payout", englishman, 204)]
    checked = {finding.check for finding in found if finding.status == "ok"}
    assert checked == {
        "database",
        "key",
        "clock",
        "settings",
        "keyset",
        "token",
        "consent",
        "scopes",
        "signing",
        "quota",
    }
    runs = [finding for finding in found if finding.check == "runs"]
    assert [(finding.status, finding.message) for finding in runs] == [("warning", "nothing has run yet")]
    await b.run(await accounts.find(b.db, american))
    assert worst(await ask(b)) == "ok"
    query("UPDATE ebay_sync_state SET last_run_at = last_run_at - interval '2 hours' RETURNING 1")
    [late] = [finding for finding in await ask(b) if finding.check == "runs"]
    assert (late.status, "systemctl list-timers" in (late.hint or "")) == ("warning", True)


async def test_a_british_sellers_missing_or_ending_key_is_told(bench: Benches, query: Query) -> None:
    b = replace(british(bench), signs=False)
    await b.add(0)
    assert complaints(await ask(b)) == []
    account = await b.add(1)
    create = "keys signing create --environment simulator"
    only(await ask(b), "signing", "failed", "no signing key", account.name, create)
    b.give_key(b.sim, b.settings, b.database_url)
    assert complaints(await ask(b)) == []
    query("UPDATE ebay_signing_keys SET expires_at = clock_timestamp() + interval '50 days' RETURNING 1")
    only(await ask(b), "signing", "warning", "lasts until", create)
    query("UPDATE ebay_signing_keys SET expires_at = clock_timestamp() - interval '1 second' RETURNING 1")
    only(await ask(b), "signing", "failed", "has expired", account.name, create)
    assert b.sim.journal.of("/sell/finances/v1/payout") == []


async def test_a_key_that_ebay_no_longer_knows_fails_the_self_test(bench: Benches) -> None:
    b = british(bench)
    await b.add(1)
    b.sim.world.signing_keys.clear()
    only(await ask(b), "signing", "failed", "215120", "--renew")


@pytest.mark.parametrize(
    ("off", "status", "signed"), [(4, "ok", 1), (100, "warning", 1), (400, "failed", 0), (-400, "failed", 0)]
)
async def test_with_a_clock_that_is_minutes_off_nothing_is_signed(
    bench: Benches, off: int, status: str, signed: int
) -> None:
    b = british(bench, clock=ManualClock(datetime.now(UTC) + timedelta(seconds=off)))
    await b.add(1)
    found = await ask(b)
    [clock] = [finding for finding in found if finding.check == "clock" and finding.subject == "simulator"]
    assert clock.status == status, clock
    assert len(b.sim.journal.of("/sell/finances/v1/payout")) == signed
    if status != "ok":
        assert ("behind" if off > 0 else "ahead of") in clock.message
        assert "timedatectl" in (clock.hint or "")
    refused = [finding.message for finding in complaints(found, "signing")]
    assert refused == ([] if signed else ["no signed call was made: this host's clock is more than 5 minutes off"])


async def test_what_became_of_tokens_and_consent_is_told_with_the_command_that_mends_it(
    bench: Benches, query: Query
) -> None:
    b = bench(sellers=1, orders_per_seller=0)
    account = await b.add()
    mend = f"accounts connect {account.name} --environment simulator"
    for left, status, words in (
        ("61 days", None, ""),
        ("59 days", "warning", "lasts until"),
        ("-1 second", "failed", "has ended"),
    ):
        query(f"UPDATE ebay_tokens SET refresh_expires_at = clock_timestamp() + interval '{left}' RETURNING 1")
        if status:
            only(await ask(b), "consent", status, words, mend)
        else:
            assert complaints(await ask(b)) == []
    query("UPDATE ebay_tokens SET refresh_expires_at = NULL RETURNING 1")
    query("UPDATE ebay_accounts SET ebay_user_id = 'another' RETURNING 1")
    only(await ask(b), "token", "failed", account.ebay_user_id, "another", mend)
    query("UPDATE ebay_accounts SET ebay_user_id = %s RETURNING 1", account.ebay_user_id)
    b.sim.narrow(b.sim.world.sellers[0], "https://api.ebay.com/oauth/api_scope/sell.fulfillment.readonly")
    assert complaints(await ask(b)) == []  # accepted, but may not ask Identity
    b.sim.revoke(b.sim.world.sellers[0])
    query("UPDATE ebay_tokens SET access_expires_at = clock_timestamp() RETURNING 1")
    only(await ask(b), "token", "failed", "must consent again", mend)
    only(await ask(b), "token", "failed", "must consent again", mend)
    assert b.sim.journal.of("/commerce/identity/v1/user/") == []
    query("UPDATE ebay_accounts SET is_active = false RETURNING 1")
    assert complaints(await ask(b)) == []


async def test_missing_scopes_are_told_for_the_families_that_are_to_run(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0)
    account = await b.add()
    finances = "https://api.ebay.com/oauth/api_scope/sell.finances"
    others = {scope for family in discover().values() for scope in family.scopes if scope != finances}
    query("UPDATE ebay_authorizations SET scopes = %s RETURNING 1", sorted(others))
    families = [name for name, family in discover().items() if finances in family.scopes]
    assert {"finances", "payouts"} <= set(families)
    only(await ask(b), "scopes", "warning", "sell.finances", ", ".join(families), account.name)
    for family in families:
        query(
            "INSERT INTO ebay_sync_state (ebay_account_id, ebay_user_id, api_family, enabled, cursor_type)"
            " VALUES (%s, %s, %s, false, '') RETURNING 1",
            *(account.id, account.ebay_user_id, family),
        )
    assert complaints(await ask(b)) == []


async def test_refused_families_are_told_with_since_when(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0)
    account = await b.add()
    b.sim.faults.add("status", path="/(return|inquiry)/search$", status=403, code=1100, times=None)
    for family in ("returns", "inquiries"):
        await b.run(account, family)
    only(await ask(b), "scopes", "failed", "refuses these families since 20", "inquiries, returns", account.name)


async def test_a_key_that_does_not_fit_is_told_and_the_account_is_not_asked_about(bench: Benches, query: Query) -> None:
    b = bench(sellers=2, orders_per_seller=0).with_settings(secret_key=Secret(OLD_KEY))
    for index in range(2):
        await b.add(index)
    first, second = await accounts.every(b.db)
    told = complaints(await ask(b.with_settings(secret_key=Secret(f"{NEW_KEY},{OLD_KEY}"))), "token")
    assert {(finding.subject, finding.status) for finding in told} == {
        (each.name, "warning") for each in (first, second)
    }
    assert all("older key" in finding.message and "keys rotate" in str(finding.hint) for finding in told)
    found = await ask(b.with_settings(secret_key=Secret(NEW_KEY)))
    [key] = complaints(found, "key")
    assert (key.status, "not in EBAYSYNC_SECRET_KEY" in key.message) == ("failed", True)
    assert "put that key back" in str(key.hint)
    assert {finding.message for finding in complaints(found, "token")} == {"the tokens cannot be read without the key"}
    assert b.sim.journal.of("/commerce/identity/v1/user/") == []
    query(
        "UPDATE ebay_tokens SET refresh_token = (SELECT refresh_token FROM ebay_tokens WHERE ebay_account_id = %s)"
        " WHERE ebay_account_id = %s RETURNING 1",
        *(second.id, first.id),
    )
    told = only(await ask(b), "token", "failed", "damaged, or was copied from another place")
    assert told.subject == first.name
    assert [entry.seller for entry in b.sim.journal.of("/commerce/identity/v1/user/")] == [second.name]


async def test_where_the_key_is_lost_ebay_is_not_asked(bench: Benches) -> None:
    b = bench(sellers=1, orders_per_seller=0)
    await b.add()
    (b.settings.home / "secret.key").unlink()
    found = await ask(b)
    assert [(finding.check, finding.status) for finding in complaints(found)] == [
        ("key", "failed"),
        ("token", "warning"),
    ]
    assert not (b.settings.home / "secret.key").exists()
    assert len(b.sim.journal) == 0


async def test_a_keyset_that_ebay_refuses_and_one_that_is_not_set_are_told_once(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0)
    await b.add()
    found = await ask(b.with_settings(simulator_client_secret=Secret("not the secret")))
    only(found, "keyset", "failed", "invalid_client", "developer.ebay.com")
    b.sim.stop()
    told = complaints(await ask(b))
    assert [(finding.check, finding.status) for finding in told] == [("keyset", "failed")]
    query("UPDATE ebay_accounts SET environment = 'production' RETURNING 1")
    query("DELETE FROM ebay_tokens RETURNING 1")
    told = complaints(await ask(b.with_settings(simulator_url=None)))
    assert [(finding.check, finding.subject) for finding in told] == [("settings", "production")]
    assert "EBAY_CLIENT_ID is not set" in told[0].message


async def test_paused_or_offline_ebay_is_not_asked(bench: Benches, query: Query) -> None:
    b = british(bench)
    await b.add(1)
    assert complaints(await ask(b, online=False)) == []
    assert len(b.sim.journal) == 0
    query("UPDATE ebay_worker_global_config SET workers_enabled = false, reason = 'moving house' RETURNING 1")
    only(await ask(b), "pause", "warning", "moving house", "ebaysync resume")
    assert len(b.sim.journal) == 0


async def test_a_spent_quota_and_one_that_the_day_will_spend_are_told(bench: Benches, query: Query) -> None:
    b = bench(sellers=1, orders_per_seller=0)
    await b.add()
    await ask(b)
    query(
        "INSERT INTO ebay_api_usage (keyset, api, quota_day, calls, quota, resets_at) VALUES ('simulator:simulator',"
        " 'finances', (now() AT TIME ZONE 'America/Los_Angeles')::date, 15000, 15000, now()) RETURNING 1"
    )
    only(await ask(b), "quota", "warning", "15000 of 15000 calls of finances", "ebaysync schedule")


async def test_a_login_or_server_that_will_not_do_is_told(bench: Benches, query: Query, database_url: str) -> None:
    b = bench(sellers=1, orders_per_seller=0)
    await b.add()
    assert complaints(await ask(b.with_settings(admin_database_url=Secret(database_url)))) == []
    told = only(await ask(b.with_settings(admin_database_url=Secret(f"{database_url}x"))), "database", "failed")
    assert told.subject == "EBAYSYNC_ADMIN_DATABASE_URL"
    only(await ask(b.with_settings(jobs=900)), "database", "warning", "connections", "EBAYSYNC_JOBS")
