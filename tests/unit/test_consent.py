"""What comes back from eBay's consent page, in whatever way it was copied."""

from __future__ import annotations

import pytest

from ebaysync.accounts.consent import code_in
from ebaysync.accounts.scopes import lacking
from ebaysync.ebay.oauth import consent_page
from ebaysync.errors import ConsentNeeded, UsageError
from ebaysync.log import Secret
from ebaysync.settings import Keyset

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
    assert lacking(needed, None, ()) == []
    assert lacking(needed, (BASE, f"{BASE}/sell.inventory"), ()) == []
    assert lacking(needed, (f"{BASE}/sell.inventory.readonly",), ()) == [BASE]
    assert lacking(needed, None, (BASE,)) == [BASE]
