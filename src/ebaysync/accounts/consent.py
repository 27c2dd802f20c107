"""A seller's consent: from the code that eBay's page returns to an account.

A code works once and for 299 seconds. So it is exchanged by one request that is never repeated, and settings, database,
key and name are checked before. The result is stored before anything else is asked: if the seller is not known yet, the
consent goes to `ebay_pending_consents`, and the next attempt continues with it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import unquote

from ebaysync.accounts import accounts, adding
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.adding import Consent, KeysetContext, Obtained, OwnerUnknown
from ebaysync.ebay import oauth
from ebaysync.ebay.rest import stamp
from ebaysync.ebay.transport import Transport
from ebaysync.errors import ConsentNeeded, EbayError, EbaysyncError, SecretKeyError, UsageError
from ebaysync.log import Secret
from ebaysync.settings import Keyset
from ebaysync.store.database import Database

log = logging.getLogger(__name__)

KEPT = "the seller's consent is kept: run the same command again, and it goes on from here"
AGAIN = "nothing was stored; run the command again: a code works once, within five minutes of the seller's consent"


def code_in(pasted: str, state: str) -> Secret:
    """The decoded code from the URL of the page that eBay opens next, or the code itself.

    Raises UsageError, and ConsentNeeded if the seller declined.
    """
    text = pasted.strip().strip("\"'<>")
    if not text:
        raise UsageError("no address and no code was given", hint=AGAIN)
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise UsageError("what was given is neither an address nor a code", hint=AGAIN)
    if "://" not in text and "code=" not in text:
        return _code(text)
    fields = _fields(text)
    if "error" in fields or fields.get("isAuthSuccessful") == "false":
        raise ConsentNeeded("the seller has declined", hint="nothing was stored; run the command again")
    if not fields.get("code"):
        raise UsageError(
            "there is no code in this address",
            hint="paste the address of the page that eBay opens next, after the seller has agreed; it has code=… in it",
        )
    # Otherwise somebody could send the operator a link with a consent of his own.
    if unquote(fields.get("state", "")) != state:
        raise UsageError(
            "this address answers another question than the one just asked (its state differs)",
            hint="open the address printed above in the seller's browser, and paste the address of the page that eBay "
            "opens next",
        )
    return _code(fields["code"])


def _fields(address: str) -> dict[str, str]:
    """The query of the URL, not decoded. A `#` belongs to a code that somebody has decoded."""
    query = address.partition("?")[2] or address
    return {name: value for name, _, value in (field.partition("=") for field in query.split("&"))}


def _code(text: str) -> Secret:
    """Decode once. eBay's codes contain `#`, which a URL has only in encoded form."""
    return Secret(text if "#" in text else unquote(text))


async def connect(context: KeysetContext, name: str, code: Secret, stated: Consent) -> tuple[Account, datetime]:
    """Exchange the code, store the result, and ask Identity who the seller is.

    A known seller keeps the name of its account. Returns the account and the end of the consent. Raises ConsentNeeded,
    KeysetRejected, UsageError: nothing is stored. Raises OwnerUnknown, EbayError, DatabaseError: if the code was
    exchanged, the consent is kept for `resume`.
    """
    consented = await _exchanged(context.transport, context.keyset, name, code)
    # The time by eBay's clock, which its answer has just shown: the consent's life counts from there.
    asked_at = context.transport.clock.now()
    ends_at = asked_at + timedelta(seconds=consented.refresh_expires_in)
    tokens = Obtained(consented.access, consented.refresh_token, asked_at, ends_at)
    try:
        await keep(context, name, stated.scopes or (), tokens)
    except EbaysyncError as error:
        error.hint = f"{error.hint}; {AGAIN}" if error.hint else AGAIN
        raise
    return await _finished(context, name, stated, tokens), ends_at


