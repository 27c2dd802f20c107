"""The program: its commands, and the one place where an error becomes an exit code (INTERFACE: Exit codes)."""

from __future__ import annotations

import errno
import gc
import logging
import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperGroup
from typer.main import get_command, get_group

from ebaysync import log as logs
from ebaysync.cli.session import Session
from ebaysync.errors import EbaysyncError, Interrupted, UsageError
from ebaysync.proc import COLLECT_AFTER, write_no_core

# The panels of the help: each command, its line there, and its modules in ebaysync.cli. A test compares the line with
# the command's own help, which would have to be imported.
PANELS: dict[str, dict[str, tuple[str, ...]]] = {
    "Set up": {
        "accounts": ("Manage seller accounts.", "accounts", "accounts_add", "accounts_connect", "accounts_remove"),
        "keys": ("Manage encryption and signing keys.", "keys"),
        "migrate": ("Apply missing schema migrations.", "migrate"),
        "doctor": ("Diagnose the setup and suggest fixes.", "doctor"),
    },
    "Read from eBay": {
        "run-all": ("Read every due family of every active account.", "run_all"),
        "run": ("Read one family of one account now.", "run"),
        "backfill": ("Read the last N days again.", "backfill"),
        "refresh-tokens": ("Renew access tokens.", "refresh_tokens"),
    },
    "See what happens": {
        "status": ("Show where every family of every account stands.", "status"),
        "schedule": ("Show what runs when, and the calls it costs.", "schedule"),
        "runs": ("List the latest runs.", "runs"),
        "logs": ("Show one run, page by page.", "logs"),
        "events": ("List the latest changes of records.", "events"),
    },
    "Control": {
        "families": ("Show or change which families run, and how often.", "families"),
        "pause": ("Stop all work until `resume`.", "pause"),
        "resume": ("Continue after a pause, or lift the cool-down of an API.", "pause"),
    },
    "Clean up": {
        "prune": ("Delete data that is older than the settings allow.", "prune"),
        "forget": ("Erase a person's data.", "forget"),
    },
    "Try it": {
        "demo": ("Try a full sync against a simulated eBay.", "demo"),
        "simulator": ("Run a simulated eBay until it is interrupted.", "simulator"),
    },
}
COMMANDS = {name: modules for panel in PANELS.values() for name, (_, *modules) in panel.items()}


class WhenUsed:
    """Delays `import httpx` until its first use. Most commands import modules that need it, but never call eBay."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target) if fullname == "httpx" else None
        if found and found.loader:
            found.loader = LazyLoader(found.loader)
        return found


class Commands(TyperGroup):
    """Imports a command's modules when the command is used.

    Importing all of them takes longer than most commands run. A misspelt command still imports all.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                part = typer.Typer(rich_markup_mode=None)
                for module in COMMANDS[name]:
                    import_module(f"ebaysync.cli.{module}").register(part)
                self.add_command(_with_log_options(get_group(part).commands[name]))
        return self.commands.get(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, COMMANDS))
        for title, panel in PANELS.items():
            rows = [(name.ljust(width), line) for name, (line, *_) in panel.items()]
            with formatter.section(title):
                formatter.write_dl(rows)


class Argument(TyperArgument):
    """Shown as NAME, [NAME] or [NAME]..., where Typer shows {NAME} and <str>."""

    def get_usage_pieces(self, ctx: Any) -> list[str]:
        name = str(self.metavar or self.name)
        return [(name if self.required else f"[{name}]") + ("" if self.nargs == 1 else "...")]

    def display_type_rich(self, ctx: Any) -> None:
        """No type: the name and the help say what is meant."""


def _set_log_level(context: typer.Context, option: typer.CallbackParam, wanted: bool) -> None:
    session = context.find_root().obj
    if wanted and session is not None:  # there is none during shell completion
        setattr(session, option.name or "", True)
        logs.set_up(verbose=session.verbose, quiet=session.quiet)


def _log_options(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", hidden=True, expose_value=False, callback=_set_log_level)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", hidden=True, expose_value=False, callback=_set_log_level)
    ] = False,
) -> None:
    """Not a command: Typer turns these two parameters into options."""


class TextOnly:
    """Refuses arguments that are no text, before a command runs. A path may be any bytes."""

    def __init__(self, command: Any) -> None:
        self.parameters, self.invoke = command.params, command.invoke

    def __call__(self, context: Any) -> Any:
        for parameter in self.parameters:
            value = context.params.get(parameter.name)
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, str) and not _is_text(each):
                    is_option = parameter.param_type_name == "option"
                    name = max(parameter.opts, key=len) if is_option else parameter.human_readable_name
                    raise UsageError(f"{name}: '{each}' is not UTF-8 text")
        return self.invoke(context)


def _is_text(word: str) -> bool:
    """Python gives bytes that are not UTF-8 as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in word)


def _with_log_options(command: Any) -> Any:
    """Give a command its own -v and -q, so that they may stand before or after its name."""
    command.invoke = TextOnly(command)
    part = typer.Typer(add_completion=False)
    part.command()(_log_options)
    for parameter in command.params:
        if isinstance(parameter, TyperArgument):
            parameter.__class__ = Argument
    command.params += [option for option in get_command(part).params if option.name in ("verbose", "quiet")]
    for each in getattr(command, "commands", {}).values():
        _with_log_options(each)
    return command


app = typer.Typer(
    name="ebaysync",
    cls=Commands,
    help="Copy everything eBay knows about your seller accounts into PostgreSQL.",
    epilog="\b\n`COMMAND --help` explains a command. -v and -q may come before or after it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_Usage: type[Exception] = typer.BadParameter.__bases__[0]  # click's UsageError, which typer does not export


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ebaysync {version('ebaysync')}")  # noqa: TID251
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log only warnings and errors.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    logs.set_up(verbose=verbose, quiet=quiet)
    context.obj = Session(verbose=verbose, quiet=quiet)


def main() -> None:
    """The console script. Raises SystemExit with the exit code that an error stands for; OSError if output fails for
    another reason than a full disk."""
    _settle_in()
    # In front of the standard finder, which would import httpx at once.
    sys.meta_path.insert(0, WhenUsed())
    try:
        sys.exit(app(prog_name="ebaysync", standalone_mode=False))
    except _Usage as error:
        _tell(_usage(error))
        sys.exit(UsageError.exit_code)
    except EbaysyncError as error:
        _tell(error)
        sys.exit(error.exit_status if isinstance(error, Interrupted) else error.exit_code)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # Typer would turn it into 1
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # otherwise the interpreter complains at exit
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
        # The log shows the error's place and not its text, which may quote a record or a URL.
        logging.getLogger("ebaysync").error("unexpected", exc_info=bug)
        _tell(EbaysyncError(f"unexpected {type(bug).__name__}", hint="a bug of ebaysync; the lines above say where"))
        sys.exit(1)


def _settle_in() -> None:
    """Disable core dumps, which would contain secrets, and reopen closed standard streams as /dev/null. Collect garbage
    rarely: imports and rows make many objects and hardly a cycle, and looking for one took a sixth of a run."""
    gc.set_threshold(*COLLECT_AFTER)
    write_no_core()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the process lasts
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)


def _usage(error: Any) -> UsageError:
    """Print a wrong option or argument in one line, like every other error; the help if no command was given."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)  # noqa: TID251 - our own help
        sys.exit(UsageError.exit_code)
    command = error.ctx.command_path if error.ctx else "ebaysync"
    return UsageError(error.format_message(), hint=f"see: {command} --help")


def _tell(error: EbaysyncError) -> None:
    logs.notify(error.message, error.hint)
