"""Adds a seller account: asks eBay whose a consent is, and stores it, encrypted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import uuid4

from sqlalchemy import Text, func, literal, or_, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import insert

from ebaysync.accounts.accounts import ACCOUNTS, FIELDS, Account, every
from ebaysync.accounts.vault import Vault
from ebaysync.ebay import identity, oauth
from ebaysync.ebay.rest import Api, Doubt
from ebaysync.ebay.transport import Transport
from ebaysync.errors import AccessDenied, ConsentNeeded, EbayError, EbaysyncError, UsageError
from ebaysync.log import Secret
from ebaysync.settings import Keyset
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database

CONSENT_LASTS = timedelta(seconds=oauth.REFRESH_SECONDS)


@dataclass(frozen=True)
class Consent:
    """The operator's statements about a refresh token that already exists. None means unknown."""

    scopes: tuple[str, ...] | None = None
    consented_on: date | None = None
    ebay_user_id: str | None = None
    marketplace_id: str | None = None


class _Granted:
    """Credentials with one token that is never renewed, to ask whose token it is."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    async def access_token(self) -> Secret:
        return self._token

    async def renewed(self, refused: Secret) -> Secret:
        """Raises EbayError: this token is not renewed."""
        raise EbayError("eBay refuses the access token that it has just issued")

    def give_up(self, error: EbaysyncError) -> None:
        """No retry with another token."""


async def named(db: Database, environment: str, wanted: str) -> str:
    """The name of the account to add or renew. Known accounts may be called by their id, as hints do whose name cannot
    be copied.

    Raises UsageError if no seller's account can get this name. The hint is the command for the account that has it.
    """
    accounts = await every(db)
    by_name = [account for account in accounts if account.name == wanted]
    for account in by_name or [account for account in accounts if str(account.id) == wanted]:
        if account.environment == environment:
            return account.name
        raise UsageError(
            f"the account {account.name!r} is of the environment {account.environment}",
            hint=f"to renew its consent: {account.connect_command}; for a seller of {environment}, choose another name",
        )
    for account in accounts:
        if wanted in (account.ebay_user_id, account.username):
            raise UsageError(
                f"{wanted!r} is an id or user name of the account {account.name!r}",
                hint=f"to renew its consent: {account.connect_command}; for another seller, choose another name",
            )
    if re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", wanted):
        raise UsageError(f"there is no account with the id {wanted}", hint="was it removed? A new account needs a name")
    return wanted


@dataclass(frozen=True)
class KeysetContext:
    """The tools to exchange and store a seller's consent to one keyset."""

    db: Database
    vault: Vault
    transport: Transport
    keyset: Keyset


async def add(context: KeysetContext, name: str, refresh_token: Secret, stated: Consent) -> Account:
    """Try the refresh token, ask Identity who the seller is, and store both encrypted.

    Adding the same seller again under the same name replaces its token. Raises ConsentNeeded, KeysetRejected,
    UsageError, EbayError.
    """
    transport, keyset = context.transport, context.keyset
    name = await named(context.db, keyset.environment, name)
    try:
        grant = await transport.persist(lambda: oauth.refresh(transport, keyset, refresh_token))
    except ConsentNeeded as error:
        raise ConsentNeeded(
            f"{name}: {error.message}", hint="is it complete, not revoked, and of this environment's keyset?"
        ) from None
    owner = await owner_of(transport, grant, stated)

    consented = datetime.combine(stated.consented_on, time(), UTC) if stated.consented_on else None
    tokens = Obtained(grant, refresh_token, consented, consented + CONSENT_LASTS if consented else None)
    return await store(context, name, owner, stated, tokens, "accounts add")


@dataclass(frozen=True)
class Obtained:
    """A seller's tokens, and the start and end of the consent. None means unknown."""

    access: oauth.Grant
    refresh_token: Secret
    consented_at: datetime | None
    ends_at: datetime | None


async def store(
    context: KeysetContext, name: str, owner: identity.User, stated: Consent, tokens: Obtained, trigger: str
) -> Account:
    """Store a seller's tokens, encrypted, under this name. Raises UsageError if the name or the seller is taken."""

    async def work(connection: Connection) -> Account:
        account = await _upsert(connection, context.keyset.environment, name, owner, stated, trigger)

        # Only now: a blob is bound to the account's id, and an account that exists keeps its own.
        def seal(secret: Secret, column: str) -> bytes:
            return context.vault.seal(secret, account.environment, account.id, column)

        await connection.execute(
            _STORE_TOKENS,
            {
                "id": account.id,
                "refresh": seal(tokens.refresh_token, "refresh_token"),
                "access": seal(tokens.access.access_token, "access_token"),
                "seconds": tokens.access.expires_in,
                "ends": tokens.ends_at,
                "scopes": list(stated.scopes) if stated.scopes else None,
                "consented": tokens.consented_at,
                "trigger": trigger,
                "client": context.keyset.client_id,
            },
        )
        return account

    return await context.db.transact(work)


