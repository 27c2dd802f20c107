"""The families, one module each, discovered."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from ebaysync.errors import UsageError
from ebaysync.families.family import Family


@cache
def discover() -> dict[str, Family]:
    """Every family by its name: each module here that has a FAMILY."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    families = [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
    return {family.name: family for family in sorted(families, key=lambda family: family.name)}


def named(name: str) -> Family:
    """The family of this name. Raises UsageError."""
    if name not in discover():
        raise UsageError(f"there is no family {name!r}", hint=f"families: {', '.join(discover())}")
    return discover()[name]
