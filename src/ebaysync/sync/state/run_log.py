"""ebay_worker_run and ebay_api_worker_log: one row per run, and the lines that `ebaysync logs` shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Column, ColumnElement, DateTime, Table, Text, Uuid, cast, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from ebaysync.accounts.accounts import Account
from ebaysync.store.connection import Connection
from ebaysync.store.database import CONTROL
from ebaysync.sync.state import sync_state

WORKER_RUN = Table(
    "ebay_worker_run",
    CONTROL,
    Column("id", Uuid),
    Column("ebay_account_id", Uuid),
    Column("ebay_user_id", Text),
    Column("api_family", Text),
    Column("status", Text),
    Column("trigger", Text),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("heartbeat_at", DateTime(timezone=True)),
    Column("summary_json", JSONB),
)
WORKER_LOG = Table(
    "ebay_api_worker_log",
    CONTROL,
    Column("id", BigInteger),
    Column("run_id", Uuid),
    Column("at", DateTime(timezone=True)),
    Column("kind", Text),
    Column("details", JSONB),
)


async def begin_runs(connection: Connection, account: Account, runs: Mapping[str, UUID], trigger: str) -> None:
    """Insert the runs of some families as running. Repeating it does no harm."""
    rows = [
        {
            "id": run_id,
            "ebay_account_id": account.id,
            "ebay_user_id": account.ebay_user_id,
            "api_family": family,
            "trigger": trigger,
        }
        for family, run_id in runs.items()
    ]
    await connection.send(insert(WORKER_RUN).values(rows).on_conflict_do_nothing())


async def note(connection: Connection, run_id: UUID, kind: str, details: Mapping[str, Any]) -> None:
    """Add a line to a run's log. `kind`: start, page, done or error."""
    await connection.send(WORKER_LOG.insert().values(run_id=run_id, kind=kind, details=_json(details)))


async def end_run(connection: Connection, run_id: UUID, status: str, summary: Mapping[str, Any]) -> None:
    """Close the run."""
    now = func.clock_timestamp()
    await connection.send(
        WORKER_RUN.update()
        # Another run may have taken over and closed this row.
        .where(WORKER_RUN.c.id == run_id, WORKER_RUN.c.status == "running")
        .values(status=status, finished_at=now, heartbeat_at=now, summary_json=_json(summary))
    )


@dataclass(frozen=True)
class Ended:
    """How a run ended. `changed`: it found something new or changed."""

    status: str
    error: str | None
    changed: bool


async def end_live_run(
    connection: Connection,
    account_id: UUID,
    family: str,
    run_id: UUID,
    ended: Ended,
) -> None:
    """Note the end of a live run in the family's state, so that `status` and the plan see it."""
    began = select(WORKER_RUN.c.started_at).where(WORKER_RUN.c.id == run_id).scalar_subquery()
    new: dict[str, Any] = {"last_run_at": began, "last_status": ended.status, "last_error": ended.error}
    if ended.changed:
        new["changed_at"] = func.clock_timestamp()
    await connection.send(sync_state.update(account_id, family).values(new))


def _json(document: Mapping[str, Any]) -> ColumnElement[Any]:
    """msgspec writes times and decimals, which SQLAlchemy's own encoder does not."""
    return cast(literal(msgspec.json.encode(document).decode(), Text), JSONB)
