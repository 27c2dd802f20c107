"""Digital signatures from key to ledger, and secrets at rest that were tampered with or are being rotated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ebaysync.accounts import rotate, signing, vault
from ebaysync.accounts.tokens import open_api
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.rest import Api
from ebaysync.ebay.transport import Transport
from ebaysync.errors import SecretKeyError, UsageError
from ebaysync.log import Secret
from ebaysync.settings import Settings

Query = Callable[..., list[Any]]
FAMILIES = ("finances", "transactions", "refunds", "payouts")


async def make_key(found: Any, *, renew: bool = False) -> signing.Key:
    keys = vault.load(found.settings, may_create=True)
    async with Transport(hosts(found.settings, "simulator"), sleep=found.sleep) as transport:
        return await signing.create(found.db, keys, transport, found.settings.keyset("simulator"), renew=renew)


def british(bench: Callable[..., Any], **options: Any) -> Any:
    """A bench whose second seller is of EBAY_GB, without a signing key yet."""
    found = bench(sellers=2, orders_per_seller=3, things=8, signatures=True, **options)
    return replace(found, signs=False)


async def test_a_british_sellers_ledger_comes_with_a_key_of_ebays(bench: Callable[..., Any], query: Query) -> None:
    found = british(bench)
    account = await found.add(1)
    made = await make_key(found)
    assert made.state == "valid"
    for family in FAMILIES:
        assert (await found.run(account, family)).status == "completed"
    assert query("SELECT count(*) FROM ebay_finances_transactions")[0][0] > 0
    with pytest.raises(UsageError, match="has a signing key until"):
        await make_key(found)
    await make_key(found, renew=True)
    assert [key.state for key in await signing.every(found.db)] == ["valid", "replaced"]


async def test_without_a_key_one_unsigned_call_is_spent_and_the_key_makes_all_due(
    bench: Callable[..., Any], query: Query
) -> None:
    found = british(bench)
    account = await found.add(1)
    summary = await found.run(account, "finances")
    assert (summary.status, summary.as_dict()["error"]["code"]) == ("error", "signing_key")
    assert "keys signing create --environment simulator" in summary.as_dict()["error"]["hint"]
    assert [entry.status for entry in found.sim.journal if "finances" in entry.path] == [403]
    waits = "SELECT failures, retry_at > now() FROM ebay_sync_state WHERE api_family = 'finances'"
    assert query(waits) == [(1, True)]
    await make_key(found)
    assert query(waits) == [(0, None)]


async def test_a_retry_is_signed_again(bench: Callable[..., Any]) -> None:
    found = british(bench)
    account = await found.add(1)
    await make_key(found)
    made: list[int] = []
    keys = vault.load(found.settings, may_create=False)
    real = await signing.signer(found.db, keys, found.settings.keyset("simulator"))
    assert real

    class Stale:
        """Signs the first time as a host would whose clock is an hour off."""

        def headers(self, method: str, url: str, body: bytes | None, created: int) -> Any:
            made.append(created)
            return real.headers(method, url, body, created - 3600 * (len(made) == 1))

    async def find() -> Any:
        return Stale()

    async with open_api(found.settings, found.db, account, "run", found.sleep) as (api, _):
        api.transport.signing.find_signer = find
        await _ask(api)
    assert len(made) == 2
    asked = [entry.status for entry in found.sim.journal if "finances" in entry.path]
    assert asked in ([403, 200], [403, 204])


async def test_a_seller_of_whom_it_is_not_known_that_ebay_wants_signatures_is_signed_when_ebay_says_so(
    bench: Callable[..., Any], query: Query
) -> None:
    found = british(bench)
    account = await found.add(1)
    query("UPDATE ebay_accounts SET marketplace_id = 'EBAY_US' RETURNING 1")
    account = replace(account, marketplace_id="EBAY_US")
    without = await found.run(account, "finances")
    assert (without.status, without.as_dict()["error"]["code"]) == ("error", "signing_key")
    await make_key(found)
    found.sim.journal.clear()
    assert (await found.run(account, "finances")).status == "completed"
    asked = [entry.status for entry in found.sim.journal if "finances" in entry.path]
    assert asked.count(403) == 1
    assert asked[0] == 403
    assert (await found.run(account, "orders")).status == "completed"


async def test_a_damaged_signing_key_stops_the_calls_that_need_it_and_no_others(
    bench: Callable[..., Any], query: Query
) -> None:
    found = british(bench)
    account, american = await found.add(1), await found.add(0)
    await make_key(found)
    query(TAMPER["signing key"])
    found.sim.journal.clear()
    summary = await found.run(account, "finances")
    assert summary.as_dict()["error"]["code"] == "secret_key"
    assert "keys signing create --environment simulator --renew" in summary.as_dict()["error"]["hint"]
    assert [entry for entry in found.sim.journal if "finances" in entry.path] == []
    assert (await found.run(account, "orders")).status == "completed"
    assert (await found.run(american, "finances")).status == "completed"


async def _ask(api: Api) -> None:
    from datetime import UTC, datetime, timedelta

    from ebaysync.ebay import finances

    now = datetime.now(UTC)
    await finances.transactions(api, now - timedelta(days=9), now)


TAMPER = {
    "columns": "UPDATE ebay_tokens SET access_token = refresh_token, refresh_token = access_token",
    "rows": "UPDATE ebay_tokens t SET access_token = o.access_token, refresh_token = o.refresh_token"
    " FROM ebay_tokens o WHERE o.ebay_account_id <> t.ebay_account_id",
    "bytes": "UPDATE ebay_tokens SET access_token = NULL,"
    " refresh_token = set_byte(refresh_token, 40, 255 - get_byte(refresh_token, 40))",
    "signing key": "UPDATE ebay_signing_keys"
    " SET private_key = set_byte(private_key, 40, 255 - get_byte(private_key, 40))",
}


@pytest.mark.parametrize("what", list(TAMPER))
async def test_a_moved_or_damaged_secret_stops_the_account_unasked(
    bench: Callable[..., Any], query: Query, what: str
) -> None:
    found = british(bench)
    account = await found.add(1)
    await found.add(0)
    await make_key(found)
    query(TAMPER[what])
    blobs = "SELECT ebay_account_id, refresh_token, access_token FROM ebay_tokens ORDER BY 1"
    before, sent = query(blobs), len(list(found.sim.journal))
    try:
        summary = await found.run(account, "finances")
        assert (summary.status, summary.as_dict()["error"]["code"]) == ("error", "secret_key")
    except SecretKeyError:
        pass
    assert len(list(found.sim.journal)) == sent
    assert query(blobs) == before


async def test_rotation_goes_on_where_it_was_killed_and_leaves_what_it_cannot_read(
    bench: Callable[..., Any], query: Query
) -> None:
    found = british(bench)
    for index in (0, 1):
        await found.add(index)
    await make_key(found)
    old = (found.settings.home / "secret.key").read_text().strip()

    def keys(*texts: str) -> vault.Vault:
        return vault.load(Settings(home=found.settings.home, secret_key=Secret(",".join(texts))), may_create=False)

    new = "a new key of many characters"
    blobs = "SELECT refresh_token, access_token FROM ebay_tokens ORDER BY 1"
    before = query(blobs)
    lost = await rotate.rotate(found.db, keys(new))
    assert [count.unreadable for count in lost.counts] == [2, 1, 0, 1]
    assert lost.first_error
    assert query(blobs) == before
    done = await rotate.rotate(found.db, keys(new, old))
    assert [(count.rotated, count.current) for count in done.counts] == [(2, 0), (1, 0), (0, 0), (1, 0)]
    again = await rotate.rotate(found.db, keys(new))
    assert [(count.rotated, count.current) for count in again.counts] == [(0, 2), (0, 1), (0, 0), (0, 1)]
    assert again.first_error is None
