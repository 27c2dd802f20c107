"""demo: a full sync against a simulated eBay."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from ebaysync import files
from ebaysync.cli.simulator import make_world
from ebaysync.errors import EbaysyncError
from ebaysync.settings import Settings, load


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync demo --sellers 5")(demo)


def demo(
    context: typer.Context,
    sellers: Annotated[int, typer.Option(metavar="N", min=1, help="How many sellers.")] = 4,
    orders: Annotated[int, typer.Option(metavar="N", min=0, help="Orders per seller at the start.")] = 150,
    things: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Transactions, listings, messages and so on per seller at the start."),
    ] = 25,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed makes the same data.")] = 1,
) -> None:
    """Try a full sync against a simulated eBay.

    It uses a home of its own and removes it at the end. Your database and your home are not touched.
    """
    world = make_world(seed, sellers, orders, things)
    from ebaysync.sim import control
    from ebaysync.sim.server import Simulator

    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ebaysync-demo-", dir=_place())))
        running = stack.enter_context(Simulator(world))
        program = _Program(
            {
                "EBAYSYNC_HOME": str(home),
                "EBAYSYNC_SIMULATOR_URL": running.url,
                "EBAYSYNC_SETTLE_SECONDS": "0",  # the simulator's index does not lag, so that nobody has to wait
            }
        )
        # Our own connection keeps one server running for all commands.
        _hold(stack, program.settings)
        program.say("A simulated eBay and an embedded PostgreSQL are running. Each line below is a real command.")
        for seller in control.sellers(world):
            name = str(seller["username"])
            program(
                ["accounts", "add", name, "--environment", "simulator", "--refresh-token-stdin"],
                given=f"{seller['refreshToken']}\n",
            )
        program(["keys", "signing", "create", "--environment", "simulator"])  # for the sellers of the EU and the UK
        program(["run-all"])
        world_moves = sum(bool(world.touch(seller, next(iter(seller.orders)))) for seller in world.sellers if orders)
        program.say(f"Now {world_moves} orders change at eBay, and a second run-all brings what is new.")
        program(["run-all", "--now"])
        program(["status"])


def _place() -> str:
    """The directory for the demo's home. Root's PostgreSQL runs there as `nobody` if the host has no user for it, which
    is allowed below a directory such as /tmp alone."""
    usual = tempfile.gettempdir()
    is_shared = os.stat(usual).st_mode & stat.S_ISVTX
    return usual if is_shared or os.geteuid() != 0 or files.account() else "/tmp"  # noqa: S108


def _hold(stack: ExitStack, configured: Settings) -> None:
    from ebaysync.store.embedded import server as embedded

    stack.enter_context(embedded.attached(configured.home))


class _Program:
    """Runs ebaysync's own commands in processes, with only the demo's settings."""

    def __init__(self, own: dict[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("EBAYSYNC_", "EBAY_"))}
        empty = Path(own["EBAYSYNC_HOME"]) / "demo.env"  # so that a .env in the working directory is not read
        empty.touch()
        self.environ = kept | own | {"EBAYSYNC_ENV_FILE": str(empty)}
        self.settings = load(own, env_file=False)

    @staticmethod
    def say(text: str) -> None:
        typer.secho(f"\n{text}", bold=True)

    def __call__(self, arguments: list[str], given: str = "") -> None:
        typer.secho(f"\n$ ebaysync {shlex.join(arguments)}", fg="cyan")
        # The child writes to the same output, and would come before what is buffered here.
        sys.stdout.flush()
        command = [sys.executable, "-m", "ebaysync", *arguments]
        ended = subprocess.run(command, input=given, text=True, env=self.environ, check=False)  # noqa: S603
        if ended.returncode:
            raise EbaysyncError(f"ebaysync {arguments[0]} ended with exit code {ended.returncode}")
