"""Serves every command: settings, an open database, an event loop with signal handlers, JSON output."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from ebaysync import log as logs
from ebaysync.proc import set_dumpable
from ebaysync.shown import escaped, json_escaped, line

# Modules that only some commands need are imported where they are used: `--help` takes a third of the time.
if TYPE_CHECKING:
    from ebaysync.settings import Settings
    from ebaysync.store.database import Database
    from ebaysync.sync.stop import Stop

T = TypeVar("T")


@dataclass
class Session:
    """The typer context's object. It reads the settings when a command first needs them."""

    verbose: bool = False
    quiet: bool = False

    @cached_property
    def settings(self) -> Settings:
        from ebaysync import settings

        set_dumpable(False)  # before the first secret is read
        found = settings.load()
        logs.set_up(verbose=self.verbose, quiet=self.quiet, form=found.log_format)
        return found

    def go(self, work: Callable[[Stop], Coroutine[Any, Any, T]]) -> T:
        """Run a command's coroutine. SIGINT and SIGTERM request a stop."""

        import asyncio

        from ebaysync.ops.signals import end_at_once, install
        from ebaysync.sync.stop import Stop

        stops: list[Stop] = []

        async def main() -> T:
            # Kept for the time after the loop, when its handlers are gone.
            stops.append(stop := Stop())
            install(stop)
            return await work(stop)

        try:
            return asyncio.run(main())
        finally:
            if any(stop.signum is not None for stop in stops):
                end_at_once()

    @asynccontextmanager
    async def database(self, *, admin: bool = False, current: bool = True) -> AsyncIterator[Database]:
        """Open the database. With `current`, raises SchemaBehind unless the schema is current."""
        from ebaysync.store import database, migrate

        url = self.settings.database_url
        if admin and self.settings.admin_database_url:
            url = self.settings.admin_database_url
        async with database.opened(url, self.settings.home) as db:
            if current:
                await migrate.require_current(db)
            yield db


def answer_json(value: Any) -> None:
    import msgspec

    typer.echo(json_escaped(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))  # noqa: TID251


def say(text: str, *, err: bool = False) -> None:
    """Print one line. The text of others in it is escaped."""
    typer.echo(line(text), err=err)  # noqa: TID251


@contextmanager
def progress(what: str, total: float | None) -> Iterator[Callable[[float, str], None]]:
    """Show a progress bar on standard error if that is a terminal. Yields `update(completed, note)`."""
    if not sys.stderr.isatty():
        yield lambda completed, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(escaped(what), total=total, note="")
        yield lambda completed, note: bar.update(task, completed=completed, note=escaped(note))
