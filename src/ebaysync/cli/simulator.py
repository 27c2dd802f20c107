"""simulator: the bundled eBay."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ebaysync.errors import ConfigError, Interrupted, UsageError

if TYPE_CHECKING:
    from ebaysync.sim.world import World
from ebaysync.cli.options import AsJson
from ebaysync.cli.session import Session, answer_json


def register(app: typer.Typer) -> None:
    app.command(epilog="\b\nExample: ebaysync simulator --port 8090 --seed 7 --sellers 3")(simulator)


def make_world(seed: int, sellers: int, orders: int, things: int) -> World:
    """A world of sellers who are busy. Raises ConfigError if the simulator is not installed."""
    try:
        from ebaysync.sim import server  # noqa: F401 - is the extra there?
        from ebaysync.sim.quirks import Quirks, Rates
        from ebaysync.sim.world import World
    except ImportError:
        raise ConfigError("the simulator is not installed", hint="pip install 'ebaysync[simulator]'") from None
    rates = Rates(new_per_hour=12, changes_per_hour=24, new_things_per_hour=1, thing_changes_per_hour=6)
    return World(seed, sellers, orders, things=things, rates=rates, quirks=Quirks(signatures=True))


def simulator(
    context: typer.Context,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="The port; 0 takes a free one.")] = 8090,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed makes the same data.")] = 1,
    sellers: Annotated[int, typer.Option(metavar="N", min=1, help="How many sellers.")] = 3,
    orders: Annotated[int, typer.Option(metavar="N", min=0, help="Orders per seller at the start.")] = 200,
    things: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Transactions, listings, messages and so on per seller at the start."),
    ] = 50,
    quota: Annotated[
        list[str] | None,
        typer.Option(metavar="RESOURCE=N", help="A smaller quota, such as sell.finances=20 or Trading=50."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a simulated eBay until it is interrupted.

    Prints its sellers with their refresh tokens, for `accounts add`.
    """
    session: Session = context.obj
    world = make_world(seed, sellers, orders, things)
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
