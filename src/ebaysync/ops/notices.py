"""eBay's account deletion notices: reads them from a file, and believes those that eBay has signed.

A file has a JSON object on each line, {"signature": "…", "body": "…"}: the header X-EBAY-SIGNATURE, and the body as it
came, because eBay signs its bytes. Without signatures it has the notices themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from ebaysync.ebay import notification
from ebaysync.ebay.notification import NoticeSignature
from ebaysync.errors import AccessDenied, EbayRejected, Unauthorized, UsageError


@dataclass(frozen=True)
class SignedNotice:
    number: int  # from 1, in the file
    signature: str
    body: bytes

    def names(self) -> list[str]:
        """User name and id of the person. Raises UsageError."""
        try:
            notice = msgspec.json.decode(self.body)
        except (ValueError, RecursionError):
            raise UsageError("it is no JSON") from None
        return _of_notice(notice)


def signed_notices(document: bytes) -> list[SignedNotice]:
    """Raises UsageError, which says which entry has another form."""
    entries = _decode(document, "one entry on each line; see docs/personal-data.md")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            signature, body = entry["signature"], entry["body"]
            found.append(SignedNotice(number, signature + "", body.encode()))
        except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
            raise UsageError(
                f'entry {number} has not the form {{"signature": "…", "body": "…"}} with the text of '
                "X-EBAY-SIGNATURE and the exact body",
                hint="docs/personal-data.md has an endpoint that writes it; --unsigned believes notices without it",
            ) from None
    return found


async def believed(
    notices: Sequence[SignedNotice], key_of: Callable[[str], Awaitable[str]]
) -> tuple[list[list[str]], list[UsageError]]:
    """The names in the notices that eBay has signed, and an error for each other one. `key_of` asks eBay for a public
    key, once for each id. Raises EbayError."""
    keys: dict[str, str | UsageError] = {}
    people, refused = [], []
    for notice in notices:
        try:
            signature = notification.signature_in(notice.signature)
            if signature.kid not in keys:
                keys[signature.kid] = await _key(signature, key_of)
            key = keys[signature.kid]
            if isinstance(key, UsageError):
                raise key
            if not notification.is_signed(notice.body, signature, key):
                raise UsageError("eBay has not signed it, or it was changed since")
            people.append(notice.names())
        except UsageError as error:
            refused.append(UsageError(f"notice {notice.number}: {error.message}", hint=error.hint))
    return people, refused


async def _key(signature: NoticeSignature, key_of: Callable[[str], Awaitable[str]]) -> str | UsageError:
    try:
        return await key_of(signature.kid)
    except (AccessDenied, Unauthorized):
        raise
    except EbayRejected:  # 404, or 400 for what is no id
        return UsageError(f"eBay knows no key with the id {signature.kid}, which its signature names")


def names_of_notices(document: bytes) -> list[list[str]]:
    """The names in eBay's deletion notices: one JSON object, a list, or one object per line.

    User name and id of a notice belong to one person. Raises UsageError, which says which notice is wrong.
    """
    notices = _decode(document, "one notice, a list of notices, or one notice on each line")
    found = []
    for number, notice in enumerate(notices, 1):
        try:
            found.append(_of_notice(notice))
        except UsageError as error:
            raise UsageError(f"notice {number}: {error.message}", hint=error.hint) from None
    return found


def _decode(document: bytes, form: str) -> list[Any]:
    """The list, the object, or the object on each line. Raises UsageError, with `form` as the hint."""
    with suppress(ValueError, RecursionError):
        found = msgspec.json.decode(document)
        return found if isinstance(found, list) else [found]
    try:
        return [msgspec.json.decode(line) for line in document.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise UsageError("this is no JSON", hint=form) from None


def _of_notice(notice: Any) -> list[str]:
    try:
        topic, data = notice["metadata"]["topic"], notice["notification"]["data"]
        names = [data.get(name) for name in ("username", "userId")]
    except (KeyError, TypeError, AttributeError):
        topic, names = None, []
    if topic != "MARKETPLACE_ACCOUNT_DELETION" or not any(names):
        raise UsageError("it is no MARKETPLACE_ACCOUNT_DELETION with a username or userId")
    return [str(name) for name in names if name]
