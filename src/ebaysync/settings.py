"""The settings: environment first, then the settings file, then the default. One frozen object, read once, passed on.

The file is the one that EBAYSYNC_ENV_FILE names, else `.env` of the working directory (never for root), else
`/etc/ebaysync/env`.

Each field has its variable's name, its help text, and whether it is a secret. The reference in docs/ and the check of
file permissions derive from that.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import SplitResult, urlsplit

from dotenv import dotenv_values
from platformdirs import user_data_path

from ebaysync import files
from ebaysync.errors import ConfigError
from ebaysync.log import Secret

Environment = Literal["production", "sandbox", "simulator"]
ENVIRONMENTS: tuple[Environment, ...] = ("production", "sandbox", "simulator")
KEYSET_PREFIX = {"production": "", "sandbox": "sandbox_", "simulator": "simulator_"}  # of the fields of Settings
log = logging.getLogger(__name__)
SYSTEM_FILE = Path("/etc/ebaysync/env")
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def default_home() -> Path:
    return Path("/var/lib/ebaysync") if os.geteuid() == 0 else user_data_path("ebaysync")


def _path(text: str) -> Path:
    """Raises ValueError."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("must be a path of a user who exists, where it begins with ~") from None


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        """Raises ValueError."""
        value = int(text)
        if not lowest <= value <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return value

    return parse


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        raise ValueError("must be text or json")
    return text


def _url(text: str, schemes: tuple[str, ...], must: str) -> SplitResult:
    """Split a URL. Raises ValueError, which says what it must look like."""
    try:
        parts = urlsplit(text)
        # `port` raises ValueError if it is no number, which only shows when it is read.
        ok = parts.scheme in schemes and parts.port != 0
    except ValueError:
        ok = False
    if not ok:
        raise ValueError(must)
    return parts


def _host_url(text: str, schemes: tuple[str, ...], must: str) -> SplitResult:
    """Split a URL that must have a host. Raises ValueError."""
    parts = _url(text, schemes, must)
    if not parts.hostname:
        raise ValueError(must)
    return parts


def _base_url(text: str) -> str:
    parts = _host_url(text, ("http", "https"), "must be a URL such as http://127.0.0.1:8080")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("plain http is accepted for loopback alone")
    return text.rstrip("/")


def _database_url(text: str) -> Secret:
    schemes = ("postgresql", "postgres", "postgresql+psycopg")
    _url(text, schemes, "must look like postgresql://user:password@host:5432/database")
    return Secret(text)


def _proxy(text: str) -> Secret:
    must = "must look like http://proxy.example.org:3128, with user:password@ where it asks for them"
    _host_url(text, ("http",), must)
    return Secret(text)


def _simulator_secret(text: str) -> Secret:
    """The default is not a secret, and messages need the word."""
    return Secret(text, redacted=text != "simulator")


