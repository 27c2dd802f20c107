"""What comes back from eBay's consent page, in whatever way it was copied."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_httpx import HTTPXMock

from ebaysync.accounts.consent import code_in
from ebaysync.accounts.scopes import lacking
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.oauth import consent_page, exchange
from ebaysync.ebay.transport import Transport
from ebaysync.errors import AnswerNotUnderstood, ConsentNeeded, UsageError
from ebaysync.log import Secret
from ebaysync.settings import Keyset, Settings

CODE = "v^1.1#i^1#p^3#r^1%2B#t^Ul4=="
ENCODED = "v%5E1.1%23i%5E1%23p%5E3%23r%5E1%252B%23t%5EUl4%3D%3D"
BASE = "https://api.ebay.com/oauth/api_scope"


@pytest.mark.parametrize(
    "pasted",
    [
        f"https://my.example/accepted?code={ENCODED}&expires_in=299&state=s-1",
        f"https://my.example/accepted?state=s-1&code={ENCODED}",
        f"  'https://my.example/accepted?a=b&code={ENCODED.replace('%5E', '^')}&state=s%2D1'\n",
        f"?code={ENCODED}&state=s-1",
        ENCODED,
        CODE,
        f"https://my.example/accepted?code={CODE}&state=s-1",
    ],
)
def test_a_code_is_decoded_once(pasted: str) -> None:
    assert code_in(pasted, "s-1").reveal() == CODE


@pytest.mark.parametrize(
    ("pasted", "kind", "word"),
    [
        ("", UsageError, "no code was given"),
        ("two words", UsageError, "neither"),
        ("v^1\x00", UsageError, "neither"),
        ("https://my.example/accepted", UsageError, "no code in this address"),
        ("https://my.example/accepted?code=&state=s-1", UsageError, "no code in this address"),
        (f"https://my.example/accepted?code={ENCODED}&state=s-2", UsageError, "state"),
        (f"https://my.example/accepted?code={ENCODED}", UsageError, "state"),
        ("https://my.example/declined?error=access_denied&state=s-1", ConsentNeeded, "declined"),
        ("https://signin.ebay.com/x?isAuthSuccessful=false", ConsentNeeded, "declined"),
    ],
)
def test_what_has_no_code_of_ours_is_told(pasted: str, kind: type[Exception], word: str) -> None:
    with pytest.raises(kind, match=word) as caught:
        code_in(pasted, "s-1")
    assert "s-1" not in str(caught.value)


def test_the_consent_page_asks_for_the_same_scopes_in_the_sandbox() -> None:
    keyset = Keyset("sandbox", "Id-1", Secret("secret"), "Ru_Name-x")
    assert consent_page("https://auth.sandbox.ebay.com", keyset, (BASE, f"{BASE}/sell.finances"), "s") == (
        "https://auth.sandbox.ebay.com/oauth2/authorize?client_id=Id-1&redirect_uri=Ru_Name-x&response_type=code"
        "&scope=https%3A%2F%2Fapi.ebay.com%2Foauth%2Fapi_scope"
        "%20https%3A%2F%2Fapi.ebay.com%2Foauth%2Fapi_scope%2Fsell.finances"
        "&state=s&prompt=login"
    )


def test_a_superset_of_a_scope_is_enough_and_what_is_unknown_is_not_missing() -> None:
    needed = (f"{BASE}/sell.inventory.readonly", BASE)
    assert lacking(needed, None) == []
    assert lacking(needed, (BASE, f"{BASE}/sell.inventory")) == []
    assert lacking(needed, (f"{BASE}/sell.inventory.readonly",)) == [BASE]


EIGHTEEN_MONTHS = 47_304_000


@pytest.mark.parametrize(
    ("lives", "expected"),
    [
        ({"expires_in": 7100, "refresh_token_expires_in": 1000}, (7100, 1000)),
        ({"expires_in": "7100", "refresh_token_expires_in": "1000"}, (7100, 1000)),
        ({"expires_in": None, "refresh_token_expires_in": 0}, (7200, EIGHTEEN_MONTHS)),
        ({"expires_in": "soon", "refresh_token_expires_in": "9" * 5000}, (7200, EIGHTEEN_MONTHS)),
        ({}, (7200, EIGHTEEN_MONTHS)),
    ],
)
async def test_a_code_is_not_lost_for_the_way_in_which_lives_are_written(
    httpx_mock: HTTPXMock, lives: dict[str, Any], expected: tuple[int, int]
) -> None:
    httpx_mock.add_response(json={"access_token": "a", "refresh_token": "r", "token_type": None, **lives})
    async with Transport(hosts(Settings(), "production")) as transport:
        given = await exchange(transport, Keyset("production", "Id-1", Secret("secret"), "Ru"), Secret("code"))
    assert (given.access.expires_in, given.refresh_expires_in) == expected
    assert (given.access.access_token.reveal(), given.refresh_token.reveal()) == ("a", "r")


@pytest.mark.parametrize("token", [None, "", "two\nlines", "Müller"])
async def test_what_is_no_refresh_token_is_not_taken_for_one(httpx_mock: HTTPXMock, token: str | None) -> None:
    httpx_mock.add_response(json={"access_token": "a", "expires_in": 7200, "refresh_token": token})
    async with Transport(hosts(Settings(), "production")) as transport:
        with pytest.raises(AnswerNotUnderstood, match="no refresh token"):
            await exchange(transport, Keyset("production", "Id-1", Secret("secret"), "Ru"), Secret("code"))
