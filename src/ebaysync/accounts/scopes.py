"""Which scopes a seller has consented to, and what a refused call says about them.

A family whose scope the stored consent lacks costs no call. Unknown scopes are tried. A 403/1100 is no proof that a
scope is missing: it concerns one family, and is asked again (rechecks).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Column, Table, Text, Uuid

from ebaysync.accounts.accounts import Account
from ebaysync.errors import AccessDenied, ScopeMissing
from ebaysync.store.database import CONTROL, Database

AUTHORIZATIONS = Table("ebay_authorizations", CONTROL, Column("ebay_account_id", Uuid), Column("scopes", ARRAY(Text)))
_PREFIX = "https://api.ebay.com/oauth/api_scope/"


def lacking(needed: Iterable[str], consented: Sequence[str] | None) -> list[str]:
    """The needed scopes that a consent lacks; none if its scopes are not known.

    A scope without `.readonly` includes the one with it.
    """
    if consented is None:
        return []
    return sorted(scope for scope in set(needed) if not {scope, scope.removesuffix(".readonly")} & set(consented))


def short(scopes: Iterable[str]) -> str:
    """Short names, for people."""
    return ", ".join(scope.removeprefix(_PREFIX).removeprefix("https://api.ebay.com/oauth/") for scope in scopes)


async def _consented(db: Database, account_id: UUID) -> Sequence[str] | None:
    rows = await db.rows("SELECT scopes FROM ebay_authorizations WHERE ebay_account_id = :id", id=account_id)
    return rows[0].scopes if rows else None


async def denied(
    db: Database, account: Account, family: str, needed: Sequence[str], error: AccessDenied
) -> AccessDenied:
    """The error to report after eBay has denied a family's call: which account, which family, what to do."""
    message = f"{account.name}: eBay refuses {family} ({error.message})"
    if isinstance(error, ScopeMissing):
        known = await _consented(db, account.id) is not None
        message += f", although the consent on record has {short(needed)}" if known else f"; it needs {short(needed)}"
    return type(error)(
        message,
        hint=f"asked again by itself; now: ebaysync run {family} -a {account.word}; "
        f"a new consent: {account.connect_command}",
        status=error.status,
        error_id=error.error_id,
    )


def not_consented(account: Account, family: str, scopes: Sequence[str]) -> ScopeMissing:
    """The error for a family whose scope the stored consent lacks."""
    return ScopeMissing(
        f"{account.name} {family}: the seller has not consented to {short(scopes)}",
        hint=f"{account.connect_command}; or without the family: ebaysync families disable {family} -a {account.word}",
    )