def _setting(name: str, default: Any, help_text: str, parse: Callable[[str], Any] = str, secret: bool = False) -> Any:
    meta = {"name": name, "help": help_text, "parse": parse, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class Keyset:
    """A keyset, as eBay calls it: client id, client secret and RuName of an application in one environment."""

    environment: Environment
    client_id: str
    client_secret: Secret
    ru_name: str


@dataclass(frozen=True)
class Settings:
    home: Path = _setting("EBAYSYNC_HOME", default_home, "key file and embedded database", _path)
    database_url: Secret | None = _setting(
        "EBAYSYNC_DATABASE_URL",
        None,
        "postgresql://…; unset: the embedded PostgreSQL",
        _database_url,
        secret=True,
    )
    admin_database_url: Secret | None = _setting(
        "EBAYSYNC_ADMIN_DATABASE_URL",
        None,
        "the owner's login, for migrate, prune, accounts remove",
        _database_url,
        secret=True,
    )
    secret_key: Secret | None = _setting(
        "EBAYSYNC_SECRET_KEY",
        None,
        "comma-separated keys; the first encrypts, all decrypt",
        Secret,
        secret=True,
    )
    secret_key_file: Path | None = _setting("EBAYSYNC_SECRET_KEY_FILE", None, "a file with the same", _path)
    client_id: str | None = _setting("EBAY_CLIENT_ID", None, "the production keyset's client id")
    client_secret: Secret | None = _setting("EBAY_CLIENT_SECRET", None, "its client secret", Secret, secret=True)
    ru_name: str | None = _setting("EBAY_RU_NAME", None, "its RuName")
    sandbox_client_id: str | None = _setting("EBAY_SANDBOX_CLIENT_ID", None, "the sandbox keyset's client id")
    sandbox_client_secret: Secret | None = _setting(
        "EBAY_SANDBOX_CLIENT_SECRET", None, "its client secret", Secret, secret=True
    )
    sandbox_ru_name: str | None = _setting("EBAY_SANDBOX_RU_NAME", None, "its RuName")
    simulator_url: str | None = _setting(
        "EBAYSYNC_SIMULATOR_URL", None, "stands for every eBay host in the environment simulator", _base_url
    )
    simulator_apiz_url: str | None = _setting(
        "EBAYSYNC_SIMULATOR_APIZ_URL", None, "stands for the apiz host instead", _base_url
    )
    simulator_auth_url: str | None = _setting(
        "EBAYSYNC_SIMULATOR_AUTH_URL", None, "stands for the auth host instead", _base_url
    )
    simulator_client_id: str = _setting("EBAYSYNC_SIMULATOR_CLIENT_ID", "simulator", "the simulator's keyset")
    simulator_client_secret: Secret = _setting(
        "EBAYSYNC_SIMULATOR_CLIENT_SECRET",
        lambda: _simulator_secret("simulator"),
        "its client secret",
        _simulator_secret,
        secret=True,
    )
    simulator_ru_name: str = _setting("EBAYSYNC_SIMULATOR_RU_NAME", "simulator", "its RuName")
    proxy: Secret | None = _setting(
        "EBAYSYNC_PROXY", None, "an HTTP proxy on the way to eBay; HTTPS_PROXY is not looked at", _proxy, secret=True
    )
    jobs: int = _setting("EBAYSYNC_JOBS", 5, "accounts at the same time", _whole(1, 1000))
    account_timeout: int = _setting(
        "EBAYSYNC_ACCOUNT_TIMEOUT", 240, "seconds: one account's share of a run-all", _whole(1, 7 * 86_400)
    )
    account_memory_mb: int = _setting(
        "EBAYSYNC_ACCOUNT_MEMORY_MB", 512, "memory one account's process may take", _whole(128, 1_000_000)
    )
    overlap_minutes: int = _setting(
        "EBAYSYNC_OVERLAP_MINUTES", 30, "how far a window reaches back before its cursor", _whole(0, 366 * 1440)
    )
    settle_seconds: int = _setting(
        "EBAYSYNC_SETTLE_SECONDS", 120, "how far a window's end stays behind now", _whole(0, 86_400)
    )
    max_window_hours: int = _setting(
        "EBAYSYNC_MAX_WINDOW_HOURS", 24, "a slice of orders is wider only where one page holds it", _whole(1, 366 * 24)
    )
    initial_backfill_days: int = _setting(
        "EBAYSYNC_INITIAL_BACKFILL_DAYS", 90, "where a new cursor starts", _whole(1, 3660)
    )
    keep_runs_days: int = _setting(
        "EBAYSYNC_KEEP_RUNS_DAYS", 90, "prune: runs, quarantine, token refreshes, counted calls", _whole(1, 36_600)
    )
    keep_logs_days: int = _setting("EBAYSYNC_KEEP_LOGS_DAYS", 30, "prune: the lines of a run's log", _whole(1, 36_600))
    keep_events_days: int | None = _setting(
        "EBAYSYNC_KEEP_EVENTS_DAYS", None, "prune: events; unset: for ever", _whole(1, 36_600)
    )
    keep_raw_days: int | None = _setting(
        "EBAYSYNC_KEEP_RAW_DAYS",
        None,
        "prune: raw_payload of rows that were not updated since; at least 90; unset: for ever",
        _whole(1, 36_600),
    )
    keep_addresses_days: int | None = _setting(
        "EBAYSYNC_KEEP_ADDRESSES_DAYS",
        None,
        "prune: the buyer's address, notes, e-mail and phone, after the order's creation; unset: for ever",
        _whole(1, 36_600),
    )
    log_format: str = _setting("EBAYSYNC_LOG_FORMAT", "text", "text or json, to standard error", _log_format)

    def keyset(self, environment: str) -> Keyset:
        """The keyset of an environment. Raises ConfigError, which names the missing variables."""
        prefix = KEYSET_PREFIX[environment]
        client_id = getattr(self, f"{prefix}client_id")
        client_secret = getattr(self, f"{prefix}client_secret")
        for name, value in ((f"{prefix}client_id", client_id), (f"{prefix}client_secret", client_secret)):
            if not value:
                raise ConfigError(
                    f"{variable(name)} is not set, but an account of the environment {environment} needs it",
                    hint="eBay shows the keyset at developer.ebay.com under Application Keys",
                )
        ru_name = getattr(self, f"{prefix}ru_name") or ""
        return Keyset(cast(Environment, environment), client_id, client_secret, ru_name)

    def consent_keyset(self, environment: str) -> Keyset:
        """The keyset with its RuName, which only a consent needs. Raises ConfigError."""
        keyset = self.keyset(environment)
        if not keyset.ru_name:
            field_name = "sandbox_ru_name" if environment == "sandbox" else "ru_name"
            raise ConfigError(
                f"{variable(field_name)} is not set, but a seller's consent needs the keyset's RuName",
                hint="eBay shows it at developer.ebay.com, User Tokens, Get a Token from eBay via Your Application",
            )
        return keyset

    def as_environ(self) -> dict[str, str]:
        """The settings as variables, with secrets. For the pipe to an account's process, never for its environment."""
        found: dict[str, str] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None:
                found[f.metadata["name"]] = value.reveal() if isinstance(value, Secret) else str(value)
        return found


def variable(field_name: str) -> str:
    """The environment variable of a field of Settings."""
    return next(str(f.metadata["name"]) for f in fields(Settings) if f.name == field_name)


def load(environ: Mapping[str, str] | None = None, *, env_file: bool = True) -> Settings:
    """Read the settings. Raises ConfigError, which names the variable and says what it should look like."""
    environ = os.environ if environ is None else environ
    file, from_file = _read_env_file(environ.get("EBAYSYNC_ENV_FILE")) if env_file else ("", {})
    values: dict[str, Any] = {}
    for f in fields(Settings):
        name = f.metadata["name"]
        # An empty variable hides the file's value: that is how to unset it for one command.
        text = environ[name] if name in environ else from_file.get(name)
        if not text:
            continue
        try:
            if not text.isprintable():  # neither may it hold bytes that are not text
                raise ValueError("must be one line of text")
            values[f.name] = f.metadata["parse"](text)
        except ValueError as error:
            shown = "its value" if f.metadata["secret"] else repr(text if len(text) <= 100 else f"{text[:100]}…")
            reason = str(error) if str(error).startswith(("must", "plain")) else "must be a whole number"
            where = "" if name in environ else f" in {file}"
            raise ConfigError(f"{name}{where}: {shown} is not usable: {reason}") from None
    return Settings(**values)


def _read_env_file(named: str | None) -> tuple[str, dict[str, str | None]]:
    """The name of the settings file, for messages, and what is in it. Raises ConfigError."""
    try:
        path = _path(named) if named else Path(".env")
    except ValueError as error:
        raise ConfigError(f"EBAYSYNC_ENV_FILE: {named!r} is not usable: {error}") from None
    try:
        if named == os.devnull:
            text: str | None = ""
        elif named:
            text = files.private_text(path, _holds_secret)
        elif (text := _of_working_directory()) is None:
            path, text = SYSTEM_FILE, _of_system()
        # A secret may contain a dollar sign.
        return str(path), dotenv_values(stream=io.StringIO(text or ""), interpolate=False)
    except FileNotFoundError:
        raise ConfigError(f"EBAYSYNC_ENV_FILE: {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(
            f"{path} cannot be read: {reason}", hint="fix it, or name another file in EBAYSYNC_ENV_FILE"
        ) from None


def _of_working_directory() -> str | None:
    """The text of `.env`; None if there is none, or for root, whose working directory may be anybody's."""
    if not os.access(".", os.X_OK):  # such as root's after sudo; nobody asked for the file
        return None
    if os.geteuid() != 0:
        return files.working_text(".env", _holds_secret)
    with suppress(OSError, UnicodeDecodeError, ConfigError):
        if "EBAY" in (files.working_text(".env", _holds_secret) or ""):
            log.warning("root does not read .env of the working directory: name it in EBAYSYNC_ENV_FILE")
    return None


def _of_system() -> str | None:
    """The text of the system's file; None if there is none, or if this user may not read it."""
    try:
        return files.private_text(SYSTEM_FILE, _holds_secret)
    except (FileNotFoundError, PermissionError):
        return None


def _holds_secret(text: str) -> bool:
    secrets = {f.metadata["name"] for f in fields(Settings) if f.metadata["secret"]}
    return any(
        value for name, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items() if name in secrets
    )
