"""pause, resume."""

from __future__ import annotations

from typing import Annotated

import typer

from ebaysync.cli.options import Reason, reason_in
from ebaysync.cli.session import Session, say
from ebaysync.ops import control, schedule
from ebaysync.ops.budget import Plan
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync pause --reason 'moving the database'")(pause)
    app.command(epilog="\b\nExample: ebaysync resume --api finances")(resume)


def pause(context: typer.Context, reason: Reason = None) -> None:
    """Stop all work until `resume`.

    Nothing new starts, and running work stops after its batch. eBay is not called at all.
    """
    changed = _switch(context, on=False, reason=reason_in(reason))
    say("paused" if changed else "already paused; the reason is updated")


def resume(
    context: typer.Context,
    api: Annotated[
        str | None,
        typer.Option("--api", metavar="NAME", help="Lift the cool-down of this API instead, such as finances."),
    ] = None,
    reason: Reason = None,
) -> None:
    """Continue after a pause, or lift the cool-down of an API.

    `status` and `doctor` show which APIs cool down, and why. eBay is asked again with the next run.
    """
    if api is not None:
        _lift(context, api, reason_in(reason))
        return
    changed = _switch(context, on=True, reason=reason_in(reason))
    say("resumed; due families run with the next run-all" if changed else "nothing was paused")


def _lift(context: typer.Context, api: str, reason: str | None) -> None:
    session: Session = context.obj

    async def work(stop: Stop) -> tuple[list[tuple[str, str]], Plan]:
        async with session.database() as db:
            lifted = await control.lift(db, api, reason=reason)
            return lifted, await schedule.plan(session.settings, db)

    lifted, plan = session.go(work)
    for keyset, name in lifted:
        held = plan.budget(keyset, name).cool_down(1.0, plan.now)
        say(f"{name} is called again with {keyset}" if held is None else f"{name}: lifted, but {held[1]}")
    if not lifted:
        cooling = ", ".join(each.api for each in schedule.cool_downs(plan))
        say(f"{api} does not cool down" + (f"; these do: {cooling}" if cooling else ""))


def _switch(context: typer.Context, *, on: bool, reason: str | None) -> bool:
    session: Session = context.obj

    async def work(stop: Stop) -> bool:
        async with session.database() as db:
            return await control.switch(db, on=on, reason=reason)

    return session.go(work)
