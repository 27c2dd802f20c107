"""pause, resume."""

from __future__ import annotations

import typer

from ebaysync.cli.options import Reason, reason_in
from ebaysync.cli.session import Session
from ebaysync.ops import control
from ebaysync.sync.stop import Stop


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync pause --reason 'moving the database'")(pause)
    app.command(epilog="\b\nExample: ebaysync resume")(resume)


def pause(context: typer.Context, reason: Reason = None) -> None:
    """Stop all work until `resume`.

    Nothing new starts, and running work stops after its batch. eBay is not called at all.
    """
    changed = _switch(context, on=False, reason=reason_in(reason))
    typer.echo("paused" if changed else "already paused; the reason is updated")


def resume(context: typer.Context, reason: Reason = None) -> None:
    """Continue after a pause."""
    changed = _switch(context, on=True, reason=reason_in(reason))
    typer.echo("resumed; due families run with the next run-all" if changed else "nothing was paused")


def _switch(context: typer.Context, *, on: bool, reason: str | None) -> bool:
    session: Session = context.obj

    async def work(stop: Stop) -> bool:
        async with session.database() as db:
            return await control.switch(db, on=on, reason=reason)

    return session.go(work)