async def resume(context: KeysetContext, name: str, stated: Consent) -> tuple[Account, datetime] | None:
    """Continue with the consent that is kept under this name and has the same scopes.

    None if there is none, or eBay no longer accepts it. Raises what `connect` raises.
    """
    transport, keyset = context.transport, context.keyset
    rows = await context.db.rows(_KEPT, **_key(context, name), scopes=list(stated.scopes or ()))
    if not rows:
        return None
    [row] = rows
    try:
        token = context.vault.open(row.refresh_token, keyset.environment, keyset.client_id, column(name))
        grant = await transport.persist(lambda: oauth.refresh(transport, keyset, token))
    except (SecretKeyError, ConsentNeeded) as error:
        log.warning("%s: the consent that was kept is of no use any more: %s", name, error)
        return None  # a new consent replaces it
    log.info("%s: going on with the seller's consent of %s", name, stamp(row.consented_at))
    tokens = Obtained(grant, token, row.consented_at, row.refresh_expires_at)
    return await _finished(context, name, stated, tokens), row.refresh_expires_at


def column(name: str) -> str:
    """The place of a kept consent's blob, to which it is bound beside its keyset (accounts/vault)."""
    return f"refresh_token of {name}"


def _key(context: KeysetContext, name: str) -> dict[str, str]:
    """The key of a kept consent."""
    return {"environment": context.keyset.environment, "client": context.keyset.client_id, "name": name}


async def keep(context: KeysetContext, name: str, scopes: Sequence[str], tokens: Obtained) -> None:
    """Keep the consent until its seller is known."""
    keyset = context.keyset
    await context.db.execute(
        _KEEP,
        **_key(context, name),
        scopes=list(scopes),
        at=tokens.consented_at,
        ends=tokens.ends_at,
        token=context.vault.seal(tokens.refresh_token, keyset.environment, keyset.client_id, column(name)),
    )


_KEEP = """
INSERT INTO ebay_pending_consents
    (environment, client_id, name, scopes, consented_at, refresh_expires_at, refresh_token)
VALUES (:environment, :client, :name, :scopes, :at, :ends, :token)
ON CONFLICT (environment, client_id, name) DO UPDATE SET scopes = excluded.scopes,
    consented_at = excluded.consented_at, refresh_expires_at = excluded.refresh_expires_at,
    refresh_token = excluded.refresh_token
"""
_KEPT = """
SELECT consented_at, refresh_expires_at, refresh_token FROM ebay_pending_consents
WHERE (environment, client_id, name) = (:environment, :client, :name) AND refresh_token IS NOT NULL
    AND scopes = CAST(:scopes AS text[])
"""
# Emptied, not deleted: the role that runs may not delete. `prune` removes the row.
_DONE = """
UPDATE ebay_pending_consents SET refresh_token = NULL
WHERE (environment, client_id, name) = (:environment, :client, :name)
"""


async def _finished(context: KeysetContext, name: str, stated: Consent, tokens: Obtained) -> Account:
    db, done = context.db, _key(context, name)
    try:
        owner = await adding.owner_of(context.transport, tokens.access, stated)
        known = await _name_of(db, context.keyset.environment, name, owner.user_id)
        account = await adding.store(context, known, owner, stated, tokens, "accounts connect")
    except EbaysyncError as error:
        if isinstance(error, UsageError) and not isinstance(error, OwnerUnknown):
            # it belongs to another seller, or needs another name: start again at eBay's page
            await db.execute(_DONE, **done)
            raise
        error.hint = f"{error.hint}; {KEPT}" if error.hint and not isinstance(error, EbayError) else KEPT
        raise
    await db.execute(_DONE, **done)
    return account


async def _exchanged(transport: Transport, keyset: Keyset, name: str, code: Secret) -> oauth.Consented:
    try:
        return await oauth.exchange(transport, keyset, code)
    except ConsentNeeded:
        raise ConsentNeeded(
            f"{name}: eBay does not accept this code (invalid_grant)",
            hint="it is mistyped, older than five minutes, used before, or of another keyset or RuName; "
            "run the command again and paste at once",
        ) from None
    except EbayError as error:
        error.hint = AGAIN
        raise


async def _name_of(db: Database, environment: str, name: str, user_id: str) -> str:
    """The name of the seller's account; `name` if the seller has none."""
    everyone = await accounts.every(db)
    if any(account.name == name for account in everyone):
        return name  # if it is another seller's, `store` refuses it
    known = [each.name for each in everyone if (each.environment, each.ebay_user_id) == (environment, user_id)]
    return known[0] if known else name
