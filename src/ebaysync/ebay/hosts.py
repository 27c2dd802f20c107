"""The hosts of an environment. eBay spreads its APIs over several; the wrong one answers 404."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ebaysync.errors import ConfigError
from ebaysync.log import Secret
from ebaysync.settings import Settings


@dataclass(frozen=True)
class Hosts:
    """Base URLs of an environment's hosts."""

    api: str
    apiz: str
    auth: str
    proxy: Secret | None = None
    """an HTTP proxy on the way to them"""

    def names(self) -> set[str]:
        return {urlsplit(url).netloc for url in (self.api, self.apiz, self.auth)}


def hosts(settings: Settings, environment: str) -> Hosts:
    """The hosts of an environment. Raises ConfigError if the simulator's URL is missing."""
    if environment == "simulator":
        base = settings.simulator_url
        if base is None:
            raise ConfigError("EBAYSYNC_SIMULATOR_URL is not set, but an account of the environment simulator needs it")
        return Hosts(base, settings.simulator_apiz_url or base, settings.simulator_auth_url or base)
    middle = ".sandbox" if environment == "sandbox" else ""
    api, apiz, auth = (f"https://{name}{middle}.ebay.com" for name in ("api", "apiz", "auth"))
    return Hosts(api, apiz, auth, settings.proxy)
