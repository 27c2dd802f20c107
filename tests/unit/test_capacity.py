"""How many accounts a keyset carries, and what N of them would get."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ebaysync.ebay.limits import Usage
from ebaysync.families import discover
from ebaysync.ops.capacity import Capacity, FamilyCapacity, QuotaCapacity, capacity, typical
from ebaysync.ops.demand import Candidate

NOW = datetime(2026, 7, 23, 19, tzinfo=UTC)
KEYSET = "production:app"
ONE_BUSY_IN_TWENTY = typical(KEYSET, NOW)


def asked(accounts: int, present: list[Candidate] = ONE_BUSY_IN_TWENTY, **limits: int) -> Capacity:
    return capacity(
        present, Usage(limits={name.replace("__", "."): limit for name, limit in limits.items()}), accounts, NOW
    )


def quota(found: Capacity, api: str) -> QuotaCapacity:
    return next(each for each in found.quotas if each.api == api)


def family(found: Capacity, name: str) -> FamilyCapacity:
    return next(each for each in found.families if each.family == name)


def test_twice_the_accounts_want_twice_the_calls_whatever_the_number_of_present_ones() -> None:
    few, many = asked(100), asked(200)
    assert quota(many, "fulfillment").wanted == 2 * quota(few, "fulfillment").wanted == 200 * 288
    twice = [*ONE_BUSY_IN_TWENTY, *(replace(c, account_id=UUID(int=c.account_id.int + 20)) for c in ONE_BUSY_IN_TWENTY)]
    other = asked(200, twice)
    assert (other.present, other.quotas) == (40, many.quotas)
    assert other.families == many.families


def test_what_it_carries_runs_at_its_intervals_and_one_account_more_does_not() -> None:
    most = asked(1).carries
    assert most is not None
    for accounts, fits in ((most, True), (most + 1, False)):
        found = asked(accounts)
        assert found.carries == most
        assert (quota(found, found.first_to_bind or "").request is None) == fits
        stretched = [each for each in found.families if each.quiet != each.every_minutes]
        assert (not stretched) == fits


def test_while_only_quiet_accounts_wait_longer_the_busy_ones_keep_their_intervals() -> None:
    most = asked(1).carries_stretched
    assert most is not None
    assert most > 5 * (asked(1).carries or 0)
    found = asked(most)
    assert {each.family for each in found.families if each.busy != each.every_minutes} == set()
    assert family(found, "messages").quiet == pytest.approx((90, 90), rel=0.05)
    assert family(found, "messages").old_rows_within_hours == pytest.approx((48, 48), rel=0.05)
    beyond = asked(most * 2)
    assert {each.family for each in beyond.families if each.busy != each.every_minutes} >= {"active_inventory"}


@pytest.mark.parametrize("accounts", [1, 7, 200, 3_333, 100_000])
def test_with_the_requested_quotas_all_run_at_their_intervals(accounts: int) -> None:
    requests = {each.api: each.request for each in asked(accounts).quotas if each.request}
    found = capacity(ONE_BUSY_IN_TWENTY, Usage(limits=requests), accounts, NOW)
    assert {each.family for each in found.families if each.quiet != each.every_minutes} == set()
    assert [each.request for each in found.quotas if each.request] == []
    assert {calls for calls in requests.values() if int(str(calls)[2:] or 0)} == set(), "round numbers"


def test_a_quota_that_ebay_reported_counts_and_calls_of_today_do_not() -> None:
    assert asked(20).first_to_bind == "trading"
    reported = asked(
        20, trading__GetMyMessages=1_000_000, trading__GetMyeBaySelling=5_000, trading__GetMyeBayBuying=5_000
    )
    assert quota(reported, "trading.GetMyMessages").quota == 1_000_000
    assert reported.first_to_bind != "trading"
    assert (reported.carries or 0) > (asked(20).carries or 0)


def test_what_waits_or_is_refused_now_counts_as_if_it_ran() -> None:
    def delayed(one: Candidate) -> Candidate:
        return replace(one, retry_at=NOW + timedelta(hours=9), failures=7, refused_since=NOW, last_run_at=NOW)

    assert asked(50, [delayed(one) for one in ONE_BUSY_IN_TWENTY]) == asked(50)


def test_what_the_busy_and_the_quiet_accounts_of_a_family_would_get_is_told_apart() -> None:
    found = family(asked(200), "messages")
    assert found.busy is not None
    assert found.quiet is not None
    assert found.busy[1] < found.quiet[0]
    only: list[Any] = [one for one in ONE_BUSY_IN_TWENTY if one.account_id != UUID(int=0)]
    assert family(asked(200, only), "messages").busy is None


def test_typical_accounts_have_every_family_that_their_environment_has() -> None:
    assert {one.family for one in typical(KEYSET, NOW)} == set(discover())
    assert "returns" not in {one.family for one in typical("sandbox:app", NOW)}
