"""The values that tell purchases apart while their lists are read, for the source `buyer`."""

from __future__ import annotations

from typing import Any

from ebaysync.families.buyer import FAMILY, PURCHASES

_APART = (*PURCHASES.key, "list", *(PURCHASES.twins.columns if PURCHASES.twins else ()))


def purchase_key(record: bytes) -> Any:
    """The values that tell records apart. Their bytes change while an auction runs."""
    try:
        row = FAMILY.decoders[PURCHASES.name].row(record)
    except (ValueError, RecursionError):
        return record  # the family reports what is wrong with it
    return tuple(row[name] for name in _APART)
