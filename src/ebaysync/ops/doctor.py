"""The checks of `doctor`: database, clock, key, keysets, accounts, signatures, quotas, runs.

Each finding says what was found and, if something is wrong, how to fix it. It makes few calls to eBay: a token per
keyset, Identity per account, and one signed Finances call per keyset with a signing key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from string import Template
from typing import Any, Literal

from ebaysync.accounts import application, expiry, signing, tokens, vault
from ebaysync.accounts.accounts import Account
from ebaysync.accounts.scopes import lacking, short
from ebaysync.accounts.tokens import consent_needed, open_api
from ebaysync.accounts.usage import metered
from ebaysync.accounts.vault import Vault
from ebaysync.ebay import finances, identity
from ebaysync.ebay.hosts import hosts
from ebaysync.ebay.signature import SITES
from ebaysync.ebay.transport import Transport
from ebaysync.errors import AccessDenied, ConfigError, DatabaseError, EbaysyncError, Interrupted
from ebaysync.families import discover
from ebaysync.ops import schedule, status
from ebaysync.ops.account import CONNECTIONS
from ebaysync.ops.budget import Plan
from ebaysync.settings import ENVIRONMENTS, Environment, Settings, variable
from ebaysync.store.database import REFUSED, Database
from ebaysync.sync.stop import Stop

State = Literal["ok", "warning", "failed"]

# How far a clock may be off. Beyond FAR_OFF eBay refuses signatures.
OFF, FAR_OFF = timedelta(seconds=30), timedelta(minutes=5)
OVERDUE = timedelta(hours=1)
SYNCHRONIZE = "let the host keep time: timedatectl set-ntp true"


@dataclass(frozen=True)
class Finding:
    check: str
    subject: str
    """what was checked: an account, an environment, or the database"""
    status: State
    message: str
    hint: str | None = None


def worst(findings: Sequence[Finding]) -> State:
    states = {finding.status for finding in findings}
    return "failed" if "failed" in states else "warning" if "warning" in states else "ok"


def failure(check: str, subject: str, error: EbaysyncError) -> Finding:
    return Finding(check, subject, "failed", error.message, error.hint)


@contextmanager
def noting(found: list[Finding], check: str, subject: str) -> Iterator[None]:
    """Turn an error into a finding. Raises Interrupted and DatabaseError: they still end the command."""
    try:
        yield
    except (Interrupted, DatabaseError):
        raise
    except EbaysyncError as error:
        found.append(failure(check, subject, error))


@dataclass
class CheckContext:
    """Serves the checks. `vault` is None if the key cannot be read: then no check calls eBay."""

    settings: Settings
    db: Database
    stop: Stop
    plan: Plan
    accounts: Sequence[Account]
    rows: dict[Any, Any]
    """by account id: its tokens and consent"""
    vault: Vault | None = None
    online: bool = True


async def diagnose(
    settings: Settings,
    db: Database,
    accounts: Sequence[Account],
    stop: Stop,
    *,
    online: bool = True,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    """Run all checks. Raises DatabaseError if the database is lost meanwhile, and Interrupted."""
    ids = [account.id for account in accounts]
    rows = {row.ebay_account_id: row for row in await db.rows(_TOKENS, ids=ids)}
    context = CheckContext(settings, db, stop, await schedule.plan(settings, db), accounts, rows)
    found = [*await _database(context), *await _owner(context), await _key(context)]
    paused = await status.pause(db)
    if paused:
        found.append(Finding("pause", "everything", "warning", f"{paused}; no check calls eBay", "ebaysync resume"))
    context.online = online and not paused and context.vault is not None
    found.append(await _host_clock(db))
    for environment in _environments(settings, accounts):
        on_progress(environment)
        found += await _environment(context, environment, on_progress)
    if not accounts:
        hint = "ebaysync accounts connect NAME --environment production"
        found.append(Finding("accounts", "accounts", "warning", "there are no accounts yet", hint))
    return [*found, *_quotas(context), *await _runs(context)]


_TOKENS = """
SELECT a.id AS ebay_account_id, t.refresh_token, t.access_token, t.refresh_expires_at,
    t.refresh_expires_at - clock_timestamp() AS "left", z.scopes
