"""argosy destroy: stop units and forget them."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client, segment
from argosy.cli.names import known
from argosy.cli.session import asks
from argosy.cli.waiting import UNITS
from argosy.errors import NotFound


@click.command()
@click.argument("units", nargs=-1, required=True)
@click.option("--no-block", is_flag=True, help="Accepted for fleetctl's sake; destroying does not wait.")
@click.option("--block-attempts", type=int, default=0, help="Accepted for fleetctl's sake.")
@asks
def destroy(client: Client, units: tuple[str, ...], no_block: bool, block_attempts: int) -> None:
    """Stop UNITS and forget them."""
    missing = False
    for unit in known(units):
        try:
            client.ask("DELETE", f"{UNITS}/{segment(unit.name)}")
        except NotFound as error:
            missing = True
            click.echo(f"Error: {error.message}", err=True)
            continue
        click.echo(f"Destroyed {unit.name}")
    sys.exit(missing)
