"""OAuth as eBay documents it: who gets a token, for how long, and what every misuse is answered with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from ebaysync.sim.clock import ManualClock

Simulate = Callable[..., Any]
KEYS = ("simulator", "simulator")
TOKEN = "/identity/v1/oauth2/token"
BASE = "https://api.ebay.com/oauth/api_scope"


def ask(caller: Any, keys: Any = KEYS, **form: str) -> httpx.Response:
    return httpx.post(caller.sim.url + TOKEN, auth=keys, data=form)


def refresh(caller: Any, **form: str) -> httpx.Response:
    return ask(caller, grant_type="refresh_token", refresh_token=caller.seller.refresh_token, **form)


def status_of(caller: Any, token: str) -> int:
    answer = httpx.get(caller.sim.url + "/commerce/identity/v1/user/", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


def test_a_refresh_token_gives_an_access_token_and_no_new_refresh_token(simulate: Simulate) -> None:
    answer = refresh(simulate())
    assert answer.status_code == 200
    token = answer.json()
    assert token.keys() == {"access_token", "expires_in", "token_type"}
    assert (token["expires_in"], token["token_type"]) == (7200, "User Access Token")
    assert set("#^+/=") & set(token["access_token"]) >= set("#^+/")


def test_an_access_token_works_for_two_hours_of_the_simulators_clock(simulate: Simulate, clock: ManualClock) -> None:
    caller = simulate()
    token = refresh(caller).json()["access_token"]
    clock.advance(7199)
    assert status_of(caller, token) == 200
    clock.advance(1)
    assert status_of(caller, token) == 401


def test_a_refresh_token_dies_after_eighteen_months(simulate: Simulate, clock: ManualClock) -> None:
    caller = simulate()
    clock.advance(47_303_999)
    assert refresh(caller).status_code == 200
    clock.advance(1)
    assert refresh(caller).json()["error"] == "invalid_grant"


def test_a_narrower_scope_can_be_asked_for_and_binds(simulate: Simulate) -> None:
    caller = simulate()
    token = refresh(caller, scope=f"{BASE}/sell.fulfillment.readonly").json()["access_token"]
    assert status_of(caller, token) == 403
    orders = httpx.get(caller.sim.url + "/sell/fulfillment/v1/order", headers={"Authorization": f"Bearer {token}"})
    assert orders.status_code == 200


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "a wrong secret": ({"keys": ("simulator", "wrong")}, 401, "invalid_client"),
    "a wrong client": ({"keys": ("other", "simulator")}, 401, "invalid_client"),
    "no client": ({"keys": None}, 401, "invalid_client"),
    "an unknown refresh token": ({"refresh_token": "v^1.1#unknown"}, 400, "invalid_grant"),
    "a scope without consent": ({"scope": f"{BASE}/buy.order"}, 400, "invalid_scope"),
    "an empty scope": ({"scope": ""}, 400, "invalid_scope"),
    "another grant type": ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    "a code of nobody": ({"grant_type": "authorization_code", "code": "x"}, 400, "invalid_grant"),
    "an application with a seller's scope": (
        {"grant_type": "client_credentials", "scope": f"{BASE}/sell.finances"},
        400,
        "invalid_scope",
    ),
    "an application without a scope": ({"grant_type": "client_credentials"}, 400, "invalid_scope"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_token_request_is_refused_as_documented(name: str, simulate: Simulate) -> None:
    change, status, error = REFUSED[name]
    caller = simulate()
    form: dict[str, Any] = {"grant_type": "refresh_token", "refresh_token": caller.seller.refresh_token}
    answer = ask(caller, **{**form, **change})
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]


def test_a_body_that_is_no_form_is_refused(simulate: Simulate) -> None:
    caller = simulate()
    form = {"grant_type": "refresh_token", "refresh_token": caller.seller.refresh_token}
    answer = httpx.post(caller.sim.url + TOKEN, auth=KEYS, json=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_revoked_consent_kills_refresh_and_access_tokens(simulate: Simulate) -> None:
    caller = simulate()
    token = refresh(caller).json()["access_token"]
    caller.sim.revoke(caller.seller)
    assert refresh(caller).json()["error"] == "invalid_grant"
    assert status_of(caller, token) == 401


def test_a_new_user_name_kills_the_tokens_but_keeps_the_id(simulate: Simulate) -> None:
    caller = simulate()
    user_id = caller.seller.user_id
    caller.sim.rename(caller.seller, "new_name")
    assert refresh(caller).json()["error"] == "invalid_grant"
    assert caller.sim.world.seller("new_name").user_id == user_id


def test_tokens_of_one_seller_show_only_that_seller(simulate: Simulate) -> None:
    caller = simulate(sellers=2)
    other = caller.sim.world.sellers[1]
    assert caller.get("/commerce/identity/v1/user/").json()["userId"] == caller.seller.user_id
    assert caller.get(f"/sell/fulfillment/v1/order/{next(iter(other.orders))}").status_code == 404


def test_an_application_token_reaches_no_seller(simulate: Simulate) -> None:
    caller = simulate()
    answer = ask(caller, grant_type="client_credentials", scope=BASE)
    assert answer.json()["token_type"] == "Application Access Token"
    assert status_of(caller, answer.json()["access_token"]) == 403


def consent(caller: Any, **parameters: str) -> httpx.Response:
    asked = {
        "client_id": "simulator",
        "redirect_uri": "simulator",
        "response_type": "code",
        "scope": f"{BASE}/sell.fulfillment {BASE}/commerce.identity.readonly",
        "state": "s+&=",
    }
    return httpx.get(caller.sim.auth_url + "/oauth2/authorize", params={**asked, **parameters})


def test_consent_gives_a_code_that_works_once(simulate: Simulate) -> None:
    caller = simulate()
    redirect = consent(caller)
    assert redirect.status_code == 302
    fields = parse_qs(urlsplit(redirect.headers["location"]).query)
    assert (fields["state"], fields["expires_in"]) == (["s+&="], ["299"])
    form = {"grant_type": "authorization_code", "code": fields["code"][0], "redirect_uri": "simulator"}
    answer = ask(caller, **form)
    assert answer.status_code == 200, answer.text
    assert answer.json()["refresh_token_expires_in"] == 47_304_000
    again = ask(caller, grant_type="refresh_token", refresh_token=answer.json()["refresh_token"])
    assert status_of(caller, again.json()["access_token"]) == 200
    assert ask(caller, **form).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("mistake", ["encoded twice", "another redirect_uri", "too late"])
def test_a_code_is_refused_when(mistake: str, simulate: Simulate, clock: ManualClock) -> None:
    caller = simulate()
    code = parse_qs(urlsplit(consent(caller).headers["location"]).query)["code"][0]
    if mistake == "too late":
        clock.advance(299)
    answer = ask(
        caller,
        grant_type="authorization_code",
        code=quote(code) if mistake == "encoded twice" else code,
        redirect_uri="https://elsewhere.example" if mistake == "another redirect_uri" else "simulator",
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_consent_can_be_given_by_any_seller_and_only_for_known_scopes(simulate: Simulate) -> None:
    caller = simulate(sellers=2)
    other = caller.sim.world.sellers[1]
    code = parse_qs(urlsplit(consent(caller, seller=other.username).headers["location"]).query)["code"][0]
    answer = ask(caller, grant_type="authorization_code", code=code, redirect_uri="simulator")
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    user = httpx.get(caller.sim.url + "/commerce/identity/v1/user/", headers=headers).json()
    assert user["userId"] == other.user_id
    assert consent(caller, scope=f"{BASE}/made.up").json()["error"] == "invalid_scope"
    assert consent(caller, redirect_uri="https://my.example").status_code == 400