FROM ebay_accounts a LEFT JOIN ebay_tokens t ON t.ebay_account_id = a.id
LEFT JOIN ebay_authorizations z ON z.ebay_account_id = a.id WHERE a.id = ANY(:ids)
"""


# ---- the database


async def _database(context: CheckContext) -> list[Finding]:
    db = context.db
    [row] = await db.rows(_SERVER)
    way, is_open = await db.way()
    found = [
        Finding("database", "server", "ok", f"{db.where} is version {row.version}, the schema {row.schema} fits"),
        Finding("database", "connection", "warning" if is_open else "ok", f"the connection is {way}", _OPEN[is_open]),
    ]
    if row.refused:
        message = f"the login {row.login} may not write {row.refused}"
        hint = await db.missing_grant()
        found.append(Finding("database", "rights", "failed", message, hint))
    needed = CONNECTIONS * context.settings.jobs + CONNECTIONS
    if row.connections < needed:
        message = (
            f"the server allows {row.connections} connections; {context.settings.jobs} accounts at a time take {needed}"
        )
        hint = f"raise max_connections, lower {variable('jobs')}, or put PgBouncer in between"
        found.append(Finding("database", "connections", "warning", message, hint))
    return found


_OPEN = {False: None, True: "remove sslmode from EBAYSYNC_DATABASE_URL where the server offers TLS"}
_SERVER = Template("""
SELECT current_user AS login, current_setting('server_version') AS version, n.nspname AS schema,
    CAST(current_setting('max_connections') AS int) AS connections, $refused AS refused
FROM pg_namespace n WHERE n.nspname = current_schema()
""").substitute(refused=REFUSED)


async def _owner(context: CheckContext) -> list[Finding]:
    """Check the owner's login, if one is set."""
    url, name = context.settings.admin_database_url, variable("admin_database_url")
    if url is None:
        return []
    db = Database(url)
    try:
        [row] = await db.rows(_OWNS)
    except DatabaseError as error:
        return [failure("database", name, error)]
    finally:
        await db.close()
    if row.owns:
        return [Finding("database", name, "ok", f"{row.login} may migrate, prune, forget and remove")]
    message = f"{row.login} does not own the tables" if row.owns is False else f"{row.login} sees no tables there"
    hint = "name the owner's login there, or GRANT ebaysync_owner TO it"
    return [Finding("database", name, "failed", f"{name}: {message}", hint)]


_OWNS = """
SELECT current_user AS login, (SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relname LIKE 'ebay\\_%') AS owns
"""


# ---- clock and key


async def _host_clock(db: Database) -> Finding:
    before = datetime.now(UTC)
    [row] = await db.rows("SELECT clock_timestamp() AS now")
    # Half of the query's duration: its clock was read somewhere between.
    return _clock("database", "the database's clock", row.now - before - (datetime.now(UTC) - before) / 2)


def _clock(subject: str, whose: str, off: timedelta) -> Finding:
    """Compare a clock with this host's; `off` is how far it is ahead."""
    if abs(off) <= OFF:
        return Finding("clock", subject, "ok", f"this host and {whose} agree within {OFF.seconds} seconds")
    message = f"this host's clock is {_span(abs(off))} {'behind' if off > timedelta(0) else 'ahead of'} {whose}"
    return Finding("clock", subject, "failed" if abs(off) > FAR_OFF else "warning", message, SYNCHRONIZE)


