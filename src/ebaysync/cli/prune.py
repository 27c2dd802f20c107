"""prune: delete data that is older than the settings allow."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ebaysync import log as logs
from ebaysync.cli.options import AsJson
from ebaysync.cli.session import Session, answer_json, progress, say
from ebaysync.ops import prune as pruning
from ebaysync.ops.prune import Keep
from ebaysync.sync.stop import Stop

_SAID = {
    "quiet_runs": f"runs that found nothing, older than {pruning.QUIET_DAYS} days",
    "runs": "other runs",
    "log_lines": "lines of runs' logs",
    "quarantine": "records in quarantine",
    "token_refreshes": "token refreshes",
    "api_usage": "days of counted calls",
    "pending_consents": "unfinished consents",
    "events": "events",
    "payloads": "payloads",
    "addresses": "orders' addresses",
    "gift_details": "line items' gift details",
}


def _days(setting: str) -> Any:
    instead = f"Overrides EBAYSYNC_KEEP_{setting.upper()}_DAYS."
    return typer.Option(f"--keep-{setting}", metavar="DAYS", min=1, max=36_600, help=instead)


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync prune --dry-run --keep-raw 400")(prune)


def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be deleted. Change nothing.")] = False,
    keep_runs: Annotated[int | None, _days("runs")] = None,
    keep_logs: Annotated[int | None, _days("logs")] = None,
    keep_events: Annotated[int | None, _days("events")] = None,
    keep_raw: Annotated[int | None, _days("raw")] = None,
    keep_addresses: Annotated[int | None, _days("addresses")] = None,
    as_json: AsJson = False,
) -> None:
    """Delete data that is older than the settings allow.

    Deletes old runs, logs and events, and if set, empties old payloads and erases old addresses. It works in small
    transactions beside running work. Run it once a night.
    """
    session: Session = context.obj
    settings = session.settings
    keep = Keep(
        runs=keep_runs or settings.keep_runs_days,
        logs=keep_logs or settings.keep_logs_days,
        events=keep_events or settings.keep_events_days,
        raw=keep_raw or settings.keep_raw_days,
        addresses=keep_addresses or settings.keep_addresses_days,
    )
    if keep.raw and keep.raw < pruning.SWEPT_DAYS:
        logs.notify(f"payloads are kept for {pruning.SWEPT_DAYS} days: the sweep compares with them")

    async def work(stop: Stop) -> dict[str, int]:
        async with session.database(admin=True) as db:
            if dry_run:
                return await pruning.counted(db, keep)
            with progress("prune", None) as update:
                return await pruning.pruned(db, keep, stop, lambda number: update(number, f"{number:,} rows"))

    found = session.go(work)
    if as_json:
        answer_json({"dry_run": dry_run, "keep_days": keep, "pruned": found})
        return
    would = "would be " if dry_run else ""
    for name, number in found.items():
        if number:
            did = "emptied" if name == "payloads" else "erased" if name in ("addresses", "gift_details") else "deleted"
            say(f"{number:>12,}  {_SAID[name]} {would}{did}")
    if not any(found.values()):
        say("nothing is older than the settings allow")
