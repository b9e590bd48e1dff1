"""argosy stop: stop units where they are."""

from __future__ import annotations

import sys

import click

from argosy.cli.client import Client
from argosy.cli.names import known
from argosy.cli.session import asks
from argosy.cli.waiting import bring, waits


@click.command()
@click.argument("units", nargs=-1, required=True)
@waits
@asks
def stop(client: Client, units: tuple[str, ...], no_block: bool, block_attempts: int) -> None:
    """Stop UNITS; they stay loaded on their machines."""
    sys.exit(not bring(client, known(units), "loaded", no_block=no_block, attempts=block_attempts))
