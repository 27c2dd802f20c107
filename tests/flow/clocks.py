"""Three clocks that go together: eBay's, the host's and the database's. A test moves them instead of sleeping."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, tzinfo
from types import ModuleType
from typing import Any

import psycopg
import pytest

from ebaysync.sim.clock import ManualClock
from ebaysync.store import database

# Functions of the same name in the schema `public`, which is then searched before PostgreSQL's own.
# Defaults of columns name their function by its number, so they are set again.
_SHADOWS = """
CREATE OR REPLACE FUNCTION public.{name}() RETURNS timestamptz LANGUAGE sql
    AS $$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} s' $$
"""
_DEFAULTS = """
DO $$ DECLARE found record; BEGIN
    FOR found IN SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND column_default ~ '(clock_timestamp|now)\\(\\)' LOOP
        EXECUTE format('ALTER TABLE public.%I ALTER %I SET DEFAULT public.now()', found.table_name, found.column_name);
    END LOOP;
END $$
"""
NAMES = ("clock_timestamp", "now")


class Clocks:
    """`ebay` is for the world of a simulator. It begins at the real time and stands still until it is moved; the other
    two tick. A context, to be entered before anything else connects to the database."""

    def __init__(self, database_url: str) -> None:
        self.ebay = ManualClock(datetime.now(UTC).replace(microsecond=0))
        self.ahead = timedelta()
        self._database_url = database_url
        self._stack = ExitStack()

    def __enter__(self) -> Clocks:
        connection = psycopg.connect(self._database_url, autocommit=True)
        self._connection = self._stack.enter_context(connection)
        # For the tests' own questions; ebaysync pins its search_path.
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
        self._set()
        connection.execute(_DEFAULTS)
        monkeypatch = self._stack.enter_context(pytest.MonkeyPatch.context())
        shadowed = database._FIND.replace("', pg_temp'", "', pg_catalog, pg_temp'")
        monkeypatch.setattr(database, "_FIND", shadowed)
        host = _moved(lambda: self.ahead)
        for name, module in list(sys.modules.items()):
            if _reads_the_clock(name, module):
                monkeypatch.setattr(module, "datetime", host)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def advance(self, **span: float) -> datetime:
        """`advance(hours=3)`; eBay's time after it."""
        now = self.ebay.advance(timedelta(**span).total_seconds())
        self.ahead = now - datetime.now(UTC)
        self._set()
        return now

    def _set(self) -> None:
        seconds = self.ahead.total_seconds()
        self._connection.execute(";".join(_SHADOWS.format(name=name, seconds=seconds) for name in NAMES))


def _reads_the_clock(name: str, module: ModuleType) -> bool:
    """Whether it is ours and asks the host for the time. Others keep their `datetime`: msgspec looks up the annotations
    of a Struct when one is decoded for the first time, and would find the stand-in."""
    ours = name.startswith("ebaysync.") and not name.startswith("ebaysync.sim")
    return ours and vars(module).get("datetime") is datetime and "datetime.now(" in inspect.getsource(module)


def _moved(ahead: Callable[[], timedelta]) -> type:
    """Stands for `datetime` in our modules: the same in everything but its now. It makes plain datetimes."""

    class Kind(type):
        def __instancecheck__(cls, found: object) -> bool:
            return isinstance(found, datetime)

        def __getattr__(cls, name: str) -> Any:
            return getattr(datetime, name)

        def __call__(cls, *values: Any, **named: Any) -> datetime:
            return datetime(*values, **named)

    class Moved(metaclass=Kind):
        @staticmethod
        def now(tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + ahead()

    return Moved
