"""What every kind of test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of eBay's specifications and sample payloads beside the checkout.

    It is not part of the project: without it a test skips, but not in CI, where a skipped check would look
    like a passed one.
    """
    if not (SHARED / "ebay").is_dir():
        reason = "eBay's specifications and samples (../shared) are not here"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not skip")
        pytest.skip(reason)
    return SHARED
