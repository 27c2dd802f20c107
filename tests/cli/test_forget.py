"""`ebaysync forget` as the operator runs it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1

from ebaysync.sim.apis import notification

PAGE = Path(__file__).resolve().parents[2] / "docs" / "personal-data.md"
PEOPLE = "SELECT DISTINCT buyer_username FROM ebay_orders WHERE buyer_username <> '[erased]' ORDER BY 1"


def read_orders(program: Any, simulator: Any, query: Callable[..., list[Any]]) -> tuple[Any, str, list[str]]:
    """A simulator, the account of its seller, whose orders are read, and the buyers."""
    sim = simulator(sellers=1, orders_per_seller=12)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    [account] = program.add_sellers(sim)
    assert program("run", "orders", "--account", account).code == 0
    return sim, account, [name for (name,) in query(PEOPLE)]


def test_forget_erases_one_person_or_all_of_a_file_and_says_what_is_wrong(
    program: Any, simulator: Any, query: Callable[..., list[Any]], complains: Callable[..., None]
) -> None:
    _, account, (first, second, *_) = read_orders(program, simulator, query)

    ended = program("forget", first)
    assert (ended.code, "ebay_orders: " in ended.out, first in ended.err) == (0, True, False), ended.err
    assert query("SELECT count(*) FROM ebay_orders WHERE buyer_username = %s", first) == [(0,)]
    assert program("forget", first).out == "nothing is stored of this person\n"

    def notice(name: str) -> dict[str, Any]:
        return {"metadata": {"topic": "MARKETPLACE_ACCOUNT_DELETION"}, "notification": {"data": {"username": name}}}

    notices = "\n".join(json.dumps(notice(name)) for name in (second, account))
    ended = program("forget", "--from-file", "-", "--unsigned", "--json", given=notices)
    assert (ended.code, ended.json["people"], ended.json["refused"]) == (3, 1, 1), ended.err
    assert f"ebaysync: notice 2: this is the seller of the account {account}" in ended.err
    assert f"ebaysync accounts remove {account}" in ended.err
    assert query("SELECT count(*) FROM ebay_orders WHERE buyer_username = %s", second) == [(0,)]

    complains(program("forget"), 2, "--from-file")
    complains(program("forget", first, "--from-file", "x"), 2, "--from-file")
    complains(program("forget", "--from-file", "nowhere.json"), 2, "nowhere.json")
    complains(program("forget", "--from-file", "-", "--unsigned", given="nonsense"), 2, "no JSON")
    complains(program("forget", "--from-file", "-", given=notices), 2, "entry 1", "--unsigned")
    complains(program("forget", first, "--unsigned"), 2, "--from-file")
    complains(program("forget", "two words"), 2, "user name")


def test_who_was_erased_is_listed_and_can_be_taken_off_the_list(
    program: Any, simulator: Any, query: Callable[..., list[Any]], complains: Callable[..., None]
) -> None:
    _, account, (first, second, *_) = read_orders(program, simulator, query)
    assert program("forget", "--list").out == "nobody was erased\n"
    complains(program("forget", first, "--reason", f"{first} asked"), 2, "--reason", "without the name")
    assert program("forget", first, "--reason", "a letter").code == 0
    assert program("forget", second).code == 0
    assert program("forget", second, "--reason", "told by phone").code == 0

    listed = program("forget", "--list", "--json").json["forgotten"]
    assert [note["reason"] for note in listed] == ["a letter", "told by phone"]
    assert all(note["forgotten_at"] and len(note["digest"]) == 64 for note in listed)
    shown = program("forget", "--list").out
    assert all(note["digest"][:16] in shown for note in listed)
    assert first not in shown

    complains(program("forget", "--undo", "no-such-person"), 2, "is not on the list", "forget --list")
    complains(program("forget", "--undo", first, "--reason", "x"), 2, "--reason")
    complains(program("forget", "--undo", first, "--list"), 2, "one of")
    assert "the next read" in program("forget", "--undo", first.upper()).out
    removed = program("forget", "--undo", listed[1]["digest"][:16], "--json").json["removed"]
    assert removed == [listed[1]]
    assert program("forget", "--list", "--json").json == {"forgotten": []}

    assert query("SELECT count(*) FROM ebay_orders WHERE buyer_username = %s", first) == [(0,)], "nothing comes back"
    assert program("backfill", "orders", "--account", account, "--days", "90").code == 0
    assert query("SELECT count(*) FROM ebay_orders WHERE buyer_username = %s", first) != [(0,)], (
        "but with the next read"
    )


def deletion(name: str) -> bytes:
    """A notice as eBay formats it, with white space that matters."""
    data = {"username": name, "userId": "id-of-nobody", "eiasToken": "x"}
    return json.dumps(
        {"metadata": {"topic": "MARKETPLACE_ACCOUNT_DELETION"}, "notification": {"data": data}}, indent=2
    ).encode()


def entry(signature: str, body: bytes) -> str:
    return json.dumps({"signature": signature, "body": body.decode()}) + "\n"


def altered(header: str, **changes: Any) -> str:
    said = json.loads(base64.b64decode(header)) | changes
    return base64.b64encode(json.dumps(said).encode()).decode()


def nested(depth: int) -> str:
    """A header that no decoder reads to its end."""
    return base64.b64encode(b'{"x":' + b"[" * depth + b"]" * depth + b',"alg":"ecdsa"}').decode()


def test_only_notices_that_ebay_has_signed_erase_somebody(
    program: Any, simulator: Any, query: Callable[..., list[Any]], complains: Callable[..., None]
) -> None:
    sim, _, (first, second, third, *_) = read_orders(program, simulator, query)
    take = ("forget", "--from-file", "-", "--environment", "simulator")
    good = notification.sign(sim.world, deletion(first))
    other = ec.generate_private_key(ec.SECP256R1()).sign(deletion(first), ec.ECDSA(SHA1()))
    for signature, body, said in (
        (good, deletion(second), "eBay has not signed it"),
        (good, json.dumps(json.loads(deletion(first))).encode(), "eBay has not signed it"),
        (good, deletion(first) + b" ", "eBay has not signed it"),
        (altered(good, signature=base64.b64encode(other).decode()), deletion(first), "eBay has not signed it"),
        (altered(good, kid="no-such-key"), deletion(first), "eBay knows no key with the id no-such-key"),
        (altered(good, kid="../../identity"), deletion(first), "cannot be an id"),
        (altered(good, alg="none"), deletion(first), "none/SHA1"),
        (altered(good, digest="MD5"), deletion(first), "ecdsa/MD5"),
        ("nonsense", deletion(first), "X-EBAY-SIGNATURE"),
        (nested(300), deletion(first), "X-EBAY-SIGNATURE"),
        (nested(1400), deletion(first), "X-EBAY-SIGNATURE"),
        (altered(good, alg="x" * 500), deletion(first), "ebaysync: notice 1: its signature is"),
        ("", deletion(first), "X-EBAY-SIGNATURE"),
        (notification.sign(sim.world, b"[]"), b"[]", "MARKETPLACE_ACCOUNT_DELETION"),
    ):
        complains(program(*take, given=entry(signature, body)), 3, "notice 1: ", said, out=True)
    assert {name for (name,) in query(PEOPLE)} >= {first, second, third}

    asked = len(sim.journal.of("/commerce/notification/"))
    signed = [entry(notification.sign(sim.world, deletion(name)), deletion(name)) for name in (first, third, "x-y-z")]
    ended = program(*take, "--json", given="".join([*signed, entry("", deletion(second))]))
    assert (ended.code, ended.json["people"], ended.json["refused"]) == (3, 3, 1), ended.err
    assert len(sim.journal.of("/commerce/notification/")) == asked + 1, "one call for a key"
    left = {name for (name,) in query(PEOPLE)}
    assert second in left
    assert not {first, third} & left

    program.environ["EBAYSYNC_SIMULATOR_URL"] = "http://127.0.0.1:1"
    complains(program(*take, given=signed[2]), 13, out=False)
    complains(program(*take, given="[" * 100_000), 2, "no JSON")
    complains(program(*take, "--unsigned", given="[" * 100_000), 2, "no JSON")
    complains(program("forget", "--from-file", "-", given=signed[2]), 2, "EBAY_CLIENT_ID")


def test_the_endpoint_and_the_timer_of_the_docs_take_ebays_notices(
    program: Any,
    simulator: Any,
    query: Callable[..., list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EBAY_VERIFICATION_TOKEN", "a-token-of-32-to-80-characters-for-ebay")
    notices = tmp_path / "notices"
    notices.mkdir()
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [timer] = [text for text in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) if "--from-file" in text]
    endpoint: dict[str, Any] = {}
    exec(code, endpoint)
    endpoint["FOLDER"] = str(notices)
    said: list[Any] = []

    def call(**environ: Any) -> bytes:
        return b"".join(endpoint["application"](environ, lambda *line: said.append(line)))

    challenge = call(REQUEST_METHOD="GET", QUERY_STRING="challenge_code=a1%2Bb2")
    whole = b"a1+b2" + b"a-token-of-32-to-80-characters-for-ebay" + endpoint["ENDPOINT"].encode()
    assert json.loads(challenge) == {"challengeResponse": hashlib.sha256(whole).hexdigest()}
    assert said == [("200 OK", [("Content-Type", "application/json")])]

    sim, _, before = read_orders(program, simulator, query)
    for name in before[:2]:
        notice = deletion(name)
        signature = notification.sign(sim.world, notice)
        call(
            REQUEST_METHOD="POST",
            CONTENT_LENGTH=str(len(notice)),
            HTTP_X_EBAY_SIGNATURE=signature,
            **{"wsgi.input": io.BytesIO(notice)},
        )
    call(REQUEST_METHOD="POST", CONTENT_LENGTH="2", **{"wsgi.input": io.BytesIO(b"{}")})  # sent by a stranger
    assert len(list(notices.glob("*.json"))) == 3
    shell = timer.replace("/var/lib/ebaysync/notices", str(notices)).replace(
        "ebaysync forget", " ".join(program.command("forget", "--environment", "simulator"))
    )
    environ = program.environ | {"PATH": os.defpath}
    for _ in range(2):  # and once with nothing to do
        ended = subprocess.run(["sh", "-c", shell], env=environ, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert [path for path in notices.rglob("*") if path.is_file()] == []
        assert [name for (name,) in query(PEOPLE)] == before[2:]
