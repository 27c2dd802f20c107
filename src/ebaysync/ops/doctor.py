"""What `doctor` looks at, from the ground up: database, clock, key, keysets, accounts, signatures, quotas, runs. Each
finding says what is so and, where something must be mended, how.

Of eBay it asks little: a token for each keyset, Identity for each account, and one signed Finances call for each keyset
with a signing key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from ebaysync.accounts import application, consent, signing, vault
from ebaysync.accounts.accounts import Account, connect_command, has_tokens
from ebaysync.accounts.scopes import lacking, short
from ebaysync.accounts.tokens import consent_needed, open_api
from ebaysync.accounts.usage import metered
from ebaysync.accounts.vault import Vault
from ebaysync.ebay import finances, identity
from ebaysync.ebay.signature import SITES
from ebaysync.ebay.transport import Transport, hosts
from ebaysync.errors import AccessDenied, ConfigError, DatabaseError, EbaysyncError, Interrupted
from ebaysync.families import discover
from ebaysync.ops import schedule, status
from ebaysync.ops.account import CONNECTIONS
from ebaysync.ops.budget import Plan
from ebaysync.settings import ENVIRONMENTS, Environment, Settings, variable
from ebaysync.store.database import Database
from ebaysync.sync.stop import Stop

State = Literal["ok", "warning", "failed"]

OFF, FAR_OFF = timedelta(seconds=30), timedelta(minutes=5)  # of a clock; eBay refuses signatures that are farther off
OVERDUE = timedelta(hours=1)
SYNCHRONIZE = "let the host keep time: timedatectl set-ntp true"


@dataclass(frozen=True)
class Finding:
    check: str
    subject: str
    """what was looked at: an account, an environment, or the database"""
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
    """What fails is a finding; but a signal and a database that is gone end it all."""
    try:
        yield
    except (Interrupted, DatabaseError):
        raise
    except EbaysyncError as error:
        found.append(failure(check, subject, error))


@dataclass
class Patient:
    """What every examination needs. `vault` is None where the key is not to be had: then eBay is not asked."""

    settings: Settings
    db: Database
    stop: Stop
    plan: Plan
    accounts: Sequence[Account]
    rows: dict[Any, Any]
    """of each account's tokens and consent"""
    vault: Vault | None = None
    online: bool = True