def _span(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


async def _key(context: CheckContext) -> Finding:
    try:
        context.vault = await vault.load_checked(context.settings, context.db)
    except ConfigError as error:
        return failure("key", "encryption", error)
    return Finding("key", "encryption", "ok", f"read from {context.vault.source}")


# ---- an environment and its accounts


def _environments(settings: Settings, accounts: Sequence[Account]) -> list[Environment]:
    """The environments that have an account or a keyset."""
    used = {account.environment for account in accounts}
    unset = {
        "production": settings.client_id,
        "sandbox": settings.sandbox_client_id,
        "simulator": settings.simulator_url,
    }
    return [name for name in ENVIRONMENTS if name in used or unset[name]]


async def _environment(
    context: CheckContext, environment: Environment, on_progress: Callable[[str], None]
) -> list[Finding]:
    try:
        keyset, addresses = context.settings.keyset(environment), hosts(context.settings, environment)
    except ConfigError as error:
        return [failure("settings", environment, error)]
    found: list[Finding] = []
    try:
        context.settings.consent_keyset(environment)
        found.append(Finding("settings", environment, "ok", "the keyset is complete"))
    except ConfigError as error:
        found.append(Finding("settings", environment, "warning", error.message, error.hint))
    accounts = [account for account in context.accounts if account.environment == environment]
    reached, right_time = False, True
    if context.online and context.vault:
        async with (
            Transport(addresses, sleep=context.stop.sleep) as transport,
            metered(context.db, context.vault, keyset, transport),
        ):
            with noting(found, "keyset", environment):
                await application.forget(context.db, keyset)  # a stored token would prove nothing
                await context.stop.race(application.access_token(context.db, context.vault, transport, keyset))
                found.append(Finding("keyset", environment, "ok", "eBay accepts the client id and secret"))
                reached = True
            if transport.clock.known:
                found.append(_clock(environment, "eBay's clock", transport.clock.now() - datetime.now(UTC)))
                right_time = found[-1].status != "failed"
    slots = asyncio.Semaphore(context.settings.jobs)

    async def one(account: Account) -> list[Finding]:
        async with slots:
            on_progress(account.name)
            return await _account(context, account, ask=reached)

    for of_one in await asyncio.gather(*(one(account) for account in accounts)):
        found += of_one
    await _signing(context, environment, found, ask=reached, right_time=right_time)
    return found


async def _account(context: CheckContext, account: Account, *, ask: bool) -> list[Finding]:
    if not account.is_active:
        hint = f"ebaysync accounts enable {account.word}"
        return [Finding("account", account.name, "ok", f"disabled; enable it with: {hint}")]
    if account.needs_consent:
        return [failure("token", account.name, consent_needed(account))]
    row = context.rows[account.id]
    found: list[Finding] = []
    with noting(found, "token", account.name):
        found.append(await _token(context, account, row, ask=ask))
    return [*found, _consent(account, row), *_scopes(context, account, row)]


async def _token(context: CheckContext, account: Account, row: Any, *, ask: bool) -> Finding:
    """Check that the tokens decrypt and that eBay accepts them. Raises EbaysyncError, which becomes the finding."""
    name, hint = account.name, account.connect_command
    if row.refresh_token is None:
        return Finding("token", name, "failed", "there are no tokens", hint)
    if context.vault is None:
        return Finding("token", name, "warning", "the tokens cannot be read without the key")
    context.vault.open(row.refresh_token, account.environment, account.id, "refresh_token", hint)
    access_token = tokens.usable(context.vault, account, row.access_token)
    if row.access_token and not access_token and not ask:
        return Finding("token", name, "warning", "the stored access token is damaged; the next run gets a new one")
    if not all(context.vault.current(blob) for blob in (row.refresh_token, access_token and row.access_token) if blob):
        message = "encrypted with an older key, which is still needed"
        return Finding("token", name, "warning", message, "ebaysync keys rotate")
    if not ask:
        return Finding("token", name, "ok", "the tokens can be read; eBay was not asked")
    try:
        async with open_api(context.settings, context.db, account, "doctor", context.stop.sleep) as (api, _):
            user = await context.stop.race(identity.user(api))
    except AccessDenied:
        return Finding(
            "token",
            name,
            "ok",
            "eBay accepts the token; its owner is not checked, for lack of commerce.identity.readonly",
        )
    if user.user_id != account.ebay_user_id:
        message = f"the token belongs to the eBay user {user.user_id}, the account to {account.ebay_user_id}"
        return Finding("token", name, "failed", message, account.connect_command)
    return Finding("token", name, "ok", f"eBay accepts the token, of the eBay user {user.user_id}")


def _consent(account: Account, row: Any) -> Finding:
    name, hint = account.name, account.connect_command
    if row.left is None:
        return Finding("consent", name, "ok", "its end is not known; a consent lasts 18 months")
    if row.left <= timedelta(0):
        return Finding("consent", name, "failed", "the consent has ended", hint)
    pressing = row.left < expiry.SOON
    message = f"the consent lasts until {row.refresh_expires_at.astimezone(UTC):%Y-%m-%d}"
    return Finding("consent", name, "warning" if pressing else "ok", message, hint if pressing else None)


def _scopes(context: CheckContext, account: Account, row: Any) -> Iterator[Finding]:
    """Compare the scopes with what the enabled families need, and find families that eBay refuses."""
    name, hint = account.name, account.connect_command
    plans = [(f, context.plan.entries.get((account.id, f.name))) for f in discover().values()]
    enabled = [(f, entry.candidate) for f, entry in plans if entry and entry.candidate.enabled]
    without = {f.name: found for f, _ in enabled if (found := lacking(f.scopes, row.scopes))}
    refused = {f.name: candidate.refused_since for f, candidate in enabled if candidate.refused_since}
    if without:
        missing = short(sorted({scope for found in without.values() for scope in found}))
        message = f"the seller has not consented to {missing}, so these families are skipped: {', '.join(without)}"
        yield Finding("scopes", name, "warning", message, hint)
    if refused:
        first = f"{min(refused.values()).astimezone(UTC):%Y-%m-%d %H:%MZ}"
        message = f"eBay refuses these families since {first} and is asked again daily: {', '.join(refused)}"
        yield Finding("scopes", name, "failed", message, hint)
    if without or refused:
        return
    message = (
        "the scopes are not stored; families that eBay refuses are asked again daily"
        if row.scopes is None
        else "the consent has all scopes that the enabled families need"
    )
    yield Finding("scopes", name, "ok", message)


# ---- signatures


async def _signing(
    context: CheckContext, environment: Environment, found: list[Finding], *, ask: bool, right_time: bool
) -> None:
    """Check a keyset's signing key, and that eBay accepts a signed call. Skipped if no key is needed or there."""

    def note(status: State, message: str, hint: str | None = None) -> None:
        found.append(Finding("signing", environment, status, message, hint))

    keyset = context.settings.keyset(environment)
    keys = await signing.of(context.db, keyset)
    here = [account for account in context.accounts if account.environment == environment and account.at_work]
    sellers = [account for account in here if account.marketplace_id in SITES]
    key = keys[0] if keys else None
    if key is None and not sellers:
        return
    hint = f"ebaysync keys signing create --environment {environment}"
    if key is None or key.state == "expired":
        message = "the signing key has expired" if key else "there is no signing key"
        if sellers:
            note(
                "failed",
                f"{message}: eBay refuses the Finances calls of {_named([each.name for each in sellers])}",
                hint,
            )
        else:
            note("ok", f"{message}, and no account is in the EU or the UK")
        return
    until = f"the signing key {key.signing_key_id} lasts until {key.expires_at.astimezone(UTC):%Y-%m-%d}"
    renew = key.state == "renew"
    note("warning" if renew else "ok", until, hint if renew else None)
    well = {finding.subject for finding in found if finding.check == "token" and finding.status == "ok"}
    testers = [account for account in sellers if account.name in well]
    with noting(found, "signing", environment):
        if context.vault:
            await signing.signer(context.db, context.vault, keyset)
        if not ask or not testers:
            return
        if not right_time:
            minutes = FAR_OFF.seconds // 60
            note(
                "failed", f"no signed call was made: this host's clock is more than {minutes} minutes off", SYNCHRONIZE
            )
            return
        async with open_api(context.settings, context.db, testers[0], "doctor", context.stop.sleep) as (api, _):
            await context.stop.race(finances.check_signature(api))
        note("ok", f"eBay accepts a signed call of {testers[0].name}")


# ---- quotas and runs


def _quotas(context: CheckContext) -> Iterator[Finding]:
    """Show cool-downs, then compare use and forecast with each quota; the fullest quota first."""
    cool_downs = schedule.cool_downs(context.plan)
    for found in cool_downs:
        hint = f"it ends by itself; to lift it by hand: {found.lift}"
        yield Finding("quota", found.keyset, "warning", found.sentence, hint)
    shown = {(found.keyset, found.api) for found in cool_downs}
    others = [each for each in context.plan.forecasts if (each.keyset, each.budget.api) not in shown]
    limited = [(forecast, quota) for forecast in others if (quota := forecast.budget.quota)]
    for forecast, quota in sorted(limited, key=lambda pair: -pair[0].budget.used / pair[1]):
        budget = forecast.budget
        message = f"{budget.used:,} of {quota:,} calls of {budget.api} are used today"
        if cool_down := budget.cool_down(1.0, context.plan.now):
            yield Finding("quota", forecast.keyset, "warning", cool_down[1], "see: ebaysync schedule")
        elif forecast.calls > quota:
            message += f", and {forecast.calls:,.0f} are forecast"
            hint = "run families less often (ebaysync families every), or ask eBay for more; see ebaysync schedule"
            yield Finding("quota", forecast.keyset, "warning", message, hint)
        else:
            yield Finding("quota", forecast.keyset, "ok", message)


async def _runs(context: CheckContext) -> list[Finding]:
    """Check that something calls run-all."""
    active = [account for account in context.accounts if account.at_work]
    if not active:
        return []
    [row] = await context.db.rows(_LAST, ids=[account.id for account in active])
    hint = "is the timer active? systemctl list-timers 'ebaysync*', or crontab -l; by hand: ebaysync run-all"
    if row.at is None:
        return [Finding("runs", "run-all", "warning", "nothing has run yet", hint)]
    message = f"the last run began at {row.at.astimezone(UTC):%Y-%m-%d %H:%MZ}"
    late = row.age > OVERDUE
    return [Finding("runs", "run-all", "warning" if late else "ok", message, hint if late else None)]


_LAST = """
SELECT max(last_run_at) AS at, clock_timestamp() - max(last_run_at) AS age
FROM ebay_sync_state WHERE ebay_account_id = ANY(:ids)
"""


def _named(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
