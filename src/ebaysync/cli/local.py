"""simulator, demo: the bundled eBay, and the whole thing in one go."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ebaysync.cli.session import AsJson, Session, answer_json
from ebaysync.errors import ConfigError, EbaysyncError, Interrupted, UsageError
from ebaysync.settings import Settings, load

if TYPE_CHECKING:
    from ebaysync.sim.world import World


def register(app: typer.Typer) -> None:
    app.command(
        short_help="Run the bundled eBay.", epilog="\b\nExample: ebaysync simulator --port 8090 --seed 7 --sellers 3"
    )(simulator)
    app.command(short_help="The whole thing in one go.", epilog="\b\nExample: ebaysync demo --sellers 5")(demo)


def _world(seed: int, sellers: int, orders: int, things: int) -> World:
    try:
        from ebaysync.sim import server  # noqa: F401 - is the extra there?
        from ebaysync.sim.world import World
    except ImportError:
        raise ConfigError("the simulator is not installed", hint="pip install 'ebaysync[simulator]'") from None
    return World(
        seed,
        sellers,
        orders,
        new_per_hour=12,
        changes_per_hour=24,
        things=things,
        new_things_per_hour=1,
        thing_changes_per_hour=6,
        signatures=True,
    )


def simulator(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8090,
    seed: Annotated[int, typer.Option(help="The same seed makes the same sellers and orders.")] = 1,
    sellers: Annotated[int, typer.Option(min=1, help="How many sellers.")] = 3,
    orders: Annotated[int, typer.Option(min=0, help="Orders of each at the start.")] = 200,
    things: Annotated[int, typer.Option(min=0, help="Transactions, listings, messages … of each at the start.")] = 50,
    quota: Annotated[
        list[str] | None,
        typer.Option(metavar="RESOURCE=N", help="A small quota, such as sell.finances=20, or Trading=50."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the bundled eBay until it is interrupted. Prints its sellers with their refresh tokens."""
    session: Session = context.obj
    world = _world(seed, sellers, orders, things)
    from ebaysync.sim import control, server
    from ebaysync.sim.quotas import Quotas

    try:
        quotas = Quotas({name: int(number) for name, _, number in (word.partition("=") for word in quota or ())})
    except ValueError as error:
        raise UsageError(f"--quota: {error}", hint="such as --quota sell.finances=20") from None

    def ready(url: str) -> None:
        listed = control.sellers(world)
        if as_json:
            answer_json({"url": url, "sellers": listed})
        else:
            typer.echo(f"export EBAYSYNC_SIMULATOR_URL={url}")
            for seller in listed:
                typer.echo(f"{seller['username']}  {seller['marketplaceId']}  {seller['refreshToken']}")
        sys.stdout.flush()

    del session
    try:
        signum = server.serve(world, host=host, port=port, quotas=quotas, ready=ready)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        raise UsageError(f"--port {port}: {error.strerror}", hint="--port 0 takes any free one") from None
    if signum:
        raise Interrupted(signum)


def demo(
    context: typer.Context,
    sellers: Annotated[int, typer.Option(min=1, help="How many sellers.")] = 4,
    orders: Annotated[int, typer.Option(min=0, help="Orders of each at the start.")] = 150,
    things: Annotated[int, typer.Option(min=0, help="Transactions, listings, messages … of each at the start.")] = 25,
    seed: Annotated[int, typer.Option(help="The same seed makes the same sellers and orders.")] = 1,
) -> None:
    """The whole thing in one go: simulator, embedded PostgreSQL, accounts, run-all, status. In a home of its own,
    which is removed at the end; the database and home of your settings are not touched."""
    world = _world(seed, sellers, orders, things)
    from ebaysync.sim import control
    from ebaysync.sim.server import Simulator

    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ebaysync-demo-")))
        running = stack.enter_context(Simulator(world))
        program = _Program(
            {
                "EBAYSYNC_HOME": str(home),
                "EBAYSYNC_SIMULATOR_URL": running.url,
                "EBAYSYNC_SETTLE_SECONDS": "0",  # the simulator's index does not lag, so nobody has to wait
            }
        )
        # Our own use of the database keeps one server up for all the commands.
        _hold(stack, program.settings)
        program.say("A bundled eBay is up, with an embedded PostgreSQL. Each line below is a real command.")
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


def _hold(stack: ExitStack, configured: Settings) -> None:
    from ebaysync.store import embedded

    stack.enter_context(embedded.attached(configured.home))


class _Program:
    """Runs ebaysync's own commands in processes of their own, with the demo's settings and no others."""

    def __init__(self, own: dict[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("EBAYSYNC_", "EBAY_"))}
        empty = Path(own["EBAYSYNC_HOME"]) / "demo.env"  # so that a .env of the working directory is not read
        empty.touch()
        self.environ = kept | own | {"EBAYSYNC_ENV_FILE": str(empty)}
        self.settings = load(own, env_file=False)

    @staticmethod
    def say(text: str) -> None:
        typer.secho(f"\n{text}", bold=True)

    def __call__(self, arguments: list[str], given: str = "") -> None:
        typer.secho(f"\n$ ebaysync {' '.join(arguments)}", fg="cyan")
        sys.stdout.flush()
        command = [sys.executable, "-m", "ebaysync", *arguments]
        ended = subprocess.run(command, input=given, text=True, env=self.environ, check=False)  # noqa: S603
        if ended.returncode:
            raise EbaysyncError(f"ebaysync {arguments[0]} ended with exit code {ended.returncode}")
