"""Digital signatures against eBay's published vectors (signature_vectors.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ebaysync.ebay.signature import signer
from ebaysync.log import Secret

KNOWN = json.loads((Path(__file__).parent / "signature_vectors.json").read_text())


@pytest.mark.parametrize("vector", KNOWN["vectors"], ids=lambda vector: vector["name"])
def test_ebays_vectors(vector: dict[str, Any]) -> None:
    made = signer(KNOWN["jwes"][vector["jwe"]], Secret(KNOWN["keys"][vector["key"]], redacted=False))
    body = vector["body"].encode() if vector["body"] else None
    headers = dict(made.headers(vector["method"], vector["url"], body, vector["created"]))
    digest = '"content-digest" ' if body else ""
    assert headers == {
        "x-ebay-signature-key": KNOWN["jwes"][vector["jwe"]],
        "signature-input": f'sig1=({digest}"x-ebay-signature-key" "@method" "@path" "@authority")'
        f";created={vector['created']}",
        "signature": vector["signature"],
        **({"content-digest": KNOWN["digest"]} if body else {}),
    }


def test_a_key_comes_with_and_without_pem_armour() -> None:
    bare = KNOWN["keys"]["ed25519"].splitlines()[1]
    vector = KNOWN["vectors"][3]
    made = signer(KNOWN["jwes"]["ed25519"], Secret(bare, redacted=False))
    assert dict(made.headers("GET", vector["url"], None, vector["created"]))["signature"] == vector["signature"]


def test_the_default_port_is_not_part_of_the_authority() -> None:
    vector = KNOWN["vectors"][3]
    made = signer(KNOWN["jwes"]["ed25519"], Secret(KNOWN["keys"]["ed25519"], redacted=False))
    url = vector["url"].replace("ebay.com/", "ebay.com:443/")
    assert dict(made.headers("GET", url, None, vector["created"]))["signature"] == vector["signature"]


@pytest.mark.parametrize("text", ["", "no key", KNOWN["public"]["ed25519"]])
def test_what_is_no_private_key_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a private key$"):
        signer("jwe", Secret(text, redacted=False))