async def examine(
    settings: Settings,
    db: Database,
    accounts: Sequence[Account],
    stop: Stop,
    *,
    online: bool = True,
    told: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    """All findings. Raises DatabaseError when the database goes away meanwhile, Interrupted."""
    ids = [account.id for account in accounts]
    rows = {row.ebay_account_id: row for row in await db.rows(_TOKENS, ids=ids)}
    patient = Patient(settings, db, stop, await schedule.plan(settings, db), accounts, rows)
    found = [*await _database(patient), *await _owner(patient), await _key(patient)]
    paused = await status.pause(db)
    if paused:
        found.append(Finding("pause", "everything", "warning", f"{paused}; eBay is not asked", "ebaysync resume"))
    patient.online = online and not paused and patient.vault is not None
    found.append(await _host_clock(db))
    for environment in _environments(settings, accounts):
        told(environment)
        found += await _environment(patient, environment, told)
    if not accounts:
        mend = "ebaysync accounts connect NAME --environment production"
        found.append(Finding("accounts", "accounts", "warning", "there are no accounts yet", mend))
    return [*found, *_quotas(patient), *await _runs(patient)]


_TOKENS = """
SELECT a.id AS ebay_account_id, t.refresh_token, t.access_token, t.refresh_expires_at,
    t.refresh_expires_at - clock_timestamp() AS "left", z.scopes, z.missing_scopes
FROM ebay_accounts a LEFT JOIN ebay_tokens t ON t.ebay_account_id = a.id
LEFT JOIN ebay_authorizations z ON z.ebay_account_id = a.id WHERE a.id = ANY(:ids)
"""


# ---- the database


async def _database(patient: Patient) -> list[Finding]:
    db = patient.db
    [row] = await db.rows(_SERVER)
    found = [Finding("database", "server", "ok", f"{db.where} is version {row.version}, the schema fits")]
    if row.encoding != "UTF8":
        told = f"{db.where} keeps text as {row.encoding}; what eBay sends needs UTF8"
        found.append(Finding("database", "encoding", "failed", told, "make it anew: createdb --encoding UTF8"))
    if row.refused:
        told = f"the login {row.login} may not write {row.refused}"
        mend = "the owner runs: ebaysync migrate --grants; then GRANT ebaysync_writer TO this login"
        found.append(Finding("database", "rights", "failed", told, mend))
    needed = CONNECTIONS * patient.settings.jobs + CONNECTIONS
    if row.connections < needed:
        told = (
            f"the server allows {row.connections} connections; {patient.settings.jobs} accounts at a time take {needed}"
        )
        mend = f"raise max_connections, lower {variable('jobs')}, or put PgBouncer in between"
        found.append(Finding("database", "connections", "warning", told, mend))
    return found


_SERVER = """
SELECT current_user AS login, current_setting('server_version') AS version,
    current_setting('server_encoding') AS encoding, CAST(current_setting('max_connections') AS int) AS connections,
    (SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
            AND (relname LIKE 'ebay\\_%' OR relname = 'order_line_items') AND relname <> 'ebay_private_columns'
            AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                AND has_table_privilege(oid, 'UPDATE'))) AS refused
"""


async def _owner(patient: Patient) -> list[Finding]:
    """The owner's login, where one is set."""
    url, name = patient.settings.admin_database_url, variable("admin_database_url")
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
    told = f"{row.login} does not own the tables" if row.owns is False else f"{row.login} sees no tables there"
    mend = "name the owner's login there, or GRANT ebaysync_owner TO it"
    return [Finding("database", name, "failed", f"{name}: {told}", mend)]


_OWNS = """
SELECT current_user AS login, (SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relname LIKE 'ebay\\_%') AS owns
"""


# ---- clock and key


async def _host_clock(db: Database) -> Finding:
    before = datetime.now(UTC)
    [row] = await db.rows("SELECT clock_timestamp() AS now")
    return _clock("database", "the database's clock", row.now - before - (datetime.now(UTC) - before) / 2)


def _clock(subject: str, whose: str, off: timedelta) -> Finding:
    """`off`: how much that clock is ahead of this host's."""
    if abs(off) <= OFF:
        return Finding("clock", subject, "ok", f"this host and {whose} agree within {OFF.seconds} seconds")
    told = f"this host's clock is {_span(abs(off))} {'behind' if off > timedelta(0) else 'ahead of'} {whose}"
    return Finding("clock", subject, "failed" if abs(off) > FAR_OFF else "warning", told, SYNCHRONIZE)


def _span(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


async def _key(patient: Patient) -> Finding:
    try:
        patient.vault = vault.load(patient.settings, may_create=not await has_tokens(patient.db))
    except ConfigError as error:
        return failure("key", "encryption", error)
    return Finding("key", "encryption", "ok", f"read from {patient.vault.source}")


# ---- an environment and its accounts


def _environments(settings: Settings, accounts: Sequence[Account]) -> list[Environment]:
    """Where an account is or a keyset is set."""
    used = {account.environment for account in accounts}
    unset = {
        "production": settings.client_id,
        "sandbox": settings.sandbox_client_id,
        "simulator": settings.simulator_url,
    }
    return [name for name in ENVIRONMENTS if name in used or unset[name]]


async def _environment(patient: Patient, environment: Environment, told: Callable[[str], None]) -> list[Finding]:
    try:
        keyset, places = patient.settings.keyset(environment), hosts(patient.settings, environment)
    except ConfigError as error:
        return [failure("settings", environment, error)]
    found: list[Finding] = []
    try:
        patient.settings.consent_keyset(environment)
        found.append(Finding("settings", environment, "ok", "the keyset is complete"))
    except ConfigError as error:
        found.append(Finding("settings", environment, "warning", error.message, error.hint))
    accounts = [account for account in patient.accounts if account.environment == environment]
    reached, right_time = False, True
    if patient.online and patient.vault:
        async with (
            Transport(places, sleep=patient.stop.sleep) as transport,
            metered(patient.db, patient.vault, keyset, transport),
        ):
            with noting(found, "keyset", environment):
                await application.forget(patient.db, keyset)  # the stored one would prove nothing
                await patient.stop.race(application.access_token(patient.db, patient.vault, transport, keyset))
                found.append(Finding("keyset", environment, "ok", "eBay accepts the client id and secret"))
                reached = True
            if transport.clock.known:
                found.append(_clock(environment, "eBay's clock", transport.clock.now() - datetime.now(UTC)))
                right_time = found[-1].status != "failed"
    places_at_work = asyncio.Semaphore(patient.settings.jobs)

    async def one(account: Account) -> list[Finding]:
        async with places_at_work:
            told(account.name)
            return await _account(patient, account, ask=reached)

    for of_one in await asyncio.gather(*(one(account) for account in accounts)):
        found += of_one
    await _signing(patient, environment, found, ask=reached, right_time=right_time)
    return found


async def _account(patient: Patient, account: Account, *, ask: bool) -> list[Finding]:
    if not account.is_active:
        mend = f"ebaysync accounts enable {account.name}"
        return [Finding("account", account.name, "ok", f"disabled; to let it run: {mend}")]
    if account.needs_consent:
        return [failure("token", account.name, consent_needed(account))]
    row = patient.rows[account.id]
    found: list[Finding] = []
    with noting(found, "token", account.name):
        found.append(await _token(patient, account, row, ask=ask))
    return [*found, _consent(account, row), _scopes(patient, account, row)]


async def _token(patient: Patient, account: Account, row: Any, *, ask: bool) -> Finding:
    """Raises EbaysyncError, which is the finding then."""
    name, mend = account.name, connect_command(account.name, account.environment)
    if row.refresh_token is None:
        return Finding("token", name, "failed", "there are no tokens", mend)
    if patient.vault is None:
        return Finding("token", name, "warning", "the tokens cannot be looked at without the key")
    blobs = {column: blob for column in ("refresh_token", "access_token") if (blob := getattr(row, column)) is not None}
    for column, blob in blobs.items():
        patient.vault.open(blob, account.environment, account.id, column, mend)
    if not all(patient.vault.current(blob) for blob in blobs.values()):
        told = "encrypted with an older key, which is still needed"
        return Finding("token", name, "warning", told, "ebaysync keys rotate")
    if not ask:
        return Finding("token", name, "ok", "the tokens can be read; eBay was not asked")
    try:
        async with open_api(patient.settings, patient.db, account, "doctor", patient.stop.sleep) as (api, _):
            user = await patient.stop.race(identity.user(api))
    except AccessDenied:
        return Finding(
            "token", name, "ok", "eBay accepts the token; whose it is it may not ask (commerce.identity.readonly)"
        )
    if user.user_id != account.ebay_user_id:
        told = f"the token belongs to the eBay user {user.user_id}, the account to {account.ebay_user_id}"
        return Finding("token", name, "failed", told, connect_command(name, account.environment))
    return Finding("token", name, "ok", f"eBay accepts the token, of the eBay user {user.user_id}")


def _consent(account: Account, row: Any) -> Finding:
    name, mend = account.name, connect_command(account.name, account.environment)
    if row.left is None:
        return Finding("consent", name, "ok", "the end is not known: 18 months after the consent was given")
    if row.left <= timedelta(0):
        return Finding("consent", name, "failed", "the consent has ended", mend)
    pressing = row.left < consent.SOON
    told = f"the consent lasts until {row.refresh_expires_at.astimezone(UTC):%Y-%m-%d}"
    return Finding("consent", name, "warning" if pressing else "ok", told, mend if pressing else None)


def _scopes(patient: Patient, account: Account, row: Any) -> Finding:
    """What the families that are enabled need."""
    enabled = [
        f for f in discover().values() if (due := patient.plan.dues.get((account.id, f.name))) and due.task.enabled
    ]
    without = {f.name: found for f in enabled if (found := lacking(f.scopes, row.scopes, row.missing_scopes or ()))}
    if without:
        missing = short(sorted({scope for found in without.values() for scope in found}))
        told = f"the seller has not consented to {missing}: left out are {', '.join(without)}"
        return Finding("scopes", account.name, "warning", told, connect_command(account.name, account.environment))
    told = (
        "the scopes are not on record: what eBay refuses is learned"
        if row.scopes is None
        else "all that the families need"
    )
    return Finding("scopes", account.name, "ok", told)


# ---- signatures


async def _signing(
    patient: Patient, environment: Environment, found: list[Finding], *, ask: bool, right_time: bool
) -> None:
    """The signing key of a keyset whose sellers need one, or that has one; and whether eBay accepts what it signs."""

    def note(status: State, message: str, hint: str | None = None) -> None:
        found.append(Finding("signing", environment, status, message, hint))

    keyset = patient.settings.keyset(environment)
    keys = await signing.of(patient.db, keyset)
    here = [account for account in patient.accounts if account.environment == environment and account.at_work]
    sellers = [account for account in here if account.marketplace_id in SITES]
    key = keys[0] if keys else None
    if key is None and not sellers:
        return
    mend = f"ebaysync keys signing create --environment {environment}"
    if key is None or key.state == "expired":
        told = "the signing key has expired" if key else "there is no signing key"
        if sellers:
            note(
                "failed", f"{told}: eBay refuses the Finances calls of {_named([each.name for each in sellers])}", mend
            )
        else:
            note("ok", f"{told}, and no seller of the EU or the UK who needs one")
        return
    until = f"the signing key {key.signing_key_id} lasts until {key.expires_at.astimezone(UTC):%Y-%m-%d}"
    renew = key.state == "renew"
    note("warning" if renew else "ok", until, mend if renew else None)
    well = {finding.subject for finding in found if finding.check == "token" and finding.status == "ok"}
    testers = [account for account in sellers if account.name in well]
    with noting(found, "signing", environment):
        if patient.vault:
            await signing.signer(patient.db, patient.vault, keyset)
        if not ask or not testers:
            return
        if not right_time:
            minutes = FAR_OFF.seconds // 60
            note("failed", f"no signature was tried: this host's clock is more than {minutes} minutes off", SYNCHRONIZE)
            return
        async with open_api(patient.settings, patient.db, testers[0], "doctor", patient.stop.sleep) as (api, _):
            await patient.stop.race(finances.check_signature(api))
        note("ok", f"eBay accepts a signed call of {testers[0].name}")


# ---- what is going on


def _quotas(patient: Patient) -> Iterator[Finding]:
    """The fullest first."""
    limited = [(forecast, quota) for forecast in patient.plan.forecasts if (quota := forecast.budget.quota)]
    for forecast, quota in sorted(limited, key=lambda pair: -pair[0].budget.used / pair[1]):
        budget = forecast.budget
        told = f"{budget.used:,} of {quota:,} calls of {budget.api} are used today"
        if rest := budget.rest(1.0, patient.plan.now):
            yield Finding("quota", forecast.keyset, "warning", rest[1], "see: ebaysync schedule")
        elif forecast.calls > quota:
            told += f", and {forecast.calls:,.0f} are forecast"
            mend = "run families less often (ebaysync families every), or ask eBay for more: see ebaysync schedule"
            yield Finding("quota", forecast.keyset, "warning", told, mend)
        else:
            yield Finding("quota", forecast.keyset, "ok", told)


async def _runs(patient: Patient) -> list[Finding]:
    """Whether something calls run-all."""
    active = [account for account in patient.accounts if account.at_work]
    if not active:
        return []
    [row] = await patient.db.rows(_LAST, ids=[account.id for account in active])
    mend = "is the timer on? systemctl list-timers 'ebaysync*', or crontab -l; by hand: ebaysync run-all"
    if row.at is None:
        return [Finding("runs", "run-all", "warning", "nothing has run yet", mend)]
    told = f"the last run began at {row.at.astimezone(UTC):%Y-%m-%d %H:%MZ}"
    late = row.age > OVERDUE
    return [Finding("runs", "run-all", "warning" if late else "ok", told, mend if late else None)]


_LAST = """
SELECT max(last_run_at) AS at, clock_timestamp() - max(last_run_at) AS age
FROM ebay_sync_state WHERE ebay_account_id = ANY(:ids)
"""


def _named(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
