"""argosy restart: start units anew, where they are."""

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
def restart(client: Client, units: tuple[str, ...], no_block: bool, block_attempts: int) -> None:
    """Start UNITS anew, where they are, and wait until they run."""
    sys.exit(not bring(client, known(units), "launched", restart=True, no_block=no_block, attempts=block_attempts))
