"""What a run's end means for the next one: the back-off after a failure, and what a run costs on average.

A family that failed waits for about its interval, then twice as long each time, up to six hours; success ends that. A
seller who must consent is no reason to wait, it costs no call; nor are wrong settings, which are mended at any moment.
First imports do not enter the average, and a run that was cut short only when it has cost more than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import SystemRandom
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ebaysync.errors import ConfigError, ConsentNeeded, DatabaseError, EbaysyncError
from ebaysync.families.family import Family

LONGEST_BACKOFF = 360  # minutes; of a family whose interval is longer, its interval
JITTER = (0.8, 1.2)
WEIGHT = 0.3  # of the newest run in the average


async def failed(connection: AsyncConnection, account_id: UUID, family: Family, error: EbaysyncError | None) -> None:
    """Let run-all wait before it tries again."""
    if isinstance(error, ConsentNeeded | ConfigError | DatabaseError):
        return
    values = {
        "account": account_id,
        "family": family.name,
        "every": family.every_minutes,
        "longest": LONGEST_BACKOFF,
        "jitter": SystemRandom().uniform(*JITTER),
    }
    await connection.execute(text(_FAILED), values)


async def succeeded(
    connection: AsyncConnection, account_id: UUID, family: Family, spent: Mapping[str, int], *, whole: bool
) -> None:
    """End the back-off, and count the run in. `spent`: its calls by API; `whole`: it came to its end."""
    values = {"account": account_id, "family": family.name}
    await connection.execute(text(_SUCCEEDED), values)
    row = (await connection.execute(text(_AVERAGE), values)).one_or_none()
    known: Mapping[str, float] = row.calls_per_run if row else {}
    counted = msgspec.json.encode(averaged(known, spent) if whole else at_least(known, spent)).decode()
    await connection.execute(text(_SET_AVERAGE), {**values, "average": counted})


def averaged(known: Mapping[str, float], spent: Mapping[str, int]) -> dict[str, float]:
    """An exponential moving average; the first run is its beginning."""
    ours = {api: calls for api, calls in spent.items() if not api.startswith("oauth.")}
    if not known:
        return {api: float(calls) for api, calls in ours.items()}
    mixed = {api: known.get(api, 0.0) * (1 - WEIGHT) + ours.get(api, 0) * WEIGHT for api in sorted({*known, *ours})}
    return {api: round(calls, 2) for api, calls in mixed.items() if calls >= 0.01}


def at_least(known: Mapping[str, float], spent: Mapping[str, int]) -> dict[str, float]:
    """For a run that was cut short: the average, or what it has cost where that is more."""
    return {api: max(known.get(api, 0.0), float(spent.get(api, 0))) for api in sorted({*known, *spent})}


_MINE = "ebay_account_id = :account AND api_family = :family"
_FAILED = f"""
UPDATE ebay_sync_state AS s SET failures = failures + 1, updated_at = clock_timestamp(),
    retry_at = clock_timestamp() + make_interval(secs => 60 * CAST(:jitter AS float8) * least(
        greatest(CAST(:longest AS float8), of.minutes), of.minutes * 2 ^ least(failures, 20)))
FROM (SELECT coalesce(
        (SELECT every_minutes FROM ebay_sync_state WHERE {_MINE}),
        (SELECT CAST(defaults -> 'families' -> :family ->> 'every_minutes' AS integer) FROM ebay_worker_global_config),
        :every) AS minutes) AS of
WHERE {_MINE}
"""  # noqa: S608
_SUCCEEDED = f"UPDATE ebay_sync_state SET failures = 0, retry_at = NULL WHERE {_MINE} AND failures > 0"  # noqa: S608
_AVERAGE = f"SELECT calls_per_run FROM ebay_sync_state WHERE {_MINE}"  # noqa: S608
_SET_AVERAGE = f"UPDATE ebay_sync_state SET calls_per_run = CAST(:average AS jsonb) WHERE {_MINE}"  # noqa: S608
