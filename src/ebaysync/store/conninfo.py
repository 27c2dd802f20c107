"""The database URL as libpq takes it. It demands TLS of a server elsewhere, unless the user says otherwise."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ebaysync.errors import ConfigError

# libpq's parameters that matter here, and the environment's variables for them.
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}


def conninfo(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """The URL with an sslmode, if neither it nor the environment nor the service it names has one and it leads to
    another host. Raises ConfigError.

    libpq's own default would give the password in clear text to any server that asks for it.
    """
    url = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError:  # its text quotes the URL
        raise ConfigError(
            "EBAYSYNC_DATABASE_URL: its value is not a URL that libpq accepts",
            hint="in user and password write % as %25, @ as %40, / as %2F, : as %3A",
        ) from None
    at_home = Path(environ.get("HOME") or Path.home())
    set_ = {name: environ[variable] for name, variable in _VARIABLES.items() if environ.get(variable)}
    effective = set_ | _service((set_ | given).get("service"), at_home, environ) | given
    if "sslmode" in effective or not _leads_away(effective):
        return url
    verified = "sslrootcert" in effective or (at_home / ".postgresql/root.crt").exists()
    return make_conninfo(url, sslmode="verify-full" if verified else "require")


def _service(name: str | None, at_home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a service, from the file where libpq finds it first. One that is nowhere is libpq's to tell."""
    own = environ.get("PGSERVICEFILE") or at_home / ".pg_service.conf"
    for path in (own, f"{environ.get('PGSYSCONFDIR', '/etc/postgresql-common')}/pg_service.conf"):
        file = configparser.RawConfigParser(delimiters="=", strict=False, comment_prefixes="#", default_section="")
        try:
            file.read_string(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        if name and file.has_section(name):
            return dict(file[name])
    return {}


def _leads_away(given: Mapping[str, str]) -> bool:
    """Whether one of the hosts is neither a socket nor this machine. An address counts for more than a host's name."""
    hosts, addresses = (given.get(name, "").split(",") for name in ("host", "hostaddr"))
    pairs = [
        (hosts[n] if n < len(hosts) else "", addresses[n] if n < len(addresses) else "")
        for n in range(max(len(hosts), len(addresses)))
    ]
    return not all(is_here((address or host).strip().lower()) for host, address in pairs)


def is_here(host: str) -> bool:
    """Whether a host or address is a local socket or this machine."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def place(url: str) -> str:
    """Host, port and database of a URL, without user and password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "local socket"
        return f"PostgreSQL at {host}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "PostgreSQL"
