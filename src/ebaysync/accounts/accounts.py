"""Seller accounts: their rows, and finding one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from uuid import UUID

from sqlalchemy import Boolean, Column, DateTime, Table, Text, Uuid, select

from ebaysync.errors import UsageError
from ebaysync.shown import account_word, word
from ebaysync.store.database import CONTROL, Database


@dataclass(frozen=True)
class Account:
    id: UUID
    name: str
    environment: str
    ebay_user_id: str
    username: str | None
    marketplace_id: str | None
    is_active: bool
    needs_consent: bool

    @property
    def word(self) -> str:
        """The account in a command to be copied."""
        return account_word(self.name, self.id)

    @property
    def connect_command(self) -> str:
        return connect_command(self.word, self.environment)

    @property
    def at_work(self) -> bool:
        """Whether eBay may be called for it."""
        return self.is_active and not self.needs_consent


ACCOUNTS = Table(
    "ebay_accounts",
    CONTROL,
    Column("id", Uuid),
    Column("name", Text),
    Column("environment", Text),
    Column("ebay_user_id", Text),
    Column("username", Text),
    Column("marketplace_id", Text),
    Column("is_active", Boolean),
    Column("needs_consent", Boolean),
    Column("updated_at", DateTime(timezone=True)),
)
FIELDS = tuple(ACCOUNTS.c[field.name] for field in fields(Account))


async def every(db: Database) -> list[Account]:
    """All accounts, by name."""
    return [Account(*row) for row in await db.rows(select(*FIELDS).order_by(ACCOUNTS.c.name))]


async def find(db: Database, wanted: str) -> Account:
    """The account with this name, id, eBay user id or eBay user name. Raises UsageError."""
    accounts = await every(db)
    by_name = [account for account in accounts if wanted == account.name]
    by_id = [account for account in accounts if wanted in (str(account.id), account.ebay_user_id, account.username)]
    for match in (by_name, by_id):
        if len(match) == 1:
            return match[0]
        if match:
            both = ", ".join(account.name for account in match)
            raise UsageError(f"{wanted!r} fits more than one account: {both}", hint="use the account's name")
    known = ", ".join(account.name for account in accounts[:10]) or "none yet"
    raise UsageError(f"there is no account {wanted!r}", hint=f"accounts: {known}; see `ebaysync accounts list`")


async def by_id(db: Database, account_id: UUID) -> Account:
    """The account with this id of ours. Raises UsageError if it was removed meanwhile."""
    rows = await db.rows(select(*FIELDS).where(ACCOUNTS.c.id == account_id))
    if not rows:
        raise UsageError(f"there is no account with the id {account_id}")
    return Account(*rows[0])


def connect_command(account_word: str, environment: str) -> str:
    """The command that renews a consent."""
    return f"ebaysync accounts connect {account_word} --environment {word(environment)}"
