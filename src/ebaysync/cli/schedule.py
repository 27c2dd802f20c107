"""schedule: what is due when, and the calls it will cost."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from ebaysync.accounts import accounts as stored_accounts
from ebaysync.cli import capacity
from ebaysync.cli.format import display, styled, table
from ebaysync.cli.options import AccountNames, AsJson
from ebaysync.cli.session import Session, answer_json
from ebaysync.errors import UsageError
from ebaysync.ops import schedule as schedules
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command(
        epilog="\b\nExample: ebaysync schedule --account alice\n         ebaysync schedule --accounts 200",
    )(schedule)


def schedule(
    context: typer.Context,
    account: AccountNames = None,
    accounts: Annotated[
        int | None,
        typer.Option(
            "--accounts",
            metavar="N",
            min=1,
            max=100_000,
            help="Show instead what N accounts like the present ones would get, and which quotas to request from eBay.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what runs when, and the calls it costs.

    Shows stretched intervals, waits after failures, and how soon changes in old rows are seen. It also shows how much
    of each quota is used and how much the day will need. Quotas always cover all accounts of a keyset.
    """
    session: Session = context.obj
    if account and accounts:
        raise UsageError("--account and --accounts do not go together", hint="--accounts plans for all of a keyset")

    async def work(stop: Stop) -> dict[str, Any]:
        async with session.database() as db:
            if accounts:
                return await schedules.carried(session.settings, db, accounts)
            names = account or ()
            chosen = [await stored_accounts.find(db, name) for name in names] or await stored_accounts.every(db)
            return schedules.as_dict(await schedules.plan(session.settings, db), chosen)

    found = session.go(work)
    if as_json:
        answer_json(found)
    else:
        display(capacity.rendered(found) if accounts else _rendered(found))


def _rendered(found: dict[str, Any]) -> RenderableType:
    if not found["accounts"]:
        return styled("no accounts yet; connect one with: ebaysync accounts connect NAME --environment E")
    now = datetime.fromisoformat(found["now"])
    return Group(_dues(found["accounts"], now), *_quotas(found["quotas"], now))


def _dues(listed: list[dict[str, Any]], now: datetime) -> RenderableType:
    shown = table("account", "family", "every >", "old rows >", "due", "calls >", "why")
    for account in listed:
        for family in account["families"]:
            off = _off(account, family)
            shown.add_row(
                account["account"],
                family["family"],
                _every(family),
                _old_rows(family),
                "–" if off else _when(family["next_due_at"], now),
                f"{sum(family['calls'].values()):.0f}",
                off or family["reason"] or "",
                style="dim" if off else None,
            )
    return shown


def _off(account: dict[str, Any], family: dict[str, Any]) -> str | None:
    if not account["active"]:
        return "the account is disabled"
    if not family["enabled"]:
        return "disabled"
    return "the seller must consent" if account["needs_consent"] else None


def _every(family: dict[str, Any]) -> str:
    effective = family["effective_minutes"]
    if effective is None:
        return f"{family['every_minutes']:.0f} → –"
    changed = effective >= family["every_minutes"] * 1.05
    return f"{family['every_minutes']:.0f}{f' → {effective:.0f}' if changed else ''} min"


def _old_rows(family: dict[str, Any]) -> str:
    """How soon a change in an old row is seen."""
    hours, declared = family["old_rows_within_hours"], family["declared_old_rows_within_hours"]
    if hours is None:
        return "–"
    return f"{declared:.0f}{f' → {hours:.0f}' if hours >= declared * 1.05 else ''} h"


def _when(moment: str | None, now: datetime) -> str:
    if moment is None:
        return "now"
    minutes = (datetime.fromisoformat(moment) - now).total_seconds() / 60
    if minutes <= 0:
        return "now"
    return f"in {minutes:.0f} min" if minutes < 120 else f"in {minutes / 60:.0f} h"


def _quotas(listed: list[dict[str, Any]], now: datetime) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for keyset in dict.fromkeys(quota["keyset"] for quota in listed):
        shown_quotas = table("API", "used >", "eBay's >", "quota >", "forecast >", "% >", "resets")
        for quota in (quota for quota in listed if quota["keyset"] == keyset):
            whole = quota["quota"]
            cools_down_until = quota["resting_until"]
            shown_quotas.add_row(
                quota["api"],
                f"{quota['used_by_us']:,}",
                "–" if quota["used_by_ebay"] is None else f"{quota['used_by_ebay']:,}",
                f"{whole:,}" if whole else "–",
                f"{quota['forecast']:,}",
                f"{quota['forecast'] / whole:.0%}" if whole else "–",
                f"cools down, {_when(cools_down_until, now)}" if cools_down_until else _when(quota["resets_at"], now),
            )
        shown += ["", styled(f"calls today with the keyset {keyset}", style="bold"), shown_quotas]
    return shown
