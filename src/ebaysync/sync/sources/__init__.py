"""The sources, one module each, discovered. A source turns eBay's calls into pages of a window, or into a scan.

To add one, write `NAME.py` here with a function `open_source(api) -> Calls`, and set a family's source to "NAME". A run
opens its source once, so the source can remember what it has learned in that run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from ebaysync.ebay.rest import Api
from ebaysync.errors import ConfigError
from ebaysync.families.family import Family
from ebaysync.sync.sources.calls import Calls


@cache
def discover() -> dict[str, Callable[[Api], Calls]]:
    """Every source by name: each module here that has `open_source`."""
    modules = {found.name: import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)}
    return {name: module.open_source for name, module in modules.items() if hasattr(module, "open_source")}


def open_source(family: Family, api: Api) -> Calls:
    """The calls of a source. Raises ConfigError if the source has no module."""
    found = discover().get(family.source)
    if found is None:
        raise ConfigError(
            f"family {family.name!r} is read from the source {family.source!r}, which does not exist",
            hint=f"add sync/sources/{family.source}.py with open_source(api), or name one of: {', '.join(discover())}",
        )
    return found(api)
