"""Which scopes a seller has consented to, and which are known to be missing.

A scope is known to be missing if the stored consent lacks it, or eBay has refused a call for lack of it (403/1100).
Unknown scopes are tried.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from uuid import UUID

from ebaysync.accounts.accounts import Account, connect_command
from ebaysync.errors import ScopeMissing
from ebaysync.store.database import Database

_PREFIX = "https://api.ebay.com/oauth/api_scope/"


def lacking(needed: Iterable[str], consented: Sequence[str] | None, refused: Sequence[str]) -> list[str]:
    """The needed scopes that are known to be missing. A scope without `.readonly` includes the one with it."""

    def missing(scope: str) -> bool:
        if scope in refused:
            return True
        return consented is not None and not {scope, scope.removesuffix(".readonly")} & set(consented)

    return sorted({scope for scope in needed if missing(scope)})


def short(scopes: Iterable[str]) -> str:
    """Short names, for people."""
    return ", ".join(scope.removeprefix(_PREFIX).removeprefix("https://api.ebay.com/oauth/") for scope in scopes)


async def known_missing(db: Database, account_id: UUID, needed: Sequence[str]) -> list[str]:
    query = "SELECT scopes, missing_scopes FROM ebay_authorizations WHERE ebay_account_id = :id"
    rows = await db.rows(query, id=account_id)
    return lacking(needed, rows[0].scopes, rows[0].missing_scopes) if rows else []


async def learn(
    db: Database, account: Account, family: str, needed: Sequence[str], error: ScopeMissing
) -> ScopeMissing:
    """After a 403/1100: store the scopes as missing and return the error to raise.

    If the stored consent has these scopes, eBay contradicts itself: nothing is stored, and the error says so each time.
    """
    rows = await db.rows("SELECT scopes FROM ebay_authorizations WHERE ebay_account_id = :id", id=account.id)
    consented = rows[0].scopes if rows else None
    if consented is None or lacking(needed, consented, ()):
        await db.execute(_LEARN, id=account.id, needed=list(needed))
        told = refused(account, family, needed)
        return ScopeMissing(f"{told.message} (eBay says 1100)", hint=told.hint, error_id=error.error_id)
    hint = connect_command(account.name, account.environment)
    return ScopeMissing(
        f"{account.name} {family}: eBay refuses the call for lack of a scope (1100), although the consent on record "
        f"has {short(needed)}",
        hint=f"the keyset or the consent may have changed at eBay: {hint}",
        status=error.status,
        error_id=error.error_id,
    )


def refused(account: Account, family: str, scopes: Sequence[str]) -> ScopeMissing:
    hint = connect_command(account.name, account.environment)
    return ScopeMissing(
        f"{account.name} {family}: the seller has not consented to {short(scopes)}",
        hint=f"{hint}; or without the family: ebaysync families disable {family} -a {shlex.quote(account.name)}",
    )


_LEARN = """
INSERT INTO ebay_authorizations AS a (ebay_account_id, missing_scopes) VALUES (:id, CAST(:needed AS text[]))
ON CONFLICT (ebay_account_id) DO UPDATE SET missing_scopes = (
    SELECT array_agg(DISTINCT scope) FROM unnest(a.missing_scopes || excluded.missing_scopes) AS scope)
"""