_STORE_TOKENS = """
WITH token AS (
    INSERT INTO ebay_tokens
        (ebay_account_id, refresh_token, access_token, access_expires_at, refresh_expires_at, client_id)
    VALUES (:id, :refresh, :access, clock_timestamp() + make_interval(secs => :seconds), :ends, :client)
    ON CONFLICT (ebay_account_id) DO UPDATE SET refresh_token = excluded.refresh_token,
        access_token = excluded.access_token, access_expires_at = excluded.access_expires_at,
        refresh_expires_at = excluded.refresh_expires_at, client_id = excluded.client_id,
        refused_since = NULL, retry_at = NULL, updated_at = clock_timestamp()),
logged AS (
    INSERT INTO ebay_token_refresh_log (ebay_account_id, success, triggered_by) VALUES (:id, true, :trigger)),
due AS (UPDATE ebay_sync_state SET failures = 0, retry_at = NULL, refused_since = NULL WHERE ebay_account_id = :id)
INSERT INTO ebay_authorizations (ebay_account_id, scopes, consented_at) VALUES (:id, :scopes, :consented)
ON CONFLICT (ebay_account_id) DO UPDATE SET scopes = excluded.scopes, consented_at = excluded.consented_at,
    missing_scopes = '{}'
"""


class OwnerUnknown(UsageError):
    """Neither Identity nor the operator says who the token's owner is."""


async def owner_of(transport: Transport, grant: oauth.Grant, stated: Consent) -> identity.User:
    """The owner of a token, from Identity, or from the operator if Identity may not be asked.

    Raises OwnerUnknown, UsageError, EbayError.
    """
    try:
        # Settled: the token was issued just now, so a 403 is no sign that it has expired.
        owner = await identity.user(Api(transport, _Granted(grant.access_token), doubt=Doubt(settled=True)))
    except AccessDenied:
        if not stated.ebay_user_id:
            raise OwnerUnknown(
                "this token may not ask Identity whose it is (the scope commerce.identity.readonly was not given)",
                hint="add --ebay-user-id with the seller's immutable user id",
            ) from None
        return identity.User(user_id=stated.ebay_user_id)
    if stated.ebay_user_id and stated.ebay_user_id != owner.user_id:
        raise UsageError(
            f"the token belongs to the eBay user {owner.user_id}, not to {stated.ebay_user_id}",
            hint="nothing was stored",
        )
    return owner


async def _upsert(
    connection: Connection, environment: str, name: str, owner: identity.User, stated: Consent, trigger: str
) -> Account:
    own = ACCOUNTS.c
    marketplace = stated.marketplace_id or owner.registration_marketplace_id
    if not re.fullmatch("[A-Za-z0-9_]{1,50}", marketplace or "EBAY_US"):
        raise UsageError(f"{marketplace!r} is no marketplace id", hint="such as EBAY_GB; nothing was stored")
    same_seller = (own.environment == environment) & (own.ebay_user_id == owner.user_id)
    known = (await connection.execute(select(*FIELDS).where(or_(own.name == name, same_seller)))).rows
    named_so = [row for row in known if row.name == name]
    otherwise = [row for row in known if row.name != name]
    use = "choose another name"
    if otherwise:
        use = f"this seller's command: ebaysync {trigger} {Account(*otherwise[0]).word} --environment {environment}"
        use += " --refresh-token-stdin" if trigger == "accounts add" else ""
    for row in named_so:
        if (row.environment, row.ebay_user_id) != (environment, owner.user_id):
            raise UsageError(
                f"the name {name!r} belongs to the eBay user {row.ebay_user_id} ({row.environment}), "
                f"the token to {owner.user_id} ({environment})",
                hint=f"nothing was stored; {use}",
            )
    for row in otherwise:
        raise UsageError(f"this eBay user is already here as {row.name!r}", hint=use)
    # A new name that is another account's id or user name would make commands ambiguous.
    other_names = (sql_cast(own.id, Text), own.ebay_user_id, own.username)
    taken = select(own.name).where(literal(name).in_(other_names))
    if not named_so and (other := await connection.scalar(taken)) is not None:
        raise UsageError(f"{name!r} is an id or user name of the account {other!r}", hint="choose another name")
    statement = insert(ACCOUNTS).values(
        id=uuid4(),
        name=name,
        environment=environment,
        ebay_user_id=owner.user_id,
        username=owner.username,
        marketplace_id=marketplace,
    )
    new = {
        # Without Identity's answer they are not known. Then the stored ones stay.
        "username": func.coalesce(statement.excluded.username, own.username),
        "marketplace_id": func.coalesce(statement.excluded.marketplace_id, own.marketplace_id),
        "needs_consent": False,
        "updated_at": func.clock_timestamp(),
    }
    stored = await connection.execute(
        statement.on_conflict_do_update(index_elements=("name",), set_=new).returning(*FIELDS)
    )
    return Account(*stored.one())
