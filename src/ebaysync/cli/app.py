"""The program: its commands, and the ONE place where an error becomes an exit code (INTERFACE: Exit codes)."""

from __future__ import annotations

import errno
import logging
import os
import resource
import sys
import traceback
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from ebaysync import log as logs
from ebaysync.cli.session import Session
from ebaysync.errors import EbaysyncError, Interrupted, UsageError

# Each command's modules in ebaysync.cli, in the order of the help.
COMMANDS = {
    "run": ("run",),
    "run-all": ("runs",),
    "backfill": ("runs",),
    "refresh-tokens": ("runs",),
    "pause": ("control",),
    "resume": ("control",),
    "doctor": ("doctor",),
    "status": ("data",),
    "migrate": ("data",),
    "runs": ("history",),
    "logs": ("history",),
    "events": ("history",),
    "schedule": ("schedule",),
    "prune": ("housekeeping",),
    "forget": ("persons",),
    "simulator": ("local",),
    "demo": ("local",),
    "accounts": ("accounts", "control", "connect"),
    "families": ("control",),
    "keys": ("keys",),
}


class WhenUsed(MetaPathFinder):
    """Lets `import httpx` wait for the first use of httpx: most commands import what needs it, and ask eBay nothing."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target) if fullname == "httpx" else None
        if found and found.loader:
            found.loader = LazyLoader(found.loader)
        return found


class Commands(TyperGroup):
    """Imports the modules of a command when it is asked for, with the libraries that they need: all of them together
    take longer than most commands do. The help, and a word that is no command, ask for all."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                part = typer.Typer(rich_markup_mode=None)
                for module in COMMANDS[name]:
                    import_module(f"ebaysync.cli.{module}").register(part)
                self.add_command(get_group(part).commands[name])
        return self.commands.get(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)


app = typer.Typer(
    name="ebaysync",
    cls=Commands,
    help="Keeps everything eBay knows about many seller accounts in PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_Usage: type[Exception] = typer.BadParameter.__bases__[0]  # click's UsageError, which typer does not export


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ebaysync {version('ebaysync')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request (DEBUG).")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    logs.set_up(verbose=verbose, quiet=quiet)
    context.obj = Session(verbose=verbose, quiet=quiet)


def main() -> None:
    """The console script."""
    _settle_in()
    sys.meta_path.insert(0, WhenUsed())
    try:
        sys.exit(app(hoisted(sys.argv[1:]), prog_name="ebaysync", standalone_mode=False))
    except _Usage as error:
        _tell(_usage(error))
        sys.exit(UsageError.exit_code)
    except EbaysyncError as error:
        _tell(error)
        sys.exit(error.exit_status if isinstance(error, Interrupted) else error.exit_code)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # which typer makes a 1 of
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains at its end
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _tell(EbaysyncError(f"the answer could not be written: {error.strerror}"))
        sys.exit(1)
    except Exception as bug:
        # Not the error's text: it may quote a record or a URL.
        logging.getLogger("ebaysync").error("%s", "".join(traceback.format_tb(bug.__traceback__)))
        _tell(EbaysyncError(f"unexpected {type(bug).__name__}", hint="a bug of ebaysync; the lines above say where"))
        sys.exit(1)


def _settle_in() -> None:
    """No core dumps, which would hold secrets; and standard streams that were closed become /dev/null."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the process lasts
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)


def hoisted(arguments: list[str]) -> list[str]:
    """--verbose and --quiet in front, wherever they were written."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    general = [word for word in arguments[:end] if word in ("-v", "--verbose", "-q", "--quiet")]
    return general + [word for word in arguments[:end] if word not in general] + arguments[end:]


def _usage(error: Any) -> UsageError:
    """A wrong option or argument in one line, as every other error; the help where no command was given."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        sys.exit(UsageError.exit_code)
    command = error.ctx.command_path if error.ctx else "ebaysync"
    return UsageError(error.format_message(), hint=f"see: {command} --help")


def _tell(error: EbaysyncError) -> None:
    logs.tell(error.message, error.hint)
